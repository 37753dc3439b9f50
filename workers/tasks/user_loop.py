"""A user's training loop: a class whose ``train(setting, seed, resume)`` yields its metrics once an epoch."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping, Sequence
from types import GeneratorType
from typing import Any

import numpy as np
from torch import Tensor, nn

from search_spaces.errors import nearest
from search_spaces.ranges import Value
from search_spaces.task_code import TaskRefused
from workers.tasks.user_task import METRIC_NAME, RESERVED_METRICS, all_seeded, kind_of

WANTED_LOOP = "train(self, setting, seed, resume), which yields a dict of metrics once an epoch"
WANTED_YIELD = "a dict of names and numbers, such as {'train_loss': ..., 'val_loss': ...}"
TOLD_BESIDE = ("step", "lr", "momentum", "grad_norm")
"""What a loop may yield beside metrics, where no optimizer of ours tells it."""

NO_METRICS = frozenset(RESERVED_METRICS) - {"train_loss"}
"""Columns of the curves that are no metric of a loop."""

_NOT_TOLD = NO_METRICS - set(TOLD_BESIDE)


def is_loop(kind: type[object], methods: Sequence[str]) -> bool:
    """Whether a user's class brings its own loop rather than ``methods``, those of a plain task."""
    train = getattr(kind, "train", None)
    if not callable(train) or issubclass(kind, nn.Module):  # whose train() switches a mode
        return False
    plain = all(callable(getattr(kind, method, None)) for method in methods)
    return inspect.isgeneratorfunction(inspect.unwrap(train)) or not plain


def refuse_bad_loop(kind: type[Any], what: str) -> None:
    """Raise TaskRefused unless ``train`` can be called as loops are, and yields."""
    static = inspect.getattr_static(kind, "train")
    bound = inspect.signature(kind.train)
    given: tuple[object, ...] = () if isinstance(static, (staticmethod, classmethod)) else (None,)
    try:
        bound.bind(*given, setting=None, seed=None, resume=None)
    except TypeError as error:
        raise TaskRefused(
            f"train{bound} of {what} cannot be called with setting, seed and resume: {error}", WANTED_LOOP
        ) from error
    if not inspect.isgeneratorfunction(inspect.unwrap(kind.train)):
        raise TaskRefused(f"train() of {what} has no yield", WANTED_LOOP)


def declared_metrics(kind: type[object]) -> tuple[str, ...]:
    """The metrics that the class's attribute ``metrics`` names, ``val_loss`` first; () where it has none."""
    given = getattr(kind, "metrics", None)
    if given is None or callable(given):
        return ()
    names = (given,) if isinstance(given, str) else given
    wanted = "names of what train() yields, such as ('val_loss', 'val_accuracy')"
    if not isinstance(names, (tuple, list)):
        raise TaskRefused(f"metrics is {given!r}", wanted)
    for name in names:
        _refuse_name(name, "metrics names one", NO_METRICS)
    return tuple(dict.fromkeys(("val_loss", *(name for name in names if name != "train_loss"))))


class UserLoop:
    """One object of a user's class that brings its own loop."""

    def __init__(self, kind: type[Any], arguments: Mapping[str, Value]) -> None:
        """Make the object. Raises what its constructor raises."""
        with all_seeded(0):
            self._own = kind(**arguments)

    def start(self, setting: Mapping[str, Value], seed: int) -> GeneratorType[object, None, object]:
        """The loop of one trial from its beginning; nothing of it has run yet."""
        loop: object = self._own.train(setting=setting, seed=seed, resume=None)
        if not isinstance(loop, GeneratorType):
            raise TaskRefused(f"train() returned {kind_of(loop)}", WANTED_LOOP)
        return loop


def numbers_of(yielded: object) -> dict[str, float]:
    """What a loop yielded, as plain numbers by name. Raises TaskRefused."""
    if not isinstance(yielded, Mapping):
        raise TaskRefused(f"train() yielded {kind_of(yielded)}", WANTED_YIELD)
    for name in yielded:
        _refuse_name(name, "train() yielded one named", _NOT_TOLD)
    return {name: _number(name, value) for name, value in yielded.items()}


def refuse_missing(numbers: Mapping[str, float], wanted: Mapping[str, str]) -> None:
    """Raise TaskRefused where a name of ``wanted``, which says what it is for, is not there."""
    for name, purpose in wanted.items():
        if name not in numbers:
            shown = f"only {', '.join(numbers)}" if numbers else "an empty dict"
            hint = nearest(name, list(numbers))
            raise TaskRefused(f"train() yielded no '{name}', {shown}", f"'{name}', {purpose}", hint)


def _refuse_name(name: object, where: str, reserved: frozenset[str]) -> None:
    if not isinstance(name, str) or not METRIC_NAME.fullmatch(name):
        raise TaskRefused(f"{where} {name!r}", "names of letters, digits, spaces and any of _ - . : /")
    if name in reserved:
        raise TaskRefused(
            f"{where} '{name}', which is a column of the curves already", f"another name than {name}"
        )


def _number(name: str, value: object) -> float:
    """A number, or anything of one element that turns into one: 0-dim tensors, NumPy's scalars ..."""
    wanted = "a number, or a tensor of one element"
    shape = getattr(value, "shape", ())
    if isinstance(shape, tuple) and math.prod(shape) != 1:
        raise TaskRefused(f"train() yielded '{name}' of shape {tuple(shape)}", wanted, "its mean, say")
    item: Any = value.item() if isinstance(value, (Tensor, np.ndarray)) else value
    if isinstance(item, (str, bytes)) or np.iscomplexobj(item):
        raise TaskRefused(f"train() yielded '{name}', {kind_of(value)}", wanted)
    try:
        return float(item)
    except (TypeError, ValueError) as error:
        raise TaskRefused(f"train() yielded '{name}', {kind_of(value)}", wanted) from error
