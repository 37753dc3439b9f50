"""Vector tails: the last numbers of a tensor, where PyTorch's processor kernels round otherwise.

An elementwise kernel takes a tensor's numbers a whole turn of vector registers at a time, and what is left
over at the end one by one. For some functions the two have different last bits: sigmoid's vector form has
an exponential of its own, say. In a population the end of a tensor is its last row, and a row's bits must
not depend on where it stands. So rows that nobody asks for are put behind the others, and tails are theirs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

TURN_BYTES = 128  # in one turn, at most: two registers of AVX512

# Found by applying every elementwise function of torch and torch.nn.functional, forward and backward, to a
# tensor and to short pieces of it, in float64, float32 and bfloat16, with AVX2 and with AVX512.
_UNEVEN = frozenset(
    {
        "atan2",
        "atanh",
        "celu",
        "cosh",
        "elu",
        "elu_backward",
        "exp2",
        "gelu",
        "gelu_backward",
        "huber_loss_backward",
        "hypot",
        "igamma",
        "ldexp",
        "logaddexp",
        "logaddexp2",
        "mish",
        "mish_backward",
        "pow",
        "rsqrt",
        "sigmoid",
        "silu",
        "silu_backward",
        "sinh",
        "smooth_l1_loss_backward",
        "softplus",
        "softplus_backward",
        "special_i0e",
    }
)
_EVEN_POWERS = (2, 3)  # products, in either form


Size = tuple[int, int]
"""How many numbers a row has, and how many a turn, in a function whose tails differ."""


class TailSizes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """While this is entered, notes how many numbers functions with such tails are applied to."""

    def __init__(self, *, halved: bool) -> None:
        """``halved``: what is float32 here may be bfloat16 where it counts."""
        super().__init__()  # type: ignore[no-untyped-call]
        self.sizes: set[Size] = set()
        self._halved = halved

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Apply ``func``, and note the size of what it returns where its tails differ."""
        result = func(*args, **(kwargs or {}))
        name = str(func._schema.name).removeprefix("aten::").removesuffix("_")
        if name in _UNEVEN and isinstance(result, Tensor) and not (name == "pow" and _is_product(args)):
            self.sizes.add((result.numel(), TURN_BYTES // (2 if self._halved else result.itemsize)))
        return result


def _is_product(args: tuple[Any, ...]) -> bool:
    return not isinstance(args[1], Tensor) and args[1] in _EVEN_POWERS


def with_tails(rows: int, sizes: Iterable[Size], least: int = 0) -> int:
    """The least number of rows, ``least`` or more, of which the first ``rows`` have no part in a tail."""
    total, wanted = max(rows, least), tuple(sizes)
    while any(total * numbers % turn > (total - rows) * numbers for numbers, turn in wanted):
        total += 1
    return total
