"""Schedules as tables: PyTorch's own class is run once over a dummy parameter and written down.

Training only indexes the columns, so every class of torch.optim.lr_scheduler works by its own name and
arguments, stacked, and nothing of PyTorch is rewritten. A class whose ``step`` takes a metric keeps one
live object per trial instead, called once an epoch.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
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
    Optimizers,
    Rates,
    ScheduleRefused,
    construct,
    dummy_groups,
    momentum_of,
    optimizer_class,
    sentence_of,
    step_schedule,
    takes_metric,
)

_SCHEDULED = {"lr", "momentum", "betas"}


GroupRates = tuple[Rates, Rates | None]
"""Learning rate and momentum of one parameter group at each update of an epoch, (updates,) each."""


RateBits = tuple[tuple[bytes, bytes | None], ...]


def rate_bits(rates: tuple[GroupRates, ...]) -> RateBits:
    """Rates of an epoch by parameter group, equal where every bit is."""
    return tuple((lr.tobytes(), None if momentum is None else momentum.tobytes()) for lr, momentum in rates)


class SchedulePath(Protocol):
    """Learning rate and momentum of one trial over its training."""

    def rates(self, epoch: int) -> GroupRates:
        """Rates of the first parameter group, the weights', in ``epoch`` (from 1).

        Epochs are asked in order; momentum is None for optimizers that have none.
        """
        ...

    def group_rates(self, epoch: int) -> tuple[GroupRates, ...]:
        """As :meth:`rates`, of every parameter group."""
        ...

    def observe(self, metrics: Mapping[str, float]) -> None:
        """Hear the metrics at the end of the epoch asked for last."""
        ...


def schedule_path(
    setting: Setting,
    horizon: Horizon,
    functions: Functions | None = None,
    optimizers: Optimizers | None = None,
) -> SchedulePath:
    """The path of ``setting`` over ``horizon``, with the task's own code. Raises ScheduleRefused."""
    if takes_metric(setting.schedule):
        return _LivePath(setting, horizon, functions or {}, optimizers or {})
    table = _cached_table(_Key(setting, horizon), _OwnCode(functions or {}), _OwnCode(optimizers or {}))
    return _TablePath(table, setting.schedule.every, horizon)


def starting_rates(
    setting: Setting,
    horizon: Horizon,
    functions: Functions | None = None,
    optimizers: Optimizers | None = None,
) -> tuple[tuple[float, float | None], ...]:
    """Learning rate and momentum of each parameter group before the schedule's first tick, without a table.

    Raises ScheduleRefused.
    """
    return _cached_start(_Key(setting, horizon), _OwnCode(functions or {}), _OwnCode(optimizers or {}))


_Table = tuple[GroupRates, ...]
"""Each parameter group's learning rate and momentum at every tick of the schedule's clock, (ticks,)."""


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


class _OwnCode(dict[str, Any]):
    """A task's functions or optimizer classes, hashable by identity."""

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(tuple(sorted((name, id(code)) for name, code in self.items())))


@lru_cache(maxsize=4096)
def _cached_table(key: _Key, functions: _OwnCode, optimizers: _OwnCode) -> _Table:
    return _written_down(key.setting, key.horizon, functions, optimizers)


@lru_cache(maxsize=4096)
def _cached_start(
    key: _Key, functions: _OwnCode, optimizers: _OwnCode
) -> tuple[tuple[float, float | None], ...]:
    groups = dummy_groups(key.setting)
    optimizer, _ = construct(key.setting, key.horizon, groups, functions, optimizers)
    return tuple((float(group["lr"]), momentum_of(group)) for group in optimizer.param_groups)


def _written_down(setting: Setting, horizon: Horizon, functions: Functions, optimizers: Optimizers) -> _Table:
    """Run the schedule over dummy parameters and note learning rate and momentum at every tick."""
    given = dummy_groups(setting)
    said = [dict(group) for group in given]
    optimizer, schedule = construct(setting, horizon, given, functions, optimizers)
    groups = optimizer.param_groups
    ticks = horizon.ticks(setting.schedule.every)
    learning_rates = np.empty((len(groups), ticks))
    momenta = np.empty((len(groups), ticks))
    is_own = setting.optimizer in optimizers
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # also that a schedule steps before its optimizer: nothing is trained
        for tick in range(ticks):
            for index, group in enumerate(groups):
                learning_rates[index, tick] = group["lr"]
                momenta[index, tick] = momentum_of(group) or 0.0
            if schedule is not None:  # after the last update too, as a plain loop does
                _step_or_refuse(schedule, setting.schedule.every, tick + 1, horizon.updates_per_epoch)
    for group, own in zip(groups, said, strict=True):
        built = _not_scheduled({**optimizer.defaults, **own})
        changed = [name for name, value in built.items() if _not_scheduled(group)[name] != value]
        if changed:
            raise ScheduleRefused(
                f"{setting.schedule.name} changes {', '.join(changed)}; "
                "a schedule may change the learning rate and momentum only"
            )
    if not np.isfinite(learning_rates).all():
        first = learning_rates[~np.isfinite(learning_rates)][0]
        raise ScheduleRefused(f"{setting.schedule.name} makes a learning rate of {first}")
    has_momentum = momentum_of(groups[0]) is not None
    if not is_own and "momentum" in groups[0] and not momenta[0, 0] and momenta[0].any():
        _refuse_late_momentum(setting, float(momenta[0].max()))
    return tuple(
        (lr, momentum if has_momentum else None) for lr, momentum in zip(learning_rates, momenta, strict=True)
    )


