"""Rehearsal: every optimizer x schedule pair of a space, constructed and stepped before anything starts.

Each pair is tried with every argument at its first end, then each argument, and each two, at other ends.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from search_spaces.ranges import Choice, Numeric, Value
from search_spaces.ranges import ends as ends_of
from search_spaces.settings import Setting
from search_spaces.space import SearchSpace
from workers.optimization import Horizon, ScheduleRefused, construct, takes_metric
from workers.schedule_table import schedule_path
from workers.tasks.registry import make_task, task_class
from workers.tasks.task import Task
from workers.torch_catalogue import torch_catalogue

MOST_PAIRS = 500  # of an optimizer with a schedule


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Something of the search space that PyTorch or the task refuses."""

    label: str  # of the optimizer or schedule; "task_args", "batch_size", "device" or "execution"
    argument: str | None  # of it, where one was varied
    got: str
    reason: str


@dataclass(frozen=True, slots=True)
class _Variant:
    """A setting to try, and which named range was moved away from its first end."""

    setting: Setting
    moved: str | None
    value: Value
    optimizer_label: str
    schedule_label: str


def rehearse(space: SearchSpace) -> tuple[Refusal, ...]:
    """Everything that PyTorch or the task refuses; empty where the space can be trained.

    Each reason is given once for an optimizer, schedule or argument, with the first value refused.
    """
    refusals = {(refusal.label, refusal.reason): refusal for refusal in _execution(space)}
    tried: set[str] = set()
    for variant in _variants(space):
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
    entries = torch_catalogue().optimizers
    for optimizer in space.optimizers:
        if not entries[optimizer.name].stacked:
            stacked = ", ".join(name for name, entry in entries.items() if entry.stacked)
            yield Refusal(
                label="execution",
                argument=None,
                got="stacked",
                reason=f"{optimizer.name} trains solo only; {stacked} are stacked",
            )


def _variants(space: SearchSpace) -> Iterator[_Variant]:
    for optimizer in range(len(space.optimizers)):
        for schedule in range(len(space.schedules)):
            picked: dict[str, Value] = {"optimizer": optimizer, "schedule": schedule}
            yield from _moved_one_at_a_time(space, picked)


def _moved_one_at_a_time(space: SearchSpace, picked: dict[str, Value]) -> Iterator[_Variant]:
    asked: dict[str, Numeric | Choice] = {}

    def draw(moves: dict[str, Value]) -> Setting:
        def choose(name: str, range_: Numeric | Choice) -> Value:
            asked.setdefault(name, range_)
            if name in moves:
                return moves[name]
            return 0 if isinstance(range_, Choice) else ends_of(range_)[0]

        return space.draw(choose)

    labels = (
        space.optimizers[int(str(picked["optimizer"]))].label,
        space.schedules[int(str(picked["schedule"]))].label,
    )
    yield _Variant(draw(picked), None, None, *labels)
    done: set[str] = {"optimizer", "schedule"}
    while pending := [name for name in asked if name not in done]:
        for name in pending:
            done.add(name)
            for value in _values(asked[name])[1:]:
                yield _Variant(draw({**picked, name: value}), name, value, *labels)
    names = [name for name in asked if name not in ("optimizer", "schedule")]
    for together in itertools.islice(_pairs(names, asked), MOST_PAIRS):
        yield _Variant(draw({**picked, **together}), *list(together.items())[-1], *labels)


def _pairs(names: Sequence[str], asked: Mapping[str, Numeric | Choice]) -> Iterator[dict[str, Value]]:
    """Two names at a time away from their first ends: what is refused only in combination."""
    for one, other in itertools.combinations(names, 2):
        for values in itertools.product(_values(asked[one])[1:], _values(asked[other])[1:]):
            yield dict(zip((one, other), values, strict=True))


def _values(range_: Numeric | Choice) -> tuple[Value, ...]:
    return tuple(range(len(range_.options))) if isinstance(range_, Choice) else ends_of(range_)


def _try(variant: _Variant, space: SearchSpace) -> Refusal | None:
    setting = variant.setting
    task, refusal = _task(variant, space)
    if task is None:
        return refusal
    data = task.data()
    updates = data.updates_per_epoch(setting.batch_size)
    if updates == 0:
        return Refusal(
            label="batch_size",
            argument=None,
            got=str(setting.batch_size),
            reason=f"the task has {len(data.train_inputs)} training examples: not one whole batch",
        )
    horizon = Horizon(epochs=space.epochs, updates_per_epoch=updates, warmup_epochs=setting.warmup_epochs)
    functions = task_class(space.task).functions
    try:
        _step_over_horizon(setting, horizon, space.task)
    except ScheduleRefused as error:
        alone = Setting(optimizer=setting.optimizer, arguments=setting.arguments)
        try:
            construct(alone, horizon, [nn.Parameter(torch.zeros(1))], functions)
        except ScheduleRefused as own:
            culprit = _culprit(setting.arguments, lambda kept: _constructs(setting, kept, horizon))
            return _refusal(variant, variant.optimizer_label, str(own), culprit)
        return _refusal(variant, variant.schedule_label, str(error), None)
    return None


def _culprit(arguments: Mapping[str, Any], accepts: Callable[[dict[str, Any]], bool]) -> str | None:
    """The one argument without which the rest is accepted, if there is one."""
    return next(
        (
            name
            for name in arguments
            if accepts({other: value for other, value in arguments.items() if other != name})
        ),
        None,
    )


def _constructs(setting: Setting, arguments: dict[str, Any], horizon: Horizon) -> bool:
    alone = Setting(optimizer=setting.optimizer, arguments=arguments)
    try:
        construct(alone, horizon, [nn.Parameter(torch.zeros(1))])
    except ScheduleRefused:
        return False
    return True


def _step_over_horizon(setting: Setting, horizon: Horizon, task_name: str) -> None:
    path = schedule_path(setting, horizon, task_class(task_name).functions)
    if not takes_metric(setting.schedule):
        return  # its table has been written down over the whole horizon
    watched = setting.schedule.watch or "val_loss"
    for epoch in range(1, horizon.epochs + 1):
        path.rates(epoch)
        path.observe({watched: 1.0})


def _task(variant: _Variant, space: SearchSpace) -> tuple[Task | None, Refusal | None]:
    given = dict(variant.setting.task_arguments)
    try:
        return make_task(space.task, tuple(sorted(given.items()))), None
    except (TypeError, ValueError) as error:
        name = _culprit(given, lambda kept: _makes(space.task, kept))
        return None, Refusal(
            label="task_args",
            argument=name,
            got=str(given if name is None else given[name]),
            reason=" ".join(str(error).split()),
        )


def _makes(task: str, arguments: dict[str, Any]) -> bool:
    try:
        make_task(task, tuple(sorted(arguments.items())))
    except (TypeError, ValueError):
        return False
    return True


def _refusal(variant: _Variant, label: str, reason: str, culprit: str | None) -> Refusal:
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
