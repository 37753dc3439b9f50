"""Placing: where a setting lies in a space that it was not drawn from, or what keeps it out."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import Any

from search_spaces.catalogue import Argument, Catalogue
from search_spaces.ranges import Choice, Effective, Fixed, Integer, Range, Tuple, Value, effective_rate
from search_spaces.settings import Schedule, Setting
from search_spaces.space import (
    BIAS_LR,
    OptimizerSpace,
    ScheduleSpace,
    SearchSpace,
    may_draw,
    suppressed_settings,
    without_suppressed,
)

_NOTHING = object()  # no value: neither given nor known to be the default
_ROUNDING = 1e-12  # relative: a value may have been worked out of others


@dataclass(slots=True)
class Placement:
    """The values that :meth:`SearchSpace.draw` has to choose to give the setting, by the range's name."""

    values: dict[str, Value] = field(default_factory=dict)
    outside: list[str] = field(default_factory=list)  # names of what does not fit: lr, schedule.gamma

    @property
    def fits(self) -> bool:
        """Whether the space has the setting."""
        return not self.outside


def place(space: SearchSpace, setting: Setting, catalogue: Catalogue) -> Placement:
    """Where the setting lies in the space, with the fewest names outside.

    What one of the two does not name is PyTorch's or the task's own default. Outside is ``optimizer`` or
    ``schedule`` alone where the space has none of its class.
    """
    optimizers = [one for one in enumerate(space.optimizers) if one[1].name == setting.optimizer]
    schedules = [one for one in enumerate(space.schedules) if may_draw(one[1], setting.schedule)]
    if not optimizers or not schedules:
        return Placement(outside=["schedule" if optimizers else "optimizer"])
    tried = (_place(space, one, other, setting, catalogue) for one, other in product(optimizers, schedules))
    return min(tried, key=lambda placement: len(placement.outside))


def _place(
    space: SearchSpace,
    optimizer: tuple[int, OptimizerSpace],
    schedule: tuple[int, ScheduleSpace],
    setting: Setting,
    catalogue: Catalogue,
) -> Placement:
    found = Placement()
    if len(space.optimizers) > 1:
        found.values["optimizer"] = optimizer[0]
    if len(space.schedules) > 1:
        found.values["schedule"] = schedule[0]
    _put_optimizer(found, optimizer[1], schedule[1], setting, catalogue)
    _put_schedule(found, schedule[1], schedule[1].label, setting.schedule, catalogue)
    if setting.warmup_epochs != space.warmup_epochs:
        found.outside.append("warmup.epochs")
    _put(found, space.batch_size, "batch_size", "batch_size", setting.batch_size)
    _put(found, space.clip_grad_norm, "clip_grad_norm", "clip_grad_norm", setting.clip_grad_norm)
    task = catalogue.tasks.get(space.task)
    known = {} if task is None else task.arguments
    for name, range_, value in _pairs(space.task_arguments, setting.task_arguments, known):
        _put(found, range_, f"task.{name}", f"task.{name}", value)
    return found


def _put_optimizer(
    found: Placement, space: OptimizerSpace, schedule: ScheduleSpace, setting: Setting, catalogue: Catalogue
) -> None:
    suppressed = suppressed_settings(schedule, setting.schedule)
    if "lr" in suppressed:
        suppressed |= {BIAS_LR}
    ranges = without_suppressed(space.arguments, suppressed)
    if (BIAS_LR in space.arguments) != setting.two_groups:
        found.outside.append(BIAS_LR)
    elif BIAS_LR in ranges:
        own = "same" if setting.bias_lr is None else setting.bias_lr
        _put(found, ranges.pop(BIAS_LR), f"{space.label}.{BIAS_LR}", BIAS_LR, own)
    ranges.pop(BIAS_LR, None)
    entry = catalogue.optimizers.get(setting.optimizer)
    known = {} if entry is None else entry.arguments
    momentum = setting.arguments.get("momentum", space.default_momentum)
    for name, range_, value in _pairs(ranges, setting.arguments, known):
        given = value
        if name == "lr" and _is_by_effect(range_):
            given = effective_rate(float(str(value)), float(str(momentum)))
        if name == "nesterov" and value is False and not momentum and not _fits(range_, name, value):
            given = True  # a drawn momentum of 0 turns it off
        _put(found, range_, f"{space.label}.{name}", name, given)


