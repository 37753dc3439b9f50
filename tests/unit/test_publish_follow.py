"""Following a sweep: when to go on, when to publish everything, when to give up. No MLflow, no clock."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from typing import Any

import pytest

from dashboards.errors import PublisherBusy, TrackingUnavailable
from dashboards.publish import Bell, follow, only_publisher
from sweeps.records import Owner, SweepRow, SweepState

ME = Owner(host="here", pid=1, started=1.0)


def sweep(state: SweepState, owner: Owner | None) -> SweepRow:
    unused: dict[str, Any] = dict.fromkeys(
        item.name for item in fields(SweepRow) if item.name not in ("state", "owner")
    )
    return SweepRow(**unused, state=state, owner=owner)


WAITING = sweep(SweepState.waiting, None)
RUNNING = sweep(SweepState.running, ME)
ABANDONED = sweep(SweepState.running, None)
FINISHED = sweep(SweepState.finished, None)


@dataclass
class Scripted:
    """A projection of a sweep that stands as told, pass by pass."""

    sweeps: list[SweepRow]
    fails: Iterable[bool] = ()
    passes: list[bool] = field(default_factory=list)
    now: float = 0.0
    started_over: int = 0
    pass_seconds: float = 0.0
    pauses: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.failures = iter(self.fails)

    def sweep(self) -> SweepRow:
        return self.sweeps.pop(0) if len(self.sweeps) > 1 else self.sweeps[0]

    def publish(self, *, everything: bool) -> int:
        if next(self.failures, False):
            raise TrackingUnavailable("gone")
        self.passes.append(everything)
        self.now += self.pass_seconds
        return 1

    def start_over(self) -> None:
        self.started_over += 1

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds

    def run(self, *, is_orphan: bool = False) -> list[int]:
        return list(
            follow(self, is_orphan=lambda: is_orphan, clock=lambda: self.now, sleep=self.sleep)  # type: ignore[arg-type]
        )


def test_ended_trials_while_it_runs_and_everything_at_the_end() -> None:
    scripted = Scripted([RUNNING, RUNNING, FINISHED])
    assert scripted.run() == [1, 1, 1]
    assert scripted.passes == [False, False, True]


def test_a_sweep_that_is_not_run_yet_is_waited_for() -> None:
    scripted = Scripted([WAITING, WAITING, RUNNING, FINISHED])
    scripted.run()
    assert scripted.passes == [False, False, False, True]


def test_not_for_ever() -> None:
    scripted = Scripted([WAITING])
    scripted.run()
    assert scripted.passes[-1] is True
    assert 500 < scripted.now < 700


def test_nor_when_whoever_was_to_run_it_is_gone() -> None:
    scripted = Scripted([WAITING])
    scripted.run(is_orphan=True)
    assert scripted.passes == [True]


@pytest.mark.parametrize("left", [WAITING, ABANDONED])
def test_an_interrupted_or_abandoned_sweep_is_published_as_it_stands(left: SweepRow) -> None:
    scripted = Scripted([RUNNING, left])
    scripted.run()
    assert scripted.passes == [False, True]


def test_mlflow_may_be_gone_while_the_sweep_runs() -> None:
    scripted = Scripted([RUNNING] * 40 + [FINISHED], fails=[True] * 30)
    scripted.run()
    assert scripted.passes[-1] is True
    assert scripted.started_over == 30
    assert scripted.now > 300


def test_after_the_end_a_minute_is_waited_for_it() -> None:
    scripted = Scripted([FINISHED], fails=iter(lambda: True, False))
    with pytest.raises(TrackingUnavailable):
        scripted.run()
    assert 60 <= scripted.now < 90


@pytest.mark.parametrize(("pass_seconds", "pause"), [(0.01, 1.0), (0.2, 4.0), (2.0, 15.0)])
def test_passes_that_take_long_are_made_less_often(pass_seconds: float, pause: float) -> None:
    scripted = Scripted([RUNNING, RUNNING, FINISHED], pass_seconds=pass_seconds)
    scripted.run()
    assert scripted.pauses == pytest.approx([pause, pause])


def test_the_bell_ends_a_pause_once() -> None:
    hears, rings = os.pipe()
    bell = Bell(hears)
    began = time.monotonic()
    bell.sleep(0.01)
    threading.Timer(0.05, os.close, [rings]).start()
    bell.sleep(60.0)
    assert time.monotonic() - began < 30
    began = time.monotonic()
    bell.sleep(0.2)
    assert time.monotonic() - began > 0.15
    os.close(hears)


def test_one_publisher_at_a_time(tmp_path) -> None:
    with (
        only_publisher(tmp_path / "artifacts", "a", 1, wait_seconds=0.0),
        only_publisher(tmp_path / "artifacts", "a", 2, wait_seconds=0.0),
        only_publisher(tmp_path / "artifacts", "b", 1, wait_seconds=0.0),
        pytest.raises(PublisherBusy, match="sweep 1 already"),
        only_publisher(tmp_path / "artifacts", "a", 1, wait_seconds=0.0),
    ):
        pass
    with only_publisher(tmp_path / "artifacts", "a", 1, wait_seconds=0.0):
        pass
