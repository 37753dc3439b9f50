"""The page about the tasks says what the code does, and its examples run as they stand there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from search_spaces.files import load_space
from workers.rehearsal import rehearse
from workers.torch_catalogue import torch_catalogue

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "tasks.md").read_text()
SECTIONS = {part.split("\n", 1)[0]: part for part in re.split(r"^## ", PAGE, flags=re.MULTILINE)[1:]}


def written(default: object) -> str:
    return str(default).lower() if isinstance(default, bool) else str(default)


def test_every_task_has_a_section() -> None:
    assert set(SECTIONS) == set(torch_catalogue().tasks)


@pytest.mark.parametrize("name", SECTIONS)
def test_a_section_lists_the_tasks_arguments_defaults_and_metrics(name: str) -> None:
    task, section = torch_catalogue().tasks[name], SECTIONS[name]
    assert dict(re.findall(r"^\| `(\w+)` \| (\S+) \|", section, re.MULTILINE)) == {
        argument.name: "required" if argument.required else written(argument.default)
        for argument in task.arguments.values()
    }
    (metrics,) = re.findall(r"Metrics?: (.*)", section)
    assert re.findall(r"`(\w+)`", metrics) == list(task.metrics)


def test_the_examples_run_as_they_stand_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```(python|yaml)\n(.*?)```", PAGE, re.DOTALL)
    assert [language for language, _ in blocks] == ["python", "yaml"] * 3
    for language, text in blocks:
        if language == "python":
            exec(compile(text, "tasks.md", "exec"), {})
            continue
        loaded = load_space(text, source="tasks.md", stem="example", catalogue=torch_catalogue())
        assert rehearse(loaded.space) == ()
        assert loaded.notes == ()
        assert loaded.space.trials == 32


def test_its_links_lead_somewhere() -> None:
    links = re.findall(r"\]\(([^)#]+)\)", PAGE)
    assert links
    for link in links:
        assert "://" in link or (ROOT / "docs" / link).exists(), link
    anchors = re.findall(r"\]\(#([^)]+)\)", PAGE)
    assert set(anchors) <= set(SECTIONS)
