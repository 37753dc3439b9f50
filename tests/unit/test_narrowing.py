"""What is done with each range, on frozen trials; and whether a second sweep gains by it."""

from __future__ import annotations

import dataclasses
import math
import random
from collections.abc import Callable, Sequence

import pytest

from dashboards.narrowing import Drop, Ended, Fix, Part, Stay, decide, good_trials
from dashboards.relevance import Dimension, Relevance, relevances
from search_spaces.axes import position_of, widened
from search_spaces.ranges import Uniform
from tests.unit.planted_sweeps import Planted, Surface, edge, planted, valley

MATTERS = Relevance(
    trials=100, p=0.01, explains=0.3, explains_at_most=0.5, fewest_in_a_part=20, interplay_p=0.5, worse={}
)
FLAT = dataclasses.replace(MATTERS, p=0.8, explains=0.002, explains_at_most=0.06)
EVEN = tuple((index + 0.5) / 100 for index in range(100))


def decided(
    positions: Sequence[float | None],
    results: Sequence[float],
    relevance: Relevance | None = MATTERS,
    *,
    is_choice: bool = False,
    may_fix: bool = True,
    beside: Sequence[float] = (),
) -> Stay | Fix | Part | Drop:
    dimension = Dimension(name="x", positions=tuple(positions), is_choice=is_choice)
    ended = Ended(results=tuple(results), dimensions={"x": dimension})
    return decide("x", ended, relevance, at_bounds=(0.1, 0.1), may_fix=may_fix, beside=beside)


def bowl(best: float) -> tuple[float, ...]:
    return tuple((position - best) ** 2 for position in EVEN)


def test_a_range_holds_the_good_trials_and_a_margin() -> None:
    part = decided(EVEN, bowl(0.5))
    assert isinstance(part, Part)
    assert (part.low, part.high) == pytest.approx((0.3, 0.7), abs=0.02)  # the best 20 of 100, and a tenth
    assert (part.widen_low, part.widen_high) == (False, False)
    assert "20 of 100" in part.reason


def test_it_also_holds_the_best_of_each_class_that_stays() -> None:
    part = decided(EVEN, bowl(0.5), beside=(0.9,))
    assert isinstance(part, Part)
    assert part.high == 1.0


def test_a_range_ends_no_nearer_than_the_next_trial_beyond_the_good_ones() -> None:
    positions = (0.0, 0.1, *(0.5 + 0.001 * index for index in range(8)), 0.95, 1.0)
    results = (5.0, 5.0, *(1.0,) * 8, 5.0, 5.0)
    part = decided(positions, results)
    assert isinstance(part, Part)
    assert (part.low, part.high) == (0.1, 0.95)


@pytest.mark.parametrize(
    ("best", "widen"), [(1.2, (False, True)), (-0.2, (True, False)), (0.8, (False, False))]
)
def test_a_bound_where_the_good_trials_crowd_is_moved_out(best: float, widen: tuple[bool, bool]) -> None:
    part = decided(EVEN, bowl(best))
    assert isinstance(part, Part)
    assert (part.widen_low, part.widen_high) == widen


def test_a_bound_is_not_moved_out_to_where_trials_diverge() -> None:
    positions = (*EVEN[:60], *(0.95 + 0.002 * index for index in range(20)))
    results = [(1.2 - position) ** 2 for position in positions]
    part = decided(positions, results)
    assert isinstance(part, Part)
    assert part.widen_high
    part = decided(positions, [*results[:60], *(math.inf,) * 10, *results[70:]])
    assert isinstance(part, Part)
    assert not part.widen_high
    assert "10 of 20 trials there diverged" in part.reason


def test_a_range_ends_where_most_diverge() -> None:
    results = [math.inf if position > 0.72 else one for position, one in zip(EVEN, bowl(0.65), strict=True)]
    part = decided(EVEN, results)
    assert isinstance(part, Part)
    assert part.high == 0.725  # the first of those that diverged
    assert "diverged above" in part.reason


