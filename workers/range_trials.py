"""Range trials: the loss at every update of trials that a learning-rate range test trains.

They are rows of stacked tensors where the sweep's trials are, and train solo where those do.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence

import torch

from search_spaces.settings import Setting
from workers.anatomy import anatomy_of
from workers.epoch_training import EpochTraining, RowEpoch
from workers.memory import is_out_of_memory, release_cached_memory
from workers.messages import Admission
from workers.optimization import Horizon
from workers.population import MINIMUM_WIDTH
from workers.randomness import data_order
from workers.range_question import Stopped
from workers.recipe import Recipe
from workers.schedule_table import schedule_path
from workers.solo import SoloTrial
from workers.stacked_model import Rows, StackedModel
from workers.tasks.task import Data
from workers.update_rules import UPDATE_RULES
from workers.vector_tails import with_tails

MOST_ROWS = 32  # trained at once
_FEW_VALIDATED = 8  # examples: an epoch ends with an evaluation, of which nothing is used here

Trial = tuple[Setting, int]
"""A setting and the seed that it is trained with."""


class RangeTrials:
    """Trials of one optimizer, batch size and model, a few updates long each."""

    def __init__(
        self, recipe: Recipe, setting: Setting, *, updates: int, stacked: bool, stopped: Callable[[], bool]
    ) -> None:
        """``updates``: the most that a trial makes. ``stopped`` is asked between epochs.

        Raises what the task's own code raises.
        """
        data = shortened(recipe.data, setting.batch_size, updates).to(recipe.device)
        self._recipe = dataclasses.replace(recipe, data=data)
        self._setting = setting
        self._updates_per_epoch = data.updates_per_epoch(setting.batch_size)
        self._stopped = stopped
        self._rows = _RowLosses(self._recipe, setting) if stacked else None
        self._most = MOST_ROWS

    def losses(self, trials: Sequence[Trial], updates: int) -> list[list[float]]:
        """The training loss at each of ``updates`` of each trial, from its initial weights on.

        Raises Stopped, and what the task's own code raises.
        """
        epochs = math.ceil(updates / self._updates_per_epoch)
        if self._rows is None:
            return [self._alone(trial, epochs)[:updates] for trial in trials]
        found: list[list[float]] = []
        while len(found) < len(trials):
            together = trials[len(found) : len(found) + self._most]
            try:
                found += [losses[:updates] for losses in self._together(self._rows, together, epochs)]
                continue
            except (MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error) or len(together) <= MINIMUM_WIDTH:
                    raise
                self._most = max(MINIMUM_WIDTH, len(together) // 2)
            release_cached_memory()  # when the error, which holds on to tensors, is gone
        return found

    def momentum_of(self, setting: Setting) -> float | None:
        """The momentum that a setting trains with; None for an optimizer without."""
        horizon = Horizon(epochs=1, updates_per_epoch=self._updates_per_epoch)
        path = schedule_path(setting, horizon, self._recipe.functions, self._recipe.optimizers)
        momenta = path.rates(1)[1]
        return None if momenta is None else float(momenta[0])

    def _together(self, rows: _RowLosses, trials: Sequence[Trial], epochs: int) -> list[list[float]]:
        found: list[list[float]] = [[] for _ in trials]
        for losses in rows.epochs(trials, epochs):
            if self._stopped():
                raise Stopped
            for own, more in zip(found, losses, strict=False):
                own += more
        return found

    def _alone(self, trial: Trial, epochs: int) -> list[float]:
        setting, seed = trial
        recipe = dataclasses.replace(self._recipe, epochs=epochs)
        alone = SoloTrial(recipe, Admission(number=0, seed=seed, setting=setting))
        found: list[float] = []
        for _ in range(epochs):
            if self._stopped():
                raise Stopped
            alone.advance()
            found += alone.losses
        return found


class _RowLosses:
    """Rows of one model, each trained from its initial weights on."""

    def __init__(self, recipe: Recipe, setting: Setting) -> None:
        self._recipe = recipe
        self._batch_size = setting.batch_size
        self._two_groups = setting.two_groups
        anatomy = anatomy_of(recipe, setting.batch_size, two_groups=setting.two_groups)
        self._tails = anatomy.tails
        self._model = StackedModel(recipe, anatomy)
        self._rule = UPDATE_RULES[setting.optimizer]
        self._training = EpochTraining(
            recipe, self._model, anatomy, self._rule, batch_size=setting.batch_size
        )

    def epochs(self, trials: Sequence[Trial], epochs: int) -> Iterator[list[list[float]]]:
        """Each row's losses of one epoch after another; copies of the first row stand behind."""
        padding = with_tails(len(trials), self._tails, MINIMUM_WIDTH) - len(trials)
        trials = [*trials, *[trials[0]] * padding]
        first = [self._model.initial_row(seed) for _, seed in trials]
        buffers = {name: torch.cat([row.buffers[name] for row in first]) for name in first[0].buffers}
        live = Rows(torch.cat([row.weights for row in first]), buffers)
        state = {
            name: torch.cat(
                [
                    torch.full_like(row.weights, self._rule.initial(name, setting.arguments))
                    for row, (setting, _) in zip(first, trials, strict=True)
                ]
            )
            for name in self._rule.state
        }
        horizon = Horizon(
            epochs=epochs, updates_per_epoch=self._recipe.data.updates_per_epoch(self._batch_size)
        )
        paths = [schedule_path(setting, horizon, self._recipe.functions) for setting, _ in trials]
        nothing: tuple[Mapping[str, float], ...] = ({},) * (2 if self._two_groups else 1)
        memories = [nothing] * len(trials)
        for epoch in range(1, epochs + 1):
            rows = [
                RowEpoch(
                    seed=seed,
                    epoch=epoch,
                    arguments=setting.arguments,
                    clip_grad_norm=setting.clip_grad_norm,
                    rates=path.group_rates(epoch),
                    memories=memory,
                )
                for (setting, seed), path, memory in zip(trials, paths, memories, strict=True)
            ]
            trained = self._training.train(live, state, rows)
            memories = trained.memories
            yield trained.losses


def shortened(data: Data, batch_size: int, updates: int) -> Data:
    """Data with epochs of no more than ``updates``, of examples picked at random, and few to validate on."""
    few = dataclasses.replace(
        data,
        validation_inputs=data.validation_inputs[:_FEW_VALIDATED],
        validation_targets=data.validation_targets[:_FEW_VALIDATED],
    )
    if data.full_batch_updates is not None:
        return dataclasses.replace(few, full_batch_updates=min(updates, data.full_batch_updates))
    if data.updates_per_epoch(batch_size) <= updates:
        return few
    picked = data_order(0, 1, len(data.train_inputs))[: updates * batch_size].to(data.train_inputs.device)
    return dataclasses.replace(
        few, train_inputs=data.train_inputs[picked], train_targets=data.train_targets[picked]
    )
