"""When an epoch counts as measured, and when as divergence."""

from __future__ import annotations

import math

import numpy as np
import pytest

from workers.messages import Diverged, Measured
from workers.outcomes import EpochNumbers, judge


def numbers(losses: list[float], first: float = 2.0, **metrics: float) -> EpochNumbers:
    return EpochNumbers(
        number=5,
        epoch=3,
        updates_before=20,
        first_loss=first,
        losses=losses,
        grad_norms=[1.0 + index for index in range(len(losses))],
        lr=np.array([0.3, 0.2, 0.1][: len(losses)]),
        momentum=np.array([0.9, 0.8, 0.7][: len(losses)]),
        metrics={"val_loss": 1.0, "val_accuracy": 0.5} | metrics,
    )


def test_a_measured_epoch() -> None:
    outcome = judge(numbers([3.0, 2.0, 1.0]), "val_loss")
    assert outcome == Measured(
        number=5,
        epoch=3,
        step=23,
        lr=0.1,
        momentum=0.7,
        peak_lr=0.3,
        train_loss=2.0,
        grad_norm=3.0,
        metrics={"val_loss": 1.0, "val_accuracy": 0.5},
    )


@pytest.mark.parametrize(
    ("case", "step", "lr", "words"),
    [
        (numbers([1.0, math.nan, 1.0]), 22, 0.2, "nan"),
        (numbers([math.inf, 1.0, 1.0]), 21, 0.3, "inf"),
        (numbers([6001.0, 1.0, 1.0]), 23, 0.1, "rose"),
        (numbers([1.0, 1.0, 1.0], val_loss=math.inf), 23, 0.1, "val_loss"),
        (numbers([1.0, 1.0, 1.0], val_accuracy=math.nan), 23, 0.1, "val_accuracy"),
    ],
)
def test_divergence_says_when_and_why(case: EpochNumbers, step: int, lr: float, words: str) -> None:
    outcome = judge(case, "val_accuracy")
    assert isinstance(outcome, Diverged)
    assert (outcome.epoch, outcome.step, outcome.lr) == (3, step, lr)
    assert words in outcome.reason


def test_the_thousandfold_is_not_yet_divergence() -> None:
    assert isinstance(judge(numbers([2000.0, 2000.0, 2000.0]), "val_loss"), Measured)
    assert isinstance(judge(numbers([2000.1, 2000.1, 2000.1]), "val_loss"), Diverged)


def test_a_metric_nobody_judges_by_may_be_anything() -> None:
    assert isinstance(judge(numbers([1.0, 1.0, 1.0], val_accuracy=math.nan), "val_loss"), Measured)
