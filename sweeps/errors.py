"""Errors: what may go wrong, each told once, in a sentence that says what to do next."""

from __future__ import annotations

from datetime import UTC, datetime

from sweeps.records import Owner, SweepState, TrialState


class RavineError(Exception):
    """Something that the person at the keyboard can act on; its message says how."""


class BadInput(RavineError):
    """Something typed or configured wrongly; nothing was changed."""


class SamplerFailed(RavineError):
    """A sampler of the user's own raised, or proposed what is not in the search space."""


class StoreError(RavineError):
    """The store could not do what was asked."""


class StoreUnavailable(StoreError):
    """The store cannot be reached, read or written. Nothing of the failed call was stored.

    The one exception is told in the message: a connection that broke while a commit was under way.
    """


class StoreOutdated(StoreUnavailable):
    """An older version made the store, which was opened for reading only; a writer migrates it."""


class UnknownSweep(StoreError):
    """No sweep has this id or name."""

    def __init__(self, reference: str, nearest: tuple[str, ...] = ()) -> None:
        hint = f"Did you mean {' or '.join(nearest)}? " if nearest else ""
        super().__init__(f"No sweep {reference!r} is stored. {hint}`ravine list` shows the sweeps there are.")
        self.reference = reference
        self.nearest = nearest


class UnknownTrial(StoreError):
    """The sweep has no trial of this number."""

    def __init__(self, sweep_id: int, number: int) -> None:
        super().__init__(
            f"Sweep {sweep_id} has no trial {number}. `ravine trials {sweep_id}` shows those it has."
        )
        self.sweep_id = sweep_id
        self.number = number


class SweepBusy(StoreError):
    """Another process runs this sweep."""

    def __init__(self, sweep_id: int, owner: Owner, until: float) -> None:
        instant = datetime.fromtimestamp(until, UTC).strftime("%H:%M:%S")
        super().__init__(
            f"Sweep {sweep_id} is run by process {owner.pid} on {owner.host}, whose lease holds until "
            f"{instant} UTC unless it is renewed. `ravine stop {sweep_id}` ends it."
        )
        self.sweep_id = sweep_id
        self.owner = owner
        self.until = until


class SweepOver(StoreError):
    """The sweep has ended for good."""

    def __init__(self, sweep_id: int, state: SweepState) -> None:
        super().__init__(
            f"Sweep {sweep_id} is {state}, which is final. Launch its file again for a new sweep."
        )
        self.sweep_id = sweep_id
        self.state = state


class LeaseLost(StoreError):
    """The writer's lease has ended or passed to another process: it may write nothing more."""

    def __init__(self, sweep_id: int, epoch: int) -> None:
        super().__init__(
            f"This process no longer holds sweep {sweep_id} (lease {epoch} has ended or was taken over); "
            f"nothing more is written. `ravine resume {sweep_id}` goes on from what is stored."
        )
        self.sweep_id = sweep_id
        self.epoch = epoch


class StoreConflict(StoreError):
    """What was to be stored contradicts what is stored; the whole transaction was given up."""


class MeasurementConflict(StoreConflict):
    """An epoch was measured again and its numbers differ from the stored ones."""

    def __init__(
        self, *, sweep_id: int, number: int, epoch: int, field: str, stored: object, offered: object
    ) -> None:
        super().__init__(
            f"Trial {number} of sweep {sweep_id} gave another {field} at epoch {epoch} than is stored: "
            f"{offered!r} now, {stored!r} before. Training again must give the same bits; has the task, "
            "its data, a library or the device changed?"
        )
        self.sweep_id = sweep_id
        self.number = number
        self.epoch = epoch
        self.field = field
        self.stored = stored
        self.offered = offered


class IllegalTransition(StoreConflict):
    """A trial cannot go from its stored state to the one asked for."""

    def __init__(self, sweep_id: int, number: int, before: TrialState | None, after: TrialState) -> None:
        stored = "is not stored" if before is None else f"is {before}"
        super().__init__(f"Trial {number} of sweep {sweep_id} {stored} and cannot become {after}.")
        self.sweep_id = sweep_id
        self.number = number
        self.before = before
        self.after = after


class TrialsStillOpen(StoreConflict):
    """A sweep with open trials cannot be finished."""

    def __init__(self, sweep_id: int, count: int) -> None:
        super().__init__(f"Sweep {sweep_id} still has {count} open trials and cannot be finished.")
        self.sweep_id = sweep_id
        self.count = count
