"""Warm starts: what is taken over, what it does to the sampler and to nothing else, and what is refused."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from search_spaces.confirming import Confirm
from search_spaces.earlier import EarlierSetting
from search_spaces.ranges import Choice, Fixed, Log, LogOneMinus, Uniform
from search_spaces.space import Metric, OptimizerSpace, ScheduleSpace, SearchSpace
from sweeps.bounded_history import BoundedHistory
from sweeps.errors import BadInput, UnknownSweep
from sweeps.proposals import Proposals
from sweeps.records import SweepState, TrialState
from sweeps.store import Store, open_store
from sweeps.sweep_files import new_sweep
from sweeps.warm_start import PLACE, WarmStart, earlier_settings, warm_start
from tests.unit.sweeps_for_tests import CATALOGUE, Killed, everything, run, space, stored


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = open_store(f"sqlite:///{tmp_path / 'ravine.db'}")
    yield opened
    opened.close()


@pytest.fixture
def first(store: Store) -> int:
    """A sweep whose settings finished, were pruned or diverged."""
    space_ = space(sampler="random", pruner="asha", trials=40)
    sweep_id = stored(store, space_)
    assert run(store, sweep_id, space_) is SweepState.finished
    return sweep_id


def taken(store: Store, space_: SearchSpace, **files: Any) -> WarmStart:
    found = warm_start(store, space_, CATALOGUE, files or None)
    assert found is not None
    return found


def narrower(**arguments: Any) -> tuple[OptimizerSpace, ...]:
    (optimizer,) = space().optimizers
    return (replace(optimizer, arguments={**optimizer.arguments, **arguments}),)


def test_all_settings_fit_the_space_that_they_come_from(store: Store, first: int) -> None:
    found = taken(store, space(warm_start="made up"))
    assert found.told == f"warm start from sweep {first} (made up): 40 of 40 settings fit"
    trials = store.trials(first)
    assert [one.finished for one in found.settings] == [t.state is TrialState.finished for t in trials]
    for one, trial in zip(found.settings, trials, strict=True):
        assert one.values["SGD.lr"] == trial.setting["lr"]
        if trial.state is TrialState.diverged:
            assert (one.epoch, one.value) == (None, None)
        else:
            assert (one.epoch, one.value) == (trial.epochs_done, trial.value)


def test_what_lies_outside_is_left_and_told(store: Store, first: int) -> None:
    schedules = (
        ScheduleSpace(
            name="StepLR",
            label="StepLR",
            arguments={**space().schedules[1].arguments, "gamma": Uniform(low=0.5, high=0.9)},
        ),
    )
    space_ = space(
        warm_start=str(first), optimizers=narrower(lr=Log(low=1e-2, high=1.0)), schedules=schedules
    )
    found = taken(store, space_)
    settings = [trial.setting for trial in store.trials(first)]
    constant = sum(one["schedule"] == "constant" for one in settings)
    lr = sum(one["schedule"] == "StepLR" and one["lr"] < 1e-2 for one in settings)
    kept = [
        one
        for one in settings
        if one["schedule"] == "StepLR" and one["lr"] >= 1e-2 and one["schedule.gamma"] >= 0.5
    ]
    gamma = len(settings) - constant - lr - len(kept)
    assert min(constant, lr, len(kept), gamma) > 1
    for words in (
        f"{len(kept)} of 40 settings fit; ",
        f"{constant} use schedules that are not searched",
        f"{lr} lie outside lr" if lr > max(constant, gamma) else f"{lr} outside lr",
        "outside schedule.gamma",
    ):
        assert words in found.told
    assert [one.values["SGD.lr"] for one in found.settings] == [one["lr"] for one in kept]


def test_a_range_that_was_fixed_and_one_that_is_fixed_now(store: Store) -> None:
    fixed = space(optimizers=narrower(momentum=Fixed(value=0.5)), trials=6)
    old = stored(store, fixed)
    run(store, old, fixed)
    open_again = taken(store, space(warm_start=str(old)))
    assert {one.values["SGD.momentum"] for one in open_again.settings} == {0.5}
    assert len(open_again.settings) == 6
    other = replace(fixed, optimizers=narrower(momentum=Fixed(value=0.6)), warm_start=str(old))
    with pytest.raises(BadInput, match="0 of 6 settings fit; 6 lie outside momentum; there is nothing"):
        taken(store, other)


DIFFERENT: dict[str, tuple[dict[str, Any], str]] = {
    "task": ({"task": "another"}, "none there, another here"),
    "goal": (
        {"metric": Metric(name="val_loss", goal="maximize")},
        "minimize val_loss there, maximize val_loss here",
    ),
    "metric": (
        {"metric": Metric(name="val_accuracy", goal="maximize")},
        "minimize val_loss there, maximize val_accuracy here",
    ),
    "epochs": ({"epochs": 7}, "6 epochs there, 7 epochs here"),
}


@pytest.mark.parametrize("kind", DIFFERENT)
def test_a_sweep_that_cannot_be_compared_is_refused(store: Store, first: int, kind: str) -> None:
    changes, words = DIFFERENT[kind]
    with pytest.raises(BadInput, match=rf"sweep {first} \(made up\) cannot be compared .*{words}"):
        taken(store, space(warm_start=str(first), **changes))


def test_a_users_task_is_the_same_where_its_file_holds_the_same(store: Store) -> None:
    space_ = space(task="/old/place/tasks.py:Net", trials=2)
    old = store.create_sweep(new_sweep(space_, {"task_file": {"/old/place/tasks.py": "ab" * 32}}))
    run(store, old, space_)
    moved = space(task="/new/place/tasks.py:Net", warm_start=str(old))
    assert len(taken(store, moved, **{"/new/place/tasks.py": "ab" * 32}).settings) == 2
    with pytest.raises(BadInput, match=r"Net of a file with the SHA-256 abababababab there, Net .* cdcd"):
        taken(store, moved, **{"/new/place/tasks.py": "cd" * 32})


def test_a_sweep_that_is_not_there_or_has_nothing_is_refused(store: Store) -> None:
    with pytest.raises(UnknownSweep):
        taken(store, space(warm_start="nobody"))
    empty = stored(store, space())
    with pytest.raises(BadInput, match=f"sweep {empty} .* has no settings that have ended yet"):
        taken(store, space(warm_start=str(empty)))
    assert warm_start(store, space(), CATALOGUE, None) is None


def test_settings_with_several_seeds_are_means_and_confirming_trials_are_left_out(store: Store) -> None:
    space_ = space(seeds=(0, 1), sampler="random", trials=8, confirm=Confirm(top=3, seeds=3))
    old = stored(store, space_)
    run(store, old, space_)
    found = taken(store, space(warm_start=str(old)))
    by_setting: dict[int, list[float | None]] = {}
    searched = [trial for trial in store.trials(old) if trial.seed in (0, 1)]
    assert len(searched) < len(store.trials(old))
    for trial in searched:
        by_setting.setdefault(trial.setting_index, []).append(trial.value)
    expected = [None if None in of else sum(v for v in of if v is not None) / 2 for of in by_setting.values()]
    assert [one.value for one in found.settings] == [pytest.approx(value) for value in expected]


def test_of_a_long_sweep_only_so_many_are_taken_as_samplers_are_shown(store: Store) -> None:
    space_ = space(sampler="random", trials=1203, epochs=1, concurrency=400)
    old = stored(store, space_)
    run(store, old, space_)
    found = taken(store, space(epochs=1, warm_start=str(old)))
    count = len(found.settings)
    assert 900 < count <= 1000
    assert found.told.endswith(f"; {count} of them are taken: the best, the newest, and some of the rest")


# What the new sweep makes of it


def good_at(lr: float, count: int = 30) -> tuple[EarlierSetting, ...]:
    """Settings of a sweep whose loss was the smaller, the nearer the rate was to ``lr``."""
    chance = random.Random(0)
    found = []
    for _ in range(count):
        rate, momentum = 10 ** chance.uniform(-3, 0), 1 - 10 ** chance.uniform(-2, 0)
        values = {"SGD.lr": rate, "SGD.momentum": momentum, "SGD.nesterov": 0, "schedule": 0}
        found.append(EarlierSetting(values=values, finished=True, epoch=6, value=abs(rate - lr)))
    return tuple(found)


@pytest.mark.slow
@pytest.mark.parametrize("sampler", ["tpe", "gp", "optuna.samplers:TPESampler"])
def test_the_first_proposals_are_near_what_was_good(sampler: str) -> None:
    def first_rates(earlier: tuple[EarlierSetting, ...]) -> list[float]:
        proposals = Proposals(space(sampler=sampler), earlier=earlier)
        return [float(str(proposals.ask(1)[0].setting.arguments["lr"])) for _ in range(6)]

    high, low = first_rates(good_at(0.5)), first_rates(good_at(0.002))
    assert sorted(high)[3] > 20 * sorted(low)[3]


@pytest.mark.parametrize("pruner", ["asha", "hyperband", "median"])
def test_a_sampler_that_is_not_asked_shows_that_pruners_and_indices_know_nothing(
    store: Store, pruner: str
) -> None:
    """With a random sampler a warm start could change the sweep through its pruner or its numbering only."""
    space_ = space(sampler="random", pruner=pruner)
    plain, warm = stored(store, space_), stored(store, space_)
    run(store, plain, space_)
    run(store, warm, space_, earlier=good_at(0.1))
    assert everything(store, warm) == everything(store, plain)


KINDS: dict[str, dict[str, Any]] = {
    "tpe and hyperband": {"pruner": "hyperband"},
    "gp": {"sampler": "gp", "trials": 12, "epochs": 2},
    "asked far ahead": {"epochs": 22, "trials": 15},
    "a sampler of one's own": {"sampler": "optuna.samplers:TPESampler"},
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_killed_sweep_with_a_warm_start_equals_the_undisturbed_one(store: Store, kind: str) -> None:
    space_ = space(**KINDS[kind])
    earlier = good_at(0.1)
    undisturbed, disturbed, cold = stored(store, space_), stored(store, space_), stored(store, space_)
    run(store, undisturbed, space_, earlier=earlier)
    run(store, cold, space_)
    assert everything(store, undisturbed) != everything(store, cold)
    kills = 0
    for reports in (2, 4, 6, 13, 1_000_000):
        try:
            state = run(store, disturbed, space_, earlier=earlier, fault=_after(reports))
        except Killed:
            kills += 1
            continue
        break
    assert (state, kills > 1) == (SweepState.finished, True)
    assert everything(store, disturbed) == everything(store, undisturbed)


def _after(reports: int) -> Callable[[], None]:
    left = reports

    def fault() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            raise Killed

    return fault


def test_what_is_stored_is_what_a_resumed_sweep_begins_with(store: Store, first: int) -> None:
    found = taken(store, space(warm_start=str(first)))
    spec = {PLACE: found.to_plain()}
    new = store.create_sweep(new_sweep(space(), spec))
    store.delete_sweep(first, lambda _: True)
    assert earlier_settings(store.sweep(new).spec) == found.settings
    assert earlier_settings({}) == ()


def test_earlier_settings_are_bounded_together_with_the_sweeps_own() -> None:
    history = BoundedHistory(best=2, newest=3, rest=0)
    proposals = Proposals(space(), history, good_at(0.1, count=9))
    for value in (0.5, 0.4):
        index = proposals.ask(1)[0].index
        proposals.report(index, 6, value)
        proposals.end(index, "finished")
    shown = history.shown()
    assert shown[-2:] == [0, 1]
    assert len(shown) == 5
    assert sum(index < 0 for index in shown) == 3


def test_what_a_range_test_has_narrowed_away_is_not_shown() -> None:
    space_ = space(optimizers=narrower(lr=Log(low=0.1, high=1.0)))
    history = BoundedHistory()
    earlier = good_at(0.1)
    Proposals(space_, history, earlier)
    assert len(history.shown()) == sum(float(str(one.values["SGD.lr"])) >= 0.1 for one in earlier) < 30


def test_the_two_kinds_of_momentum_axes_take_the_same_values() -> None:
    flat = narrower(momentum=Choice(options=(Fixed(value=0.0), LogOneMinus(low=0.5, high=0.99))))
    one = EarlierSetting(
        values={"SGD.lr": 0.1, "SGD.momentum": 1, "SGD.momentum[1]": 0.9, "SGD.nesterov": 0, "schedule": 0},
        finished=False,
    )
    history = BoundedHistory()
    Proposals(space(optimizers=flat, pruner="none"), history, (one,))
    assert history.shown() == [-1]


def test_what_not_all_earlier_settings_have_is_no_common_ground_to_a_gaussian_process() -> None:
    """Optuna would take what the last of them has for what all have, and miss it in the others."""
    space_ = space(sampler="gp")
    constant = {"schedule": 0, "SGD.lr": 0.1, "SGD.momentum": 0.5, "SGD.nesterov": 0}
    decays = {**constant, "schedule": 1, "StepLR.step_size": 2, "StepLR.gamma": 0.5}
    earlier = [
        EarlierSetting(
            values=values | {"SGD.lr": 0.01 * (at + 1)}, finished=True, epoch=6, value=1.0 / (at + 1)
        )
        for at, values in enumerate([constant, decays] * 6)
    ]
    (asked,) = Proposals(space_, earlier=earlier).ask(1)
    assert set(asked.parameters) >= set(constant)
