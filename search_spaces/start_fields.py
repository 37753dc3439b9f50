"""The ``start`` field: known good points, which are proposed first, in their order."""

from __future__ import annotations

from search_spaces.errors import Findings, nearest, one_of, shorten
from search_spaces.fields import shown
from search_spaces.nodes import Entry, Listing, Node, Scalar, Table
from search_spaces.ranges import Value
from search_spaces.space import SearchSpace, dimensions
from search_spaces.start_classes import Said, WrittenPoint, placed_value, take_class
from search_spaces.start_values import compatible, on_grid, proposals_of, sets_itself
from search_spaces.starts import StartPoint
from search_spaces.value_text import value_text, word_text

WANTED = "a list of points, such as [{lr: 0.1, momentum: 0.9}]; [] for none, not even PyTorch's defaults"
WANTED_POINT = "a point: names of settings with a value each, such as {lr: 0.1, momentum: 0.9}"
WANTED_CLASS = "the name of one of the file's, or {Name: {argument: value}}"
_SECTIONS = ("optimizer", "schedule")


def read_start(root: Table, space: SearchSpace, findings: Findings) -> tuple[StartPoint, ...] | None:
    """The file's own points; None where it has no ``start``. Mistakes are reported, their points left out."""
    entry = root.find("start")
    if entry is None:
        return None
    if not isinstance(entry.node, Listing):
        findings.problem(entry.line, "start", f"got {shown(entry.node)}", WANTED)
        return ()
    proposals = proposals_of(space)
    if len(entry.node.items) > proposals:
        what = f"the {proposals} settings of trials"
        if space.branches:
            what = f"the {proposals} proposals that {space.trials} trials and the branches make"
        findings.problem(entry.line, "start", f"got {len(entry.node.items)} points", f"at most {what}")
    points: list[StartPoint] = []
    first_with: dict[str, WrittenPoint] = {}
    for index, node in enumerate(entry.node.items):
        point = WrittenPoint(line=node.line, place=f"start[{index}]", findings=findings)
        found = _read_point(node, point, space)
        if found is None:
            continue
        first = first_with.setdefault(
            repr((sorted(found.values.items()), sorted(found.among.items()))), point
        )
        if first is point:
            points.append(found)
        else:
            got = f"got {found.told}, the same as {first.place} on line {first.line}"
            findings.problem(point.line, point.place, got, "each point once")
    return tuple(points)


def _read_point(node: Node, point: WrittenPoint, space: SearchSpace) -> StartPoint | None:
    before = len(point.findings.problems)
    if not isinstance(node, Table) or not node.entries:
        point.findings.problem(node.line, point.place, f"got {shown(node)}", WANTED_POINT)
        return None
    for entry in node.entries:
        _take(entry, point)
    values: dict[str, Value] = {}
    among: dict[str, tuple[int, ...]] = {}
    if point.arguments.get("schedule") or "schedule" in point.names:
        _refuse_beside_branches(point, space)
    if not space.branches:
        take_class("schedule", space.schedules, point, values, among)
    take_class("optimizer", space.optimizers, point, values, among)
    _take_others(point, space, values)
    _mind_suppression(point, space, values, among)
    if len(point.findings.problems) > before:
        return None
    if space.sampler == "grid":
        ranges = dimensions(space)
        values = {name: on_grid(ranges[name], value) for name, value in values.items()}
    return StartPoint(values=values, told=_written(node), origin=f"line {point.line}", among=among)


def _take(entry: Entry, point: WrittenPoint) -> None:
    """Sort an entry of the point to the section that it speaks of."""
    key, node = entry.key, entry.node
    inner = f"{point.place}.{shorten(key)}"
    if key in _SECTIONS:
        _take_section(entry, inner, point)
    elif key == "task_args" and isinstance(node, Table):
        for item in node.entries:
            _say("task", item.key, item, f"{inner}.{shorten(item.key)}", point)
    elif key.startswith("schedule."):
        _say("schedule", key.removeprefix("schedule."), entry, inner, point)
    elif key.startswith("task."):
        _say("task", key.removeprefix("task."), entry, inner, point)
    elif key in ("batch_size", "clip_grad_norm"):
        _say("", key, entry, inner, point)
    else:
        _say("optimizer", key, entry, inner, point)


