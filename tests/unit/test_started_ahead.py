"""Workers that are started before it is known whether a sweep may be run are not left behind."""

from __future__ import annotations

from typing import Any

import pytest

from sweeps.errors import SweepOver
from sweeps.launching import Resources, _started_ahead

RESOURCES = Resources(workers=3, threads=2, ray="local")


class Started:
    """Workers that only remember."""

    made: list[Started]

    def __init__(self, runtime: Any) -> None:
        self.runtime = runtime
        self.asked: list[tuple[str, int, int]] = []
        self.closed = 0
        Started.made.append(self)

    def start_soon(self, device: str, threads: int, workers: int) -> None:
        self.asked.append((device, threads, workers))

    def close(self) -> None:
        self.closed += 1


@pytest.fixture(autouse=True)
def _fakes(monkeypatch: pytest.MonkeyPatch) -> None:
    Started.made = []
    monkeypatch.setattr("workers.ray_pool.RayWorkers", Started)


def test_what_a_pool_takes_is_the_pools_to_end() -> None:
    runtime: Any = object()
    with _started_ahead(runtime, {"device": "cpu"}, RESOURCES) as ahead:
        taken: Any = ahead.pop()
    assert (taken.runtime, taken.asked, taken.closed) == (runtime, [("cpu", 2, 3)], 0)


def test_what_nobody_takes_is_ended() -> None:
    runtime: Any = object()
    with pytest.raises(SweepOver), _started_ahead(runtime, {"device": "cpu"}, RESOURCES):
        raise SweepOver(7, "stopped")  # type: ignore[arg-type]
    assert [started.closed for started in Started.made] == [1]


def test_without_a_runtime_there_is_nothing() -> None:
    with _started_ahead(None, {"device": "cpu"}, RESOURCES) as ahead:
        assert ahead == []
    assert Started.made == []
