"""Row outputs: how an operation of a row graph writes its result into memory that is already there."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from typing import Any

import torch
from torch import Tensor

_aten = torch.ops.aten

_COPIES = frozenset({_aten.clone.default, _aten._to_copy.default})
_BY_NAME: Mapping[Any, Callable[..., Any]] = {
    _aten.add.Tensor: torch.add,
    _aten.bmm.default: torch.bmm,
    _aten.div.Tensor: torch.div,
    _aten.gather.default: torch.gather,
    _aten.mul.Scalar: torch.mul,
    _aten.mul.Tensor: torch.mul,
    _aten.ne.Scalar: torch.ne,
    _aten.neg.default: torch.neg,
    _aten.sub.Tensor: torch.sub,
    _aten.sum.dim_IntList: torch.sum,
    _aten.where.self: torch.where,
}
"""PyTorch's own doors to some operations, which are quicker to call."""


def writes_into(operation: Any, device: str) -> bool:
    """Whether :func:`written` has a way for ``operation`` on tensors of ``device`` (its type)."""
    return (
        operation in _COPIES
        or operation in _BY_NAME
        or operation is _aten.relu.default
        or _out_form(operation, device) is not None
    )


def written(
    operation: Any, arguments: Sequence[Any], named: Mapping[str, Any], result: Tensor
) -> Callable[[], object]:
    """Puts into ``result`` what ``operation`` gives, which lies the same, each time it is called."""
    if operation in _COPIES:
        return partial(result.copy_, arguments[0])
    if operation is _aten.relu.default:  # whose kernel this is
        return partial(torch.clamp_min, arguments[0], 0, out=result)
    if operation in _BY_NAME:
        return partial(_BY_NAME[operation], *arguments, **named, out=result)
    form = _out_form(operation, result.device.type)
    assert form is not None  # noqa: S101 - writes_into has been asked
    overload, name = form
    return partial(overload, *arguments, **named, **{name: result})


@lru_cache(maxsize=1024)
def _out_form(operation: Any, device: str) -> tuple[Any, str] | None:
    """The overload that takes the same and a tensor for the result, and that tensor's name.

    Only where the device has a kernel for it: others call the operation and copy.
    """
    packet = operation.overloadpacket
    wanted = [(argument.name, str(argument.type)) for argument in operation._schema.arguments]
    for name in packet.overloads():
        overload = getattr(packet, name)
        results = [argument.name for argument in overload._schema.arguments if argument.is_out]
        others = [
            (argument.name, str(argument.type))
            for argument in overload._schema.arguments
            if not argument.is_out
        ]
        if len(results) != 1 or others != wanted:
            continue
        full_name = f"{overload._schema.name}.{overload._schema.overload_name}"
        if torch._C._dispatch_has_kernel_for_dispatch_key(full_name, device.upper()):
            return overload, results[0]
    return None
