"""Sweeps whose trials share rows: the same sweeps, with fewer epochs trained."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from search_spaces.confirming import Confirm
from search_spaces.files import load_space
from search_spaces.limits import Limits
from search_spaces.space import Pruner, SearchSpace
from sweeps.families import epochs_of_rows, rows_at_most, rows_of_open
from sweeps.records import Owner, SweepState, TrialRow, TrialState
from sweeps.runner import run_sweep
from sweeps.session import SweepRun
from sweeps.store import Store, open_store
from tests.unit.sweeps_for_tests import Killed, Silence, stored
from workers.in_process_pool import InProcessPool
from workers.messages import Measured, WorkerSetup
from workers.prefixes import prefixes
from workers.torch_catalogue import catalogue_for

EPOCHS = 8
TEXT = """\
name: forks
task: quadratic
metric: {name: val_loss, goal: minimize}
epochs: 8
optimizer:
  SGD: {lr: [0.05, 0.4, 2.5], momentum: [0.0, 0.8]}
schedule:
  - constant
  - MultiStepLR: {milestones: [[4], [6], [4, 6]], gamma: 0.1}
  - WSD: {decay_start: 5}
  - ReduceLROnPlateau: {factor: 0.5, patience: [0, 1], threshold: 0.6}
  - OneCycleLR: {max_lr: 0.4}
