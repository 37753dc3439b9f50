"""The catalogue says what PyTorch's signatures say."""

from __future__ import annotations

import inspect

import pytest
import torch
from torch.optim import lr_scheduler

from search_spaces.catalogue import Kind
from workers.torch_catalogue import torch_catalogue

SCHEDULES = [name for name in lr_scheduler.__all__ if name != "LRScheduler"]


@pytest.mark.parametrize("name", SCHEDULES)
def test_every_schedule_class_with_its_own_arguments(name: str) -> None:
    entry = torch_catalogue().schedules[name]
    parameters = inspect.signature(getattr(lr_scheduler, name)).parameters
    assert set(entry.arguments) == set(parameters) - {"optimizer"}
    for argument in entry.arguments.values():
        assert argument.required == (parameters[argument.name].default is inspect.Parameter.empty)


@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW", "RMSprop", "Adagrad", "NAdam"])
def test_every_argument_of_the_optimizers(name: str) -> None:
    entry = torch_catalogue().optimizers[name]
    assert set(entry.arguments) == set(inspect.signature(getattr(torch.optim, name)).parameters) - {"params"}


def test_what_schedules_set_themselves() -> None:
    schedules = torch_catalogue().schedules
    suppressing = {name: entry.suppresses for name, entry in schedules.items() if entry.suppresses}
    assert set(suppressing) == {"OneCycleLR", "CyclicLR"}
    for rules in suppressing.values():
        assert [(rule.setting, rule.unless_false) for rule in rules] == [
            ("lr", None),
            ("momentum", "cycle_momentum"),
        ]


def test_how_schedules_step() -> None:
    schedules = torch_catalogue().schedules
    assert {name for name, entry in schedules.items() if entry.every == "step"} == {"OneCycleLR", "CyclicLR"}
    assert {name for name, entry in schedules.items() if entry.watches} == {"ReduceLROnPlateau"}
    assert {name for name, entry in schedules.items() if entry.fractional} == {"CosineAnnealingWarmRestarts"}
    horizons = {name: entry.horizon for name, entry in schedules.items() if entry.horizon}
    assert horizons == {"CosineAnnealingLR": "T_max", "OneCycleLR": "total_steps", "WSD": "total_steps"}


def test_kinds_and_names() -> None:
    schedules, optimizers = torch_catalogue().schedules, torch_catalogue().optimizers
    assert schedules["StepLR"].arguments["step_size"].kinds == (Kind.integer,)
    assert schedules["MultiStepLR"].arguments["milestones"].kinds == (Kind.listing,)
    assert schedules["SequentialLR"].arguments["schedulers"].kinds == (Kind.schedules,)
    assert schedules["ReduceLROnPlateau"].arguments["mode"].names == ("min", "max")
    assert schedules["WSD"].arguments["shape"].names == ("linear", "cosine", "1-sqrt", "exponential")
    assert schedules["WSD"].arguments["final_factor"].kinds == (Kind.number,)
    assert optimizers["SGD"].arguments["nesterov"].kinds == (Kind.boolean,)
    assert optimizers["Adam"].arguments["betas"].kinds == (Kind.listing,)
    stacked = {name for name, entry in optimizers.items() if entry.stacked}
    assert stacked == {"SGD", "Adam", "AdamW", "NAdam", "RMSprop", "Adagrad"}
