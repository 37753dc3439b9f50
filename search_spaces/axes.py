"""Axes: where a value stands on a range's own axis, and ranges that hold a part of an axis or more than it.

A position is a share of the way from low to high on the axis on which the range is drawn from: log(x),
log(1 - x), whole numbers ... 0 and 1 are the bounds; what lies beyond them is a position, too.
"""

from __future__ import annotations

import math
from dataclasses import replace

from search_spaces.ranges import Effective, Integer, Log, LogOneMinus, Numeric

DIGITS = 2  # of the bounds of a new range: what few trials tell is not worth more
LARGEST_STEP = math.log(10.0)  # of a widened log axis: a factor of ten


def position_of(range_: Numeric, value: float) -> float:
    """Position of ``value`` on the axis of ``range_``; of a range of one value, 0.5."""
    low, high = _ends(range_)
    if low == high:
        return 0.5
    return (_on_axis(range_, value) - low) / (high - low)


def part_of(range_: Numeric, low: float, high: float) -> Numeric:
    """The range from position ``low`` to ``high``, rounded outwards but never beyond its bounds.

    A bound at 0 or 1 is the range's own.
    """
    new_low = range_.low if low <= 0.0 else max(_rounded(range_, low, up=False), range_.low)
    new_high = range_.high if high >= 1.0 else min(_rounded(range_, high, up=True), range_.high)
    return _with_bounds(range_, new_low, new_high)


def widened(range_: Numeric, part: Numeric, *, up: bool, limit: float | None) -> Numeric:
    """A ``part`` of the range with one bound moved out beyond the range's own.

    By half of the range's axis, on a log axis by a factor of ten at most.

    Never more than half of the way to ``limit`` (None: there is none), and never through 0: what is positive
    stays so. The range's own bound where there is nothing beyond.
    """
    low, high = _ends(range_)
    step = (high - low) / 2.0
    if _is_log(range_):
        step = min(step, LARGEST_STEP)
    bound = float(range_.high if up else range_.low)
    new = _off_axis(range_, high + step if up else low - step)
    if limit is not None:
        halfway = (bound + limit) / 2.0
        new = min(new, max(halfway, bound)) if up else max(new, min(halfway, bound))
    new = _short(range_, new, up=up)
    if isinstance(range_, Integer):
        new = math.floor(new) if up else math.ceil(new)
    if up:
        return _with_bounds(range_, part.low, max(new, range_.high))
    return _with_bounds(range_, min(new, range_.low), part.high)


def _is_log(range_: Numeric) -> bool:
    return isinstance(range_, Log | LogOneMinus | Effective) or (isinstance(range_, Integer) and range_.log)


def _ends(range_: Numeric) -> tuple[float, float]:
    return _on_axis(range_, range_.low), _on_axis(range_, range_.high)


def _on_axis(range_: Numeric, value: float) -> float:
    if isinstance(range_, LogOneMinus):
        return -math.log(1.0 - value)
    return math.log(value) if _is_log(range_) else float(value)


def _off_axis(range_: Numeric, coordinate: float) -> float:
    if isinstance(range_, LogOneMinus):
        return 1.0 - math.exp(-coordinate)
    return math.exp(coordinate) if _is_log(range_) else coordinate


def _rounded(range_: Numeric, position: float, *, up: bool) -> float:
    """The value at a position, with few digits, on this or the outer side of it."""
    low, high = _ends(range_)
    value = _off_axis(range_, low + position * (high - low))
    if isinstance(range_, Integer):
        return math.ceil(value) if up else math.floor(value)
    return _short(range_, value, up=up)


def _short(range_: Numeric, value: float, *, up: bool) -> float:
    """``value`` with few digits where they matter on the axis: in 1 - x for momentum, in x otherwise."""
    if isinstance(range_, LogOneMinus):
        distance = _digits(1.0 - value, up=not up, scale=1.0 - value)
        return float(f"{1.0 - distance:.12g}")  # 1 - 0.84 is not the number nearest to 0.16
    scale = value if isinstance(range_, Log | Effective) else (range_.high - range_.low) / 10.0
    return _digits(value, up=up, scale=scale)


def _digits(value: float, *, up: bool, scale: float) -> float:
    """``value`` rounded to multiples of a power of ten, ``DIGITS`` digits of ``scale``."""
    if scale <= 0.0 or not math.isfinite(scale):
        return value
    places = DIGITS - 1 - math.floor(math.log10(scale))
    # What is within a billionth of a multiple is that multiple: 0.03 / 0.01 is not 3.
    quotient = value * 10.0**places
    whole = math.ceil(quotient - 1e-9) if up else math.floor(quotient + 1e-9)
    return round(whole / 10.0**places, max(places, 0))


def _with_bounds(range_: Numeric, low: float, high: float) -> Numeric:
    if isinstance(range_, Integer):
        return replace(range_, low=int(low), high=int(high))
    return replace(range_, low=float(low), high=float(high))
