"""Budgets and terminators: the arithmetic, and sweeps that end early."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from search_spaces.limits import Limits, Terminator
from search_spaces.ranges import Fixed
from search_spaces.space import Metric, Pruner, ScheduleSpace, SearchSpace
from sweeps.ends import ENDLESS, TimeLeft, settings_that_fit, time_left
from sweeps.entries import SettingEntry
from sweeps.records import SweepState, TrialState
from sweeps.regret_bound import RegretBound
from sweeps.rungs import control_group
from sweeps.store import Store, open_store
from sweeps.terminators import Streak
from tests.unit.sweeps_for_tests import FakePool, Killed, everything, run, space, stored


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = open_store(f"sqlite:///{tmp_path / 'ravine.db'}")
    yield opened
    opened.close()


def trained(store: Store, sweep_id: int) -> int:
    return sum(trial.epochs_trained for trial in store.trials(sweep_id))


def killed_often(store: Store, space_: SearchSpace, luck: int) -> int:
    """The sweep, killed after a few reports again and again."""
    sweep_id, chance, kills = stored(store, space_), random.Random(luck), 0

    def fault_after(left: int) -> Callable[[], None]:
        def fault() -> None:
            nonlocal left
            left -= 1
            if left == 0:
                raise Killed

        return fault

    while True:
        try:
            fault = fault_after(chance.randint(1, 2 * max(6, space_.epochs)))
            run(store, sweep_id, space_, workers=chance.choice((1, 2, 3)), seed=luck, fault=fault)
        except Killed:
            kills += 1
            continue
        assert kills, "nothing was tested"
        return sweep_id


# The arithmetic


def test_the_budget_of_epochs_admits_what_can_be_finished_within_it() -> None:
    fit = settings_that_fit
    assert fit(Limits(), trained=10**9, coming=10**9, epochs_each=1) is None
    assert fit(Limits(epochs=100), trained=0, coming=0, epochs_each=20) == 5
    assert fit(Limits(epochs=100), trained=30, coming=51, epochs_each=20) == 0
    assert fit(Limits(epochs=100), trained=30, coming=50, epochs_each=20) == 1
    assert fit(Limits(epochs=100), trained=100, coming=7, epochs_each=1) == 0


def test_time_is_over_with_whichever_limit_is_used_up_first() -> None:
    both = Limits(wall_seconds=100.0, device_hours=0.1)  # 360 s of devices
    left = time_left(both, wall_seconds=10.0, worker_seconds=40.0, workers=4)
    assert (left.wall_seconds, left.seconds) == (90.0, 80.0)
    assert time_left(both, wall_seconds=10.0, worker_seconds=10.0, workers=1).seconds == 90.0
    assert time_left(Limits(), wall_seconds=1e9, worker_seconds=1e9, workers=1) == ENDLESS
    assert ENDLESS.suffices_for(10**6)


def test_a_trial_is_admitted_where_its_rounds_fit_at_the_present_pace() -> None:
    left = TimeLeft(wall_seconds=22.0, round_seconds=1.0)
    assert left.suffices_for(20)  # two rounds are in flight
    assert not left.suffices_for(21)
    assert TimeLeft(wall_seconds=0.1).suffices_for(10**6)  # no pace is known yet
    assert not TimeLeft(wall_seconds=0.0).suffices_for(1)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_streak_ends_with_what_is_better_by_more_than_the_share(sign: float) -> None:
    streak = Streak()
    assert streak.after(None, sign=sign, by=0.1) == streak, "nothing has finished, nothing to improve upon"
    streak = streak.after(2.0, sign=sign, by=0.125)
    assert streak == Streak(best=2.0)
    for value in (2.0 - sign * 0.25, 2.0 - sign * 0.125, 2.0 + sign, None):
        streak = streak.after(value, sign=sign, by=0.125)
    assert streak == Streak(best=2.0, since=4)
    better = 2.0 - sign * 0.375
    assert streak.after(better, sign=sign, by=0.125) == Streak(best=better)
    assert Streak(best=0.0).after(-1e-9 * sign, sign=sign, by=0.5).since == 0


# Sweeps with a budget of epochs

TWO_BRANCHES = (
    ScheduleSpace(name="constant", label="constant"),
    ScheduleSpace(
        name="StepLR",
        label="StepLR",
        arguments={"step_size": Fixed(value=2), "gamma": Fixed(value=0.1)},
    ),
)
EPOCHS: dict[str, dict[str, Any]] = {
    "tpe": {},
    "asked ahead and pruned": {"epochs": 22, "pruner": "asha", "trials": 400},
    "two seeds": {"seeds": (0, 3), "pruner": "asha", "trials": 400},
    "grid": {"sampler": "grid", "trials": 48},
    "hyperband": {"pruner": "hyperband", "trials": 400},
    "one at a time": {"concurrency": 1},
    "branches": {"branches": True, "schedules": TWO_BRANCHES},
}


@pytest.mark.parametrize("kind", EPOCHS)
def test_a_budget_of_epochs_is_used_and_never_overrun(store: Store, kind: str) -> None:
    space_ = space(**EPOCHS[kind])
    each = space_.epochs * len(space_.seeds)
    space_ = space(**EPOCHS[kind], budget=Limits(epochs=7 * each + 5))
    sweep_id = stored(store, space_)
    assert run(store, sweep_id, space_) is SweepState.finished
    assert 6 * each + 5 < trained(store, sweep_id) <= 7 * each + 5
    states = {trial.state for trial in store.trials(sweep_id)}
    assert states <= {TrialState.finished, TrialState.pruned, TrialState.diverged}
    row = store.sweep(sweep_id)
    assert row.ending is not None
    assert row.ending["by"] == "epochs"
    assert f"budget of {7 * each + 5:,} epochs" in str(row.ended_early)


@pytest.mark.parametrize("kind", EPOCHS)
def test_a_killed_sweep_with_a_budget_of_epochs_equals_the_undisturbed_one(store: Store, kind: str) -> None:
    space_ = space(**EPOCHS[kind])
    space_ = space(**EPOCHS[kind], budget=Limits(epochs=8 * space_.epochs * len(space_.seeds)))
    undisturbed = stored(store, space_)
    run(store, undisturbed, space_)
    disturbed = killed_often(store, space_, luck=1)
    assert everything(store, disturbed) == everything(store, undisturbed)
    assert store.sweep(disturbed).ending == store.sweep(undisturbed).ending


def test_a_budget_that_suffices_changes_nothing_and_is_not_told(store: Store) -> None:
    plain, limited = space(pruner="asha"), space(pruner="asha", budget=Limits(epochs=24 * 6))
    first, second = stored(store, plain), stored(store, limited)
    run(store, first, plain)
    run(store, second, limited)
    assert everything(store, first) == everything(store, second)
    assert store.sweep(second).ended_early is None


def test_with_many_workers_by_arrival_the_budget_of_epochs_holds(store: Store) -> None:
    space_ = space(order="arrival", concurrency=6, trials=400, pruner="asha", budget=Limits(epochs=50))
    sweep_id = stored(store, space_)
    assert run(store, sweep_id, space_, workers=3) is SweepState.finished
    assert 44 < trained(store, sweep_id) <= 50
    assert "epochs" in str(store.sweep(sweep_id).ended_early)


# Sweeps with a budget of time


class Clock:
    """A clock that goes on by a second whenever a report is waited for."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def tick(self) -> None:
        self.now += 1.0


