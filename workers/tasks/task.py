"""What a task is: a model, its data, a loss and metrics, in plain torch. Nothing of stacking shows."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

Uniform = Callable[[int], Tensor]
"""n -> (examples, n) numbers in [0, 1), a function of seed, update and example."""

PRECISIONS = ("float32", "tf32", "bf16")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSize:
    """How much a task has to train on."""

    examples: int
    full_batch_updates: int | None = None  # as in :class:`Data`

    def updates_per_epoch(self, batch_size: int) -> int:
        """Whole batches an epoch has; the last partial batch is dropped."""
        if self.full_batch_updates is not None:
            return self.full_batch_updates
        return self.examples // batch_size


# Compared by identity: tensors have no truth value, and caches hold data weakly.
@dataclass(frozen=True, slots=True, kw_only=True, eq=False, weakref_slot=True)
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

    @property
    def bytes(self) -> int:
        """Memory that the tensors take."""
        tensors = (self.train_inputs, self.train_targets, self.validation_inputs, self.validation_targets)
        return sum(tensor.nbytes for tensor in tensors)

    def updates_per_epoch(self, batch_size: int) -> int:
        """Whole batches an epoch has; the last partial batch is dropped."""
        return self.size.updates_per_epoch(batch_size)

    @property
    def size(self) -> TrainingSize:
        """How much there is to train on."""
        return TrainingSize(examples=len(self.train_inputs), full_batch_updates=self.full_batch_updates)


class Task(Protocol):
    """What is learned. Called with one trial's model and batch; never sees rows of a population.

    A task may also have ``augment(inputs, uniform)``: see :func:`augmentation_of`.
    """

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


def copy_of(thing: Any) -> Any:
    """Another object of the same class that holds the same: what either is given from now on is its own.

    Not by way of copy.copy where that can be helped: a class that looks its attributes up elsewhere may not
    survive being asked for them before it has any.
    """
    if hasattr(type(thing), "__copy__") or not hasattr(thing, "__dict__"):
        return copy.copy(thing)
    copied = object.__new__(type(thing))
    vars(copied).update(vars(thing))
    return copied


def deep_copy_of(thing: Any, memo: dict[int, Any]) -> Any:
    """As :func:`copy_of`, of all that it holds too; ``memo``: as of copy.deepcopy, what was copied before."""
    if hasattr(type(thing), "__deepcopy__") or not hasattr(thing, "__dict__"):
        return copy.deepcopy(thing, memo)
    copied = memo[id(thing)] = object.__new__(type(thing))
    vars(copied).update(copy.deepcopy(vars(thing), memo))
    return copied


def augmentation_of(task: Task) -> Callable[[Tensor, Uniform], Tensor] | None:
    """The task's change of a training batch's inputs by keyed random numbers, or None where it has none.

    Called with inputs (batch, ...) and ``uniform``; returns as many inputs. Validation never sees it.
    """
    found: Callable[[Tensor, Uniform], Tensor] | None = getattr(task, "augment", None)
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskClass:
    """A task's registration: how to make it, and what the catalogue says of it."""

    name: str  # registered name, or the absolute path/to/file.py:Name
    summary: str
    make: Callable[..., Any]  # keyword arguments: the task_args; makes a Task, or a UserLoop
    metrics: tuple[str, ...]  # () where only trying it shows them
    loop: bool = False  # it brings its own training loop: no model, data or loss of it is known
    functions: Mapping[str, Callable[[int], float]] = field(default_factory=dict)  # for LambdaLR
    optimizers: Mapping[str, type[Optimizer]] = field(default_factory=dict)  # its own, trained solo
    paths: tuple[str, ...] = ()  # arguments that name a file or folder
    precision: str = "float32"  # one of PRECISIONS
