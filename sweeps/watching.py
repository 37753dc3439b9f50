"""Watching: what a running sweep tells people of itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from sweeps.entries import OpenTrial
from sweeps.ledger import Ledger
from sweeps.records import TrialState


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """How a running sweep stands, for people to see."""

    counts: dict[TrialState, int]
    trials_expected: int
    epochs_done: int  # of all trials
    epochs_expected: int
    best: OpenTrial | None
    rounds_done: int
    training_seconds: float  # of all workers together
    seconds_left: float = float("inf")  # of the budget of time


def snapshot_of(ledger: Ledger, training_seconds: float, seconds_left: float) -> Snapshot:
    """How the sweep stands whose ledger this is."""
    tally, admissions = ledger.open_trials.tally, ledger.admissions
    return Snapshot(
        counts=dict(tally.counts),
        trials_expected=admissions.trials_expected,
        epochs_done=tally.epochs_done,
        epochs_expected=admissions.epochs_expected,
        best=tally.best,
        rounds_done=tally.rounds_done,
        training_seconds=training_seconds,
        seconds_left=seconds_left,
    )


class Observer(Protocol):
    """Somebody who watches a sweep run."""

    def round_closed(self, snapshot: Snapshot) -> None:
        """One or more rounds are stored, in one transaction."""
        ...

    def sweep_ended(self) -> None:
        """The sweep's end is stored; its workers are about to end."""
        ...

    def said(self, sentence: str) -> None:
        """Something worth a line happened."""
        ...
