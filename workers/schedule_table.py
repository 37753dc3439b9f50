"""Schedules as tables: PyTorch's own class is run once over a dummy parameter and written down.

Training only indexes the columns, so every class of torch.optim.lr_scheduler works by its own name and
arguments, stacked, and nothing of PyTorch is rewritten. A class whose ``step`` takes a metric keeps one
live object per trial instead, called once an epoch.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn

from search_spaces.settings import Setting
from workers.optimization import (
    REFUSALS,
    Functions,
    Horizon,
    Rates,
    ScheduleRefused,
    construct,
    momentum_of,
    sentence_of,
    step_schedule,
    takes_metric,
)

_SCHEDULED = {"lr", "momentum", "betas"}


class SchedulePath(Protocol):
    """Learning rate and momentum of one trial over its training."""

    def rates(self, epoch: int) -> tuple[Rates, Rates | None]:
        """Learning rate and momentum of each update of ``epoch`` (from 1): (updates,) each.

        Epochs are asked in order; momentum is None for optimizers that have none.
        """
        ...

    def observe(self, metrics: Mapping[str, float]) -> None:
        """Hear the metrics at the end of the epoch asked for last."""
        ...


def schedule_path(setting: Setting, horizon: Horizon, functions: Functions | None = None) -> SchedulePath:
    """The path of ``setting`` over ``horizon``. Raises ScheduleRefused."""
    if takes_metric(setting.schedule):
        return _LivePath(setting, horizon, functions or {})
    table = _cached_table(_Key(setting, horizon), _Functions(functions or {}))
    return _TablePath(table, setting.schedule.every, horizon)


@dataclass(frozen=True, slots=True)
class _Table:
    lr: Rates  # (ticks,)
    momentum: Rates | None


class _Key:
    """A setting and horizon, hashable by what the table depends on."""

    def __init__(self, setting: Setting, horizon: Horizon) -> None:
        self.setting = setting
        self.horizon = horizon
        flat = {
            key: value
            for key, value in setting.to_json().items()
            if not key.startswith("task.") and key != "batch_size"
        }
        self._identity = (repr(sorted(flat.items())), horizon)

    def __hash__(self) -> int:
        return hash(self._identity)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Key) and self._identity == other._identity


class _Functions(dict[str, Callable[[int], float]]):
    """A task's functions, hashable by identity."""

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(tuple(sorted((name, id(function)) for name, function in self.items())))


@lru_cache(maxsize=4096)
def _cached_table(key: _Key, functions: _Functions) -> _Table:
    return _written_down(key.setting, key.horizon, functions)


def _written_down(setting: Setting, horizon: Horizon, functions: Functions) -> _Table:
    """Run the schedule over a dummy parameter and note learning rate and momentum at every tick."""
    optimizer, schedule = construct(setting, horizon, [nn.Parameter(torch.zeros(1))], functions)
    group = optimizer.param_groups[0]
    ticks = horizon.ticks(setting.schedule.every)
    learning_rates = np.empty(ticks)
    momenta = np.empty(ticks)
    watched = {name: value for name, value in optimizer.defaults.items() if name not in _SCHEDULED}
    later_betas = optimizer.defaults["betas"][1:] if "betas" in group else None
    optimizer.step()  # PyTorch warns where a schedule steps before its optimizer
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for tick in range(ticks):
            learning_rates[tick] = group["lr"]
            momenta[tick] = momentum_of(group) or 0.0
            if schedule is not None and tick + 1 < ticks:
                _step_or_refuse(schedule, setting.schedule.every, tick + 1, horizon.updates_per_epoch)
    changed = [name for name, value in watched.items() if group[name] is not value and group[name] != value]
    if changed or (later_betas is not None and tuple(group["betas"][1:]) != tuple(later_betas)):
        raise ScheduleRefused(
            f"{setting.schedule.name} changes {', '.join(changed) or 'betas[1]'}; "
            "a schedule may change the learning rate and momentum only"
        )
    if not np.isfinite(learning_rates).all():
        raise ScheduleRefused(f"{setting.schedule.name} makes a learning rate of {learning_rates.max()}")
    return _Table(lr=learning_rates, momentum=None if momentum_of(group) is None else momenta)


def _step_or_refuse(schedule: Any, every: str, update: int, updates_per_epoch: int) -> None:
    try:
        step_schedule(schedule, every, update, updates_per_epoch)
    except REFUSALS as error:
        raise ScheduleRefused(sentence_of(error)) from error


class _TablePath:
    """A path that is known before training starts."""

    def __init__(self, table: _Table, every: str, horizon: Horizon) -> None:
        self._table = table
        self._every = every
        self._horizon = horizon

    def rates(self, epoch: int) -> tuple[Rates, Rates | None]:
        updates = self._horizon.updates_per_epoch
        if epoch <= self._horizon.warmup_epochs:
            momentum = self._table.momentum
            return (
                warmup_rates(self._table.lr[0], epoch, self._horizon),
                None if momentum is None else np.full(updates, momentum[0]),
            )
        tick = epoch - 1 - self._horizon.warmup_epochs
        return (
            self._column(self._table.lr, tick, updates),
            None if self._table.momentum is None else self._column(self._table.momentum, tick, updates),
        )

    def observe(self, metrics: Mapping[str, float]) -> None:
        """Nothing to hear: the table is complete."""

    def _column(self, column: Rates, tick: int, updates: int) -> Rates:
        if self._every == "epoch":
            return np.full(updates, column[tick])
        return column[tick * updates : (tick + 1) * updates]


class _LivePath:
    """A path that depends on what training shows: one live PyTorch object, stepped once an epoch."""

    def __init__(self, setting: Setting, horizon: Horizon, functions: Functions) -> None:
        self._optimizer, self._schedule = construct(
            setting, horizon, [nn.Parameter(torch.zeros(1))], functions
        )
        self._horizon = horizon
        self._watch = setting.schedule.watch or "val_loss"
        self._epoch = 0

    def rates(self, epoch: int) -> tuple[Rates, Rates | None]:
        self._epoch = epoch
        group = self._optimizer.param_groups[0]
        updates = self._horizon.updates_per_epoch
        momentum = momentum_of(group)
        momenta = None if momentum is None else np.full(updates, momentum)
        if epoch <= self._horizon.warmup_epochs:
            return warmup_rates(group["lr"], epoch, self._horizon), momenta
        return np.full(updates, group["lr"], dtype=np.float64), momenta

    def observe(self, metrics: Mapping[str, float]) -> None:
        if self._epoch > self._horizon.warmup_epochs:
            self._schedule.step(metrics[self._watch])


def warmup_rates(first_rate: float, epoch: int, horizon: Horizon) -> Rates:
    """Learning rates of warm-up ``epoch``: update u of W uses ``first_rate * u / W``."""
    updates = horizon.updates_per_epoch
    numbers = np.arange((epoch - 1) * updates + 1, epoch * updates + 1, dtype=np.float64)
    rates: Rates = first_rate * numbers / horizon.warmup_updates
    return rates
