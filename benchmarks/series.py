"""Series of timings: medians, ranges, and how two systems that were timed in turns compare."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TypeVar

Measured = TypeVar("Measured")


@dataclass(frozen=True, slots=True)
class Series:
    """Numbers of repeats, in the order of the repeats."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        return median(self.values)

    def told(self) -> str:
        """Median and range; one repeat says that it is one."""
        if len(self.values) == 1:
            return f"{number(self.values[0])} (one repeat)"
        low, high = number(min(self.values)), number(max(self.values))
        return f"{number(self.median)} ({low} to {high}, {len(self.values)} repeats)"


def number(value: float) -> str:
    """Three significant digits, and all of those before the point."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def ratios(above: Sequence[float], below: Sequence[float]) -> Series:
    """Each repeat's ``above`` to the same repeat's ``below``, which stood beside it in time.

    Where one side has fewer repeats, each of the other's is compared with its median. Raises ValueError
    where a side has none.
    """
    if not above or not below:
        raise ValueError("a ratio needs a number on each side")
    if len(above) == len(below):
        return Series(tuple(one / other for one, other in zip(above, below, strict=True)))
    if len(above) < len(below):
        return Series(tuple(median(above) / other for other in below))
    return Series(tuple(one / median(below) for one in above))


def in_turns(
    systems: Mapping[str, Callable[[], Measured]], repeats: int, say: Callable[[str], None]
) -> dict[str, list[Measured]]:
    """What each system measures, A B A B ..., so that a slow spell of the machine meets all of them."""
    found: dict[str, list[Measured]] = {name: [] for name in systems}
    for repeat in range(1, repeats + 1):
        for name, measure in systems.items():
            say(f"{name}, repeat {repeat} of {repeats}")
            found[name].append(measure())
    return found
