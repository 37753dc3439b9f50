"""The measured part of an execution plan: width, convolutions, and whether stacking pays at all."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from search_spaces.settings import Setting
from search_spaces.space import SearchSpace
from sweeps.execution_choice import Share, best_width, choose, told_of_width
from sweeps.speed_memory import SpeedMemory
from workers.population import MINIMUM_WIDTH
from workers.speed import SpeedQuestion, Speeds
from workers.speed_benches import numbers_moved
from workers.variants import variants_of

MAXIMUM_WIDTH = 128
MOST_COMPARED = 20  # settings of other sizes
FORMAT = 1  # of what is remembered; another number forgets it

_OF_THE_TASK = (Exception, SystemExit)  # what a task's own code may raise, and will in training too

Plan = dict[str, Any]
Ask = Callable[[SpeedQuestion], Speeds | None]
"""Has the speeds measured where trials will train. Raises what the task raises."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sharing:
    """What a sweep would be shared out to, either way."""

    stacked: Share
    solo: Share


def measured_plan(
    plan: Plan,
    space: SearchSpace,
    *,
    task_file: Mapping[str, str],
    sharing: Sharing,
    memory: SpeedMemory,
    ask: Ask,
    said: Callable[[str], None],
) -> Plan:
    """``plan`` with what was measured for it, now or before; as it is where there is nothing to choose.

    ``task_file``: digests of a user's own files by path. Where the task fails, that is left to training,
    where its trials say so.
    """
    if plan["execution"] != "stacked":
        return plan
    pinned = space.execution == "stacked"
    try:
        setting = _heaviest(space)
    except _OF_THE_TASK:
        return plan
    key = _key(plan, space, setting, task_file, pinned=pinned)
    known = memory.recall(key)
    most = min(MAXIMUM_WIDTH, sharing.stacked.rows)
    question = SpeedQuestion(
        task=space.task,
        setting=setting,
        device=plan["device"],
        precision=plan["precision"],
        most=most,
        workers=sharing.stacked.workers,
        trial_epochs=space.trials * len(space.seeds) * space.epochs,
        pinned=pinned,
        known=known,
    )
    try:
        asked = None if known is not None and known.covers(most) else ask(question)
    except _OF_THE_TASK:
        asked = None
    if asked is not None:
        memory.remember(key, asked)
    speeds = asked or known
    if speeds is None:
        return plan
    found = _with_speeds(plan, speeds, sharing)
    said(told_of_width(found, speeds, remembered=asked is None))
    return found


def width_of(plan: Mapping[str, Any], rows: int, threads: int) -> int:
    """Rows that a worker trains at once where ``rows`` are open: by the plan's own speeds if it has any.

    Never below what leaves a row's bits its own.
    """
    least = least_width(plan, threads)
    if "speeds" not in plan:
        return max(least, min(MAXIMUM_WIDTH, rows))
    stacked = {int(width): float(speed) for width, speed in plan["speeds"].items()}
    return best_width(stacked, rows, least)


def least_width(plan: Mapping[str, Any], threads: int) -> int:
    """Batched products of fewer rows take another path, and so do convolutions that threads share."""
    return MINIMUM_WIDTH if plan["device"] == "cuda" else max(MINIMUM_WIDTH, 2 * threads)


def _with_speeds(plan: Plan, speeds: Speeds, sharing: Sharing) -> Plan:
    choice = choose(speeds, stacked=sharing.stacked, solo=sharing.solo, least=least_width(plan, 1))
    found = {
        **plan,
        "execution": choice.execution,
        "convolutions": speeds.convolutions,
        "width": choice.width,
        "speeds": {str(width): round(speed, 1) for width, speed in speeds.stacked.items()},
    }
    if speeds.solo is not None:
        found["solo_speed"] = round(speeds.solo, 1)
    if choice.why_solo is not None:
        found["why_solo"] = choice.why_solo
    return found


def _heaviest(space: SearchSpace) -> Setting:
    """The setting whose updates take longest, of the first optimizer: there time is won or lost."""
    sizes: dict[str, Setting] = {}
    first: str | None = None
    for variant in variants_of(space):
        first = first or variant.optimizer_label + variant.schedule_label
        if variant.optimizer_label + variant.schedule_label != first:
            break  # sizes do not depend on these
        setting = variant.setting
        sizes.setdefault(repr((sorted(setting.task_arguments.items()), setting.batch_size)), setting)
    tried = list(itertools.islice(sizes.values(), MOST_COMPARED))
    return tried[0] if len(tried) == 1 else max(tried, key=lambda one: numbers_moved(space.task, one))


def _key(
    plan: Plan, space: SearchSpace, setting: Setting, task_file: Mapping[str, str], *, pinned: bool
) -> dict[str, Any]:
    """What speeds depend on."""
    import torch

    device = plan["device"]
    return {
        "format": FORMAT,
        "task": space.task,
        "task_file": dict(task_file),
        "task_arguments": sorted(setting.task_arguments.items()),
        "batch_size": setting.batch_size,
        "optimizer": setting.optimizer,
        "two_groups": setting.two_groups,
        "clipped": setting.clip_grad_norm is not None,
        "device": torch.cuda.get_device_name() if device == "cuda" and torch.cuda.is_available() else device,
        "precision": plan["precision"],
        "torch": plan["torch"],
        "processor": plan["processor"],
        "products": plan["products"],
        "threads": 1,
        "pinned": pinned,
    }
