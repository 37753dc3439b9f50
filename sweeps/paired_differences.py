"""Paired differences: how much better one setting is than another over the seeds that both were trained with.

Trials of one seed share data order and initial weights, so the difference within a seed varies less than
values do. Values are losses here: smaller is better.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from statistics import fmean

MEAN_LEVEL = 0.95  # of the interval shown with a mean


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A mean over seeds with its interval by Student's t; without one where there are fewer than two."""

    mean: float
    low: float
    high: float
    seeds: int

    @property
    def has_interval(self) -> bool:
        """Whether there are enough seeds for one."""
        return self.seeds > 1

    @property
    def is_positive(self) -> bool:
        """Whether the whole interval is above 0."""
        return self.has_interval and self.low > 0.0


def estimate(values: Sequence[float], tail: float = (1.0 - MEAN_LEVEL) / 2.0) -> Estimate:
    """The mean of at least one value; beyond each end of its interval lies a probability of ``tail``.

    The interval is exact for normally distributed values. Of a single value it has no bounds.
    """
    count, mean = len(values), fmean(values)
    if count < 2:
        return Estimate(mean=mean, low=-math.inf, high=math.inf, seeds=count)
    variance = math.fsum((value - mean) ** 2 for value in values) / (count - 1)
    reach = t_quantile(count - 1, tail) * math.sqrt(variance / count)
    return Estimate(mean=mean, low=mean - reach, high=mean + reach, seeds=count)


def advantage(better: Mapping[int, float], worse: Mapping[int, float], tail: float) -> Estimate | None:
    """By how much the first has smaller values than the second, both by seed, over the seeds they share.

    Seeds in which one of them has no finite value are left out; None where none are left.
    """
    shared = [
        seed for seed in better if math.isfinite(better[seed]) and math.isfinite(worse.get(seed, math.nan))
    ]
    return estimate([worse[seed] - better[seed] for seed in shared], tail) if shared else None


@cache
def t_quantile(freedom: int, tail: float) -> float:
    """What a Student's t of so many degrees of freedom exceeds with probability ``tail``."""
    from scipy.special import stdtrit  # a tenth of a second, and only where something is compared

    return float(-stdtrit(freedom, tail))
