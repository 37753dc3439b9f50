"""Random masks as functions of (seed, step, layer, element), for stacked and solo training alike.

A trial's dropout masks and augmentations must not depend on its slot, its neighbours or what was drawn
before a restart. So they are not drawn but computed: a 32-bit hash of a key, which stands for (seed, step),
and of a counter, which stands for (layer, element). The layer is the place of the call in the forward pass.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import lru_cache
from types import FunctionType
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

_GOLDEN = 0x9E3779B97F4A7C15  # 2**64 / golden ratio, the stride of SplitMix64
_AUGMENTATION = 0x5BD1E995  # keeps augmentation's draws apart from those of any layer


def update_keys(seed: int, first: int, updates: int) -> npt.NDArray[np.int32]:
    """Keys (updates,) of the updates ``first``, ``first`` + 1 ... (from 1) of a trial with ``seed``.

    The upper half of SplitMix64 (Steele, Lea and Flood 2014) at position ``update``, started from a mix of
    the seed.
    """
    start = _mix64(np.array([seed % 2**64], dtype=np.uint64) ^ np.uint64(0xD6E8FEB86659FD93))
    numbers = np.arange(first, first + updates, dtype=np.uint64)
    with np.errstate(over="ignore"):
        mixed = _mix64(start + numbers * np.uint64(_GOLDEN))
    return (mixed >> np.uint64(32)).astype(np.uint32).view(np.int32)


def _mix64(values: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """SplitMix64's finalizer."""
    with np.errstate(over="ignore"):
        values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def random_bits(key: Tensor, layer: int, elements: int) -> Tensor:
    """31 random bits (elements,) as int32 of at least 0; ``key`` is a scalar int32, or a row's under vmap.

    MurmurHash3's 32-bit finalizer (Appleby 2011) over the key and a mixed counter.
    """
    mixed = _mix32(_counters(layer, elements, key.device) ^ key)
    return mixed & 0x7FFFFFFF


def uniform_numbers(key: Tensor, examples: int) -> Callable[[int], Tensor]:
    """For a task's ``augment``: n -> (examples, n) float32 numbers in [0, 1); each call gives others."""
    calls = 0

    def uniform(count: int) -> Tensor:
        nonlocal calls
        bits = random_bits(key, _AUGMENTATION + calls, examples * count)
        calls += 1
        # 24 bits are what float32 tells apart in [0, 1).
        return ((bits >> 7).to(torch.float32) * 2.0**-24).view(examples, count)

    return uniform


@lru_cache(maxsize=64)
def _counters(layer: int, elements: int, device: torch.device) -> Tensor:
    """What stands for (layer, element): (elements,), int32."""
    numbers = np.arange(elements, dtype=np.uint64) + np.uint64((layer + 1) * _GOLDEN % 2**64)
    mixed = (_mix64(numbers) >> np.uint64(32)).astype(np.uint32).view(np.int32)
    return torch.from_numpy(mixed).to(device)


def _mix32(values: Tensor) -> Tensor:
    """MurmurHash3's finalizer without its last shift, which changes low bits only. Overwrites ``values``."""
    values ^= (values >> 16) & 0xFFFF
    values *= -0x7A143595  # 0x85EBCA6B as a signed number
    values ^= (values >> 13) & 0x7FFFF
    values *= -0x3D4D51CB  # 0xC2B2AE35
    return values


