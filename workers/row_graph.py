"""Row graphs: what PyTorch does for rows of a population, written down as a list of its operations.

A function of rows is run once at two widths while every operation is noted (:mod:`workers.row_trace`): vmap,
autograd and the model's own Python leave no trace but the operations. The two lists differ in sizes only,
which are linear in the width, so they give the list at every width without another run.
:mod:`workers.row_program` carries such a list out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

RowFunction = Callable[..., Sequence[Tensor]]
"""Of tensors with one row each a trial, (rows, ...); changes some of them in place, and returns others."""


class CannotTrace(ValueError):
    """A function of rows that no list of operations can stand for, in words of the list."""


@dataclass(frozen=True, slots=True)
class Ref:
    """A value of a graph by its place: first the inputs, then the constants, then what operations give."""

    index: int


@dataclass(frozen=True, slots=True)
class ByWidth:
    """A number that is ``slope * width + offset``."""

    slope: int
    offset: int


@dataclass(frozen=True)
class Call:
    """One operation. Its arguments are plain, or :class:`Ref`, or lists of these."""

    operation: Any  # torch._ops.OpOverload, or operator.getitem for one of several results
    arguments: tuple[Any, ...]
    named: Mapping[str, Any]

    @cached_property
    def refs(self) -> tuple[Ref, ...]:
        """The values that it is given; asked for in every epoch, so found once."""
        leaves = tree_leaves([list(self.arguments), list(self.named.values())])
        return tuple(leaf for leaf in leaves if isinstance(leaf, Ref))


@dataclass(frozen=True, slots=True, kw_only=True)
class RowGraph:
    """Operations in order, on ``inputs`` values and some constants."""

    inputs: int
    constants: tuple[Tensor, ...]
    calls: tuple[Call, ...]
    outputs: tuple[Ref, ...]

    @property
    def first_call(self) -> int:
        """The place of the first operation's value."""
        return self.inputs + len(self.constants)

    def at(self, width: int) -> RowGraph:
        """The same with the sizes of ``width`` rows."""

        def fixed(value: Any) -> Any:
            return value.slope * width + value.offset if isinstance(value, ByWidth) else value

        calls = tuple(mapped_call(call, fixed) for call in self.calls)
        return RowGraph(inputs=self.inputs, constants=self.constants, calls=calls, outputs=self.outputs)


def mapped(value: Any, change: Callable[[Any], Any]) -> Any:
    """``value``, an argument of an operation, with ``change`` applied to whatever is no list in it."""
    if isinstance(value, (list, tuple)):
        return [mapped(item, change) for item in value]
    return change(value)


def mapped_call(call: Call, change: Callable[[Any], Any]) -> Call:
    """``call`` with ``change`` applied to whatever is no list in its arguments."""
    return Call(
        call.operation,
        tuple(mapped(argument, change) for argument in call.arguments),
        {name: mapped(argument, change) for name, argument in call.named.items()},
    )


def copied(tensor: Tensor) -> Tensor:
    """A copy with the same strides, or ``tensor`` itself where the rows are one and the same."""
    tensor = tensor.detach()
    if tensor.stride(0) == 0:
        return tensor
    return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device=tensor.device).copy_(
        tensor
    )


def same_at_every_width(graph: RowGraph) -> bool:
    """Whether :meth:`RowGraph.at` knows other widths than that which was traced."""
    return any(
        isinstance(leaf, ByWidth)
        for call in graph.calls
        for leaf in tree_leaves([list(call.arguments), list(call.named.values())])
    )


def of_two_widths(found: RowGraph, wider: RowGraph, width: int) -> RowGraph | None:
    """Both in one, ``wider`` being of one row more; None where they differ in more than sizes."""
    alike = (
        found.outputs == wider.outputs
        and [call.operation for call in found.calls] == [call.operation for call in wider.calls]
        and len(found.constants) == len(wider.constants)
        and all(map(_same_constant, found.constants, wider.constants))
    )
    if not alike:
        return None
    try:
        calls = tuple(_call_of_two(*pair, width) for pair in zip(found.calls, wider.calls, strict=True))
    except _Differ:
        return None
    return RowGraph(inputs=found.inputs, constants=found.constants, calls=calls, outputs=found.outputs)


class _Differ(Exception):
    """Two arguments are not of one formula."""


def _call_of_two(call: Call, wider: Call, width: int) -> Call:
    if len(call.arguments) != len(wider.arguments) or call.named.keys() != wider.named.keys():
        raise _Differ
    return Call(
        call.operation,
        tuple(_argument_of_two(*pair, width) for pair in zip(call.arguments, wider.arguments, strict=True)),
        {name: _argument_of_two(one, wider.named[name], width) for name, one in call.named.items()},
    )


def _argument_of_two(one: Any, other: Any, width: int) -> Any:
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        return [_argument_of_two(*pair, width) for pair in zip(one, other, strict=True)]
    if type(one) is type(other) and (one == other or (one != one and other != other)):
        return one
    if type(one) is int and type(other) is int:
        slope = other - one
        return ByWidth(slope, one - slope * width)
    raise _Differ


def _same_constant(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and one.dtype == other.dtype and torch.equal(one, other)
