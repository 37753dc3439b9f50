"""Speed: how many trial-steps a second a worker makes at each width, and alone, found by trying.

A trial-step is one update of one trial, with its share of the evaluation. What is tried trains an epoch cut
short; each first try is a warm-up and not counted, and the best of the others counts, because whatever else
a machine does only slows a try down.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

from search_spaces.settings import Setting

CONVOLUTIONS = ("grouped", "unfolded")
CLEARLY = 1.1  # times as fast as the other way, for what changes bits: noise must not decide it
BUDGET_SECONDS = 1.5
SECONDS_WORTH_MEASURING = 3.0  # of a sweep's training; shorter ones gain less than this costs
_REPEATS = 3  # of an epoch cut short, after the warm-up; fewer where they are long
_LONG_SECONDS = 0.1  # of what is tried at one width
_TELLING_WIDTH = 16  # rows at which ways of convolving are compared: among few, overhead hides much
_TELLING_SECONDS = 0.1  # of a pass of so many; where it takes longer, fewer are compared
_WARM_AND_TIMED = 2  # tries of a width at least
SHORTEST_SECONDS = 1e-9  # that a clock tells
_SLOWER_IN_A_ROW = 2  # widths, before wider ones are given up

Clock = Callable[[], float]
"""Seconds since any moment."""

Try = Callable[[], int]
"""Trains an epoch cut short; returns the trial-steps made. Raises what the task raises."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Speeds:
    """What was measured. Speeds are trial-steps a second of one worker."""

    stacked: Mapping[int, float]  # by rows trained at once, narrowest first
    solo: float | None  # None where only widths were asked for
    convolutions: str = "grouped"  # the way that ``stacked`` is about
    compared: Mapping[str, float] | None = None  # each way of convolving, at one width
    stopped: str | None = None  # why wider was not tried: slower | memory | time; None: it was not asked for
    seconds: float  # that measuring took

    def covers(self, rows: int) -> bool:
        """Whether there is nothing more to measure for as many rows."""
        return self.stopped is not None or max(self.stacked) >= rows

    def to_json(self) -> dict[str, Any]:
        """For a file."""
        return {
            "stacked": {str(width): speed for width, speed in self.stacked.items()},
            "solo": self.solo,
            "convolutions": self.convolutions,
            "compared": None if self.compared is None else dict(self.compared),
            "stopped": self.stopped,
            "seconds": self.seconds,
        }

    @staticmethod
    def from_json(plain: Mapping[str, Any]) -> Speeds:
        """Inverse of :meth:`to_json`. Raises KeyError, TypeError or ValueError for anything else."""
        stacked = {int(width): float(speed) for width, speed in plain["stacked"].items()}
        solo = None if plain["solo"] is None else float(plain["solo"])
        compared = plain["compared"]
        numbers = [*stacked.values(), *([] if solo is None else [solo])]
        if not stacked or min(stacked) < 1 or not all(0 < number < math.inf for number in numbers):
            raise ValueError("these are no speeds")
        if plain["convolutions"] not in CONVOLUTIONS:
            raise ValueError(
                f"convolutions {plain['convolutions']!r}: wants one of {', '.join(CONVOLUTIONS)}"
            )
        return Speeds(
            stacked=dict(sorted(stacked.items())),
            solo=solo,
            convolutions=plain["convolutions"],
            compared=None
            if compared is None
            else {str(way): float(speed) for way, speed in compared.items()},
            stopped=None if plain["stopped"] is None else str(plain["stopped"]),
            seconds=float(plain["seconds"]),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeedQuestion:
    """What is to be measured, as a worker is asked it."""

    task: str  # registered name, or /absolute/path/to/file.py:Name
    setting: Setting  # whose optimizer, batch size and task arguments are tried
    device: str = "cpu"
    precision: str = "float32"
    most: int  # rows that a worker may have
    workers: int = 1  # that share the memory
    trial_epochs: int  # of the whole sweep, to tell what is worth measuring
    pinned: bool = False  # trials are stacked whatever their speed, and convolved as PyTorch does
    known: Speeds | None = None  # what was measured before


class Benches(Protocol):
    """What is tried: one task, optimizer and batch size on one device."""

    @property
    def convolves(self) -> bool:
        """Whether there is a choice of convolving."""
        ...

    def solo(self) -> Try:
        """One trial alone."""
        ...

    def rows(self, convolutions: str, width: int) -> Try:
        """``width`` trials as rows of a population. Trying may raise MemoryError."""
        ...

    def has_room(self) -> bool:
        """Whether memory will do for twice as many rows as were tried last."""
        ...


def widths_up_to(most: int, least: int) -> Iterator[int]:
    """``least``, twice as many ... and ``most``."""
    width = least
    while width < most:
        yield width
        width *= 2
    yield max(most, least)


def measure(
    benches: Benches,
    *,
    least: int,
    most: int,
    clock: Clock,
    pinned: bool = False,
    known: Speeds | None = None,
    budget_seconds: float = BUDGET_SECONDS,
) -> Speeds:
    """Speeds at widths from ``least`` to ``most``, and unless ``pinned`` of what may be done otherwise.

    Wider is tried until it has been slower than the best twice in a row, memory is short, or the budget
    would be passed; the least width, and solo, always are. ``known``: measured before, to which wider is
    added. Raises what the task raises.
    """
    began = clock()
    if known is None:
        known = _narrowest(benches, least, most, clock, pinned=pinned)
    stacked, stopped, slower, last = dict(known.stacked), None, 0, 0.0
    for width in widths_up_to(most, least):
        if width <= max(stacked):
            continue
        stopped = _reason_to_stop(benches, slower)
        if stopped is None and clock() - began + _WARM_AND_TIMED * 2 * last > budget_seconds:
            stopped = "time"
        if stopped is not None:
            break
        try:
            speed, last = _speed(benches.rows(known.convolutions, width), clock)
        except MemoryError:
            stopped = "memory"
            break
        slower = slower + 1 if speed < max(stacked.values()) else 0
        stacked[width] = speed
    seconds = known.seconds + clock() - began
    return replace(known, stacked=stacked, stopped=stopped, seconds=seconds)


def _narrowest(benches: Benches, least: int, most: int, clock: Clock, *, pinned: bool) -> Speeds:
    """The least width, solo, and each way of convolving, at a width that tells them apart."""
    solo = None if pinned else _speed(benches.solo(), clock)[0]
    narrow, seconds = _speed(benches.rows("grouped", least), clock)
    way, compared = "grouped", None
    if benches.convolves and not pinned:
        width = least
        while 2 * width <= min(most, _TELLING_WIDTH) and seconds * 2 * width / least <= _TELLING_SECONDS:
            width *= 2
        compared = _compared({one: benches.rows(one, width) for one in CONVOLUTIONS}, clock)
        if compared["unfolded"] > CLEARLY * compared["grouped"]:
            way = "unfolded"
            narrow = _speed(benches.rows(way, least), clock)[0]
    return Speeds(stacked={least: narrow}, solo=solo, convolutions=way, compared=compared, seconds=0.0)


def _reason_to_stop(benches: Benches, slower: int) -> str | None:
    if slower == _SLOWER_IN_A_ROW:
        return "slower"
    return None if benches.has_room() else "memory"


def _compared(attempts: Mapping[str, Try], clock: Clock) -> dict[str, float]:
    """Each one's trial-steps a second, tried by turns: a machine may be slower for a while."""
    best = dict.fromkeys(attempts, 0.0)
    for turn in range(1 + _REPEATS):
        for name, attempt in attempts.items():
            before = clock()
            steps = attempt()
            if turn:  # the first is a warm-up
                best[name] = max(best[name], steps / max(clock() - before, SHORTEST_SECONDS))
    return best


def _speed(attempt: Try, clock: Clock) -> tuple[float, float]:
    """Trial-steps a second of the best try, and the seconds that it took."""
    attempt()
    best, seconds, began = 0.0, 0.0, clock()
    for _ in range(_REPEATS):
        before = clock()
        steps = attempt()
        took = max(clock() - before, SHORTEST_SECONDS)
        if steps / took > best:
            best, seconds = steps / took, took
        if clock() - began >= _LONG_SECONDS:
            break
    return best, seconds
