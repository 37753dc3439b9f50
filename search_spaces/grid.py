"""The grid of a search space: every point once, those that differ in their schedule alone side by side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice

from search_spaces.ranges import Choice, Numeric, Value
from search_spaces.settings import Setting
from search_spaces.space import SearchSpace, schedule_dimensions

MOST_COUNTED = 3_000  # points of a grid, each of which takes 0.1 ms


@dataclass(frozen=True, slots=True, kw_only=True)
class GridPoint:
    """A point of the grid."""

    family: int  # the same for points that differ in their schedule, and in what it sets itself, only
    values: Mapping[str, Value]  # chosen, by name
    setting: Setting


@dataclass(frozen=True, slots=True)
class _Axis:
    """A range of the space and which of its grid's values was taken."""

    name: str
    size: int
    index: int


@dataclass(slots=True)
class _Walk:
    """Answers what a draw asks for, and notes what was asked."""

    of_schedule: frozenset[str]  # names of the axes that vary fastest
    indices: Mapping[str, int]  # of the others; 0 where none is given
    schedule_indices: Mapping[str, int]  # of the schedule's axes, likewise
    values: dict[str, Value] = field(default_factory=dict)
    schedule_axes: list[_Axis] = field(default_factory=list)
    axes: list[_Axis] = field(default_factory=list)

    def choose(self, name: str, range_: Numeric | Choice) -> Value:
        points: tuple[Value, ...]
        points = tuple(range(len(range_.options))) if isinstance(range_, Choice) else range_.grid()
        of_schedule = name in self.of_schedule
        index = (self.schedule_indices if of_schedule else self.indices).get(name, 0)
        (self.schedule_axes if of_schedule else self.axes).append(_Axis(name, len(points), index))
        self.values[name] = points[index]
        return points[index]


def grid_settings(space: SearchSpace) -> Iterator[GridPoint]:
    """Every grid point once. The schedule varies fastest, and of the other names later ones do.

    Raises ValueError where a numeric range has no ``points``.
    """
    of_schedule = frozenset(schedule_dimensions(space)) | {"schedule"}
    indices: Mapping[str, int] | None = {}
    family = 0
    while indices is not None:
        longest: list[_Axis] = []
        schedule_indices: Mapping[str, int] | None = {}
        while schedule_indices is not None:
            walk = _Walk(of_schedule, indices, schedule_indices)
            setting = space.draw(walk.choose)
            # Where the schedule sets a number itself, the point is the same for all of that number's values.
            if all(name in walk.values for name, index in indices.items() if index):
                yield GridPoint(family=family, values=walk.values, setting=setting)
            longest = max(longest, walk.axes, key=len)
            schedule_indices = _next(walk.schedule_axes)
        indices = _next(longest)
        family += 1


def settings_at_most(space: SearchSpace) -> int:
    """How many settings a sweep over ``space`` tries: its ``trials``, but of a grid no more than there are.

    Start points are counted beside the grid's, though they may be among them. Grids are counted up to
    :data:`MOST_COUNTED` points, and larger ones taken to have enough.
    """
    if space.sampler != "grid":
        return space.trials
    branches = len(space.schedules) if space.branches else 1
    points = sum(1 for _ in islice(grid_settings(space), min(space.trials, MOST_COUNTED)))
    if points == MOST_COUNTED:
        return space.trials
    return min(space.trials, points + len(space.start) * branches)


def _next(axes: list[_Axis]) -> dict[str, int] | None:
    """The indices that come next, the last axis varying fastest; None after the last."""
    while axes and axes[-1].index == axes[-1].size - 1:
        axes = axes[:-1]
    if not axes:
        return None
    return {axis.name: axis.index for axis in axes[:-1]} | {axes[-1].name: axes[-1].index + 1}
