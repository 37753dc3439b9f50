"""Whole trainings as Ravine makes them, by a population and by solo, with the rates of every update noted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch.nn import functional

from search_spaces.settings import Setting
from tests.unit.parity_draws import BATCH, EPOCHS, UPDATES
from tests.unit.plain_schedules import FUNCTIONS, Point
from tests.unit.plain_training import Optimizers
from workers import population as population_room
from workers import solo as solo_room
from workers.messages import Admission, Diverged, Measured
from workers.optimization import ScheduleRefused
from workers.outcomes import EpochNumbers, judge
from workers.population import Population
from workers.recipe import Recipe
from workers.schedule_table import GroupRates, SchedulePath
from workers.solo import SoloTrial
from workers.tasks.task import Data

VALIDATION = 32  # examples


class NoisyWave:
    """A sine of four numbers to be learned from noisy examples, in double precision, batch by batch."""

    def __init__(self, norm: str) -> None:
        """``norm``: layer | batch."""
        self._norm = norm

    def model(self) -> nn.Module:
        """Some 40 numbers, and no kink that a rounding error could fall on the other side of.

        A bias in front of BatchNorm is left out: its gradient is nothing but rounding errors.
        """
        if self._norm == "layer":
            first: list[nn.Module] = [nn.Linear(4, 6), nn.LayerNorm(6)]
        else:
            first = [nn.Linear(4, 6, bias=False), nn.BatchNorm1d(6)]
        return nn.Sequential(*first, nn.Tanh(), nn.Linear(6, 1)).double()

    def data(self) -> Data:
        """The same at every call."""
        random = torch.Generator().manual_seed(0)
        examples = BATCH * UPDATES + VALIDATION
        inputs = torch.randn(examples, 4, generator=random, dtype=torch.float64)
        noise = torch.randn(examples, generator=random, dtype=torch.float64)
        targets = torch.sin(inputs.sum(dim=1)) + 0.3 * noise
        return Data(
            train_inputs=inputs[VALIDATION:],
            train_targets=targets[VALIDATION:],
            validation_inputs=inputs[:VALIDATION],
            validation_targets=targets[:VALIDATION],
        )

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Mean squared error."""
        return functional.mse_loss(outputs.squeeze(-1), targets)

    def metrics(self, outputs: Tensor, targets: Tensor) -> Mapping[str, Tensor]:
        """The loss, and the mean absolute error as another metric to watch."""
        error = (outputs.squeeze(-1) - targets).abs().mean()
        return {"val_loss": self.loss(outputs, targets), "val_error": error}


@dataclass(slots=True, kw_only=True)
class Trained:
    """What Ravine showed of one trial."""

    refusal: str | None = None
    path: list[Point] = field(default_factory=list)  # of every update; solo: of the first group only
    outcomes: list[Measured | Diverged] = field(default_factory=list)
    weights: dict[str, Tensor] = field(default_factory=dict)  # and buffers, at the end


def trained_stacked(settings: Sequence[Setting], seeds: Sequence[int], norm: str) -> list[Trained]:
    """All settings, of one optimizer class, as the rows of one population."""
    rows = _WatchedPopulation(
        _recipe(norm),
        optimizer=settings[0].optimizer,
        batch_size=BATCH,
        width=len(settings),
        two_groups=settings[0].two_groups,
    )
    found = [Trained() for _ in settings]
    for number, (setting, seed) in enumerate(zip(settings, seeds, strict=True)):
        with _noted_path_of(found[number]):
            try:
                rows.admit(Admission(number=number, seed=seed, setting=setting))
            except ScheduleRefused as refusal:
                found[number].refusal = str(refusal)
    for _ in range(EPOCHS):
        for outcome in rows.advance(range(len(settings))):
            found[outcome.number].outcomes.append(outcome)
    for number, weights in rows.left.items():
        found[number].weights = weights
    return found


def trained_solo(setting: Setting, seed: int, norm: str, optimizers: Optimizers | None = None) -> Trained:
    """One setting on the path of what cannot be stacked."""
    found = Trained()

    def noted(numbers: EpochNumbers, metric: str) -> Measured | Diverged:
        momenta = [None] * UPDATES if numbers.momentum is None else numbers.momentum.tolist()
        found.path += [(pair,) for pair in zip(numbers.lr.tolist(), momenta, strict=True)]
        return judge(numbers, metric)

    with patch.object(solo_room, "judge", noted):
        trial = SoloTrial(_recipe(norm, optimizers), Admission(number=0, seed=seed, setting=setting))
        while len(found.outcomes) < EPOCHS and not any(isinstance(one, Diverged) for one in found.outcomes):
            found.outcomes.append(trial.advance())
    found.weights = {name: tensor.detach() for name, tensor in trial.model.state_dict().items()}
    return found


def _recipe(norm: str, optimizers: Optimizers | None = None) -> Recipe:
    task = NoisyWave(norm)
    return Recipe(
        task=task,
        data=task.data(),
        epochs=EPOCHS,
        metric="val_loss",
        functions=FUNCTIONS,
        optimizers=optimizers or {},
    )


class _WatchedPopulation(Population):
    """Keeps the weights of a trial that leaves."""

    def __init__(self, recipe: Recipe, **more: Any) -> None:
        super().__init__(recipe, **more)
        self.left: dict[int, dict[str, Tensor]] = {}

    def release(self, number: int) -> None:
        self.left[number] = self.weights(number)
        super().release(number)


class _NotedPath:
    """A path that notes what it is asked for in ``points``."""

    def __init__(self, path: SchedulePath, points: list[Point]) -> None:
        self._path = path
        self._points = points

    def group_rates(self, epoch: int) -> tuple[GroupRates, ...]:
        rates = self._path.group_rates(epoch)
        columns = [
            zip(lr.tolist(), [None] * len(lr) if momentum is None else momentum.tolist(), strict=True)
            for lr, momentum in rates
        ]
        self._points += zip(*columns, strict=True)
        return rates

    def observe(self, metrics: Mapping[str, float]) -> None:
        self._path.observe(metrics)


@contextmanager
def _noted_path_of(trained: Trained) -> Iterator[None]:
    """The trial that is admitted meanwhile notes its path in ``trained``."""
    original = population_room.schedule_path
    with patch.object(
        population_room, "schedule_path", lambda *told: _NotedPath(original(*told), trained.path)
    ):
        yield
