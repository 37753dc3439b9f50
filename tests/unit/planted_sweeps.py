"""Sweeps whose truth is planted: made-up response surfaces, and samplers that learn or do not."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from dashboards.relevance import Dimension

Point = Mapping[str, float]
Surface = Callable[[Point, random.Random], float]
"""The result of a point, lower is better."""

CHOICES = {"nesterov": 2, "schedule": 3}
NUMBERS = ("lr", "momentum", "decay")
NULL = {"decay", "nesterov", "schedule", "gamma"}  # what valley and edge do not depend on


def flat(point: Point, noise: random.Random) -> float:
    return noise.gauss(0.0, 1.0)


def valley(point: Point, noise: random.Random) -> float:
    """lr and momentum make up for each other; best near lr 0.5, momentum 0.8."""
    rate = point["lr"] + 0.4 * point["momentum"]
    return 4.0 * (rate - 0.82) ** 2 + (point["momentum"] - 0.8) ** 2 + noise.gauss(0.0, 0.05)


def edge(point: Point, noise: random.Random) -> float:
    """The best learning rate lies beyond the upper bound."""
    return (1.3 - point["lr"]) ** 2 + 0.2 * (point["momentum"] - 0.5) ** 2 + noise.gauss(0.0, 0.03)


@dataclass(frozen=True)
class Planted:
    points: list[dict[str, float]]
    results: list[float]

    def dimensions(self) -> tuple[Dimension, ...]:
        names = (*NUMBERS, *CHOICES, "gamma")
        return tuple(
            Dimension(
                name=name,
                positions=tuple(point.get(name) for point in self.points),
                is_choice=name in CHOICES,
            )
            for name in names
        )


def planted(
    surface: Surface, seed: int, trials: int, *, learning: bool, box: Mapping[str, tuple[float, float]] = {}
) -> Planted:
    """A sweep: at random, or after ten trials near one of the five best in everything (as TPE does)."""
    draw, noise = random.Random(seed), random.Random(seed + 10**6)
    points: list[dict[str, float]] = []
    results: list[float] = []
    for index in range(trials):
        point: dict[str, float] = {}
        near = None
        if learning and index >= 10:
            order = sorted(range(index), key=lambda one: results[one])
            near = points[draw.choice(order[:5])]
        for name in NUMBERS:
            low, high = box.get(name, (0.0, 1.0))
            point[name] = draw.uniform(low, high)
            if near is not None:
                point[name] = min(max(draw.gauss(near[name], 0.15), low), high)
        for name, options in CHOICES.items():
            point[name] = float(draw.randrange(options))
            if near is not None and draw.random() < 0.6:
                point[name] = near[name]
        if point["schedule"] == 1.0:
            point["gamma"] = draw.random()
        points.append(point)
        results.append(surface(point, noise))
    return Planted(points, results)
