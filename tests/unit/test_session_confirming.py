"""Sweeps that confirm their leaders: who is trained again, when, and that kills change nothing."""

from __future__ import annotations

import json
import random
import re
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from typer.testing import CliRunner

from search_spaces.confirming import Confirm
from search_spaces.limits import Limits, Terminator
from search_spaces.settings import Setting
from search_spaces.space import SearchSpace
from sweeps.cli import app
from sweeps.ledger import Ledger
from sweeps.proposals import Proposals, Told
from sweeps.records import Lease, RoundRecord, SweepState, TrialRow, TrialState
from sweeps.store import Store, open_store
from sweeps.verdict import Basis, verdict_of
from tests.unit import sweeps_for_tests
from tests.unit.sweeps_for_tests import (
    CATALOGUE,
    FakePool,
    Killed,
    Silence,
    everything,
    made_up_outcome,
    run,
    stored,
)
from tests.unit.sweeps_for_tests import space as plain_space
from workers.messages import Diverged, Measured, Outcome

KINDS: dict[str, dict[str, Any]] = {
    "tpe": {},
    "random and median": {"sampler": "random", "pruner": "median"},
    "two seeds": {"seeds": (1, 4), "trials": 10},
    "grid": {"sampler": "grid", "trials": 24},
    "one epoch": {"epochs": 1, "trials": 12},
    "one at a time": {"concurrency": 1, "trials": 5},
    "many at a time": {"concurrency": 64},
    "maximized": {"trials": 12},
}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = open_store(f"sqlite:///{tmp_path / 'ravine.db'}")
    yield opened
    opened.close()


def space(kind: str = "tpe", top: int = 3, seeds: int = 4, **changes: Any) -> SearchSpace:
    found = plain_space(**{"confirm": Confirm(top=top, seeds=seeds), **KINDS[kind], **changes})
    if kind == "maximized":
        found = replace(found, metric=replace(found.metric, name="val_accuracy", goal="maximize"))
    return found


def split(store: Store, sweep_id: int, space_: SearchSpace) -> tuple[list[TrialRow], list[TrialRow]]:
    """Trials of the search, and those that confirm."""
    trials = store.trials(sweep_id)
    return (
        [trial for trial in trials if trial.seed in space_.seeds],
        [trial for trial in trials if trial.seed not in space_.seeds],
    )


def best_settings(search: list[TrialRow], space_: SearchSpace) -> list[int]:
    values: dict[int, list[float]] = {}
    for trial in search:
        if trial.state is TrialState.finished and trial.value is not None:
            values.setdefault(trial.setting_index, []).append(trial.value)
    whole = [index for index, found in values.items() if len(found) == len(space_.seeds)]
    sign = 1 if space_.metric.goal == "minimize" else -1
    return sorted(whole, key=lambda index: (sign * sum(values[index]), index))


@pytest.mark.parametrize("kind", KINDS)
def test_the_leaders_are_trained_again_with_fresh_seeds(store: Store, kind: str) -> None:
    space_ = space(kind)
    sweep_id = stored(store, space_)
    observer = Silence()
    assert run(store, sweep_id, space_, workers=2, observer=observer) is SweepState.finished
    search, confirming = split(store, sweep_id, space_)
    assert [trial.number for trial in search + confirming] == list(range(len(search + confirming)))
    assert {trial.setting_index for trial in search} == {one.index for one in store.proposals(sweep_id)}
    leaders = best_settings(search, space_)[:3]
    fresh = {"two seeds": [0, 2, 3, 5]}.get(kind, [1, 2, 3, 4])
    asked = Counter(trial.setting_index for trial in confirming)
    assert set(asked) == set(leaders)
    for index in leaders:
        mine = [trial for trial in confirming if trial.setting_index == index]
        assert [trial.seed for trial in mine] == fresh[: len(mine)]
        assert len(mine) >= 2
        first = next(trial for trial in search if trial.setting_index == index)
        for trial in mine:
            assert (trial.setting, trial.lr, trial.optimizer) == (first.setting, first.lr, first.optimizer)
            assert trial.state is TrialState.finished
            curve = store.measurements(sweep_id, numbers=[trial.number])
            assert [shown.epoch for shown in curve] == list(range(1, space_.epochs + 1))
    verdict = verdict_of(store.sweep(sweep_id), store.trials(sweep_id))
    assert (verdict.basis, verdict.over) == (Basis.fresh_seeds, True)
    assert {one.setting for one in verdict.standings} == set(leaders)
    assert {one.setting: one.mean.seeds for one in verdict.standings if one.mean} == asked
    last = observer.snapshots[-1]
    assert last.trials_expected == len(search + confirming)
    assert last.epochs_expected == last.epochs_done
    assert last.best is not None
    assert last.best.row.seed in space_.seeds
    snapshots = [shown.epochs_expected for shown in observer.snapshots]
    if kind not in ("random and median", "grid"):
        assert snapshots[0] >= snapshots[-1]


