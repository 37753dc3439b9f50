"""The arithmetic of one update: the matrix products that its forward and backward pass cannot do without.

They are recorded while PyTorch trains one plain update, and then made again, nothing else around them, for
many trials at once. That time is the arithmetic limit: what is left of an update when Python, dispatch,
elementwise work, the optimizer, gathers and evaluation cost nothing.

A linear layer is one product forward and one or two backward. A convolution counts as the product over its
unfolded input, without the unfolding: (channels out) x (channels in * kernel) x (batch * pixels), and as
many backward. Attention counts two products a head forward and four backward.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import thread_time
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.hand_loop import load
from benchmarks.workloads import WORKLOADS
from workers.randomness import initial_model

_SHORTEST = 0.05  # seconds of products that are timed together
_TRIES = 5
NUMBERS_AT_ONCE = 2**25  # most of all operands and results, 128 MiB


@dataclass(frozen=True, slots=True)
class Product:
    """``batch`` products of (m, k) and (k, n)."""

    batch: int
    m: int
    k: int
    n: int

    @property
    def operations(self) -> int:
        """Multiplications and additions."""
        return 2 * self.batch * self.m * self.k * self.n

    @property
    def numbers(self) -> int:
        """Of operands and results."""
        return self.batch * (self.m * self.k + self.k * self.n + self.m * self.n)


def products_of(name: str) -> tuple[Product, ...]:
    """Those of one update of the workload, in the order in which PyTorch makes them."""
    workload = WORKLOADS[name]
    task, data = load(workload)
    model = initial_model(task, 0)
    inputs = data.train_inputs[: workload.batch_size]
    targets = data.train_targets[: workload.batch_size]
    with _Recorder() as recorder:
        task.loss(model(inputs), targets).backward()
    return tuple(recorder.products)


def operations_of(products: Sequence[Product]) -> int:
    """Multiplications and additions of all."""
    return sum(product.operations for product in products)


def seconds_of_products(name: str, width: int, tries: int = _TRIES) -> float:
    """Seconds of this thread's processor time that one update's products of ``width`` trials take together.

    The best of some tries, each long enough for the clock.
    """
    once = _made_ready(products_of(name), width)
    once()
    began = thread_time()
    once()
    times = max(1, math.ceil(_SHORTEST / max(thread_time() - began, 1e-6)))
    best = math.inf
    for _ in range(tries):
        began = thread_time()
        for _ in range(times):
            once()
        best = min(best, (thread_time() - began) / times)
    return best


def fits(products: Sequence[Product], width: int) -> bool:
    """Whether so many trials' operands are no more than a worker would hold."""
    return width * sum(product.numbers for product in products) <= NUMBERS_AT_ONCE


def _made_ready(products: Sequence[Product], width: int) -> Callable[[], None]:
    operands = [
        (
            torch.randn(width * product.batch, product.m, product.k),
            torch.randn(width * product.batch, product.k, product.n),
            torch.empty(width * product.batch, product.m, product.n),
        )
        for product in products
    ]

    def once() -> None:
        for left, right, result in operands:
            torch.bmm(left, right, out=result)

    return once


class _Recorder(TorchDispatchMode):
    """Writes down what of each operation is a matrix product."""

    def __init__(self) -> None:
        super().__init__()
        self.products: list[Product] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        known = _KNOWN.get(function._overloadpacket.__name__)
        if known is not None:
            self.products += known(args, result)
        return result


def _of_mm(args: Any, _: Any) -> list[Product]:
    (m, k), n = args[0].shape, args[1].shape[1]
    return [Product(1, m, k, n)]


def _of_addmm(args: Any, result: Any) -> list[Product]:
    return _of_mm(args[1:], result)


def _of_bmm(args: Any, _: Any) -> list[Product]:
    (batch, m, k), n = args[0].shape, args[1].shape[2]
    return [Product(batch, m, k, n)]


def _of_convolution(args: Any, result: Any) -> list[Product]:
    weight, groups = args[1], args[8]
    positions = result.shape[0] * math.prod(result.shape[2:])
    return [Product(groups, weight.shape[0] // groups, math.prod(weight.shape[1:]), positions)]


def _of_convolution_backward(args: Any, _: Any) -> list[Product]:
    gradient, _inputs, weight, groups, wanted = args[0], args[1], args[2], args[9], args[10]
    positions = gradient.shape[0] * math.prod(gradient.shape[2:])
    out, kernel = weight.shape[0] // groups, math.prod(weight.shape[1:])
    found = []
    if wanted[0]:
        found.append(Product(groups, kernel, out, positions))
    if wanted[1]:
        found.append(Product(groups, out, positions, kernel))
    return found


def _of_attention(args: Any, _: Any) -> list[Product]:
    return _attention(args[0], args[1], args[2])


def _of_attention_backward(args: Any, _: Any) -> list[Product]:
    return [product for product in _attention(args[1], args[2], args[3]) for _ in range(2)]


def _attention(query: Any, key: Any, value: Any) -> list[Product]:
    batch, heads, length, width = query.shape
    over = key.shape[2]
    return [
        Product(batch * heads, length, width, over),
        Product(batch * heads, length, over, value.shape[3]),
    ]


_KNOWN: dict[str, Callable[[Any, Any], list[Product]]] = {
    "mm": _of_mm,
    "addmm": _of_addmm,
    "bmm": _of_bmm,
    "convolution": _of_convolution,
    "convolution_backward": _of_convolution_backward,
    "_scaled_dot_product_flash_attention_for_cpu": _of_attention,
    "_scaled_dot_product_flash_attention_for_cpu_backward": _of_attention_backward,
}
