"""Bands recover a planted optimum, and stay silent where there is too little to say."""

from __future__ import annotations

import math
import random

import pytest

from dashboards.convergence import best_band


@pytest.mark.parametrize("goal", ["minimize", "maximize"])
def test_the_planted_band_is_found(goal: str) -> None:
    chance = random.Random(0)
    values = [10 ** chance.uniform(-4, 0) for _ in range(200)]
    sign = 1 if goal == "minimize" else -1
    results = [sign * (abs(math.log10(value) + 2) + chance.gauss(0, 0.1)) for value in values]
    band = best_band(values, results, goal=goal)
    assert band is not None
    assert band.low < 1e-2 < band.high
    assert band.trials == 40
    assert sign * band.median_inside < sign * band.median_outside


@pytest.mark.parametrize(
    ("values", "results"),
    [([], []), ([0.1] * 50, [1.0] * 50), ([0.1, 0.2, 0.3], [1.0, 2.0, 3.0])],
)
def test_nothing_is_claimed_from_nothing(values: list[float], results: list[float]) -> None:
    assert best_band(values, results, goal="minimize") is None