def _take_section(entry: Entry, inner: str, point: WrittenPoint) -> None:
    node = entry.node
    if isinstance(node, Scalar) and isinstance(node.value, str):
        point.names[entry.key] = Said(line=entry.line, place=inner, node=node)
        return
    only = node.entries[0] if isinstance(node, Table) and len(node.entries) == 1 else None
    if only is None or not (isinstance(only.node, Table) or _is_nothing(only.node)):
        point.findings.problem(entry.line, inner, f"got {shown(node)}", WANTED_CLASS)
        return
    named = Scalar(line=only.line, text=only.key, value=only.key)
    point.names[entry.key] = Said(line=only.line, place=inner, node=named)
    for item in only.node.entries if isinstance(only.node, Table) else ():
        _say(entry.key, item.key, item, f"{inner}.{shorten(only.key)}.{shorten(item.key)}", point)


def _is_nothing(node: Node) -> bool:
    return isinstance(node, Scalar) and node.value is None


def _say(section: str, name: str, entry: Entry, inner: str, point: WrittenPoint) -> None:
    said = Said(line=entry.line, place=inner, node=entry.node)
    other = point.arguments.setdefault(section, {}).setdefault(name, said)
    if other is not said:
        got = f"got {shown(entry.node)} beside {other.place} on line {other.line}"
        point.findings.problem(entry.line, inner, got, "each setting once in a point")
        return


def _written(node: Node) -> str:
    """What stands in the file, on one line."""
    if isinstance(node, Scalar):
        return value_text(node.value)
    if isinstance(node, Listing):
        return f"[{', '.join(map(_written, node.items))}]"
    return f"{{{', '.join(f'{word_text(entry.key)}: {_written(entry.node)}' for entry in node.entries)}}}"


def _refuse_beside_branches(point: WrittenPoint, space: SearchSpace) -> None:
    if not space.branches:
        return
    said = [*point.arguments.get("schedule", {}).values()]
    said += [point.names["schedule"]] if "schedule" in point.names else []
    for one in said:
        hint = "a point is a proposal, which is tried with every branch"
        point.findings.problem(one.line, one.place, f"got {shown(one.node)}", "no schedule here", hint)


def _take_others(point: WrittenPoint, space: SearchSpace, values: dict[str, Value]) -> None:
    """What belongs to neither optimizer nor schedule."""
    own = {"batch_size": space.batch_size, "clip_grad_norm": space.clip_grad_norm}
    for name, said in point.arguments.get("", {}).items():
        values |= placed_value(own[name], name, said, point.findings) or {}
    for name, said in point.arguments.get("task", {}).items():
        if name in space.task_arguments:
            found = placed_value(space.task_arguments[name], f"task.{name}", said, point.findings)
            values |= found or {}
        elif f"task_args.{name}" not in point.findings.lines:
            names = [f"task.{one}" for one in space.task_arguments]
            got = f"unknown setting 'task.{shorten(name)}'"
            hint = nearest(f"task.{name}", names)
            point.findings.problem(said.line, said.place, got, one_of(names), hint)


def _mind_suppression(
    point: WrittenPoint, space: SearchSpace, values: dict[str, Value], among: dict[str, tuple[int, ...]]
) -> None:
    """A number that the schedule sets itself cannot be a point's; an open schedule then leaves it alone."""
    said = point.arguments.get("optimizer", {})
    if not space.schedules or not said:
        return
    if len(space.schedules) == 1 or space.branches or "schedule" in values:
        chosen = [space.schedules[int(str(values["schedule"]))]] if "schedule" in values else space.schedules
        for name, one in said.items():
            if all(sets_itself(schedule, name, always=True) for schedule in chosen):
                labels = " and ".join(schedule.label for schedule in chosen)
                got = f"got {shown(one.node)}, but {labels} sets {name} itself"
                point.findings.problem(one.line, one.place, got, f"no {name} in this point")
        return
    pool = among.get("schedule", tuple(range(len(space.schedules))))
    kept = tuple(index for index in compatible(space.schedules, said) if index in pool)
    if not kept:
        name = next(name for name in said if any(sets_itself(space.schedules[index], name) for index in pool))
        got = f"got {shown(said[name].node)}, but every schedule sets it itself"
        point.findings.problem(said[name].line, said[name].place, got, f"no {name} in this point")
    elif len(kept) == 1:
        values["schedule"] = kept[0]
        among.pop("schedule", None)
    elif len(kept) < len(space.schedules):
        among["schedule"] = kept
