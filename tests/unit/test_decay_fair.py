"""Decay-fair pruning: the scores, and the rungs of a sweep."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search_spaces.space import Pruner
from sweeps.decay_fair import (
    CONTROL,
    FREE_PACE,
    SETTLING,
    DecayFair,
    Shown,
    best_of,
    decay_fair,
    is_control,
    places,
    scores,
)
from sweeps.rungs import ATTRIBUTE, Reached, Rungs, judged_after, rungs_of
from tests.unit.sweeps_for_tests import space

SHARES = st.floats(0.0, 1.0)
LOSSES = st.floats(-1e9, 1e9, allow_nan=False)
TRIALS = st.lists(
    st.builds(
        lambda loss, spent, annealing: Shown(loss=loss, spent=spent, annealing=annealing),
        LOSSES,
        SHARES,
        SHARES,
    ),
    min_size=1,
    max_size=30,
)


@pytest.mark.parametrize(
    ("arguments", "epochs", "rungs", "keep"),
    [
        ({}, 75, (1, 5, 10, 20), (0.2, 0.5, 0.5, 0.5)),
        ({}, 20, (1, 2, 4, 8), (0.2, 0.5, 0.5, 0.5)),
        ({}, 3, (1, 2), (0.2, 0.5)),
        ({}, 2, (1,), (0.2,)),
        ({"rungs": (2, 8, 20)}, 40, (2, 8, 20), (0.2, 0.5, 0.5)),
        ({"rungs": 4}, 40, (4,), (0.2,)),
        ({"rungs": (1, 4), "keep": 0.25}, 40, (1, 4), (0.25, 0.25)),
        ({"rungs": (1, 4), "keep": (0.5, 1)}, 40, (1, 4), (0.5, 1.0)),
    ],
)
def test_arguments(
    arguments: dict[str, Any], epochs: int, rungs: tuple[int, ...], keep: tuple[float, ...]
) -> None:
    found = decay_fair(arguments, epochs)
    assert (found.rungs, found.keep, found.control) == (rungs, keep, CONTROL)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"rung": 1}, "unknown argument 'rung'; wants one of rungs, keep, control, cooldown_epochs"),
        ({"rungs": (3, 1)}, r"rungs: got \[3, 1\]; wants ascending epochs from 1 to 19"),
        ({"rungs": (1, 1)}, "rungs: got"),
        ({"rungs": ()}, "rungs: got"),
        ({"rungs": 0}, "rungs: got 0"),
        ({"rungs": (1, 20)}, "from 1 to 19"),
        ({"rungs": 1.5}, "rungs: got 1.5"),
        ({"rungs": True}, "rungs: got true"),
        ({"keep": 0}, "keep: got 0; wants a share above 0 and up to 1, or a list of one for each of 4 rungs"),
        ({"keep": 1.5}, "keep: got 1.5"),
        ({"keep": (0.1, 0.2, 0.3)}, "for each of 4 rungs"),
        ({"keep": "all"}, "keep: got"),
        ({"control": 1}, "control: got 1; wants a share from 0 to below 1"),
        ({"control": -0.1}, "control: got -0.1"),
        ({"control": "some"}, "control: got some"),
        ({"cooldown_epochs": 20}, "cooldown_epochs: got 20; wants a whole number from 0 to 19"),
        ({"cooldown_epochs": 0.5}, "cooldown_epochs: got 0.5"),
    ],
)
def test_arguments_that_cannot_be(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        decay_fair(arguments, 20)


def test_a_single_epoch_has_no_rung_and_ends_nobody() -> None:
    rungs = Rungs(decay_fair({}, 1), is_control=nobody, epochs=1)
    assert _come_to(rungs, [_reached(0, 1, 1.0), _reached(1, 1, 2.0)]) == []
    assert rungs.attributes(0) == {}


@given(TRIALS, st.floats(0.01, 0.99))
def test_no_trial_is_ranked_above_its_decays_credit(shown: list[Shown], phase: float) -> None:
    for one, score in zip(shown, scores(shown, phase), strict=True):
        credit = min(1.0, FREE_PACE * phase / one.spent) if one.spent > 0 else 1.0
        assert score <= credit + 0.0011


@given(TRIALS, st.floats(0.01, 0.99))
def test_only_the_order_of_losses_matters(shown: list[Shown], phase: float) -> None:
    order = {loss: float(place) for place, loss in enumerate(sorted({one.loss for one in shown}))}
    by_place = [replace(one, loss=order[one.loss]) for one in shown]
    assert list(scores(shown, phase)) == list(scores(by_place, phase))


@given(st.lists(LOSSES, min_size=1, max_size=30), st.floats(0.01, 0.99), SHARES, SHARES)
def test_trials_of_one_schedule_are_ranked_by_their_losses(
    losses: list[float], phase: float, spent: float, annealing: float
) -> None:
    shown = [Shown(loss=loss, spent=spent, annealing=annealing) for loss in losses]
    best = best_of(shown, phase, len(shown))
    assert [losses[place] for place in best] == sorted(losses)


def test_what_is_spent_early_ranks_below_its_credit() -> None:
    # After 2 of 100 epochs: a constant rate, a decay late enough, one that has spent a third, one nearly all.
    shown = [
        Shown(loss=4.0, spent=0.02),
        Shown(loss=3.0, spent=0.08, annealing=1.0),
        Shown(loss=2.0, spent=0.32, annealing=1.0),
        Shown(loss=1.0, spent=0.8, annealing=1.0),
    ]
    found = scores(shown, 0.02)
    assert found == pytest.approx([0.25 + 0.00025, 0.5 + SETTLING + 0.0005, 0.25 + 0.00075, 0.1 + 0.001])
    assert best_of(shown, 0.02, 2) == [1, 2]


def test_an_annealing_to_come_lifts_a_trial_a_little() -> None:
    shown = [Shown(loss=place, spent=0.01, annealing=float(place == 1)) for place in range(20)]
    assert best_of(shown, 0.01, 2) == [0, 1]  # a credit is 1 at most
    shown[7] = replace(shown[7], annealing=1.0)
    assert round(20 * SETTLING) == 2
    assert best_of(shown, 0.01, 20).index(7) == 6  # past the next, level with the one before, which is better


@pytest.mark.parametrize(
    ("trials", "keep", "kept"), [(1, 0.1, 1), (10, 0.1, 1), (11, 0.1, 2), (30, 0.1, 3), (7, 1, 7)]
)
def test_places(trials: int, keep: float, kept: int) -> None:
    assert places(trials, keep) == kept


def test_the_control_group_is_the_share_it_should_be_and_always_the_same() -> None:
    group = {index for index in range(20_000) if is_control(3, index, 0.05)}
    assert 0.045 < len(group) / 20_000 < 0.055
    assert group == {index for index in range(20_000) if is_control(3, index, 0.05)}
    assert group != {index for index in range(20_000) if is_control(4, index, 0.05)}
    assert not any(is_control(3, index, 0.0) for index in range(1000))


def nobody(_: int) -> bool:
    return False


def _reached(index: int, epoch: int, loss: float, spent: float = 0.1, **more: Any) -> Reached:
    return Reached(index=index, epoch=epoch, loss=loss, spent=spent, annealing=0.0, **more)


def _come_to(rungs: Rungs, reached: list[Reached]) -> list[int]:
    """Judge them together, then report them one by one: those that are given up."""
    rungs.judge(reached)
    given_up = []
    for one in reached:
        rungs.hear(one.index, one.epoch, one.loss)
        if rungs.gives_up(one.index):
            given_up.append(one.index)
            rungs.end(one.index)
    return given_up


NO_CONTROL = DecayFair(rungs=(1, 3), keep=(0.25, 0.5), control=0.0)


def test_settings_of_a_round_are_judged_together_whatever_their_order() -> None:
    for losses in ([4.0, 3.0, 2.0, 1.0], [1.0, 2.0, 3.0, 4.0]):
        rungs = Rungs(NO_CONTROL, is_control=nobody, epochs=12)
        given_up = _come_to(rungs, [_reached(index, 1, loss) for index, loss in enumerate(losses)])
        assert given_up == [index for index in range(4) if losses[index] > 1.0]


def test_later_ones_are_judged_beside_those_that_were_there_and_change_nothing_of_them() -> None:
    rungs = Rungs(NO_CONTROL, is_control=nobody, epochs=12)
    assert _come_to(rungs, [_reached(0, 1, 5.0)]) == []
    assert _come_to(rungs, [_reached(1, 1, 4.0)]) == []
    assert _come_to(rungs, [_reached(2, 1, 6.0)]) == [2]
    assert rungs.attributes(0)[ATTRIBUTE]["1"] == [5.0, 0.1, 0.0, True]


def test_the_best_so_far_counts_and_epochs_between_rungs_end_nobody() -> None:
    rungs = Rungs(NO_CONTROL, is_control=nobody, epochs=12)
    assert _come_to(rungs, [_reached(0, 1, 1.0)]) == []
    assert _come_to(rungs, [_reached(0, 2, 9.0)]) == []
    assert _come_to(rungs, [_reached(1, 1, 0.5)]) == []
    assert _come_to(rungs, [_reached(1, 2, 9.0)]) == []
    assert _come_to(rungs, [_reached(0, 3, 9.0), _reached(1, 3, 2.0)]) == [0]  # 1.0 and 0.5 so far
    assert rungs.attributes(0)[ATTRIBUTE]["3"][0] == 1.0


def test_after_a_cooldown_only_its_loss_counts() -> None:
    rungs = Rungs(NO_CONTROL, is_control=nobody, epochs=12)
    _come_to(rungs, [_reached(0, 1, 1.0, is_annealed=True)])
    _come_to(rungs, [_reached(0, 2, 0.1)])
    rungs.judge([replace(_reached(0, 3, 7.0, is_annealed=True), annealing=1.0)])
    assert rungs.attributes(0)[ATTRIBUTE]["3"][:3] == [7.0, 0.1, 0.0]


def test_the_control_group_is_judged_and_never_given_up() -> None:
    everyone = Rungs(
        DecayFair(rungs=(1,), keep=(0.1,), control=0.5),
        is_control=lambda index: is_control(1, index, 0.5),
        epochs=12,
    )
    reached = [_reached(index, 1, float(index)) for index in range(40)]
    given_up = _come_to(everyone, reached)
    group = {index for index in range(40) if is_control(1, index, 0.5)}
    assert set(given_up) == set(range(4, 40)) - group
    assert group & set(range(4, 40))
    assert all(everyone.attributes(index)[ATTRIBUTE]["1"][3] is (index < 4) for index in range(40))


@pytest.mark.parametrize("seed", range(5))
def test_rungs_put_back_from_what_was_stored_decide_as_if_nothing_had_happened(seed: int) -> None:
    chance = random.Random(seed)
    pruner = DecayFair(rungs=(1, 3, 5), keep=(0.5, 0.5, 0.5))
    undisturbed, resumed = (
        Rungs(pruner, is_control=lambda index: index % 9 == 0, epochs=8) for _ in range(2)
    )
    heard: dict[int, dict[int, float]] = {}
    coming = 0
    for _ in range(60):
        advancing = [index for index, values in heard.items() if len(values) < 8]
        advancing += range(coming, coming := coming + chance.randrange(3))
        reached = [
            _reached(index, len(heard.get(index, {})) + 1, chance.random(), chance.random())
            for index in advancing
        ]
        given_up = _come_to(undisturbed, reached)
        assert _come_to(resumed, reached) == given_up
        for one in reached:
            heard.setdefault(one.index, {})[one.epoch] = one.loss
        for index in given_up:
            heard[index] |= dict.fromkeys(range(len(heard[index]) + 1, 9), 0.0)
        if chance.random() < 0.3:
            resumed = Rungs(pruner, is_control=lambda index: index % 9 == 0, epochs=8)
            for index in sorted(heard):
                stored = json.loads(json.dumps(undisturbed.attributes(index)))
                is_open = len(heard[index]) < 8
                resumed.restore(index, stored, heard[index] if is_open else {})
            assert [resumed.attributes(i) for i in heard] == [undisturbed.attributes(i) for i in heard]


def test_only_decay_fair_has_rungs() -> None:
    assert rungs_of(space(pruner="asha")) is None
    assert judged_after(space(pruner="asha")) == ()
    ours = replace(space(), pruner=Pruner(name="decay_fair", arguments={"rungs": (2, 4)}))
    assert rungs_of(ours) is not None
    assert judged_after(ours) == (2, 4)
