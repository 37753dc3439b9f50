"""Row trace: a function of rows run once while the operations that PyTorch is asked for are noted."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakTensorKeyDictionary

from workers.compiler_import import without_compiler
from workers.row_graph import (
    Call,
    CannotTrace,
    Ref,
    RowFunction,
    RowGraph,
    copied,
    mapped,
    mapped_call,
    of_two_widths,
)

_REFUSED: Mapping[torch.Tag, str] = {
    torch.Tag.nondeterministic_seeded: "draws random numbers",
    torch.Tag.data_dependent_output: "looks at numbers",
}


def traced(function: RowFunction, arguments: Sequence[Tensor]) -> RowGraph:
    """What ``function`` does with ``arguments``, which it may write into, at their own width.

    Below autograd and vmap, so what is noted is plain operations on plain tensors, gradients included.
    Raises CannotTrace, and whatever ``function`` raises.
    """
    trace = _Trace(arguments)
    with without_compiler(_Trace.__torch_dispatch__), trace:
        outputs = list(function(*arguments))
    return trace.graph(outputs)


class _Trace(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes operations while it is entered. Tensors that it has not seen made are constants."""

    def __init__(self, arguments: Sequence[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._inputs = len(arguments)
        self._constants: list[Tensor] = []
        self._calls: list[Call] = []
        # Numbers of values: of inputs and what is made of them from 0 up, of constants from -1 down.
        self._numbers = WeakTensorKeyDictionary()
        for number, argument in enumerate(arguments):
            self._numbers[argument] = number

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Note ``func`` and carry it out."""
        if not isinstance(func, torch._ops.OpOverload):
            raise CannotTrace(f"{func} is no plain operation")
        for tag, words in _REFUSED.items():
            if tag in func.tags:
                raise CannotTrace(f"{func} {words}")
        named = kwargs or {}
        call = mapped_call(Call(func, args, named), self._numbered)
        result = func(*args, **named)
        if not any(isinstance(leaf, Tensor) for leaf in tree_leaves(result)):
            return result  # about a tensor's size or kind
        number = self._inputs + len(self._calls)
        self._calls.append(call)
        if isinstance(result, Tensor):
            if result not in self._numbers:  # else it was changed in place
                self._numbers[result] = number
            return result
        for index, part in enumerate(result):
            self._calls.append(Call(operator.getitem, (Ref(number), index), {}))
            if isinstance(part, Tensor):
                self._numbers[part] = number + 1 + index
        return result

    def _numbered(self, value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        if value not in self._numbers:
            self._constants.append(value.detach())
            self._numbers[value] = -len(self._constants)
        return Ref(self._numbers[value])

    def graph(self, outputs: Sequence[Tensor]) -> RowGraph:
        """What was noted; ``outputs`` are tensors that were given or made meanwhile."""
        refs = [self._numbered(output) for output in outputs]
        inputs, constants = self._inputs, len(self._constants)

        def placed(value: Any) -> Any:
            if not isinstance(value, Ref):
                return value
            if value.index < 0:
                return Ref(inputs - 1 - value.index)
            return Ref(value.index if value.index < inputs else value.index + constants)

        return RowGraph(
            inputs=inputs,
            constants=tuple(self._constants),
            calls=tuple(mapped_call(call, placed) for call in self._calls),
            outputs=tuple(mapped(refs, placed)),
        )


def graph_of(function: RowFunction, arguments: Sequence[Tensor]) -> RowGraph:
    """What ``function`` does with ``arguments``, (rows, ...) each, at any width.

    It is run at their width and with one row more; where the two disagree about more than sizes, what is
    returned is right for that width only, see :func:`workers.row_graph.same_at_every_width`. It is run on
    other numbers than theirs, so that a comparison on theirs tells whether what was taken for a constant is
    one. Raises CannotTrace, and whatever ``function`` raises.
    """
    width = len(arguments[0])
    others = [_other_numbers(argument) for argument in arguments]
    found = traced(function, [copied(argument) for argument in others])
    return of_two_widths(found, traced(function, [_wider(argument) for argument in others]), width) or found


def _other_numbers(tensor: Tensor) -> Tensor:
    """Half of it where it is real; else the rows in another order, as each number may mean something."""
    if tensor.stride(0) == 0:
        return tensor
    other = copied(tensor)
    return other.mul_(0.5) if tensor.is_floating_point() else other.copy_(tensor.roll(1, 0))


def _wider(tensor: Tensor) -> Tensor:
    """A copy with the first row once more behind the others."""
    tensor = tensor.detach()
    sizes = (len(tensor) + 1, *tensor.shape[1:])
    if tensor.stride(0) == 0:
        return tensor[:1].expand(sizes)
    wider = torch.empty_strided(sizes, tensor.stride(), dtype=tensor.dtype, device=tensor.device)
    wider[:-1] = tensor
    wider[-1] = tensor[0]
    return wider
