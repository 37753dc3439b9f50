"""A store that keeps nothing, to see what a sweep costs without one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from sweeps.records import (
    Lease,
    Measurement,
    NewSweep,
    Owner,
    Proposal,
    RoundRecord,
    SweepRow,
    SweepState,
    TrialRow,
)


class NullStore:
    """What a session asks of a :class:`sweeps.store.Store`, of one sweep that nothing is remembered of.

    So there is no second session: where a worker is lost, the sweep would begin anew.
    """

    def __init__(self, new: NewSweep) -> None:
        self._row = SweepRow(
            **{name: getattr(new, name) for name in NewSweep.__slots__},
            id=1,
            state=SweepState.waiting,
            rounds_done=0,
            plan=None,
            owner=None,
            lease_epoch=0,
            created_at="",
            started_at=None,
            ended_at=None,
            error=None,
        )

    def sweep(self, sweep_id: int) -> SweepRow:  # noqa: ARG002
        return self._row

    def proposals(self, sweep_id: int) -> list[Proposal]:  # noqa: ARG002
        return []

    def trials(self, sweep_id: int) -> list[TrialRow]:  # noqa: ARG002
        return []

    def measurements(self, sweep_id: int) -> list[Measurement]:  # noqa: ARG002
        return []

    def stop_requested(self, sweep_id: int) -> bool:  # noqa: ARG002
        return False

    def take_lease(
        self,
        sweep_id: int,
        owner: Owner,
        *,
        lease_seconds: float,  # noqa: ARG002
        is_dead: Callable[[Owner], bool],  # noqa: ARG002
    ) -> Lease:
        self._row = replace(self._row, owner=owner, lease_epoch=self._row.lease_epoch + 1)
        return Lease(sweep_id=sweep_id, epoch=self._row.lease_epoch)

    def renew_lease(self, lease: Lease, lease_seconds: float) -> None:
        """Nobody else wants it."""

    def set_plan(self, lease: Lease, plan: Mapping[str, Any]) -> None:  # noqa: ARG002
        self._row = replace(self._row, plan=plan)

    def commit_round(self, lease: Lease, record: RoundRecord) -> None:  # noqa: ARG002
        self._row = replace(self._row, rounds_done=record.rounds_done, usage=record.usage or self._row.usage)

    def interrupt(self, lease: Lease) -> None:  # noqa: ARG002
        self._row = replace(self._row, state=SweepState.waiting, owner=None)

    def finish_sweep(self, lease: Lease, state: SweepState, error: str | None = None) -> None:  # noqa: ARG002
        self._row = replace(self._row, state=state, owner=None, error=error)

    def close(self) -> None:
        """Nothing is open."""
