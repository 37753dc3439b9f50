"""What a sweep file says of a learning-rate range test."""

from __future__ import annotations

import math

from search_spaces.errors import Findings
from search_spaces.fields import LARGEST_WHOLE, refuse_unknown, shown, whole
from search_spaces.nodes import Entry, Listing, Node, Scalar, Table
from search_spaces.range_test import DEFAULT_UPDATES, RangeTest

SECTION = "range_test"
MOST_VALUES = 16  # momenta, and seeds
_FIELDS = ("momenta", "updates", "seeds")
_UPDATES = (40, 100_000)
_WANTED = "true, false, or {momenta: [0.0, 0.9], updates: 200, seeds: [0]}"


def read_range_test(root: Table, findings: Findings) -> RangeTest | None:
    """What ``range_test`` says; None where there is none. Mistakes are reported, with a stand-in."""
    entry = root.find(SECTION)
    if entry is None:
        return None
    if isinstance(entry.node, Scalar) and (entry.node.value is None or isinstance(entry.node.value, bool)):
        return RangeTest() if entry.node.value else None
    if not isinstance(entry.node, Table):
        findings.problem(entry.line, SECTION, f"got {shown(entry.node)}", _WANTED)
        return None
    refuse_unknown(entry.node.entries, SECTION, "field", _FIELDS, findings)
    found = {name: entry.node.find(name) for name in _FIELDS}
    momenta, updates, seeds = found["momenta"], found["updates"], found["seeds"]
    count = None
    if updates is not None:
        count = whole(updates.node, f"{SECTION}.updates", _UPDATES, findings)
    return RangeTest(
        momenta=None if momenta is None else _momenta(momenta, findings),
        updates=count or DEFAULT_UPDATES,
        seeds=None if seeds is None else _seeds(seeds, findings),
    )


def _momenta(entry: Entry, findings: Findings) -> tuple[float, ...] | None:
    field, wanted = f"{SECTION}.momenta", f"a list of 1 to {MOST_VALUES} distinct numbers from 0 to below 1"
    numbers: list[float] = []
    for node in _items(entry, field, wanted, findings):
        value = node.value if isinstance(node, Scalar) else None
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        number = float(value) if is_number and value is not None else math.nan
        if not 0.0 <= number < 1.0 or number in numbers:
            findings.problem(node.line, field, f"got {shown(node)}", wanted)
        else:
            numbers.append(number)
    return tuple(numbers) or None


def _seeds(entry: Entry, findings: Findings) -> tuple[int, ...] | None:
    field, wanted = f"{SECTION}.seeds", f"a list of 1 to {MOST_VALUES} distinct whole numbers of at least 0"
    seeds: list[int] = []
    for node in _items(entry, field, wanted, findings):
        seed = whole(node, field, (0, LARGEST_WHOLE), findings)
        if seed is not None and seed in seeds:
            findings.problem(node.line, field, f"got {seed} again", wanted)
        elif seed is not None:
            seeds.append(seed)
    return tuple(seeds) or None


def _items(entry: Entry, field: str, wanted: str, findings: Findings) -> tuple[Node, ...]:
    if isinstance(entry.node, Listing) and 1 <= len(entry.node.items) <= MOST_VALUES:
        return entry.node.items
    findings.problem(entry.line, field, f"got {shown(entry.node)}", wanted)
    return ()
