"""The fields that say when a sweep ends: ``budget`` and ``terminator``.

Each function reads one field, reports what is wrong with it and returns a stand-in there.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from search_spaces.confirming import Confirm
from search_spaces.errors import Findings, counted, nearest, one_of, shorten
from search_spaces.fields import LARGEST_WHOLE, refuse_unknown, shown, table, whole, word
from search_spaces.limits import ARGUMENTS, BUDGETS, Limits, Terminator
from search_spaces.nodes import Entry, Node, Scalar, Table
from search_spaces.ranges import Choice, Fixed, Range, Tuple
from search_spaces.space import ScheduleSpace, SearchSpace

TERMINATORS = {
    "none": Terminator(),
    "no_improvement": Terminator(name="no_improvement", settings=50, by=0.01),
    "optuna": Terminator(name="optuna", settings=20, by=0.1, every=10),
}
"""By name, each with its defaults."""

_MOST = 1_000_000
_FEWEST_FOR_OPTUNA = 20  # what Optuna's own evaluator asks for
_HINTS = {
    "trials": "trials stands beside budget, not in it",
    "wall": "did you mean 'wall_seconds'?",
    "hours": "did you mean 'device_hours'?",
}


def read_budget(
    root: Table, epochs: int | None, seeds: int, confirm: Confirm | None, findings: Findings
) -> Limits:
    """What the sweep may use: at least what one setting and confirming take."""
    entry = root.find("budget")
    if entry is None:
        return Limits()
    given = table(entry.node, "budget", f"{{{': ..., '.join(BUDGETS)}: ...}}", findings)
    if given is None:
        return Limits()
    for field in given.entries:
        findings.lines[f"budget.{shorten(field.key)}"] = field.line
        if field.key not in BUDGETS:
            hint = _HINTS.get(field.key) or nearest(field.key, BUDGETS)
            got = f"unknown field '{shorten(field.key)}'"
            findings.problem(field.line, f"budget.{shorten(field.key)}", got, one_of(BUDGETS), hint)
    wall, device = given.find("wall_seconds"), given.find("device_hours")
    return Limits(
        epochs=_epochs(given.find("epochs"), epochs, seeds, confirm, findings),
        wall_seconds=None if wall is None else _above_zero(wall, "budget", "seconds", findings),
        device_hours=None if device is None else _above_zero(device, "budget", "hours", findings),
    )


def read_terminator(root: Table, findings: Findings) -> Terminator:
    """A terminator's name, or ``{name: arguments}``."""
    entry = root.find("terminator")
    if entry is None:
        return Terminator()
    name: Node = entry.node
    given = Table(line=entry.line, entries=())
    if isinstance(name, Table) and len(name.entries) == 1:
        only = name.entries[0]
        name = Scalar(line=only.line, text=only.key, value=only.key)
        given = table(only.node, f"terminator.{shorten(only.key)}", "{argument: value}", findings) or given
    chosen = word(name, "terminator", tuple(TERMINATORS), findings)
    if chosen is None:
        return Terminator()
    field, found = f"terminator.{chosen}", TERMINATORS[chosen]
    findings.lines.update({f"{field}.{shorten(one.key)}": one.line for one in given.entries})
    refuse_unknown(given.entries, field, "argument", ARGUMENTS[chosen], findings)
    if chosen == "none":
        return found
    settings, by, every = given.find("settings"), given.find("by"), given.find("every")
    fewest = _FEWEST_FOR_OPTUNA if chosen == "optuna" else 1
    return Terminator(
        name=chosen,
        settings=_count(settings, f"{field}.settings", fewest, found.settings, findings),
        by=found.by if by is None else _share(by, f"{field}.by", findings) or 0.0,
        every=_count(every, f"{field}.every", 1, found.every, findings),
    )


def check_terminator(space: SearchSpace, line: int | None, findings: Findings) -> list[str]:
    """Report where Optuna's terminator cannot work for the space; returns what is to be said where it can.

    It fits one model to the ranges that all settings have, and takes everything else for noise.
    """
    if space.terminator.name != "optuna":
        return []
    seen = set(_seen_by_all(space))
    if not seen:
        got = "got 'optuna', which compares settings by the ranges that all of them have, and there is none"
        hint = "ranges within one of several optimizers or schedules are not in every setting"
        findings.problem(line, "terminator", got, "no_improvement or none for this space", hint)
        return []
    unseen = [name for name in dict.fromkeys(_all_ranges(space)) if name not in seen]
    if not unseen:
        return []
    return [
        f"terminator optuna sees {', '.join(sorted(seen))} only, which all settings have; what "
        f"{', '.join(unseen)} change{'s' if len(unseen) == 1 else ''} is noise to it"
    ]


