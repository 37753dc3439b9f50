"""What a sweep on a simulated cluster takes of time and memory, without the simulation's own time."""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter, process_time, thread_time

import psutil

from benchmarks.simulated_pool import SimulatedPool
from sweeps.records import OPEN_STATES
from sweeps.watching import Snapshot
from workers.messages import Orders, Report

TELL_SECONDS = 60.0  # between two lines about a long run
SAMPLED = 61  # one call of so many has its processor time taken: that clock costs more than a short call


class WatchedPool:
    """A simulated pool, and how long the runner takes between a report and the orders that follow it."""

    def __init__(self, pool: SimulatedPool, watch: Watch) -> None:
        self._pool = pool
        self._watch = watch
        self._received: float | None = None
        self._began: float | None = watch.runner_seconds()
        self._last_sent: float | None = None

    @property
    def workers(self) -> int:
        return self._pool.workers

    def send(self, worker: int, orders: Orders) -> None:
        if self._began is not None:
            self._watch.first_orders.append(self._watch.runner_seconds() - self._began)
            self._began = None
        with self._watch.simulating():  # what comes out is worked out here
            self._pool.send(worker, orders)
        self._last_sent = self._watch.runner_seconds()

    def receive(self, timeout_seconds: float) -> tuple[int, Report] | None:
        if self._last_sent is not None and self._received is not None:
            self._watch.decisions.append(self._last_sent - self._received)
        self._last_sent = None
        try:
            with self._watch.simulating():
                return self._pool.receive(timeout_seconds)
        finally:
            self._received = self._watch.runner_seconds()

    def close(self) -> None:
        self._pool.close()


class Watch:
    """What a run takes of time and memory."""

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._before = self._process.memory_info().rss
        self._looked = 0.0
        self._told = perf_counter()
        self.simulation_seconds = 0.0
        self.simulation_processor = 0.0  # from a sample of the calls
        self._calls = 0
        self.resident_added = 0
        self.epochs_done = 0
        self.decisions = array("d")
        self.first_orders: list[float] = []  # by session: seconds from its pool to its first orders

    def runner_seconds(self) -> float:
        """Time without the simulation's own."""
        return perf_counter() - self.simulation_seconds

    @contextmanager
    def simulating(self) -> Iterator[None]:
        self._calls += 1
        sampled = self._calls % SAMPLED == 0
        processor = thread_time() if sampled else 0.0
        began = perf_counter()
        try:
            yield
        finally:
            self.simulation_seconds += perf_counter() - began
            if sampled:
                self.simulation_processor += SAMPLED * (thread_time() - processor)

    def round_closed(self, snapshot: Snapshot) -> None:
        self.epochs_done = snapshot.epochs_done
        now = perf_counter()
        if now - self._looked > 0.2:
            self._looked = now
            self.resident_added = max(self.resident_added, self._process.memory_info().rss - self._before)

        if now - self._told > TELL_SECONDS:
            self._told = now
            ended = sum(count for state, count in snapshot.counts.items() if state not in OPEN_STATES)
            self.said(
                f"{ended} trials have ended, after {process_time():.0f} s of the processor; "
                f"{self.resident_added / 2**20:.0f} MiB added"
            )

    def sweep_ended(self) -> None:
        pass

    def said(self, sentence: str) -> None:
        print(f"  {sentence}", file=sys.stderr)
