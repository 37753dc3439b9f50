"""Ranges: every value within bounds, both ends exact, grids complete."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search_spaces.ranges import (
    Choice,
    Fixed,
    Integer,
    Log,
    LogOneMinus,
    Numeric,
    Range,
    Tuple,
    Uniform,
    Value,
    ends,
    is_fixed,
)

FRACTIONS = st.floats(0.0, 1.0)
POINTS = st.integers(1, 40)


def pairs(numbers: st.SearchStrategy[float]) -> st.SearchStrategy[tuple[float, float]]:
    return st.tuples(numbers, numbers).map(lambda pair: (min(pair), max(pair)))


def whole_pairs(low: int) -> st.SearchStrategy[tuple[int, int]]:
    numbers = st.integers(low, 10**6)
    return st.tuples(numbers, numbers).map(lambda pair: (min(pair), max(pair)))


RANGES: st.SearchStrategy[Numeric] = st.one_of(
    st.builds(
        lambda ab, points: Uniform(low=ab[0], high=ab[1], points=points),
        pairs(st.floats(allow_nan=False, allow_infinity=False)),
        POINTS,
    ),
    st.builds(
        lambda ab, points: Log(low=ab[0], high=ab[1], points=points),
        pairs(st.floats(min_value=1e-300, max_value=1e300)),
        POINTS,
    ),
    st.builds(
        lambda ab, points: LogOneMinus(low=ab[0], high=ab[1], points=points),
        pairs(st.floats(min_value=-1e6, max_value=1.0, exclude_max=True)),
        POINTS,
    ),
    st.builds(
        lambda ab, points: Integer(low=ab[0], high=ab[1], points=points), whole_pairs(-(10**6)), POINTS
    ),
    st.builds(
        lambda ab, points: Integer(low=ab[0], high=ab[1], log=True, points=points), whole_pairs(1), POINTS
    ),
)


@given(range_=RANGES, fraction=FRACTIONS)
def test_every_value_lies_within_the_bounds(range_: Numeric, fraction: float) -> None:
    assert range_.low <= range_.at(fraction) <= range_.high


@given(range_=RANGES)
def test_both_ends_are_exact(range_: Numeric) -> None:
    assert (range_.at(0.0), range_.at(1.0)) == (range_.low, range_.high)


@given(range_=RANGES, one=FRACTIONS, other=FRACTIONS)
def test_a_larger_fraction_never_gives_a_clearly_smaller_value(
    range_: Numeric, one: float, other: float
) -> None:
    low, high = range_.at(min(one, other)), range_.at(max(one, other))
    assert low <= high or math.isclose(low, high, rel_tol=1e-9, abs_tol=1e-9 * abs(range_.low))


@given(range_=RANGES)
def test_a_grid_is_ascending_with_both_ends_and_at_most_its_points(range_: Numeric) -> None:
    points = range_.grid()
    assert range_.points is not None
    assert 1 <= len(points) <= range_.points
    assert points[0] == range_.low
    if range_.points > 1:
        assert points[-1] == range_.high
    assert all(
        a <= b or math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-9 * abs(range_.low))
        for a, b in itertools.pairwise(points)
    )


@given(bounds=whole_pairs(-50), fraction=FRACTIONS)
def test_whole_numbers_stay_whole(bounds: tuple[int, int], fraction: float) -> None:
    assert type(Integer(low=bounds[0], high=bounds[1]).at(fraction)) is int


def test_each_whole_number_has_an_equal_share() -> None:
    range_ = Integer(low=1, high=4)
    drawn = [range_.at((index + 0.5) / 4000) for index in range(4000)]
    assert {value: drawn.count(value) for value in drawn} == {1: 1000, 2: 1000, 3: 1000, 4: 1000}


@pytest.mark.parametrize(
    ("range_", "expected"),
    [
        (Fixed(value="cos"), ("cos",)),
        (Uniform(low=0.0, high=1.0, points=3), (0.0, 0.5, 1.0)),
        (Uniform(low=2.0, high=5.0, points=1), (2.0,)),
        (Log(low=1e-4, high=1.0, points=5), (1e-4, 1e-3, 1e-2, 1e-1, 1.0)),
        (LogOneMinus(low=0.0, high=0.99, points=3), (0.0, 0.9, 0.99)),
        (Integer(low=3, high=15, points=3), (3, 9, 15)),
        (Integer(low=1, high=3, points=10), (1, 2, 3)),
        (Integer(low=1, high=100, log=True, points=3), (1, 10, 100)),
    ],
)
def test_grid_points(range_: Fixed | Numeric, expected: tuple[Value, ...]) -> None:
    points = range_.grid()
    if isinstance(range_, Fixed):
        assert points == expected
    else:
        assert points == pytest.approx(expected)


def test_a_grid_without_points_is_refused() -> None:
    with pytest.raises(ValueError, match="points"):
        Uniform(low=0.0, high=1.0).grid()


def test_a_choice_gives_each_option_an_equal_share() -> None:
    choice = Choice(options=(Fixed(value="a"), Fixed(value="b"), Fixed(value="c")))
    assert [choice.at(fraction) for fraction in (0.0, 0.3, 0.34, 0.66, 0.67, 1.0)] == [0, 0, 1, 1, 2, 2]


@pytest.mark.parametrize(
    ("range_", "expected"),
    [
        (Fixed(value=(30, 80)), ((30, 80),)),
        (Log(low=1e-4, high=1.0), (1e-4, 1.0)),
        (Uniform(low=0.5, high=0.5), (0.5,)),
        (Choice(options=(Fixed(value=0.0), Uniform(low=0.5, high=0.9))), (0.0, 0.5, 0.9)),
        (Tuple(items=(Uniform(low=0.8, high=0.9), Fixed(value=0.999))), ((0.8, 0.999), (0.9, 0.999))),
        (
            Tuple(items=(Choice(options=(Fixed(value=1), Fixed(value=2), Fixed(value=1))), Fixed(value=5))),
            ((1, 5), (2, 5)),
        ),
    ],
)
def test_ends(range_: Range, expected: tuple[Value, ...]) -> None:
    assert ends(range_) == expected
    assert is_fixed(range_) == (len(expected) == 1)