class KeyedRandomness(TorchFunctionMode):
    """While this is entered, dropout takes its masks from ``key`` instead of PyTorch's generator.

    Covers dropout of elements and of channels, as modules, as functions and inside attention. What else
    draws random numbers is left to PyTorch.
    """

    def __init__(self, key: Tensor) -> None:
        """``key`` () int32: that of one update of one trial, from :func:`update_keys`."""
        super().__init__()
        self._key = key
        self.layers = 0  # that have asked for a mask so far

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Answer PyTorch's dropout functions ourselves; everything else goes its way."""
        keyed = _KEYED.get(func)
        return func(*args, **(kwargs or {})) if keyed is None else keyed(self, *args, **(kwargs or {}))

    def dropout(self, input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
        """torch.nn.functional.dropout."""
        return self._masked(input, tuple(input.shape), p, training, inplace)

    def dropout1d(
        self, input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
    ) -> Tensor:
        """torch.nn.functional.dropout1d: channels of (batch, channels, length) or (channels, length)."""
        return self._channels_masked(input, 1 if input.dim() == 2 else 2, p, training, inplace)

    def dropout2d(
        self, input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
    ) -> Tensor:
        """torch.nn.functional.dropout2d: channels of (batch, channels, ...); three dimensions are a batch."""
        return self._channels_masked(input, 2, p, training, inplace)

    def dropout3d(
        self, input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
    ) -> Tensor:
        """torch.nn.functional.dropout3d: channels of a batch of volumes, or of one volume."""
        return self._channels_masked(input, 1 if input.dim() == 4 else 2, p, training, inplace)

    def attention(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> Tensor:
        """torch.nn.functional.scaled_dot_product_attention, by the formula of its documentation."""
        if dropout_p == 0.0:
            return functional.scaled_dot_product_attention(
                query, key, value, attn_mask, 0.0, is_causal, scale=scale, enable_gqa=enable_gqa
            )
        if enable_gqa:
            repeats = query.size(-3) // key.size(-3)
            key, value = key.repeat_interleave(repeats, -3), value.repeat_interleave(repeats, -3)
        scores = query @ key.transpose(-2, -1) * (query.size(-1) ** -0.5 if scale is None else scale)
        if is_causal:
            earlier = torch.ones(query.size(-2), key.size(-2), dtype=torch.bool, device=query.device).tril()
            scores = scores.masked_fill(~earlier, float("-inf"))
        if attn_mask is not None and attn_mask.dtype == torch.bool:
            scores = scores.masked_fill(~attn_mask, float("-inf"))
        elif attn_mask is not None:
            scores = scores + attn_mask
        return self.dropout(scores.softmax(dim=-1), dropout_p) @ value

    def multi_head_attention(self, *args: Any, **kwargs: Any) -> Any:
        """torch.nn.functional.multi_head_attention_forward, its dropout asked of this mode.

        A mode is not entered while it answers, so PyTorch's function is run over names of ours.
        """
        original: Any = functional.multi_head_attention_forward
        names = {
            **original.__globals__,
            "dropout": self.dropout,
            "scaled_dot_product_attention": self.attention,
            "has_torch_function": lambda _: False,
        }
        forward = FunctionType(original.__code__, names, original.__name__, original.__defaults__)
        forward.__kwdefaults__ = original.__kwdefaults__
        return forward(*args, **kwargs)

    def _channels_masked(self, input: Tensor, kept: int, p: float, training: bool, inplace: bool) -> Tensor:
        """One decision for everything behind the first ``kept`` dimensions."""
        shape = (*input.shape[:kept], *[1] * (input.dim() - kept))
        return self._masked(input, shape, p, training, inplace)

    def _masked(
        self, input: Tensor, mask_shape: tuple[int, ...], p: float, training: bool, inplace: bool
    ) -> Tensor:
        """Zeros with probability ``p``, the rest scaled by 1 / (1 - p)."""
        if not 0.0 <= p <= 1.0:
            raise ValueError(f"dropout probability has to be between 0 and 1, but got {p}")
        if not training or p == 0.0:
            return input
        bits = random_bits(self._key, self.layers, math.prod(mask_shape)).view(mask_shape)
        self.layers += 1
        scale = 0.0 if p == 1.0 else 1.0 / (1.0 - p)
        factors = (bits >= min(round(p * 2**31), 2**31 - 1)).to(input.dtype) * scale
        return input.mul_(factors) if inplace else input * factors


class SoloRandomness(KeyedRandomness):
    """The same for a plain loop, where a backward pass may do parts of the forward pass again.

    In such parts (torch.utils.checkpoint) masks are left to PyTorch's own generator, which is put back when
    they are done again, as no mode is entered then.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """As KeyedRandomness, but in such parts everything goes its way."""
        if _may_be_done_again():
            return func(*args, **(kwargs or {}))
        return super().__torch_function__(func, types, args, kwargs)


def _may_be_done_again() -> bool:
    """Whether this is a checkpoint's forward pass: without a graph, or with hooks for what a graph keeps."""
    hooks = torch._C._autograd._top_saved_tensors_default_hooks(True)
    return not torch.is_grad_enabled() or hooks is not None


_Answer = Callable[..., Any]
_KEYED: Mapping[Any, _Answer] = {
    functional.dropout: KeyedRandomness.dropout,
    torch.dropout: lambda mode, input, p, train: mode.dropout(input, p, train),
    functional.dropout1d: KeyedRandomness.dropout1d,
    functional.dropout2d: KeyedRandomness.dropout2d,
    functional.dropout3d: KeyedRandomness.dropout3d,
    functional.scaled_dot_product_attention: KeyedRandomness.attention,
    functional.multi_head_attention_forward: KeyedRandomness.multi_head_attention,
}
