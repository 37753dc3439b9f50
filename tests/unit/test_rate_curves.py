"""What losses over a rising rate, and those of held rates, are read as. Made-up losses."""

from __future__ import annotations

import json
import math
import random

import pytest

from workers.rate_curves import (
    MOST_POINTS,
    RateFinding,
    Rise,
    coarse_rates,
    edge_of,
    ending_loss,
    fine_rates,
    rise_of,
    rising_rates,
)

RATES = rising_rates(1e-4, 10.0, 200)
RISE = Rise(rates=(0.01, 0.1), losses=(2.0, 1.0), start=2.0, steepest=0.1)


def falling(at: float, noise: float = 0.0) -> list[float]:
    """From 2 to 1, half-way and steepest where the rate is ``at``."""
    source = random.Random(0)
    return [2.0 - 1.0 / (1.0 + (at / rate) ** 2) + source.gauss(0.0, noise) for rate in RATES]


def test_a_rise_is_even_in_the_logarithm_and_has_both_ends() -> None:
    rates = rising_rates(0.01, 1.0, 5)
    assert rates == pytest.approx([0.01, 0.1**1.5, 0.1, 0.1**0.5, 1.0])


@pytest.mark.parametrize("at", [0.003, 0.05, 0.8])
@pytest.mark.parametrize("noise", [0.0, 0.02])
def test_the_steepest_descent_is_where_it_is(at: float, noise: float) -> None:
    steepest = rise_of(RATES, falling(at, noise)).steepest
    assert steepest is not None
    assert abs(math.log10(steepest / at)) < 0.15


def test_what_comes_after_the_least_loss_is_no_descent() -> None:
    losses = falling(0.05)
    crash = [
        *losses[:150],
        *(10.0 + index for index in range(25)),
        *(5.0 - 0.1 * index for index in range(25)),
    ]
    assert rise_of(RATES, crash).steepest == pytest.approx(0.05, rel=0.1)


def test_noise_is_no_descent() -> None:
    source = random.Random(1)
    assert rise_of(RATES, [2.3 + source.gauss(0.0, 0.05) for _ in RATES]).steepest is None
    assert rise_of(RATES, [2.3] * len(RATES)).steepest is None


def test_a_rise_ends_where_the_loss_is_not_finite() -> None:
    broken = [*falling(0.01)[:120], math.inf, *[1.0] * 79]
    rise = rise_of(RATES, broken)
    assert len(rise.losses) == 120
    assert rise.steepest == pytest.approx(0.01, rel=0.2)
    assert rise_of(RATES, [math.nan] * 200) == Rise(rates=(), losses=(), start=math.inf, steepest=None)


def test_a_curve_is_kept_with_a_few_hundred_points() -> None:
    rates = rising_rates(1e-4, 10.0, 5000)
    rise = rise_of(rates, [2.0 - 1.0 / (1.0 + 0.05 / rate) for rate in rates])
    assert 100 <= len(rise.rates) == len(rise.losses) <= MOST_POINTS


def held_until(edge: float) -> dict[float, float]:
    rates = coarse_rates(RISE, 10.0)
    held = {rate: 0.5 if rate < edge else 2.5 for rate in rates}
    return held | {rate: 0.5 if rate < edge else 2.5 for rate in fine_rates(RISE, held)}


@pytest.mark.parametrize("edge", [0.15, 0.7, 2.0, 9.0])
def test_the_edge_is_found_to_within_a_twentieth(edge: float) -> None:
    found = edge_of(RISE, held_until(edge))
    assert found is not None
    assert abs(found / edge - 1.0) < 0.05


def test_an_edge_that_is_not_reached_is_none() -> None:
    held = held_until(11.0)
    assert len(held) == 8
    assert fine_rates(RISE, held) == ()
    assert edge_of(RISE, held) is None


def test_what_learns_next_to_nothing_is_beyond_the_edge() -> None:
    held = {0.1: 1.0, 1.0: 1.89, 10.0: 1.91}  # it falls from 2 to 1 at best
    assert edge_of(RISE, held) == pytest.approx(math.sqrt(10.0))
    assert edge_of(RISE, dict.fromkeys(held, 3.0)) is None


def test_nothing_is_held_where_the_loss_does_not_fall() -> None:
    still = Rise(rates=(0.1,), losses=(2.0,), start=2.0, steepest=None)
    assert coarse_rates(still, 10.0) == ()
    assert fine_rates(still, {}) == ()
    assert edge_of(still, {}) is None


def test_a_held_rate_ends_with_the_mean_of_its_last_quarter() -> None:
    assert ending_loss([9.0, 9.0, 9.0, 9.0, 9.0, 9.0, 2.0, 1.0]) == 1.5
    assert ending_loss([math.nan, 1.0, 1.0, 1.0]) == math.inf


def test_a_finding_comes_back_from_a_file() -> None:
    finding = RateFinding(momentum=0.9, rise=RISE, held=((0.1, 1.5), (1.0, None)), edge=0.5)
    assert RateFinding.from_json(json.loads(json.dumps(finding.to_json()))) == finding
    nothing = Rise(rates=(), losses=(), start=math.inf, steepest=None)
    bare = RateFinding(momentum=None, rise=nothing, held=(), edge=None)
    assert RateFinding.from_json(json.loads(json.dumps(bare.to_json()))) == bare
