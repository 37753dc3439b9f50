"""The field ``confirm`` of a sweep file."""

from __future__ import annotations

from search_spaces.confirming import Confirm
from search_spaces.errors import Findings
from search_spaces.fields import refuse_unknown, shown, whole
from search_spaces.nodes import Entry, Scalar, Table

MOST_LEADERS = 100
MOST_FRESH_SEEDS = 1000
ERROR_RATES = (0.001, 0.5)
WANTED = "{top: n, seeds: n}"


def read_confirm(root: Table, findings: Findings) -> Confirm | None:
    """How leaders are confirmed; None where they are not."""
    entry = root.find("confirm")
    if entry is None or (isinstance(entry.node, Scalar) and entry.node.value is None):
        return None
    if not isinstance(entry.node, Table):
        findings.problem(entry.line, "confirm", f"got {shown(entry.node)}", WANTED)
        return None
    given, default = entry.node, Confirm()
    findings.lines.update({f"confirm.{field.key}": field.line for field in given.entries})
    refuse_unknown(given.entries, "confirm", "field", ("top", "seeds", "error_rate"), findings)
    top, seeds, error_rate = (given.find(name) for name in ("top", "seeds", "error_rate"))
    return Confirm(
        top=_count(top, "confirm.top", MOST_LEADERS, default.top, findings),
        seeds=_count(seeds, "confirm.seeds", MOST_FRESH_SEEDS, default.seeds, findings),
        error_rate=default.error_rate if error_rate is None else _error_rate(error_rate, findings),
    )


def _count(entry: Entry | None, field: str, most: int, default: int, findings: Findings) -> int:
    """At least two: one leader has no rival, and one seed has no variance."""
    return default if entry is None else whole(entry.node, field, (2, most), findings) or default


def _error_rate(entry: Entry, findings: Findings) -> float:
    value = entry.node.value if isinstance(entry.node, Scalar) else None
    least, most = ERROR_RATES
    if isinstance(value, int | float) and not isinstance(value, bool) and least <= value <= most:
        return float(value)
    wanted = f"a probability from {least} to {most}"
    findings.problem(entry.line, "confirm.error_rate", f"got {shown(entry.node)}", wanted)
    return Confirm().error_rate