sampler: grid
trials: 43
"""
OWNER = Owner(host="here", pid=1, started=0.0)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = open_store(f"sqlite:///{tmp_path / 'ravine.db'}")
    yield opened
    opened.close()


def space(**changes: Any) -> SearchSpace:
    loaded = load_space(TEXT, source="forks.yaml", stem="forks", catalogue=catalogue_for("quadratic"))
    return replace(loaded.space, **changes)


def run(
    store: Store,
    space_: SearchSpace,
    *,
    forks: bool = True,
    workers: int = 1,
    sweep_id: int | None = None,
    commits: int | None = None,
) -> int:
    """Run the sweep, with each trial alone where ``forks`` is false; killed after ``commits`` rounds."""
    setup = WorkerSetup(
        task=space_.task, metric=space_.metric.name, epochs=space_.epochs, forks=forks, width=4
    )
    identity = stored(store, space_) if sweep_id is None else sweep_id
    sweep_run = SweepRun(
        store=_Dying(store, commits) if commits is not None else store,
        sweep_id=identity,
        space=space_,
        catalogue=catalogue_for(space_.task),
        plan={"execution": "stacked"},
        observer=Silence(),
        interrupted=lambda: False,
        now=lambda: 1_700_000_000.0,
        prefixes=partial(prefixes, space_.task, space_.epochs),
    )
    ended = run_sweep(sweep_run, OWNER, lambda: InProcessPool(setup, workers))
    assert ended is SweepState.finished
    return identity


class _Dying:
    """A store whose process dies after some rounds."""

    def __init__(self, store: Store, commits: int) -> None:
        self._store = store
        self._left = commits

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def commit_round(self, *arguments: Any) -> None:
        if self._left == 0:
            raise Killed
        self._left -= 1
        self._store.commit_round(*arguments)

    def interrupt(self, _lease: Any) -> None:
        """A dead process says nothing."""


def alone(trial: TrialRow) -> TrialRow:
    return replace(trial, epochs_trained=0, parent_number=None, fork_step=None, sweep_id=0, attempt=0)


def shown(store: Store, sweep_id: int) -> tuple[Any, ...]:
    """Everything that decisions could change."""
    trials = [alone(trial) for trial in store.trials(sweep_id)]
    return trials, store.measurements(sweep_id), store.proposals(sweep_id)


def rides(store: Store, sweep_id: int) -> list[tuple[int | None, int | None, int]]:
    """On whose row each trial was, and for how long on its own."""
    return [(trial.parent_number, trial.fork_step, trial.epochs_trained) for trial in store.trials(sweep_id)]


PRUNERS = ["none", "asha", "hyperband", "decay_fair"]


@pytest.mark.parametrize("pruner", PRUNERS)
def test_forks_change_no_decision(store: Store, pruner: str) -> None:
    wide = space(pruner=Pruner(name=pruner), concurrency=43)
    with_forks, without = run(store, wide), run(store, wide, forks=False)
    assert shown(store, with_forks) == shown(store, without)
    trials = store.trials(with_forks)
    states = {trial.state for trial in trials}
    assert states >= {TrialState.finished, TrialState.diverged} | (
        {TrialState.pruned} if pruner != "none" else set()
    )
    asked = sum(trial.epochs_done for trial in trials)
    assert sum(trial.epochs_trained for trial in store.trials(without)) == asked
    assert sum(trial.epochs_trained for trial in trials) < 0.7 * asked


@pytest.mark.parametrize("pruner", PRUNERS)
@pytest.mark.parametrize("concurrency", [3, 6])
def test_a_sweep_with_forks_is_the_same_on_any_number_of_workers(
    store: Store, pruner: str, concurrency: int
) -> None:
    space_ = space(pruner=Pruner(name=pruner), concurrency=concurrency)
    first, *others = (run(store, space_, workers=workers) for workers in (1, 2, 5))
    for other in others:
        assert shown(store, other) == shown(store, first)
        assert rides(store, other) == rides(store, first)


@pytest.mark.parametrize("order", ["rounds", "arrival"])
@pytest.mark.parametrize("commits", [0, 1, 3, 5, 8, 12])
def test_a_killed_sweep_with_forks_goes_on_as_the_undisturbed_one(
    store: Store, order: str, commits: int
) -> None:
    space_ = space(order=order, concurrency=3, pruner=Pruner(name="asha" if order == "rounds" else "none"))
    undisturbed = run(store, space_, workers=2)
    killed = stored(store, space_)
    with pytest.raises(Killed):
        run(store, space_, workers=2, sweep_id=killed, commits=commits)
    run(store, space_, workers=2, sweep_id=killed)
    trials, measurements, proposals = shown(store, killed)
    if order == "rounds":
        assert (trials, measurements, proposals) == shown(store, undisturbed)
        assert rides(store, killed) == rides(store, undisturbed)
    curves = {(one.number, one.epoch): one for one in store.measurements(undisturbed)}
    assert {(one.number, one.epoch): one for one in measurements} == curves


def test_settings_that_share_a_prefix_take_one_place(store: Store) -> None:
    """Two trunks at a time, and everything that branches off them."""
    space_ = space(concurrency=2)
    trials = store.trials(run(store, space_))
    together = Counter(trial.admitted_round for trial in trials)
    assert together[1] == 7 + 1  # a trunk, and OneCycleLR, which sets lr and momentum itself
    assert together[EPOCHS + 1] == 7 + 7
    assert all(admitted == 1 or admitted > EPOCHS for admitted in together)


def test_whose_row_it_was_is_stored(store: Store) -> None:
    trials = {
        (trial.setting.get("lr"), trial.setting.get("momentum"), trial.schedule, str(trial.setting)): trial
        for trial in store.trials(run(store, space(concurrency=43)))
    }
    first = [trial for (lr, momentum, *_), trial in trials.items() if (lr, momentum) == (0.05, 0.0)]
    milestones = {
        tuple(trial.setting["schedule.milestones"]): trial
        for trial in first
        if trial.schedule == "MultiStepLR"
    }
    (constant,) = (trial for trial in first if trial.schedule == "constant")
    assert (constant.parent_number, constant.fork_step, constant.epochs_trained) == (None, None, EPOCHS)
    early, late, both = milestones[(4,)], milestones[(6,)], milestones[(4, 6)]
    assert (early.parent_number, early.fork_step, early.epochs_trained) == (constant.number, 4 * 25, 4)
    assert (late.parent_number, late.fork_step, late.epochs_trained) == (constant.number, 6 * 25, 2)
    assert (both.parent_number, both.fork_step, both.epochs_trained) == (early.number, 6 * 25, 2)


@pytest.mark.parametrize("pruner", ["none", "asha"])
@pytest.mark.parametrize("commits", [1, 4, 7, 11])
def test_a_budget_of_epochs_counts_shared_rows_once_whatever_is_killed(
    store: Store, pruner: str, commits: int
) -> None:
    space_ = space(concurrency=3, pruner=Pruner(name=pruner), budget=Limits(epochs=90))
    undisturbed = run(store, space_, workers=2)
    trials = store.trials(undisturbed)
    trained = sum(trial.epochs_trained for trial in trials)
    assert 90 - EPOCHS < trained <= 90 < sum(trial.epochs_done for trial in trials)
    assert len(trials) < 43
    killed = stored(store, space_)
    with pytest.raises(Killed):
        run(store, space_, workers=2, sweep_id=killed, commits=commits)
    run(store, space_, workers=2, sweep_id=killed)
    assert shown(store, killed) == shown(store, undisturbed)
    assert sum(trial.epochs_trained for trial in store.trials(killed)) == trained
    assert store.sweep(killed).ending == store.sweep(undisturbed).ending


def test_rows_whose_own_trial_has_ended_are_counted_for_the_first_that_rode_on_them() -> None:
    def measured(number: int, rides_on: int | None) -> Measured:
        return Measured(
            number=number,
            epoch=1,
            step=1,
            lr=0.1,
            momentum=None,
            peak_lr=0.1,
            train_loss=1.0,
            grad_norm=1.0,
            metrics={"val_loss": 1.0},
            rides_on=rides_on,
            cooldown_epochs=2 if number == 0 else 0,
        )

    outcomes = [measured(2, 0), measured(1, 0), measured(0, None), measured(3, None)]

    def found(open_trials: set[int]) -> tuple[dict[int, int | None], dict[int, int]]:
        heard = rows_of_open(outcomes, open_trials)
        rows = {one.number: one.rides_on for one in heard if isinstance(one, Measured)}
        return rows, epochs_of_rows(heard)

    assert found({0, 1, 2, 3}) == ({0: None, 1: 0, 2: 0, 3: None}, {0: 3, 3: 1})
    assert found({1, 2, 3}) == ({1: None, 2: 1, 3: None}, {1: 3, 3: 1})
    assert found({2}) == ({2: None}, {2: 3})
    assert rows_of_open([measured(2, 0)], {2}) == [measured(2, None)]


def test_schedules_that_may_act_at_any_time_are_counted_apart() -> None:
    prefixes_ = [(0, 0, 0), (0, 0, 2), (0, 0, 0)]
    assert rows_at_most(prefixes_, [False, False, False], (1, 1, 1)) == 1 + 1 + 2
    assert rows_at_most(prefixes_, [False, False, True], (1, 1, 1)) == 1 + 1 + 2 + 3
    assert rows_at_most(prefixes_, [False, False, True], (1, 3, 1)) == 1 + 3 * 1 + 2 + 5
    assert rows_at_most([], [], (1, 1, 1)) == 0


def test_leaders_that_begin_alike_share_rows_with_each_fresh_seed(store: Store) -> None:
    """Of the same seed only; their curves are those of trials that are alone.

    Two schedules that never act are no leaders where they ride on another's row to the end.
    """
    space_ = space(confirm=Confirm(top=6, seeds=2), concurrency=43)
    with_forks = run(store, space_)
    without = run(store, replace(space_, confirm=Confirm(top=8, seeds=2)), forks=False)
    found = [
        {
            (trial.setting_index, trial.seed): [
                replace(shown_, number=0) for shown_ in store.measurements(sweep_id, numbers=[trial.number])
            ]
            for trial in store.trials(sweep_id)
            if trial.seed not in space_.seeds
        }
        for sweep_id in (with_forks, without)
    ]
    assert all(found[1][key] == curve for key, curve in found[0].items())
    assert (len(found[0]), len(found[1])) == (6 * 2, 8 * 2)
    confirming = [trial for trial in store.trials(with_forks) if trial.seed not in space_.seeds]
    by_number = {trial.number: trial for trial in confirming}
    riders = [trial for trial in confirming if trial.parent_number is not None]
    assert riders, "nothing was tested"
    for trial in riders:
        assert trial.parent_number is not None
        assert by_number[trial.parent_number].seed == trial.seed
    assert sum(trial.epochs_trained for trial in confirming) < sum(t.epochs_done for t in confirming)
