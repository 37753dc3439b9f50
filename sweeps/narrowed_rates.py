"""Narrowed rates: from what a range test found to the ends that learning rates are searched between.

Pure. A range is only ever narrowed, never widened, and never to less than a factor of :data:`LEAST_SPAN`
where it was wider.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from search_spaces.ranges import effective_rate
from search_spaces.rate_axes import Bounds, OptimizerRates, RateAxis
from workers.rate_curves import RateFinding

BELOW_STEEPEST = 10.0
"""Times the smallest rate of steepest descent that the range ends below it: longer training learns there."""

BEYOND_EDGE_WARMED_UP = 2.0
"""Times the edge that the range ends above it where training warms up: rates are held without, from the start
on, and what diverges then may be stable a little later."""

LEAST_SPAN = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Narrowed:
    """One axis after a range test."""

    axis: RateAxis
    bounds: Bounds
    why_not: str | None = None  # why it is as it was


def narrowed_axes(
    tested: Sequence[tuple[OptimizerRates, Sequence[RateFinding]]],
) -> tuple[Narrowed, ...]:
    """Every axis of the optimizers that were tested, once.

    The upper end is the largest edge of all momenta, so that nothing is cut that is good at one of them, and
    stays where one was not reached; the lower end is :data:`BELOW_STEEPEST` times below the smallest rate of
    steepest descent. An axis that several optimizers share has room for all of them.
    """
    findings: dict[str, tuple[RateAxis, list[RateFinding]]] = {}
    for rates, found in tested:
        for axis in rates.axes:
            findings.setdefault(axis.name, (axis, []))[1].extend(found)
    return tuple(_narrowed(axis, found) for axis, found in findings.values())


def searched(narrowed: Sequence[Narrowed]) -> dict[str, Bounds]:
    """The ends of the axes that are not as they were, by name."""
    return {one.axis.name: one.bounds for one in narrowed if one.why_not is None}


def _narrowed(axis: RateAxis, findings: Sequence[RateFinding]) -> Narrowed:
    whole = (axis.low, axis.high)
    falling = [
        (steepest, _on_axis(one.edge, one, axis))
        for one in findings
        if (steepest := _on_axis(one.steepest, one, axis)) is not None
    ]
    if not falling:
        return Narrowed(axis=axis, bounds=whole, why_not="the loss falls clearly at none of its rates")
    edges = [edge for _, edge in falling if edge is not None]
    low, high = min(steepest for steepest, _ in falling) / BELOW_STEEPEST, axis.high
    if len(edges) == len(falling):
        high = max(edges) * (BEYOND_EDGE_WARMED_UP if axis.warms_up else 1.0)
    high = min(_two_digits(high, math.ceil), axis.high)
    low = min(_two_digits(low, math.floor), _two_digits(high / LEAST_SPAN, math.floor))
    low = max(low, axis.low)
    if low >= high:
        return Narrowed(axis=axis, bounds=whole, why_not=f"all of it lies beyond the edge, {high:g}")
    if (low, high) == whole:
        return Narrowed(axis=axis, bounds=whole, why_not="nothing of it can be left out")
    return Narrowed(axis=axis, bounds=(low, high))


def _on_axis(rate: float | None, finding: RateFinding, axis: RateAxis) -> float | None:
    """A learning rate of a finding as the axis counts it."""
    if rate is None or not axis.effective:
        return rate
    return effective_rate(rate, finding.momentum or 0.0)


def _two_digits(value: float, rounded: Callable[[float], int]) -> float:
    """The value rounded to two digits, outwards: numbers that people read."""
    power = math.floor(math.log10(value)) - 1
    digits = value / 10.0**power
    return float(f"{rounded(round(digits, 9))}e{power}")
