"""Replay: every method on the same random orders of settings, task by task, at equal cost."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.search.baselines import Method
from benchmarks.search.curves import Pool
from benchmarks.search.trainer import Trainer


@dataclass(frozen=True, slots=True)
class Replayed:
    """What one method lost at one cost."""

    method: str
    cost: float  # whole trainings
    regret: NDArray[np.float64]  # (tasks, draws)
    spent: float  # whole trainings, in the mean

    @property
    def by_task(self) -> NDArray[np.float64]:
        """Mean regret of each task."""
        found: NDArray[np.float64] = self.regret.mean(axis=1)
        return found


def replay(
    pool: Pool, methods: Mapping[str, Method], costs: Sequence[float], *, draws: int, repeat: int, seed: int
) -> list[Replayed]:
    """Regret of each method at each cost, by task and draw; draws are the same for all of them."""
    found = []
    for cost in costs:
        budget = round(cost * pool.epochs)
        for name, method in methods.items():
            regret, spent = np.empty((len(pool.tasks), draws)), 0
            for place, task in enumerate(pool.tasks):
                curves = pool.of_task(task, repeat)
                for draw in range(draws):
                    trainer = Trainer(curves, budget)
                    method(trainer, order_of(seed, task, draw, trainer.settings))
                    regret[place, draw] = trainer.regret
                    spent += budget - trainer.left_epochs
            found.append(Replayed(name, cost, regret, spent / regret.size / pool.epochs))
    return found


def order_of(seed: int, task: str, draw: int, settings: int) -> list[int]:
    """A random order of the settings, a function of what is named."""
    digest = hashlib.sha256(f"replay {seed} {task} {draw}".encode()).digest()
    generator = np.random.default_rng(int.from_bytes(digest[:8], "big"))
    return [int(number) for number in generator.permutation(settings)]
