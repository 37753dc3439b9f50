"""Optimization: the real torch.optim and torch.optim.lr_scheduler objects of one trial, and when they step.

What a sweep file says about optimizer, schedule and warm-up is carried out here, by PyTorch's own classes.
Solo training and the users' own loops step these objects; populations index tables written down from them.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.optim import Optimizer, lr_scheduler

from search_spaces.settings import Schedule, Setting

Rates = npt.NDArray[np.float64]
Functions = Mapping[str, Callable[[int], float]]

HORIZON_ARGUMENTS = ("T_max", "total_steps")
_PLACEHOLDER_MOMENTUM = 0.5  # told apart from any momentum a schedule is likely to set
REFUSALS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
)  # what PyTorch's classes raise over arguments


class ScheduleRefused(ValueError):
    """PyTorch, or the rule that a schedule changes learning rate and momentum only, refuses a setting."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Horizon:
    """The length of a training: what schedules are laid out on."""

    epochs: int
    updates_per_epoch: int
    warmup_epochs: int = 0

    @property
    def warmup_updates(self) -> int:
        """Updates before the schedule's clock starts."""
        return self.warmup_epochs * self.updates_per_epoch

    def ticks(self, every: str) -> int:
        """Values the schedule takes from its start to the end of training."""
        epochs = self.epochs - self.warmup_epochs
        return epochs if every == "epoch" else epochs * self.updates_per_epoch


def takes_metric(schedule: Schedule) -> bool:
    """Whether the schedule's ``step`` is told a metric, as ReduceLROnPlateau's is."""
    if schedule.name == "constant":
        return False
    return "metrics" in inspect.signature(schedule_class(schedule.name).step).parameters


def schedule_class(name: str) -> type[Any]:
    """The class of torch.optim.lr_scheduler called ``name``."""
    found: type[Any] = getattr(lr_scheduler, name)
    return found


def construct(
    setting: Setting,
    horizon: Horizon,
    parameters: Iterable[nn.Parameter],
    functions: Functions | None = None,
) -> tuple[Optimizer, Any]:
    """The real torch.optim optimizer and lr_scheduler objects; the latter is None for ``constant``.

    Where the schedule sets momentum itself, the optimizer is built with the schedule's first momentum.
    Raises ScheduleRefused with PyTorch's own sentence.
    """
    parameters = list(parameters)
    try:
        optimizer = _optimizer(setting, parameters, _first_momentum(setting, horizon, functions))
        return optimizer, _schedule(setting.schedule, optimizer, horizon, functions or {})
    except REFUSALS as error:
        raise ScheduleRefused(sentence_of(error)) from error


def momentum_of(group: Mapping[str, Any]) -> float | None:
    """Momentum in force in a parameter group: ``momentum``, or ``betas[0]`` in the Adam family."""
    if "momentum" in group:
        return float(group["momentum"])
    return float(group["betas"][0]) if "betas" in group else None


def step_schedule(schedule: Any, every: str, update: int, updates_per_epoch: int) -> None:
    """One tick of the schedule's clock after its ``update``-th update (from 1)."""
    if every == "fraction":
        schedule.step((update - 1) / updates_per_epoch)
    else:
        schedule.step()


def _optimizer(setting: Setting, parameters: list[nn.Parameter], first_momentum: float | None) -> Optimizer:
    kind = getattr(torch.optim, setting.optimizer)
    arguments: dict[str, Any] = dict(setting.arguments)
    if first_momentum is not None:
        arguments["momentum"] = first_momentum
    optimizer: Optimizer = kind(parameters, **arguments)
    return optimizer


def _first_momentum(setting: Setting, horizon: Horizon, functions: Functions | None) -> float | None:
    """Momentum that the schedule sets at its start, or None where it leaves momentum alone."""
    parameters = inspect.signature(getattr(torch.optim, setting.optimizer)).parameters
    if setting.schedule.name == "constant" or "momentum" not in parameters or "momentum" in setting.arguments:
        return None
    dummy = _optimizer(setting, [nn.Parameter(torch.zeros(1))], _PLACEHOLDER_MOMENTUM)
    _schedule(setting.schedule, dummy, horizon, functions or {})
    momentum = float(dummy.param_groups[0]["momentum"])
    return None if momentum == _PLACEHOLDER_MOMENTUM else momentum


def _schedule(schedule: Schedule, optimizer: Optimizer, horizon: Horizon, functions: Functions) -> Any:
    if schedule.name == "constant":
        return None
    kind = schedule_class(schedule.name)
    signature = inspect.signature(kind).parameters
    arguments: dict[str, Any] = {}
    for name, value in schedule.arguments.items():
        if name == "schedulers":
            arguments[name] = [_schedule(item, optimizer, horizon, functions) for item in schedule.nested()]
        elif name == "lr_lambda":
            arguments[name] = functions[str(value)]
        else:
            arguments[name] = list(value) if isinstance(value, tuple) else value
    for name in HORIZON_ARGUMENTS:
        if name in signature and name not in arguments and not {"epochs", "steps_per_epoch"} & set(arguments):
            arguments[name] = horizon.ticks(schedule.every)
    if "optimizer" in signature:
        arguments["optimizer"] = optimizer
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return kind(**arguments)


def sentence_of(error: BaseException) -> str:
    if isinstance(error, KeyError):
        return f"the task has no function {error}"
    return " ".join(str(error).split()) or type(error).__name__
