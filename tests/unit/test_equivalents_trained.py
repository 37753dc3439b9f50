"""Copies of equivalent settings beside settings that are really trained, bit for bit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from search_spaces.files import load_space
from search_spaces.space import Pruner, SearchSpace
from sweeps.equivalents import Equivalents
from sweeps.records import Owner, SweepState
from sweeps.runner import run_sweep
from sweeps.session import SweepRun
from sweeps.store import Store, open_store
from tests.unit.sweeps_for_tests import (
    Silence,
    stored,
)
from workers.equivalence import TrainedRates
from workers.in_process_pool import InProcessPool
from workers.messages import WorkerSetup
from workers.prefixes import prefixes
from workers.torch_catalogue import catalogue_for

OWNER = Owner(host="here", pid=1, started=0.0)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = open_store(f"sqlite:///{tmp_path / 'ravine.db'}")
    yield opened
    opened.close()


TEXT = """\
name: equivalents
task: quadratic
metric: {name: val_loss, goal: minimize}
epochs: 5
optimizer:
  SGD: {lr: [0.05, 0.4, 2.5], momentum: [0.0, 0.8], nesterov: [false, true]}
schedule:
  - constant
  - StepLR: {step_size: [2, 5, 9], gamma: [0.1, 1.0]}
  - MultiStepLR: {milestones: {value: [2, 4]}, gamma: 0.1}
  - ReduceLROnPlateau: {patience: [0, 8]}
  - OneCycleLR: {max_lr: 0.4}
sampler: grid
trials: 200
"""


def real(**changes: Any) -> SearchSpace:
    loaded = load_space(TEXT, source="equal.yaml", stem="equal", catalogue=catalogue_for("quadratic"))
    return replace(loaded.space, **changes)


def train(store: Store, space_: SearchSpace, *, execution: str, forks: bool, workers: int = 1) -> int:
    setup = WorkerSetup(
        task=space_.task,
        metric=space_.metric.name,
        epochs=space_.epochs,
        execution=execution,
        forks=forks,
        width=16,
    )
    identity = stored(store, space_)
    sweep_run = SweepRun(
        store=store,
        sweep_id=identity,
        space=space_,
        catalogue=catalogue_for(space_.task),
        plan={"execution": execution},
        observer=Silence(),
        interrupted=lambda: False,
        now=lambda: 1_700_000_000.0,
        prefixes=partial(prefixes, space_.task, space_.epochs) if forks else None,
        rates=TrainedRates(task=space_.task, epochs=space_.epochs),
    )
    ended = run_sweep(sweep_run, OWNER, lambda: InProcessPool(setup, workers))
    assert ended is SweepState.finished
    return identity


@pytest.mark.slow
@pytest.mark.parametrize(
    ("execution", "forks", "pruner"),
    [
        ("stacked", True, "none"),
        ("stacked", False, "none"),
        ("solo", False, "none"),
        ("stacked", False, "asha"),
    ],
)
def test_a_copy_has_every_bit_that_training_would_have_given(
    store: Store, monkeypatch: pytest.MonkeyPatch, execution: str, forks: bool, pruner: str
) -> None:
    trials_of_each = 200 if execution == "stacked" else 24  # solo takes its time
    space_ = real(concurrency=6, pruner=Pruner(name=pruner), trials=trials_of_each)
    once = train(store, space_, execution=execution, forks=forks, workers=2)
    trials = store.trials(once)
    assert len(trials) == min(trials_of_each, 12 * 10 + 2)  # OneCycleLR sets lr and momentum itself
    trained = sum(trial.epochs_trained for trial in trials)
    asked = sum(trial.epochs_done for trial in trials)
    assert trained < 0.55 * asked
    monkeypatch.setattr(Equivalents, "take_in", lambda *_: True)
    each = train(store, space_, execution=execution, forks=forks)
    if pruner == "none":
        bare = [replace(t, number=t.number, sweep_id=0, epochs_trained=0, parent_number=None) for t in trials]
        bare = [replace(t, fork_step=None, attempt=0, lane=0, admitted_round=0) for t in bare]
        others = [
            replace(t, sweep_id=0, epochs_trained=0, parent_number=None, fork_step=None)
            for t in store.trials(each)
        ]
        assert bare == [replace(t, attempt=0, lane=0, admitted_round=0) for t in others]
    curves = {(one.number, one.epoch): one for one in store.measurements(each)}
    for one in store.measurements(once):
        assert curves.get((one.number, one.epoch), one) == one


def test_what_is_equivalent_by_another_argument_rides_on_no_row(store: Store) -> None:
    """Families share every argument, so these wait even where they are proposed together."""
    text = TEXT.replace("momentum: [0.0, 0.8], nesterov: [false, true]", "momentum: 0.0, dampening: [0, 0.5]")
    loaded = load_space(text, source="equal.yaml", stem="equal", catalogue=catalogue_for("quadratic"))
    space_ = replace(loaded.space, trials=4, concurrency=4, schedules=loaded.space.schedules[:1])
    trials = store.trials(train(store, space_, execution="stacked", forks=True))
    assert [trial.epochs_trained for trial in trials] == [5, 0, 5, 0]
    assert [trial.parent_number for trial in trials] == [None, 0, None, 2]
    assert [trial.value for trial in trials[::2]] == [trial.value for trial in trials[1::2]]
