"""A row's bits depend on its setting and seed only."""

from __future__ import annotations

from functools import cache

import pytest
import torch

from search_spaces.settings import Schedule
from tests.unit.trials_for_tests import admission, curves, population
from workers.messages import Admission, Diverged

EPOCHS = 2
STEP = Schedule(name="StepLR", arguments={"step_size": 1, "gamma": 0.5})


def subject(optimizer: str) -> Admission:
    if optimizer == "SGD":
        return admission(
            7, lr=0.11, momentum=0.93, nesterov=True, weight_decay=5e-4, schedule=STEP, warmup_epochs=1
        )
    return admission(7, optimizer=optimizer, lr=0.004, schedule=STEP, amsgrad=True)


def neighbour(number: int, optimizer: str, *, diverging: bool = False) -> Admission:
    if optimizer != "SGD":
        return admission(
            number, optimizer=optimizer, lr=1e4 if diverging else 1e-4 * (number % 7 + 1), seed=number
        )
    lr = 1e8 if diverging else 0.01 * (number % 9 + 1)
    return admission(number, lr=lr, momentum=0.1 * (number % 10), seed=number % 3)


def trained(
    width: int,
    slot: int,
    threads: int,
    *,
    optimizer: str = "SGD",
    late: bool = False,
    diverging: bool = False,
) -> tuple[list, dict[str, torch.Tensor]]:
    """The subject's outcomes and final weights, trained in the given company."""
    torch.set_num_threads(threads)
    rows = population(width=width, epochs=EPOCHS + 1, optimizer=optimizer)
    others = [number for number in range(100, 100 + width) if number - 100 != slot]
    for number in others:
        rows.admit(neighbour(number, optimizer, diverging=diverging and number % 2 == 0), number - 100)
    if late:
        rows.advance(others)
    rows.admit(subject(optimizer), slot)
    outcomes = []
    for _ in range(EPOCHS):
        outcomes += rows.advance([7, *others])
    return curves(outcomes)[7], rows.weights(7)


@cache
def alone(optimizer: str) -> tuple[list, dict[str, torch.Tensor]]:
    """What every company is compared with: width 4, slot 1, one thread."""
    return trained(4, 1, 1, optimizer=optimizer)


@pytest.mark.parametrize("optimizer", ["SGD", "AdamW"])
@pytest.mark.parametrize(
    ("width", "slot", "threads", "late", "diverging"),
    [
        (4, 3, 1, False, False),
        (4, 0, 2, False, False),
        (5, 4, 2, True, False),
        (8, 2, 1, False, True),
        (16, 15, 2, False, True),
        (33, 17, 1, True, True),
        pytest.param(64, 40, 2, True, False, marks=pytest.mark.slow),
        pytest.param(128, 127, 1, False, False, marks=pytest.mark.slow),
        pytest.param(128, 64, 2, True, True, marks=pytest.mark.slow),
    ],
)
def test_a_row_is_bit_equal_in_any_company(
    optimizer: str, width: int, slot: int, threads: int, late: bool, diverging: bool
) -> None:
    expected, expected_weights = alone(optimizer)
    outcomes, weights = trained(width, slot, threads, optimizer=optimizer, late=late, diverging=diverging)
    assert len(outcomes) == EPOCHS
    assert outcomes == expected
    assert all(torch.equal(weights[name], expected_weights[name]) for name in expected_weights)


def test_a_lone_row_is_padded_and_still_bit_equal() -> None:
    expected, expected_weights = alone("SGD")
    rows = population(width=16, epochs=EPOCHS + 1)
    rows.admit(subject("SGD"))
    outcomes = [outcome for _ in range(EPOCHS) for outcome in rows.advance([7])]
    assert outcomes == expected
    assert all(torch.equal(rows.weights(7)[name], expected_weights[name]) for name in expected_weights)


def test_a_diverging_row_is_recorded_and_frees_its_slot() -> None:
    rows = population(width=4)
    rows.admit(admission(0, lr=1e8, momentum=0.5))
    rows.admit(admission(1, lr=0.05, momentum=0.5))
    outcomes = curves(rows.advance([0, 1]))
    (diverged,) = outcomes[0]
    assert isinstance(diverged, Diverged)
    assert (diverged.epoch, diverged.lr) == (1, 1e8)
    assert 1 < diverged.step <= 44
    assert not rows.holds(0)
    assert rows.holds(1)
    rows.admit(admission(2, lr=0.05, momentum=0.5), 0)
    assert rows.holds(2)


def test_a_refilled_slot_starts_from_nothing() -> None:
    rows = population(width=4, epochs=2)
    rows.admit(admission(0, lr=0.5, momentum=0.95), 0)
    rows.advance([0])
    rows.release(0)
    rows.admit(admission(1, lr=0.05, momentum=0.9), 0)
    fresh = population(width=4, epochs=2)
    fresh.admit(admission(1, lr=0.05, momentum=0.9), 2)
    for _ in range(2):
        assert rows.advance([1]) == fresh.advance([1])
