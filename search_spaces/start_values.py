"""Start values: where in a space's ranges a value that somebody names stands."""

from __future__ import annotations

import math
from collections.abc import Mapping

from search_spaces.classes import may_suppress
from search_spaces.ranges import (
    Choice,
    Effective,
    Fixed,
    Integer,
    Numeric,
    Range,
    Tuple,
    Value,
    effective_rate,
    ends,
    learning_rate,
)
from search_spaces.space import BIAS_LR, ScheduleSpace, SearchSpace

NEAR = 1e-9  # relative: the same number, written down with fewer digits


def placed(range_: Range, name: str, value: Value, momentum: float | None = None) -> dict[str, Value] | None:
    """What to choose of the range called ``name``, and of those inside it, for ``value`` to come out.

    Empty where the range has no other value; None where ``value`` is not in it. An item of a list that is
    null is left open. ``momentum``: beside it, without which a learning rate has no effective one.
    """
    if isinstance(range_, Fixed):
        return {} if _same(range_.value, value) else None
    if isinstance(range_, Choice):
        for index, option in enumerate(range_.options):
            inner = placed(option, f"{name}[{index}]", value, momentum)
            if inner is not None:
                return {name: index, **inner}
        return None
    if isinstance(range_, Tuple):
        return _placed_items(range_, name, value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if isinstance(range_, Effective):
        if momentum is None:
            return None
        value = _effective(float(value), momentum)
    if not range_.low <= value <= range_.high:
        return None
    if isinstance(range_, Integer):
        return {name: int(value)} if value == int(value) else None
    return {name: float(value)}


def _effective(lr: float, momentum: float) -> float:
    """The effective rate that gives back just this learning rate, if there is one."""
    near = effective_rate(lr, momentum)
    candidates = (near, math.nextafter(near, 0.0), math.nextafter(near, math.inf))
    return next((rate for rate in candidates if learning_rate(rate, momentum) == lr), near)


def is_effective(range_: Range) -> bool:
    """Whether a learning rate's range is of effective rates, wholly or in part."""
    if isinstance(range_, Choice):
        return any(map(is_effective, range_.options))
    return isinstance(range_, Effective)


def _placed_items(range_: Tuple, name: str, value: Value) -> dict[str, Value] | None:
    if not isinstance(value, tuple) or len(value) != len(range_.items):
        return None
    found: dict[str, Value] = {}
    for index, (item, given) in enumerate(zip(range_.items, value, strict=True)):
        inner = {} if given is None else placed(item, f"{name}.{index}", given)
        if inner is None:
            return None
        found |= inner
    return found


def _same(one: Value, other: Value) -> bool:
    """1 and 1.0 are the same, 1 and true are not."""
    if isinstance(one, tuple) and isinstance(other, tuple):
        return len(one) == len(other) and all(map(_same, one, other))
    return one == other and isinstance(one, bool) == isinstance(other, bool)


def on_grid(range_: Numeric | Choice, value: Value) -> Value:
    """The grid's own value where ``value`` is one of them but for rounding; else ``value``."""
    if isinstance(range_, Choice) or not isinstance(value, int | float):
        return value
    near = (point for point in range_.grid() if math.isclose(point, value, rel_tol=NEAR, abs_tol=1e-300))
    return next(near, value)


def sets_itself(schedule: ScheduleSpace, name: str, *, always: bool = False) -> bool:
    """Whether the schedule may (``always``: whatever is drawn) set the optimizer's argument itself."""
    setting = "lr" if name == BIAS_LR else name
    if not may_suppress(schedule, setting):
        return False
    return not always or _suppresses(schedule, setting)


def _suppresses(schedule: ScheduleSpace, setting: str) -> bool:
    """Whether it does so whatever is drawn of its own arguments."""
    for rule in schedule.suppresses:
        if rule.setting != setting:
            continue
        switch = None if rule.unless_false is None else schedule.arguments.get(rule.unless_false)
        if rule.unless_false is None or (switch is None and rule.default):
            return True
        if switch is not None and not isinstance(switch, tuple) and all(map(bool, ends(switch))):
            return True
    parts = (part for value in schedule.arguments.values() if isinstance(value, tuple) for part in value)
    return any(_suppresses(part, setting) for part in parts)


def compatible(schedules: tuple[ScheduleSpace, ...], names: Mapping[str, object]) -> tuple[int, ...]:
    """Positions of the schedules that leave the optimizer's arguments of these names alone."""
    return tuple(
        index
        for index, schedule in enumerate(schedules)
        if not any(sets_itself(schedule, name) for name in names)
    )


def proposals_of(space: SearchSpace) -> int:
    """How many proposals the sweep has: settings, or families of them where it has branches."""
    return -(-space.trials // max(1, len(space.schedules))) if space.branches else space.trials