def test_near_the_end_of_the_wall_time_open_trials_finish_and_none_begins(store: Store) -> None:
    space_ = space(sampler="random", trials=1000, budget=Limits(wall_seconds=100.0))
    sweep_id, clock = stored(store, space_), Clock()
    assert run(store, sweep_id, space_, clock=clock, fault=clock.tick) is SweepState.finished
    assert TrialState.cancelled not in {trial.state for trial in store.trials(sweep_id)}
    row = store.sweep(sweep_id)
    assert row.usage is not None
    assert 92 < row.usage["wall_seconds"] <= 100
    assert row.ending is not None
    assert row.ending["by"] == "wall_seconds"
    assert "budget of 100 s of wall time leaves" in row.ending["reason"]


def test_at_the_end_of_the_wall_time_what_is_still_open_is_cancelled(store: Store) -> None:
    space_ = space(sampler="random", epochs=60, budget=Limits(wall_seconds=20.5))
    sweep_id, clock = stored(store, space_), Clock()
    assert run(store, sweep_id, space_, clock=clock, fault=clock.tick) is SweepState.finished
    states = Counter(trial.state for trial in store.trials(sweep_id))
    assert states[TrialState.cancelled] > 0
    assert not set(states) & {TrialState.waiting, TrialState.running}
    row = store.sweep(sweep_id)
    assert row.usage is not None
    assert 20.5 <= row.usage["wall_seconds"] <= 22
    assert f"is used up, and {states[TrialState.cancelled]} open trials were cancelled" in str(
        row.ended_early
    )