@pytest.mark.parametrize(
    ("relevance", "may_fix", "fixed"),
    [
        (FLAT, True, True),
        (FLAT, False, False),
        (dataclasses.replace(FLAT, explains_at_most=0.2), True, False),
        (dataclasses.replace(FLAT, interplay_p=0.01), True, False),
        (dataclasses.replace(FLAT, fewest_in_a_part=3), True, False),
        (MATTERS, True, False),
        (None, True, False),
    ],
)
def test_what_is_shown_not_to_matter_is_fixed(
    relevance: Relevance | None, may_fix: bool, fixed: bool
) -> None:
    found = decided(EVEN, bowl(0.5), relevance, may_fix=may_fix)
    assert isinstance(found, Fix) is fixed
    if not fixed and relevance is not MATTERS:
        assert isinstance(found, Stay)
    if fixed:
        assert "at most 6 %" in found.reason


def options(worse: dict[int, float], of_two: int = 30) -> Stay | Fix | Part | Drop:
    """Three options; the trials of the last are never good."""
    positions = [float(index % 2) for index in range(100 - of_two)] + [2.0] * of_two
    results = [float(index) for index in range(100)]
    return decided(positions, results, dataclasses.replace(MATTERS, worse=worse), is_choice=True)


def test_an_option_that_never_wins_is_dropped_where_nothing_else_explains_it() -> None:
    found = options({0: 1.0, 1: 1.0, 2: 0.01})
    assert isinstance(found, Drop)
    assert found.options == {2}
    assert "30 trials" in found.reason
    assert isinstance(options({0: 1.0, 1: 1.0, 2: 0.2}), Stay)
    assert isinstance(options({0: 0.01, 1: 1.0, 2: 1.0}), Stay)  # some of its trials are good
    assert isinstance(options({0: 1.0, 1: 1.0, 2: 0.01}, of_two=9), Stay)  # too few to say never


def test_good_trials_are_a_fifth_and_at_least_eight_and_never_diverged() -> None:
    assert good_trials([3.0, 1.0, math.inf, 2.0]) == [1, 3, 0]
    assert len(good_trials([float(index) for index in range(30)])) == 8
    assert len(good_trials([float(index) for index in range(100)])) == 20


class Silent(random.Random):
    def gauss(self, mu: float = 0.0, sigma: float = 1.0) -> float:
        return mu


def regret(surface: Surface, sweep: Planted) -> float:
    """Of the trial that the sweep takes for its best, without its luck."""
    chosen = min(range(len(sweep.results)), key=lambda one: sweep.results[one])
    return surface(sweep.points[chosen], Silent())


def second_box(sweep: Planted) -> dict[str, tuple[float, float]]:
    """Ranges for a second sweep, on the axes of the first."""
    ended = Ended(results=tuple(sweep.results), dimensions={one.name: one for one in sweep.dimensions()})
    looks = relevances(sweep.dimensions(), sweep.results)
    axis, box = Uniform(low=0.0, high=1.0), {}
    for name in ("lr", "momentum", "decay"):
        found = decide(name, ended, looks.get(name), at_bounds=(0.1, 0.1), may_fix=False)
        if isinstance(found, Part):
            high = widened(axis, axis, up=True, limit=None).high if found.widen_high else found.high
            box[name] = (found.low, position_of(axis, high))
    return box


def mean_regrets(surface: Surface, box_of: Callable[[Planted], dict[str, tuple[float, float]]]) -> float:
    seeds, total = 16, 0.0
    for seed in range(seeds):
        first = planted(surface, seed, 48, learning=False)
        second = planted(surface, 1000 + seed, 48, learning=False, box=box_of(first))
        total += regret(surface, second) / seeds
    return total


@pytest.mark.slow
def test_a_second_sweep_is_better_in_the_narrower_space() -> None:
    again, narrower = mean_regrets(valley, lambda _: {}), mean_regrets(valley, second_box)
    assert narrower < 0.8 * again


@pytest.mark.slow
def test_a_second_sweep_is_much_better_where_the_best_was_beyond_a_bound() -> None:
    again, wider = mean_regrets(edge, lambda _: {}), mean_regrets(edge, second_box)
    assert wider < 0.7 * again
