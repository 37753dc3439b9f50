"""Tables are what PyTorch's own schedule objects do, written down."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim import SGD, lr_scheduler

from search_spaces.settings import Schedule, Setting
from workers.optimization import Horizon, ScheduleRefused, construct
from workers.schedule_table import schedule_path

EPOCHS, UPDATES = 6, 5
ARGUMENTS: dict[str, dict[str, Any]] = {
    "LambdaLR": {"lr_lambda": "halved"},
    "MultiplicativeLR": {"lr_lambda": "halved"},
    "StepLR": {"step_size": 2, "gamma": 0.3},
    "MultiStepLR": {"milestones": (1, 4), "gamma": 0.5},
    "ConstantLR": {"factor": 0.25, "total_iters": 3},
    "LinearLR": {"start_factor": 0.1, "total_iters": 4},
    "ExponentialLR": {"gamma": 0.8},
    "PolynomialLR": {"total_iters": 5, "power": 2.0},
    "CosineAnnealingLR": {"T_max": 6, "eta_min": 0.001},
    "CosineAnnealingWarmRestarts": {"T_0": 2, "T_mult": 2},
    "CyclicLR": {"base_lr": 0.01, "max_lr": 0.1, "step_size_up": 3},
    "OneCycleLR": {"max_lr": 0.3, "total_steps": 30},
}
FUNCTIONS = {"halved": lambda epoch: 0.5**epoch}


def setting(schedule: Schedule, warmup_epochs: int = 0, **arguments: Any) -> Setting:
    return Setting(
        optimizer="SGD",
        arguments={"lr": 0.1, "momentum": 0.9, **arguments},
        schedule=schedule,
        warmup_epochs=warmup_epochs,
    )


def path_of(some: Setting, epochs: int = EPOCHS) -> tuple[np.ndarray, np.ndarray]:
    horizon = Horizon(epochs=epochs, updates_per_epoch=UPDATES, warmup_epochs=some.warmup_epochs)
    path = schedule_path(some, horizon, FUNCTIONS)
    rates = [path.rates(epoch) for epoch in range(1, epochs + 1)]
    return np.concatenate([lr for lr, _ in rates]), np.concatenate([m for _, m in rates if m is not None])


@pytest.mark.parametrize("every", ["epoch", "step"])
@pytest.mark.parametrize("name", ARGUMENTS)
def test_every_class_equals_a_plain_loop(name: str, every: str) -> None:
    found = path_of(setting(Schedule(name=name, arguments=ARGUMENTS[name], every=every)))
    optimizer = SGD([nn.Parameter(torch.zeros(1))], lr=0.1, momentum=0.9)
    arguments = dict(ARGUMENTS[name])
    if "lr_lambda" in arguments:
        arguments["lr_lambda"] = FUNCTIONS[arguments["lr_lambda"]]
    schedule = getattr(lr_scheduler, name)(optimizer, **arguments)
    rates, momenta = [], []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(EPOCHS):
            for _ in range(UPDATES):
                rates.append(optimizer.param_groups[0]["lr"])
                momenta.append(optimizer.param_groups[0]["momentum"])
                optimizer.step()
                if every == "step":
                    schedule.step()
            if every == "epoch":
                schedule.step()
    assert found[0].tolist() == rates
    assert found[1].tolist() == momenta


def test_a_fractional_epoch_follows_pytorchs_documentation() -> None:
    """CosineAnnealingWarmRestarts' documented loop: ``step(epoch + i / iters)`` after update i."""
    found, _ = path_of(
        setting(Schedule(name="CosineAnnealingWarmRestarts", arguments={"T_0": 2}, every="fraction"))
    )
    optimizer = SGD([nn.Parameter(torch.zeros(1))], lr=0.1)
    schedule = lr_scheduler.CosineAnnealingWarmRestarts(optimizer, T_0=2)
    rates = []
    for epoch in range(EPOCHS):
        for index in range(UPDATES):
            rates.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            schedule.step(epoch + index / UPDATES)
    assert found.tolist() == pytest.approx(rates, rel=1e-12)


def test_nested_schedules() -> None:
    nested = Schedule(
        name="SequentialLR",
        arguments={
            "schedulers": (
                Schedule(name="LinearLR", arguments={"start_factor": 0.5, "total_iters": 2}),
                Schedule(name="StepLR", arguments={"step_size": 1, "gamma": 0.5}),
            ),
            "milestones": (2,),
        },
    )
    found, _ = path_of(setting(nested))
    assert found[::UPDATES].tolist() == pytest.approx([0.05, 0.075, 0.1, 0.05, 0.025, 0.0125])


@pytest.mark.parametrize("name", ["T_max", "total_steps"])
@pytest.mark.parametrize(("warmup_epochs", "every"), [(0, "epoch"), (2, "epoch"), (0, "step"), (1, "step")])
def test_horizons_are_the_trainings_length_less_the_warm_up(
    name: str, warmup_epochs: int, every: str
) -> None:
    schedule = (
        Schedule(name="CosineAnnealingLR", every=every)
        if name == "T_max"
        else Schedule(name="OneCycleLR", arguments={"max_lr": 0.1}, every=every)
    )
    horizon = Horizon(epochs=EPOCHS, updates_per_epoch=UPDATES, warmup_epochs=warmup_epochs)
    some = setting(schedule, warmup_epochs)
    _, built = construct(some, horizon, [nn.Parameter(torch.zeros(1))])
    ticks = (EPOCHS - warmup_epochs) * (UPDATES if every == "step" else 1)
    assert getattr(built, name) == ticks


