"""Linear layers with few outputs, as they are batched over rows."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.func import vmap
from torch.nn import functional

from workers.narrow_linear import FEWEST, narrow_linear
from workers.row_layout import RowLayout

ROWS = 3


def tensor(*sizes: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(sizes, generator=generator, dtype=torch.float64)


def of_rows(
    input: Tensor, weight: Tensor, bias: Tensor | None, in_dims: tuple[int | None, ...]
) -> list[Tensor]:
    """Outputs under vmap inside a population's layout, and the gradients of all that is given."""
    leaves = [given.requires_grad_() for given in (input, weight, *([] if bias is None else [bias]))]

    def layer(*given: Tensor) -> Tensor:
        with RowLayout() as layout:
            found = functional.linear(*given)
        assert layout.calls == (weight.shape[-2] < FEWEST)
        return found

    found = vmap(layer, in_dims=in_dims[: len(leaves)])(*leaves)
    loss = (found * torch.arange(1.0, found.numel() + 1.0, dtype=found.dtype).view_as(found)).sum()
    return [found.detach(), *torch.autograd.grad(loss, leaves)]


def by_pytorch(
    input: Tensor, weight: Tensor, bias: Tensor | None, in_dims: tuple[int | None, ...]
) -> list[Tensor]:
    """The same, row after row."""
    leaves = [given.requires_grad_() for given in (input, weight, *([] if bias is None else [bias]))]
    rows = [
        functional.linear(
            *(given if dim is None else given[row] for given, dim in zip(leaves, in_dims, strict=False))
        )
        for row in range(ROWS)
    ]
    found = torch.stack(rows)
    loss = (found * torch.arange(1.0, found.numel() + 1.0, dtype=found.dtype).view_as(found)).sum()
    return [found.detach(), *torch.autograd.grad(loss, leaves)]


@pytest.mark.parametrize("outputs", [1, 2, 10, FEWEST - 1, FEWEST])
@pytest.mark.parametrize("with_bias", [True, False])
@pytest.mark.parametrize("examples", [(5,), (4, 6), (1,)])
def test_it_is_pytorchs_layer(outputs: int, with_bias: bool, examples: tuple[int, ...]) -> None:
    given = (
        tensor(ROWS, *examples, 7),
        tensor(ROWS, outputs, 7, seed=1),
        tensor(ROWS, outputs, seed=2) if with_bias else None,
    )
    for found, expected in zip(of_rows(*given, (0, 0, 0)), by_pytorch(*given, (0, 0, 0)), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize(("inputs_differ", "weights_differ"), [(True, False), (False, True)])
def test_what_rows_share_may_be_given_once(inputs_differ: bool, weights_differ: bool) -> None:
    input = tensor(*[ROWS][:inputs_differ], 5, 7)
    weight = tensor(*[ROWS][:weights_differ], 3, 7, seed=1)
    in_dims = (0 if inputs_differ else None, 0 if weights_differ else None)
    found, expected = of_rows(input, weight, None, in_dims), by_pytorch(input, weight, None, in_dims)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-13, atol=1e-13)


def test_a_row_has_the_same_bits_in_any_company() -> None:
    torch.manual_seed(0)
    input, weight = torch.randn(9, 33, 21), torch.randn(9, 5, 21)
    everybody = of_rows(input.clone(), weight.clone(), None, (0, 0))
    few = of_rows(input[[8, 2, 5, 5]].clone(), weight[[8, 2, 5, 5]].clone(), None, (0, 0))
    assert torch.equal(few[0], everybody[0][[8, 2, 5, 5]])


def test_others_are_left_alone() -> None:
    assert narrow_linear(tensor(5, 7), tensor(FEWEST, 7)) is None
    assert narrow_linear(tensor(7), tensor(3, 7)) is None
    assert narrow_linear(tensor(5, 7), tensor(7)) is None
    with torch.autocast("cpu", torch.bfloat16):
        assert narrow_linear(tensor(5, 7).float(), tensor(3, 7).float()) is None