def _put_schedule(
    found: Placement, space: ScheduleSpace, label: str, drawn: Schedule, catalogue: Catalogue
) -> None:
    if space.every != drawn.every or (space.watch or "val_loss") != (drawn.watch or "val_loss"):
        found.outside.append("schedule.every" if space.every != drawn.every else "schedule.watch")
    entry = catalogue.schedules.get(space.name)
    known = {} if entry is None else entry.arguments
    plain = {name: value for name, value in drawn.arguments.items() if not _is_nested(value)}
    ranges = {name: value for name, value in space.arguments.items() if not isinstance(value, tuple)}
    nested = frozenset(space.arguments) - frozenset(ranges)
    for name, range_, value in _pairs(ranges, plain, {n: a for n, a in known.items() if n not in nested}):
        _put(found, range_, f"{label}.{name}", f"schedule.{name}", value)
    for name in nested:
        parts, values = space.arguments[name], drawn.arguments[name]
        for index, (part, value) in enumerate(zip(parts, values, strict=True)):  # type: ignore[arg-type]
            _put_schedule(found, part, f"{label}.{index}.{part.name}", value, catalogue)  # type: ignore[arg-type]


def _is_nested(value: Any) -> bool:
    return isinstance(value, tuple) and any(isinstance(item, Schedule) for item in value)


def _pairs(
    ranges: Mapping[str, Range], given: Mapping[str, Any], known: Mapping[str, Argument]
) -> Iterator[tuple[str, Range, Any]]:
    """Each argument that either has, with its range and its value; a default where one of them is silent."""
    for name in dict.fromkeys((*ranges, *given)):
        argument = known.get(name)
        default = _NOTHING if argument is None or argument.required else argument.default
        range_ = ranges.get(name, Fixed(value=default))  # type: ignore[arg-type]
        yield name, range_, given.get(name, default)


def _put(found: Placement, range_: Range, name: str, told: str, value: Any) -> None:
    """Note the value of a range, or that it lies outside."""
    values = _fits(range_, name, value)
    if values is None:
        found.outside.append(told)
    else:
        found.values |= values


def _fits(range_: Range, name: str, value: Any) -> dict[str, Value] | None:
    """What has to be chosen to draw the value; None where it lies outside."""
    if isinstance(range_, Fixed):
        return {} if _same(range_.value, value) else None
    if isinstance(range_, Choice):
        for index, option in enumerate(range_.options):
            inner = _fits(option, f"{name}[{index}]", value)
            if inner is not None:
                return {name: index, **inner}
        return None
    if isinstance(range_, Tuple):
        if not isinstance(value, tuple) or len(value) != len(range_.items):
            return None
        items = [
            _fits(item, f"{name}.{index}", one)
            for index, (item, one) in enumerate(zip(range_.items, value, strict=True))
        ]
        kept = [item for item in items if item is not None]
        return {key: one for item in kept for key, one in item.items()} if len(kept) == len(items) else None
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    if isinstance(range_, Integer):
        whole = int(value) == value and range_.low <= value <= range_.high
        return {name: int(value)} if whole else None
    slack = _ROUNDING * max(abs(range_.low), abs(range_.high))
    if not range_.low - slack <= value <= range_.high + slack or not math.isfinite(value):
        return None
    return {name: min(max(float(value), range_.low), range_.high)}


def _is_by_effect(range_: Range) -> bool:
    if isinstance(range_, Choice):
        return any(_is_by_effect(option) for option in range_.options)
    return isinstance(range_, Effective)


def _same(one: Any, other: Any) -> bool:
    """Equal up to rounding, 1 and 1.0 too, but not 1 and true."""
    if isinstance(one, tuple) and isinstance(other, tuple):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, bool) != isinstance(other, bool):
        return False
    if isinstance(one, int | float) and isinstance(other, int | float):
        return math.isclose(one, other, rel_tol=_ROUNDING)
    return bool(one == other)
