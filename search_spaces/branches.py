"""Branches: schedules that are all tried for each proposal, every value of theirs spelled out."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace

from search_spaces.catalogue import ScheduleEntry
from search_spaces.classes import read_schedules
from search_spaces.errors import Findings, shorten
from search_spaces.fields import Scope
from search_spaces.nodes import Entry
from search_spaces.ranges import Choice, Fixed, Numeric, Range, Tuple, Value, is_fixed
from search_spaces.settings import Schedule
from search_spaces.space import OptimizerSpace, ScheduleSpace, draw_schedule, suppressed_settings

SECTION = "branches"
MOST_BRANCHES = 1000


def read_branches(
    entry: Entry, known: Mapping[str, ScheduleEntry], scope: Scope
) -> tuple[ScheduleSpace, ...] | None:
    """Every schedule that ``branches`` stands for, in the file's order; None where that is a mistake."""
    findings = scope.findings
    before = len(findings.problems)
    listed = read_schedules(entry.node, known, replace(scope, all_tried=True), section=SECTION)
    if listed is None or len(findings.problems) > before:
        return None
    count = sum(_count(space) for space in listed)
    if not 2 <= count <= MOST_BRANCHES:
        got, wanted = f"got {count} branch{'es' if count > 1 else ''}", f"2 to {MOST_BRANCHES}"
        hint = "a single schedule is written schedule: {...}; several values of an argument are a list"
        findings.problem(entry.line, SECTION, got, wanted, hint if count < 2 else "")
        return None
    branches = _labelled(listed, findings)
    _refuse_doubles(branches, known, findings)
    return branches


def note_of_trials(trials: int, branches: int) -> str | None:
    """What to say where ``trials`` end within a proposal's branches; None where they do not."""
    rest = trials % branches
    if not rest:
        return None
    got = f"trials: {trials} is no multiple of the {branches} branches"
    return f"{got}; the last proposal gets only {rest} of them"


def note_of_repeats(branches: tuple[ScheduleSpace, ...], optimizers: tuple[OptimizerSpace, ...]) -> list[str]:
    """What to say of branches that set a number themselves which the proposals vary."""
    notes = []
    for branch in branches:
        numbers = {
            name
            for optimizer in optimizers
            for name in suppressed_settings(branch, fixed_schedule(branch))
            if name in optimizer.arguments and not is_fixed(optimizer.arguments[name])
        }
        if numbers:
            notes.append(
                f"branches.{branch.label} sets {' and '.join(sorted(numbers))} itself: "
                "it differs from proposal to proposal in the other settings only"
            )
    return notes


def asking_order(branches: tuple[ScheduleSpace, ...]) -> tuple[int, ...]:
    """Positions of the branches as they are tried: the file's order, but for the first.

    The first leaves the most numbers to the proposal, so that it has every number that the others need: what
    schedules set themselves is the learning rate, or that and momentum.
    """
    set_themselves = [len(suppressed_settings(branch, fixed_schedule(branch))) for branch in branches]
    first = set_themselves.index(min(set_themselves))
    return (first, *(position for position in range(len(branches)) if position != first))


def fixed_schedule(branch: ScheduleSpace) -> Schedule:
    """The schedule that a branch is: nothing is left to choose in it."""

    def never(name: str, range_: Numeric | Choice) -> Value:  # noqa: ARG001 - every draw is asked the same way
        raise ValueError(f"the branch {branch.label} leaves {name} open")

    return draw_schedule(branch, branch.label, never)


def _count(space: ScheduleSpace) -> int:
    return math.prod(
        math.prod(_count(part) for part in value) if isinstance(value, tuple) else _size(value)
        for value in space.arguments.values()
    )


def _size(range_: Range) -> int:
    if isinstance(range_, Choice):
        return sum(_size(option) for option in range_.options)
    if isinstance(range_, Tuple):
        return math.prod(_size(item) for item in range_.items)
    points = 1 if isinstance(range_, Fixed) else range_.points or 0
    return points if points > MOST_BRANCHES else len(range_.grid())  # of whole numbers there may be fewer


