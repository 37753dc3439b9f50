"""Unfolded convolution: the same sums as one matrix product, which rows of a population batch.

Mapped over rows, PyTorch's own convolution becomes a grouped one; a product becomes a batched product. Which
is faster depends on the device and on the sizes, so it is measured (:mod:`workers.speed`).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

Sizes = int | Sequence[int]


def unfolds(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,  # noqa: ARG001 - these are a convolution's arguments
    stride: Sizes = 1,  # noqa: ARG001
    padding: Sizes | str = 0,  # noqa: ARG001
    dilation: Sizes = 1,  # noqa: ARG001
    groups: int = 1,
) -> bool:
    """Whether that convolution may be unfolded: not in several groups, nor without a batch."""
    return groups == 1 and input.dim() == weight.dim()


def unfolded_convolution(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Sizes = 1,
    padding: Sizes | str = 0,
    dilation: Sizes = 1,
    groups: int = 1,  # noqa: ARG001 - one
) -> Tensor:
    """torch.nn.functional.conv1d, conv2d or conv3d of ``input`` (batch, channels, *sizes), up to rounding.

    Only where :func:`unfolds`. The result's channels lie together in memory.
    """
    axes = weight.dim() - 2
    kernel = weight.shape[2:]
    strides, dilations = _each(stride, axes), _each(dilation, axes)
    spans = [step * (size - 1) for size, step in zip(kernel, dilations, strict=True)]
    before, after = _padding(padding, spans)
    last = input.movedim(1, -1)  # channels lie together, as a product wants them
    if any(before) or any(after):
        pads = [amount for pair in zip(reversed(before), reversed(after), strict=True) for amount in pair]
        last = functional.pad(last, [0, 0, *pads])
    sizes = [
        (size - span - 1) // step + 1
        for size, span, step in zip(last.shape[1:-1], spans, strides, strict=True)
    ]
    parts = [
        last[(slice(None), *_window(tap, dilations, strides, sizes))]
        for tap in itertools.product(*(range(size) for size in kernel))
    ]
    columns = parts[0] if len(parts) == 1 else torch.cat(parts, dim=-1)
    taps = weight.movedim(1, -1).reshape(len(weight), -1)  # (outputs, kernel * channels)
    product = columns.reshape(len(input) * math.prod(sizes), taps.shape[1]) @ taps.t()
    if bias is not None:
        product = product + bias
    return product.view(len(input), *sizes, len(weight)).movedim(-1, 1)


def _each(given: Sizes, axes: int) -> list[int]:
    """One number an axis."""
    numbers = [given] if isinstance(given, int) else [int(number) for number in given]
    return numbers * axes if len(numbers) == 1 else numbers


def _padding(given: Sizes | str, spans: Sequence[int]) -> tuple[list[int], list[int]]:
    """Zeros before and after each axis; 'same' puts an odd one behind."""
    if given == "valid":
        return [0] * len(spans), [0] * len(spans)
    if given == "same":
        return [span // 2 for span in spans], [span - span // 2 for span in spans]
    if isinstance(given, str):
        raise ValueError(f"padding {given!r}: wants 'same', 'valid' or numbers")
    numbers = _each(given, len(spans))
    return numbers, numbers


def _window(
    tap: Sequence[int], dilations: Sequence[int], strides: Sequence[int], sizes: Sequence[int]
) -> tuple[slice, ...]:
    """What a tap of the kernel sees, along each axis."""
    return tuple(
        slice(place * dilation, place * dilation + step * (size - 1) + 1, step)
        for place, dilation, step, size in zip(tap, dilations, strides, sizes, strict=True)
    )
