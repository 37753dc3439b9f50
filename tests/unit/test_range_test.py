"""The range test against theory, and against itself: no neighbour and no path changes what it finds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import pytest

from search_spaces.settings import Setting
from workers.messages import Admission, Measured
from workers.population import Population
from workers.range_question import RangeQuestion, Stopped
from workers.range_test import range_test, with_momentum
from workers.range_trials import RangeTrials, Trial, shortened
from workers.rate_curves import RateFinding
from workers.recipe import Recipe
from workers.solo import SoloTrials
from workers.tasks.registry import make_task, task_data

QUADRATIC = RangeQuestion(
    task="quadratic",
    setting=Setting(optimizer="SGD", arguments={"lr": 1.0}, task_arguments={"condition": 100.0}),
    low=1e-4,
    high=10.0,
    momenta=(0.0, 0.5, 0.9),
    updates=200,
    seeds=(0,),
)
DIGITS = RangeQuestion(
    task="digits-mlp",
    setting=Setting(optimizer="SGD", arguments={"lr": 1.0}, batch_size=64),
    low=1e-3,
    high=10.0,
    momenta=(0.0, 0.9),
    updates=100,
    seeds=(0,),
)
WITHIN = 0.1  # of the edge, as the documents say


def found(question: RangeQuestion) -> tuple[RateFinding, ...]:
    return range_test(question, lambda: False)


@pytest.mark.parametrize("condition", [1.0, 100.0, 10_000.0])
def test_the_edge_of_gradient_descent_with_momentum_is_that_of_theory(condition: float) -> None:
    """Largest curvature 1: it diverges at a rate of 2 + 2 momentum (B. Polyak, 1964)."""
    setting = replace(QUADRATIC.setting, task_arguments={"condition": condition})
    for finding in found(replace(QUADRATIC, setting=setting)):
        assert finding.momentum is not None
        assert finding.edge is not None
        assert abs(finding.edge / (2.0 + 2.0 * finding.momentum) - 1.0) < WITHIN


def test_a_rising_rate_alone_would_be_late() -> None:
    """Without momentum the loss still falls where the rate is three times the edge."""
    rise = found(replace(QUADRATIC, momenta=(0.0,)))[0].rise
    after = [loss for rate, loss in zip(rise.rates, rise.losses, strict=True) if 2.0 < rate < 6.0]
    assert after == sorted(after, reverse=True)


def test_an_edge_beyond_the_rates_tried_is_not_reached() -> None:
    assert [finding.edge for finding in found(replace(QUADRATIC, high=1.5))] == [None, None, None]


@pytest.mark.slow
def test_momenta_have_the_findings_that_they_have_alone_bit_for_bit() -> None:
    together = found(DIGITS)
    assert together == found(DIGITS)
    assert together == tuple(
        finding for momentum in DIGITS.momenta for finding in found(replace(DIGITS, momenta=(momentum,)))
    )
    assert together != found(replace(DIGITS, seeds=(1,)))


def test_a_network_has_an_edge_above_where_it_learns_fastest() -> None:
    edges = []
    for finding in found(DIGITS):
        assert finding.steepest is not None
        assert finding.edge is not None
        assert DIGITS.low < finding.steepest < finding.edge < DIGITS.high
        edges.append(finding.edge)
    assert edges[1] < edges[0]  # with momentum each update goes on for longer


@pytest.mark.slow
def test_seeds_are_averaged() -> None:
    one, other = (found(replace(DIGITS, momenta=(0.0,), seeds=(seed,)))[0].rise for seed in (0, 1))
    both = found(replace(DIGITS, momenta=(0.0,), seeds=(0, 1)))[0].rise
    assert both.losses[0] == pytest.approx((one.losses[0] + other.losses[0]) / 2)


@pytest.mark.slow
def test_trials_that_train_solo_find_the_same() -> None:
    question = replace(QUADRATIC, momenta=(0.9,), updates=100)
    (stacked,), (solo,) = found(question), found(replace(question, stacked=False))
    assert solo.edge == pytest.approx(stacked.edge)
    assert solo.steepest == pytest.approx(stacked.steepest)


def test_an_epoch_longer_than_the_test_is_cut_short() -> None:
    short = replace(DIGITS, setting=replace(DIGITS.setting, batch_size=16), updates=40, momenta=(0.9,))
    (finding,) = found(short)
    assert len(finding.rise.rates) == 40


def test_adam_has_its_momentum_in_betas() -> None:
    adam = Setting(optimizer="AdamW", arguments={"lr": 1.0})
    assert with_momentum(adam, 0.5).arguments["betas"] == (0.5, 0.999)
    assert with_momentum(adam, None) is adam
    (finding,) = found(replace(DIGITS, setting=replace(adam, batch_size=64), momenta=(None,), low=1e-5))
    assert finding.momentum == 0.9


def test_nesterov_is_left_out_where_there_is_no_momentum() -> None:
    nesterov = Setting(optimizer="SGD", arguments={"lr": 1.0, "nesterov": True})
    assert with_momentum(nesterov, 0.0).arguments["nesterov"] is False
    assert with_momentum(nesterov, 0.9).arguments["nesterov"] is True


def test_whoever_asked_may_stop_it() -> None:
    with pytest.raises(Stopped):
        range_test(QUADRATIC, lambda: True)
    with pytest.raises(Stopped):
        range_test(replace(QUADRATIC, stacked=False), lambda: True)


def test_what_it_costs_at_most_is_what_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = []
    losses = RangeTrials.losses

    def counted(trials: RangeTrials, wanted: Sequence[Trial], updates: int) -> list[list[float]]:
        taken.append(len(wanted) * updates)
        return losses(trials, wanted, updates)

    monkeypatch.setattr(RangeTrials, "losses", counted)
    found(QUADRATIC)
    assert QUADRATIC.most_updates == sum(taken) == 3 * 200 + 3 * 14 * 100


@pytest.mark.parametrize("optimizer", ["SGD", "NAdam"])
@pytest.mark.parametrize("stacked", [True, False])
def test_its_trials_are_trained_as_those_of_a_sweep(optimizer: str, stacked: bool) -> None:
    """NAdam carries numbers on from epoch to epoch; the mean over an epoch is a sweep's train_loss."""
    arguments = {"lr": 0.01, "momentum": 0.9} if optimizer == "SGD" else {"lr": 0.01}
    setting = Setting(optimizer=optimizer, arguments=arguments, batch_size=64)
    recipe = Recipe(
        task=make_task("digits-mlp", ()), data=task_data("digits-mlp", ()), epochs=3, metric="val_loss"
    )
    updates = recipe.data.updates_per_epoch(64)
    trials = RangeTrials(recipe, setting, updates=3 * updates, stacked=stacked, stopped=lambda: False)
    (losses,) = trials.losses([(setting, 7)], 3 * updates)
    population = Population(recipe, optimizer=optimizer, batch_size=64, width=4)
    bench = population if stacked else SoloTrials(recipe)
    bench.admit(Admission(number=0, seed=7, setting=setting))
    for epoch in range(3):
        (measured,) = bench.advance([0])
        assert isinstance(measured, Measured)
        of_epoch = losses[epoch * updates : (epoch + 1) * updates]
        assert math.fsum(of_epoch) / updates == measured.train_loss


def test_of_long_epochs_examples_are_picked_at_random() -> None:
    data = task_data("digits-mlp", ())
    assert shortened(data, 32, 200).train_inputs is data.train_inputs
    cut = shortened(data, 16, 40)
    assert cut.updates_per_epoch(16) == 40
    rows = {tuple(row.tolist()): index for index, row in enumerate(data.train_inputs)}
    places = [rows[tuple(row.tolist())] for row in cut.train_inputs]
    assert len(set(places)) > 630  # a few pictures are there twice
    assert max(places) > 1300
    assert shortened(task_data("quadratic", ()), 1, 10).full_batch_updates == 10
