"""Solo: one trial after another with the real torch.optim and torch.optim.lr_scheduler objects.

Plain and obvious on purpose: the reference that populations are tested against, and the path for what
cannot be stacked.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from workers.messages import Admission, Diverged, Measured
from workers.optimization import Horizon, construct, momentum_of, step_schedule, takes_metric
from workers.outcomes import EpochNumbers, judge
from workers.population import EVALUATION_EXAMPLES
from workers.randomness import data_order, initial_model
from workers.tasks.registry import task_class
from workers.tasks.task import Data, Task


class SoloTrial:
    """One trial and its plain training loop."""

    def __init__(
        self, *, trial: Admission, task_name: str, task: Task, data: Data, epochs: int, metric: str
    ) -> None:
        """Build model, optimizer and schedule. Raises ScheduleRefused."""
        self.number = trial.number
        self.epochs_done = 0
        self._seed = trial.seed
        self._setting = trial.setting
        self._task = task
        self._data = data
        self._metric = metric
        self._horizon = Horizon(
            epochs=epochs,
            updates_per_epoch=data.updates_per_epoch(trial.setting.batch_size),
            warmup_epochs=trial.setting.warmup_epochs,
        )
        self.model = initial_model(task, trial.seed).to(data.train_inputs.device)
        self._optimizer, self._schedule = construct(
            trial.setting, self._horizon, self.model.parameters(), task_class(task_name).functions
        )
        self._scheduled_rate = float(self._optimizer.param_groups[0]["lr"])
        self._first_loss = 0.0

    def advance(self) -> Measured | Diverged:
        """Train one epoch and evaluate."""
        epoch = self.epochs_done + 1
        group = self._optimizer.param_groups[0]
        losses, norms, rates, momenta = [], [], [], []
        for update in range(1, self._horizon.updates_per_epoch + 1):
            made = self.epochs_done * self._horizon.updates_per_epoch + update
            if made <= self._horizon.warmup_updates:
                group["lr"] = self._scheduled_rate * made / self._horizon.warmup_updates
            rates.append(float(group["lr"]))
            momenta.append(momentum_of(group))
            loss, norm = self._update(epoch, update)
            losses.append(loss)
            norms.append(norm)
            if made == self._horizon.warmup_updates:
                group["lr"] = self._scheduled_rate
            elif made > self._horizon.warmup_updates and self._setting.schedule.every != "epoch":
                self._step_schedule(made - self._horizon.warmup_updates)
        if epoch == 1:
            self._first_loss = losses[0]
        momentum = None if momenta[0] is None else np.array(momenta, dtype=np.float64)
        outcome = judge(
            EpochNumbers(
                number=self.number,
                epoch=epoch,
                updates_before=self.epochs_done * self._horizon.updates_per_epoch,
                first_loss=self._first_loss,
                losses=losses,
                grad_norms=norms,
                lr=np.array(rates),
                momentum=momentum,
                metrics=self._evaluate(),
            ),
            self._metric,
        )
        self.epochs_done = epoch
        if isinstance(outcome, Measured) and epoch > self._horizon.warmup_epochs:
            self._end_of_epoch(outcome)
        return outcome

    def _update(self, epoch: int, update: int) -> tuple[float, float]:
        inputs, targets = self._batch(epoch, update)
        self._optimizer.zero_grad()
        loss = self._task.loss(self.model(inputs), targets)
        loss.backward()  # type: ignore[no-untyped-call]
        norms = [p.grad.norm() for p in self.model.parameters() if p.grad is not None]
        self._optimizer.step()
        return loss.item(), math.sqrt(math.fsum(float(norm) ** 2 for norm in norms))

    def _batch(self, epoch: int, update: int) -> tuple[Tensor, Tensor]:
        inputs, targets = self._data.train_inputs, self._data.train_targets
        if self._data.full_batch_updates is not None:
            return inputs, targets
        size = self._setting.batch_size
        picked = data_order(self._seed, epoch, len(inputs))[(update - 1) * size : update * size]
        return inputs[picked.to(inputs.device)], targets[picked.to(inputs.device)]

    def _step_schedule(self, update: int) -> None:
        if self._schedule is not None:
            step_schedule(
                self._schedule, self._setting.schedule.every, update, self._horizon.updates_per_epoch
            )

    def _end_of_epoch(self, outcome: Measured) -> None:
        if self._schedule is None or self._setting.schedule.every != "epoch":
            return
        if takes_metric(self._setting.schedule):
            watched = {"train_loss": outcome.train_loss, **outcome.metrics}
            self._schedule.step(watched[self._setting.schedule.watch or "val_loss"])
        else:
            self._schedule.step()

    @torch.no_grad()
    def _evaluate(self) -> dict[str, float]:
        inputs, targets = self._data.validation_inputs, self._data.validation_targets
        sums: dict[str, float] = {}
        for part_inputs, part_targets in zip(
            torch.split(inputs, EVALUATION_EXAMPLES), torch.split(targets, EVALUATION_EXAMPLES), strict=True
        ):
            for name, value in self._task.metrics(self.model(part_inputs), part_targets).items():
                sums[name] = sums.get(name, 0.0) + float(value) * (len(part_inputs) / len(inputs))
        return sums


class SoloTrials:
    """The trials of one worker that train solo, with a population's verbs."""

    def __init__(self, *, task_name: str, task: Task, data: Data, epochs: int, metric: str) -> None:
        """``data`` is on the device to train on."""
        self._task_name = task_name
        self._task = task
        self._data = data
        self._epochs = epochs
        self._metric = metric
        self._trials: dict[int, SoloTrial] = {}

    @property
    def free_slots(self) -> int:
        """Solo trials need no slot: there is always room."""
        return 1

    @property
    def is_empty(self) -> bool:
        """Whether no trial is here."""
        return not self._trials

    def admit(self, trial: Admission) -> None:
        """Take ``trial`` in with its initial weights."""
        self._trials[trial.number] = SoloTrial(
            trial=trial,
            task_name=self._task_name,
            task=self._task,
            data=self._data,
            epochs=self._epochs,
            metric=self._metric,
        )

    def release(self, number: int) -> None:
        """Let trial ``number`` go."""
        del self._trials[number]

    def holds(self, number: int) -> bool:
        """Whether trial ``number`` is here."""
        return number in self._trials

    def advance(self, numbers: Sequence[int]) -> list[Measured | Diverged]:
        """Train one epoch of each trial in ``numbers`` that is here; diverged and complete ones leave."""
        outcomes = []
        for number in sorted(numbers):
            trial = self._trials.get(number)
            if trial is None:
                continue
            outcome = trial.advance()
            outcomes.append(outcome)
            if isinstance(outcome, Diverged) or trial.epochs_done == self._epochs:
                self.release(number)
        return outcomes