def test_a_resumed_sweep_goes_on_with_the_wall_time_that_is_left(store: Store) -> None:
    space_ = space(sampler="random", trials=1000, budget=Limits(wall_seconds=60.0))
    sweep_id, clock = stored(store, space_), Clock()
    asked = iter([False] * 30 + [True])
    state = run(store, sweep_id, space_, clock=clock, fault=clock.tick, interrupted=lambda: next(asked))
    assert state is SweepState.waiting
    usage = store.sweep(sweep_id).usage
    assert usage is not None
    assert usage["wall_seconds"] == clock.now  # up to the interruption
    clock.now += 10_000.0  # nobody runs it
    assert run(store, sweep_id, space_, clock=clock, fault=clock.tick) is SweepState.finished
    usage = store.sweep(sweep_id).usage
    assert usage is not None
    assert 50 < usage["wall_seconds"] <= 61


def test_device_hours_are_workers_times_wall_time(store: Store) -> None:
    space_ = space(sampler="random", trials=1000, budget=Limits(device_hours=90 / 3600))
    sweep_id, clock = stored(store, space_), Clock()
    assert run(store, sweep_id, space_, workers=3, clock=clock, fault=clock.tick) is SweepState.finished
    row = store.sweep(sweep_id)
    assert row.usage is not None
    assert row.usage["worker_seconds"] == 3 * row.usage["wall_seconds"]
    assert row.usage["worker_seconds"] <= 93
    assert row.ending is not None
    assert row.ending["by"] == "device_hours"


# Terminators

PATIENT = Terminator(name="no_improvement", settings=12, by=0.02)
BOUND = Terminator(name="optuna", settings=20, by=0.9, every=3)
ENOUGH: dict[str, dict[str, Any]] = {
    "no improvement": {"terminator": PATIENT},
    "no improvement, maximize": {
        "terminator": PATIENT,
        "metric": Metric(name="val_accuracy", goal="maximize"),
    },
    "no improvement, pruned, two seeds": {"terminator": PATIENT, "pruner": "asha", "seeds": (0, 1)},
    "no improvement, grid": {"terminator": PATIENT, "sampler": "grid"},
    "optuna": {"terminator": BOUND},
    "optuna, maximize, two seeds": {
        "terminator": BOUND,
        "metric": Metric(name="val_accuracy", goal="maximize"),
        "seeds": (0, 1),
    },
    "optuna, grid": {"terminator": BOUND, "sampler": "grid"},
    "optuna, qmc, pruned": {"terminator": BOUND, "sampler": "qmc", "pruner": "median"},
}


@pytest.mark.parametrize("kind", ENOUGH)
def test_a_sweep_without_hope_of_improvement_ends(store: Store, kind: str) -> None:
    space_ = space(**{"trials": 400, "epochs": 3, **ENOUGH[kind]})
    undisturbed = stored(store, space_)
    assert run(store, undisturbed, space_, workers=2) is SweepState.finished
    tried = {trial.setting_index for trial in store.trials(undisturbed)}
    assert 12 < len(tried) < 200
    states = {trial.state for trial in store.trials(undisturbed)}
    assert states <= {TrialState.finished, TrialState.pruned, TrialState.diverged}
    ending = store.sweep(undisturbed).ending
    assert ending is not None
    assert ending["by"] == space_.terminator.name
    disturbed = killed_often(store, space_, luck=2)
    assert everything(store, disturbed) == everything(store, undisturbed)
    assert store.sweep(disturbed).ending == ending


def test_no_improvement_counts_the_settings_that_ended_since_the_best(store: Store) -> None:
    space_ = space(
        sampler="random",
        concurrency=1,
        trials=400,
        terminator=Terminator(name="no_improvement", settings=9, by=0.0),
    )
    sweep_id = stored(store, space_)
    run(store, sweep_id, space_)
    trials = store.trials(sweep_id)
    finished = [trial for trial in trials if trial.value is not None]
    best = min(finished, key=lambda trial: trial.value or 0.0)
    assert len(trials) - 1 - best.number in (9, 10)  # the next was on its way when the ninth had ended


def test_a_terminator_that_never_speaks_changes_nothing(store: Store) -> None:
    patient = Terminator(name="optuna", settings=20, by=0.0, every=5)
    plain, watched = space(trials=40), space(trials=40, terminator=patient)
    first, second = stored(store, plain), stored(store, watched)
    run(store, first, plain)
    run(store, second, watched)
    assert everything(store, first) == everything(store, second)
    assert store.sweep(second).ended_early is None
    assert (store.sweep(second).ending or {})["kept"]["looked_at"] >= 20


def test_by_arrival_a_terminator_ends_the_sweep_too(store: Store) -> None:
    space_ = space(order="arrival", concurrency=6, trials=400, terminator=PATIENT)
    sweep_id = stored(store, space_)
    pools: list[FakePool] = []
    assert run(store, sweep_id, space_, workers=3, pools=pools) is SweepState.finished
    assert len(store.trials(sweep_id)) < 200
    assert "improved on the best before them" in str(store.sweep(sweep_id).ended_early)


