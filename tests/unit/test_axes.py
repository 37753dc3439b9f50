"""Positions on axes, parts of them, and ranges that go beyond."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search_spaces.axes import part_of, position_of, widened
from search_spaces.ranges import Effective, Integer, Log, LogOneMinus, Numeric, Uniform

RANGES: list[Numeric] = [
    Log(low=1e-4, high=1.0),
    Effective(low=0.01, high=3.0),
    LogOneMinus(low=0.0, high=0.99),
    LogOneMinus(low=0.3, high=0.9, points=4),
    Uniform(low=0.05, high=0.9),
    Uniform(low=-3.0, high=7.0),
    Integer(low=3, high=15),
    Integer(low=8, high=512, log=True, points=3),
]


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.sampled_from(RANGES), st.floats(0, 1), st.floats(0, 1))
def test_a_part_holds_all_that_lies_within_it(range_: Numeric, one: float, other: float) -> None:
    low, high = sorted((one, other))
    part = part_of(range_, low, high)
    assert range_.low <= part.low <= part.high <= range_.high
    assert type(part) is type(range_)
    assert part.points == range_.points
    if not isinstance(range_, Integer):
        assert position_of(range_, range_.at(one)) == pytest.approx(one, abs=1e-9)
        tolerance = 1e-9 * max(abs(part.low), abs(part.high))
        assert part.low <= range_.at(low) + tolerance
        assert part.high >= range_.at(high) - tolerance


@pytest.mark.parametrize("range_", RANGES)
def test_both_bounds_are_positions_0_and_1_and_the_whole_stays_as_it_is(range_: Numeric) -> None:
    assert (position_of(range_, range_.low), position_of(range_, range_.high)) == (0.0, 1.0)
    assert part_of(range_, 0.0, 1.0) == range_


@pytest.mark.parametrize(
    ("range_", "low", "high", "wanted"),
    [
        (Log(low=1e-4, high=1.0), 0.4, 0.9, (0.0039, 0.4)),
        (LogOneMinus(low=0.0, high=0.99), 0.4, 0.9, (0.84, 0.985)),
        (Uniform(low=0.05, high=0.9), 0.3, 0.62, (0.305, 0.577)),
        (Integer(low=3, high=15), 0.3, 0.62, (6, 11)),
    ],
)
def test_new_bounds_have_few_digits_where_they_matter(
    range_: Numeric, low: float, high: float, wanted: tuple[float, float]
) -> None:
    part = part_of(range_, low, high)
    assert (part.low, part.high) == pytest.approx(wanted, rel=1e-12)


@pytest.mark.parametrize(
    ("range_", "up", "limit", "wanted"),
    [
        (Log(low=1e-4, high=1.0), True, None, 10.0),  # a factor of ten at most
        (Log(low=1e-4, high=1.0), False, 0.0, 5e-5),  # halfway to 0 at most
        (Log(low=0.01, high=0.1), True, None, 0.32),  # half of a decade
        (LogOneMinus(low=0.0, high=0.99), True, 1.0, 0.995),
        (LogOneMinus(low=0.0, high=0.99), False, 0.0, 0.0),
        (Uniform(low=0.05, high=0.9), True, 1.0, 0.95),
        (Uniform(low=0.0, high=0.001), True, None, 0.0015),
        (Uniform(low=0.0, high=1.0), True, 1.0, 1.0),
        (Integer(low=3, high=15), True, 20.0, 17),
        (Integer(low=3, high=15), False, 1.0, 2),
        (Integer(low=1, high=4), False, 1.0, 1),
        (Integer(low=8, high=64, log=True), True, None, 181),
    ],
)
def test_how_far_a_bound_is_moved_out(range_: Numeric, up: bool, limit: float | None, wanted: float) -> None:
    part = dataclasses.replace(range_)
    found = widened(range_, part, up=up, limit=limit)
    assert (found.high if up else found.low) == pytest.approx(wanted, rel=1e-9)
    assert (found.low if up else found.high) == (range_.low if up else range_.high)


def test_a_log_axis_stays_positive_whatever_the_limit_says() -> None:
    range_ = Log(low=1e-4, high=1e-3)
    assert 0.0 < widened(range_, range_, up=False, limit=0.0).low < 1e-4
