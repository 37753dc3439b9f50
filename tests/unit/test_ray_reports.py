"""Reports of a Ray pool, with a Ray that only remembers: how often it is asked, and in what order they come."""

from __future__ import annotations

from collections import deque

import pytest

from workers.messages import Report
from workers.pool import WorkerLost
from workers.ray_pool import RayPool


class _Exceptions:
    class RayError(Exception):
        pass


class RememberingRay:
    """Calls of actors end when the test says so."""

    exceptions = _Exceptions

    def __init__(self) -> None:
        self.ended: dict[str, Report | Exception] = {}
        self.waits = 0

    def wait(self, references: list[str], *, num_returns: int, timeout: float) -> tuple[list[str], list[str]]:
        self.waits += 1
        ready = [reference for reference in references if reference in self.ended][:num_returns]
        return ready, [reference for reference in references if reference not in ready]

    def get(self, reference: str) -> Report:
        found = self.ended[reference]
        if isinstance(found, Exception):
            raise found
        return found


def report(round_: int) -> Report:
    return Report(lane=0, round=round_, outcomes=(), training_seconds=0.0)


def pool_of(ray: RememberingRay, sent: list[tuple[int, str]]) -> RayPool:
    """A pool without actors, to which orders have been sent."""
    pool = RayPool.__new__(RayPool)
    pool._ray, pool._pending, pool._ready = ray, list(sent), deque()
    return pool


def receive_all(pool: RayPool) -> list[tuple[int, int]]:
    found = []
    while (received := pool.receive(0.0)) is not None:
        found.append((received[0], received[1].round))
    return found


def test_thousands_of_reports_are_found_by_looking_once() -> None:
    ray = RememberingRay()
    sent = [(worker, f"{worker} {round_}") for round_ in (1, 2) for worker in range(2000)]
    pool = pool_of(ray, sent)
    assert receive_all(pool) == []
    ray.ended = {f"{worker} 1": report(1) for worker in range(0, 2000, 2)}
    before = ray.waits
    assert receive_all(pool) == [(worker, 1) for worker in range(0, 2000, 2)]
    assert ray.waits - before <= 3
    ray.ended |= {reference: report(int(reference[-1])) for _, reference in sent}
    rest = receive_all(pool)
    assert len(rest) == 3000
    assert [round_ for worker, round_ in rest if worker == 1] == [1, 2]
    assert receive_all(pool) == []


def test_a_lost_worker_is_told_when_its_turn_comes() -> None:
    ray = RememberingRay()
    pool = pool_of(ray, [(0, "a"), (1, "b"), (2, "c")])
    ray.ended = {
        "a": report(1),
        "b": _Exceptions.RayError("the actor\ndied"),
        "c": report(1),
    }
    assert pool.receive(0.0) is not None
    with pytest.raises(WorkerLost, match="worker 1 was lost: the actor died"):
        pool.receive(0.0)
