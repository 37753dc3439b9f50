"""A population computes what the plain torch loop computes, for every optimizer and schedule it stacks."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from search_spaces.settings import Schedule
from tests.unit.trials_for_tests import admission, population, solo
from workers.messages import Admission, Measured

OPTIMIZERS: list[tuple[str, dict[str, Any]]] = [
    ("SGD", {"lr": 0.05}),
    ("SGD", {"lr": 0.05, "momentum": 0.9}),
    ("SGD", {"lr": 0.05, "momentum": 0.9, "dampening": 0.3}),
    ("SGD", {"lr": 0.05, "momentum": 0.0, "dampening": 0.3}),
    ("SGD", {"lr": 0.05, "momentum": 0.8, "nesterov": True}),
    ("SGD", {"lr": 0.05, "momentum": 0.8, "nesterov": True, "weight_decay": 0.01}),
    ("SGD", {"lr": 0.05, "weight_decay": 0.02}),
    ("SGD", {"lr": 1e-4, "momentum": 0.5, "maximize": True, "weight_decay": 0.01}),
    ("Adam", {"lr": 0.002}),
    ("Adam", {"lr": 0.002, "betas": (0.7, 0.95), "eps": 1e-6, "weight_decay": 0.03}),
    ("Adam", {"lr": 0.002, "amsgrad": True}),
    ("Adam", {"lr": 0.002, "weight_decay": 0.1, "decoupled_weight_decay": True}),
    ("Adam", {"lr": 1e-5, "maximize": True}),
    ("AdamW", {"lr": 0.002}),
    ("AdamW", {"lr": 0.002, "weight_decay": 0.3, "amsgrad": True, "betas": (0.5, 0.9)}),
    ("NAdam", {"lr": 0.002}),
    ("NAdam", {"lr": 0.002, "betas": (0.7, 0.95), "momentum_decay": 0.1, "weight_decay": 0.03}),
    ("NAdam", {"lr": 0.002, "weight_decay": 0.1, "decoupled_weight_decay": True}),
    ("NAdam", {"lr": 1e-5, "maximize": True}),
    ("RMSprop", {"lr": 0.002}),
    ("RMSprop", {"lr": 0.002, "alpha": 0.9, "eps": 1e-6, "weight_decay": 0.03}),
    ("RMSprop", {"lr": 0.002, "momentum": 0.9}),
    ("RMSprop", {"lr": 0.002, "centered": True, "eps": 1e-4}),
    ("RMSprop", {"lr": 0.002, "centered": True, "momentum": 0.5, "eps": 1e-4}),
    ("RMSprop", {"lr": 1e-5, "maximize": True}),
    ("Adagrad", {"lr": 0.02}),
    ("Adagrad", {"lr": 0.02, "lr_decay": 0.01, "weight_decay": 0.03, "initial_accumulator_value": 0.5}),
    ("Adagrad", {"lr": 1e-5, "eps": 1e-6, "maximize": True}),
]

SCHEDULES = [
    Schedule(),
    Schedule(name="StepLR", arguments={"step_size": 1, "gamma": 0.4}),
    Schedule(name="MultiStepLR", arguments={"milestones": (1, 3), "gamma": 0.3}),
    Schedule(name="ExponentialLR", arguments={"gamma": 0.97}, every="step"),
    Schedule(name="CosineAnnealingLR"),
    Schedule(name="CosineAnnealingWarmRestarts", arguments={"T_0": 2}, every="fraction"),
    Schedule(name="PolynomialLR", arguments={"total_iters": 3, "power": 2.0}),
    Schedule(name="ReduceLROnPlateau", arguments={"patience": 0, "threshold": 0.5, "factor": 0.3}),
    Schedule(name="OneCycleLR", arguments={"max_lr": 0.02}, every="step"),
    Schedule(name="CyclicLR", arguments={"base_lr": 0.001, "max_lr": 0.02, "step_size_up": 20}, every="step"),
    Schedule(
        name="SequentialLR",
        arguments={
            "schedulers": (
                Schedule(name="LinearLR", arguments={"start_factor": 0.2, "total_iters": 2}),
                Schedule(name="ExponentialLR", arguments={"gamma": 0.5}),
            ),
            "milestones": (2,),
        },
    ),
]


def neighbours(optimizer: str) -> list[Admission]:
    """Rows with other numbers beside the subject, so that a mix-up of rows shows."""
    return [admission(90 + n, optimizer=optimizer, lr=0.001 * n, seed=n) for n in (1, 2, 3, 4, 5)]


def assert_close(stacked: Any, reference: Any, rtol: float) -> None:
    assert type(stacked) is type(reference)
    assert (stacked.epoch, stacked.step) == (reference.epoch, reference.step)
    assert stacked.lr == reference.lr
    assert stacked.momentum == reference.momentum
    assert stacked.peak_lr == reference.peak_lr
    assert stacked.train_loss == pytest.approx(reference.train_loss, rel=rtol)
    assert stacked.grad_norm == pytest.approx(reference.grad_norm, rel=10 * rtol)
    assert stacked.metrics["val_loss"] == pytest.approx(reference.metrics["val_loss"], rel=rtol)


@pytest.mark.parametrize(("optimizer", "arguments"), OPTIMIZERS, ids=str)
def test_float64_one_step_and_more(optimizer: str, arguments: dict[str, Any]) -> None:
    """One update, then three more: batch 1,437 makes one update an epoch."""
    trial = admission(3, optimizer=optimizer, batch_size=1437, **arguments)
    rows = population(optimizer=optimizer, batch_size=1437, dtype=torch.float64, epochs=5)
    reference = solo(trial, dtype=torch.float64, epochs=5)
    for other in neighbours(optimizer):
        rows.admit(other)
    rows.admit(trial)
    for _ in range(4):
        (outcome,) = rows.advance([3])
        assert_close(outcome, reference.advance(), 1e-9)
        stacked = rows.weights(3)
        for name, parameter in reference.model.named_parameters():
            torch.testing.assert_close(stacked[name], parameter.detach(), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("warmup_epochs", [0, 1])
@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda schedule: schedule.name)
@pytest.mark.parametrize("optimizer", ["SGD", "Adam"])
def test_float64_over_schedules(optimizer: str, schedule: Schedule, warmup_epochs: int) -> None:
    arguments: dict[str, Any] = {"lr": 0.01}
    if optimizer == "SGD" and schedule.name not in ("OneCycleLR", "CyclicLR"):
        arguments |= {"momentum": 0.9, "nesterov": True}
    trial = admission(
        3, optimizer=optimizer, batch_size=359, schedule=schedule, warmup_epochs=warmup_epochs, **arguments
    )
    rows = population(optimizer=optimizer, batch_size=359, dtype=torch.float64, epochs=4)
    reference = solo(trial, dtype=torch.float64, epochs=4)
    for other in neighbours(optimizer):
        rows.admit(other)
    rows.admit(trial)
    for _ in range(4):
        (outcome,) = rows.advance([3])
        expected = reference.advance()
        assert_close(outcome, expected, 1e-8)
        assert isinstance(expected, Measured)


@pytest.mark.parametrize(("optimizer", "arguments"), OPTIMIZERS, ids=str)
def test_float32_hundred_steps(optimizer: str, arguments: dict[str, Any]) -> None:
    """Losses agree to 1e-4 over 132 updates, at rates well below the edge of stability."""
    lowered = {**arguments, "lr": arguments["lr"] / 5}
    trial = admission(3, optimizer=optimizer, **lowered)
    rows = population(optimizer=optimizer)
    reference = solo(trial)
    for other in neighbours(optimizer):
        rows.admit(other)
    rows.admit(trial)
    for _ in range(3):
        (outcome,) = rows.advance([3])
        assert_close(outcome, reference.advance(), 1e-4)


def test_momentum_that_starts_later_and_stops_again() -> None:
    """CyclicLR down to momentum 0: the buffer starts at the first momentum above 0, as in torch.optim."""
    schedule = Schedule(
        name="CyclicLR",
        arguments={
            "base_lr": 0.01,
            "max_lr": 0.02,
            "step_size_up": 3,
            "base_momentum": 0.0,
            "max_momentum": 0.9,
        },
        every="step",
    )
    trial = admission(3, schedule=schedule, batch_size=128, dampening=0.2)
    rows = population(batch_size=128, dtype=torch.float64)
    rows.admit(trial)
    reference = solo(trial, dtype=torch.float64)
    for _ in range(3):
        (outcome,) = rows.advance([3])
        assert_close(outcome, reference.advance(), 1e-9)
