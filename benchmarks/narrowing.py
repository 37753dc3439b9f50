"""How often `ravine narrow` would claim something false, on sweeps whose truth is planted.

    python -m benchmarks.narrowing [--sweeps 100] [--json]

Settings are proposed as Ravine proposes them, by its own samplers; results are a formula and noise. Learning
rate and momentum matter, or nothing does; the other numbers and choices never.
"""

from __future__ import annotations

import argparse
import json
import random
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from dashboards.ended_settings import dimension_of
from dashboards.narrowing import shows_no_effect
from dashboards.relevance import LEVEL, relevances
from search_spaces.ranges import Choice, Fixed, Uniform
from search_spaces.space import Metric, OptimizerSpace, ScheduleSpace, SearchSpace, dimensions
from sweeps.proposals import Proposals

UNIT = Uniform(low=0.0, high=1.0)
SPACE = SearchSpace(
    name="planted",
    task="none",
    metric=Metric(name="val_loss", goal="minimize"),
    epochs=1,
    trials=64,
    optimizers=(
        OptimizerSpace(
            name="SGD",
            label="SGD",
            arguments={
                "lr": UNIT,
                "momentum": UNIT,
                "weight_decay": UNIT,
                "dampening": UNIT,
                "nesterov": Choice(options=(Fixed(value=False), Fixed(value=True))),
            },
        ),
    ),
    schedules=(
        ScheduleSpace(name="constant", label="constant"),
        ScheduleSpace(name="StepLR", label="StepLR", arguments={"gamma": UNIT}),
        ScheduleSpace(name="ConstantLR", label="ConstantLR"),
    ),
)
Told = dict[str, Any]
Surface = Callable[[Mapping[str, Any], random.Random], float]


def flat(_: Mapping[str, Any], noise: random.Random) -> float:
    return noise.gauss(0.0, 1.0)


def _valley(told: Mapping[str, Any]) -> float:
    rate = told["SGD.lr"] + 0.5 * told["SGD.momentum"]
    return float(4.0 * (rate - 0.8) ** 2 + 0.3 * (1.0 - told["SGD.momentum"]))


def noisy_valley(told: Mapping[str, Any], noise: random.Random) -> float:
    return _valley(told) + noise.gauss(0.0, 0.1)


def clear_valley(told: Mapping[str, Any], noise: random.Random) -> float:
    return _valley(told) + noise.gauss(0.0, 0.01)


SURFACES: Mapping[str, tuple[Surface, frozenset[str]]] = {
    "flat": (flat, frozenset()),
    "noisy valley": (noisy_valley, frozenset({"SGD.lr", "SGD.momentum"})),
    "clear valley": (clear_valley, frozenset({"SGD.lr", "SGD.momentum"})),
}


def swept(surface: Surface, sampler: str, settings: int, seed: int) -> list[tuple[Told, float]]:
    """A sweep: an eighth of its settings are open at once, as by default."""
    proposals = Proposals(replace(SPACE, sampler=sampler, trials=settings, seed=seed))
    noise, found = random.Random(seed), []
    still_open: deque[tuple[int, float]] = deque()
    while len(found) < settings:
        (asked,) = proposals.ask(1)
        result = surface(asked.parameters, noise)
        found.append((dict(asked.parameters), result))
        still_open.append((asked.index, result))
        if len(still_open) >= settings // 8:
            index, value = still_open.popleft()
            proposals.report(index, 1, value)
            proposals.end(index, "finished")
    return found


def measured(sweeps: int) -> Iterator[dict[str, Any]]:
    """What was claimed: of each surface, sampler and size, a line."""
    axes = dimensions(SPACE)
    for name, (surface, matter) in SURFACES.items():
        for sampler, settings in (("random", 64), ("tpe", 64), ("random", 256), ("tpe", 128)):
            false = worse = flat_rightly = flat_wrongly = 0
            found: dict[str, int] = dict.fromkeys(sorted(matter), 0)
            for seed in range(sweeps):
                told = swept(surface, sampler, settings, seed)
                positions = [dimension_of(axis, range_, told) for axis, range_ in axes.items()]
                looks = relevances(positions, [result for _, result in told])
                nothing = {axis: look for axis, look in looks.items() if axis not in matter}
                false += any(look.p <= LEVEL for look in nothing.values())
                worse += any(p <= LEVEL for look in nothing.values() for p in look.worse.values())
                flat_rightly += sum(shows_no_effect(look) for look in nothing.values())
                for axis in found:
                    found[axis] += looks[axis].p <= LEVEL
                    flat_wrongly += shows_no_effect(looks[axis])
            yield {
                "surface": name,
                "sampler": sampler,
                "settings": settings,
                "sweeps": sweeps,
                "something false": false / sweeps,
                "an option called worse": worse / sweeps,
                "found": {axis: count / sweeps for axis, count in found.items()},
                "called flat, rightly": flat_rightly / sweeps / (len(axes) - len(matter)),
                "called flat, wrongly": flat_wrongly,
            }


def main() -> None:
    """Print a line for each surface, sampler and size as it is measured."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sweeps", type=int, default=100)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    for line in measured(given.sweeps):
        if given.json:
            print(json.dumps(line), flush=True)
        else:
            print(", ".join(f"{name} {value}" for name, value in line.items()), flush=True)


if __name__ == "__main__":
    main()
