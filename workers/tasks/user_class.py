"""The registration of a user's task class, read off the class and its file."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from search_spaces.errors import nearest, one_of
from search_spaces.task_code import TaskRefused
from workers.tasks.task import PRECISIONS, TaskClass
from workers.tasks.task_file import TaskFile, class_named, split_reference, task_file
from workers.tasks.user_loop import UserLoop, declared_metrics, is_loop, refuse_bad_loop
from workers.tasks.user_task import UserTask

METHODS = ("model", "data", "loss")
RESERVED_ARGUMENTS = frozenset(
    {
        "batch_size",
        "bias_lr",
        "clip_grad_norm",
        "epochs_done",
        "final_lr",
        "number",
        "optimizer",
        "peak_lr",
        "schedule",
        "seed",
        "state",
        "two_groups",
        "value",
    }
)
"""Names of columns and keys beside which an optimizer's arguments are stored."""

Functions = Mapping[str, Callable[[int], float]]


@cache
def user_class(reference: str) -> TaskClass:
    """The task class that ``/absolute/path/to/file.py:Name`` stands for. Raises TaskRefused."""
    path, name = split_reference(reference)
    file = task_file(path)
    kind = class_named(file, name)
    loop = is_loop(kind, METHODS)
    if loop:
        refuse_bad_loop(kind, f"{name} in {path}")
    else:
        _refuse_missing_methods(kind, f"{name} in {path}")
    return TaskClass(
        name=reference,
        summary=_summary(kind),
        make=_Maker(kind, UserLoop if loop else UserTask),
        metrics=declared_metrics(kind) if loop else (),
        loop=loop,
        functions=_functions(kind, file),
        optimizers=_optimizers(kind),
        paths=_paths(kind),
        precision=_precision(kind),
    )


class _Maker:
    """Makes tasks of a user's class; its signature is that of the class."""

    def __init__(self, kind: type[Any], made: type[UserTask | UserLoop]) -> None:
        self._kind = kind
        self._made = made
        signature = inspect.signature(kind)
        variable = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
        named = [parameter for parameter in signature.parameters.values() if parameter.kind not in variable]
        self.__signature__ = signature.replace(parameters=named)

    def __call__(self, **arguments: Any) -> UserTask | UserLoop:
        return self._made(self._kind, arguments)


def _refuse_missing_methods(kind: type[object], what: str) -> None:
    missing = [method for method in METHODS if not callable(getattr(kind, method, None))]
    if not missing:
        return
    if issubclass(kind, nn.Module):
        raise TaskRefused(
            f"{what} is a model, not a task", "a class whose model() returns it, with data() and loss()"
        )
    present = [name for name, value in vars(kind).items() if callable(value) and not name.startswith("_")]
    hints = [hint for method in missing if (hint := nearest(method, present))]
    raise TaskRefused(
        f"{what} has no {' and no '.join(f'{method}()' for method in missing)}",
        "a class with model(), data() and loss(outputs, targets), or with train(setting, seed, resume)",
        hints[0] if hints else "",
    )


def _summary(kind: type[object]) -> str:
    own = getattr(kind, "summary", None)
    if isinstance(own, str):
        return " ".join(own.split())
    return (inspect.cleandoc(kind.__doc__ or "").splitlines() or [""])[0]


def _functions(kind: type[object], file: TaskFile) -> Functions:
    """The file's own functions by name, and those that the class names."""
    found: dict[str, Callable[[int], float]] = {
        name: value
        for name, value in vars(file.module).items()
        if inspect.isfunction(value) and value.__module__ == file.module.__name__
    }
    for name, function in _named_values(kind, "functions", "{'name': function of the epoch}").items():
        if not callable(function):
            raise TaskRefused(f"functions['{name}'] is {function!r}", "a function of the epoch or update")
        found[name] = function
    return found


def _optimizers(kind: type[object]) -> Mapping[str, type[Optimizer]]:
    found = _named_values(kind, "optimizers", "{'Name': subclass of torch.optim.Optimizer}")
    for name, optimizer in found.items():
        if not inspect.isclass(optimizer) or not issubclass(optimizer, Optimizer):
            raise TaskRefused(f"optimizers['{name}'] is {optimizer!r}", "a subclass of torch.optim.Optimizer")
        if hasattr(torch.optim, name):
            raise TaskRefused(
                f"optimizers names one '{name}', as PyTorch does", "another name than one of torch.optim"
            )
        if reserved := RESERVED_ARGUMENTS & set(inspect.signature(optimizer).parameters):
            raise TaskRefused(
                f"optimizers['{name}'] has an argument '{min(reserved)}', which is a column of the results",
                "another name for that argument",
            )
    return found


def _named_values(kind: type[object], attribute: str, wanted: str) -> dict[str, Any]:
    given = getattr(kind, attribute, {})
    if not isinstance(given, Mapping) or not all(_is_name(name) for name in given):
        raise TaskRefused(f"{attribute} is {given!r}", f"{wanted}, by names of letters, digits and _")
    return dict(given)


def _is_name(name: object) -> bool:
    return isinstance(name, str) and re.fullmatch(r"[A-Za-z_]\w*", name) is not None


def _paths(kind: type[object]) -> tuple[str, ...]:
    given = getattr(kind, "paths", ())
    names = (given,) if isinstance(given, str) else given
    known = tuple(inspect.signature(kind).parameters)
    if not isinstance(names, (tuple, list)):
        raise TaskRefused(f"paths is {given!r}", "names of the constructor's arguments, such as ('path',)")
    for name in names:
        if name not in known:
            hint = nearest(name, known) if isinstance(name, str) else ""
            raise TaskRefused(
                f"paths names {name!r}, which the constructor does not take", one_of(known), hint
            )
    return tuple(names)


def _precision(kind: type[object]) -> str:
    given = getattr(kind, "precision", "float32")
    if given not in PRECISIONS:
        hint = nearest(given, PRECISIONS) if isinstance(given, str) else ""
        raise TaskRefused(f"precision is {given!r}", one_of(PRECISIONS), hint)
    return str(given)
