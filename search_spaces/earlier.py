"""Earlier settings: what another sweep has found out, in the words of a space that begins with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from search_spaces.ranges import Choice, Value
from search_spaces.space import SearchSpace, dimensions


@dataclass(frozen=True, slots=True, kw_only=True)
class EarlierSetting:
    """A setting that another sweep has trained to its end."""

    values: Mapping[str, Value]  # by the range's name, as :meth:`SearchSpace.draw` is to choose them
    finished: bool  # else it was given up: pruned or diverged
    epoch: int | None = None  # the last one with a value; None where it diverged
    value: float | None = None  # of the metric, there


def earlier_within(space: SearchSpace, earlier: Sequence[EarlierSetting]) -> list[EarlierSetting]:
    """Those whose values lie within the space: a range test may have narrowed it since they were taken."""
    ranges = dimensions(space)

    def holds(name: str, value: Value) -> bool:
        range_ = ranges[name]
        return isinstance(range_, Choice) or range_.low <= float(str(value)) <= range_.high

    return [one for one in earlier if all(holds(name, value) for name, value in one.values.items())]
