"""Ranges: where one number, name or list of a setting may come from.

Every range maps the unit interval onto its values with :meth:`at`, so that a grid, a Sobol point and
a check of both ends are the same few lines whatever the axis.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

Value = bool | int | float | str | None | tuple["Value", ...]
"""A plain value: what YAML and JSON can say, lists as tuples."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fixed:
    """Always the same value; never proposed."""

    value: Value

    def at(self, fraction: float) -> Value:  # noqa: ARG002 - every range is asked the same way
        """Return the value, whatever the fraction."""
        return self.value

    def grid(self) -> tuple[Value, ...]:
        """Return the one grid point."""
        return (self.value,)


@dataclass(frozen=True, slots=True, kw_only=True)
class Uniform:
    """A number, uniform in ``[low, high]``."""

    low: float
    high: float
    points: int | None = None  # of a grid

    def at(self, fraction: float) -> float:
        """Value at ``fraction`` of the way from low to high."""
        # Weighted ends rather than low + fraction * (high - low): the difference may overflow.
        return _between((1.0 - fraction) * self.low + fraction * self.high, self.low, self.high)

    def grid(self) -> tuple[float, ...]:
        """``points`` values, both ends included."""
        return tuple(self.at(fraction) for fraction in _fractions(self.points))


@dataclass(frozen=True, slots=True, kw_only=True)
class Log:
    """A number, uniform in ``log(x)``; ``low > 0``."""

    low: float
    high: float
    points: int | None = None

    def at(self, fraction: float) -> float:
        """Value at ``fraction`` of the way in log(x)."""
        return _between(_geometric(self.low, self.high, fraction), self.low, self.high)

    def grid(self) -> tuple[float, ...]:
        """``points`` values evenly spaced in log(x), both ends included."""
        return tuple(self.at(fraction) for fraction in _fractions(self.points))


@dataclass(frozen=True, slots=True, kw_only=True)
class Effective:
    """A learning rate by what it comes to with momentum: uniform in ``log(lr / (1 - momentum))``.

    Values and bounds are effective rates; ``low > 0``. A momentum that sums steps up, v = momentum v + g,
    counts a lasting gradient 1 + momentum + momentum^2 + ... = 1 / (1 - momentum) times, with Nesterov's look
    ahead too.
    """

    low: float
    high: float
    points: int | None = None

    def at(self, fraction: float) -> float:
        """Effective rate at ``fraction`` of the way in its logarithm."""
        return _between(_geometric(self.low, self.high, fraction), self.low, self.high)

    def grid(self) -> tuple[float, ...]:
        """``points`` effective rates evenly spaced in their logarithm, both ends included."""
        return tuple(self.at(fraction) for fraction in _fractions(self.points))


def learning_rate(effective: float, momentum: float) -> float:
    """The learning rate that is trained where the effective one and a momentum below 1 are given."""
    return effective * (1.0 - momentum)


def effective_rate(lr: float, momentum: float) -> float:
    """The inverse of :func:`learning_rate`, up to rounding."""
    return lr / (1.0 - momentum)


@dataclass(frozen=True, slots=True, kw_only=True)
class LogOneMinus:
    """A number, uniform in ``log(1 - x)``; ``high < 1``. Momentum's natural axis."""

    low: float
    high: float
    points: int | None = None

    def at(self, fraction: float) -> float:
        """Value at ``fraction`` of the way in log(1 - x)."""
        # 1 - (1 - x) need not be x again, and a grid has both ends.
        if fraction <= 0.0 or fraction >= 1.0:
            return self.low if fraction <= 0.0 else self.high
        return self.from_distance(_geometric(1.0 - self.low, 1.0 - self.high, fraction))

    def from_distance(self, distance: float) -> float:
        """Value whose distance to 1 is ``distance``, kept within the bounds."""
        return _between(1.0 - distance, self.low, self.high)

    def grid(self) -> tuple[float, ...]:
        """``points`` values evenly spaced in log(1 - x), both ends included."""
        return tuple(self.at(fraction) for fraction in _fractions(self.points))


@dataclass(frozen=True, slots=True, kw_only=True)
class Integer:
    """A whole number in ``[low, high]``, uniform or (``log``) uniform in ``log(x)``."""

    low: int
    high: int
    log: bool = False
    points: int | None = None

    def at(self, fraction: float) -> int:
        """Value at ``fraction`` of the way; each whole number has a share of the interval."""
        if self.log:
            exact = _geometric(self.low - 0.5, self.high + 0.5, fraction)
        else:
            exact = self.low - 0.5 + fraction * (self.high - self.low + 1)
        return min(max(round(exact), self.low), self.high)

    def grid(self) -> tuple[int, ...]:
        """At most ``points`` distinct values, both ends included."""
        ends = (float(self.low), float(self.high))
        exact = (
            _geometric(*ends, fraction) if self.log else ends[0] + fraction * (ends[1] - ends[0])
            for fraction in _fractions(self.points)
        )
        return tuple(sorted({round(value) for value in exact}))


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """One of several options, each a range of its own (most often :class:`Fixed`)."""

    options: tuple[Range, ...]

    def at(self, fraction: float) -> int:
        """Index of the option at ``fraction``; each has an equal share of the interval."""
        return min(int(fraction * len(self.options)), len(self.options) - 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuple:
    """A list-valued value with a range for each item, such as Adam's ``betas``."""

    items: tuple[Range, ...]


Numeric = Uniform | Log | LogOneMinus | Effective | Integer
Range = Fixed | Numeric | Choice | Tuple


def ends(range_: Range) -> tuple[Value, ...]:
    """Values at both ends (every option's, for a choice): what a rehearsal has to try."""
    if isinstance(range_, Fixed):
        return (range_.value,)
    if isinstance(range_, Choice):
        return tuple(value for option in range_.options for value in ends(option))
    if isinstance(range_, Tuple):
        items = [ends(item) for item in range_.items]
        rows = range(max((len(item) for item in items), default=1))
        return tuple(dict.fromkeys(tuple(item[min(row, len(item) - 1)] for item in items) for row in rows))
    return tuple(dict.fromkeys((range_.low, range_.high)))


def is_fixed(range_: Range) -> bool:
    """Whether only one value is possible."""
    return len(ends(range_)) == 1


def _geometric(low: float, high: float, fraction: float) -> float:
    # exp(log(x)) need not be x again, and a grid has both ends.
    if fraction <= 0.0 or fraction >= 1.0:
        return low if fraction <= 0.0 else high
    return math.exp(math.log(low) + fraction * (math.log(high) - math.log(low)))


def _between(value: float, low: float, high: float) -> float:
    return min(max(value, low), high)


def _fractions(points: int | None) -> tuple[float, ...]:
    if points is None:
        raise ValueError("a grid needs 'points' in this range")
    return tuple(index / (points - 1) for index in range(points)) if points > 1 else (0.0,)
