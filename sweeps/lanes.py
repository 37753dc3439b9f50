"""Lanes: workers that share rounds, and what those rounds' reports have brought so far."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from sweeps.records import RoundRecord
from workers.messages import Outcome


@dataclass(slots=True)
class _Round:
    """A round whose orders have been sent."""

    awaited: set[int]  # workers still to report
    offered: int  # rows that trials may take
    outcomes: list[Outcome] = field(default_factory=list)


@dataclass(slots=True, kw_only=True, eq=False)
class Lane:
    """Workers that share rounds: all of them, or one each with ``order: arrival``."""

    number: int
    workers: tuple[int, ...]
    next_round: int  # the next to be closed
    broke: int = 0  # trials that broke in the round closed last: their places are empty for one more
    to_release: list[int] = field(
        default_factory=list
    )  # given up; their workers hear it with the next orders
    _in_flight: dict[int, _Round] = field(default_factory=dict)

    def expect(self, round_: int, awaited: Iterable[int], *, offered: int) -> None:
        """Orders for the round have been sent to ``awaited``; trials may take ``offered`` rows."""
        self._in_flight[round_] = _Round(set(awaited), offered)

    def take(self, worker: int, round_: int, outcomes: Sequence[Outcome]) -> None:
        """A worker's report."""
        self._in_flight[round_].awaited.discard(worker)
        self._in_flight[round_].outcomes.extend(outcomes)

    def add(self, outcome: Outcome) -> None:
        """Something that is to be decided with the next round."""
        self._in_flight[self.next_round].outcomes.append(outcome)

    @property
    def reported(self) -> bool:
        """Whether all reports of the next round to be closed are there."""
        following = self._in_flight.get(self.next_round)
        return following is not None and not following.awaited

    def expects(self, round_: int) -> bool:
        """Whether orders for the round are under way."""
        return round_ in self._in_flight

    @property
    def idle(self) -> bool:
        """Whether no orders are under way: nobody comes back to the lane unless it is sent something."""
        return not self._in_flight

    def close(self) -> tuple[int, int, list[Outcome]]:
        """Go on to the following round: the closed one, the rows offered in it, and its outcomes."""
        closed = self.next_round
        found = self._in_flight.pop(closed)
        self.next_round += 1
        return closed, found.offered, found.outcomes


def merged(records: Sequence[RoundRecord]) -> RoundRecord:
    """One record of decisions that lanes have taken one after another, each about trials of its own."""
    if len(records) == 1:
        return records[0]
    return replace(
        records[-1],
        started=tuple(number for record in records for number in record.started),
        measurements=tuple(measurement for record in records for measurement in record.measurements),
        progress=tuple(progress for record in records for progress in record.progress),
        proposals=tuple(proposal for record in records for proposal in record.proposals),
        attributes={index: found for record in records for index, found in record.attributes.items()},
        trials=tuple(trial for record in records for trial in record.trials),
        copies={number: of for record in records for number, of in record.copies.items()},
    )
