"""The plain torch loop that schedules are compared with, written out after the sweep file's definitions.

It shares no code with ``workers``, except the class WSD.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer, lr_scheduler

from search_spaces.settings import Schedule, Setting
from workers.wsd import WSD

Point = tuple[tuple[float, float | None], ...]  # each parameter group's learning rate and momentum
REFUSED = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
)
LISTED = (1.0, 0.5, 0.7, 0.1, 0.1, 0.05, 0.2, 0.0)
FUNCTIONS = {
    "halved": lambda tick: 0.5**tick,
    "hyperbolic": lambda tick: 1 / (1 + tick),
    "wave": lambda tick: 1.5 + math.sin(tick),
    "cut_off": lambda tick: 1.0 if tick < 3 else 0.0,
    "listed": lambda tick: LISTED[int(tick)],  # ends: IndexError
    "explodes": lambda tick: 10.0 ** (60 * tick),  # overflows: OverflowError
    "infinite": lambda tick: math.inf if tick == 2 else 1.0,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A setting and the training it is laid out on."""

    setting: Setting
    epochs: int
    updates: int  # per epoch

    @property
    def ticks(self) -> int:
        """Steps of the schedule's clock."""
        epochs = self.epochs - self.setting.warmup_epochs
        return epochs if self.setting.schedule.every == "epoch" else epochs * self.updates


def plain_optimizer(setting: Setting, ticks: int) -> tuple[Optimizer, Any]:
    """Optimizer and schedule by PyTorch's own names; a schedule that sets momentum brings the first."""
    kind, arguments = getattr(torch.optim, setting.optimizer), dict(setting.arguments)
    if setting.optimizer in ("SGD", "RMSprop") and "momentum" not in arguments:
        tried = kind(_groups(setting), momentum=0.25)
        plain_schedule(setting.schedule, tried, ticks)
        arguments["momentum"] = tried.param_groups[0]["momentum"]
    optimizer = kind(_groups(setting), **arguments)
    return optimizer, plain_schedule(setting.schedule, optimizer, ticks)


def _groups(setting: Setting) -> list[dict[str, Any]]:
    """Weights; and, where asked for, biases and norms."""
    groups: list[dict[str, Any]] = [{"params": [nn.Parameter(torch.zeros(2, 2))]}]
    if setting.two_groups:
        groups.append({"params": [nn.Parameter(torch.zeros(2))], "weight_decay": 0.0})
    if setting.bias_lr is not None:
        groups[1]["lr"] = setting.bias_lr
    for group in groups:
        for parameter in group["params"]:
            parameter.grad = torch.zeros_like(parameter)  # without one an optimizer steps over it
    return groups


def plain_schedule(schedule: Schedule, optimizer: Optimizer, ticks: int) -> Any:
    """The schedule by PyTorch's own name; horizons that the file leaves out are ``ticks``."""
    arguments: dict[str, Any] = {}
    for name, value in schedule.arguments.items():
        if name == "schedulers":
            arguments[name] = [plain_schedule(part, optimizer, ticks) for part in schedule.nested()]
        elif name in ("lr_lambda", "scale_fn") and isinstance(value, str):
            arguments[name] = FUNCTIONS[value]
        elif name == "lr_lambda":
            arguments[name] = [FUNCTIONS[item] for item in value]
        else:
            arguments[name] = list(value) if isinstance(value, tuple) else value
    if schedule.name == "ChainedScheduler":
        return lr_scheduler.ChainedScheduler(**arguments)
    if schedule.name == "CosineAnnealingLR":
        arguments.setdefault("T_max", ticks)
    if schedule.name == "WSD" or (
        schedule.name == "OneCycleLR" and not arguments.keys() & {"epochs", "steps_per_epoch"}
    ):
        arguments.setdefault("total_steps", ticks)
    kind = WSD if schedule.name == "WSD" else getattr(lr_scheduler, schedule.name)
    return kind(optimizer, **arguments)


def plain_path(case: Case) -> list[Point] | None:
    """Learning rate and momentum of every update in a plain torch loop; None where PyTorch raises.

    None also where a learning rate is not finite: Ravine trains with none such.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            path = _loop(case)
        except REFUSED:
            return None
    return path if all(math.isfinite(rate) for point in path for rate, _ in point) else None


def _loop(case: Case) -> list[Point]:
    optimizer, schedule = plain_optimizer(case.setting, case.ticks)
    groups, every = optimizer.param_groups, case.setting.schedule.every
    warmup_epochs = case.setting.warmup_epochs
    warmup_updates = warmup_epochs * case.updates
    first_rates = [group["lr"] for group in groups]
    path: list[Point] = []
    for epoch in range(case.epochs):
        for index in range(case.updates):
            update = epoch * case.updates + index + 1
            if update <= warmup_updates:
                for group, first in zip(groups, first_rates, strict=True):
                    group["lr"] = first * update / warmup_updates
            path.append(point_of(groups))
            optimizer.step()
            if update <= warmup_updates:
                for group, first in zip(groups, first_rates, strict=True):
                    group["lr"] = first
            elif every == "step":
                schedule.step()
            elif every == "fraction":  # as CosineAnnealingWarmRestarts' documentation has it
                schedule.step(epoch - warmup_epochs + index / case.updates)
        if epoch >= warmup_epochs and every == "epoch":
            schedule.step()
    return path


def point_of(groups: list[dict[str, Any]]) -> Point:
    """What the groups hold now; momentum is ``betas[0]`` in the Adam family."""
    return tuple(
        (group["lr"], group["betas"][0] if "betas" in group else group.get("momentum")) for group in groups
    )


def plain_plateau(case: Case, curve: list[float]) -> list[Point] | None:
    """As :func:`plain_path`, around ReduceLROnPlateau told ``curve``'s value at the end of each epoch."""
    try:
        optimizer, schedule = plain_optimizer(case.setting, case.ticks)
    except REFUSED:
        return None
    warmup_epochs = case.setting.warmup_epochs
    path: list[Point] = []
    for epoch in range(case.epochs):
        point = point_of(optimizer.param_groups)
        if epoch >= warmup_epochs:
            path += [point] * case.updates
            schedule.step(curve[epoch])
            continue
        for update in range(epoch * case.updates + 1, (epoch + 1) * case.updates + 1):
            path.append(tuple((lr * update / (warmup_epochs * case.updates), beta) for lr, beta in point))
    return path