def test_the_search_is_what_it_would_have_been(store: Store) -> None:
    """The sampler and the pruner never hear of what is trained to confirm."""
    with_, without = space("random and median"), space("random and median", confirm=None)
    told: list[int] = []
    report = Proposals.report

    def listen(self: Proposals, index: int, epoch: int, value: float) -> None:
        told.append(index)
        report(self, index, epoch, value)

    first, second = stored(store, with_), stored(store, without)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Proposals, "report", listen)
        run(store, first, with_)
        count = len(told)
        run(store, second, without)
    assert len(told) == 2 * count
    search, confirming = split(store, first, with_)
    assert confirming
    assert [replace(trial, sweep_id=0) for trial in search] == [
        replace(trial, sweep_id=0) for trial in store.trials(second)
    ]
    assert store.proposals(first) == store.proposals(second)


def test_a_resumed_race_tells_the_sampler_what_the_search_alone_had_shown(store: Store) -> None:
    space_ = space("random and median")
    sweep_id = stored(store, space_)

    def fault() -> None:
        if split(store, sweep_id, space_)[1]:
            raise Killed

    with pytest.raises(Killed):
        run(store, sweep_id, space_, fault=fault)
    told: list[Told] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Proposals, "rebuild", lambda _, history: told.extend(history))
        Ledger(space_, CATALOGUE).restore(
            rounds_done=1,
            proposals=store.proposals(sweep_id),
            trials=store.trials(sweep_id),
            measurements=store.measurements(sweep_id),
        )
    search, confirming = split(store, sweep_id, space_)
    ends = {TrialState.finished: "finished", TrialState.pruned: "pruned", TrialState.diverged: "pruned"}
    assert confirming
    assert {one.index: one.end for one in told} == {t.setting_index: ends[t.state] for t in search}


def test_all_leaders_train_at_once_with_two_seeds_and_then_with_one(store: Store) -> None:
    space_ = space("many at a time")
    sweep_id = stored(store, space_)
    run(store, sweep_id, space_, workers=2)
    _, confirming = split(store, sweep_id, space_)
    together = Counter(trial.admitted_round for trial in confirming)
    first, *later = sorted(together)
    assert together[first] == 3 * 2
    assert all(together[round_] <= 3 for round_ in later)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("luck", range(2))
def test_a_killed_and_resumed_sweep_confirms_as_the_undisturbed_one(
    store: Store, kind: str, luck: int
) -> None:
    space_ = space(kind)
    undisturbed, disturbed = stored(store, space_), stored(store, space_)
    run(store, undisturbed, space_)
    chance = random.Random(luck)
    kills = 0
    while True:
        fault = _after(chance.randint(1, 2 if space_.epochs == 1 else 16))
        try:
            state = run(store, disturbed, space_, workers=chance.choice((1, 2)), seed=luck, fault=fault)
        except Killed:
            kills += 1
            continue
        break
    assert state is SweepState.finished
    assert kills > 0, "nothing was tested"
    assert everything(store, disturbed) == everything(store, undisturbed)


def test_a_sweep_killed_after_any_commit_of_its_race_goes_on_as_the_undisturbed_one(store: Store) -> None:
    space_ = space(trials=6, epochs=3, top=2, seeds=3)
    undisturbed = stored(store, space_)
    run(store, undisturbed, space_)
    _, confirming = split(store, undisturbed, space_)
    rounds = store.sweep(undisturbed).rounds_done
    begun = min(trial.admitted_round for trial in confirming)
    for commits in range(begun - 2, rounds):
        disturbed = stored(store, space_)
        with pytest.raises(Killed):
            run(cast(Store, _Dying(store, commits)), disturbed, space_)
        assert store.sweep(disturbed).rounds_done == commits
        assert run(store, disturbed, space_) is SweepState.finished
        assert everything(store, disturbed) == everything(store, undisturbed)