def _epochs(
    entry: Entry | None, epochs: int | None, seeds: int, confirm: Confirm | None, findings: Findings
) -> int | None:
    if entry is None:
        return None
    value = whole(entry.node, "budget.epochs", (1, LARGEST_WHOLE), findings)
    trials = seeds + (0 if confirm is None else confirm.top * confirm.seeds)
    if value is not None and epochs is not None and value < epochs * trials:
        told = f"{counted(epochs, 'epoch')} x {counted(seeds, 'seed')}"
        told += "" if confirm is None else f", and {confirm.top} x {confirm.seeds} trials to confirm"
        wanted = f"at least the {epochs * trials} of one setting ({told})"
        findings.problem(entry.line, "budget.epochs", f"got {value}", wanted)
    return value


def _above_zero(entry: Entry, section: str, unit: str, findings: Findings) -> float | None:
    field = f"{section}.{entry.key}"
    value = entry.node.value if isinstance(entry.node, Scalar) else None
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf:
        return float(value)
    findings.problem(entry.line, field, f"got {shown(entry.node)}", f"a number of {unit} above 0")
    return None


def _count(entry: Entry | None, field: str, fewest: int, default: int, findings: Findings) -> int:
    return default if entry is None else whole(entry.node, field, (fewest, _MOST), findings) or default


def _share(entry: Entry, field: str, findings: Findings) -> float | None:
    value = entry.node.value if isinstance(entry.node, Scalar) else None
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1:
        return float(value)
    wanted = "a share of the best value, from 0 to below 1, such as 0.01"
    findings.problem(entry.line, field, f"got {shown(entry.node)}", wanted)
    return None


def _seen_by_all(space: SearchSpace) -> Iterator[str]:
    """The ranges that every setting has, by the argument's name."""
    yield from _ranges_of(space.batch_size, "batch_size", nested=False)
    yield from _ranges_of(space.clip_grad_norm, "clip_grad_norm", nested=False)
    for name, range_ in space.task_arguments.items():
        yield from _ranges_of(range_, f"task.{name}", nested=False)
    if len(space.optimizers) == 1:
        set_by_schedules = {name for schedule in space.schedules for name in _may_suppress(schedule)}
        for name, range_ in space.optimizers[0].arguments.items():
            if name not in set_by_schedules and not (name == "betas" and "momentum" in set_by_schedules):
                yield from _ranges_of(range_, name, nested=False)
    if len(space.schedules) == 1:
        yield from _of_schedule(space.schedules[0], nested=False)


def _all_ranges(space: SearchSpace) -> Iterator[str]:
    for optimizer in space.optimizers:
        for name, range_ in optimizer.arguments.items():
            yield from _ranges_of(range_, name, nested=True)
    for schedule in space.schedules:
        yield from _of_schedule(schedule, nested=True)


def _of_schedule(schedule: ScheduleSpace, *, nested: bool) -> Iterator[str]:
    for name, range_ in schedule.arguments.items():
        if isinstance(range_, tuple):
            for part in range_:
                yield from _of_schedule(part, nested=nested)
        else:
            yield from _ranges_of(range_, f"schedule.{name}", nested=nested)


def _ranges_of(range_: Range, name: str, *, nested: bool) -> Iterator[str]:
    """The name, where anything is open; what a choice's options leave open only where ``nested``."""
    if isinstance(range_, Fixed):
        return
    if isinstance(range_, Tuple):
        for item in range_.items:
            yield from _ranges_of(item, name, nested=nested)
        return
    yield name
    if nested and isinstance(range_, Choice):
        for option in range_.options:
            yield from _ranges_of(option, f"{name} (of one option)", nested=True)


def _may_suppress(schedule: ScheduleSpace) -> Iterator[str]:
    yield from (rule.setting for rule in schedule.suppresses)
    for value in schedule.arguments.values():
        if isinstance(value, tuple):
            for part in value:
                yield from _may_suppress(part)
