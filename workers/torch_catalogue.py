"""The catalogue, read off PyTorch's own signatures: a class that a newer PyTorch adds is simply there."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from functools import cache
from typing import Any

import torch
from torch.optim import Optimizer, lr_scheduler

from search_spaces.catalogue import (
    Argument,
    Catalogue,
    Kind,
    OptimizerEntry,
    ScheduleEntry,
    Suppression,
    TaskEntry,
)
from search_spaces.ranges import Value
from search_spaces.settings import Schedule, Setting
from workers.optimization import (
    HORIZON_ARGUMENTS,
    OWN_SCHEDULES,
    Horizon,
    ScheduleRefused,
    construct,
)
from workers.tasks.registry import TASKS, task_class
from workers.tasks.task import TaskClass
from workers.update_rules import UPDATE_RULES

_NOT_SETTINGS = {"optimizer"}
_IMPLEMENTATION = ("foreach", "fused", "capturable", "differentiable")
_UNSUPPORTED = {"LBFGS", "SparseAdam", "Muon"}  # they want closures, sparse gradients, matrices only
_SUM_STEPS = (torch.optim.SGD, torch.optim.RMSprop)
"""Classes whose momentum is v = momentum v + g, by PyTorch's formulas (Muon's is a mean of gradients)."""
_KIND_WORDS = {
    "float": Kind.number,
    "Tensor": Kind.number,
    "int": Kind.integer,
    "bool": Kind.boolean,
    "str": Kind.text,
    "Literal": Kind.text,
    "tuple": Kind.listing,
    "list": Kind.listing,
    "Iterable": Kind.listing,
    "Sequence": Kind.listing,
    "Callable": Kind.function,
}
_SAMPLES: Mapping[str, Value] = {"lr_lambda": "sample", "milestones": (2,), "base_lr": 0.01, "max_lr": 0.1}


@cache
def torch_catalogue() -> Catalogue:
    """Every optimizer and schedule class of this PyTorch, and the registered tasks."""
    return Catalogue(
        optimizers={name: _optimizer_entry(name, kind) for name, kind in _optimizer_classes().items()},
        schedules={name: _schedule_entry(name, kind) for name, kind in _schedule_classes().items()},
        tasks={task.name: _task_entry(task) for task in TASKS.values()},
    )


@cache
def catalogue_for(task: str) -> Catalogue:
    """The catalogue with ``task``, by its reference, and with the optimizers of its own code."""
    everyone, found = torch_catalogue(), task_class(task)
    own = {name: _optimizer_entry(name, kind) for name, kind in found.optimizers.items()}
    return Catalogue(
        optimizers={**everyone.optimizers, **own},
        schedules=everyone.schedules,
        tasks={**everyone.tasks, task: _task_entry(found)},
    )


def _task_entry(task: TaskClass) -> TaskEntry:
    return TaskEntry(
        name=task.name,
        summary=task.summary,
        arguments=_arguments(task.make),
        metrics=task.metrics,
        functions=tuple(task.functions),
        paths=task.paths,
    )


def _optimizer_classes() -> dict[str, type[Any]]:
    return {
        name: kind
        for name, kind in vars(torch.optim).items()
        if inspect.isclass(kind) and issubclass(kind, Optimizer) and kind is not Optimizer
        if name not in _UNSUPPORTED
    }


def _schedule_classes() -> dict[str, type[Any]]:
    theirs = {
        name: kind
        for name, kind in vars(lr_scheduler).items()
        if inspect.isclass(kind) and issubclass(kind, lr_scheduler.LRScheduler)
        if kind is not lr_scheduler.LRScheduler and not name.startswith("_")
    }
    return {**theirs, **OWN_SCHEDULES}


def _optimizer_entry(name: str, kind: type[Any]) -> OptimizerEntry:
    arguments = _arguments(kind)
    return OptimizerEntry(
        name=name,
        arguments=arguments,
        stacked=name in UPDATE_RULES,
        ignored=tuple(argument for argument in _IMPLEMENTATION if argument in arguments),
        sums_steps=kind in _SUM_STEPS,
    )


def _schedule_entry(name: str, kind: type[Any]) -> ScheduleEntry:
    arguments = _arguments(kind)
    suppresses = _suppressions(name, arguments)
    sets_rate = any(rule.setting == "lr" for rule in suppresses)
    step = inspect.signature(kind.step).parameters
    return ScheduleEntry(
        name=name,
        arguments=arguments,
        suppresses=suppresses,
        horizon=next((argument for argument in HORIZON_ARGUMENTS if argument in arguments), None),
        every="step" if sets_rate else "epoch",
        watches="metrics" in step,
        fractional="T_0" in arguments,
    )


def _arguments(callable_: Any) -> dict[str, Argument]:
    parameters = dict(inspect.signature(callable_).parameters)
    if inspect.isclass(callable_) and issubclass(callable_, Optimizer):
        parameters.pop(next(iter(parameters)))  # what to optimize, whatever its name
    return {
        name: Argument(
            name=name,
            kinds=(Kind.schedules,) if name == "schedulers" else _kinds(parameter),
            required=parameter.default is inspect.Parameter.empty,
            default=None if parameter.default is inspect.Parameter.empty else parameter.default,
            names=tuple(re.findall(r"'([^']+)'", _annotation(parameter)))
            if "Literal" in _annotation(parameter)
            else (),
        )
        for name, parameter in parameters.items()
        if name not in _NOT_SETTINGS
        if parameter.kind not in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    }


def _annotation(parameter: inspect.Parameter) -> str:
    annotation = parameter.annotation
    if isinstance(annotation, str):
        return annotation
    return annotation.__name__ if inspect.isclass(annotation) else str(annotation)


def _kinds(parameter: inspect.Parameter) -> tuple[Kind, ...]:
    """What an annotation such as ``float | list[float]`` accepts; its inner types do not count."""
    outer = re.sub(r"\[[^][]*\]", "", re.sub(r"\[[^][]*\]", "", _annotation(parameter)))
    words = re.findall(r"\w+", outer)
    kinds = tuple(dict.fromkeys(_KIND_WORDS[word] for word in words if word in _KIND_WORDS))
    return kinds or (Kind.anything,)


def _suppressions(name: str, arguments: Mapping[str, Argument]) -> tuple[Suppression, ...]:
    """Which optimizer settings the class overwrites, found by building it over two different optimizers."""
    if "schedulers" in arguments:
        return ()  # its parts say it
    built = [_first_rates(name, arguments, lr, momentum) for lr, momentum in ((0.03, 0.3), (0.07, 0.7))]
    if built[0] is None or built[1] is None:
        return ()
    found = []
    if built[0][0] == built[1][0]:
        found.append(Suppression(setting="lr"))
    if built[0][1] == built[1][1]:
        switch = "cycle_momentum" if "cycle_momentum" in arguments else None
        default = bool(arguments[switch].default) if switch else True
        found.append(Suppression(setting="momentum", unless_false=switch, default=default))
    return tuple(found)


def _first_rates(
    name: str, arguments: Mapping[str, Argument], lr: float, momentum: float
) -> tuple[float, float] | None:
    """Learning rate and momentum right after construction, or None where sample arguments do not fit."""
    samples = {
        argument.name: _SAMPLES.get(argument.name, 2 if Kind.integer in argument.kinds else 0.5)
        for argument in arguments.values()
        if argument.required
    }
    setting = Setting(
        optimizer="SGD",
        arguments={"lr": lr, "momentum": momentum},
        schedule=Schedule(name=name, arguments=samples),
    )
    dummy = torch.nn.Parameter(torch.zeros(1))
    try:
        optimizer, _ = construct(
            setting, Horizon(epochs=4, updates_per_epoch=1), [dummy], {"sample": lambda _: 1.0}
        )
    except ScheduleRefused:
        return None
    group = optimizer.param_groups[0]
    return float(group["lr"]), float(group["momentum"])
