"""Assignments: which worker has which trial, and what it is told."""

from __future__ import annotations

from search_spaces.settings import Schedule, Setting
from sweeps.assignments import Assignments
from sweeps.entries import OpenTrial
from sweeps.plan import Place
from sweeps.records import NewTrial


def open_trial(number: int, *, lr: float = 0.1, schedule: str = "constant") -> OpenTrial:
    setting = Setting(optimizer="SGD", arguments={"lr": lr}, schedule=Schedule(name=schedule))
    row = NewTrial(
        number=number,
        setting_index=number,
        seed=0,
        admitted_round=1,
        lane=0,
        optimizer="SGD",
        schedule=schedule,
        setting=setting.to_json(),
        lr=lr,
        momentum=None,
        weight_decay=None,
        nesterov=None,
    )
    return OpenTrial(row=row, setting=setting, place=Place(number=number, lane=0, admitted_round=1))


def alone(number: int) -> int:
    """Every trial has a row of its own."""
    return number


def test_a_worker_is_told_what_to_release_to_take_in_and_to_train() -> None:
    trials = {number: open_trial(number, lr=0.1 * (number + 1)) for number in range(4)}
    assignments = Assignments(trials, alone)
    assignments.assign([0, 1], range(3))
    assert assignments.by_worker(range(4)) == {0: [0, 1], 1: [2]}
    ((worker, first), (_, second)) = assignments.orders(3, 7, [0, 1], joining={1}, releases=[2])
    assert (worker, first.lane, first.round) == (0, 3, 7)
    assert (first.release, first.advance) == ((), (0, 1))
    assert [admission.number for admission in first.admit] == [1]
    assert (second.release, second.admit, second.advance) == ((2,), (), ())
    assert assignments.orders(3, 8, [], joining=()) == []


def test_trials_that_share_a_row_come_together_and_count_as_one() -> None:
    shared = {number: open_trial(number, schedule=f"S{number}") for number in range(3)}
    trials = shared | {number: open_trial(number, lr=0.3 + number) for number in (3, 4)}
    assignments = Assignments(trials, lambda number: "shared" if number in shared else number)
    assignments.assign([0, 1], range(3))
    assignments.assign([0, 1], [3, 4])
    assert assignments.by_worker(range(5)) == {0: [0, 1, 2, 3], 1: [4]}
    apart = Assignments(trials, alone)
    apart.assign([0, 1], range(3))
    assert apart.by_worker(range(3)) == {0: [0, 1], 1: [2]}


def test_nothing_is_kept_of_a_trial_that_was_let_go() -> None:
    trials = {number: open_trial(number) for number in range(6)}
    assignments = Assignments(trials, alone)
    assignments.assign([0, 1, 2], range(6))
    assignments.forget([*range(6), 99])
    assert not any(number in assignments for number in range(6))
    assert not any(assignments._seats_of.values())