def _values(range_: Range) -> tuple[Value, ...]:
    if isinstance(range_, Choice):
        return tuple(value for option in range_.options for value in _values(option))
    if isinstance(range_, Tuple):
        return tuple(itertools.product(*(_values(item) for item in range_.items)))
    return range_.grid()


def _expanded(space: ScheduleSpace) -> Iterator[ScheduleSpace]:
    """The space with one value for each argument, in every combination; later arguments vary faster."""
    options: list[list[Range | tuple[ScheduleSpace, ...]]] = []
    for value in space.arguments.values():
        if isinstance(value, tuple):
            options.append([tuple(parts) for parts in itertools.product(*map(_expanded, value))])
        else:
            options.append([Fixed(value=one) for one in _values(value)])
    for picked in itertools.product(*options):
        yield replace(space, arguments=dict(zip(space.arguments, picked, strict=True)))


def _labelled(listed: tuple[ScheduleSpace, ...], findings: Findings) -> tuple[ScheduleSpace, ...]:
    """Every branch with a label of its own, and where it stands in the file by that label."""
    lines = {field: line for field, line in findings.lines.items() if field.startswith(f"{SECTION}.")}
    for field in lines:
        del findings.lines[field]
    seen: Counter[str] = Counter()
    branches = []
    for space in listed:
        own = f"{SECTION}.{space.label}"
        its_lines = {
            field.removeprefix(own): line
            for field, line in lines.items()
            if field == own or field.startswith(f"{own}.")
        }
        for branch in _expanded(space):
            seen[space.name] += 1
            label = space.name if seen[space.name] == 1 else f"{space.name}#{seen[space.name]}"
            findings.lines.update({f"{SECTION}.{label}{rest}": line for rest, line in its_lines.items()})
            branches.append(_relabelled(branch, space.label, label))
    return tuple(branches)


def _relabelled(space: ScheduleSpace, old: str, new: str) -> ScheduleSpace:
    arguments = {
        name: tuple(_relabelled(part, old, new) for part in value) if isinstance(value, tuple) else value
        for name, value in space.arguments.items()
    }
    return replace(space, label=new + space.label.removeprefix(old), arguments=arguments)


def _refuse_doubles(
    branches: tuple[ScheduleSpace, ...], known: Mapping[str, ScheduleEntry], findings: Findings
) -> None:
    first_with: dict[str, ScheduleSpace] = {}
    for branch in branches:
        schedule = fixed_schedule(branch)
        first = first_with.setdefault(repr(_with_defaults(schedule, known)), branch)
        if first is not branch:
            field, other = f"{SECTION}.{branch.label}", f"{SECTION}.{first.label}"
            got = f"got {shorten(_told(schedule))}, the same as {other} on line {findings.lines[other]}"
            findings.problem(findings.lines[field], field, got, "each schedule once")


def _with_defaults(schedule: Schedule, known: Mapping[str, ScheduleEntry]) -> object:
    """Equal for schedules that mean the same: arguments by name, PyTorch's own where none is given."""
    arguments: dict[str, object] = {}
    if schedule.name in known:
        arguments |= {argument.name: argument.default for argument in known[schedule.name].arguments.values()}
    arguments |= schedule.arguments
    if schedule.nested():
        arguments["schedulers"] = [_with_defaults(part, known) for part in schedule.nested()]
    plain = sorted((name, _number(value)) for name, value in arguments.items())
    return schedule.name, plain, schedule.every, schedule.watch


def _number(value: object) -> object:
    """1 and 1.0 are the same to PyTorch."""
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _told(schedule: Schedule) -> str:
    given = (f"{name}={value}" for name, value in schedule.arguments.items() if not schedule.nested())
    return " ".join([schedule.name, *given])
