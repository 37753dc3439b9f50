"""Growth: time and memory as trials end."""

from __future__ import annotations

from time import perf_counter

import psutil

from sweeps.records import OPEN_STATES
from sweeps.watching import Snapshot

BLOCK = 1000  # trials between two looks at time and memory


class Watch:
    """Looks at time and memory whenever another thousand trials have ended."""

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._began = perf_counter()
        self._ended = 0
        self.blocks: list[dict[str, float]] = []

    def round_closed(self, snapshot: Snapshot) -> None:
        ended = sum(count for state, count in snapshot.counts.items() if state not in OPEN_STATES)
        if ended // BLOCK > self._ended // BLOCK:
            now = perf_counter()
            self.blocks.append(
                {
                    "trials": ended,
                    "ms_per_trial": 1000 * (now - self._began) / (ended - self._ended),
                    "resident_mib": self._process.memory_info().rss / 2**20,
                }
            )
            self._began, self._ended = now, ended

    def sweep_ended(self) -> None:
        pass

    def said(self, sentence: str) -> None:
        raise AssertionError(sentence)  # nothing is worth a line in such a run