def test_warm_up_rises_to_the_first_value_and_starts_the_clock_after_it() -> None:
    some = setting(Schedule(name="StepLR", arguments={"step_size": 1, "gamma": 0.5}), warmup_epochs=2)
    rates, momenta = path_of(some)
    assert rates[:10].tolist() == pytest.approx([0.1 * u / 10 for u in range(1, 11)])
    assert rates[10::UPDATES].tolist() == pytest.approx([0.1, 0.05, 0.025, 0.0125])
    assert set(momenta.tolist()) == {0.9}


def test_warm_up_before_a_schedule_that_sets_the_rate() -> None:
    schedule = Schedule(name="OneCycleLR", arguments={"max_lr": 0.5}, every="step")
    rates, momenta = path_of(setting(schedule, 1))
    first = 0.5 / 25
    assert rates[:UPDATES].tolist() == pytest.approx([first * u / UPDATES for u in range(1, UPDATES + 1)])
    assert rates[UPDATES] == pytest.approx(first)
    assert momenta[: UPDATES + 1].tolist() == pytest.approx([0.95] * (UPDATES + 1))


def test_the_optimizer_is_built_with_the_schedules_first_momentum() -> None:
    """Nesterov needs a momentum at construction, and OneCycleLR brings it."""
    some = Setting(
        optimizer="SGD",
        arguments={"nesterov": True},
        schedule=Schedule(name="OneCycleLR", arguments={"max_lr": 0.1, "total_steps": 9}, every="step"),
    )
    optimizer, _ = construct(some, Horizon(epochs=1, updates_per_epoch=9), [nn.Parameter(torch.zeros(1))])
    assert optimizer.defaults["momentum"] == 0.95


def test_a_beta_left_out_is_the_schedules_first_momentum() -> None:
    some = Setting(
        optimizer="Adam",
        arguments={"betas": (None, 0.99)},
        schedule=Schedule(name="OneCycleLR", arguments={"max_lr": 0.1, "total_steps": 9}, every="step"),
    )
    horizon = Horizon(epochs=1, updates_per_epoch=9)
    optimizer, _ = construct(some, horizon, [nn.Parameter(torch.zeros(1))])
    assert optimizer.defaults["betas"] == (0.95, 0.99)
    _, momentum = schedule_path(some, horizon).rates(1)
    assert momentum is not None
    assert momentum[0] == 0.95
    assert momentum.min() == pytest.approx(0.85, abs=0.01)


@pytest.mark.parametrize(
    "losses", [[5, 4, 3, 2, 1, 1], [1, 2, 3, 4, 5, 6], [1, 1, 1, 1, 1, 1], [2, 1, 2, 1, 2, 0.5]]
)
@pytest.mark.parametrize("warmup_epochs", [0, 1])
def test_a_plateau_is_pytorchs_own_object(losses: list[float], warmup_epochs: int) -> None:
    arguments = {"patience": 1, "factor": 0.5, "threshold": 0.01}
    some = setting(Schedule(name="ReduceLROnPlateau", arguments=arguments, watch="val_loss"), warmup_epochs)
    path = schedule_path(some, Horizon(epochs=6, updates_per_epoch=UPDATES, warmup_epochs=warmup_epochs))
    optimizer = SGD([nn.Parameter(torch.zeros(1))], lr=0.1)
    reference = lr_scheduler.ReduceLROnPlateau(optimizer, **arguments)
    for epoch, loss in enumerate(losses, start=1):
        rates, _ = path.rates(epoch)
        path.observe({"val_loss": loss})
        if epoch > warmup_epochs:
            assert rates.tolist() == [optimizer.param_groups[0]["lr"]] * UPDATES
            reference.step(loss)


class _AlsoDecaysWeights(lr_scheduler.StepLR):
    def step(self, epoch: int | None = None) -> None:
        super().step(epoch)
        for group in self.optimizer.param_groups:
            group["weight_decay"] = 0.1


class _Brought(lr_scheduler.LRScheduler):
    """A class that PyTorch does not have yet."""

    def __init__(self, optimizer: Any, root: float) -> None:
        self.root = root
        super().__init__(optimizer)

    def get_lr(self) -> list[float]:
        return [base / (1 + self.last_epoch) ** self.root for base in self.base_lrs]


def test_a_schedule_that_changes_more_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lr_scheduler, "AlsoDecaysWeights", _AlsoDecaysWeights, raising=False)
    with pytest.raises(ScheduleRefused, match="changes weight_decay"):
        path_of(setting(Schedule(name="AlsoDecaysWeights", arguments={"step_size": 1})))


def test_a_class_that_pytorch_adds_works_unchanged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lr_scheduler, "Brought", _Brought, raising=False)
    found, _ = path_of(setting(Schedule(name="Brought", arguments={"root": 0.5})))
    assert found[::UPDATES].tolist() == pytest.approx([0.1 / (1 + e) ** 0.5 for e in range(EPOCHS)])


@pytest.mark.parametrize(
    ("schedule", "sentence"),
    [
        (Schedule(name="OneCycleLR", arguments={"max_lr": 0.1, "pct_start": 2.0}), "pct_start"),
        (Schedule(name="StepLR", arguments={"step_size": 0}), "modulo|division"),
        (Schedule(name="LambdaLR", arguments={"lr_lambda": "unknown"}), "no function 'unknown'"),
        (Schedule(name="MultiStepLR", arguments={"milestones": 3}), "iterable"),
    ],
)
def test_what_pytorch_refuses(schedule: Schedule, sentence: str) -> None:
    with pytest.raises(ScheduleRefused, match=sentence):
        path_of(setting(schedule))
