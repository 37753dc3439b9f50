"""Row programs: a row graph of one width, carried out again and again.

Results are written into memory that is laid out once (:mod:`workers.row_memory`), and views of what stays
where it is are made once. What is left of an update is a list of calls of PyTorch's kernels, without an
autograd engine, vmap or an allocation; their bits are those of the function that the graph was taken from.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from workers.row_geometry import Watched, bytes_of, carry_out, is_pure, watch
from workers.row_graph import Call, Ref, RowGraph, copied, mapped
from workers.row_memory import Place, RowMemory
from workers.row_outputs import written
from workers.row_simplification import simplified

Step = Callable[[], object]


class RowProgram:
    """A graph of one width and the layout of its results."""

    def __init__(self, graph: RowGraph, inputs: Sequence[Tensor]) -> None:
        """Of ``graph`` at the width of ``inputs``, of which only the geometry counts."""
        self.graph = simplified(graph, [copied(one) for one in inputs])
        self.watched = watch(self.graph, [copied(one) for one in inputs])
        memory = RowMemory(self.graph, self.watched, inputs[0].device.type)
        self._places: Mapping[int, Place] = memory.places
        self.bytes = memory.bytes
        """Of the memory that :meth:`bind` wants."""

    def bind(self, inputs: Sequence[Tensor], destinations: Sequence[Tensor], memory: Tensor) -> list[Step]:
        """What is to be called, in order, for the outputs of ``inputs`` to be in ``destinations``.

        ``inputs``, of the geometry that was given, are read, and perhaps written into, each time the steps
        are called. ``memory``: at least :attr:`bytes` of uint8 on their device; nothing lasts in it.
        """
        return _Binding(self.graph, self.watched, self._places, inputs, destinations, memory).steps

    def empty_results(self, device: torch.device) -> list[Tensor]:
        """Destinations for the outputs, of their own geometry."""
        geometries = [self.watched.geometries[ref.index] for ref in self.graph.outputs]
        return [
            torch.empty(geometry.sizes, dtype=geometry.dtype, device=device)
            for geometry in geometries
            if geometry is not None
        ]


class _Binding:
    """A graph's operations with what they are given: views are made, the rest becomes steps."""

    def __init__(
        self,
        graph: RowGraph,
        watched: Watched,
        places: Mapping[int, Place],
        inputs: Sequence[Tensor],
        destinations: Sequence[Tensor],
        memory: Tensor,
    ) -> None:
        self.steps: list[Step] = []
        self._graph = graph
        self._watched = watched
        self._values: list[Any] = [*inputs, *graph.constants]  # by place; of late ones, of this time
        self._late: set[int] = set()  # places of values that are made anew each time
        self._last = {
            ref.index: place
            for place, call in enumerate(graph.calls, start=graph.first_call)
            for ref in call.refs
        } | {ref.index: -1 for ref in graph.outputs}
        for place, call in enumerate(graph.calls, start=graph.first_call):
            if place in watched.constants:
                self._values.append(watched.constants[place])
            elif place in places:
                self._values.append(self._result(place, places[place], destinations, memory))
                self._write(place, call)
            elif watched.is_view(place, call) and is_pure(call) and not self._is_late(call):
                self._values.append(carry_out(call, self._values))
            else:
                self._values.append(None)
                self._make(place, call)
        done = {place.output for place in places.values()}
        for number, (ref, destination) in enumerate(zip(graph.outputs, destinations, strict=True)):
            if number not in done:
                self._copy(ref.index, destination)

    def _result(self, place: int, where: Place, destinations: Sequence[Tensor], memory: Tensor) -> Tensor:
        geometry = self._watched.geometries[place]
        assert geometry is not None  # noqa: S101 - it has a place
        if where.output is not None:
            return destinations[where.output].view(geometry.sizes)
        part = memory[where.offset : where.offset + bytes_of(geometry)].view(geometry.dtype)
        return part.as_strided(geometry.sizes, geometry.strides)

    def _write(self, place: int, call: Call) -> None:
        result = self._values[place]
        if not self._is_late(call):
            self.steps.append(written(call.operation, *self._given(call), result))
            return

        def step() -> None:
            written(call.operation, *self._given(call), result)()
            self._forget(place, call)

        self.steps.append(step)

    def _make(self, place: int, call: Call) -> None:
        """A step that carries ``call`` out as it stands."""
        if place not in self._last and not self._is_late(call):
            arguments, named = self._given(call)
            self.steps.append(partial(call.operation, *arguments, **named))
            return
        self._late.add(place)

        def step() -> None:
            arguments, named = self._given(call)
            self._values[place] = call.operation(*arguments, **named)
            self._forget(place, call)

        self.steps.append(step)

    def _copy(self, place: int, destination: Tensor) -> None:
        if place not in self._late:
            self.steps.append(partial(destination.copy_, self._values[place]))
            return
        self.steps.append(lambda: destination.copy_(self._values[place]))

    def _is_late(self, call: Call) -> bool:
        return any(ref.index in self._late for ref in call.refs)

    def _given(self, call: Call) -> tuple[list[Any], dict[str, Any]]:
        def valued(value: Any) -> Any:
            return self._values[value.index] if isinstance(value, Ref) else value

        named = {name: mapped(argument, valued) for name, argument in call.named.items()}
        return [mapped(argument, valued) for argument in call.arguments], named

    def _forget(self, place: int, call: Call) -> None:
        """Let late values go that ``call``, at ``place``, was the last to read."""
        for ref in call.refs:
            if ref.index in self._late and self._last[ref.index] == place:
                self._values[ref.index] = None
