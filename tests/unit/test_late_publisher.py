"""Publishing begins with the first stored round."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dashboards.publishing import LatePublisher, Publisher
from sweeps.home import Home
from tests.unit.sweeps_for_tests import Silence


class Started:
    """A publishing process that only remembers."""

    def __init__(self) -> None:
        self.sweeps: list[int] = []
        self.killed = 0
        self.rung = 0

    def start(self, _home: Any, sweep_id: int) -> Started:
        self.sweeps.append(sweep_id)
        return self

    def drain(self) -> str | None:
        return "MLflow is gone"

    def kill(self) -> None:
        self.killed += 1

    def ring(self) -> None:
        self.rung += 1


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Started:
    started = Started()
    monkeypatch.setattr(Publisher, "start", started.start)
    return started


def late(observer: Any = None) -> LatePublisher:
    home: Any = None
    return LatePublisher(home, 7, observer or Silence())


def test_it_begins_with_the_first_round_and_once(started: Started) -> None:
    observer, snapshot = Silence(), object()
    publisher: Any = late(observer)
    publisher.said("hello")
    assert started.sweeps == []
    publisher.round_closed(snapshot)
    publisher.round_closed(snapshot)
    assert started.sweeps == [7]
    assert (observer.sentences, observer.snapshots) == (["hello"], [snapshot, snapshot])


def test_a_sweep_without_a_round_is_published_at_its_end(started: Started) -> None:
    assert late().drain() == "MLflow is gone"
    assert started.sweeps == [7]


def test_what_has_not_begun_need_not_be_ended(started: Started) -> None:
    publisher: Any = late()
    publisher.kill()
    assert started.killed == 0
    publisher.round_closed(object())
    publisher.kill()
    assert started.killed == 1


def test_the_last_pass_begins_as_soon_as_the_sweep_has_ended(started: Started) -> None:
    observer = Silence()
    publisher: Any = late(observer)
    publisher.sweep_ended()
    assert (started.rung, observer.ends) == (0, 1)
    publisher.round_closed(object())
    publisher.sweep_ended()
    assert (started.rung, observer.ends) == (1, 2)


class Ended:
    """A publishing process that has said what it had to say."""

    def __init__(self, said: dict[str, Any], returncode: int = 0) -> None:
        self._said = said
        self.returncode = returncode

    def communicate(self, timeout: float) -> tuple[str, None]:
        return json.dumps(self._said) + "\n", None


def ended(said: dict[str, Any], errors: str = "", returncode: int = 0) -> Publisher:
    process: Any = Ended(said, returncode)
    return Publisher(process, io.StringIO(errors))


def test_what_people_should_know_of_the_way_is_handed_on() -> None:
    publisher = ended({"complete": True, "note": "rows were compared with those of another MLflow"})
    assert publisher.note is None
    assert publisher.drain() is None
    assert publisher.note == "rows were compared with those of another MLflow"
    quiet = ended({"complete": True, "note": None})
    assert (quiet.drain(), quiet.note) == (None, None)


def test_the_last_line_of_what_went_wrong_is_the_problem() -> None:
    publisher = ended({"complete": False}, errors="first\npublish: MLflow is gone\n", returncode=1)
    assert publisher.drain() == "publish: MLflow is gone"
    assert "code 1" in (ended({"complete": True}, returncode=1).drain() or "")


@pytest.mark.parametrize("rings", [False, True])
def test_a_runner_that_is_done_rings_the_bell(
    rings: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process's standard input stays open until it is rung or drained."""
    program = "import sys, json; sys.stdin.read(); print(json.dumps(dict(complete=True)))"
    start = subprocess.Popen
    monkeypatch.setattr(
        "dashboards.publishing.subprocess.Popen",
        lambda _command, **options: start([sys.executable, "-c", program], **options),
    )
    publisher = Publisher.start(
        Home(folder=tmp_path, database="sqlite:///none", tracking="sqlite:///none"), 1
    )
    with pytest.raises(subprocess.TimeoutExpired):
        publisher._process.wait(0.2)
    if rings:
        publisher.ring()
        assert publisher._process.wait(30.0) == 0
    assert publisher.drain() is None
