"""Narrow softmax: over fewer numbers than a vector register holds, on a processor.

PyTorch's kernels take a softmax's own numbers into a register, which over ten classes leaves most of it empty
and costs a call a row. Turned, with the classes apart in memory, many examples are in a register at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

FEWEST = 16  # numbers for which the kernels are made: those of an AVX512 register in float32

_SOFTMAXES: frozenset[Callable[..., Any]] = frozenset(
    {
        functional.log_softmax,
        functional.softmax,
        torch.log_softmax,
        torch.softmax,
        Tensor.log_softmax,
        Tensor.softmax,
    }
)


def narrow_softmax(func: Any, args: tuple[Any, ...], named: Mapping[str, Any]) -> Tensor | None:
    """What ``func`` gives, up to rounding, where it is a narrow softmax or cross-entropy; None elsewhere."""
    if func in _SOFTMAXES:
        return _softmax(func, *args, **named)
    if func is functional.cross_entropy:
        return _cross_entropy(*args, **named)
    return None


def _softmax(func: Any, input: Tensor, dim: int | None = None, *others: Any, **named: Any) -> Tensor | None:
    if (
        dim is None
        or others
        or named
        or dim % max(input.dim(), 1) != input.dim() - 1
        or not _is_narrow(input)
    ):
        return None
    classes = input.size(-1)
    turned = func(input.reshape(-1, classes).t().contiguous(), 0)
    found: Tensor = turned.t().reshape(input.shape)
    return found


def _cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    ignore_index: int = -100,
    reduce: bool | None = None,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor | None:
    """torch.nn.functional.cross_entropy of logits (examples, classes) and class numbers (examples,)."""
    plain = size_average is None and reduce is None and label_smoothing == 0.0
    if not plain or input.dim() != 2 or target.dim() != 1 or target.is_floating_point():
        return None
    logarithms = _softmax(torch.log_softmax, input, 1)
    if logarithms is None:
        return None
    return functional.nll_loss(logarithms, target, weight, ignore_index=ignore_index, reduction=reduction)


def _is_narrow(input: Tensor) -> bool:
    classes = input.size(-1)
    return input.device.type == "cpu" and 0 < classes < FEWEST and input.numel() >= 2 * classes
