"""Programs of one function of rows, by width, and the check that each does what the function does.

A list of operations stands for the function only as long as the function does the same every time; and what
it is made of could have a fault. So a program is compared with the function once, bit for bit, on the numbers
at hand. Where it cannot be had, the function itself is run, and that is said once.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from workers.memory import is_out_of_memory, scratch_memory
from workers.row_graph import CannotTrace, RowFunction, RowGraph, copied, same_at_every_width
from workers.row_program import RowProgram, Step
from workers.row_trace import graph_of

MOST_KEPT = 8  # programs, the latest; a population's widths are few
_LONGEST_REASON = 200

Shape = tuple[Any, ...]  # of all inputs: sizes, strides and types


class RowPrograms:
    """Programs of ``function``, made when they are asked for."""

    def __init__(self, function: RowFunction, name: str) -> None:
        """``name``: of the function, in what is said where it has no program."""
        self._function = function
        self._name = name
        self._graph: RowGraph | None = None
        self._programs: dict[Shape, RowProgram] = {}
        self.why_not: str | None = None
        """Why the function itself is run from now on; None as long as there are programs."""

    def steps(self, inputs: Sequence[Tensor], destinations: Sequence[Tensor]) -> list[Step] | None:
        """What is to be called for the function's results on ``inputs`` to be in ``destinations``.

        None where there is no program. The first call for inputs of a shape makes and checks one; it changes
        neither. Raises whatever the function raises, and where memory is short what PyTorch raises.
        """
        program = self._program(inputs, destinations)
        return None if program is None else program.bind(inputs, destinations, _memory_for(program, inputs))

    @torch.no_grad()
    def results(self, inputs: Sequence[Tensor]) -> list[Tensor] | None:
        """The function's results on ``inputs``; None where there is no program."""
        program = self._program(inputs, None)
        if program is None:
            return None
        found = program.empty_results(inputs[0].device)
        for step in program.bind(inputs, found, _memory_for(program, inputs)):
            step()
        return found

    def _program(self, inputs: Sequence[Tensor], destinations: Sequence[Tensor] | None) -> RowProgram | None:
        if self.why_not is not None:
            return None
        shape = tuple((one.shape, one.stride(), one.dtype) for one in inputs)
        program = self._programs.pop(shape, None) or self._made(inputs, destinations)
        if program is None:
            logging.getLogger("ravine").info("%s of rows are not traced: %s", self._name, self.why_not)
            return None
        self._programs[shape] = program
        while len(self._programs) > MOST_KEPT:
            del self._programs[next(iter(self._programs))]
        return program

    def _made(self, inputs: Sequence[Tensor], destinations: Sequence[Tensor] | None) -> RowProgram | None:
        """A program that has been checked, or None and why not."""
        width = len(inputs[0])
        if self._graph is not None and same_at_every_width(self._graph):
            program = self._checked(self._graph.at(width), inputs, destinations)
            if program is not None:
                return program
        self._graph = self._traced(inputs)
        if self._graph is None:
            return None
        return self._checked(self._graph.at(width), inputs, destinations)

    def _checked(
        self, graph: RowGraph, inputs: Sequence[Tensor], destinations: Sequence[Tensor] | None
    ) -> RowProgram | None:
        """The program of a graph at its width; None, and why not, where it is not the function."""
        try:
            program = RowProgram(graph, inputs)
            agrees = self._agrees(program, inputs, destinations)
        except RuntimeError as error:
            if is_out_of_memory(error):
                raise
            self.why_not = _told(error)
            return None
        self.why_not = None if agrees else "its operations by themselves give other bits"
        return program if agrees else None

    def _traced(self, inputs: Sequence[Tensor]) -> RowGraph | None:
        try:
            return graph_of(self._function, inputs)
        except (CannotTrace, RuntimeError, TypeError, NotImplementedError) as error:
            if is_out_of_memory(error):
                raise
            self.why_not = _told(error)
            return None

    def _agrees(
        self, program: RowProgram, inputs: Sequence[Tensor], destinations: Sequence[Tensor] | None
    ) -> bool:
        given, also = ([copied(one) for one in inputs] for _ in range(2))
        expected = [result.detach() for result in self._function(*given)]
        if destinations is None:
            found = program.empty_results(inputs[0].device)
        else:
            found = [copied(one) for one in destinations]
        with torch.no_grad():
            for step in program.bind(also, found, _memory_for(program, inputs)):
                step()
        pairs = zip([*expected, *given], [*found, *also], strict=True)
        return all(_same_bits(one, other) for one, other in pairs)


def _memory_for(program: RowProgram, inputs: Sequence[Tensor]) -> Tensor:
    return scratch_memory(program.bytes, inputs[0].device)


def _same_bits(one: Tensor, other: Tensor) -> bool:
    """Whether the numbers are equal, the sign of zeros too; one NaN is as good as another."""
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    if not one.is_floating_point():
        return torch.equal(one, other)
    alike = (one == other) & (torch.signbit(one) == torch.signbit(other)) | one.isnan() & other.isnan()
    return bool(alike.all())


def _told(error: Exception) -> str:
    said = " ".join(str(error).split()).split(". ")[0]
    return said[:_LONGEST_REASON] or type(error).__name__
