"""Row memory: where the results of a row graph are written, so that no update allocates.

They share one piece of memory, in which what is no longer read makes room for what comes. A result that is
an output as it stands is written where the output belongs.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping
from dataclasses import dataclass

import torch

from workers.row_geometry import Geometry, Watched, bytes_of, is_contiguous, is_pure
from workers.row_graph import Call, RowGraph
from workers.row_outputs import writes_into

_ALIGNMENT = 64  # bytes, of every result: a line of cache
_SLOW_INTO_ROWS_APART = frozenset({torch.ops.aten.bmm.default, torch.ops.aten.baddbmm.default})


@dataclass(frozen=True, slots=True)
class Place:
    """Where a result is written."""

    offset: int  # in the common memory, in bytes
    output: int | None = None  # the number of the output whose destination it is written into instead


class RowMemory:
    """The places of those results that can be written into memory that is already there."""

    def __init__(self, graph: RowGraph, watched: Watched, device: str) -> None:
        """Of a graph that is simplified; ``device``: its type."""
        self.places: dict[int, Place] = {}
        self.bytes = 0  # of the common memory
        self._graph = graph
        self._watched = watched
        self._device = device
        self._taken: dict[int, tuple[int, int]] = {}  # begin and end by memory
        self._readers = _readers(graph)
        self._last = self._last_reads()
        outputs = self._whole_outputs()
        for place, call in enumerate(graph.calls, start=graph.first_call):
            geometry = watched.geometries[place]
            if place in outputs:
                self.places[place] = Place(0, outputs[place])
            elif geometry is not None and self._is_written(place, call):
                self._lay(place, call, geometry)
            self._taken = {memory: at for memory, at in self._taken.items() if self._last[memory] > place}

    def _is_written(self, place: int, call: Call) -> bool:
        return (
            self._watched.geometries[place] is not None
            and place not in self._watched.constants
            and is_pure(call)
            and call.operation is not operator.getitem
            and not self._watched.is_view(place, call)
            and writes_into(call.operation, self._device)
        )

    def _last_reads(self) -> Mapping[int, int]:
        """The last operation that each memory takes part in; one more than there are for outputs."""
        last: dict[int, int] = {}
        for place, call in enumerate(self._graph.calls, start=self._graph.first_call):
            for index in (place, *(ref.index for ref in call.refs)):
                last[self._memory(index)] = place
        end = self._graph.first_call + len(self._graph.calls)
        return last | {self._memory(ref.index): end for ref in self._graph.outputs}

    def _memory(self, place: int) -> int:
        memory = self._watched.memory(place)
        return -1 if memory is None else memory

    def _sizes(self, place: int) -> tuple[int, ...]:
        geometry = self._watched.geometries[place]
        return () if geometry is None else geometry.sizes

    def _whole_outputs(self) -> dict[int, int]:
        """Results that are one output and that nothing else reads, views aside: its number by place."""
        found: dict[int, int] = {}
        first, geometries = self._graph.first_call, self._watched.geometries
        counts = [ref.index for ref in self._graph.outputs]
        for number, ref in enumerate(self._graph.outputs):
            place, readers = ref.index, 0
            while place >= first and len(self._readers.get(place, ())) == readers:
                call, geometry = self._graph.calls[place - first], geometries[place]
                if geometry is None or not is_contiguous(geometry) or counts.count(ref.index) > 1:
                    break
                if geometry.sizes[:1] != self._sizes(ref.index)[:1]:
                    break  # rows of a destination may be apart
                if self._watched.is_view(place, call):
                    source, readers = call.refs[0].index, 1
                    place = source if bytes_of(geometry) == _bytes(geometries[source]) else -1
                    continue
                if self._is_written(place, call) and call.operation not in _SLOW_INTO_ROWS_APART:
                    found[place] = number
                break
        return found

    def _lay(self, place: int, call: Call, geometry: Geometry) -> None:
        """In the place of an operand that it may overwrite, or in the lowest one that is free."""
        size = -(-bytes_of(geometry) // _ALIGNMENT) * _ALIGNMENT
        operand = self._overwritten(place, call, geometry)
        begin = 0
        if operand is not None:
            begin = self._taken.pop(operand)[0]
        else:
            for taken, end in sorted(self._taken.values()):
                if begin + size <= taken:
                    break
                begin = max(begin, end)
        self._taken[geometry.memory] = (begin, begin + size)
        self.places[place] = Place(begin)
        self.bytes = max(self.bytes, begin + size)

    def _overwritten(self, place: int, call: Call, geometry: Geometry) -> int | None:
        """The memory of an operand of the same geometry that nothing reads any more, number by number."""
        if torch.Tag.pointwise not in call.operation.tags:
            return None
        operands = [self._watched.geometries[ref.index] for ref in call.refs]
        for operand in operands:
            if operand is None or operand.memory not in self._taken or self._last[operand.memory] != place:
                continue
            same = [other for other in operands if other is not None and other.memory == operand.memory]
            if all(other.lies_like(geometry) and other.offset == 0 for other in same):
                return operand.memory
        return None


def _readers(graph: RowGraph) -> dict[int, list[int]]:
    """The operations that are given each value."""
    readers: dict[int, list[int]] = {}
    for place, call in enumerate(graph.calls, start=graph.first_call):
        for ref in call.refs:
            readers.setdefault(ref.index, []).append(place)
    return readers


def _bytes(geometry: Geometry | None) -> int:
    return -1 if geometry is None else bytes_of(geometry)
