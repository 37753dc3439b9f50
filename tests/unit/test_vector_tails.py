"""The last numbers of a tensor round otherwise in some functions; no row may have a part in them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.unit.modules_for_tests import BATCH, VECTORS, Task, recipe, stacked
from workers.anatomy import anatomy_of
from workers.vector_tails import with_tails


class Uneven(nn.Module):
    """Thirteen features of each example through ``function``, and one number of the whole model."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function
        self.first = nn.Linear(6, 13)
        self.gain = nn.Parameter(torch.tensor(0.3))
        self.head = nn.Linear(13, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head(self.function(3 * self.first(inputs))) * self.function(self.gain)


FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "sigmoid": torch.sigmoid,
    "silu": functional.silu,
    "gelu, tanh": lambda x: functional.gelu(x, approximate="tanh"),
    "elu": functional.elu,
    "mish": functional.mish,
    "softplus": functional.softplus,
    "power": lambda x: x.abs() ** 1.7,
}


@pytest.mark.parametrize("precision", ["float32", "bf16"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_rows_bits_are_its_own_where_tails_differ(name: str, precision: str) -> None:
    task = Task(lambda: Uneven(FUNCTIONS[name]), VECTORS, double=False)
    outcomes, weights = stacked(task, width=4, slot=0, precision=precision)
    for width in range(5, 13):
        found, found_weights = stacked(task, width=width, slot=width - 1, precision=precision)
        assert found == outcomes
        assert all(torch.equal(found_weights[key], weights[key]) for key in weights)


@pytest.mark.parametrize("rows", [1, 3, 4, 5, 7, 16, 31, 33])
@pytest.mark.parametrize("sizes", [{1}, {7}, {7, 31}, {32}, {64, 640}, {3600}, set()])
def test_tails_are_behind_the_rows_and_no_longer_than_need_be(rows: int, sizes: set[int]) -> None:
    """Counted number by number."""

    def harmed(total: int) -> bool:
        return any(
            index // size < rows for size in sizes for index in range(total * size // 32 * 32, total * size)
        )

    total = with_tails(rows, {(size, 32) for size in sizes}, 4)
    assert total >= max(rows, 4)
    assert not harmed(total)
    assert all(harmed(fewer) for fewer in range(max(rows, 4), total))


def test_what_anatomy_notes_of_tails() -> None:
    """Training batches, the whole validation data, and numbers of the model itself; nothing of even functions."""
    task = Task(lambda: Uneven(torch.sigmoid), VECTORS, double=False)
    assert anatomy_of(recipe(task), BATCH).tails == {(BATCH * 13, 32), (8 * 13, 32), (1, 32)}
    half = anatomy_of(recipe(task, "bf16"), BATCH)
    assert {turn for _, turn in half.tails} == {64}
    even = Task(lambda: Uneven(torch.tanh), VECTORS, double=False)
    assert anatomy_of(recipe(even), BATCH).tails == frozenset()
