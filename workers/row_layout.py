"""Row layout: inside a population, every trial's numbers lie together in memory.

Batched convolutions and batch normalisation fold the rows into the channels and leave results whose rows
are interleaved. A sum over the batch then adds in an order that depends on where a row stands among its
neighbours: vectorised sums treat the first columns otherwise than the last. So what goes in and out of
those functions is put back, rows first, in both directions.
"""

# ruff: noqa: ARG004 - PyTorch passes its context to every method of a Function

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode

from workers.compiler_import import without_symbols
from workers.narrow_linear import narrow_linear
from workers.narrow_softmax import narrow_softmax
from workers.unfolded_convolution import unfolded_convolution, unfolds

_CONVOLUTIONS = frozenset({functional.conv1d, functional.conv2d, functional.conv3d})
_INTERLEAVING = frozenset(
    {
        *_CONVOLUTIONS,
        functional.batch_norm,
        torch.batch_norm,
        functional.conv_transpose1d,
        functional.conv_transpose2d,
        functional.conv_transpose3d,
    }
)


class RowLayout(TorchFunctionMode):
    """While this is entered under vmap, functions that interleave rows have rows first in and out.

    And what batched embedding forgets is done: no gradient comes to the row of ``padding_idx``. Softmax over
    few numbers and linear layers with few outputs are turned, which is faster (:mod:`workers.narrow_softmax`,
    :mod:`workers.narrow_linear`).
    """

    def __init__(self, convolutions: str = "grouped") -> None:
        """``convolutions``: grouped, as PyTorch batches them, or unfolded into products."""
        super().__init__()
        self.calls = 0  # of functions that want this
        self.convolutions = 0  # of those, calls that may be unfolded
        self._unfolded = convolutions == "unfolded"

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Put the first argument and the result of such a function in order."""
        if func is functional.embedding:
            return self._embedded(*args, **(kwargs or {}))
        if func is functional.linear:
            narrow = narrow_linear(*args, **(kwargs or {}))
        else:
            narrow = narrow_softmax(func, args, kwargs or {})
        if narrow is not None:
            self.calls += 1
            return narrow
        if func not in _INTERLEAVING:
            return func(*args, **(kwargs or {}))
        self.calls += 1
        given = dict(kwargs or {})
        if args:
            args = (rows_first(args[0]), *args[1:])
        else:
            given["input"] = rows_first(given["input"])
        if func in _CONVOLUTIONS and unfolds(*args, **given):
            self.convolutions += 1
            func = unfolded_convolution if self._unfolded else func
        return rows_first(func(*args, **given))

    def _embedded(
        self, input: Tensor, weight: Tensor, padding_idx: int | None = None, *args: Any, **kwargs: Any
    ) -> Tensor:
        """torch.nn.functional.embedding."""
        found = functional.embedding(input, weight, padding_idx, *args, **kwargs)
        if padding_idx is None:
            return found
        self.calls += 1
        padding = (input == padding_idx % len(weight)).unsqueeze(-1)
        return torch.where(padding, found.detach(), found)


def rows_first(tensor: Tensor) -> Tensor:
    """``tensor`` itself; under vmap, each row of it and of its gradient in one piece of memory."""
    found: Tensor = _RowsFirst.apply(tensor)  # type: ignore[no-untyped-call]
    return found


class _RowsFirst(Function):
    """Nothing outside vmap."""

    @staticmethod
    def forward(tensor: Tensor) -> Tensor:
        return tensor.view_as(tensor)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int], tensor: Tensor) -> tuple[Tensor, int]:
        return _Contiguous.apply(tensor.movedim(in_dims[0], 0)), 0  # type: ignore[no-untyped-call]


class _Contiguous(Function):
    """A contiguous copy where needed, of the tensor on the way in and of its gradient on the way back."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        return tensor.contiguous()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient.contiguous()


@contextmanager
def plain_formulas() -> Iterator[None]:
    """Attention by the formula's own operations: fused kernels take batched rows one by one.

    And formulas that check their arguments load no algebra for that.
    """
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH), without_symbols():
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
