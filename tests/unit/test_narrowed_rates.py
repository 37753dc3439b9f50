"""From findings to ends: nothing is widened, nothing narrowed away. Findings are made up."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search_spaces.rate_axes import OptimizerRates, RateAxis
from search_spaces.space import OptimizerSpace
from sweeps.narrowed_rates import LEAST_SPAN, Narrowed, narrowed_axes, searched
from workers.rate_curves import RateFinding, Rise

AXIS = RateAxis(name="SGD.lr", low=1e-4, high=10.0, warms_up=False)


def finding(steepest: float | None, edge: float | None) -> RateFinding:
    rise = Rise(rates=(), losses=(), start=2.3, steepest=steepest)
    return RateFinding(momentum=None, rise=rise, held=(), edge=edge)


def rates(*axes: RateAxis, label: str = "SGD") -> OptimizerRates:
    space = OptimizerSpace(name=label, label=label, arguments={})
    return OptimizerRates(optimizer=space, axes=axes, momentum_is_set=False)


def narrowed(axis: RateAxis, *found: RateFinding) -> Narrowed:
    (one,) = narrowed_axes([(rates(axis), found)])
    return one


def test_from_a_tenth_of_the_steepest_descent_to_the_largest_edge() -> None:
    one = narrowed(AXIS, finding(0.37, 1.284), finding(0.0732, 0.424), finding(0.0274, 0.157))
    assert one.bounds == (0.0027, 1.3)
    assert one.why_not is None


def test_an_edge_that_one_momentum_does_not_reach_leaves_the_upper_end() -> None:
    assert narrowed(AXIS, finding(0.37, None), finding(0.0732, 0.424)).bounds == (0.0073, 10.0)


def test_a_momentum_at_which_nothing_is_learned_says_nothing() -> None:
    assert narrowed(AXIS, finding(None, None), finding(0.0732, 0.424)).bounds == (0.0073, 0.43)
    one = narrowed(AXIS, finding(None, None))
    assert (one.bounds, one.why_not) == ((1e-4, 10.0), "the loss falls clearly at none of its rates")


def test_where_training_warms_up_twice_the_edge_is_searched() -> None:
    warm = RateAxis(name="SGD.lr", low=1e-4, high=10.0, warms_up=True)
    assert narrowed(warm, finding(0.1, 0.5)).bounds == (0.01, 1.0)


def test_nothing_is_narrowed_to_less_than_a_decade() -> None:
    assert narrowed(AXIS, finding(0.5, 0.55)).bounds == (0.05, 0.55)
    close = RateAxis(name="SGD.lr", low=1e-4, high=10.0, warms_up=False)
    assert narrowed(close, finding(3.0, 2.0)).bounds == (0.2, 2.0)


def test_a_range_beyond_the_edge_is_left_and_said() -> None:
    far = RateAxis(name="OneCycleLR.max_lr", low=2.0, high=8.0, warms_up=True)
    one = narrowed(far, finding(0.1, 0.5))
    assert (one.bounds, one.why_not) == ((2.0, 8.0), "all of it lies beyond the edge, 1")


def test_a_range_that_was_right_is_left_and_said() -> None:
    right = RateAxis(name="SGD.lr", low=0.05, high=0.4, warms_up=False)
    assert narrowed(right, finding(0.1, 0.5)).why_not == "nothing of it can be left out"


def test_an_axis_of_several_optimizers_has_room_for_all() -> None:
    peak = RateAxis(name="OneCycleLR.max_lr", low=1e-4, high=10.0, warms_up=True)
    tested = [
        (rates(AXIS, peak), [finding(0.1, 0.5)]),
        (rates(peak, label="Adam"), [finding(0.004, 0.03)]),
    ]
    assert searched(narrowed_axes(tested)) == {
        "SGD.lr": (0.01, 0.5),
        "OneCycleLR.max_lr": (0.0004, 1.0),
    }


positive = st.floats(min_value=1e-9, max_value=1e6)
findings = st.lists(st.tuples(st.none() | positive, st.none() | positive), min_size=1, max_size=4)


@given(
    low=st.just(0.0) | positive,
    ratio=st.floats(min_value=2.0, max_value=1e6),
    found=findings,
    warm=st.booleans(),
)
def test_never_widened_and_never_to_nothing(
    low: float, ratio: float, found: list[tuple[float | None, float | None]], warm: bool
) -> None:
    high = low * ratio if low else ratio
    axis = RateAxis(name="SGD.lr", low=low, high=high, warms_up=warm)
    one = narrowed(axis, *(finding(*pair) for pair in found))
    assert low <= one.bounds[0] < one.bounds[1] <= high
    assert one.bounds[0] == low or one.bounds[1] / one.bounds[0] >= LEAST_SPAN * (1 - 1e-9)
    edges = [edge for steepest, edge in found if steepest is not None]
    if one.why_not is None and all(edge is not None for edge in edges):
        assert one.bounds[1] >= min(high, max(edge for edge in edges if edge is not None) * (1 - 1e-9))


@pytest.mark.parametrize("edge", [1e-12, 0.09999999, 0.1, 1.0, 9.95, 99.99])
def test_ends_are_rounded_outwards(edge: float) -> None:
    axis = RateAxis(name="SGD.lr", low=1e-15, high=1e3, warms_up=False)
    high = narrowed(axis, finding(edge / 100, edge)).bounds[1]
    assert edge * (1 - 1e-9) <= high <= 1.1 * edge
    assert len(f"{high:.10e}".rstrip("0").partition("e")[0].replace(".", "").rstrip("0")) <= 2


def test_an_effective_rate_is_narrowed_on_its_own_axis() -> None:
    effective = RateAxis(name="SGD.lr", low=1e-3, high=100.0, warms_up=False, effective=True)
    with_momentum = replace(finding(0.0732, 0.424), momentum=0.9)
    without = replace(finding(0.37, 1.284), momentum=0.0)
    assert narrowed(effective, without, with_momentum).bounds == (0.037, 4.3)
