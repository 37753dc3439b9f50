"""Pools: where workers run. The runner sends orders and receives reports; it knows no more than this."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Protocol

from workers.messages import Note, Orders, Report


class WorkerLost(Exception):
    """A worker died: {cause}. Its trials are trained again from what is stored."""

    def __init__(self, worker: int, cause: str) -> None:
        """``worker`` counts from 0."""
        super().__init__(f"worker {worker} was lost: {cause}")
        self.worker = worker


class PoolUnavailable(Exception):
    """The pool's runtime cannot be reached or started."""


def log_notes(notes: Iterable[Note]) -> None:
    """Tell what came to light when workers were closed: no report carries it any more."""
    for note in notes:
        logging.getLogger("ravine").warning("trial %s: %s", note.number, note.sentence)


class Pool(Protocol):
    """Workers that carry out orders one after another, each in the order sent."""

    @property
    def workers(self) -> int:
        """How many there are; they are named 0 .. workers - 1."""
        ...

    def send(self, worker: int, orders: Orders) -> None:
        """Queue ``orders`` for ``worker``; returns at once. Raises WorkerLost."""
        ...

    def receive(self, timeout_seconds: float) -> tuple[int, Report] | None:
        """The next worker and report, or None when nothing came in time. Raises WorkerLost."""
        ...

    def close(self) -> None:
        """End the workers without waiting for what they are doing."""
        ...