def _after(reports: int) -> Callable[[], None]:
    left = reports

    def fault() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            raise Killed

    return fault


class _Dying:
    """A store whose process dies before a round beyond these is stored."""

    def __init__(self, store: Store, rounds: int) -> None:
        self._store, self._rounds = store, rounds

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def commit_round(self, lease: Lease, record: RoundRecord) -> None:
        if record.rounds_done > self._rounds:
            raise Killed
        self._store.commit_round(lease, record)

    def interrupt(self, _lease: Lease) -> None:
        """A dead process says nothing."""


@pytest.mark.parametrize("workers", [1, 3, 7])
def test_arrival_order_confirms_on_all_workers(store: Store, workers: int) -> None:
    space_ = space(order="arrival", sampler="random", concurrency=6, top=3, seeds=3)
    by_seed = []
    for luck in (0, 1):
        sweep_id = stored(store, space_)
        pools: list[FakePool] = []
        state = run(store, sweep_id, space_, workers=workers, seed=luck, pools=pools)
        assert state is SweepState.finished
        _, confirming = split(store, sweep_id, space_)
        by_seed.append({(str(t.setting), t.seed): t.value for t in confirming})
        used = {pools[0].worker_of[trial.number] for trial in confirming}
        assert len(used) == min(workers, 6)
    assert by_seed[0] == by_seed[1]


@pytest.mark.parametrize("luck", range(4))
def test_arrival_order_resumes_its_race_with_other_workers(store: Store, luck: int) -> None:
    space_ = space(order="arrival", sampler="random", concurrency=6)
    undisturbed, disturbed = stored(store, space_), stored(store, space_)
    run(store, undisturbed, space_, workers=3)
    chance = random.Random(luck)
    for workers in (3, 2, 4, 1):
        try:
            run(store, disturbed, space_, workers=workers, fault=_after(chance.randint(15, 30)))
        except Killed:
            continue
        break
    else:
        assert run(store, disturbed, space_, workers=2) is SweepState.finished
    found = [
        {(str(t.setting), t.seed): t.value for t in split(store, sweep_id, space_)[1]}
        for sweep_id in (undisturbed, disturbed)
    ]
    assert found[0] == found[1]


def test_a_stop_cancels_the_race(store: Store) -> None:
    space_ = space()
    sweep_id = stored(store, space_)

    def fault() -> None:
        if split(store, sweep_id, space_)[1]:
            store.request_stop(sweep_id)

    patient = 0.0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sweeps.session.POLL_SECONDS", patient)
        assert run(store, sweep_id, space_, fault=fault) is SweepState.stopped
    _, confirming = split(store, sweep_id, space_)
    assert {trial.state for trial in confirming} == {TrialState.cancelled}


def test_a_leader_that_diverges_drops_out_and_one_that_fails_does_not(store: Store) -> None:
    space_ = space(trials=8, top=3, seeds=4)
    undisturbed, sweep_id = stored(store, space_), stored(store, space_)
    run(store, undisturbed, space_)
    best = best_settings(store.trials(undisturbed)[:8], space_)[0]
    identity = store.trials(undisturbed)[best].setting

    def outcome(number: int, seed: int, epoch: int, setting: Setting) -> Outcome:
        found = made_up_outcome(number, seed, epoch, setting)
        if isinstance(found, Measured) and (seed, setting.to_json()) == (2, identity):
            return Diverged(
                number=number, epoch=epoch, step=9, lr=1.0, peak_lr=1.0, grad_norm=None, reason="inf"
            )
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sweeps_for_tests, "made_up_outcome", outcome)
        assert run(store, sweep_id, space_, failing={9: "ValueError: no"}) is SweepState.finished
    _, confirming = split(store, sweep_id, space_)
    states = {(trial.setting_index, trial.seed): trial.state for trial in confirming}
    assert states[best, 2] is TrialState.diverged
    assert (best, 3) not in states
    failed = next(trial for trial in confirming if trial.state is TrialState.failed)
    assert (failed.setting_index, 3) in states


def test_nothing_is_confirmed_where_nothing_can_be_compared(store: Store) -> None:
    space_ = space(trials=1)
    sweep_id = stored(store, space_)
    assert run(store, sweep_id, space_) is SweepState.finished
    assert len(store.trials(sweep_id)) == 1


