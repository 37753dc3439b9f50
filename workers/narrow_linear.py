"""Narrow linear: a linear layer with few outputs, on a processor.

vmap multiplies the transposed input by the gradient of the outputs, where PyTorch's own layer multiplies
the transposed gradient by the input. With few outputs the former takes five times as long, and the layer's
forward product twice as long as its transpose.
"""

# ruff: noqa: ARG004 - PyTorch passes its context to every method of a Function

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

FEWEST = 16
"""Outputs from which on both ways take as long: the numbers of an AVX512 register in float32."""


def narrow_linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor | None:
    """torch.nn.functional.linear up to rounding where it has few outputs; None elsewhere.

    The result lies in memory with its outputs apart, as a softmax over few numbers wants them.
    """
    outputs = weight.size(0) if weight.dim() == 2 else 0
    is_plain = input.device.type == "cpu" and not torch.is_autocast_enabled("cpu")
    if not is_plain or not 0 < outputs < FEWEST or input.dim() < 2:
        return None
    flat = input.reshape(-1, input.size(-1))
    found: Tensor = _Linear.apply(flat, weight)  # type: ignore[no-untyped-call]
    if bias is not None:
        found = found + bias
    return found.reshape(*input.shape[:-1], outputs)


class _Linear(Function):
    """``input @ weight.T`` of (examples, features) and (outputs, features)."""

    @staticmethod
    def forward(input: Tensor, weight: Tensor) -> Tensor:
        return input @ weight.t()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        input, weight = ctx.saved_tensors
        return gradient @ weight, gradient.t() @ input

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[int | None, int | None], input: Tensor, weight: Tensor
    ) -> tuple[Tensor, int]:
        rows = (
            tensor.expand(info.batch_size, *tensor.shape) if dim is None else tensor.movedim(dim, 0)
            for tensor, dim in zip((input, weight), in_dims, strict=True)
        )
        return _LinearOfRows.apply(*rows), 0  # type: ignore[no-untyped-call]


class _LinearOfRows(Function):
    """The same of (rows, examples, features) and (rows, outputs, features)."""

    @staticmethod
    def forward(ctx: Any, input: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(input, weight)
        return torch.bmm(weight, input.mT).mT

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None]:
        input, weight = ctx.saved_tensors
        of_input, of_weight = ctx.needs_input_grad
        return (
            torch.bmm(gradient, weight) if of_input else None,
            torch.bmm(gradient.mT, input) if of_weight else None,
        )
