"""The baseline that counts: a plain torch loop as a good engineer writes it, run in two pinned processes.

Data in RAM, shuffled data gathered and torch.optim called in whichever way is fastest here, gradients set
to None, nothing read from tensors before an epoch's end, one thread, evaluation after each epoch. The same
loop trains the trials of Ray Tune and Optuna. It shares initial weights and data order with Ravine, so that
all train the same numbers.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from time import perf_counter, process_time
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer, lr_scheduler

from benchmarks.frozen_trials import frozen_trials, half
from benchmarks.workloads import WORKLOADS, Workload
from search_spaces.settings import Setting
from workers.randomness import data_order, initial_model
from workers.tasks.registry import make_task, task_data
from workers.tasks.task import Data, Task
from workers.wsd import WSD


@dataclass(frozen=True, slots=True)
class Way:
    """What a good engineer tries: which is faster depends on the model and the data."""

    optimizer: Mapping[str, bool]  # how torch.optim carries out an update, as arguments of its classes
    gathers_epoch: bool  # shuffled data are put side by side once an epoch; else batch by batch


WAYS: Mapping[str, Way] = {
    f"{optimizer}, gathered {'an epoch' if gathers_epoch else 'a batch'} at a time": Way(
        arguments, gathers_epoch
    )
    for optimizer, arguments in (
        ("fused", {"fused": True}),
        ("foreach", {"foreach": True}),
        ("one by one", {"foreach": False}),
    )
    for gathers_epoch in (True, False)
}
FUSED = "fused, gathered an epoch at a time"

CYCLES_MOMENTUM = ("OneCycleLR", "CyclicLR")
DIVERGED = 1000  # times the first update's loss, as Ravine's rule has it
_TRIES = 2


class PlainTrial:
    """One trial: a model, torch.optim, a schedule, and the loop."""

    def __init__(self, task: Task, data: Data, setting: Setting, *, seed: int, epochs: int, way: Way) -> None:
        self._task = task
        self._setting = setting
        self._seed = seed
        self._batch = setting.batch_size
        self._updates = data.updates_per_epoch(setting.batch_size)
        self._data = data
        self.model = initial_model(task, seed)
        self._optimizer = _optimizer(self.model, setting, way.optimizer)
        self._gathers_epoch = way.gathers_epoch
        self._schedule = _schedule(setting, self._optimizer, epochs, self._updates)
        self._every_update = setting.schedule.every == "step"
        self._watches = setting.schedule.name == "ReduceLROnPlateau"
        self._first_loss = 0.0
        self.epochs_done = 0

    def train_epoch(self) -> dict[str, float]:
        """Train an epoch and evaluate: ``train_loss`` and the task's metrics."""
        order = data_order(self._seed, self.epochs_done + 1, len(self._data.train_inputs))
        model, optimizer, loss_of = self.model, self._optimizer, self._task.loss
        model.train()
        losses = []
        for inputs, targets in self._batches(order[: self._updates * self._batch]):
            optimizer.zero_grad(set_to_none=True)
            loss = loss_of(model(inputs), targets)
            loss.backward()
            optimizer.step()
            losses.append(loss.detach())
            if self._every_update and self._schedule is not None:
                self._schedule.step()
        if self.epochs_done == 0:
            self._first_loss = losses[0].item()
        self.epochs_done += 1
        found = {"train_loss": torch.stack(losses).mean().item(), **self._evaluated()}
        if self._schedule is not None and not self._every_update:
            self._schedule.step(*([found["val_loss"]] if self._watches else []))
        return found

    def _batches(self, order: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        inputs, targets = self._data.train_inputs, self._data.train_targets
        if self._gathers_epoch:
            parts = torch.split(inputs[order], self._batch), torch.split(targets[order], self._batch)
            yield from zip(*parts, strict=True)
        else:
            for picked in torch.split(order, self._batch):
                yield inputs[picked], targets[picked]

    def has_diverged(self, found: Mapping[str, float]) -> bool:
        """By Ravine's rule, as far as an epoch's numbers tell."""
        train_loss, val_loss = found["train_loss"], found["val_loss"]
        finite = math.isfinite(train_loss) and math.isfinite(val_loss)
        return not finite or train_loss > DIVERGED * self._first_loss

    def _evaluated(self) -> dict[str, float]:
        self.model.eval()
        with torch.inference_mode():
            outputs = self.model(self._data.validation_inputs)
            metrics = self._task.metrics(outputs, self._data.validation_targets)
            return {name: value.item() for name, value in metrics.items()}


def _optimizer(model: torch.nn.Module, setting: Setting, way: Mapping[str, bool]) -> Optimizer:
    kind = getattr(torch.optim, setting.optimizer)
    arguments = dict(setting.arguments)
    if setting.schedule.name in CYCLES_MOMENTUM:  # and sets it before the first update
        arguments.setdefault("momentum", 0.9)
    made: Optimizer = kind(model.parameters(), **arguments, **way)
    return made


def _schedule(setting: Setting, optimizer: Optimizer, epochs: int, updates: int) -> Any:
    """The schedule's object, or None for a constant learning rate."""
    name, arguments = setting.schedule.name, _plain(setting.schedule.arguments)
    if name == "constant":
        return None
    if name == "OneCycleLR":
        arguments.setdefault("total_steps", epochs * updates)
    kind: Any = WSD if name == "WSD" else getattr(lr_scheduler, name)
    return kind(optimizer, **arguments)


def _plain(arguments: Mapping[str, Any]) -> dict[str, Any]:
    return {name: list(value) if isinstance(value, tuple) else value for name, value in arguments.items()}


def load(workload: Workload) -> tuple[Task, Data]:
    """The workload's task and data, kept by this process."""
    arguments = tuple(sorted(workload.task_arguments.items()))
    return make_task(workload.task, arguments), task_data(workload.task, arguments)


def fastest_way(part: int, name: str) -> str:
    """The name of the fastest of :data:`WAYS` here, by processor time; the best of some epochs counts."""
    workload = WORKLOADS[name]
    task, data = load(workload)
    setting = frozen_trials(workload)[part].setting
    seconds = dict.fromkeys(WAYS, math.inf)
    trials = {way: PlainTrial(task, data, setting, seed=0, epochs=_TRIES + 1, way=WAYS[way]) for way in WAYS}
    for repeat in range(_TRIES + 1):
        for way, trial in trials.items():
            before = process_time()
            trial.train_epoch()
            if repeat:
                seconds[way] = min(seconds[way], process_time() - before)
    return min(seconds, key=lambda way: seconds[way])


def train_half(part: int, name: str, way: str, count: int | None = None) -> dict[str, float]:
    """Train this process's half of the frozen trials, or ``count`` of it: trial-steps and seconds."""
    workload = WORKLOADS[name]
    task, data = load(workload)
    updates = data.updates_per_epoch(workload.batch_size)
    steps, began = 0, perf_counter()
    for admission in half(frozen_trials(workload), part)[:count]:
        trial = PlainTrial(
            task, data, admission.setting, seed=admission.seed, epochs=workload.epochs, way=WAYS[way]
        )
        for _ in range(workload.epochs):
            found = trial.train_epoch()
            steps += updates
            if trial.has_diverged(found):
                break
    return {"trial_steps": steps, "seconds": perf_counter() - began}
