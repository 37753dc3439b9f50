"""Publishing begins with the first stored round."""

from __future__ import annotations

from typing import Any

import pytest

from dashboards.publishing import LatePublisher, Publisher
from tests.unit.sweeps_for_tests import Silence


class Started:
    """A publishing process that only remembers."""

    def __init__(self) -> None:
        self.sweeps: list[int] = []
        self.killed = 0

    def start(self, _home: Any, sweep_id: int) -> Started:
        self.sweeps.append(sweep_id)
        return self

    def drain(self) -> str | None:
        return "MLflow is gone"

    def kill(self) -> None:
        self.killed += 1


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
