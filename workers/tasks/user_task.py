"""A user's task as one of ours: whatever it returns comes out as a model, tensors and scalars."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from search_spaces.ranges import Value
from search_spaces.task_code import TaskRefused
from workers.tasks.task import Data, Uniform, copy_of, deep_copy_of
from workers.tasks.user_data import as_data

RESERVED_METRICS = ("number", "epoch", "step", "lr", "momentum", "train_loss", "grad_norm")
METRIC_NAME = re.compile(r"\w[\w .:/-]*", re.ASCII)  # what MLflow takes
_WANTED_METRICS = "a mapping of names to scalars, such as {'val_accuracy': ...}"


class UserTask:
    """One object of a user's class. What it gets wrong is raised as TaskRefused, whenever it shows."""

    def __init__(self, kind: Callable[..., Any], arguments: Mapping[str, Value]) -> None:
        """Make the object. Raises what its constructor raises."""
        with all_seeded(0):
            self._take(kind(**arguments))

    def __copy__(self) -> UserTask:
        """A copy of the user's object: what it is given from now on is its own."""
        copied = object.__new__(UserTask)
        copied._take(copy_of(self.own))
        return copied

    def __deepcopy__(self, memo: dict[int, Any]) -> UserTask:
        """A copy of the user's object and of all that it holds."""
        copied = object.__new__(UserTask)
        copied._take(deep_copy_of(self.own, memo))
        return copied

    def _take(self, own: Any) -> None:
        self.own = own  # the user's object
        self._own_metrics: Callable[[Any, Any], object] | None = getattr(own, "metrics", None)
        if callable(getattr(own, "augment", None)):
            self.augment: Callable[[Tensor, Uniform], Tensor] = own.augment

    def model(self) -> nn.Module:
        """The user's model. The caller has seeded torch; NumPy and ``random`` follow its seed."""
        with numpy_and_random_seeded(torch.initial_seed()):
            model = self.own.model()
        if not isinstance(model, nn.Module):
            raise TaskRefused(f"model() returned {kind_of(model)}", "a torch.nn.Module")
        return model

    def data(self) -> Data:
        """The user's data, read into tensors.

        Global random numbers are seeded, so that a split drawn from them is the same in every process.
        """
        with all_seeded(0):
            return as_data(self.own.data())

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The user's loss, a scalar."""
        loss = self.own.loss(outputs, targets)
        if not isinstance(loss, Tensor):
            raise TaskRefused(
                f"loss() returned {kind_of(loss)}, not a tensor", "the mean loss as a scalar tensor"
            )
        if loss.numel() != 1:
            raise TaskRefused(
                f"loss() returned a tensor of shape {tuple(loss.shape)}, not a scalar",
                "the mean over the batch",
                "a loss of PyTorch gives it with reduction='mean'",
            )
        return loss.reshape(())

    def metrics(self, outputs: Tensor, targets: Tensor) -> Mapping[str, Tensor]:
        """The user's metrics; ``val_loss`` is the loss where they leave it out."""
        found = {} if self._own_metrics is None else _scalars(self._own_metrics(outputs, targets))
        if "val_loss" in found:
            return found
        return {"val_loss": self.loss(outputs, targets), **found}


def _scalars(given: object) -> dict[str, Tensor]:
    if not isinstance(given, Mapping):
        raise TaskRefused(f"metrics() returned {kind_of(given)}", _WANTED_METRICS)
    return {_metric_name(name): _scalar(name, value) for name, value in given.items()}


def _metric_name(name: object) -> str:
    if not isinstance(name, str) or not METRIC_NAME.fullmatch(name):
        raise TaskRefused(
            f"metrics() names one {name!r}", "names of letters, digits, spaces and any of _ - . : /"
        )
    if name in RESERVED_METRICS:
        raise TaskRefused(
            f"metrics() names one '{name}', which Ravine measures itself", f"another name than {name}"
        )
    return name


def _scalar(name: str, value: object) -> Tensor:
    if isinstance(value, Tensor):
        if value.numel() != 1:
            raise TaskRefused(
                f"metrics(): '{name}' is a tensor of shape {tuple(value.shape)}",
                "a scalar: the mean over the examples given",
            )
        if value.is_complex():
            raise TaskRefused(f"metrics(): '{name}' is complex", "a real number")
        return value.reshape(())
    if isinstance(value, (bool, int, float, np.number, np.bool_)) and not np.iscomplexobj(value):
        return torch.tensor(float(value), dtype=torch.float64)
    raise TaskRefused(f"metrics(): '{name}' is {kind_of(value)}", "a scalar tensor or a number")


@contextmanager
def numpy_and_random_seeded(seed: int) -> Iterator[None]:
    """NumPy's and Python's global random numbers from ``seed``; what they were is put back."""
    before = random.getstate(), np.random.get_state()
    random.seed(seed)
    np.random.seed(seed % 2**32)
    try:
        yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])


@contextmanager
def all_seeded(seed: int) -> Iterator[None]:
    """PyTorch's (on the CPU), NumPy's and Python's global random numbers from ``seed``, then as before."""
    with torch.random.fork_rng(devices=[]), numpy_and_random_seeded(seed):
        torch.manual_seed(seed)
        yield


def kind_of(value: object) -> str:
    """What a value is, in a sentence about what a user's code gave back."""
    return "nothing (None)" if value is None else f"a value of type {type(value).__name__}"
