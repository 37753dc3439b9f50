"""Leases: one writer per sweep. A newer lease makes every write of an older one fail."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import Connection, Double, Row, bindparam, func, select, update
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.expression import FunctionElement

from sweeps.errors import LeaseLost, SweepBusy, SweepOver, UnknownSweep
from sweeps.records import FINAL_SWEEP_STATES, Lease, Owner, SweepState, TrialState
from sweeps.tables import sweeps, trials


class DatabaseNow(FunctionElement[float]):
    """Seconds since 1970 by the database's clock: the hosts' own clocks may differ."""

    type = Double()
    inherit_cache = True


@compiles(DatabaseNow, "sqlite")
def _sqlite_now(_element: DatabaseNow, _compiler: SQLCompiler, **_options: Any) -> str:
    return "((julianday('now') - 2440587.5) * 86400.0)"


@compiles(DatabaseNow, "postgresql")
def _postgresql_now(_element: DatabaseNow, _compiler: SQLCompiler, **_options: Any) -> str:
    # Not now(): that stands still from the transaction's beginning, while the row's lock may be waited for.
    return "CAST(EXTRACT(EPOCH FROM clock_timestamp()) AS DOUBLE PRECISION)"


FREE: dict[str, Any] = {
    "lease_until": None,
    "lease_seconds": None,
    "owner_host": None,
    "owner_pid": None,
    "owner_started": None,
}


# Built once: building a statement takes longer than executing it, and every write executes this one.
_seconds = func.coalesce(bindparam("seconds", type_=Double), sweeps.c.lease_seconds)
_HOLD = (
    update(sweeps)
    .where(
        sweeps.c.id == bindparam("of_sweep"),
        sweeps.c.lease_epoch == bindparam("of_epoch"),
        sweeps.c.lease_until > DatabaseNow(),
    )
    .values(lease_until=DatabaseNow() + _seconds, lease_seconds=_seconds)
)


def owner_of(row: Row[Any]) -> Owner | None:
    """Who took the sweep's lease last; None where it was given back."""
    if row.lease_until is None:
        return None
    return Owner(host=row.owner_host, pid=row.owner_pid, started=row.owner_started)


def lock_sweep(connection: Connection, sweep_id: int) -> Row[Any]:
    """The sweep's row and ``now``; until the transaction ends no one else can change the sweep.

    Raises:
        UnknownSweep: there is none.
    """
    # SQLite drops FOR UPDATE: BEGIN IMMEDIATE has locked the database already.
    found = connection.execute(select(sweeps.c.id).where(sweeps.c.id == sweep_id).with_for_update()).first()
    if found is None:
        raise UnknownSweep(str(sweep_id))
    # A second statement, because the first one's clock was read before it waited for the lock.
    return connection.execute(select(sweeps, DatabaseNow().label("now")).where(sweeps.c.id == sweep_id)).one()


def refuse_living_owner(row: Row[Any], is_dead: Callable[[Owner], bool]) -> None:
    """Pass where the lease is free, has ended, or its owner is dead.

    Raises:
        SweepBusy: it is in force.
    """
    owner = owner_of(row)
    if owner is not None and row.lease_until > row.now and not is_dead(owner):
        raise SweepBusy(row.id, owner, row.lease_until)


def take(
    connection: Connection,
    sweep_id: int,
    owner: Owner,
    *,
    lease_seconds: float,
    is_dead: Callable[[Owner], bool],
    instant: str,
) -> Lease:
    """Take the sweep over: a new epoch, and what was running waits again.

    Raises:
        UnknownSweep, SweepOver, SweepBusy: see :meth:`Store.take_lease`.
    """
    row = lock_sweep(connection, sweep_id)
    if row.state in FINAL_SWEEP_STATES:
        raise SweepOver(sweep_id, SweepState(row.state))
    refuse_living_owner(row, is_dead)
    lease = Lease(sweep_id=sweep_id, epoch=row.lease_epoch + 1)
    connection.execute(
        update(sweeps)
        .where(sweeps.c.id == sweep_id)
        .values(
            state=SweepState.running,
            started_at=func.coalesce(sweeps.c.started_at, instant),
            lease_epoch=lease.epoch,
            lease_until=DatabaseNow() + lease_seconds,
            lease_seconds=lease_seconds,
            owner_host=owner.host,
            owner_pid=owner.pid,
            owner_started=owner.started,
        )
    )
    connection.execute(
        update(trials)
        .where(trials.c.sweep_id == sweep_id, trials.c.state == TrialState.running)
        .values(state=TrialState.waiting, attempt=trials.c.attempt + 1)
    )
    return lease


def hold(connection: Connection, lease: Lease, *, lease_seconds: float | None = None) -> None:
    """Extend the lease in this transaction, which then may write.

    Raises:
        LeaseLost: the lease has ended or is another's.
    """
    given = {"of_sweep": lease.sweep_id, "of_epoch": lease.epoch, "seconds": lease_seconds}
    if connection.execute(_HOLD, given).rowcount != 1:
        raise LeaseLost(lease.sweep_id, lease.epoch)