def test_the_regret_bound_is_looked_at_every_so_many_finished_settings_after_a_resume_too() -> None:
    space_ = space(terminator=BOUND)  # first after 20, then every 3
    parameters = {"SGD.lr": 0.1, "SGD.momentum": 0.5, "SGD.nesterov": 0, "schedule": 0}

    def ended(count: int) -> list[tuple[SettingEntry, float | None]]:
        entries = [SettingEntry(index=index, parameters=parameters, end="finished") for index in range(count)]
        return [(entry, 1.0 + entry.index) for entry in entries]

    for count, kept, looked_at in ((19, {}, None), (20, {}, 20), (22, {"looked_at": 20}, 20)):
        judge = RegretBound(space_)
        judge.restore(kept, ended(count))
        judge.look()
        judge.decide()
        assert judge.to_plain() == ({} if looked_at is None else {"looked_at": looked_at})
    judge.ended(SettingEntry(index=22, parameters=parameters), "finished", 3.0)
    judge.look()
    judge.decide()
    assert judge.to_plain() == {"looked_at": 23}


def test_a_terminator_that_speaks_when_all_is_tried_ends_nothing(store: Store) -> None:
    settings = Terminator(name="no_improvement", settings=2, by=0.5)
    space_ = space(sampler="grid", concurrency=200, trials=10_000, terminator=settings)
    sweep_id = stored(store, space_)
    assert run(store, sweep_id, space_) is SweepState.finished
    assert len(store.trials(sweep_id)) == 4 * 3 * 2 * (1 + 2 * 2)
    assert store.sweep(sweep_id).ended_early is None


# A control group, which is trained after all others

ENDED_EARLY: dict[str, dict[str, Any]] = {
    "budget": {"budget": Limits(epochs=300)},
    "budget, two seeds": {"budget": Limits(epochs=400), "seeds": (0, 3)},
    "budget, by arrival": {"budget": Limits(epochs=300), "order": "arrival", "concurrency": 6},
    "enough": {"terminator": Terminator(name="no_improvement", settings=12, by=0.1)},
    "enough, tpe": {"terminator": Terminator(name="no_improvement", settings=12, by=0.1), "sampler": "tpe"},
    "enough, within a budget": {
        "terminator": Terminator(name="no_improvement", settings=12, by=0.1),
        "budget": Limits(epochs=300),
    },
}


@pytest.mark.parametrize("kind", ENDED_EARLY)
def test_a_search_that_ends_early_leaves_its_control_group_what_it_takes(store: Store, kind: str) -> None:
    space_ = space(**{"sampler": "random", "trials": 400, "epochs": 12, **ENDED_EARLY[kind]})
    space_ = replace(space_, pruner=Pruner(name="decay_fair", arguments={"control": 0.2}))
    sweep_id = stored(store, space_)
    workers = 3 if space_.order == "arrival" else 1
    assert run(store, sweep_id, space_, workers=workers) is SweepState.finished
    assert store.sweep(sweep_id).ended_early is not None
    trials, is_control = store.trials(sweep_id), control_group(space_)
    assert len(trials) < 400
    control = [trial for trial in trials if is_control(trial.setting_index)]
    proposed = {one.index for one in store.proposals(sweep_id) if is_control(one.index)}
    assert {trial.setting_index for trial in control} == proposed
    assert len(proposed) > 1
    assert {trial.state for trial in control} <= {TrialState.finished, TrialState.diverged}
    assert space_.budget.epochs is None or trained(store, sweep_id) <= space_.budget.epochs
    if workers == 1:
        others = [trial.admitted_round for trial in trials if not is_control(trial.setting_index)]
        assert max(others) <= min(trial.admitted_round for trial in control)
        killed = killed_often(store, space_, luck=1)
        assert everything(store, killed) == everything(store, sweep_id)
        assert store.sweep(killed).ending == store.sweep(sweep_id).ending
    else:
        assert len({trial.lane for trial in control}) > 1


def test_a_control_group_that_no_time_is_left_for_is_given_up(store: Store) -> None:
    now = Clock()
    enough = Terminator(name="no_improvement", settings=12, by=0.1)
    space_ = space(sampler="random", trials=400, epochs=12, terminator=enough)
    space_ = replace(space_, pruner=Pruner(name="decay_fair", arguments={"control": 0.2}))
    for seconds in (28.0, 36.0, 44.0, 60.0):
        limited = replace(space_, budget=Limits(wall_seconds=seconds))
        sweep_id = stored(store, limited)
        assert run(store, sweep_id, limited, clock=now, fault=now.tick) is SweepState.finished
