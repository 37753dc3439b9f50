"""Variants: the settings of a space that a rehearsal tries.

Every argument at its first end, then each argument, and each two, at other ends.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from search_spaces.ranges import Choice, Numeric, Value
from search_spaces.ranges import ends as ends_of
from search_spaces.settings import Setting
from search_spaces.space import SearchSpace

MOST_PAIRS = 500  # of an optimizer with a schedule


@dataclass(frozen=True, slots=True)
class Variant:
    """A setting to try, and which named range was moved away from its first end."""

    setting: Setting
    moved: str | None
    value: Value
    optimizer_label: str
    schedule_label: str


def variants_of(space: SearchSpace) -> Iterator[Variant]:
    """Every variant of every optimizer with every schedule."""
    for optimizer in range(len(space.optimizers)):
        for schedule in range(len(space.schedules)):
            picked: dict[str, Value] = {"optimizer": optimizer, "schedule": schedule}
            yield from _moved_one_at_a_time(space, picked)


def _moved_one_at_a_time(space: SearchSpace, picked: dict[str, Value]) -> Iterator[Variant]:
    asked: dict[str, Numeric | Choice] = {}

    def draw(moves: dict[str, Value]) -> Setting:
        def choose(name: str, range_: Numeric | Choice) -> Value:
            asked.setdefault(name, range_)
            if name in moves:
                return moves[name]
            return 0 if isinstance(range_, Choice) else ends_of(range_)[0]

        return space.draw(choose)

    labels = (
        space.optimizers[int(str(picked["optimizer"]))].label,
        space.schedules[int(str(picked["schedule"]))].label,
    )
    yield Variant(draw(picked), None, None, *labels)
    done: set[str] = {"optimizer", "schedule"}
    while pending := [name for name in asked if name not in done]:
        for name in pending:
            done.add(name)
            for value in _values(asked[name])[1:]:
                yield Variant(draw({**picked, name: value}), name, value, *labels)
    names = [name for name in asked if name not in ("optimizer", "schedule")]
    for together in itertools.islice(_pairs(names, asked), MOST_PAIRS):
        yield Variant(draw({**picked, **together}), *list(together.items())[-1], *labels)


def _pairs(names: Sequence[str], asked: Mapping[str, Numeric | Choice]) -> Iterator[dict[str, Value]]:
    """Two names at a time away from their first ends: what is refused only in combination."""
    for one, other in itertools.combinations(names, 2):
        for values in itertools.product(_values(asked[one])[1:], _values(asked[other])[1:]):
            yield dict(zip((one, other), values, strict=True))


def _values(range_: Numeric | Choice) -> tuple[Value, ...]:
    return tuple(range(len(range_.options))) if isinstance(range_, Choice) else ends_of(range_)
