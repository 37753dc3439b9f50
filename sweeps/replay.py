"""Replay: interrupted trials trained again, and what is said where that gives other numbers than stored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from sweeps.entries import to_measurement
from sweeps.errors import RavineError
from sweeps.records import Measurement
from workers.messages import Diverged, Failed, Measured, Outcome

_ADVICE = "Resume on the kind of machine and with the library versions that began it."


class ReplayMismatch(RavineError):
    """An epoch trained again differs from what is stored."""


class Replay:
    """The stored epochs of open trials, each to be compared with itself trained again."""

    def __init__(
        self, sweep_id: int, stored: Mapping[tuple[int, int], Measurement], *, repeatable: bool
    ) -> None:
        """``stored`` by (trial, epoch). Not ``repeatable``: training loops of users, which need not be."""
        self._sweep_id = sweep_id
        self._stored = stored
        self._repeatable = repeatable
        self._said = False

    def compare(self, outcome: Outcome) -> str | None:
        """Compare an epoch trained again with the stored bits; returns what is to be said of it, if anything.

        Raises ReplayMismatch where they differ and trials repeat themselves; else what is stored stays, and
        that is said once.
        """
        if not isinstance(outcome, Measured):
            return self._broke(outcome)
        stored = self._stored[outcome.number, outcome.epoch]
        again = replace(to_measurement(outcome, 0), ts_ms=stored.ts_ms)
        if _bits(again) == _bits(stored):
            return None
        if self._repeatable:
            raise ReplayMismatch(
                f"Epoch {outcome.epoch} of trial {outcome.number}, sweep {self._sweep_id}, is stored "
                f"{stored}; trained again it is {again}. {_ADVICE}"
            )
        if self._said:
            return None
        self._said = True
        return (
            f"note: trial {outcome.number}, trained again, gives other numbers in epoch {outcome.epoch}: its "
            "training loop does not repeat itself; what is stored stays, and such trials go on from what "
            "they have learned now"
        )

    def _broke(self, outcome: Diverged | Failed) -> str:
        if self._repeatable:
            raise ReplayMismatch(
                f"Trial {outcome.number} of sweep {self._sweep_id} is stored as training well; trained again "
                f"it gives {outcome}. {_ADVICE}"
            )
        how = f"failed: {outcome.message}" if isinstance(outcome, Failed) else f"diverged: {outcome.reason}"
        return f"note: trial {outcome.number}, trained again up to its last stored epoch, {how}"


def _bits(measurement: Measurement) -> str:
    """Every number to its last bit, NaN like NaN, in whatever order the metrics came."""
    return repr(replace(measurement, extra=dict(sorted(measurement.extra.items()))))
