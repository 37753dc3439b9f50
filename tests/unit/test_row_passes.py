"""Rows are trained in few and even passes of about the width."""

from __future__ import annotations

import pytest

from workers.row_passes import pass_sizes


@pytest.mark.parametrize(
    ("rows", "width", "sizes"),
    [
        (1, 16, [1]),
        (16, 16, [16]),
        (17, 16, [17]),
        (20, 16, [20]),
        (21, 16, [11, 10]),
        (40, 16, [20, 20]),
        (41, 16, [14, 14, 13]),
        (5, 4, [5]),
        (6, 4, [3, 3]),
        (72, 32, [36, 36]),
    ],
)
def test_sizes(rows: int, width: int, sizes: list[int]) -> None:
    assert pass_sizes(rows, width) == sizes


def test_what_remains_is_passed_over_as_was_planned() -> None:
    """A population asks again after each pass."""
    for width in (4, 16, 31):
        for rows in range(1, 200):
            planned, remaining, found = pass_sizes(rows, width), rows, []
            while remaining:
                found.append(pass_sizes(remaining, width)[0])
                remaining -= found[-1]
            assert found == planned
