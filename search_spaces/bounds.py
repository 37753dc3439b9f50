"""Bounds of numeric ranges, each kind of range with its own conditions."""

from __future__ import annotations

import math

from search_spaces.errors import Findings
from search_spaces.nodes import Entry, Listing, Node, Scalar

LARGEST = 2**63 - 1  # what SQL stores exactly


def read_bounds(
    keyword: Entry, shown: str, field: str, findings: Findings
) -> tuple[int | float, int | float] | None:
    """Both bounds of a numeric range; its own conditions hold. ``shown``: what stands there, in words."""
    node = keyword.node
    is_whole = keyword.key in ("int", "int_log")
    numbers: list[int | float] = []
    if isinstance(node, Listing) and len(node.items) == 2:
        found = (_bound(item, is_whole) for item in node.items)
        numbers = [number for number in found if number is not None]
    wanted = ""
    if len(numbers) != 2:
        wanted = f"[low, high], two {'whole' if is_whole else 'finite'} numbers"
    elif numbers[0] > numbers[1]:
        wanted = "[low, high] with low <= high"
    elif keyword.key in ("log", "int_log", "effective") and numbers[0] <= 0:
        wanted = "[low, high] with low > 0"
    elif keyword.key == "log1m" and numbers[1] >= 1:
        wanted = "[low, high] with high < 1"
    if wanted:
        findings.problem(keyword.line, f"{field}.{keyword.key}", f"got {shown}", wanted)
        return None
    return numbers[0], numbers[1]


def _bound(node: Node, is_whole: bool) -> int | float | None:
    value = node.value if isinstance(node, Scalar) else None
    if isinstance(value, int) and not isinstance(value, bool):
        return value if abs(value) <= LARGEST else None
    return value if isinstance(value, float) and math.isfinite(value) and not is_whole else None
