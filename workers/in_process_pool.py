"""The in-process pool: workers in this process, for a debugger, for tests, and for ``--ray none``."""

from __future__ import annotations

import sys
from collections import deque
from contextlib import redirect_stdout

from workers.messages import Orders, Report, WorkerSetup
from workers.pool import log_notes
from workers.worker import Worker


class InProcessPool:
    """Workers in this process: orders are carried out when their report is asked for."""

    def __init__(self, setup: WorkerSetup, workers: int = 1) -> None:
        """``workers`` take turns; more than one is of use to tests only."""
        self._workers = [Worker(setup) for _ in range(workers)]
        self._queue: deque[tuple[int, Orders]] = deque()

    @property
    def workers(self) -> int:
        """How many there are."""
        return len(self._workers)

    def send(self, worker: int, orders: Orders) -> None:
        """Queue ``orders``."""
        self._queue.append((worker, orders))

    def receive(self, timeout_seconds: float) -> tuple[int, Report] | None:
        """Carry out the oldest orders; None where none are queued, or where there is no time to."""
        if not self._queue or timeout_seconds <= 0:
            return None
        worker, orders = self._queue.popleft()
        with redirect_stdout(sys.stderr):  # what a task's own code prints: stdout carries data
            return worker, self._workers[worker].carry_out(orders)

    def close(self) -> None:
        """Forget what is queued, and close the loops that the workers hold."""
        self._queue.clear()
        with redirect_stdout(sys.stderr):
            for worker in self._workers:
                log_notes(worker.close())
