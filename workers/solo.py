"""Solo: one trial after another with the real torch.optim and torch.optim.lr_scheduler objects.

Plain and obvious on purpose: the reference that populations are tested against, and the path for what
cannot be stacked.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from workers.compiler_import import step, zero_grad
from workers.cooldown import Cooled, cooled, is_due, with_cooldown
from workers.keyed_randomness import SoloRandomness, update_keys
from workers.messages import Admission, Cooldown, Diverged, Measured, Note
from workers.one_by_one import OneByOne
from workers.optimization import Horizon, Optimization
from workers.outcomes import EpochNumbers, judge
from workers.randomness import data_order, epoch_seed, initial_model
from workers.recipe import Recipe
from workers.solo_cooldowns import CannotCopy, FallingOptimization, copies
from workers.tasks.task import Task
from workers.tasks.user_task import numpy_and_random_seeded

_EVALUATIONS = 2**40  # where their numbers begin, beyond those of any update
_NOT_COOLED = "no cooldowns of it, so it is judged by what it shows without: it cannot be copied ({})"


class SoloTrial:
    """One trial and its plain training loop."""

    def __init__(
        self,
        recipe: Recipe,
        trial: Admission,
        *,
        cooldown: Cooldown | None = None,
        noted: Callable[[Note], None] = lambda _: None,
    ) -> None:
        """Build model, optimizer and schedule. Raises ScheduleRefused.

        ``cooldown``: when copies are cooled down; ``noted`` hears where they cannot be.
        """
        self.number = trial.number
        self.epochs_done = 0
        self._cooldown = cooldown if trial.cools else None
        self._noted = noted
        self._recipe = recipe = recipe.for_one_trial()
        self._seed = trial.seed
        self._setting = trial.setting
        self._updates = recipe.data.updates_per_epoch(trial.setting.batch_size)
        horizon = Horizon(
            epochs=recipe.epochs,
            updates_per_epoch=self._updates,
            warmup_epochs=trial.setting.warmup_epochs,
        )
        self.model = initial_model(recipe.task, trial.seed).to(recipe.device)
        named = [
            (name, parameter) for name, parameter in self.model.named_parameters() if parameter.requires_grad
        ]
        self._optimization: Optimization | FallingOptimization = Optimization(
            trial.setting, horizon, named, recipe.functions, recipe.optimizers
        )
        self._first_loss = 0.0
        self.losses: list[float] = []  # at each update of the last epoch

    @property
    def task(self) -> Task:
        """The trial's own copy of the task."""
        return self._recipe.task

    def advance(self) -> Measured | Diverged:
        """Train one epoch and evaluate; a copy is cooled down where that is due."""
        outcome = self._epoch(self._recipe.metric)
        if isinstance(outcome, Measured) and is_due(self._cooldown, self.epochs_done, self._recipe.epochs):
            found = self._cooled()
            return outcome if found is None else with_cooldown(outcome, found, self._recipe.metric)
        return outcome

    def _cooled(self) -> Cooled | None:
        """How a copy of this trial ends after its cooldown; None where there can be no copy."""
        assert self._cooldown is not None  # noqa: S101 - it is due
        assert isinstance(self._optimization, Optimization)  # noqa: S101 - a copy is not copied
        epochs, metric, twin = self._cooldown.epochs, self._recipe.metric, copy.copy(self)
        try:
            twin._recipe, twin.model, optimizer = copies(
                self._recipe, self.model, self._optimization.optimizer
            )
        except CannotCopy as error:
            self._cooldown = None
            self._noted(Note(number=self.number, sentence=_NOT_COOLED.format(error)))
            return None
        twin._optimization = FallingOptimization(
            optimizer, self._optimization.in_force, epochs * self._updates
        )
        return cooled(
            (twin._epoch(metric if ahead == epochs else None) for ahead in range(1, epochs + 1)), metric
        )

    def _epoch(self, metric: str | None) -> Measured | Diverged:
        """Train one epoch and evaluate; judged by ``metric``, or by its losses alone."""
        with numpy_and_random_seeded(epoch_seed(self._seed, self.epochs_done + 1)):
            return self._advance(metric)

    def _advance(self, metric: str | None) -> Measured | Diverged:
        epoch, before = self.epochs_done + 1, self.epochs_done * self._updates
        losses: list[float] = []
        norms: list[float] = []
        self.model.train()
        for update in range(1, self._updates + 1):
            loss, norm = self._update(epoch, update)
            losses.append(loss)
            norms.append(norm)
        self.losses = losses
        if epoch == 1:
            self._first_loss = losses[0]
        lr, momentum = self._optimization.rates()
        outcome = judge(
            EpochNumbers(
                number=self.number,
                epoch=epoch,
                updates_before=before,
                first_loss=self._first_loss,
                losses=losses,
                grad_norms=norms,
                lr=lr,
                momentum=momentum,
                metrics=self._evaluate(),
            ),
            metric,
        )
        self.epochs_done = epoch
        if isinstance(outcome, Measured):
            self._optimization.end_epoch({"train_loss": outcome.train_loss, **outcome.metrics})
        return outcome

    def _update(self, epoch: int, update: int) -> tuple[float, float]:
        inputs, targets = self._batch(epoch, update)
        made = self.epochs_done * self._updates + update
        optimizer = self._optimization.optimizer
        zero_grad(optimizer)
        with self._keyed(made) as key:
            inputs = self._recipe.augmented(inputs, key)
            with self._recipe.autocast():
                loss = self._recipe.task.loss(self.model(inputs), targets)
        loss.backward()  # type: ignore[no-untyped-call]
        gradients = [p.grad for p in self.model.parameters() if p.grad is not None]
        norm = math.sqrt(math.fsum(float(gradient.norm()) ** 2 for gradient in gradients))
        if self._setting.clip_grad_norm is not None:
            clip_grad_norm_(self.model.parameters(), self._setting.clip_grad_norm)
        step(optimizer)
        return loss.item(), norm

    def _batch(self, epoch: int, update: int) -> tuple[Tensor, Tensor]:
        inputs, targets = self._recipe.data.train_inputs, self._recipe.data.train_targets
        device = self._recipe.device
        if self._recipe.data.full_batch_updates is not None:
            return inputs.to(device, copy=True), targets.to(device, copy=True)
        size = self._setting.batch_size
        order = data_order(self._seed, epoch, len(inputs))
        picked = order[(update - 1) * size : update * size].to(inputs.device)
        return inputs[picked].to(device), targets[picked].to(device)

    @torch.no_grad()
    def _evaluate(self) -> dict[str, float]:
        self.model.eval()
        sums: dict[str, float] = {}
        with self._keyed(_EVALUATIONS + self.epochs_done):
            for inputs, targets, share in self._recipe.validation_parts():
                with self._recipe.autocast():
                    found = self._recipe.task.metrics(self.model(inputs), targets)
                for name, value in found.items():
                    sums[name] = sums.get(name, 0.0) + float(value) * share
        return sums

    @contextmanager
    def _keyed(self, number: int) -> Iterator[Tensor]:
        """Random numbers as functions of (seed, ``number``), those of PyTorch's own generator too."""
        key = torch.from_numpy(update_keys(self._seed, number, 1))[0].to(self._recipe.device)
        with torch.random.fork_rng(), SoloRandomness(key):
            torch.manual_seed(int(key))
            yield key


class SoloTrials(OneByOne[SoloTrial]):
    """The trials of one worker that train solo."""

    def __init__(self, recipe: Recipe, cooldown: Cooldown | None = None) -> None:
        """No trial yet; ``cooldown``: when copies of trials are cooled down."""
        super().__init__(
            lambda trial: SoloTrial(recipe, trial, cooldown=cooldown, noted=self._notes.append), recipe.epochs
        )
