"""Row geometry: which values of a row graph share memory, how they lie in it, and what is written into."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from workers.row_graph import Call, Ref, RowGraph, mapped

_FILLED = frozenset(
    {
        torch.ops.aten.new_zeros.default,
        torch.ops.aten.new_ones.default,
        torch.ops.aten.new_full.default,
        torch.ops.aten.zeros_like.default,
        torch.ops.aten.ones_like.default,
        torch.ops.aten.full_like.default,
    }
)  # operations that look at a tensor's size only


@dataclass(frozen=True, slots=True)
class Geometry:
    """How one tensor lies in memory."""

    memory: int  # its number: the place of the value that it came with, first
    sizes: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int
    dtype: torch.dtype

    def lies_like(self, other: Geometry) -> bool:
        """Whether the two differ at most in whose memory they are, and where in it they begin."""
        return (self.sizes, self.strides, self.dtype) == (other.sizes, other.strides, other.dtype)


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """What one run of a graph showed, by place."""

    geometries: Sequence[Geometry | None]  # None: several results, or no tensor
    changed: frozenset[int]  # memories that some operation writes into
    constants: dict[int, Tensor]  # values that are the same whatever the inputs

    def memory(self, place: int) -> int | None:
        """The memory that a value lies in; None for several results."""
        geometry = self.geometries[place]
        return None if geometry is None else geometry.memory

    def is_view(self, place: int, call: Call) -> bool:
        """Whether the result of ``call``, at ``place``, lies in the memory of something it is given."""
        memory = self.memory(place)
        return memory is not None and any(self.memory(ref.index) == memory for ref in call.refs)

    def is_changed(self, place: int) -> bool:
        """Whether the memory of a value is written into, before or after it is made."""
        geometry = self.geometries[place]
        return geometry is None or geometry.memory in self.changed


def bytes_of(geometry: Geometry) -> int:
    """From a tensor's first number to its last."""
    if 0 in geometry.sizes:
        return 0
    reach = sum((size - 1) * stride for size, stride in zip(geometry.sizes, geometry.strides, strict=True))
    return (reach + 1) * geometry.dtype.itemsize


def is_contiguous(geometry: Geometry) -> bool:
    """Whether its numbers lie one after another, in order."""
    wanted = 1
    for size, stride in zip(reversed(geometry.sizes), reversed(geometry.strides), strict=True):
        if size != 1 and stride != wanted:
            return False
        wanted *= size
    return True


def is_pure(call: Call) -> bool:
    """Whether it leaves what it is given as it is."""
    return call.operation is operator.getitem or not call.operation._schema.is_mutable


def carry_out(call: Call, values: Sequence[Any]) -> Any:
    """The result of ``call`` on ``values``, by place."""

    def valued(value: Any) -> Any:
        return values[value.index] if isinstance(value, Ref) else value

    return call.operation(
        *(mapped(argument, valued) for argument in call.arguments),
        **{name: mapped(argument, valued) for name, argument in call.named.items()},
    )


@torch.no_grad()
def watch(graph: RowGraph, inputs: Sequence[Tensor]) -> Watched:
    """Run ``graph`` on ``inputs``, which it may write into, and note how its values lie."""
    run = _Run(graph, inputs)
    for place, call in enumerate(graph.calls, start=graph.first_call):
        run.carry_out(place, call)
    constants = {
        place: value
        for place, value in run.constants.items()
        if (geometry := run.geometries[place]) is not None and geometry.memory not in run.changed
    }
    return Watched(geometries=run.geometries, changed=frozenset(run.changed), constants=constants)


class _Run:
    """The values of a graph while they are made, no longer than they are read."""

    def __init__(self, graph: RowGraph, inputs: Sequence[Tensor]) -> None:
        self.values: list[Any] = [*inputs, *graph.constants]
        self.memories: list[list[int]] = [[place] for place in range(len(self.values))]
        self.geometries: list[Geometry | None] = [
            _geometry(value, place) for place, value in enumerate(self.values)
        ]
        self.constants = {place: self.values[place] for place in range(graph.inputs, graph.first_call)}
        self.changed: set[int] = set()
        self._next_memory = graph.first_call
        self._last_read: dict[int, int] = {}
        for place, call in enumerate(graph.calls, start=graph.first_call):
            self._last_read |= {ref.index: place for ref in call.refs}

    def carry_out(self, place: int, call: Call) -> None:
        given = call.refs
        value = carry_out(call, self.values)
        self.values.append(value)
        leaves = [leaf for leaf in tree_leaves(value) if isinstance(leaf, Tensor)]
        memories = [self._memory(leaf, given) for leaf in leaves]
        self.memories.append(memories)
        single = isinstance(value, Tensor)
        self.geometries.append(_geometry(value, memories[0]) if single else None)
        if not is_pure(call):
            self.changed.update(self._written(call))
        elif single and (call.operation in _FILLED or all(ref.index in self.constants for ref in given)):
            self.constants[place] = value
        for ref in given:
            if self._last_read[ref.index] == place:
                self.values[ref.index] = None

    def _memory(self, tensor: Tensor, given: Sequence[Ref]) -> int:
        """The memory of a result: that of something given, or its own."""
        storage = tensor.untyped_storage()._cdata
        for ref in given:
            leaves = [leaf for leaf in tree_leaves(self.values[ref.index]) if isinstance(leaf, Tensor)]
            for leaf, memory in zip(leaves, self.memories[ref.index], strict=True):
                if leaf.untyped_storage()._cdata == storage:
                    return memory
        self._next_memory += 1
        return self._next_memory

    def _written(self, call: Call) -> Iterator[int]:
        """Memories that ``call`` writes into."""
        schema = call.operation._schema.arguments
        for index, argument in enumerate(schema):
            if argument.alias_info is None or not argument.alias_info.is_write:
                continue
            value = call.arguments[index] if index < len(call.arguments) else call.named.get(argument.name)
            for leaf in tree_leaves(value):
                if isinstance(leaf, Ref):
                    yield from self.memories[leaf.index]


def _geometry(tensor: Tensor, memory: int) -> Geometry:
    return Geometry(memory, tuple(tensor.shape), tensor.stride(), int(tensor.storage_offset()), tensor.dtype)
