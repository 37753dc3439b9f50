"""The plan's arithmetic, as tables."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweeps.plan import (
    Budget,
    Joining,
    Place,
    asked_by_now,
    free_rows,
    lane_share,
    share_out_trials,
    too_many_failed,
)


def budget(**changes: int) -> Budget:
    values = {"settings": 100, "seeds": 1, "epochs": 10, "concurrency": 8, "lanes": 1} | changes
    return Budget(**values)


@pytest.mark.parametrize(
    ("round_", "trains", "epoch"), [(4, False, None), (5, True, 1), (14, True, 10), (15, False, None)]
)
def test_an_epoch_a_round(round_: int, trains: bool, epoch: int | None) -> None:
    place = Place(number=0, lane=0, admitted_round=5)
    assert place.trains_in(round_, 10) is trains
    if epoch is not None:
        assert place.epoch_in(round_) == epoch


@pytest.mark.parametrize(
    ("case", "taken", "changes", "expected"),
    [
        ("nothing open", 0, {}, 8),
        ("one row free", 7, {}, 1),
        ("full", 8, {}, 0),
        ("more rows than the concurrency, after forks", 11, {}, 0),
        ("more seeds than places: one setting at a time", 0, {"seeds": 20}, 20),
        ("and no second one", 20, {"seeds": 20}, 0),
        ("nor one beside others", 3, {"seeds": 20}, 5),
        ("half a lane's share", 1, {"lanes": 2}, 3),
        ("a lane without a share", 0, {"concurrency": 0, "seeds": 2}, 0),
    ],
)
def test_free_rows(case: str, taken: int, changes: dict[str, int], expected: int) -> None:
    assert free_rows(taken, lane=0, budget=budget(**changes)) == expected, case


@pytest.mark.parametrize(
    ("free", "asked"),
    [
        ([0], 0),
        ([3], 3),
        ([0, 0, 0, 32], 8),
        ([0, 0, 32, 32], 16),
        ([0, 32, 32, 32], 24),
        ([32, 32, 32, 32], 32),
        ([1, 1, 1, 2], 1),
        ([0, 1], 1),
    ],
)
def test_asking_ahead_is_spread_over_rounds(free: list[int], asked: int) -> None:
    assert asked_by_now(free) == asked


@pytest.mark.parametrize(("epochs", "rounds"), [(1, 1), (9, 1), (10, 2), (20, 4), (100, 8)])
def test_little_of_a_trial_passes_between_asking_and_admission(epochs: int, rounds: int) -> None:
    assert budget(epochs=epochs).asked_ahead == rounds


@pytest.mark.parametrize(("concurrency", "lanes"), [(8, 3), (2, 4), (64, 7), (1, 1)])
def test_shares_add_up(concurrency: int, lanes: int) -> None:
    shared = [lane_share(budget(concurrency=concurrency, lanes=lanes), lane) for lane in range(lanes)]
    assert sum(shared) == concurrency
    assert max(shared) - min(shared) <= 1


@pytest.mark.parametrize(
    ("failed", "shown", "expected"),
    [(4, 4, False), (5, 5, True), (3, 5, True), (5, 10, False), (6, 10, True)],
)
def test_too_many_failed(failed: int, shown: int, expected: bool) -> None:
    assert too_many_failed(failed, shown) is expected


def shares(held: dict[int, str], joining: str) -> dict[int, str]:
    """What each worker holds afterwards: a letter a trial, named by its population."""
    chosen = share_out_trials([Joining(n, letter, n) for n, letter in enumerate(joining)], held)
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


def obvious_share_out(joining: list[Joining], held: dict[int, str]) -> dict[int, int]:
    """The rule of share_out_trials, one search of all workers for each family."""
    loads = {worker: list(populations) for worker, populations in held.items()}
    families = list(dict.fromkeys(trial.family for trial in joining))
    quota = -(-(len(families) + sum(map(len, loads.values()))) // len(loads))
    worker_of: dict[object, int] = {}
    for trial in joining:
        if trial.family not in worker_of:
            free = [worker for worker, load in loads.items() if len(load) < quota]
            worker = min(free, key=lambda one: (-loads[one].count(trial.population), len(loads[one]), one))
            loads[worker].append(trial.population)
            worker_of[trial.family] = worker
    return {trial.number: worker_of[trial.family] for trial in joining}


@given(
    held=st.lists(st.text("abc", max_size=6), min_size=1, max_size=5),
    joining=st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 5)), max_size=24),
)
def test_sharing_out_is_the_obvious_rule(held: list[str], joining: list[tuple[str, int]]) -> None:
    trials = [Joining(n, letter, (letter, family)) for n, (letter, family) in enumerate(joining)]
    workers = dict(enumerate(held))
    assert share_out_trials(trials, workers) == obvious_share_out(trials, workers)
