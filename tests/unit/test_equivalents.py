"""Settings that are equivalent are trained once, and a sweep is the same as if each had been."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from search_spaces.confirming import Confirm
from search_spaces.limits import Limits, Terminator
from search_spaces.ranges import Choice, Fixed
from search_spaces.settings import Setting
from search_spaces.space import OptimizerSpace, Pruner, ScheduleSpace, SearchSpace
from sweeps.likeness import Rates
from sweeps.records import Owner, SweepRow, SweepState, TrialRow, TrialState
from sweeps.rungs import control_group
from sweeps.runner import run_sweep
from sweeps.session import SweepRun
from sweeps.store import Store, open_store
from sweeps.verdict import verdict_of
from tests.unit import sweeps_for_tests
from tests.unit.sweeps_for_tests import (
    CATALOGUE,
    FakePool,
    Killed,
    Silence,
    everything,
    made_up_outcome,
    stored,
)
from workers.messages import Measured

OWNER = Owner(host="here", pid=1, started=0.0)
KINDS: dict[str, dict[str, Any]] = {
    "told of ends": {"sampler": "tests.unit.samplers_for_tests:AtEnds", "trials": 30},
    "random": {"sampler": "random"},
    "tpe": {},
    "tpe, asked far ahead": {"epochs": 22},
    "random and asha": {"sampler": "random", "pruner": "asha"},
    "tpe and hyperband": {"pruner": "hyperband"},
    "two seeds": {"sampler": "random", "seeds": (0, 3), "trials": 16, "epochs": 4},
    "one at a time": {"concurrency": 1, "sampler": "random", "trials": 16, "epochs": 2},
    "one epoch": {"epochs": 1, "sampler": "random"},
    "many at once": {"concurrency": 24, "sampler": "random"},
    "median": {"pruner": "median", "sampler": "qmc"},
}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = open_store(f"sqlite:///{tmp_path / 'ravine.db'}")
    yield opened
    opened.close()


def few(**changes: Any) -> SearchSpace:
    """A space of twelve settings, three of which diverge; most are proposed more than once."""
    lrs = Choice(options=tuple(Fixed(value=lr) for lr in (0.003, 0.1, 0.3, 2.0)))
    arguments = {
        "lr": lrs,
        "momentum": Choice(options=(Fixed(value=0.0), Fixed(value=0.5), Fixed(value=0.8))),
    }
    sgd = OptimizerSpace(name="SGD", label="SGD", arguments=arguments)
    schedules = (ScheduleSpace(name="constant", label="constant"),)
    return sweeps_for_tests.space(**{"optimizers": (sgd,), "schedules": schedules, **changes})


class Dying:
    """A store whose process dies before it would store one more round; it counts them."""

    def __init__(self, store: Store, commits: int | None) -> None:
        self._store = store
        self._left = commits
        self.commits = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def commit_round(self, *arguments: Any) -> None:
        if self._left is not None and self.commits == self._left:
            raise Killed
        self.commits += 1
        self._store.commit_round(*arguments)

    def interrupt(self, lease: Any) -> None:
        if self._left is None:
            self._store.interrupt(lease)


def run(
    store: Store,
    space_: SearchSpace,
    *,
    sweep_id: int | None = None,
    commits: int | None = None,
    workers: int = 1,
    luck: int = 0,
    failing: Mapping[int, str] | None = None,
    rates: Rates | None = None,
) -> tuple[int, FakePool, int]:
    """Run a sweep of made-up curves; returns its id, the pool, and how many rounds were stored."""
    identity = stored(store, space_) if sweep_id is None else sweep_id
    observer = Silence()
    dying: Any = Dying(store, commits)
    pool = FakePool(
        workers=workers, epochs=space_.epochs, random_=random.Random(luck), failing=failing or False
    )
    sweep_run = SweepRun(
        store=dying,
        sweep_id=identity,
        space=space_,
        catalogue=CATALOGUE,
        plan={"execution": "made up"},
        observer=observer,
        interrupted=lambda: False,
        now=lambda: 1_700_000_000.0,
        rates=rates,
    )
    assert run_sweep(sweep_run, OWNER, lambda: pool) is SweepState.finished
    last, trials = observer.snapshots[-1], store.trials(identity)
    assert last.epochs_done == last.epochs_expected == sum(trial.epochs_done for trial in trials)
    assert {state: count for state, count in last.counts.items() if count} == Counter(t.state for t in trials)
    assert last.trials_expected == len(trials)
    return identity, pool, dying.commits


def settings_of(trials: list[TrialRow]) -> Counter[str]:
    return Counter(f"{sorted(trial.setting.items())} {trial.seed}" for trial in trials)


def check(store: Store, sweep_id: int, space_: SearchSpace) -> tuple[list[TrialRow], list[TrialRow]]:
    """Every trial ended once, with the curve that training would have given; the trained and the copies."""
    trials = store.trials(sweep_id)
    assert [trial.number for trial in trials] == list(range(space_.trials * len(space_.seeds)))
    by_number = {trial.number: trial for trial in trials}
    curves: dict[int, list[Any]] = {}
    for measurement in store.measurements(sweep_id):
        curves.setdefault(measurement.number, []).append(measurement)
    copies = [trial for trial in trials if trial.parent_number is not None]
    for copy in copies:
        assert copy.parent_number is not None
        parent = by_number[copy.parent_number]
        assert (parent.setting, parent.seed, parent.parent_number) == (copy.setting, copy.seed, None)
        assert parent.number < copy.number
        assert copy.epochs_trained == 0 < parent.epochs_trained or parent.epochs_done == 0
        own = replace(copy, number=parent.number, setting_index=parent.setting_index, attempt=parent.attempt)
        own = replace(own, epochs_trained=parent.epochs_trained, parent_number=None, fork_step=None)
        assert replace(own, lane=0, admitted_round=0) == replace(parent, lane=0, admitted_round=0)
        curve = curves.get(copy.number, [])
        again = [replace(measurement, number=parent.number) for measurement in curve]
        assert again == curves.get(parent.number, [])
        last = curve[-1].step if curve else 0
        assert copy.fork_step == (copy.detail["step"] if copy.detail is not None else last)
    for trial in trials:
        for measurement in curves.get(trial.number, []):
            setting = Setting.from_json(trial.setting)
            outcome = made_up_outcome(trial.number, trial.seed, measurement.epoch, setting)
            assert isinstance(outcome, Measured)
            assert measurement.val_loss == outcome.metrics["val_loss"]
    return [trial for trial in trials if trial.parent_number is None], copies


@pytest.mark.parametrize("kind", KINDS)
def test_each_setting_is_trained_once_on_any_number_of_workers(store: Store, kind: str) -> None:
    space_ = few(**KINDS[kind])
    results = []
    for workers, luck in ((1, 0), (3, 1)):
        sweep_id, pool, _ = run(store, space_, workers=workers, luck=luck)
        trained, copies = check(store, sweep_id, space_)
        assert set(pool.worker_of) == {trial.number for trial in trained}
        assert max(settings_of(trained).values()) == 1
        assert len(copies) >= 4
        results.append(everything(store, sweep_id))
    assert results[0] == results[1]


def test_copies_end_in_every_way(store: Store) -> None:
    space_ = few(sampler="random", pruner="asha", trials=40)
    _, copies = check(store, run(store, space_)[0], space_)
    states = {copy.state for copy in copies}
    assert states == {TrialState.finished, TrialState.pruned, TrialState.diverged}


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind", ["tpe", "random and asha", "two seeds", "one at a time", "many at once", "told of ends"]
)
def test_killed_before_a_commit_it_goes_on_as_the_undisturbed_one(store: Store, kind: str) -> None:
    space_ = few(**KINDS[kind])
    undisturbed, _, commits = run(store, space_)
    expected = everything(store, undisturbed)
    for before in range(0, commits, 1 + commits // 12):
        sweep_id = stored(store, space_)
        with pytest.raises(Killed):
            run(store, space_, sweep_id=sweep_id, commits=before)
        run(store, space_, sweep_id=sweep_id, workers=2, luck=before)
        assert everything(store, sweep_id) == expected, before


@pytest.mark.parametrize("commits", [1, 4, 9, 20])
def test_arrival_order_copies_too_and_resumes(store: Store, commits: int) -> None:
    space_ = few(order="arrival", sampler="random", trials=30, concurrency=6)
    sweep_id = stored(store, space_)
    with pytest.raises(Killed):
        run(store, space_, sweep_id=sweep_id, commits=commits, workers=3)
    run(store, space_, sweep_id=sweep_id, workers=2, luck=1)
    trained, copies = check(store, sweep_id, space_)
    assert max(settings_of(trained).values()) == 1
    assert len(copies) == 30 - len(trained) >= 18


@pytest.mark.slow
@pytest.mark.parametrize("concurrency", [1, 5, 24])
@pytest.mark.parametrize("order", ["rounds", "arrival"])
def test_where_a_trial_failed_its_equivalent_is_trained(store: Store, concurrency: int, order: str) -> None:
    space_ = few(sampler="random", trials=40, concurrency=concurrency, order=order)
    undisturbed, _, _ = run(store, space_)
    alike = next(
        copy.parent_number
        for copy in store.trials(undisturbed)
        if copy.state is TrialState.finished and copy.parent_number is not None
    )
    assert alike is not None
    sweep_id, pool, commits = run(store, space_, failing={alike: "no"})
    trials = store.trials(sweep_id)
    (failed,) = (trial for trial in trials if trial.state is TrialState.failed)
    assert failed.number == alike
    same = [trial for trial in trials if trial.setting == failed.setting]
    second = same[1].number
    assert [trial.parent_number for trial in same] == [None, None] + [second] * (len(same) - 2)
    assert [trial.state for trial in same[1:]] == [TrialState.finished] * (len(same) - 1)
    assert {alike, second} <= set(pool.worker_of)
    assert max(settings_of([trial for trial in trials if trial.parent_number is None]).values()) == 2
    if order == "rounds":
        expected = everything(store, sweep_id)
        for before in range(0, commits, 1 + commits // 6):
            killed = stored(store, space_)
            with pytest.raises(Killed):
                run(store, space_, sweep_id=killed, commits=before, failing={alike: "no"})
            run(store, space_, sweep_id=killed, failing={alike: "no"})
            assert everything(store, killed) == expected, before


def test_a_sampler_is_not_asked_on_and_on_for_settings_that_wait(store: Store) -> None:
    """At most as many settings wait after a decision as there was room for."""
    space_ = few(sampler="random", trials=200, concurrency=16)
    identity = stored(store, space_)
    with pytest.raises(Killed):
        run(store, space_, sweep_id=identity, commits=1)
    assert len(store.proposals(identity)) <= 2 * 16


def test_a_space_smaller_than_the_sweep_ends(store: Store) -> None:
    space_ = few(sampler="tpe", trials=60, concurrency=16)
    trained, copies = check(store, run(store, space_)[0], space_)
    assert len(trained) <= 12
    assert len(trained) + len(copies) == 60


ENDS: dict[str, dict[str, Any]] = {
    "confirmed": {"confirm": Confirm(top=3, seeds=4)},
    "confirmed, with two seeds": {"confirm": Confirm(top=2, seeds=3), "seeds": (0, 7), "trials": 12},
    "no improvement": {"terminator": Terminator(name="no_improvement", settings=15), "trials": 60},
    "a budget of epochs": {"budget": Limits(epochs=40), "trials": 60, "epochs": 4},
}


@pytest.mark.parametrize("kind", ENDS)
def test_what_ends_a_sweep_counts_copies_the_same_after_a_kill(store: Store, kind: str) -> None:
    space_ = few(sampler="random", **ENDS[kind])
    undisturbed, _, commits = run(store, space_)
    assert any(trial.repeats for trial in store.trials(undisturbed))
    expected = everything(store, undisturbed), store.sweep(undisturbed).ending
    for before in range(0, commits, 1 + commits // 5):
        sweep_id = stored(store, space_)
        with pytest.raises(Killed):
            run(store, space_, sweep_id=sweep_id, commits=before)
        run(store, space_, sweep_id=sweep_id, workers=2, luck=before)
        assert (everything(store, sweep_id), store.sweep(sweep_id).ending) == expected, before


def test_a_budget_of_epochs_buys_settings_and_copies_cost_nothing(store: Store) -> None:
    trials = store.trials(run(store, few(sampler="random", **ENDS["a budget of epochs"]))[0])
    assert sum(trial.epochs_trained for trial in trials) <= 40
    assert sum(trial.epochs_done for trial in trials) > 60


def test_equivalent_leaders_are_one(store: Store) -> None:
    """Else the best would be tied with itself for ever."""
    never = ScheduleSpace(name="StepLR", label="StepLR", arguments={"step_size": Fixed(value=99)})
    both = (ScheduleSpace(name="constant", label="constant"), never)
    space_ = few(sampler="random", schedules=both, trials=48, **ENDS["confirmed"])
    sweep_id, _, _ = run(store, space_, rates=NoDecay())
    trials = store.trials(sweep_id)
    searched = [trial for trial in trials if trial.seed == 0]
    best = min(trial.value for trial in searched if trial.value is not None)
    assert sum(trial.value == best for trial in searched) > 1
    leaders = {trial.setting_index for trial in trials if trial.seed != 0}
    settings = [trial.setting for trial in searched if trial.setting_index in leaders]
    assert len({(setting["lr"], setting["momentum"]) for setting in settings}) == 3
    assert not any(trial.repeats for trial in searched if trial.setting_index in leaders)
    verdict = verdict_of(store.sweep(sweep_id), trials)
    assert {standing.setting for standing in verdict.standings} == leaders
    alone = few(sampler="random", seeds=(0, 1, 2), trials=16)
    of_search = verdict_of(*_stored(store, run(store, alone)[0]))
    assert not any(standing.trial.repeats for standing in of_search.standings)
    assert of_search.standings[1].mean != of_search.standings[0].mean


CONTROL: dict[str, dict[str, Any]] = {
    "random": {"sampler": "random", "trials": 40},
    "tpe, asked far ahead": {"trials": 40, "epochs": 22},
    "two seeds": {"sampler": "random", "seeds": (0, 3), "trials": 30},
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", CONTROL)
@pytest.mark.parametrize("fails", [False, True])
def test_a_control_group_is_trained_to_its_end_though_its_like_was_given_up(
    store: Store, kind: str, fails: bool
) -> None:
    """And once only, after all others; what else is like it is a copy of whichever came first."""
    pruner = Pruner(name="decay_fair", arguments={"control": 0.4, "keep": 0.3})
    space_ = replace(few(**CONTROL[kind]), pruner=pruner)
    is_control = control_group(space_)
    failing = {}
    if fails:
        first = next(
            trial for trial in store.trials(run(store, space_)[0]) if trial.parent_number is not None
        )
        failing = {first.parent_number or 0: "no"}
    undisturbed, _, commits = run(store, space_, failing=failing)
    trials = store.trials(undisturbed)
    states = Counter((is_control(trial.setting_index), trial.state) for trial in trials)
    assert states[False, TrialState.pruned] > 2
    assert states[True, TrialState.finished] > 2
    assert states[True, TrialState.pruned] == 0
    trained = [trial for trial in trials if trial.parent_number is None]
    ends = {
        trial.setting_index: trial.state
        for trial in trials
        if trial.state in (TrialState.pruned, TrialState.failed)
    }
    for setting in settings_of(trained):
        same = [trial for trial in trained if f"{sorted(trial.setting.items())} {trial.seed}" == setting]
        assert [one.setting_index in ends for one in same[:-1]] == [True] * (len(same) - 1)
        assert len(same) <= (3 if fails else 2)
    admitted = {
        control: [trial.admitted_round for trial in trained if is_control(trial.setting_index) is control]
        for control in (False, True)
    }
    assert fails or max(admitted[False]) <= min(admitted[True])
    expected = everything(store, undisturbed)
    for before in range(0, commits, 1 + commits // 6):
        sweep_id = stored(store, space_)
        with pytest.raises(Killed):
            run(store, space_, sweep_id=sweep_id, commits=before, failing=failing)
        run(store, space_, sweep_id=sweep_id, workers=2, luck=before, failing=failing)
        assert everything(store, sweep_id) == expected, before


def test_a_family_is_compared_in_its_order_whichever_of_it_come_last(store: Store) -> None:
    never = ScheduleSpace(name="StepLR", label="StepLR", arguments={"step_size": Fixed(value=99)})
    both = (ScheduleSpace(name="constant", label="constant"), never)
    pruner = Pruner(name="decay_fair", arguments={"control": 0.4, "keep": 1.0})
    space_ = replace(few(sampler="grid", schedules=both, concurrency=2), pruner=pruner)
    trials = store.trials(run(store, space_, rates=NoDecay())[0])
    trained = Counter((one.lr, one.momentum) for one in trials if not one.repeats)
    assert len(trials) == 2 * len(trained) == 24
    assert set(trained.values()) == {1}


@pytest.mark.slow
def test_what_waits_in_vain_is_not_expected(store: Store) -> None:
    """It waits for one that was asked ahead when the search ended: :func:`run` compares the counts."""
    ends = Terminator(name="no_improvement", settings=3, by=0.5)
    lrs = Choice(options=tuple(Fixed(value=0.003 * 1.3**power) for power in range(6)))
    momenta = Choice(options=(Fixed(value=0.0), Fixed(value=0.5)))
    sgd = OptimizerSpace(name="SGD", label="SGD", arguments={"lr": lrs, "momentum": momenta})
    space_ = few(optimizers=(sgd,), seed=16, trials=300, epochs=20, concurrency=6, terminator=ends)
    sweep_id, _, _ = run(store, space_)
    trained = {trial.setting_index for trial in store.trials(sweep_id)}
    settings = {p.index: str(sorted(p.parameters.items())) for p in store.proposals(sweep_id)}
    untrained = Counter(setting for index, setting in settings.items() if index not in trained)
    assert max(untrained.values()) > 1  # two alike, neither of which was trained


class NoDecay:
    """Rates of settings whose schedules never do anything."""

    def at_start(self, setting: Setting) -> Hashable:
        return setting.arguments["lr"]

    def throughout(self, setting: Setting) -> Hashable:
        return setting.arguments["lr"]


def _stored(store: Store, sweep_id: int) -> tuple[SweepRow, list[TrialRow]]:
    return store.sweep(sweep_id), store.trials(sweep_id)
