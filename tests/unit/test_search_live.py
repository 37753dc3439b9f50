"""What is told of pruners that were trained beside each other."""

from __future__ import annotations

import math

from benchmarks.search.live import Searched, compared


def test_epochs_are_counted_in_their_order_cooldowns_too() -> None:
    found = Searched("asha", 0, 0.5, ((1, 2.0), (3, 0.9), (1, 0.5)))
    assert found.epochs == 5
    assert [found.epochs_to(target) for target in (2.0, 1.0, 0.5, 0.1)] == [1.0, 4.0, 5.0, math.inf]


def test_pairs_share_the_target_that_both_reach() -> None:
    found = [
        Searched("asha", 0, 0.5, ((1, 0.6), (1, 0.5))),
        Searched("decay_fair", 0, 0.6, ((1, 0.6),)),
        Searched("asha", 1, 0.4, ((1, 0.9), (1, 0.8), (1, 0.4))),
        Searched("decay_fair", 1, 0.2, ((1, 0.9), (1, 0.2))),
    ]
    told = compared(found)
    assert told["own_targets"] == [0.6, 0.4]
    assert told["asha"]["epochs_to_own_target"] == [1.0, 3.0]
    assert told["decay_fair"]["epochs_to_own_target"] == [1.0, 2.0]
    assert told["common_target"] == 0.45
    assert told["decay_fair"]["epochs_to_common_target"] == [math.inf, 2.0]
    assert (told["faster_on"], told["better_best_on"]) == (1, 1)
