"""The learning-rate range test that a sweep may begin with."""

from __future__ import annotations

from dataclasses import dataclass

DEFAULT_UPDATES = 200
USUAL_MOMENTUM = 0.9


@dataclass(frozen=True, slots=True, kw_only=True)
class RangeTest:
    """A learning rate that rises from the low to the high end of its range while training goes on."""

    momenta: tuple[float, ...] | None = None  # a rise each; None: the ends of the file's range, and 0.9
    updates: int = DEFAULT_UPDATES  # of a rise
    seeds: tuple[int, ...] | None = None  # whose losses are averaged; None: the first of the trials' seeds


def momenta_between(low: float, high: float) -> tuple[float, ...]:
    """The momenta that a test tries where the file lets it vary so: both ends, and 0.9 if that is within."""
    usual = min(max(USUAL_MOMENTUM, low), high)
    return tuple(sorted({low, usual, high}))
