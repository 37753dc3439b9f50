"""Calibration: what this machine can do, measured before anything is compared with it.

- ``P1``: multiplications and additions a second of one large matrix product in float32, on one thread;
  alone, and of each of two processes at once. Where the two are much slower, the cores are not real or not
  free.
- ``bandwidth``: bytes a second read and written by copying 64 MiB, alone and of each of two at once.
- ``o``: what an update costs without its arithmetic: the hand loop's graph of digits-mlp with layers of 8
  and one example.
- the arithmetic limit of a workload: :mod:`benchmarks.products`, at the best width, one thread, two
  processes at once; in trial-steps a second of both.

Times are of the thread's own processor time, the best of many, so that the limits are those of the machine
and not of what else it does.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter, thread_time

from benchmarks.pinned_pair import PinnedPair

SIZE = 768  # of the large product
WIDTHS = (1, 2, 4, 8, 16, 32, 64, 128)
COPIED = 2**24  # numbers, 64 MiB
_SECONDS = 0.6  # of each measurement


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """The machine's limits."""

    gflops_alone: float
    gflops_of_two: tuple[float, float]
    gigabytes_alone: float  # a second
    gigabytes_of_two: tuple[float, float]
    overhead_seconds: float  # o

    def told(self) -> list[str]:
        first, second = self.gflops_of_two
        one, other = self.gigabytes_of_two
        return [
            f"P1 {self.gflops_alone:.1f} GF/s on one thread, {first:.1f} and {second:.1f} in two processes",
            f"copying {self.gigabytes_alone:.1f} GB/s on one thread, {one:.1f} and {other:.1f} in two",
            f"o {1e6 * self.overhead_seconds:.0f} us an update",
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """The arithmetic limit of one workload."""

    operations: int  # multiplications and additions of one update
    seconds: Mapping[int, float]  # of one trial's products by width, on one core while both work
    best_width: int
    trial_steps_per_second: float  # of both cores

    def told(self, name: str) -> str:
        micro = 1e6 * self.seconds[self.best_width]
        return (
            f"{name}: {self.operations / 1e6:.3g} MFLOP an update, products {micro:.1f} us of a core at "
            f"{self.best_width} trials a product, limit {self.trial_steps_per_second:,.0f} trial-steps/s"
        )


def calibrate(pair: PinnedPair) -> Calibration:
    """Measure the machine; about ten seconds."""
    alone = pair.one(_gflops).result
    together = tuple(done.result for done in pair.both(_gflops))
    copying = pair.one(_gigabytes).result
    both = tuple(done.result for done in pair.both(_gigabytes))
    return Calibration(
        gflops_alone=alone,
        gflops_of_two=(together[0], together[1]),
        gigabytes_alone=copying,
        gigabytes_of_two=(both[0], both[1]),
        overhead_seconds=pair.one(_overhead).result,
    )


def limit_of(pair: PinnedPair, name: str, widths: Sequence[int] = WIDTHS) -> Limit:
    """The arithmetic limit of a workload; a width counts by the slower of the two processes."""
    operations, fitting = pair.one(_operations, name, tuple(widths)).result
    seconds = {
        width: max(done.result for done in pair.both(_seconds_a_trial, name, width)) for width in fitting
    }
    best = min(seconds, key=lambda width: seconds[width])
    return Limit(
        operations=operations,
        seconds=seconds,
        best_width=best,
        trial_steps_per_second=2 / seconds[best],
    )


def _operations(_part: int, name: str, widths: Sequence[int]) -> tuple[int, list[int]]:
    from benchmarks.products import fits, operations_of, products_of

    products = products_of(name)
    fitting = [width for width in widths if width == 1 or fits(products, width)]
    return operations_of(products), fitting


def _seconds_a_trial(_part: int, name: str, width: int) -> float:
    from benchmarks.products import seconds_of_products

    return seconds_of_products(name, width) / width


def _gflops(_part: int) -> float:
    import torch

    left, right, result = torch.randn(SIZE, SIZE), torch.randn(SIZE, SIZE), torch.empty(SIZE, SIZE)
    return 2 * SIZE**3 / _best_of(lambda: torch.mm(left, right, out=result)) / 1e9


def _gigabytes(_part: int) -> float:
    import torch

    source, target = torch.ones(COPIED), torch.empty(COPIED)
    return 2 * 4 * COPIED / _best_of(lambda: target.copy_(source)) / 1e9


def _overhead(_part: int) -> float:
    import torch
    from torch import nn
    from torch.nn.functional import cross_entropy

    model = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8))
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9, fused=True)
    inputs, targets = torch.randn(1, 8), torch.zeros(1, dtype=torch.int64)

    def update() -> None:
        optimizer.zero_grad(set_to_none=True)
        cross_entropy(model(inputs), targets).backward()
        optimizer.step()

    def updates() -> None:
        for _ in range(50):
            update()

    return _best_of(updates) / 50


def _best_of(call: Callable[[], object]) -> float:
    """Seconds of the quickest call in :data:`_SECONDS`, after one that nobody times."""
    call()
    best, ends = math.inf, perf_counter() + _SECONDS
    while perf_counter() < ends:
        began = thread_time()
        call()
        best = min(best, thread_time() - began)
    return best
