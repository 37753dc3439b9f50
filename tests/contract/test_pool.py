"""One contract for every pool: in this process, and on Ray."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from search_spaces.settings import Setting
from workers.in_process_pool import InProcessPool
from workers.messages import Admission, Diverged, Failed, Measured, Orders, WorkerSetup
from workers.pool import Pool, WorkerLost
from workers.ray_pool import RayPool
from workers.speed import SpeedQuestion

pytestmark = pytest.mark.xdist_group("ray")  # one process, so that one runtime serves all

SETUP = WorkerSetup(task="digits-mlp", metric="val_loss", epochs=3, width=4)
StartPool = Callable[[WorkerSetup, int], Pool]


@pytest.fixture(
    params=["in-process", pytest.param("ray", marks=pytest.mark.ray)],
)
def start_pool(request: pytest.FixtureRequest) -> Iterator[StartPool]:
    started: list[Pool] = []
    if request.param == "ray":
        request.getfixturevalue("ray_runtime")

    def start(setup: WorkerSetup, workers: int) -> Pool:
        pool: Pool = RayPool(setup, workers) if request.param == "ray" else InProcessPool(setup, workers)
        started.append(pool)
        return pool

    yield start
    for pool in started:
        pool.close()


def trial(number: int, lr: float = 0.1, **arguments: float) -> Admission:
    return Admission(
        number=number, seed=0, setting=Setting(optimizer="SGD", arguments={"lr": lr, **arguments})
    )


def test_orders_are_carried_out_in_the_order_sent(start_pool: StartPool) -> None:
    pool = start_pool(SETUP, 2)
    assert pool.workers == 2
    for worker in (0, 1):
        pool.send(worker, Orders(lane=0, round=1, admit=(trial(worker),), advance=(worker,)))
        pool.send(worker, Orders(lane=0, round=2, advance=(worker,)))
    seen: dict[int, list[int]] = {0: [], 1: []}
    for _ in range(4):
        received = pool.receive(120)
        assert received is not None
        worker, report = received
        seen[worker].append(report.round)
        (outcome,) = report.outcomes
        assert isinstance(outcome, Measured)
        assert (outcome.number, outcome.epoch) == (worker, report.round)
        assert report.training_seconds > 0
    assert seen == {0: [1, 2], 1: [1, 2]}


def test_nothing_under_way_gives_nothing(start_pool: StartPool) -> None:
    assert start_pool(SETUP, 1).receive(0.01) is None


def test_bits_do_not_depend_on_the_pool(start_pool: StartPool) -> None:
    alone = InProcessPool(SETUP)
    pool = start_pool(SETUP, 1)
    for some_pool in (alone, pool):
        admit = (trial(0, lr=0.2, momentum=0.9), trial(1), trial(2, lr=0.03))
        some_pool.send(0, Orders(lane=0, round=1, admit=admit, advance=(0, 1, 2)))
    expected, received = alone.receive(1), pool.receive(120)
    assert expected is not None
    assert received is not None
    assert received[1].outcomes == expected[1].outcomes


def test_outcomes_are_of_three_kinds(start_pool: StartPool) -> None:
    pool = start_pool(SETUP, 1)
    broken = Admission(
        number=2, seed=0, setting=Setting(optimizer="SGD", arguments={"lr": 0.1}, batch_size=5000)
    )
    orders = Orders(lane=0, round=1, admit=(trial(0), trial(1, lr=1e8), broken), advance=(0, 1, 2))
    pool.send(0, orders)
    received = pool.receive(120)
    assert received is not None
    by_number = {outcome.number: outcome for outcome in received[1].outcomes}
    assert isinstance(by_number[0], Measured)
    assert isinstance(by_number[1], Diverged)
    failed = by_number[2]
    assert isinstance(failed, Failed)
    assert failed.cause == "user_error"
    assert "Traceback" in failed.traceback


def test_a_released_trial_trains_no_more(start_pool: StartPool) -> None:
    pool = start_pool(SETUP, 1)
    pool.send(0, Orders(lane=0, round=1, admit=(trial(0), trial(1)), advance=(0, 1)))
    pool.send(0, Orders(lane=0, round=2, release=(0,), advance=(0, 1)))
    pool.send(0, Orders(lane=0, round=3, release=(0,), admit=(trial(2),), advance=(1, 2)))
    trained = []
    for _ in range(3):
        received = pool.receive(120)
        assert received is not None
        trained.append(sorted(outcome.number for outcome in received[1].outcomes))
    assert trained == [[0, 1], [1], [1, 2]]


@pytest.mark.ray
def test_a_killed_actor_is_a_lost_worker(ray_runtime: None) -> None:
    import ray

    pool = RayPool(SETUP, 1)
    try:
        process_id = ray.get(pool._actors[0].process_id.remote())
        os.kill(process_id, signal.SIGKILL)
        pool.send(0, Orders(lane=0, round=1, admit=(trial(0),), advance=(0,)))
        with pytest.raises(WorkerLost, match="worker 0 was lost"):
            pool.receive(120)
    finally:
        pool.close()


@pytest.mark.ray
def test_speeds_are_measured_where_the_workers_are(ray_runtime: None) -> None:
    pool = RayPool(SETUP, 1)
    setting = Setting(optimizer="SGD", arguments={"lr": 0.1})
    question = SpeedQuestion(task="digits-mlp", setting=setting, most=4, trial_epochs=10**9)
    try:
        found = pool.measure(question)
        assert found is not None
        assert list(found.stacked) == [4]
        assert found.solo > 0
        assert pool.measure(replace(question, trial_epochs=1)) is None
        wrong = replace(question, setting=replace(setting, task_arguments={"nothing": 1}))
        with pytest.raises(Exception, match="no arguments"):
            pool.measure(wrong)
    finally:
        pool.close()


@pytest.mark.ray
def test_workers_of_more_threads_than_the_runtime_has_processors_work(ray_runtime: None) -> None:
    """How many there are is ours to say on this machine; Ray would let them wait for ever."""
    pool = RayPool(replace(SETUP, threads=8), 2)
    try:
        for worker in (0, 1):
            pool.send(worker, Orders(lane=0, round=1, admit=(trial(worker),), advance=(worker,)))
        assert {received[0] for _ in range(2) if (received := pool.receive(60)) is not None} == {0, 1}
    finally:
        pool.close()


@pytest.mark.ray
def test_a_worker_that_cannot_begin_says_why(ray_runtime: None) -> None:
    pool = RayPool(replace(SETUP, threads=-1), 1)
    try:
        pool.send(0, Orders(lane=0, round=1, admit=(trial(0),), advance=(0,)))
        with pytest.raises(WorkerLost, match="positive"):
            pool.receive(60)
    finally:
        pool.close()
