"""Sweeps whose rungs are scored on cooldowns: the same curves, and more told of some epochs."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from dashboards.preview import print_preview
from search_spaces.confirming import Confirm
from search_spaces.limits import Limits
from search_spaces.space import Metric, Pruner, SearchSpace
from sweeps import ends, open_trials
from sweeps.cooldowns import RUNGS, cooldown_epochs, cooldown_of, cooled_score, epoch_costs
from sweeps.exports import as_csv, curve_columns, curve_values
from sweeps.records import SweepState, TrialState
from sweeps.runner import run_sweep
from sweeps.session import SweepRun
from sweeps.store import Store, open_store
from tests.unit.sweeps_for_tests import Killed, Silence, stored
from tests.unit.test_session_forks import EPOCHS, OWNER, _Dying, space
from workers.in_process_pool import InProcessPool
from workers.messages import Cooldown, WorkerSetup
from workers.prefixes import prefixes
from workers.torch_catalogue import catalogue_for

COOLDOWN = Cooldown(epochs=2, at=(1, 4))
COOLED = "cooldown_val_loss"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = open_store(f"sqlite:///{tmp_path / 'ravine.db'}")
    yield opened
    opened.close()


def run(
    store: Store,
    space_: SearchSpace,
    *,
    cooldown: Cooldown | None = COOLDOWN,
    sweep_id: int | None = None,
    commits: int | None = None,
    execution: str = "stacked",
) -> int:
    """Run the sweep on two workers; killed after ``commits`` rounds."""
    setup = WorkerSetup(
        task=space_.task,
        metric=space_.metric.name,
        epochs=space_.epochs,
        execution=execution,
        width=4,
        cooldown=cooldown,
    )
    identity = stored(store, space_) if sweep_id is None else sweep_id
    sweep_run = SweepRun(
        store=_Dying(store, commits) if commits is not None else store,  # type: ignore[arg-type]
        sweep_id=identity,
        space=space_,
        catalogue=catalogue_for(space_.task),
        plan={"execution": execution},
        observer=Silence(),
        interrupted=lambda: False,
        now=lambda: 1_700_000_000.0,
        prefixes=partial(prefixes, space_.task, space_.epochs) if execution == "stacked" else None,
    )
    assert run_sweep(sweep_run, OWNER, lambda: InProcessPool(setup, 2)) is SweepState.finished
    return identity


def shown(store: Store, sweep_id: int) -> tuple[Any, ...]:
    trials = [
        replace(trial, sweep_id=0, attempt=0, lane=0, admitted_round=0) for trial in store.trials(sweep_id)
    ]
    return trials, store.measurements(sweep_id), store.proposals(sweep_id)


def test_curves_and_decisions_are_those_without_and_what_was_trained_is_counted(store: Store) -> None:
    space_ = space(pruner=Pruner(name="asha"), concurrency=6)
    with_cooldowns, without = run(store, space_), run(store, space_, cooldown=None)
    trials, measurements, proposals = shown(store, with_cooldowns)
    plain_trials, plain_measurements, plain_proposals = shown(store, without)
    assert [replace(one, extra={}) for one in measurements] == plain_measurements
    assert proposals == plain_proposals
    assert {one.epoch for one in measurements if one.extra} == {1, 4}
    assert all(set(one.extra) <= {COOLED} for one in measurements)
    more = {}
    for trial, plain in zip(trials, plain_trials, strict=True):
        assert replace(trial, epochs_trained=plain.epochs_trained) == plain
        more[trial.number] = trial.epochs_trained - plain.epochs_trained
    for trial in trials:
        cooled = [one for one in measurements if one.number == trial.number and one.extra]
        own = [one for one in cooled if trial.parent_number is None or one.step > (trial.fork_step or 0)]
        assert more[trial.number] == 2 * len(own)
    assert {0, 2, 4} == set(more.values())
    trained = store.epochs_trained_total(with_cooldowns)
    assert trained == store.epochs_trained_total(without) + sum(more.values())
    columns = curve_columns(
        replace(store.sweep(with_cooldowns), spec={"metrics": ["val_loss"]}), measurements
    )
    assert columns[-1] == COOLED
    first, second = as_csv(columns, [curve_values(one, columns) for one in measurements[:2]]).split("\n")[1:3]
    assert float(first.rpartition(",")[2]) == measurements[0].extra[COOLED]
    assert second.endswith(",")


@pytest.mark.parametrize(
    ("order", "commits", "execution"),
    [
        ("rounds", 1, "stacked"),
        ("rounds", 4, "stacked"),
        ("rounds", 6, "stacked"),
        ("arrival", 4, "stacked"),
        ("rounds", 4, "solo"),
    ],
)
def test_a_killed_sweep_goes_on_as_the_undisturbed_one(
    store: Store, order: str, commits: int, execution: str
) -> None:
    space_ = space(
        order=order,
        concurrency=3,
        trials=14 if execution == "stacked" else 4,
        sampler="random",
        pruner=Pruner(name="asha" if order == "rounds" else "none"),
    )
    undisturbed = run(store, space_, execution=execution)
    killed = stored(store, space_)
    with pytest.raises(Killed):
        run(store, space_, sweep_id=killed, commits=commits, execution=execution)
    run(store, space_, sweep_id=killed, execution=execution)
    trials, measurements, proposals = shown(store, killed)
    if order == "rounds":
        assert (trials, measurements, proposals) == shown(store, undisturbed)
    curves = {(one.number, one.epoch): one for one in store.measurements(undisturbed)}
    assert {(one.number, one.epoch): one for one in measurements} == curves
    assert any(COOLED in one.extra for one in measurements)


def asking(**arguments: Any) -> SearchSpace:
    """A space whose pruner judges at the epochs that it is given."""
    return replace(space(), pruner=Pruner(name="made up", arguments=arguments))


def test_what_a_pruner_asks_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(RUNGS, "made up", lambda arguments, _: arguments["at"])
    assert EPOCHS == 8
    assert cooldown_of(asking(cooldown_epochs=3, at=(1, 5, 6))) == Cooldown(epochs=3, at=(1, 5))
    assert epoch_costs(asking(cooldown_epochs=3, at=(1, 5, 6))) == (4, 1, 1, 1, 4, 1, 1, 1)
    for at, epochs in (((6, 7), 3), ((), 3), ((1, 2), 0)):
        none = asking(cooldown_epochs=epochs, at=at)
        assert cooldown_of(none) is None
        assert epoch_costs(none) == (1,) * 8
    assert cooldown_of(asking(at=(1, 2))) is None
    assert cooldown_of(space(pruner=Pruner(name="asha"))) is None


@pytest.mark.parametrize("limit", [40, 77, 100, 131])
def test_a_budget_of_epochs_is_not_overrun(store: Store, monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    for room in (open_trials, ends):
        monkeypatch.setattr(room, "epoch_costs", lambda _: (3, 1, 1, 3, 1, 1, 1, 1))
    space_ = space(budget=Limits(epochs=limit), concurrency=5)
    sweep_id = run(store, space_)
    trained = store.epochs_trained_total(sweep_id)
    assert limit - 2 * sum((3, 1, 1, 3, 1, 1, 1, 1)) < trained <= limit
    assert all(trial.state is not TrialState.cancelled for trial in store.trials(sweep_id))


def test_trials_that_confirm_leaders_have_none(store: Store) -> None:
    space_ = space(concurrency=5, trials=6, sampler="random", confirm=Confirm(top=2, seeds=2))
    sweep_id = run(store, space_)
    cooled = {one.number for one in store.measurements(sweep_id) if one.extra}
    trials = store.trials(sweep_id)
    assert {trial.seed for trial in trials if trial.number in cooled} == {0}
    confirming = [trial for trial in trials if trial.seed != 0]
    assert len(confirming) == 4
    assert all(trial.epochs_trained <= trial.epochs_done for trial in confirming)


@pytest.mark.parametrize("wrong", [-1, 1.5, True, "two", None])
def test_what_is_no_number_of_epochs_is_refused(wrong: Any) -> None:
    with pytest.raises(ValueError, match="cooldown_epochs must be a whole number of at least 0, got"):
        cooldown_epochs({"cooldown_epochs": wrong})


def test_a_score_is_cooled_infinitely_bad_or_none() -> None:
    low = space()
    high = replace(low, metric=Metric(name="val_accuracy", goal="maximize"))
    assert cooled_score({"val_accuracy": 0.5}, low) is None
    assert cooled_score({COOLED: 0.25}, low) == 0.25
    assert cooled_score({"cooldown_val_accuracy": 0.75}, high) == 0.75
    assert cooled_score({"cooldown_diverged": 1.0}, low) == math.inf
    assert cooled_score({"cooldown_diverged": 1.0}, high) == -math.inf


def test_the_preview_counts_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(RUNGS, "none", lambda arguments, _: (1, 4, 7))
    told = {}
    for epochs in (0, 2):
        console = Console(file=StringIO(), width=200)
        pruner = Pruner(name="none", arguments={"cooldown_epochs": epochs})
        print_preview(console, space(pruner=pruner, execution="stacked", budget=Limits(epochs=400)))
        told[epochs] = console.file.getvalue()  # type: ignore[attr-defined]
    line = "cooldowns of 2 epochs after a trial's epochs 1, 4: at most 4 epochs a trial more\n"
    assert line in told[2]
    assert "cooldowns" not in told[0]
    assert ("which take 344 at most" in told[0], "would take 516 at most" in told[2]) == (True, True)
