"""Single fields of a sweep file: whole numbers, words, plain values and ranges."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from search_spaces.bounds import LARGEST, read_bounds
from search_spaces.catalogue import Argument, Kind
from search_spaces.errors import Findings, nearest, one_of, shorten
from search_spaces.nodes import Entry, Listing, Node, Scalar, Table
from search_spaces.ranges import (
    Choice,
    Effective,
    Fixed,
    Integer,
    Log,
    LogOneMinus,
    Numeric,
    Range,
    Tuple,
    Uniform,
)

LARGEST_WHOLE = LARGEST
MOST_POINTS = 1_000_000

_REAL: dict[str, type[Uniform] | type[Log] | type[LogOneMinus] | type[Effective]] = {
    "uniform": Uniform,
    "log": Log,
    "log1m": LogOneMinus,
    "effective": Effective,
}
_NUMERIC = (*_REAL, "int", "int_log")
_KEYWORDS = (*_NUMERIC, "value", "tuple")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """What reading a range depends on beside the range itself."""

    findings: Findings
    metrics: tuple[str, ...] | None  # that may be watched; None where the task is unknown
    functions: tuple[str, ...] | None  # of the task; None where it is unknown
    grid: bool  # the sampler is grid, so numeric ranges need points
    all_tried: bool = False  # within branches, where they need points whatever the sampler
    not_effective: str = "only an optimizer's lr has an effective rate"  # why {effective: ...} is refused; ""


def shown(node: Node) -> str:
    """What stands in the file, for a message."""
    if isinstance(node, Table):
        keys = ", ".join(entry.key for entry in node.entries)
        return f"the mapping {{{shorten(keys)}}}"
    if isinstance(node, Listing):
        if all(isinstance(item, Scalar) for item in node.items) and node.items:
            return f"the list [{shorten(', '.join(shown(item) for item in node.items))}]"
        return f"a list of {len(node.items)}" if node.items else "an empty list"
    if node.value is None:
        return "nothing" if node.text == "" else shorten(node.text)
    return f"'{shorten(node.value)}'" if isinstance(node.value, str) else shorten(node.text)


def whole(node: Node, field: str, bounds: tuple[int, int], findings: Findings) -> int | None:
    """A whole number within ``bounds``, both included."""
    value = node.value if isinstance(node, Scalar) else None
    if isinstance(value, int) and not isinstance(value, bool) and bounds[0] <= value <= bounds[1]:
        return value
    findings.problem(node.line, field, f"got {shown(node)}", wanted_whole(bounds))
    return None


def wanted_whole(bounds: tuple[int, int]) -> str:
    """The phrase for a whole number within ``bounds``."""
    if bounds[1] == LARGEST_WHOLE:
        return f"a whole number of at least {bounds[0]}"
    return f"a whole number from {bounds[0]} to {bounds[1]}"


def word(node: Node, field: str, known: Sequence[str] | None, findings: Findings) -> str | None:
    """One of the ``known`` words; any where they are not known (None)."""
    value = node.value if isinstance(node, Scalar) else None
    if isinstance(value, str) and (known is None or value in known):
        return value
    hint = nearest(value, known or ()) if isinstance(value, str) else ""
    wanted = "a name" if known is None else one_of(known)
    findings.problem(node.line, field, f"got {shown(node)}", wanted, hint)
    return None


def table(node: Node, field: str, wanted: str, findings: Findings) -> Table | None:
    """A mapping; nothing at all counts as an empty one."""
    if isinstance(node, Table):
        return node
    if isinstance(node, Scalar) and node.value is None:
        return Table(line=node.line, entries=())
    findings.problem(node.line, field, f"got {shown(node)}", wanted)
    return None


def refuse_unknown(
    entries: Iterable[Entry], prefix: str, what: str, known: Sequence[str], findings: Findings
) -> None:
    """Report every key that is not ``known``; ``what`` names the thing: field, argument, range."""
    for entry in entries:
        if entry.key not in known:
            field = f"{prefix}.{shorten(entry.key)}" if prefix else shorten(entry.key)
            got = f"unknown {what} '{shorten(entry.key)}'"
            findings.problem(entry.line, field, got, one_of(known), nearest(entry.key, known))


def plain_value(node: Node, field: str, findings: Findings) -> Fixed | None:
    """A number, truth value, null, text or list of these, wrapped; numbers are finite, text is printable."""
    if isinstance(node, Table):
        hint = "ranges inside a list are written {tuple: [range, range]}"
        findings.problem(node.line, field, f"got {shown(node)}", "a plain value or a list of them", hint)
        return None
    if isinstance(node, Listing):
        items = [plain_value(item, f"{field}[{index}]", findings) for index, item in enumerate(node.items)]
        kept = tuple(item.value for item in items if item is not None)
        return Fixed(value=kept) if len(kept) == len(items) else None
    value = node.value
    wanted = ""
    if isinstance(value, float) and not math.isfinite(value):
        wanted = "a finite number"
    elif isinstance(value, int) and abs(value) > LARGEST_WHOLE:
        wanted = f"a whole number of at most {LARGEST_WHOLE}"
    elif isinstance(value, str) and not value.isprintable():
        wanted = "printable text"
    if wanted:
        findings.problem(node.line, field, f"got {shown(node)}", wanted)
        return None
    return Fixed(value=value)


def read_range(node: Node, field: str, argument: Argument, scope: Scope) -> Range | None:
    """The range of ``argument``, checked against the kinds it accepts; None where it is reported as wrong."""
    if isinstance(node, Listing):
        return _choice(node, field, argument, scope)
    if isinstance(node, Table):
        return _keyword(node, field, argument, scope)
    return _fixed(node, node, field, argument, scope)


def wanted_of(argument: Argument, scope: Scope) -> str:
    """The phrase for what ``argument`` accepts."""
    phrases = {
        Kind.number: "a number or a range",
        Kind.integer: "a whole number or a range of them",
        Kind.boolean: "true or false",
        Kind.text: one_of(argument.names) if argument.names else "a name",
        Kind.listing: "a list, written {value: [...]}",
        Kind.schedules: "a list of schedules",
        Kind.function: one_of(scope.functions) if scope.functions else "a function of the task",
        Kind.anything: "a value",
    }
    kinds = [kind for kind in argument.kinds if kind is not Kind.integer or Kind.number not in argument.kinds]
    return " or ".join(phrases[kind] for kind in kinds)


def _fixed(value_node: Node, node: Node, field: str, argument: Argument, scope: Scope) -> Fixed | None:
    fixed = plain_value(value_node, field, scope.findings)
    if fixed is None or _accepts(fixed, argument, scope):
        return fixed
    hint = ""
    if isinstance(fixed.value, str):
        names = argument.names if Kind.function not in argument.kinds else scope.functions or ()
        hint = nearest(fixed.value, names)
    scope.findings.problem(node.line, field, f"got {shown(value_node)}", wanted_of(argument, scope), hint)
    return None


def _accepts(fixed: Fixed, argument: Argument, scope: Scope) -> bool:
    value, kinds = fixed.value, argument.kinds
    if Kind.anything in kinds:
        return True
    if value is None:
        return argument.default is None and not argument.required
    if isinstance(value, bool):
        return Kind.boolean in kinds
    if isinstance(value, int):
        return Kind.integer in kinds or Kind.number in kinds
    if isinstance(value, float):
        return Kind.number in kinds
    if isinstance(value, tuple):
        return Kind.listing in kinds
    if Kind.function in kinds:
        return scope.functions is None or value in scope.functions
    return Kind.text in kinds and (not argument.names or value in argument.names)


def _choice(node: Listing, field: str, argument: Argument, scope: Scope) -> Range | None:
    if not node.items:
        scope.findings.problem(node.line, field, "got an empty list", "at least one item to choose from")
        return None
    only_lists = set(argument.kinds) == {Kind.listing}
    if only_lists and all(isinstance(item, Scalar) for item in node.items):
        items = ", ".join(shown(item) for item in node.items)
        hint = f"a list is a choice among its items; one list is written {{value: [{shorten(items)}]}}"
        scope.findings.problem(node.line, field, f"got {shown(node)}", wanted_of(argument, scope), hint)
        return None
    options = [
        _fixed(item, item, f"{field}[{index}]", argument, scope)
        if isinstance(item, Listing)
        else read_range(item, f"{field}[{index}]", argument, scope)
        for index, item in enumerate(node.items)
    ]
    kept = tuple(option for option in options if option is not None)
    return Choice(options=kept) if len(kept) == len(options) else None


def _keyword(node: Table, field: str, argument: Argument, scope: Scope) -> Range | None:
    findings = scope.findings
    unknown = [entry for entry in node.entries if entry.key not in (*_KEYWORDS, "points")]
    if unknown:
        refuse_unknown(unknown, field, "range", (*_KEYWORDS, "points"), findings)
        return None
    keywords = [entry for entry in node.entries if entry.key != "points"]
    points = node.find("points")
    if len(keywords) != 1:
        wanted = f"exactly {one_of(_KEYWORDS)}, such as {{uniform: [0, 1]}}"
        findings.problem(node.line, field, f"got {shown(node)}", wanted)
        return None
    keyword = keywords[0]
    if keyword.key in _NUMERIC:
        return _numeric(keyword, points, field, argument, scope)
    if points is not None:
        findings.problem(
            points.line, f"{field}.points", f"got points beside '{keyword.key}'", "no points here"
        )
    if keyword.key == "value":
        return _fixed(keyword.node, keyword.node, field, argument, scope)
    return _tuple(keyword.node, field, argument, scope)


def _tuple(node: Node, field: str, argument: Argument, scope: Scope) -> Tuple | None:
    if not {Kind.listing, Kind.anything} & set(argument.kinds):
        scope.findings.problem(node.line, field, "got a tuple", wanted_of(argument, scope))
        return None
    if not isinstance(node, Listing) or not node.items:
        wanted = "a list of ranges, one for each item, such as {tuple: [0.9, {log1m: [0.9, 0.999]}]}"
        scope.findings.problem(node.line, field, f"got {shown(node)}", wanted)
        return None
    item_argument = Argument(name=argument.name, kinds=(Kind.anything,))
    items = [
        read_range(item, f"{field}[{index}]", item_argument, scope) for index, item in enumerate(node.items)
    ]
    kept = tuple(item for item in items if item is not None)
    return Tuple(items=kept) if len(kept) == len(items) else None


def _numeric(
    keyword: Entry, points: Entry | None, field: str, argument: Argument, scope: Scope
) -> Numeric | None:
    findings = scope.findings
    is_whole = keyword.key in ("int", "int_log")
    accepted = {Kind.number, Kind.anything} | ({Kind.integer} if is_whole else set())
    ok = True
    if not accepted & set(argument.kinds):
        got = f"got a range of {'whole numbers' if is_whole else 'numbers'} ({keyword.key})"
        hint = "int and int_log give whole numbers" if Kind.integer in argument.kinds else ""
        findings.problem(keyword.line, field, got, wanted_of(argument, scope), hint)
        ok = False
    if ok and keyword.key == "effective" and scope.not_effective:
        got, wanted = "got a range of the effective rate (effective)", "another range, such as {log: [a, b]}"
        findings.problem(keyword.line, field, got, wanted, scope.not_effective)
        ok = False
    count = None
    if points is not None:
        count = whole(points.node, f"{field}.points", (1, MOST_POINTS), findings)
        ok = ok and count is not None
    elif scope.grid or scope.all_tried:
        wanted = "points: n in every numeric range where the sampler is grid"
        if scope.all_tried:
            wanted = "a value, a list, or points: n in the range, since branches are all tried"
        findings.problem(keyword.line, field, "no points", wanted)
        ok = False
    bounds = read_bounds(keyword, shown(keyword.node), field, findings)
    if bounds is None or not ok:
        return None
    low, high = bounds
    if is_whole:
        return Integer(low=int(low), high=int(high), log=keyword.key == "int_log", points=count)
    return _REAL[keyword.key](low=float(low), high=float(high), points=count)
