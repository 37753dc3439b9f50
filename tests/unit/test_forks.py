"""Trials that train alike share a row until their rates part, and each is what it would be alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch

from search_spaces.settings import Schedule
from tests.unit import trials_for_tests
from tests.unit.trials_for_tests import curves
from workers import population as population_room
from workers.epoch_training import EpochTraining
from workers.messages import Admission, Diverged, Measured
from workers.population import Population
from workers.row_bank import Room

EPOCHS = 6
BATCH = 256
NUMBERS = {"lr": 0.3, "momentum": 0.9, "nesterov": True, "weight_decay": 5e-4}


def admission(number: int, **changes: Any) -> Admission:
    return trials_for_tests.admission(number, batch_size=BATCH, **changes)


def population(**changes: Any) -> Population:
    return trials_for_tests.population(epochs=EPOCHS, batch_size=BATCH, **changes)


def schedule(name: str, **arguments: Any) -> Schedule:
    return Schedule(name=name, arguments=arguments)


DECAYS = [
    schedule("constant"),
    schedule("StepLR", step_size=2, gamma=0.5),
    schedule("StepLR", step_size=4, gamma=0.5),
    schedule("MultiStepLR", milestones=(4,), gamma=0.1),
    schedule("MultiStepLR", milestones=(4, 5), gamma=0.1),
    schedule("WSD", decay_start=3),
    schedule("WSD", decay_start=5),
    schedule("ReduceLROnPlateau", factor=0.5, patience=0, threshold=0.5),
    schedule("ReduceLROnPlateau", factor=0.1, patience=0, threshold=0.5),
    schedule("ReduceLROnPlateau", factor=0.1, patience=50),
    schedule("ExponentialLR", gamma=0.9),
]


def family(**changes: Any) -> list[Admission]:
    numbers = {**NUMBERS, **changes}
    return [admission(number, schedule=decay, **numbers) for number, decay in enumerate(DECAYS)]


def trained(rows: Population, trials: Sequence[Admission], epochs: int = EPOCHS) -> list[Measured | Diverged]:
    for trial in trials:
        rows.admit(trial)
    numbers = [trial.number for trial in trials]
    return [outcome for _ in range(epochs) for outcome in rows.advance(numbers)]


def alone(trial: Admission, epochs: int = EPOCHS, **shared: Any) -> list[Measured | Diverged]:
    return trained(population(**shared), [trial], epochs)


def as_if_alone(outcomes: Sequence[Measured | Diverged]) -> list[Measured | Diverged]:
    return [replace(one, rides_on=None) if isinstance(one, Measured) else one for one in outcomes]


def epochs_trained(outcomes: Sequence[Measured | Diverged]) -> int:
    return sum(1 for one in outcomes if isinstance(one, Measured) and one.rides_on is None)


@pytest.mark.parametrize("optimizer", ["SGD", "NAdam", "RMSprop"])
def test_each_trial_of_a_family_is_the_trial_alone(optimizer: str) -> None:
    numbers = NUMBERS if optimizer == "SGD" else {"lr": 0.01, "weight_decay": 1e-4}
    trials = [
        admission(number, optimizer=optimizer, schedule=decay, **numbers)
        for number, decay in enumerate(DECAYS)
    ]
    together = curves(trained(population(optimizer=optimizer), trials))
    for trial in trials:
        assert as_if_alone(together[trial.number]) == alone(trial, optimizer=optimizer)


def test_weights_of_a_fork_are_the_trials_own() -> None:
    trials = family()
    rows = population()
    trained(rows, trials, EPOCHS - 1)
    for trial in trials:
        single = population()
        trained(single, [trial], EPOCHS - 1)
        found, expected = rows.weights(trial.number), single.weights(trial.number)
        assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_a_shared_prefix_is_trained_once(monkeypatch: pytest.MonkeyPatch) -> None:
    rows_trained: list[int] = []
    train = EpochTraining.train

    def counting(self: Any, live: Any, state: Any, rows: Any) -> Any:
        rows_trained.append(len({id(row) for row in rows}))
        return train(self, live, state, rows)

    monkeypatch.setattr(EpochTraining, "train", counting)
    trials = [
        admission(0, schedule=DECAYS[0], **NUMBERS),
        admission(1, schedule=schedule("MultiStepLR", milestones=(4,), gamma=0.1), **NUMBERS),
        admission(2, schedule=schedule("StepLR", step_size=4, gamma=0.5), **NUMBERS),
    ]
    outcomes = trained(population(), trials)
    assert rows_trained == [1, 1, 1, 1, 3, 3]
    assert epochs_trained(outcomes) == 4 + 3 * 2
    assert [one.rides_on for one in curves(outcomes)[1]] == [0, 0, 0, 0, None, None]


def test_a_plateau_shares_until_its_first_drop() -> None:
    plateau = schedule("ReduceLROnPlateau", factor=0.5, patience=1, threshold=0.9)
    trials = [admission(0, **NUMBERS), admission(1, schedule=plateau, **NUMBERS)]
    outcomes = curves(trained(population(), trials))[1]
    rates = [one.lr for one in outcomes]
    first_drop = rates.index(0.15)
    assert 0 < first_drop < EPOCHS
    assert [one.rides_on for one in outcomes] == [0] * first_drop + [None] * (EPOCHS - first_drop)


def test_trials_that_part_and_agree_again_stay_apart() -> None:
    back = schedule(
        "CyclicLR", base_lr=0.3, max_lr=0.6, step_size_up=1, step_size_down=1, cycle_momentum=False
    )
    cyclic = replace(back, every="epoch")
    trials = [admission(0, **NUMBERS), admission(1, schedule=cyclic, **NUMBERS)]
    outcomes = curves(trained(population(), trials))[1]
    assert [one.lr for one in outcomes[:3]] == [0.3, 0.6, 0.3]
    assert [one.rides_on for one in outcomes] == [0] + [None] * (EPOCHS - 1)


@pytest.mark.slow
@pytest.mark.parametrize("stopped", [0, 3, 6])
def test_stopping_one_leaves_what_the_others_need(stopped: int) -> None:
    trials = family()
    rows = population()
    outcomes = trained(rows, trials, 2)
    rows.release(stopped)
    rest = [trial.number for trial in trials if trial.number != stopped]
    for _ in range(2, EPOCHS):
        outcomes += rows.advance(rest)
    for trial in trials:
        kept = as_if_alone(curves(outcomes)[trial.number])
        assert kept == alone(trial)[: 2 if trial.number == stopped else EPOCHS]
    assert rows.is_empty


def test_all_on_a_row_diverge_together_and_leave() -> None:
    trials = family(lr=1e8)
    rows = population()
    outcomes = trained(rows, trials, 1)
    assert [one.number for one in outcomes] == list(range(len(DECAYS)))
    assert all(isinstance(one, Diverged) and one.epoch == 1 for one in outcomes)
    assert rows.is_empty


@pytest.mark.parametrize(
    "other",
    [
        {"seed": 1},
        {"momentum": 0.8},
        {"nesterov": False},
        {"weight_decay": 0.0},
        {"lr": 0.31},
        {"clip_grad_norm": 1.0},
    ],
    ids=lambda other: next(iter(other)),
)
def test_what_starts_otherwise_has_a_row_of_its_own(other: dict[str, Any]) -> None:
    trials = [admission(0, **NUMBERS), admission(1, **{**NUMBERS, **other})]
    outcomes = trained(population(), trials, 2)
    assert epochs_trained(outcomes) == 4
    assert curves(outcomes)[1] == alone(trials[1], 2)


def test_who_comes_later_trains_from_the_start() -> None:
    rows = population()
    first, later = admission(0, **NUMBERS), admission(1, **NUMBERS)
    rows.admit(first)
    rows.advance([0])
    rows.admit(later)
    outcomes = rows.advance([0, 1])
    assert [(one.number, one.epoch, one.rides_on) for one in outcomes] == [(0, 2, None), (1, 1, None)]


def test_a_rider_that_is_not_ordered_to_train_is_left_where_it_is() -> None:
    rows = population()
    for number in range(3):
        rows.admit(admission(number, **NUMBERS))
    outcomes = rows.advance([0, 1, 2]) + rows.advance([1]) + rows.advance([0, 1, 2])
    shown = [(one.number, one.epoch, one.rides_on) for one in outcomes]
    assert shown[3] == (1, 2, None)
    assert sorted(shown[4:]) == [(0, 2, None), (1, 3, None), (2, 2, 0)]
    for number in range(3):
        assert as_if_alone(curves(outcomes)[number]) == [
            replace(one, number=number) for one in alone(admission(0, **NUMBERS), 3 if number == 1 else 2)
        ]


@pytest.mark.parametrize(
    "room", [Room(device_bytes=0, host_bytes=0), Room(device_bytes=300_000, host_bytes=0)]
)
def test_rows_that_do_not_fit_rest_elsewhere_with_their_bits(room: Room) -> None:
    trials = family() + [admission(100 + number, lr=0.01 * (number + 1), momentum=0.5) for number in range(9)]
    plain = population()
    tight = population(width=4, room=room)
    assert curves(trained(tight, trials)) == curves(trained(plain, trials))
    said = {note.sentence for note in tight.take_notes()}
    assert said == {"not all rows have room beside those that train; some rest on disk, which is slower"}
    assert plain.take_notes() == ()


@pytest.mark.parametrize("width", [4, 8])
def test_no_pass_is_wider_than_what_fits_into_memory(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not by the quarter either that a pass may be wider than its width."""
    trials = [admission(number, lr=0.01 * (number + 1), momentum=0.5) for number in range(5)]
    expected = trained(population(), trials)
    train, tried = EpochTraining.train, 0

    def short_of_memory(self: Any, live: Any, state: Any, rows: Any) -> Any:
        nonlocal tried
        tried += 1
        assert tried < 100, "the same rows are tried again and again"
        if len(rows) > 4:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return train(self, live, state, rows)

    monkeypatch.setattr(EpochTraining, "train", short_of_memory)
    assert trained(population(width=width), trials) == expected


def test_out_of_memory_halves_the_width_and_loses_no_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    trials = [admission(number, lr=0.01 * (number + 1), momentum=0.5, nesterov=True) for number in range(16)]
    expected = trained(population(width=16), trials)
    train = EpochTraining.train

    def short_of_memory(self: Any, live: Any, state: Any, rows: Any) -> Any:
        trained_rows = train(self, live, state, rows)  # in place: what failed halfway must not count
        if len(rows) > 5:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return trained_rows

    monkeypatch.setattr(EpochTraining, "train", short_of_memory)
    rows = population(width=16)
    assert trained(rows, trials) == expected
    assert rows.width == population_room.MINIMUM_WIDTH
    assert [note.sentence for note in rows.take_notes()] == [
        "16 rows do not fit into memory; training 8 at a time",
        "8 rows do not fit into memory; training 4 at a time",
    ]
    assert rows.take_notes() == ()
