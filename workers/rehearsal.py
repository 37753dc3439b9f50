"""Rehearsal: every optimizer x schedule pair of a space, constructed and stepped before anything starts."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from search_spaces.settings import Setting
from search_spaces.space import SearchSpace
from workers.optimization import Horizon, ScheduleRefused, construct, dummy_groups, takes_metric
from workers.schedule_table import SchedulePath, schedule_path
from workers.stacking import why_solo
from workers.task_rehearsal import as_arguments, culprit, refused_arguments
from workers.tasks.registry import task_class, training_size
from workers.tasks.task import TaskClass
from workers.tasks.user_loop import NO_METRICS
from workers.variants import Variant, variants_of

UPDATES_OF_A_LOOP = (100, 1)
"""Updates an epoch that a task's own loop may have: what only one of them refuses may train well."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Something of the search space that PyTorch or the task refuses."""

    label: str  # of the optimizer or schedule; or a field: "task_args", "batch_size", "device" ...
    argument: str | None  # of it, where one was varied
    got: str
    reason: str


def rehearse(space: SearchSpace) -> tuple[Refusal, ...]:
    """Everything that PyTorch or the task refuses; empty where the space can be trained.

    Each reason is given once for an optimizer, schedule or argument, with the first value refused.
    """
    first = (*_execution(space), *_own_loop(space))
    refusals = {(refusal.label, refusal.reason): refusal for refusal in first}
    tried: set[str] = set()
    for variant in variants_of(space):
        identity = repr(sorted(variant.setting.to_json().items(), key=lambda item: item[0]))
        if identity in tried:
            continue
        tried.add(identity)
        found = _try(variant, space)
        if found is not None:
            refusals.setdefault((found.label, found.reason), found)
    return tuple(refusals.values())


def _execution(space: SearchSpace) -> Iterator[Refusal]:
    if space.device == "cuda" and not torch.cuda.is_available():
        yield Refusal(label="device", argument=None, got="cuda", reason="this machine has no CUDA device")
    if space.execution != "stacked":
        return
    reason = why_solo(space)
    if reason is not None:
        yield Refusal(label="execution", argument=None, got="stacked", reason=reason)


def _own_loop(space: SearchSpace) -> Iterator[Refusal]:
    """What a task that brings its own training loop cannot do."""
    task = task_class(space.task)
    if not task.loop:
        return
    precision = task.precision if space.precision == "auto" else space.precision
    if precision == "bf16":
        reason = "the task brings its own training loop, which casts as it likes"
        yield Refusal(label="precision", argument=None, got=precision, reason=reason)
    watched = [(schedule.label, "watch", schedule.watch) for schedule in space.schedules]
    for label, argument, name in [("metric", "name", space.metric.name), *watched]:
        if name in NO_METRICS:
            reason = "it is a column of the curves, and no metric of the loop"
            yield Refusal(label=label, argument=argument, got=name, reason=reason)


def horizons_of(space: SearchSpace, setting: Setting) -> tuple[Horizon, ...]:
    """The length of a training; of several lengths where only the task's own loop knows it."""
    if task_class(space.task).loop:
        updates: tuple[int, ...] = UPDATES_OF_A_LOOP
    else:
        size = training_size(space.task, as_arguments(setting.task_arguments))
        updates = (size.updates_per_epoch(setting.batch_size),)
    return tuple(
        Horizon(epochs=space.epochs, updates_per_epoch=count, warmup_epochs=setting.warmup_epochs)
        for count in updates
    )


def rehearsed_path(space: SearchSpace, setting: Setting) -> SchedulePath:
    """The setting's path over the first length of training that it can be laid out on.

    Raises ScheduleRefused where there is none.
    """
    task = task_class(space.task)
    *others, last = horizons_of(space, setting)
    for horizon in others:
        try:
            return schedule_path(setting, horizon, task.functions, task.optimizers)
        except ScheduleRefused:
            continue
    return schedule_path(setting, last, task.functions, task.optimizers)


def _try(variant: Variant, space: SearchSpace) -> Refusal | None:
    setting = variant.setting
    refused = refused_arguments(space.task, setting.task_arguments)
    if refused is not None:
        return Refusal(label="task_args", argument=refused.argument, got=refused.got, reason=refused.said)
    horizons = horizons_of(space, setting)
    if horizons[0].updates_per_epoch == 0:
        size = training_size(space.task, as_arguments(setting.task_arguments))
        return Refusal(
            label="batch_size",
            argument=None,
            got=str(setting.batch_size),
            reason=f"the task has {size.examples} training examples: not one whole batch",
        )
    refusals = [_try_over(variant, horizon, task_class(space.task)) for horizon in horizons]
    return refusals[0] if all(refusals) else None


def _try_over(variant: Variant, horizon: Horizon, task: TaskClass) -> Refusal | None:
    setting = variant.setting
    try:
        _step_over_horizon(setting, horizon, task)
    except ScheduleRefused as error:
        own = _own_refusal(setting, setting.arguments, horizon, task)
        if own is None:
            return _refusal(variant, variant.schedule_label, str(error), None)
        blamed = culprit(setting.arguments, lambda kept: _own_refusal(setting, kept, horizon, task) is None)
        return _refusal(variant, variant.optimizer_label, own, blamed)
    return None


def _own_refusal(
    setting: Setting, arguments: Mapping[str, Any], horizon: Horizon, task: TaskClass
) -> str | None:
    """What the optimizer says to these arguments without any schedule; None where it takes them."""
    alone = Setting(optimizer=setting.optimizer, arguments=arguments)
    try:
        construct(alone, horizon, dummy_groups(alone), task.functions, task.optimizers)
    except ScheduleRefused as error:
        return str(error)
    return None


def _step_over_horizon(setting: Setting, horizon: Horizon, task: TaskClass) -> None:
    path = schedule_path(setting, horizon, task.functions, task.optimizers)
    if not takes_metric(setting.schedule):
        return  # its table has been written down over the whole horizon
    watched = setting.schedule.watch or "val_loss"
    for epoch in range(1, horizon.epochs + 1):
        path.rates(epoch)
        path.observe({watched: 1.0})


def _refusal(variant: Variant, label: str, reason: str, culprit: str | None) -> Refusal:
    """Blame the argument that PyTorch's sentence names, else the culprit or moved one, else the class."""
    setting, moved = variant.setting, variant.moved or ""
    of_schedule = label == variant.schedule_label
    arguments = setting.schedule.arguments if of_schedule else setting.arguments
    named = [name for name in arguments if re.search(rf"\b{re.escape(name)}\b", reason)]
    if named:
        argument: str | None = max(named, key=len)
    elif moved.startswith(f"{label}."):
        argument = moved.removeprefix(f"{label}.").split(".")[0].split("[")[0]
    else:
        argument = culprit
    if argument is None:
        return Refusal(
            label=label, argument=None, got=f"{setting.schedule.name} with {setting.optimizer}", reason=reason
        )
    return Refusal(label=label, argument=argument, got=str(arguments[argument]), reason=reason)
