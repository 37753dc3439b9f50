"""Update rules compute what torch.optim computes, and a row's bits are its own."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.unit.rules_for_tests import (
    ARGUMENTS,
    DrawnRow,
    StackedRows,
    corner_rows,
    largest_error_seen,
    parameters_of,
    populations,
    stacked_and_plain,
)
from workers.update_rules import UPDATE_RULES

OPTIMIZERS = sorted(UPDATE_RULES)
IMPLEMENTATION = {"foreach", "fused", "capturable", "differentiable"}
SEEDS = st.integers(0, 2**32 - 1)
PARAMETERS = 37
UPDATES = 3
SPECIAL = torch.tensor([torch.inf, -torch.inf, torch.nan, -0.0, 0.0, 3e38])


def test_every_rule_is_drawn_in_every_argument() -> None:
    assert set(ARGUMENTS) == set(UPDATE_RULES)
    for optimizer, drawn in ARGUMENTS.items():
        paths = {"lr", "momentum", "betas"} & set(parameters_of(optimizer))
        assert set(drawn) | paths == set(parameters_of(optimizer)) - {"params"} - IMPLEMENTATION, optimizer


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_corner_rows_as_torch_optim_trains_them(optimizer: str) -> None:
    stacked, plain = stacked_and_plain(optimizer, corner_rows(optimizer), 0)
    torch.testing.assert_close(stacked, plain, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@settings(max_examples=15, deadline=None, derandomize=True)
@given(data=st.data(), seed=SEEDS)
def test_200_updates_as_torch_optim_makes_them(optimizer: str, data: st.DataObject, seed: int) -> None:
    stacked, plain = stacked_and_plain(optimizer, data.draw(populations(optimizer)), seed)
    torch.testing.assert_close(stacked, plain, rtol=1e-9, atol=1e-12)


def test_the_largest_error_is_that_of_rounding() -> None:
    seen = largest_error_seen("Adam", examples=5)
    assert 0.0 < seen < 1e-12
    assert seen == largest_error_seen("Adam", examples=5)


def wild_gradients(rows: int, seed: int) -> Tensor:
    """(3 epochs, updates, rows, parameters): some infinite, NaN, huge or -0.0.

    The second parameter's are zeros of either sign; the third's leave a buffer that underflows to -0.0.
    """
    random = torch.Generator().manual_seed(seed)
    shape = (3, UPDATES, rows, PARAMETERS)
    gradients = torch.randn(shape, generator=random)
    picked = SPECIAL[torch.randint(len(SPECIAL), shape, generator=random)]
    gradients = torch.where(torch.rand(shape, generator=random) < 0.1, picked, gradients)
    gradients[..., 1] = torch.where(torch.rand(shape[:-1], generator=random) < 0.5, 0.0, -0.0)
    gradients[..., 2], gradients[:, 0, :, 2] = -0.0, -1e-45
    return gradients


def initial_weights(rows: int, seed: int) -> Tensor:
    weights = torch.randn(rows, PARAMETERS, generator=torch.Generator().manual_seed(seed))
    weights[:, 0], weights[:, 1] = 0.0, -0.0
    return weights


def assert_same_bits(found: Tensor, expected: Tensor) -> None:
    same = (found.view(torch.int32) == expected.view(torch.int32)) | (found.isnan() & expected.isnan())
    assert same.all(), f"{found[~same]} instead of {expected[~same]}"


def assert_alone_as_in_company(optimizer: str, rows: Sequence[DrawnRow], slot: int, seed: int) -> None:
    gradients, weights = wild_gradients(len(rows), seed), initial_weights(len(rows), seed)
    company = StackedRows(optimizer, rows, weights)
    alone = StackedRows(optimizer, [rows[slot]], weights[[slot]])
    for epoch in range(len(gradients)):
        company.advance(epoch, gradients[epoch])
        alone.advance(epoch, gradients[epoch][:, [slot]])
        assert_same_bits(company.weights[slot], alone.weights[0])
        if "momentum_buffer" in company.state:
            assert_same_bits(company.state["momentum_buffer"][slot], alone.state["momentum_buffer"][0])


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_corner_rows_are_bit_equal_alone_and_beside_each_other(optimizer: str) -> None:
    rows = corner_rows(optimizer)
    for slot in range(len(rows)):
        for seed in range(5):
            assert_alone_as_in_company(optimizer, rows, slot, seed)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@settings(max_examples=20, deadline=None, derandomize=True)
@given(data=st.data(), seed=SEEDS)
def test_a_row_is_bit_equal_beside_rows_that_need_other_parts(
    optimizer: str, data: st.DataObject, seed: int
) -> None:
    rows = data.draw(populations(optimizer))
    assert_alone_as_in_company(optimizer, rows, data.draw(st.integers(0, len(rows) - 1)), seed)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@settings(max_examples=5, deadline=None, derandomize=True)
@given(data=st.data(), seed=SEEDS)
def test_column_slices_compute_what_the_whole_computes(
    optimizer: str, data: st.DataObject, seed: int
) -> None:
    rows = data.draw(populations(optimizer))
    gradients, weights = wild_gradients(len(rows), seed), initial_weights(len(rows), seed)
    whole, sliced = (StackedRows(optimizer, rows, weights) for _ in range(2))
    for epoch in range(3):
        whole.advance(epoch, gradients[epoch])
        sliced.advance(epoch, gradients[epoch], splits=[20, PARAMETERS - 20])
        assert_same_bits(sliced.weights, whole.weights)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_buffer_and_its_start(optimizer: str) -> None:
    rule = UPDATE_RULES[optimizer]
    starts = {name: rule.initial(name, {"lr": 0.1, "initial_accumulator_value": 0.25}) for name in rule.state}
    assert starts == dict.fromkeys(rule.state, 0.25 if optimizer == "Adagrad" else 0.0)
