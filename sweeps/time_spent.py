"""Time spent: how long a sweep has run and its workers with it, over its sessions, and at what pace."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from search_spaces.limits import Limits
from sweeps.ends import TimeLeft, time_left
from sweeps.usage import Usage

ROUNDS_OF_PACE = 8


class TimeSpent:
    """Counts a session's time into the sweep's usage, from its first orders on."""

    def __init__(self, limits: Limits, usage: Usage, *, clock: Callable[[], float], workers: int) -> None:
        """``usage``: of earlier sessions too, counted on; ``clock`` in seconds."""
        self._limits = limits
        self._usage = usage
        self._clock = clock
        self._workers = workers
        self._counted_until: float | None = None  # None before any orders
        self._closed: dict[int, deque[float]] = {}  # when each lane's last rounds were closed

    def begin(self) -> None:
        """The first orders have been sent."""
        self._counted_until = self._clock()

    def count(self) -> None:
        """Take the time since the last call into the sums."""
        if self._counted_until is None:
            return
        now = self._clock()
        self._usage.wall_seconds += now - self._counted_until
        self._usage.worker_seconds += (now - self._counted_until) * self._workers
        self._counted_until = now

    def round_closed(self, lane: int) -> None:
        """A round of the lane is being closed."""
        self.count()
        closed = self._closed.setdefault(lane, deque(maxlen=ROUNDS_OF_PACE + 1))
        if self._counted_until is not None:
            closed.append(self._counted_until)

    def left(self, lane: int | None = None) -> TimeLeft:
        """What the limits leave now, at the pace of the lane's last rounds."""
        since = 0.0 if self._counted_until is None else self._clock() - self._counted_until
        closed = [] if lane is None else list(self._closed.get(lane, ()))
        pace = (closed[-1] - closed[0]) / (len(closed) - 1) if len(closed) > 1 else 0.0
        return time_left(
            self._limits,
            wall_seconds=self._usage.wall_seconds + since,
            worker_seconds=self._usage.worker_seconds + since * self._workers,
            workers=self._workers,
            round_seconds=pace,
        )
