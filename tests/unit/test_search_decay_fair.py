"""Decay-fair pruning on planted curves: it stays within its budget and sees through an early decay."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.search.baselines import one_epoch
from benchmarks.search.decay_fair import decay_fair
from benchmarks.search.replay import order_of
from benchmarks.search.schedules import Progress, progress_of
from benchmarks.search.trainer import Trainer

EPOCHS, SETTINGS = 75, 100
CONSTANT = {"optimizer": "SGD", "optimizer_param": {"lr": 0.1}}
FAST = {**CONSTANT, "scheduler": "ExponentialLR", "scheduler_param": {"gamma": 0.8}}
LATE = {**CONSTANT, "scheduler": "StepLR", "scheduler_param": {"step_size": 30, "gamma": 0.1}}


def planted() -> tuple[NDArray[np.float64], list[Progress]]:
    """A third of the settings decay at once: they lead early, and stay where they are."""
    settings = [(FAST, LATE, CONSTANT)[number % 3] for number in range(SETTINGS)]
    quality = np.linspace(0.2, 0.8, SETTINGS)
    epochs = np.arange(1, EPOCHS + 1)
    slow = quality[:, None] * (1 - np.exp(-epochs / 20.0))
    fast = 0.6 * quality[:, None] * (1 - np.exp(-epochs / 2.0))
    is_fast = np.array([setting is FAST for setting in settings])
    return np.where(is_fast[:, None], fast, slow), progress_of(settings, EPOCHS)


@pytest.mark.parametrize("cost", [1, 2, 3, 4, 5, 8, 16, 40, 100])
def test_it_stays_within_the_budget_and_finishes_something(cost: int) -> None:
    curves, progress = planted()
    for draw in range(5):
        trainer = Trainer(curves, cost * EPOCHS)
        decay_fair(trainer, order_of(0, "planted", draw, SETTINGS), progress=progress)
        assert trainer.left_epochs >= 0
        assert trainer.finished


@pytest.mark.parametrize("epochs", [1, 2, 3, 10])
def test_short_trainings_have_fewer_rungs(epochs: int) -> None:
    curves = planted()[0][:, :epochs]
    progress = progress_of([CONSTANT] * SETTINGS, epochs)
    trainer = Trainer(curves, 4 * epochs)
    decay_fair(trainer, list(range(SETTINGS)), progress=progress)
    assert trainer.finished


def test_it_sees_through_an_early_decay_where_one_epoch_does_not() -> None:
    curves, progress = planted()
    regrets = {}
    for name, method in (("ours", partial(decay_fair, progress=progress)), ("one epoch", one_epoch)):
        found = []
        for draw in range(20):
            trainer = Trainer(curves, 4 * EPOCHS)
            method(trainer, order_of(0, "planted", draw, SETTINGS))
            found.append(trainer.regret)
        regrets[name] = float(np.mean(found))
    assert regrets["one epoch"] > 0.3
    assert regrets["ours"] < 0.02


def test_all_of_a_large_budget_is_used() -> None:
    curves, progress = planted()
    trainer = Trainer(curves, 200 * EPOCHS)
    decay_fair(trainer, list(range(SETTINGS)), progress=progress)
    assert len(trainer.finished) == SETTINGS


def test_how_far_schedules_are(capsys: pytest.CaptureFixture[str]) -> None:
    plateau = {**CONSTANT, "scheduler": "ReduceLROnPlateau", "scheduler_param": {}}
    refused = {**CONSTANT, "scheduler": "StepLR", "scheduler_param": {"steps": 3}}
    unknown = {**CONSTANT, "scheduler": "NoSuchLR"}
    fast, late, *constant = progress_of([FAST, LATE, CONSTANT, {}, plateau, refused, unknown], 4)
    assert [one.spent for one in fast] == pytest.approx(np.cumsum([1, 0.8, 0.64, 0.512]) / 2.952)
    assert fast[0].annealing == pytest.approx(1 - 0.512)
    assert [one.spent for one in late] == pytest.approx([0.25, 0.5, 0.75, 1.0])
    assert all([one.spent for one in its] == [0.25, 0.5, 0.75, 1.0] for its in constant)
    assert "the schedules of settings 4, 5, 6 are taken for constant" in capsys.readouterr().err
