"""What a task is: a model, its data, a loss and metrics, in plain torch. Nothing of stacking shows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor, nn


@dataclass(frozen=True, slots=True, kw_only=True)
class Data:
    """Tensors to train and validate on; the first dimension counts examples."""

    train_inputs: Tensor
    train_targets: Tensor
    validation_inputs: Tensor
    validation_targets: Tensor
    full_batch_updates: int | None = None  # updates an epoch, each on all training data; None: mini-batches

    def to(self, device: torch.device) -> Data:
        """The same data on ``device``."""
        return Data(
            train_inputs=self.train_inputs.to(device),
            train_targets=self.train_targets.to(device),
            validation_inputs=self.validation_inputs.to(device),
            validation_targets=self.validation_targets.to(device),
            full_batch_updates=self.full_batch_updates,
        )

    def updates_per_epoch(self, batch_size: int) -> int:
        """Whole batches an epoch has; the last partial batch is dropped."""
        if self.full_batch_updates is not None:
            return self.full_batch_updates
        return len(self.train_inputs) // batch_size


class Task(Protocol):
    """What is learned. Called with one trial's model and batch; never sees rows of a population."""

    def model(self) -> nn.Module:
        """A model with its initial weights; the caller has seeded torch."""
        ...

    def data(self) -> Data:
        """Training and validation data, the same at every call."""
        ...

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Mean training loss of a batch, a scalar."""
        ...

    def metrics(self, outputs: Tensor, targets: Tensor) -> Mapping[str, Tensor]:
        """Scalar means over the validation examples given: ``val_loss`` and others by name."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskClass:
    """A task's registration: how to make it, and what the catalogue says of it."""

    name: str
    summary: str
    make: Callable[..., Task]  # keyword arguments: the task_args
    metrics: tuple[str, ...]
    functions: Mapping[str, Callable[[int], float]] = field(default_factory=dict)  # for LambdaLR
