"""The plain torch loop that whole trainings are compared with, written out after the sweep file's definitions.

Of ``workers`` it has the data order, the initial weights and the class WSD, and nothing else.
"""

from __future__ import annotations

import inspect
import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_
from torch.optim import Optimizer

from search_spaces.settings import Setting
from tests.unit.plain_schedules import Point, plain_schedule, point_of
from workers.randomness import data_order, initial_model
from workers.tasks.task import Data, Task

Optimizers = Mapping[str, type[Optimizer]]


@dataclass(slots=True, kw_only=True)
class PlainTraining:
    """What a plain loop showed."""

    path: list[Point] = field(default_factory=list)  # of every update
    epochs: list[dict[str, float]] = field(default_factory=list)  # metrics of each that did not diverge
    diverged_at: int | None = None  # the update, from 1
    weights: dict[str, Tensor] = field(default_factory=dict)  # and buffers, at the end

    def record(self, groups: list[dict[str, Any]]) -> None:
        """Note the rates that the next update will be made with."""
        self.path.append(point_of(groups))


def train_plainly(
    task: Task,
    setting: Setting,
    *,
    seed: int,
    epochs: int,
    optimizers: Optimizers | None = None,
    nudge: float = 0.0,
) -> PlainTraining:
    """Train as ``setting`` says until the end or divergence.

    ``optimizers``: a task's own classes. ``nudge``: change of every initial weight, relative to it.
    """
    data, model = task.data(), initial_model(task, seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.0 + nudge)
    updates = len(data.train_inputs) // setting.batch_size
    warmup_epochs, every = setting.warmup_epochs, setting.schedule.every
    warmup_updates = warmup_epochs * updates
    ticks = (epochs - warmup_epochs) * (1 if every == "epoch" else updates)
    shown = PlainTraining()
    optimizer, schedule = _objects(setting, model, ticks, optimizers or {})
    first_rates = [group["lr"] for group in optimizer.param_groups]
    for epoch in range(1, epochs + 1):
        order = data_order(seed, epoch, len(data.train_inputs))
        losses: list[float] = []
        model.train()
        for index in range(updates):
            update = (epoch - 1) * updates + index + 1
            if update <= warmup_updates:
                for group, rate in zip(optimizer.param_groups, first_rates, strict=True):
                    group["lr"] = rate * update / warmup_updates
            shown.record(optimizer.param_groups)
            batch = order[index * setting.batch_size : (index + 1) * setting.batch_size]
            optimizer.zero_grad()
            loss = task.loss(model(data.train_inputs[batch]), data.train_targets[batch])
            loss.backward()
            if setting.clip_grad_norm is not None:
                clip_grad_norm_(model.parameters(), setting.clip_grad_norm)
            optimizer.step()
            losses.append(loss.item())
            if update == warmup_updates:
                for group, rate in zip(optimizer.param_groups, first_rates, strict=True):
                    group["lr"] = rate
            elif update > warmup_updates and every == "step" and schedule is not None:
                schedule.step()
            elif update > warmup_updates and every == "fraction":
                schedule.step(epoch - 1 - warmup_epochs + index / updates)
        metrics = {"train_loss": math.fsum(losses) / updates, **_validated(task, data, model)}
        if epoch == 1:
            first_loss = losses[0]
        shown.diverged_at = _diverged_at(losses, metrics, first_loss, epoch * updates)
        if shown.diverged_at is not None:
            break
        shown.epochs.append(metrics)
        if schedule is not None and every == "epoch" and epoch > warmup_epochs:
            if setting.schedule.name == "ReduceLROnPlateau":
                schedule.step(metrics[setting.schedule.watch or "val_loss"])
            else:
                schedule.step()
    shown.weights = {name: tensor.detach() for name, tensor in model.state_dict().items()}
    return shown


def _objects(setting: Setting, model: nn.Module, ticks: int, own: Optimizers) -> tuple[Optimizer, Any]:
    """Optimizer and schedule by PyTorch's own names; a schedule that sets momentum brings the first."""
    kind, arguments = (
        own.get(setting.optimizer) or getattr(torch.optim, setting.optimizer),
        dict(setting.arguments),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        constant = setting.schedule.name == "constant"
        if "momentum" in inspect.signature(kind).parameters and "momentum" not in arguments and not constant:
            tried = kind(_groups(setting, model), momentum=0.25)
            plain_schedule(setting.schedule, tried, ticks)
            arguments["momentum"] = tried.param_groups[0]["momentum"]
        optimizer = kind(_groups(setting, model), **arguments)
        return optimizer, None if constant else plain_schedule(setting.schedule, optimizer, ticks)


def _groups(setting: Setting, model: nn.Module) -> list[dict[str, Any]]:
    """All parameters; or weights apart from biases and norms, which take no weight decay."""
    if not setting.two_groups:
        return [{"params": list(model.parameters())}]
    second: dict[str, Any] = {"params": [p for p in model.parameters() if p.dim() == 1], "weight_decay": 0.0}
    if setting.bias_lr is not None:
        second["lr"] = setting.bias_lr
    return [{"params": [p for p in model.parameters() if p.dim() > 1]}, second]


@torch.no_grad()
def _validated(task: Task, data: Data, model: nn.Module) -> dict[str, float]:
    model.eval()
    found = task.metrics(model(data.validation_inputs), data.validation_targets)
    return {name: value.item() for name, value in found.items()}


def _diverged_at(
    losses: list[float], metrics: dict[str, float], first: float, updates_made: int
) -> int | None:
    """The update at which the epoch diverged: its loss not finite, or else the epoch's last."""
    for index, loss in enumerate(losses):
        if not math.isfinite(loss):
            return updates_made - len(losses) + index + 1
    too_high = metrics["train_loss"] > 1000 * first
    return updates_made if too_high or not math.isfinite(metrics["val_loss"]) else None