def _refuse_late_momentum(setting: Setting, momentum: float) -> None:
    """Raise ScheduleRefused where the optimizer cannot step without momentum first and with it later.

    RMSprop is one: it makes the buffer of its momentum at its first update or never.
    """
    parameter = nn.Parameter(torch.zeros(1))
    parameter.grad = torch.zeros(1)  # without one an optimizer steps over it
    arguments: dict[str, Any] = {**setting.arguments, "momentum": 0.0}
    kind: Any = optimizer_class(setting.optimizer)
    optimizer = kind([parameter], **arguments)
    try:
        for now in (0.0, momentum):
            optimizer.param_groups[0]["momentum"] = now
            optimizer.step()
    except REFUSALS as error:
        raise ScheduleRefused(
            f"{setting.optimizer} cannot begin with a momentum of 0 and have one later: {sentence_of(error)}"
        ) from error


def _not_scheduled(group: Mapping[str, Any]) -> dict[str, Any]:
    """Everything of a parameter group that a schedule may not change."""
    kept = {name: value for name, value in group.items() if name not in _SCHEDULED | {"params"}}
    if "betas" in group:
        kept["betas[1]"] = tuple(group["betas"][1:])
    return kept


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

    def rates(self, epoch: int) -> GroupRates:
        return self.group_rates(epoch)[0]

    def group_rates(self, epoch: int) -> tuple[GroupRates, ...]:
        if epoch <= self._horizon.warmup_epochs:
            updates = self._horizon.updates_per_epoch
            return tuple(
                (
                    warmup_rates(lr[0], epoch, self._horizon),
                    None if momentum is None else np.full(updates, momentum[0]),
                )
                for lr, momentum in self._table
            )
        tick = epoch - 1 - self._horizon.warmup_epochs
        return tuple(
            (self._column(lr, tick), None if momentum is None else self._column(momentum, tick))
            for lr, momentum in self._table
        )

    def observe(self, metrics: Mapping[str, float]) -> None:
        """Nothing to hear: the table is complete."""

    def _column(self, column: Rates, tick: int) -> Rates:
        updates = self._horizon.updates_per_epoch
        if self._every == "epoch":
            return np.full(updates, column[tick])
        return column[tick * updates : (tick + 1) * updates]


class _LivePath:
    """A path that depends on what training shows: one live PyTorch object, stepped once an epoch."""

    def __init__(
        self, setting: Setting, horizon: Horizon, functions: Functions, optimizers: Optimizers
    ) -> None:
        groups = dummy_groups(setting)
        self._optimizer, self._schedule = construct(setting, horizon, groups, functions, optimizers)
        self._horizon = horizon
        self._watch = setting.schedule.watch or "val_loss"
        self._epoch = 0

    def rates(self, epoch: int) -> GroupRates:
        return self.group_rates(epoch)[0]

    def group_rates(self, epoch: int) -> tuple[GroupRates, ...]:
        self._epoch = epoch
        return tuple(self._rates_of(group) for group in self._optimizer.param_groups)

    def observe(self, metrics: Mapping[str, float]) -> None:
        if self._epoch > self._horizon.warmup_epochs:
            self._schedule.step(metrics[self._watch])

    def _rates_of(self, group: Mapping[str, Any]) -> GroupRates:
        updates = self._horizon.updates_per_epoch
        momentum = momentum_of(group)
        momenta = None if momentum is None else np.full(updates, momentum)
        if self._epoch <= self._horizon.warmup_epochs:
            return warmup_rates(group["lr"], self._epoch, self._horizon), momenta
        return np.full(updates, group["lr"], dtype=np.float64), momenta


def warmup_rates(first_rate: float, epoch: int, horizon: Horizon) -> Rates:
    """Learning rates of warm-up ``epoch``: update u of W uses ``first_rate * u / W``."""
    updates = horizon.updates_per_epoch
    numbers = np.arange((epoch - 1) * updates + 1, epoch * updates + 1, dtype=np.float64)
    rates: Rates = first_rate * numbers / horizon.warmup_updates
    return rates
