"""Row passes: how many rows are trained at once, where there are more than that is best for."""

from __future__ import annotations

from math import ceil

MOST_BESIDE_WIDTH = 1.25
"""Times the width: a little wider costs little more, and a pass for a few rows nearly as much as a whole."""


def pass_sizes(rows: int, width: int) -> list[int]:
    """Rows of each pass over ``rows``: as few passes of about ``width`` as there may be, and as even."""
    passes = ceil(rows / (MOST_BESIDE_WIDTH * width))
    share, rest = divmod(rows, passes)
    return [share + 1] * rest + [share] * (passes - rest)
