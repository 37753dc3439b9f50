"""Rate axes: the learning-rate ranges of a search space that a range test may narrow, and how.

They are the range of an optimizer's ``lr``, and that of ``max_lr`` where a schedule sets the learning rate
itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from search_spaces.ranges import Effective, Fixed, Log, Range, Uniform, learning_rate
from search_spaces.space import OptimizerSpace, ScheduleSpace, SearchSpace
from search_spaces.starts import StartPoint

LR, MAX_LR = "lr", "max_lr"
LEAST_RATIO = 2.0  # of a range's ends: within less there is nothing to narrow
MOST_RATIO = 1e6  # of the ends of what is tried, where a range begins at zero or next to it

Bounds = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class RateAxis:
    """A range of learning rates."""

    name: str  # as search_spaces.space.dimensions has it
    low: float
    high: float
    warms_up: bool  # whether training begins below the rate drawn from it
    effective: bool = False  # whether its rates are lr / (1 - momentum)


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimizerRates:
    """One optimizer of the file with the axes that a range test of it narrows."""

    optimizer: OptimizerSpace
    axes: tuple[RateAxis, ...]
    momentum_is_set: bool  # by every schedule itself

    def tried(self, momenta: Sequence[float]) -> Bounds:
        """The least and the largest learning rate of the axes at any of ``momenta``; the least above zero."""
        high = max(
            learning_rate(axis.high, min(momenta)) if axis.effective else axis.high for axis in self.axes
        )
        low = min(learning_rate(axis.low, max(momenta)) if axis.effective else axis.low for axis in self.axes)
        return max(low, high / MOST_RATIO), high


def rates_of(space: SearchSpace) -> tuple[tuple[OptimizerRates, ...], tuple[str, ...]]:
    """What there is to narrow, by optimizer; and sentences about learning rates that are left as they are."""
    peaks, left = _peaks(space)
    found = []
    is_free = any(not _sets(schedule, LR) for schedule in space.schedules)
    sets_momentum = all(_sets(schedule, "momentum") for schedule in space.schedules)
    for optimizer in space.optimizers:
        name = f"{optimizer.label}.{LR}"
        range_ = optimizer.arguments.get(LR)
        reason = _why_left(range_) if is_free else "the schedules set the learning rate themselves"
        own: tuple[RateAxis, ...] = ()
        if reason is None and isinstance(range_, Uniform | Log | Effective):
            warms_up = space.warmup_epochs > 0
            own = (
                RateAxis(
                    name=name,
                    low=range_.low,
                    high=range_.high,
                    warms_up=warms_up,
                    effective=isinstance(range_, Effective),
                ),
            )
        elif range_ is not None or is_free:
            left.append(f"{name} is left as it is: {reason}")
        if own or peaks:
            axes = (*own, *peaks)
            found.append(OptimizerRates(optimizer=optimizer, axes=axes, momentum_is_set=sets_momentum))
    return tuple(found), tuple(left)


def with_bounds(space: SearchSpace, bounds: Mapping[str, Bounds]) -> SearchSpace:
    """The space with other ends for the axes named in ``bounds``; defaults that lie outside are left out."""
    optimizers = tuple(
        replace(
            optimizer,
            arguments={
                name: _bounded(range_, bounds.get(f"{optimizer.label}.{name}"))
                for name, range_ in optimizer.arguments.items()
            },
        )
        for optimizer in space.optimizers
    )
    schedules = tuple(_schedule_with_bounds(schedule, bounds) for schedule in space.schedules)
    start = tuple(point for point in space.start if not point.is_default or _is_within(point, bounds))
    return replace(space, optimizers=optimizers, schedules=schedules, start=start)


def room_for_starts(space: SearchSpace, bounds: Mapping[str, Bounds]) -> dict[str, Bounds]:
    """``bounds`` with room for the file's own start points, which people know to be good."""
    found = dict(bounds)
    for point in space.start:
        for name in found.keys() & point.values.keys():
            if not point.is_default:
                low, high = found[name]
                value = float(str(point.values[name]))
                found[name] = (min(low, value), max(high, value))
    return found


def _is_within(point: StartPoint, bounds: Mapping[str, Bounds]) -> bool:
    return all(
        bounds[name][0] <= float(str(point.values[name])) <= bounds[name][1]
        for name in bounds.keys() & point.values.keys()
    )


def _peaks(space: SearchSpace) -> tuple[tuple[RateAxis, ...], list[str]]:
    """The ranges of ``max_lr``, whose schedules warm up by themselves; and those that are left alone."""
    axes: list[RateAxis] = []
    left: list[str] = []
    for schedule in space.schedules:
        for part in _parts(schedule):
            name, range_ = f"{part.label}.{MAX_LR}", part.arguments.get(MAX_LR)
            if range_ is None or isinstance(range_, tuple):
                continue
            reason = _why_left(range_)
            if reason is None and isinstance(range_, Uniform | Log | Effective):
                axes.append(RateAxis(name=name, low=range_.low, high=range_.high, warms_up=True))
            else:
                left.append(f"{name} is left as it is: {reason}")
    return tuple(axes), left


def _why_left(range_: Range | None) -> str | None:
    """Why a range is no axis of a range test; None where it is one."""
    if range_ is None or isinstance(range_, Fixed):
        return "it is fixed"
    if not isinstance(range_, Uniform | Log | Effective):
        return "it is no range between two learning rates"
    if range_.high <= 0.0 or range_.high < LEAST_RATIO * range_.low:
        return f"its ends are less than a factor of {LEAST_RATIO:g} apart"
    return None


def _sets(schedule: ScheduleSpace, setting: str) -> bool:
    """Whether the schedule sets it itself, for all that is known before a setting is drawn."""
    return any(rule.setting == setting for part in _parts(schedule) for rule in part.suppresses)


def _parts(schedule: ScheduleSpace) -> Iterator[ScheduleSpace]:
    yield schedule
    for value in schedule.arguments.values():
        if isinstance(value, tuple):
            for part in value:
                yield from _parts(part)


def _schedule_with_bounds(schedule: ScheduleSpace, bounds: Mapping[str, Bounds]) -> ScheduleSpace:
    arguments: dict[str, Range | tuple[ScheduleSpace, ...]] = {}
    for name, value in schedule.arguments.items():
        if isinstance(value, tuple):
            arguments[name] = tuple(_schedule_with_bounds(part, bounds) for part in value)
        else:
            arguments[name] = _bounded(value, bounds.get(f"{schedule.label}.{name}"))
    return replace(schedule, arguments=arguments)


def _bounded(range_: Range, bounds: Bounds | None) -> Range:
    if bounds is None or not isinstance(range_, Uniform | Log | Effective):
        return range_
    return replace(range_, low=bounds[0], high=bounds[1])
