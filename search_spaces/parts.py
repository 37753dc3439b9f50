"""The top-level fields of a sweep file that have a shape of their own.

Each function reads one field, reports what is wrong with it and returns a stand-in there.
"""

from __future__ import annotations

from search_spaces.catalogue import Argument, Kind
from search_spaces.errors import Findings, one_of, shorten
from search_spaces.fields import (
    LARGEST_WHOLE,
    Scope,
    plain_value,
    read_range,
    refuse_unknown,
    shown,
    table,
    whole,
    word,
)
from search_spaces.nodes import Entry, Listing, Node, Scalar, Table
from search_spaces.ranges import Fixed, Range, Value, ends
from search_spaces.space import Metric, Pruner

PRUNERS = ("none", "asha", "hyperband", "median", "decay_fair")
LONGEST_NAME = 100
MOST_SEEDS = 1000
WANTED_METRIC = "{name: NAME, goal: minimize} or maximize"

_CLIP_GRAD_NORM = Argument(name="clip_grad_norm", kinds=(Kind.number,))
_BATCH_SIZE = Argument(name="batch_size", kinds=(Kind.integer,), required=True)


def read_name(root: Table, stem: str, findings: Findings) -> str:
    """The sweep's name: the file's ``stem`` where it has none."""
    entry = root.find("name")
    if entry is None:
        _check_name(stem, None, "the file's name is taken where it has no 'name'", findings)
        return stem
    value = entry.node.value if isinstance(entry.node, Scalar) else None
    if isinstance(value, str):
        _check_name(value, entry.line, "", findings)
        return value
    hint = "text that looks like something else is put in quotes" if isinstance(entry.node, Scalar) else ""
    if isinstance(value, int) and not isinstance(value, bool):
        hint = "a number could be mistaken for an id"
    findings.problem(entry.line, "name", f"got {shown(entry.node)}", "a name", hint)
    return stem


def _check_name(name: str, line: int | None, hint: str, findings: Findings) -> None:
    got = f"got '{shorten(name)}'"
    if not name.strip() or len(name) > LONGEST_NAME or not name.isprintable():
        findings.problem(line, "name", got, f"1 to {LONGEST_NAME} printable characters", hint)
    elif name.isdigit():
        findings.problem(line, "name", got, "a name that cannot be mistaken for an id: not all digits", hint)


def read_metric(root: Table, scope: Scope) -> Metric:
    """Name and goal; the name is one that the task measures, or any where that is not known."""
    entry, findings = root.find("metric"), scope.findings
    found = Metric(name="val_loss", goal="minimize")
    if entry is None:
        return found
    given = entry.node
    if not isinstance(given, Table):
        findings.problem(entry.line, "metric", f"got {shown(given)}", WANTED_METRIC)
        return found
    _note_lines("metric", given, findings)
    refuse_unknown(given.entries, "metric", "field", ("name", "goal"), findings)
    name, goal = given.find("name"), given.find("goal")
    if name is None:
        wanted = one_of(scope.metrics) if scope.metrics else "the name of a metric"
        findings.problem(entry.line, "metric.name", "missing", wanted)
    else:
        chosen = word(name.node, "metric.name", scope.metrics, findings) or found.name
        found = Metric(name=chosen, goal=found.goal)
    if goal is None:
        findings.problem(entry.line, "metric.goal", "missing", "minimize or maximize")
        return found
    chosen = word(goal.node, "metric.goal", ("minimize", "maximize"), findings) or found.goal
    return Metric(name=found.name, goal=chosen)


def read_batch_size(root: Table, scope: Scope) -> Range:
    """Whole numbers of at least 1."""
    entry = root.find("batch_size")
    range_ = None if entry is None else read_range(entry.node, "batch_size", _BATCH_SIZE, scope)
    if entry is None or range_ is None:
        return Fixed(value=32)
    if any(isinstance(value, int) and value < 1 for value in ends(range_)):
        scope.findings.problem(entry.line, "batch_size", f"got {shown(entry.node)}", "at least 1")
    return range_


