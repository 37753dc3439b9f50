"""Convergence: what the finished trials say about a setting, as plain numbers. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

BANDS = 5
ENOUGH_TRIALS = 2 * BANDS


@dataclass(frozen=True, slots=True, kw_only=True)
class Band:
    """The band of a setting's values in which the middle result is best."""

    low: float
    high: float
    median_inside: float
    median_outside: float
    trials: int  # in the band


def best_band(values: Sequence[float], results: Sequence[float], *, goal: str) -> Band | None:
    """Of five bands with equally many trials, the one with the best median result.

    None where there are fewer than :data:`ENOUGH_TRIALS` trials or all values are equal. A median over
    everything else that varied: it says where good results live, not what caused them.
    """
    pairs = sorted(
        (value, result) for value, result in zip(values, results, strict=True) if math.isfinite(result)
    )
    if len(pairs) < ENOUGH_TRIALS or pairs[0][0] == pairs[-1][0]:
        return None
    edges = [round(index * len(pairs) / BANDS) for index in range(BANDS + 1)]
    sign = 1.0 if goal == "minimize" else -1.0
    bands = [
        Band(
            low=pairs[start][0],
            high=pairs[end - 1][0],
            median_inside=median(result for _, result in pairs[start:end]),
            median_outside=median(result for _, result in pairs[:start] + pairs[end:]),
            trials=end - start,
        )
        for start, end in pairwise(edges)
    ]
    return min(bands, key=lambda band: sign * band.median_inside)
