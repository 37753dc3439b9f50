"""Admissions of digits-mlp and quadratic that tests share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from search_spaces.settings import Schedule, Setting
from workers.messages import Admission, Cooldown, Diverged, Measured
from workers.population import Population
from workers.recipe import Recipe
from workers.row_bank import Room
from workers.solo import SoloTrial
from workers.tasks.registry import make_task


def admission(
    number: int = 0,
    *,
    optimizer: str = "SGD",
    seed: int = 0,
    schedule: Schedule | None = None,
    warmup_epochs: int = 0,
    batch_size: int = 32,
    clip_grad_norm: float | None = None,
    two_groups: bool = False,
    bias_lr: float | None = None,
    **arguments: Any,
) -> Admission:
    return Admission(
        number=number,
        seed=seed,
        setting=Setting(
            optimizer=optimizer,
            arguments=arguments,
            schedule=schedule or Schedule(),
            warmup_epochs=warmup_epochs,
            batch_size=batch_size,
            clip_grad_norm=clip_grad_norm,
            two_groups=two_groups,
            bias_lr=bias_lr,
        ),
    )


def recipe(
    *, task: str = "digits-mlp", epochs: int = 4, dtype: torch.dtype | None = None, **task_arguments: Any
) -> Recipe:
    made = _task(task, dtype, task_arguments)
    return Recipe(task=made, data=made.data(), epochs=epochs, metric="val_loss")


def population(
    *,
    task: str = "digits-mlp",
    optimizer: str = "SGD",
    width: int = 8,
    epochs: int = 4,
    batch_size: int = 32,
    two_groups: bool = False,
    dtype: torch.dtype | None = None,
    room: Room | None = None,
    cooldown: Cooldown | None = None,
    **task_arguments: Any,
) -> Population:
    shared = recipe(task=task, epochs=epochs, dtype=dtype, **task_arguments)
    return Population(
        shared,
        optimizer=optimizer,
        batch_size=batch_size,
        width=width,
        two_groups=two_groups,
        room=room,
        cooldown=cooldown,
    )


def solo(
    trial: Admission,
    *,
    task: str = "digits-mlp",
    epochs: int = 4,
    dtype: torch.dtype | None = None,
    cooldown: Cooldown | None = None,
    **task_arguments: Any,
) -> SoloTrial:
    shared = recipe(task=task, epochs=epochs, dtype=dtype, **task_arguments)
    return SoloTrial(shared, trial, cooldown=cooldown)


def curves(trained: Sequence[Measured | Diverged]) -> dict[int, list[Measured | Diverged]]:
    """Outcomes by trial number."""
    by_number: dict[int, list[Measured | Diverged]] = {}
    for outcome in trained:
        by_number.setdefault(outcome.number, []).append(outcome)
    return by_number


class _InFloat64:
    """A task in double precision, so that two formulas can be told apart from two roundings."""

    def __init__(self, task: Any) -> None:
        self._task = task

    def model(self) -> torch.nn.Module:
        return self._task.model().double()

    def data(self) -> Any:
        import dataclasses

        data = self._task.data()
        return dataclasses.replace(
            data, train_inputs=data.train_inputs.double(), validation_inputs=data.validation_inputs.double()
        )

    def __getattr__(self, name: str) -> Any:
        return getattr(self._task, name)


def _task(name: str, dtype: torch.dtype | None, arguments: dict[str, Any]) -> Any:
    task = make_task(name, tuple(sorted(arguments.items())))
    return _InFloat64(task) if dtype is torch.float64 else task