def read_clip_grad_norm(root: Table, scope: Scope) -> Range:
    """A norm above 0, or null for none."""
    entry = root.find("clip_grad_norm")
    range_ = None if entry is None else read_range(entry.node, "clip_grad_norm", _CLIP_GRAD_NORM, scope)
    if entry is None or range_ is None:
        return Fixed(value=None)
    if any(isinstance(value, int | float) and value <= 0 for value in ends(range_)):
        wanted = "a norm above 0, or null for no clipping"
        scope.findings.problem(entry.line, "clip_grad_norm", f"got {shown(entry.node)}", wanted)
    return range_


def read_warmup(root: Table, epochs: int | None, findings: Findings) -> int:
    """Epochs of warm-up: fewer than ``epochs``, which is None where the file has it wrong."""
    entry = root.find("warmup")
    if entry is None or (isinstance(entry.node, Scalar) and entry.node.value is None):
        return 0
    given = table(entry.node, "warmup", "{epochs: n}", findings)
    if given is None:
        return 0
    _note_lines("warmup", given, findings)
    refuse_unknown(given.entries, "warmup", "field", ("epochs",), findings)
    field = given.find("epochs")
    if field is None:
        findings.problem(entry.line, "warmup.epochs", "missing", "a whole number of epochs")
        return 0
    value = whole(field.node, "warmup.epochs", (0, LARGEST_WHOLE), findings) or 0
    if epochs is not None and value >= epochs:
        wanted = f"fewer than the {epochs} epochs of training"
        hint = "nothing would be left of the schedule"
        findings.problem(field.line, "warmup.epochs", f"got {value}", wanted, hint)
    return value


def read_seeds(root: Table, findings: Findings) -> tuple[int, ...]:
    """The training's seeds: a plain list, not a choice."""
    entry = root.find("seeds")
    if entry is None:
        return (0,)
    node, wanted = entry.node, f"a list of 1 to {MOST_SEEDS} distinct whole numbers of at least 0"
    if not isinstance(node, Listing) or not 1 <= len(node.items) <= MOST_SEEDS:
        findings.problem(entry.line, "seeds", f"got {shown(node)}", wanted)
        return (0,)
    seeds: list[int] = []
    for index, item in enumerate(node.items):
        seed = whole(item, f"seeds[{index}]", (0, LARGEST_WHOLE), findings)
        if seed is not None and seed in seeds:
            findings.problem(item.line, f"seeds[{index}]", f"got {seed} again", wanted)
        elif seed is not None:
            seeds.append(seed)
    return tuple(seeds)


def read_pruner(root: Table, findings: Findings) -> Pruner:
    """A pruner's name, or ``{name: arguments}``; its arguments are judged where it is made."""
    entry = root.find("pruner")
    if entry is None:
        return Pruner()
    name: Node = entry.node
    given = Table(line=entry.line, entries=())
    if isinstance(name, Table) and len(name.entries) == 1:
        only = name.entries[0]
        name = Scalar(line=only.line, text=only.key, value=only.key)
        field = f"pruner.{shorten(only.key)}"
        given = table(only.node, field, "{argument: value}", findings) or given
        _note_lines(field, given, findings)
    chosen = word(name, "pruner", PRUNERS, findings)
    if chosen is None:
        return Pruner()
    if chosen == "none" and given.entries:
        findings.problem(entry.line, "pruner.none", f"got {shown(given)}", "no arguments")
    return Pruner(name=chosen, arguments=_plain_arguments(f"pruner.{chosen}", given.entries, findings))


def _plain_arguments(field: str, entries: tuple[Entry, ...], findings: Findings) -> dict[str, Value]:
    values = {
        entry.key: plain_value(entry.node, f"{field}.{shorten(entry.key)}", findings) for entry in entries
    }
    return {name: fixed.value for name, fixed in values.items() if fixed is not None}


def _note_lines(prefix: str, given: Table, findings: Findings) -> None:
    findings.lines.update({f"{prefix}.{shorten(entry.key)}": entry.line for entry in given.entries})
