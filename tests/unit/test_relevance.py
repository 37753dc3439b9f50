"""Which settings matter: nothing is claimed where there is nothing, and what is there is found."""

from __future__ import annotations

import math

import pytest

from dashboards.narrowing import FEWEST_IN_A_PART, FLAT
from dashboards.relevance import LEVEL, Dimension, Relevance, relevances
from tests.unit.planted_sweeps import NULL, Surface, edge, flat, planted, valley

SWEEPS = 30
MOST_FALSE = 5  # of 30 sweeps: with a chance of 5 % each, more come in 1 of 300 such tests


def found(surface: Surface, seed: int, trials: int, *, learning: bool) -> dict[str, Relevance]:
    sweep = planted(surface, seed, trials, learning=learning)
    return relevances(sweep.dimensions(), sweep.results)


@pytest.mark.slow
@pytest.mark.parametrize("learning", [False, True])
@pytest.mark.parametrize("surface", [flat, valley])
def test_in_one_sweep_of_twenty_at_most_anything_false_is_claimed(surface: Surface, learning: bool) -> None:
    claimed = unfair = 0
    for seed in range(SWEEPS):
        looks = found(surface, seed, 40, learning=learning)
        nothing = set(looks) if surface is flat else NULL & set(looks)
        claimed += any(looks[name].p <= LEVEL for name in nothing)
        unfair += any(p <= LEVEL for name in nothing for p in looks[name].worse.values())
    assert claimed <= MOST_FALSE
    assert unfair <= MOST_FALSE


def test_what_matters_is_found() -> None:
    looks = [found(valley, seed, 96, learning=False) for seed in range(8)]
    assert all(look["lr"].p <= LEVEL for look in looks)
    assert sum(look["momentum"].p <= LEVEL for look in looks) >= 6
    assert sum(look["lr"].interplay_p <= LEVEL for look in looks) >= 6


def is_flat(look: Relevance) -> bool:
    return (
        look.p > LEVEL
        and look.interplay_p > LEVEL
        and look.explains_at_most <= FLAT
        and look.fewest_in_a_part >= FEWEST_IN_A_PART
    )


@pytest.mark.slow
def test_that_a_setting_does_not_matter_takes_trials_to_say() -> None:
    few = [found(valley, seed, 64, learning=False) for seed in range(6)]
    assert not any(is_flat(look) for looks in few for look in looks.values())
    many = [found(valley, seed, 256, learning=False) for seed in range(6)]
    assert sum(is_flat(looks["decay"]) for looks in many) >= 4
    assert not any(is_flat(looks[name]) for looks in many for name in ("lr", "momentum"))


def test_a_sampler_that_has_settled_shows_no_flatness() -> None:
    """Where all good trials are in one place of an axis, the rest of it is unknown."""
    looks = [found(edge, seed, 200, learning=True) for seed in range(4)]
    assert not any(is_flat(look[name]) for look in looks for name in ("lr", "momentum"))


def test_a_setting_that_only_some_trials_have_is_judged_among_them() -> None:
    sweep = planted(flat, 0, 90, learning=False)
    results = [
        4.0 * (point["gamma"] - 0.2) ** 2 + 0.1 * result if "gamma" in point else result
        for point, result in zip(sweep.points, sweep.results, strict=True)
    ]
    looks = relevances(sweep.dimensions(), results)
    assert looks["gamma"].trials == sum("gamma" in point for point in sweep.points)
    assert looks["gamma"].p <= LEVEL


def test_an_option_that_is_worse_is_told_from_the_others() -> None:
    sweep = planted(valley, 1, 96, learning=False)
    results = [
        result + (0.5 if point["schedule"] == 2.0 else 0.0)
        for point, result in zip(sweep.points, sweep.results, strict=True)
    ]
    worse = relevances(sweep.dimensions(), results)["schedule"].worse
    assert worse[2] <= LEVEL
    assert worse[0] > LEVEL
    assert worse[1] > LEVEL


def test_divergence_is_the_worst_result() -> None:
    sweep = planted(flat, 2, 60, learning=False)
    results = [
        math.inf if point["lr"] > 0.7 else result
        for point, result in zip(sweep.points, sweep.results, strict=True)
    ]
    looks = relevances(sweep.dimensions(), results)
    assert looks["lr"].p <= LEVEL
    assert all(looks[name].p > LEVEL for name in NULL & set(looks))


def test_the_same_is_said_twice_and_of_no_scale() -> None:
    sweep = planted(valley, 3, 60, learning=True)
    once = relevances(sweep.dimensions(), sweep.results)
    assert once == relevances(sweep.dimensions(), [math.exp(9 * one) for one in sweep.results])


def test_nothing_is_said_where_nothing_can_be() -> None:
    numbers = tuple(index / 20 for index in range(20))
    few = Dimension(name="few", positions=(*numbers[:9], *([None] * 11)))
    same = Dimension(name="same", positions=(0.5,) * 20)
    varied = Dimension(name="varied", positions=numbers)
    assert set(relevances((few, same, varied), numbers)) == {"varied"}
    assert relevances((varied,), (1.0,) * 20) == {}
    assert relevances((varied,), (math.inf,) * 20) == {}
    assert relevances((), ()) == {}
