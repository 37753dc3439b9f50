"""Features beside each other: whatever sweep is drawn, it keeps what each of its features promises."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import replace
from statistics import fmean
from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import Pool

from search_spaces.settings import Setting
from sweeps.pruning_audit import audit_of
from sweeps.records import Measurement, Owner, SweepState, TrialRow, TrialState
from sweeps.rungs import control_group
from sweeps.runner import run_sweep
from sweeps.session import SweepRun
from sweeps.store import Store, open_store
from sweeps.sweep_files import new_sweep
from sweeps.verdict import Basis, verdict_of
from tests.unit.drawn_sweeps import CATALOGUE, DrawnSweep, draw_sweep
from tests.unit.drawn_workers import (
    Curves,
    Rates,
    RowPool,
    identity_of,
    prefixes,
    starting_rate,
    table,
)
from tests.unit.sweeps_for_tests import Killed, Silence

SEEDS = range(40)
OWNER = Owner(host="here", pid=1, started=0.0)
ENDED = {TrialState.finished, TrialState.pruned, TrialState.diverged, TrialState.failed}


class Dying:
    """A store whose process dies before it would store one more round."""

    def __init__(self, store: Store, rounds: int | None) -> None:
        self._store, self._left = store, rounds

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def commit_round(self, *arguments: Any) -> None:
        if self._left == 0:
            raise Killed
        if self._left is not None:
            self._left -= 1
        self._store.commit_round(*arguments)

    def interrupt(self, lease: Any) -> None:
        if self._left is None:
            self._store.interrupt(lease)


class Bench:
    """One drawn sweep, to be run as often as is wanted."""

    def __init__(self, store: Store, sweep: DrawnSweep) -> None:
        self.store, self.sweep, self.space = store, sweep, sweep.space
        self.curves, self.rates, self.prefixes = (
            Curves(sweep),
            Rates(self.space.epochs),
            prefixes(self.space.epochs),
        )
        self.observer = Silence()
        self.pool: RowPool | None = None

    def new(self) -> int:
        return self.store.create_sweep(new_sweep(self.space, {"pruner": self.space.pruner.name}))

    def run(
        self,
        sweep_id: int,
        *,
        workers: int = 1,
        luck: int = 0,
        commits: int | None = None,
        fault: Callable[[], None] = lambda: None,
    ) -> SweepState:
        """One process: until the sweep ends, or until it is killed."""
        self.observer = Silence()
        pool = self.pool = RowPool(
            sweep=self.sweep, curves=self.curves, workers=workers, random_=random.Random(luck), fault=fault
        )
        store: Any = Dying(self.store, commits)
        return run_sweep(
            SweepRun(
                store=store,
                sweep_id=sweep_id,
                space=self.space,
                catalogue=CATALOGUE,
                plan={"execution": "made up"},
                observer=self.observer,
                interrupted=lambda: False,
                now=lambda: 1_700_000_000.0,
                earlier=self.sweep.earlier,
                prefixes=self.prefixes if self.space.forks else None,
                rates=self.rates,
            ),
            OWNER,
            lambda: pool,
        )

    @property
    def most_reports(self) -> int:
        """Far more than any such sweep takes."""
        space = self.space
        confirming = 0 if space.confirm is None else space.confirm.top * space.confirm.seeds
        return 50 + 6 * (space.trials * len(space.seeds) + confirming) * (space.epochs + 4)

    def killed_often(self, sweep_id: int, chance: random.Random) -> SweepState:
        """Processes that die before a decision is stored, or between two reports, until one goes through."""
        kills = 4
        while True:
            commits = (
                chance.randint(0, 2 * self.space.epochs + 4) if kills and chance.random() < 0.6 else None
            )
            left = (
                chance.randint(1, 3 * self.space.epochs + 6)
                if kills and commits is None
                else self.most_reports
            )
            workers = chance.choice((1, 2, 3))
            try:
                fault = after(left, Killed if kills else AssertionError)
                return self.run(sweep_id, workers=workers, luck=kills, commits=commits, fault=fault)
            except Killed:
                kills -= 1

    def facts(self, sweep_id: int) -> tuple[Any, ...]:
        """All that must not depend on luck."""
        trials = [
            replace(trial, sweep_id=0, attempt=0, lane=0, admitted_round=0)
            for trial in self.store.trials(sweep_id)
        ]
        ending = self.store.sweep(sweep_id).ending
        return trials, self.store.measurements(sweep_id), self.store.proposals(sweep_id), ending

    def curves_of(self, sweep_id: int) -> dict[int, list[Measurement]]:
        found: dict[int, list[Measurement]] = defaultdict(list)
        for measurement in self.store.measurements(sweep_id):
            found[measurement.number].append(measurement)
        return found


def after(reports: int, error: type[BaseException]) -> Callable[[], None]:
    """A fault before so many reports have come."""
    left = reports

    def fault() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            raise error

    return fault


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """A store that does not wait for the disk: what is killed here is no machine."""

    def forget(connection: DBAPIConnection, _record: object, _proxy: object) -> None:
        connection.cursor().execute("PRAGMA synchronous=OFF")

    event.listen(Pool, "checkout", forget)
    opened = open_store(f"sqlite:///{tmp_path_factory.mktemp('together') / 'ravine.db'}")
    yield opened
    opened.close()
    event.remove(Pool, "checkout", forget)


@pytest.mark.parametrize("seed", SEEDS)
def test_features_keep_their_promises_beside_each_other(store: Store, seed: int) -> None:
    examine(store, seed)


def examine(store: Store, seed: int) -> None:
    """Run the drawn sweep undisturbed, on other workers, and killed; raises AssertionError."""
    sweep = draw_sweep(seed)
    bench, chance = Bench(store, sweep), random.Random(seed)
    first = bench.new()
    state = bench.run(first, luck=seed, fault=after(bench.most_reports, AssertionError))
    check(bench, first, state)
    expected = bench.facts(first)
    for workers in () if sweep.space.order == "arrival" else (chance.choice((2, 3)),):
        other = bench.new()
        assert bench.run(other, workers=workers, luck=seed + 1) is state
        assert bench.facts(other) == expected
    killed = bench.new()
    ended = bench.killed_often(killed, chance)
    check(bench, killed, ended, undisturbed=False)
    if sweep.space.order == "rounds":
        assert ended is state
        assert bench.facts(killed) == expected


def check(bench: Bench, sweep_id: int, state: SweepState, *, undisturbed: bool = True) -> None:
    """Everything that can be said of one sweep by itself."""
    trials = bench.store.trials(sweep_id)
    curves = bench.curves_of(sweep_id)
    failed = sum(trial.state is TrialState.failed for trial in trials)
    assert state is SweepState.finished or (state is SweepState.failed and failed)
    check_rows(bench, trials, curves, state)
    check_snapshot(bench, trials, state)
    searched = [trial for trial in trials if trial.seed in bench.space.seeds]
    if state is SweepState.finished:
        check_counts(bench, sweep_id, searched)
        check_leaders(bench, sweep_id, trials, searched)
    check_equivalents(bench, searched, curves)
    check_control(bench, searched)
    trained = sum(trial.epochs_trained for trial in trials)
    if undisturbed and bench.pool is not None:
        assert trained <= bench.pool.epochs_trained
        waiting = {trial.number for trial in trials if trial.state is TrialState.cancelled}
        whole = not failed and not bench.sweep.diverging and bench.space.pruner.name == "none"
        if whole and all(trial.state is TrialState.finished for trial in trials):
            assert trained == bench.pool.epochs_trained
        assert {trial.number for trial in trials if not trial.repeats} - waiting <= bench.pool.ever
    limit = bench.space.budget.epochs
    assert limit is None or trained <= limit
    audit_of(bench.store, bench.store.sweep(sweep_id))


def check_rows(
    bench: Bench, trials: list[TrialRow], curves: dict[int, list[Measurement]], state: SweepState
) -> None:
    """Each trial has ended, with the curve that training gives, and its columns say so."""
    space, by_number = bench.space, {trial.number: trial for trial in trials}
    may_be = ENDED | ({TrialState.cancelled} if state is SweepState.failed else set())
    assert len(by_number) == len(trials)
    for trial in trials:
        assert trial.state in may_be, trial
        curve = curves.get(trial.number, [])
        assert [one.epoch for one in curve] == list(range(1, trial.epochs_done + 1))
        shown = bench.curves.of(Setting.from_json(trial.setting), trial.seed)
        assert [(one.lr, one.val_loss) for one in curve] == [
            (one.rate, one.loss) for one in shown[: len(curve)] if not one.diverged
        ]
        if trial.state is TrialState.diverged:
            assert (trial.value, len(shown) - 1, shown[-1].diverged) == (None, trial.epochs_done, True)
            assert trial.detail is not None
        elif trial.state is TrialState.failed:
            assert (trial.value, trial.cause) == (None, "user_error")
        elif curve:
            last = curve[-1]
            assert trial.value == last.val_loss or trial.value == last.extra.get(space.metric.name)
            assert trial.final_lr == last.lr
            assert trial.peak_lr == max(one.lr for one in curve)
        assert (trial.state is TrialState.finished) == (trial.epochs_done == space.epochs)
        cooled = sum("cooldown_val_loss" in one.extra or "cooldown_diverged" in one.extra for one in curve)
        per = int(str(space.pruner.arguments.get("cooldown_epochs", 0)))
        # The row of a trial that was given up meanwhile is counted for the first that rode on it.
        assert 0 <= trial.epochs_trained <= trial.epochs_done + cooled * per
        if trial.parent_number is not None:
            parent = by_number[trial.parent_number]
            assert parent.seed == trial.seed
            shared = [replace(one, number=0) for one in curve if one.step <= (trial.fork_step or 0)]
            theirs = [replace(one, number=0) for one in curves.get(parent.number, [])]
            assert shared == theirs[: len(shared)], (trial, parent)


def check_snapshot(bench: Bench, trials: list[TrialRow], state: SweepState) -> None:
    """What whoever watches has been told at last."""
    assert bench.observer.ends == 1
    if not bench.observer.snapshots:
        return
    last = bench.observer.snapshots[-1]
    if state is SweepState.finished:
        assert {state: count for state, count in last.counts.items() if count} == Counter(
            t.state for t in trials
        )
        assert last.epochs_done == sum(trial.epochs_done for trial in trials)
        assert last.trials_expected == len(trials)
        assert last.epochs_expected == last.epochs_done
    best = min(
        (
            ((-1 if bench.space.metric.goal == "maximize" else 1) * trial.value, trial.number)
            for trial in trials
            if trial.state is TrialState.finished
            and trial.value is not None
            and trial.seed in bench.space.seeds
        ),
        default=None,
    )
    found = last.best
    assert (None if found is None else found.row.number) == (None if best is None else best[1])


def check_counts(bench: Bench, sweep_id: int, searched: list[TrialRow]) -> None:
    """As many settings as were asked for, or a reason why they are fewer."""
    space, row = bench.space, bench.store.sweep(sweep_id)
    seeds = len(space.seeds)
    of_setting = Counter(trial.setting_index for trial in searched)
    assert all(count == seeds for count in of_setting.values())
    for trial in searched:
        assert trial.number == trial.setting_index * seeds + space.seeds.index(trial.seed)
    proposals = bench.store.proposals(sweep_id)
    assert [one.index for one in proposals] == list(range(len(proposals)))
    assert len(proposals) <= space.trials
    if row.ended_early is None:
        assert len(of_setting) == len(proposals)
        assert len(proposals) == space.trials or space.sampler == "grid"
        return
    assert row.ending is not None
    tried = {trial.setting_index for trial in searched}
    is_control = control_group(space)
    assert all(one.index in tried for one in proposals if is_control(one.index))
    if row.ending["by"] == "epochs":
        assert space.budget.epochs is not None
    else:
        assert row.ending["by"] == space.terminator.name
    assert len(of_setting) < space.trials, row.ending


def check_leaders(bench: Bench, sweep_id: int, trials: list[TrialRow], searched: list[TrialRow]) -> None:
    """Those that are confirmed are the best of the search, each setting once."""
    confirming = [trial for trial in trials if trial.seed not in bench.space.seeds]
    verdict = verdict_of(bench.store.sweep(sweep_id), trials)
    if bench.space.confirm is None:
        assert not confirming
        return
    values: dict[int, list[float]] = defaultdict(list)
    alike: dict[int, object] = {}
    own = {trial.setting_index for trial in searched if not trial.repeats}
    for trial in searched:
        if trial.state is TrialState.finished and trial.value is not None and trial.setting_index in own:
            values[trial.setting_index].append(trial.value)
            setting = Setting.from_json(trial.setting)
            alike[trial.setting_index] = (
                identity_of(setting),
                table(setting, bench.space.epochs)
                if bench.rates.throughout(setting) is not None
                else (starting_rate(setting), repr(setting.schedule)),
            )
    sign = -1 if bench.space.metric.goal == "maximize" else 1
    whole = [index for index, found in values.items() if len(found) == len(bench.space.seeds)]
    ranked = sorted(whole, key=lambda index: (sign * fmean(values[index]), index))
    kinds: dict[object, int] = {}
    for index in ranked:
        kinds.setdefault(alike[index], index)
    leaders = list(kinds.values())[: bench.space.confirm.top]
    if len(leaders) < 2:
        assert not confirming
        return
    best_values = [sign * fmean(values[index]) for index in leaders]
    got = {trial.setting_index for trial in confirming}
    assert sorted(sign * fmean(values[index]) for index in got) == sorted(best_values)
    assert len({alike[index] for index in got}) == len(leaders)
    assert (verdict.basis, verdict.over) == (Basis.fresh_seeds, True)
    assert {standing.setting for standing in verdict.standings} == got
    assert all(trial.state is not TrialState.pruned for trial in confirming)
    if bench.space.order == "rounds":
        last = max(trial.admitted_round + trial.epochs_done for trial in searched if not trial.repeats)
        assert last <= min(trial.admitted_round for trial in confirming)


def check_equivalents(bench: Bench, searched: list[TrialRow], curves: dict[int, list[Measurement]]) -> None:
    """A setting is trained twice only where the first of it failed, or on the other's row."""
    own: dict[object, list[TrialRow]] = defaultdict(list)
    for trial in searched:
        setting = Setting.from_json(trial.setting)
        rates = bench.rates.throughout(setting)
        what = (starting_rate(setting), repr(setting.schedule)) if rates is None else rates
        own[identity_of(setting), what, trial.seed].append(trial)
    ends: dict[int, set[TrialState]] = defaultdict(set)
    for trial in searched:
        ends[trial.setting_index].add(trial.state)
    again = {TrialState.failed, TrialState.cancelled, TrialState.pruned}
    for same in own.values():
        trained = [trial for trial in same if not trial.repeats]
        once = len(trained) <= 1 + sum(bool(ends[trial.setting_index] & again) for trial in trained)
        assert once or bench.space.forks, [(t.number, t.state, t.parent_number) for t in same]


def check_control(bench: Bench, searched: list[TrialRow]) -> None:
    """The control group is never given up, and begins when there is nothing else left to propose."""
    is_control = control_group(bench.space)
    control = [trial for trial in searched if is_control(trial.setting_index)]
    assert all(trial.state is not TrialState.pruned for trial in control)
    if bench.space.order != "rounds" or bench.sweep.broken:
        return
    others = [
        trial.admitted_round
        for trial in searched
        if not is_control(trial.setting_index) and not trial.repeats
    ]
    begun = [trial.admitted_round for trial in control if not trial.repeats]
    if others and begun:
        assert max(others) <= min(begun)
