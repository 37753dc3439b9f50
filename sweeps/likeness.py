"""Likeness: which settings are trained alike, found without comparing each with each.

Settings are filed by everything but their schedule. Only where two share that are their schedules looked
at: whether they are the same, then whether they begin with the same rates, and only then whether their
tables agree.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import Any, Protocol

from search_spaces.catalogue import Catalogue
from search_spaces.settings import Schedule, Setting

_ONLY_WITH_MOMENTUM = ("dampening", "nesterov")  # of classes whose momentum sums steps


class Rates(Protocol):
    """The learning rates and momenta that settings are trained with."""

    def at_start(self, setting: Setting) -> Hashable | None:
        """Rates before the schedule's first tick; None where they are not known."""
        ...

    def throughout(self, setting: Setting) -> Hashable | None:
        """Equal where the rates agree at every update; None where they are not known before training."""
        ...


@dataclass(slots=True)
class _SameStart:
    """Settings that differ in their schedule only and begin with the same rates."""

    first: int
    schedule: Schedule  # of the first
    tables: dict[Hashable, int] | None = None  # the first of each table; None until there is a second


@dataclass(slots=True)
class _SameBeginning:
    """Settings that differ in their schedule only."""

    first: int
    schedule: Schedule  # of the first
    schedules: dict[bytes, int] = field(default_factory=dict)  # the first that is trained alike, by schedule
    starts: dict[Hashable, _SameStart] | None = None  # None until there is another schedule


class Likeness:
    """The settings of a sweep so far, by what they are trained with."""

    def __init__(self, catalogue: Catalogue, rates: Rates | None) -> None:
        """No settings yet. ``rates`` None: schedules are alike only where they are the same."""
        self._catalogue = catalogue
        self._rates = rates
        self._defaults: dict[str, dict[str, Any]] = {}  # PyTorch's, by optimizer
        self._single: dict[bytes, tuple[int, Schedule]] = {}  # the first setting of each beginning
        self._several: dict[bytes, _SameBeginning] = {}  # of those that a second setting has

    def first_alike(self, index: int, setting: Setting) -> int:
        """The first setting that is trained as this one, by index: its own where there is none before it."""
        key = _digest(self._beginning(setting))
        first = self._single.setdefault(key, (index, setting.schedule))
        if first[0] == index:
            return index
        alike = self._several.get(key)
        if alike is None:
            alike = self._several[key] = _SameBeginning(*first)
            alike.schedules[_digest(_identity(alike.schedule))] = alike.first
        schedule = _digest(_identity(setting.schedule))
        if schedule not in alike.schedules:
            alike.schedules[schedule] = self._by_rates(index, setting, alike)
        return alike.schedules[schedule]

    def _by_rates(self, index: int, setting: Setting, alike: _SameBeginning) -> int:
        """The first with the same rates as this setting, which has a schedule of its own."""
        rates = self._rates
        if rates is None:
            return index
        if alike.starts is None:
            start = rates.at_start(replace(setting, schedule=alike.schedule))
            alike.starts = {} if start is None else {start: _SameStart(alike.first, alike.schedule)}
        start = rates.at_start(setting)
        if start is None:
            return index
        same_start = alike.starts.get(start)
        if same_start is None:
            alike.starts[start] = _SameStart(index, setting.schedule)
            return index
        if same_start.tables is None:
            first = rates.throughout(replace(setting, schedule=same_start.schedule))
            same_start.tables = {} if first is None else {first: same_start.first}
        table = rates.throughout(setting)
        return index if table is None else same_start.tables.setdefault(table, index)

    def _beginning(self, setting: Setting) -> tuple[object, ...]:
        """Everything but the schedule, equal where it means the same.

        What a schedule sets is absent from the arguments; of any other argument PyTorch's default is the
        same as none given. Without momentum, what is done with it is the same whatever is said.
        """
        entry = self._catalogue.optimizers[setting.optimizer]
        if self._sets_settings(setting.schedule):
            arguments: dict[str, Any] = dict(setting.arguments)
        else:
            defaults = self._defaults.get(entry.name)
            if defaults is None:
                defaults = {name: argument.default for name, argument in entry.arguments.items()}
                self._defaults[entry.name] = defaults
            arguments = {**defaults, **setting.arguments}
        if entry.sums_steps and arguments.get("momentum") == 0:
            for name in _ONLY_WITH_MOMENTUM:
                arguments.pop(name, None)
        named = tuple(sorted((name, _number(value)) for name, value in arguments.items()))
        return setting.population, named, setting.warmup_epochs, setting.clip_grad_norm, setting.bias_lr

    def _sets_settings(self, schedule: Schedule) -> bool:
        """Whether the schedule may set learning rate or momentum itself."""
        entry = self._catalogue.schedules.get(schedule.name)
        own = entry is not None and bool(entry.suppresses)
        return own or any(self._sets_settings(part) for part in schedule.nested())


def _identity(schedule: Schedule) -> tuple[object, ...]:
    """Equal for equal schedules, whatever the order of their arguments."""
    arguments = {
        name: tuple(_identity(item) if isinstance(item, Schedule) else item for item in value)
        if isinstance(value, tuple)
        else _number(value)
        for name, value in schedule.arguments.items()
    }
    return schedule.name, tuple(sorted(arguments.items())), schedule.every, schedule.watch


def _number(value: object) -> object:
    """1 and 1.0 are the same to PyTorch."""
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _digest(value: object) -> bytes:
    return blake2b(repr(value).encode(), digest_size=16).digest()
