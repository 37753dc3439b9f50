"""The plan's arithmetic, as tables."""

from __future__ import annotations

import pytest

from sweeps.plan import (
    Budget,
    Place,
    lane_share,
    settings_to_propose,
    share_out_trials,
    too_many_failed,
)


def budget(**changes: int) -> Budget:
    values = {"settings": 100, "seeds": 1, "epochs": 10, "concurrency": 8, "lanes": 1} | changes
    return Budget(**values)


def places(*admitted_rounds: int, lane: int = 0) -> list[Place]:
    return [Place(number=n, lane=lane, admitted_round=r) for n, r in enumerate(admitted_rounds)]


@pytest.mark.parametrize(
    ("round_", "trains", "epoch"), [(4, False, None), (5, True, 1), (14, True, 10), (15, False, None)]
)
def test_an_epoch_a_round(round_: int, trains: bool, epoch: int | None) -> None:
    place = Place(number=0, lane=0, admitted_round=5)
    assert place.trains_in(round_, 10) is trains
    if epoch is not None:
        assert place.epoch_in(round_) == epoch


@pytest.mark.parametrize(
    ("case", "open_places", "round_", "proposed", "changes", "expected"),
    [
        ("empty sweep fills up", [], 1, 0, {}, 8),
        ("full sweep waits", places(*[1] * 8), 2, 8, {}, 0),
        ("one place free", places(*[1] * 7), 3, 8, {}, 1),
        ("an end by length is known ahead", places(*[1] * 8), 11, 8, {}, 8),
        ("the round before it is not", places(*[1] * 8), 10, 8, {}, 0),
        ("never more than the budget", [], 1, 97, {}, 3),
        ("budget used up", [], 50, 100, {}, 0),
        ("settings are admitted whole", places(*[1] * 6), 2, 2, {"seeds": 3}, 0),
        ("two whole settings", [], 1, 0, {"seeds": 3}, 2),
        ("more seeds than places: one at a time", [], 1, 0, {"seeds": 20}, 1),
        ("and no second one", places(*[1] * 20), 2, 1, {"seeds": 20}, 0),
        ("a trial admitted later does not count yet", places(3), 2, 1, {"concurrency": 1}, 1),
    ],
)
def test_settings_to_propose(
    case: str,
    open_places: list[Place],
    round_: int,
    proposed: int,
    changes: dict[str, int],
    expected: int,
) -> None:
    count = settings_to_propose(
        open_places, lane=0, round_=round_, proposed=proposed, budget=budget(**changes)
    )
    assert count == expected, case


@pytest.mark.parametrize(("concurrency", "lanes"), [(8, 3), (2, 4), (64, 7), (1, 1)])
def test_shares_add_up(concurrency: int, lanes: int) -> None:
    shared = [lane_share(budget(concurrency=concurrency, lanes=lanes), lane) for lane in range(lanes)]
    assert sum(shared) == concurrency
    assert max(shared) - min(shared) <= 1


def test_other_lanes_do_not_count() -> None:
    assert (
        settings_to_propose(places(*[1] * 8, lane=1), lane=0, round_=2, proposed=8, budget=budget(lanes=2))
        == 4
    )


@pytest.mark.parametrize(
    ("failed", "shown", "expected"),
    [(4, 4, False), (5, 5, True), (3, 5, True), (5, 10, False), (6, 10, True)],
)
def test_too_many_failed(failed: int, shown: int, expected: bool) -> None:
    assert too_many_failed(failed, shown) is expected


def shares(held: dict[int, str], joining: str) -> dict[int, str]:
    """What each worker holds afterwards: a letter a trial, named by its population."""
    chosen = share_out_trials(list(enumerate(joining)), held)
    assert sorted(chosen) == list(range(len(joining)))
    return {
        worker: "".join(
            sorted(had + "".join(joining[number] for number in chosen if chosen[number] == worker))
        )
        for worker, had in held.items()
    }


@pytest.mark.parametrize(
    ("held", "joining", "expected"),
    [
        ({0: "", 1: ""}, "aaaa", {0: "aa", 1: "aa"}),
        ({0: "", 1: ""}, "abab", {0: "aa", 1: "bb"}),
        ({0: "", 1: ""}, "aaab", {0: "aa", 1: "ab"}),
        ({0: "bb", 1: "a"}, "a", {0: "bb", 1: "aa"}),
        ({0: "aaa", 1: ""}, "a", {0: "aaa", 1: "a"}),
        ({0: "ab", 1: "cd"}, "", {0: "ab", 1: "cd"}),
        ({0: "", 1: "", 2: ""}, "abcabcabc", {0: "aaa", 1: "bbb", 2: "ccc"}),
        ({3: ""}, "ab", {3: "ab"}),
    ],
    ids=str,
)
def test_trials_of_one_population_come_together_and_shares_stay_even(
    held: dict[int, str], joining: str, expected: dict[int, str]
) -> None:
    assert shares(held, joining) == expected
