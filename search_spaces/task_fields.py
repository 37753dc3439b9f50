"""The fields of a sweep file that say what is learned: the task, its arguments, and what it measures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from search_spaces.catalogue import Catalogue, TaskEntry
from search_spaces.errors import Findings, nearest, one_of, shorten
from search_spaces.fields import Scope, read_range, refuse_unknown, shown, table, wanted_of
from search_spaces.nodes import Entry, Scalar, Table
from search_spaces.parts import read_batch_size
from search_spaces.ranges import Choice, Fixed, Range
from search_spaces.task_code import NOT_FROM_HERE, TaskCode, TaskRefused, names_a_file


def _read_task(
    root: Table, catalogue: Catalogue, code: TaskCode | None, findings: Findings
) -> tuple[TaskEntry | None, Catalogue]:
    """The task by its registered name or its file, and the catalogue with the task's own optimizers."""
    entry = root.find("task")
    if entry is None:
        return None, catalogue
    value = entry.node.value if isinstance(entry.node, Scalar) else None
    known = tuple(catalogue.tasks)
    if not isinstance(value, str):
        findings.problem(entry.line, "task", f"got {shown(entry.node)}", one_of(known))
    elif value in known:
        return catalogue.tasks[value], catalogue
    elif names_a_file(value):
        return _task_of_file(value, entry, catalogue, code, findings)
    else:
        got = f"'{shorten(value)}' is not a registered task"
        wanted = one_of(known) if code is None else f"{one_of(known)}, or path/to/file.py:Name"
        findings.problem(entry.line, "task", got, wanted, nearest(value, known))
    return None, catalogue


def _task_of_file(
    value: str, entry: Entry, catalogue: Catalogue, code: TaskCode | None, findings: Findings
) -> tuple[TaskEntry | None, Catalogue]:
    if code is None:
        got = f"'{shorten(value)}' is not a registered task"
        findings.problem(entry.line, "task", got, one_of(catalogue.tasks), NOT_FROM_HERE)
        return None, catalogue
    try:
        reference, own = code.catalogue(value)
    except TaskRefused as error:
        findings.problem(entry.line, "task", error.got, error.wanted, error.hint)
        return None, catalogue
    return own.tasks[reference], own


def _read_task_arguments(
    root: Table, task: TaskEntry | None, code: TaskCode | None, scope: Scope
) -> dict[str, Range]:
    """A range for each of the task's arguments that the file names; with ``code``, paths are absolute."""
    entry, findings = root.find("task_args"), scope.findings
    given = Table(line=root.line, entries=())
    if entry is not None:
        given = table(entry.node, "task_args", "{argument: value}", findings) or given
    if task is None:
        return {}
    findings.lines.update({f"task_args.{shorten(item.key)}": item.line for item in given.entries})
    refuse_unknown(given.entries, "task_args", "argument", tuple(task.arguments), findings)
    for argument in task.arguments.values():
        if argument.required and given.find(argument.name) is None:
            line = root.line if entry is None else entry.line
            findings.problem(line, f"task_args.{argument.name}", "missing", wanted_of(argument, scope))
    ranges: dict[str, Range] = {}
    for item in given.entries:
        if item.key not in task.arguments:
            continue
        range_ = read_range(item.node, f"task_args.{item.key}", task.arguments[item.key], scope)
        if range_ is None:
            continue
        if code is not None and item.key in task.paths:
            range_ = _absolute(range_, item, code, findings)
        ranges[item.key] = range_
    return ranges


def _absolute(range_: Range, item: Entry, code: TaskCode, findings: Findings) -> Range:
    """The range with every path in it absolute."""
    if isinstance(range_, Choice):
        return Choice(options=tuple(_absolute(option, item, code, findings) for option in range_.options))
    if not isinstance(range_, Fixed) or not isinstance(range_.value, str):
        return range_
    try:
        return Fixed(value=code.absolute(range_.value))
    except TaskRefused as error:
        findings.problem(item.line, f"task_args.{item.key}", error.got, error.wanted, error.hint)
        return range_


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskFields:
    """What the file says of its task."""

    entry: TaskEntry | None  # None where it names none that there is
    catalogue: Catalogue  # with the task's own optimizers
    arguments: Mapping[str, Range]
    batch_size: Range
    metrics: tuple[str, ...] | None  # that the file may name; None where they are not known


def read_task_fields(
    root: Table, catalogue: Catalogue, code: TaskCode | None, findings: Findings, *, grid: bool
) -> TaskFields:
    """The task, its arguments and the batch size; a task from a file is then tried."""
    entry, catalogue = _read_task(root, catalogue, code, findings)
    functions = None if entry is None else entry.functions
    scope = Scope(findings=findings, metrics=None, functions=functions, grid=grid)
    arguments = _read_task_arguments(root, entry, code, scope)
    batch_size = read_batch_size(root, scope)
    return TaskFields(
        entry=entry,
        catalogue=catalogue,
        arguments=arguments,
        batch_size=batch_size,
        metrics=_metrics_of(entry, arguments, batch_size, code, findings),
    )


def _metrics_of(
    task: TaskEntry | None,
    arguments: Mapping[str, Range],
    batch_size: Range,
    code: TaskCode | None,
    findings: Findings,
) -> tuple[str, ...] | None:
    """The metrics that the file may name; None where they are not known.

    A task from a file is tried for them, unless what the file says of the task is wrong already.
    """
    if task is None:
        return None
    if task.metrics:
        return ("train_loss", *task.metrics)
    if code is None or any(_is_about_the_task(problem.field) for problem in findings.problems):
        return None
    tried = code.tried(task, arguments, batch_size)
    for problem in tried.problems:
        field = problem.label if problem.argument is None else f"{problem.label}.{problem.argument}"
        line = findings.lines.get(field, findings.lines.get(problem.label, findings.lines["task"]))
        findings.problem(line, field, problem.got, problem.wanted, problem.hint)
    return ("train_loss", *tried.metrics) if tried.metrics else None


def _is_about_the_task(field: str) -> bool:
    return field.partition(".")[0].partition("[")[0] in ("task", "task_args", "batch_size")
