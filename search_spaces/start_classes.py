"""Start points' classes: which optimizer or schedule of the file a point means, and its values there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from search_spaces.errors import Findings, nearest, one_of, shorten
from search_spaces.fields import plain_value, shown
from search_spaces.nodes import Entry, Listing, Node, Scalar, Table
from search_spaces.ranges import Choice, Effective, Fixed, Integer, Range, Tuple, Value
from search_spaces.space import OptimizerSpace, ScheduleSpace
from search_spaces.start_values import is_effective, placed
from search_spaces.value_text import value_text

Space = OptimizerSpace | ScheduleSpace


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """A value that a point names."""

    line: int
    place: str  # start[0].lr
    node: Node


@dataclass(slots=True, kw_only=True)
class WrittenPoint:
    """A point as it is written, with the mistakes found in it."""

    line: int
    place: str  # start[0]
    findings: Findings
    names: dict[str, Said] = field(default_factory=dict)  # of the optimizer and the schedule
    arguments: dict[str, dict[str, Said]] = field(default_factory=dict)  # of each section, by argument


def take_class(
    section: str,
    spaces: Sequence[Space],
    point: WrittenPoint,
    values: dict[str, Value],
    among: dict[str, tuple[int, ...]],
) -> None:
    """Add to ``values`` which of the file's ``spaces`` the point means and its arguments' places there.

    Of several that fit alike one is left to be drawn, in ``among``. Mistakes are reported.
    """
    pool = _named(section, spaces, point)
    broken = _broken(section, pool, point.findings)
    said = {name: one for name, one in point.arguments.get(section, {}).items() if name not in broken}
    if not pool or not (said or section in point.names):
        return
    matching = [space for space in pool if _has(space, *said)]
    if not matching:
        _tell_unknown(section, pool, said, point)
        return
    of_one_class = len({space.name for space in matching}) == 1
    if len(matching) > 1 and of_one_class:
        matching = [space for space in matching if _placed_all(space, said, None) is not None] or matching[:1]
    if len(matching) > 1 and said:
        _tell_ambiguous(section, matching, said, point)
        return
    positions = tuple(spaces.index(space) for space in matching)
    if len(positions) > 1:
        among[section] = positions
    elif len(spaces) > 1:
        values[section] = positions[0]
    values |= _placed_all(matching[0], said, point.findings) or {}


def _broken(section: str, pool: Sequence[Space], findings: Findings) -> set[str]:
    """Arguments that the file gives a range that is wrong, which is reported already."""
    written = {field: field.rpartition(".") for field in findings.lines}
    labels = {f"{section}.{space.label}" for space in pool}
    names = {name for label, _, name in written.values() if label in labels}
    return {name for name in names if not any(_has(space, name) for space in pool)}


def _named(section: str, spaces: Sequence[Space], point: WrittenPoint) -> list[Space]:
    """Those that the point may mean by its name; all of them where it gives none."""
    said = point.names.get(section)
    if said is None or not spaces:
        return list(spaces)
    assert isinstance(said.node, Scalar)  # noqa: S101 - _take_section has seen to it
    name = str(said.node.value)
    label = name.removesuffix("#1")
    found = [
        space
        for space in spaces
        if name in (space.name, space.label) or (label != name and space.label == label)
    ]
    if not found:
        labels = [space.label for space in spaces]
        got = f"got '{shorten(name)}'"
        point.findings.problem(said.line, said.place, got, one_of(labels), nearest(name, labels))
    return found


def _names(space: Space) -> Mapping[str, Range | tuple[ScheduleSpace, ...]]:
    """What a point may say of an optimizer or schedule."""
    if isinstance(space, OptimizerSpace):
        return space.arguments
    own: dict[str, Range | tuple[ScheduleSpace, ...]] = {"every": Fixed(value=space.every)}
    if space.watch is not None:
        own["watch"] = Fixed(value=space.watch)
    return {**space.arguments, **own}


def _tell_unknown(section: str, pool: Sequence[Space], said: Mapping[str, Said], point: WrittenPoint) -> None:
    """No one of the pool has all that is said."""
    columns = [
        _column(section, name) for name in dict.fromkeys(name for space in pool for name in _names(space))
    ]
    if section == "optimizer":
        columns += ["optimizer", "schedule", "batch_size", "clip_grad_norm"]
    unknown = [name for name in said if not any(_has(space, name) for space in pool)]
    for name in unknown:
        column = _column(section, name)
        got, hint = f"unknown setting '{shorten(column)}'", nearest(column, columns)
        point.findings.problem(said[name].line, said[name].place, got, one_of(columns), hint)
    if unknown:
        return
    first, *others = said
    homes = [space for space in pool if _has(space, first)]
    other = next((name for name in others if not any(_has(space, name) for space in homes)), others[-1])
    its = next(space for space in pool if _has(space, other))
    got = f"got {other} of {its.label} beside {first} of {homes[0].label}"
    point.findings.problem(said[other].line, said[other].place, got, f"settings of one {section}")


def _column(section: str, name: str) -> str:
    return name if section == "optimizer" else f"{section}.{name}"


def _has(space: Space, *names: str) -> bool:
    return all(name in _names(space) for name in names)


def _tell_ambiguous(
    section: str, matching: Sequence[Space], said: Mapping[str, Said], point: WrittenPoint
) -> None:
    name, first = next(iter(said.items()))
    column = _column(section, name)
    labels = [space.label for space in matching]
    if len({space.name for space in matching}) == 1:
        labels = [label if "#" in label else f"{label}#1" for label in labels]
    got = f"got {column}, which may be that of {' or '.join(labels)}"
    wanted = " or ".join(f"{section}: {label}" for label in labels)
    point.findings.problem(first.line, first.place, got, f"{wanted} beside it")


def _placed_all(space: Space, said: Mapping[str, Said], findings: Findings | None) -> dict[str, Value] | None:
    """Where the values stand in the ranges; None where one does not, which is told where ``findings`` are."""
    found: dict[str, Value] = {}
    fits = True
    momentum = _momentum(space, said) if isinstance(space, OptimizerSpace) else None
    for name, one in said.items():
        range_ = _names(space)[name]
        if isinstance(range_, tuple):
            inner = _placed_parts(range_, space.label, one, findings)
        else:
            inner = placed_value(range_, f"{space.label}.{name}", one, findings, momentum)
        fits = fits and inner is not None
        found |= inner or {}
    return found if fits else None


def _momentum(space: OptimizerSpace, said: Mapping[str, Said]) -> float | None:
    """The momentum that a point has; None where it is left open."""
    range_ = space.arguments.get("momentum", Fixed(value=space.default_momentum))
    node = said["momentum"].node if "momentum" in said else None
    value = node.value if isinstance(node, Scalar) else range_.value if isinstance(range_, Fixed) else None
    return None if isinstance(value, bool) or not isinstance(value, int | float) else float(value)


def placed_value(
    range_: Range, name: str, said: Said, findings: Findings | None, momentum: float | None = None
) -> dict[str, Value] | None:
    """Where a value stands in the range called ``name``; None where it does not, told as above."""
    own = Findings()
    if isinstance(said.node, Table):
        own.problem(said.line, said.place, f"got {shown(said.node)}", told_range(range_))
    elif is_effective(range_) and momentum is None:
        wanted = "momentum beside it, since the file's range is of lr / (1 - momentum)"
        own.problem(said.line, said.place, f"got {shown(said.node)} alone", wanted)
    value = None if own.problems else plain_value(said.node, said.place, own)
    inner = None if value is None else placed(range_, name, value.value, momentum)
    if value is not None and inner is None:
        own.problem(said.line, said.place, f"got {value_text(value.value)}", told_range(range_))
    if findings is not None:
        findings.problems += own.problems
    return inner


def _placed_parts(
    parts: tuple[ScheduleSpace, ...], label: str, said: Said, findings: Findings | None
) -> dict[str, Value] | None:
    """The parts of a SequentialLR or ChainedScheduler, written as in the file with a value for each range."""
    own = Findings() if findings is None else findings
    before = len(own.problems)
    names = [part.name for part in parts]
    wanted = f"a list of {len(parts)}: {', '.join(names)}, as in the file"
    items = said.node.items if isinstance(said.node, Listing) else ()
    found: dict[str, Value] = {}
    if len(items) != len(parts):
        own.problem(said.line, said.place, f"got {shown(said.node)}", wanted)
    for index, (part, item) in enumerate(zip(parts, items, strict=False)):
        inner = f"{said.place}[{index}]"
        name, arguments = _part(item)
        if name != part.name:
            own.problem(item.line, inner, f"got {shown(item)}", f"{part.name}, as in the file")
            continue
        unknown = [entry for entry in arguments if entry.key not in part.arguments]
        for entry in unknown:
            got = f"unknown setting '{shorten(entry.key)}'"
            own.problem(entry.line, f"{inner}.{shorten(entry.key)}", got, one_of(part.arguments))
        of_part = {
            entry.key: Said(line=entry.line, place=f"{inner}.{entry.key}", node=entry.node)
            for entry in arguments
            if entry not in unknown
        }
        found |= _placed_all(replace(part, label=f"{label}.{index}.{part.name}"), of_part, own) or {}
    return found if len(own.problems) == before else None


def _part(node: Node) -> tuple[str, tuple[Entry, ...]]:
    """Class and arguments of one part; an empty name where it is neither."""
    if isinstance(node, Scalar) and isinstance(node.value, str):
        return node.value, ()
    if isinstance(node, Table) and len(node.entries) == 1:
        only = node.entries[0]
        return only.key, only.node.entries if isinstance(only.node, Table) else ()
    return "", ()


def told_range(range_: Range) -> str:
    """The phrase for what lies in the range."""
    if isinstance(range_, Fixed):
        return f"{value_text(range_.value)}, as the file fixes it"
    if isinstance(range_, Choice):
        options = [
            value_text(option.value) if isinstance(option, Fixed) else told_range(option)
            for option in range_.options
        ]
        return options[0] if len(options) == 1 else f"one of {', '.join(options)}"
    if isinstance(range_, Tuple):
        items = "; ".join(told_range(item) for item in range_.items)
        return f"a list of {len(range_.items)}: {items}"
    if isinstance(range_, Effective):
        return f"lr / (1 - momentum) from {range_.low} to {range_.high}, the file's range"
    what = "a whole number" if isinstance(range_, Integer) else "a number"
    return f"{what} from {range_.low} to {range_.high}, the file's range"