def test_settings_that_are_the_same_are_one_leader(store: Store) -> None:
    """A grid whose nesterov says nothing without momentum has pairs of them."""
    space_ = space("grid", top=24)
    sweep_id = stored(store, space_)
    run(store, sweep_id, space_)
    search, confirming = split(store, sweep_id, space_)
    finished = [trial for trial in search if trial.state is TrialState.finished]
    settings = [str(sorted(trial.setting.items(), key=str)) for trial in finished]
    assert len(set(settings)) < len(settings)
    assert len({trial.setting_index for trial in confirming}) == len(set(settings))


def test_a_budget_of_epochs_keeps_what_confirming_may_take(store: Store) -> None:
    """3 leaders x 4 seeds x 6 epochs of 150: the search has 78."""
    space_ = space(sampler="random", trials=400, budget=Limits(epochs=150))
    undisturbed = stored(store, space_)
    assert run(store, undisturbed, space_, workers=2) is SweepState.finished
    search, confirming = split(store, undisturbed, space_)
    assert 72 < sum(trial.epochs_trained for trial in search) <= 78
    assert len({trial.setting_index for trial in confirming}) == 3
    assert "up to 72 are kept for confirming" in str(store.sweep(undisturbed).ended_early)
    killed = stored(store, space_)
    for reports in (3, 11, 25):
        with pytest.raises(Killed):
            run(store, killed, space_, fault=_after(reports))
    assert run(store, killed, space_) is SweepState.finished
    assert everything(store, killed) == everything(store, undisturbed)
    assert store.sweep(killed).ending == store.sweep(undisturbed).ending


def test_a_terminator_ends_the_search_and_its_leaders_are_confirmed(store: Store) -> None:
    space_ = space(
        sampler="random", trials=400, terminator=Terminator(name="no_improvement", settings=9, by=0.0)
    )
    sweep_id = stored(store, space_)
    assert run(store, sweep_id, space_) is SweepState.finished
    search, confirming = split(store, sweep_id, space_)
    assert len(search) < 200
    assert len({trial.setting_index for trial in confirming}) == 3


def test_near_the_end_of_the_wall_time_leaders_are_looked_at_once_and_no_more(store: Store) -> None:
    """The search leaves them a trial's time; the race is given up where another look takes too long."""
    now = 0.0

    def tick() -> None:
        nonlocal now
        now += 1.0

    space_ = space(sampler="random", trials=1000, budget=Limits(wall_seconds=60.0))
    sweep_id = stored(store, space_)
    assert run(store, sweep_id, space_, clock=lambda: now, fault=tick) is SweepState.finished
    search, confirming = split(store, sweep_id, space_)
    assert {trial.state for trial in search + confirming} <= {TrialState.finished, TrialState.diverged}
    assert {trial.seed for trial in confirming} >= {1, 2}
    assert now <= 60.0


def test_best_is_told_on_the_command_line(store: Store, tmp_path: Path) -> None:
    space_ = space(trials=12)
    sweep_id = stored(store, space_)
    run(store, sweep_id, space_)
    home = ["--home", str(tmp_path)]
    table = CliRunner().invoke(app, ["best", "1", *home])
    assert table.exit_code == 0
    assert "mean over fresh seeds" in table.stdout
    assert re.search("settings .* are tied after 4 fresh seeds each|the difference is real", table.stdout)
    told = CliRunner().invoke(app, ["best", "1", "--json", *home])
    rows = json.loads(told.stdout)
    assert [row["place"] for row in rows[:4]].count(None) == 1
    assert rows[0]["seed"] == 0
    assert rows[0]["mean_low"] < rows[0]["mean"] < rows[0]["mean_high"]
    first = store.trials(sweep_id)[rows[0]["number"]]
    assert (rows[0]["value"], rows[0]["state"]) == (first.value, "finished")


def test_scripts_tell_search_from_confirming_by_sql(store: Store, tmp_path: Path) -> None:
    space_ = space("two seeds")
    sweep_id = stored(store, space_)
    run(store, sweep_id, space_)
    search, confirming = split(store, sweep_id, space_)
    query = """
        SELECT t.number FROM trials t JOIN sweeps s ON s.id = t.sweep_id
        WHERE t.sweep_id = ? AND t.seed NOT IN (SELECT value FROM json_each(s.spec, '$.seeds'))
        ORDER BY t.number
    """
    with closing(sqlite3.connect(tmp_path / "ravine.db")) as connection:
        found = [number for (number,) in connection.execute(query, (sweep_id,))]
    assert found == [trial.number for trial in confirming]
    assert found[0] == len(search)
