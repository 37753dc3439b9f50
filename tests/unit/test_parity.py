"""Parity of whole trainings: 200 updates of every class as a plain torch loop makes them."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.optim import Optimizer, lr_scheduler

from tests.unit.parity_comparison import Comparison, compared_side_by_side, compared_solo, compared_stacked
from tests.unit.parity_draws import (
    OPTIMIZER_ARGUMENTS,
    OPTIMIZER_SCHEDULES,
    SCHEDULES,
    SOLO,
    UPDATES,
    drawn,
    optimizer_classes,
    schedule_classes,
)
from workers.update_rules import UPDATE_RULES

pytestmark = pytest.mark.xdist_group("parity")  # populations are trained once a process

POPULATIONS = [
    ("SGD", False),
    ("SGD", True),
    ("Adam", False),
    ("Adam", True),
    ("AdamW", True),
    ("NAdam", False),
    ("RMSprop", True),
    ("Adagrad", False),
]
"""Optimizer class, and whether biases and norms are a group of their own."""


def missing() -> list[str]:
    """Classes of this PyTorch that nothing is drawn for."""
    return sorted({*schedule_classes(), *optimizer_classes()} - {*SCHEDULES, *OPTIMIZER_ARGUMENTS})


def test_no_class_of_pytorch_is_missing() -> None:
    """A class that a newer PyTorch adds is named here, until its arguments are drawn in parity_draws."""
    assert missing() == []
    assert {optimizer for optimizer, _ in POPULATIONS} == set(UPDATE_RULES)
    assert set(SOLO) == set(optimizer_classes()) - set(UPDATE_RULES)


def test_a_class_that_pytorch_adds_is_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lr_scheduler, "__all__", [*lr_scheduler.__all__, "NewerLR"])
    monkeypatch.setattr(torch.optim, "Newer", Sign, raising=False)
    assert missing() == ["Newer", "NewerLR"]


@pytest.mark.parametrize("optimizer", SOLO)
def test_every_argument_of_the_solo_classes_is_drawn(optimizer: str) -> None:
    implementation = {"foreach", "fused", "capturable", "differentiable"}
    parameters = set(inspect.signature(getattr(torch.optim, optimizer)).parameters) - implementation
    assert {*OPTIMIZER_ARGUMENTS[optimizer], "params", "lr", "maximize"} == parameters


def assert_parity(comparisons: list[Comparison], *, exactly: bool = False) -> None:
    disagreements = [
        sentence for comparison in comparisons for sentence in comparison.disagreements(exactly=exactly)
    ]
    assert disagreements == [], "\n".join(disagreements)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_every_schedule_stacked(schedule: str) -> None:
    """Beside one trial of every other class: the whole path and divergence exactly, weights by rounding."""
    found = [compared_stacked(schedule, optimizer, two_groups) for optimizer, two_groups in POPULATIONS]
    assert_parity(found)
    assert sum(not one.diverged for one in found) >= 5, "most drawn trials diverge: the draws are too wild"


@pytest.mark.parametrize(("optimizer", "two_groups"), POPULATIONS)
def test_every_rule_stacked(optimizer: str, two_groups: bool) -> None:
    assert_parity([compared_stacked(schedule, optimizer, two_groups) for schedule in OPTIMIZER_SCHEDULES])


def test_plateaus_that_watch_other_metrics() -> None:
    """Side by side, each by its own metric; what is drawn would prove little if no rate were reduced."""
    settings = []
    for round_ in range(1, 10):
        one = drawn("ReduceLROnPlateau", "Adam", two_groups=True, round_=round_)
        watch = ("val_loss", "val_error", "train_loss")[round_ % 3]
        settings.append(dataclasses.replace(one, schedule=dataclasses.replace(one.schedule, watch=watch)))
    found = compared_side_by_side(settings)
    assert_parity(found)
    reduced = [one for one in found if one.plain.path[-1] != one.plain.path[2 * UPDATES]]
    assert {one.setting.schedule.watch for one in reduced} == {"val_loss", "val_error", "train_loss"}


def test_what_is_drawn_matters() -> None:
    """Groups, clipping and momentum: without each of them the weights would be others."""
    found = [compared_stacked(schedule, *population) for schedule in SCHEDULES for population in POPULATIONS]
    settings = [one.setting for one in found]
    assert sum(setting.clip_grad_norm is not None for setting in settings) >= 20
    assert sum(setting.bias_lr is not None for setting in settings) >= 10
    assert sum(setting.warmup_epochs > 0 for setting in settings) >= 20
    assert sum(one.diverged for one in found) <= len(found) // 5
    assert sum(len({momentum for ((_, momentum), *_) in one.plain.path}) > 1 for one in found) >= 5


def test_divergence_comes_at_the_same_update() -> None:
    """At learning rates that are too high by a little or by far, beside a row that trains on.

    In two of these trainings the loss rises to some hundred times the first before it diverges.
    """
    rounds_and_factors = [
        (0, 1.0),
        (19, 10.0),
        (10, 50.0),
        (0, 40.0),
        (4, 20.0),
        (1, 1e6),
        (2, 1e100),
        (3, 1e160),
    ]
    settings = []
    for round_, factor in rounds_and_factors:
        gentle = drawn("StepLR", "SGD", two_groups=False, round_=round_)
        arguments = {**gentle.arguments, "lr": gentle.arguments["lr"] * factor}
        settings.append(dataclasses.replace(gentle, arguments=arguments, clip_grad_norm=None))
    found = compared_side_by_side(settings)
    assert_parity(found)
    assert not found[0].diverged
    assert len({one.plain.diverged_at for one in found}) >= 4, [one.plain.diverged_at for one in found]


@pytest.mark.parametrize("schedule", OPTIMIZER_SCHEDULES)
@pytest.mark.parametrize("optimizer", SOLO)
def test_every_other_optimizer_solo(optimizer: str, schedule: str) -> None:
    """To the last bit."""
    setting = drawn(schedule, optimizer, two_groups=schedule == "StepLR", round_=0)
    assert_parity([compared_solo(setting)], exactly=True)


class Sign(Optimizer):
    """A task's own: steps along the sign of a running mean of gradients."""

    def __init__(self, params: Any, lr: float = 1e-3, momentum: float = 0.9) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:
        for group in self.param_groups:
            for parameter in group["params"]:
                mean = self.state[parameter].setdefault("mean", torch.zeros_like(parameter))
                mean.lerp_(parameter.grad, 1.0 - group["momentum"])
                parameter.add_(mean.sign(), alpha=-group["lr"])


@pytest.mark.parametrize("schedule", OPTIMIZER_SCHEDULES)
def test_an_optimizer_of_the_tasks_own_solo(schedule: str) -> None:
    like = drawn(schedule, "SGD", two_groups=schedule == "StepLR", round_=1)
    arguments = {name: value for name, value in like.arguments.items() if name in ("lr", "momentum")}
    setting = dataclasses.replace(like, optimizer="Sign", arguments=arguments)
    assert_parity([compared_solo(setting, {"Sign": Sign})], exactly=True)
