"""Sweeps on a simulated cluster: stragglers and losses change nothing but how long it takes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from benchmarks.simulated_pool import Cluster, Conditions, SimulatedPool
from search_spaces.settings import Schedule, Setting
from search_spaces.space import SearchSpace
from sweeps.records import Owner, SweepState, TrialState
from sweeps.runner import run_sweep
from sweeps.session import SweepRun
from sweeps.store import Store, open_store
from tests.unit.sweeps_for_tests import CATALOGUE, Silence, everything, space, stored
from workers.messages import Admission, Diverged, Measured, Orders, Report
from workers.pool import WorkerLost

QUIET = Conditions(workers=1, spread=0.0, latency_seconds=0.0, straggler_share=0.0)
ROUGH = Conditions(
    workers=64, slots=4, straggler_share=0.02, straggler_factor=8.0, loss_seconds=300.0, seed=2
)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = open_store(f"sqlite:///{tmp_path / 'ravine.db'}")
    yield opened
    opened.close()


def setting(lr: float, momentum: float = 0.0, step_size: int = 2) -> Setting:
    return Setting(
        optimizer="SGD",
        arguments={"lr": lr, "momentum": momentum},
        schedule=Schedule(name="StepLR", arguments={"step_size": step_size, "gamma": 0.1}),
    )


def orders(round_: int, *admitted: Setting, advance: tuple[int, ...], first: int = 0) -> Orders:
    admit = tuple(
        Admission(number=number, seed=0, setting=one) for number, one in enumerate(admitted, start=first)
    )
    return Orders(lane=0, round=round_, admit=admit, advance=advance)


def reports(conditions: Conditions, epochs: int = 4) -> list[tuple[float, int, Report]]:
    """When what came, of two trials a worker."""
    cluster = Cluster(conditions=conditions, epochs=epochs)
    pool = cluster.start_pool()
    for worker in range(conditions.workers):
        numbers = (2 * worker, 2 * worker + 1)
        settings = [setting(0.01 * (number + 1)) for number in numbers]
        pool.send(worker, orders(1, *settings, advance=numbers, first=numbers[0]))
        for round_ in range(2, epochs + 1):
            pool.send(worker, orders(round_, advance=numbers))
    found: list[tuple[float, int, Report]] = []
    while len(found) < epochs * conditions.workers:
        received = pool.receive(1000.0)
        if received is not None:
            found.append((cluster.now, *received))
    return found


def test_the_same_seed_gives_the_same_reports_at_the_same_times() -> None:
    conditions = replace(ROUGH, workers=20, loss_seconds=None)
    first = reports(conditions)
    assert first == reports(conditions)
    other = reports(replace(conditions, seed=1))
    assert [time for time, _, _ in other] != [time for time, _, _ in first]
    assert sorted(map(_learned, other), key=repr) == sorted(map(_learned, first), key=repr)


def _learned(found: tuple[float, int, Report]) -> tuple[Any, ...]:
    return found[1], found[2].round, found[2].outcomes


def test_time_goes_on_as_far_as_the_next_report() -> None:
    cluster = Cluster(conditions=QUIET, epochs=4)
    pool = cluster.start_pool()
    pool.send(0, orders(1, setting(0.1), advance=(0,)))
    pool.send(0, orders(2, advance=(0,)))
    assert pool.receive(4.0) is None
    assert cluster.now == 4.0
    assert pool.receive(0.0) is None
    assert pool.receive(60.0) is not None
    assert cluster.now == 10.0
    assert pool.receive(60.0) is not None
    pool.close()
    assert (cluster.now, cluster.occupancy, cluster.epochs_trained) == (20.0, 1.0, 2)


def test_more_rows_than_slots_take_longer() -> None:
    conditions = replace(QUIET, slots=2)
    assert [time for time, _, _ in reports(conditions, epochs=1)] == [10.0]
    assert [time for time, _, _ in reports(replace(conditions, slots=1), epochs=1)] == [20.0]


def test_nobody_to_wait_for_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="no orders are under way"):
        Cluster(conditions=QUIET, epochs=1).start_pool().receive(1.0)


def test_reports_of_one_worker_keep_their_order() -> None:
    rounds: dict[int, list[int]] = {}
    for _, worker, report in reports(replace(ROUGH, workers=20, latency_seconds=50.0, loss_seconds=None)):
        rounds.setdefault(worker, []).append(report.round)
    assert all(found == sorted(found) for found in rounds.values())


def test_a_worker_is_lost_at_its_time() -> None:
    cluster = Cluster(conditions=replace(ROUGH, loss_seconds=20.0), epochs=100)
    times: list[float] = []
    for _ in range(40):
        before = cluster.now
        pool = cluster.start_pool()
        began = cluster.now
        assert not times or began == before + ROUGH.restart_seconds
        for round_ in range(1, 40):
            admitted = [setting(0.1)] if round_ == 1 else []
            pool.send(0, orders(round_, *admitted, advance=(0,)))
        with pytest.raises(WorkerLost):
            _receive_for_ever(pool)
        times.append(cluster.now - began)
    assert 10.0 < sum(times) / len(times) < 40.0


def _receive_for_ever(pool: SimulatedPool) -> None:
    while True:
        pool.receive(10.0)


@pytest.mark.parametrize(("lr", "momentum", "diverges"), [(0.2, 0.0, False), (0.9, 0.99, True)])
def test_what_a_trial_shows_depends_on_its_setting(lr: float, momentum: float, diverges: bool) -> None:
    cluster = Cluster(conditions=QUIET, epochs=6)
    pool = cluster.start_pool()
    pool.send(0, orders(1, setting(lr, momentum), advance=(0,)))
    for round_ in range(2, 7):
        pool.send(0, orders(round_, advance=(0,)))
    outcomes = [outcome for _ in range(6) for outcome in _outcomes(pool)]
    assert isinstance(outcomes[-1], Diverged) is diverges
    measured = [outcome for outcome in outcomes if isinstance(outcome, Measured)]
    assert [outcome.epoch for outcome in measured] == list(range(1, len(measured) + 1))
    if not diverges:
        assert [round(outcome.lr, 9) for outcome in measured] == [0.2, 0.2, 0.02, 0.02, 0.002, 0.002]
        assert measured[-1].metrics["val_loss"] < measured[0].metrics["val_loss"]


def _outcomes(pool: SimulatedPool) -> tuple[Any, ...]:
    received = pool.receive(1000.0)
    assert received is not None
    return received[1].outcomes


def run(
    store: Store, space_: SearchSpace, conditions: Conditions, observer: Silence | None = None
) -> tuple[int, Cluster]:
    """Run a sweep to its end."""
    sweep_id = stored(store, space_)
    clock = count(0.0, 0.5)  # the runner's own time: reports come while it decides
    cluster = Cluster(conditions=conditions, epochs=space_.epochs, runner_clock=lambda: next(clock))
    sweep_run = SweepRun(
        store=store,
        sweep_id=sweep_id,
        space=space_,
        catalogue=CATALOGUE,
        plan={"execution": "made up"},
        observer=observer or Silence(),
        interrupted=lambda: False,
        now=lambda: 1_700_000_000.0,
        clock=lambda: cluster.now,
    )
    ended = run_sweep(sweep_run, Owner(host="elsewhere", pid=1, started=1.0), cluster.start_pool)
    assert ended is SweepState.finished
    return sweep_id, cluster


def check_each_trial_once(store: Store, sweep_id: int, space_: SearchSpace) -> None:
    trials = store.trials(sweep_id)
    assert [trial.number for trial in trials] == list(range(space_.trials))
    states = Counter(trial.state for trial in trials)
    assert set(states) == {TrialState.finished, TrialState.pruned, TrialState.diverged}
    epochs: dict[int, list[int]] = {}
    for measurement in store.measurements(sweep_id):
        epochs.setdefault(measurement.number, []).append(measurement.epoch)
    for trial in trials:
        assert epochs.get(trial.number, []) == list(range(1, trial.epochs_done + 1))


@pytest.mark.parametrize("order", ["rounds", "arrival"])
def test_two_thousand_trials_end_once_each_whoever_is_slow_or_lost(store: Store, order: str) -> None:
    space_ = space(
        sampler="random", pruner="asha", trials=2000, epochs=4, concurrency=256, order=order, seed=3
    )
    observer = Silence()
    sweep_id, cluster = run(store, space_, ROUGH, observer)
    check_each_trial_once(store, sweep_id, space_)
    losses = sum("was lost" in sentence for sentence in observer.sentences)
    assert losses == cluster.pools - 1 > 1
    assert any("interrupted trials again" in sentence for sentence in observer.sentences)
    if order == "rounds":
        calm, _ = run(store, space_, QUIET)
        assert everything(store, sweep_id) == everything(store, calm)
