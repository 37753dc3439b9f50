"""What was measured is remembered in the home, and a damaged file costs measuring again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sweeps.speed_memory import SpeedMemory
from workers.speed import Speeds

KEY = {"task": "digits-mlp", "batch_size": 32, "task_arguments": [("width", 8)], "torch": "2.13"}
SPEEDS = Speeds(stacked={4: 3000.5, 8: 5000.25}, solo=900.125, stopped="slower", seconds=0.75)


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def memory(tmp_path: Path, said: list[str]) -> SpeedMemory:
    return SpeedMemory(tmp_path / "speeds", said.append)


def files(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "speeds").iterdir())


def test_what_is_remembered_is_recalled(memory: SpeedMemory, tmp_path: Path, said: list[str]) -> None:
    assert memory.recall(KEY) is None
    memory.remember(KEY, SPEEDS)
    assert SpeedMemory(tmp_path / "speeds", said.append).recall(KEY) == SPEEDS
    assert len(files(tmp_path)) == 1  # nothing half written is left
    assert said == []


@pytest.mark.parametrize("name", KEY)
def test_other_circumstances_are_another_question(memory: SpeedMemory, name: str) -> None:
    memory.remember(KEY, SPEEDS)
    assert memory.recall({**KEY, name: "other"}) is None
    assert memory.recall({key: value for key, value in KEY.items() if key != name}) is None


def test_measured_again_takes_its_place(memory: SpeedMemory, tmp_path: Path) -> None:
    memory.remember(KEY, SPEEDS)
    wider = Speeds(stacked={4: 1.0, 8: 2.0, 16: 3.0}, solo=None, seconds=1.0)
    memory.remember(KEY, wider)
    assert memory.recall(KEY) == wider
    assert len(files(tmp_path)) == 1


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "null",
        "[]",
        "{}",
        '{"speeds": {}}',
        b"\xff\xfe",
    ],
)
def test_a_damaged_file_is_said_and_measured_again(
    memory: SpeedMemory, tmp_path: Path, said: list[str], text: str | bytes
) -> None:
    memory.remember(KEY, SPEEDS)
    (path,) = files(tmp_path)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    assert memory.recall(KEY) is None
    (sentence,) = said
    assert str(path) in sentence
    assert "damaged" in sentence
    memory.remember(KEY, SPEEDS)
    assert memory.recall(KEY) == SPEEDS


def test_damaged_speeds_are_not_used(memory: SpeedMemory, tmp_path: Path, said: list[str]) -> None:
    memory.remember(KEY, SPEEDS)
    (path,) = files(tmp_path)
    kept = json.loads(path.read_text())
    kept["speeds"]["stacked"] = {"4": -1}
    path.write_text(json.dumps(kept))
    assert memory.recall(KEY) is None
    assert len(said) == 1


def test_a_file_of_another_question_is_not_used(memory: SpeedMemory, tmp_path: Path, said: list[str]) -> None:
    """It came there by a copy; that it does not fit is no damage."""
    memory.remember(KEY, SPEEDS)
    (mine,) = files(tmp_path)
    memory.remember({**KEY, "batch_size": 64}, SPEEDS)
    (other,) = (path for path in files(tmp_path) if path != mine)
    mine.write_bytes(other.read_bytes())
    assert memory.recall(KEY) is None
    assert said == []


def test_a_home_that_cannot_be_written_is_said_and_no_more(tmp_path: Path, said: list[str]) -> None:
    (tmp_path / "file").write_text("")
    memory = SpeedMemory(tmp_path / "file" / "speeds", said.append)
    memory.remember(KEY, SPEEDS)
    (sentence,) = said
    assert "cannot be written" in sentence
