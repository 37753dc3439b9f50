"""The field ``warm_start``: the sweep whose settings the sampler is told of before it begins."""

from __future__ import annotations

from search_spaces.errors import Findings
from search_spaces.fields import shown
from search_spaces.nodes import Scalar, Table
from search_spaces.samplers import learns


def read_warm_start(root: Table, sampler: str, findings: Findings) -> str | None:
    """The id or name of a sweep; None where there is none. Whether it exists only the store knows."""
    entry = root.find("warm_start")
    if entry is None:
        return None
    value = entry.node.value if isinstance(entry.node, Scalar) else ()
    if value is None:
        return None
    is_id = isinstance(value, int) and not isinstance(value, bool) and value > 0
    if not is_id and not (isinstance(value, str) and value.strip() and value.isprintable()):
        findings.problem(entry.line, "warm_start", f"got {shown(entry.node)}", "the id or name of a sweep")
        return None
    if not learns(sampler):
        got = f"got warm_start beside sampler: {sampler}, which proposes the same whatever is known"
        findings.problem(entry.line, "warm_start", got, "a sampler that learns: tpe, gp or one of your own")
    return str(value)
