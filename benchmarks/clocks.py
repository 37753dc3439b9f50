"""Clocks around methods: where the time of a run goes, at the price of two looks at the clock a call."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter, thread_time
from typing import Any

Parts = Mapping[str, tuple[tuple[type, str], ...]]
"""Methods, as class and name, by the part that they are counted to."""


@dataclass(slots=True)
class Clock:
    """Seconds spent in one part."""

    wall: float = 0.0
    processor: float = 0.0

    @contextmanager
    def running(self) -> Iterator[None]:
        """Count what the ``with`` block takes."""
        wall, processor = perf_counter(), thread_time()
        try:
            yield
        finally:
            self.wall += perf_counter() - wall
            self.processor += thread_time() - processor


@contextmanager
def timed_methods(parts: Parts) -> Iterator[dict[str, Clock]]:
    """Clocks by part that run while its methods do, as long as the ``with`` block."""
    clocks = {part: Clock() for part in parts}
    before = []
    for part, methods in parts.items():
        for owner, name in methods:
            method = getattr(owner, name)
            before.append((owner, name, method))
            setattr(owner, name, _timed(method, clocks[part]))
    try:
        yield clocks
    finally:
        for owner, name, method in before:
            setattr(owner, name, method)


def _timed(method: Callable[..., Any], clock: Clock) -> Callable[..., Any]:
    def call(*arguments: Any, **named: Any) -> Any:
        wall, processor = perf_counter(), thread_time()
        try:
            return method(*arguments, **named)
        finally:
            clock.wall += perf_counter() - wall
            clock.processor += thread_time() - processor

    return call
