"""The store: the only memory. What is not in it did not happen."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, delete, func, insert, select, update

from sweeps import leases, store_rounds, store_rows
from sweeps.engines import open_database
from sweeps.errors import TrialsStillOpen
from sweeps.records import (
    FINAL_SWEEP_STATES,
    OPEN_STATES,
    Lease,
    NewSweep,
    Owner,
    Publication,
    RoundRecord,
    SweepState,
    TrialState,
)
from sweeps.store_reads import StoreReader
from sweeps.store_schema import bring_up_to_date
from sweeps.store_transactions import Database, insert_or
from sweeps.tables import publications, requests, sweeps, trials

# The global generators belong to the sweeps' own seeds.
_system_random = random.SystemRandom()


def utc_now() -> datetime:
    """The wall clock, in UTC."""
    return datetime.now(UTC)


def file_url(path: Path) -> str:
    """The URL of a SQLite file, whatever characters its path holds."""
    return URL.create("sqlite", database=str(path.absolute())).render_as_string()


def open_store(
    url: str,
    *,
    read_only: bool = False,
    now: Callable[[], datetime] = utc_now,
    sleep: Callable[[float], None] = time.sleep,
    jitter: Callable[[], float] = _system_random.random,
) -> Store:
    """The store at ``sqlite:////path`` or ``postgresql://...``, made or migrated where needed.

    ``sleep`` and ``jitter`` (0 to 1) space the tries of a transaction that was refused in passing.

    Raises:
        StoreUnavailable: another kind of URL; a server, file or folder that cannot be used; a database of
            another program or a newer version; and with ``read_only``, one without tables.
    """
    database = open_database(url, read_only=read_only, sleep=sleep, jitter=jitter)
    try:
        bring_up_to_date(database)
    except BaseException:
        database.close()
        raise
    return Store(database, now=now)


class Store(StoreReader):
    """The store's reads, and its writes: one transaction each, all or nothing.

    Results are written with a lease only; whoever lost it hears :class:`LeaseLost` and has changed nothing.
    Every method raises :class:`StoreUnavailable` where the database cannot be reached, read or written.
    Values go in and come out as copies. Threads may share a store; a forked process opens its own.
    """

    def __init__(self, database: Database, *, now: Callable[[], datetime] = utc_now) -> None:
        super().__init__(database)
        self._now = now

    def create_sweep(self, new: NewSweep) -> int:
        """Store a sweep as waiting; its id, which no sweep had before."""
        row = store_rows.sweep_values(new) | {
            "state": SweepState.waiting,
            "rounds_done": 0,
            "created_at": self._instant(),
        }

        def work(connection: Connection) -> int:
            return int(connection.execute(insert(sweeps).values(row).returning(sweeps.c.id)).scalar_one())

        return self._database.write(work)

    def take_lease(
        self, sweep_id: int, owner: Owner, *, lease_seconds: float, is_dead: Callable[[Owner], bool]
    ) -> Lease:
        """Become the sweep's one writer for ``lease_seconds`` from the last write or renewal.

        The sweep runs from now on. Trials that ran under an earlier lease wait again, their attempt counted
        up. ``is_dead`` is asked inside the transaction about a lease in force; it must answer at once.

        Raises:
            UnknownSweep: there is none.
            SweepBusy: a living owner's lease is in force.
            SweepOver: the sweep's state is final.
        """
        return self._database.write(
            lambda connection: leases.take(
                connection,
                sweep_id,
                owner,
                lease_seconds=lease_seconds,
                is_dead=is_dead,
                instant=self._instant(),
            )
        )

    def renew_lease(self, lease: Lease, lease_seconds: float) -> None:
        """Let the lease end ``lease_seconds`` from now, by the database's clock.

        Raises:
            LeaseLost: it has ended already, or another holds the sweep.
        """
        self._database.write(lambda connection: leases.hold(connection, lease, lease_seconds=lease_seconds))

    def set_plan(self, lease: Lease, plan: Mapping[str, Any]) -> None:
        """Store the sweep's execution plan.

        Raises:
            LeaseLost: the lease has ended or is another's.
        """
        self._write_held(lease, lambda connection: _set_sweep(connection, lease.sweep_id, plan=plan))

    def commit_round(self, lease: Lease, record: RoundRecord) -> None:
        """Store everything that one decision changes.

        A measurement that is stored already is compared bit for bit (its time apart): equal is a replay.

        Raises:
            LeaseLost: the lease has ended or is another's.
            MeasurementConflict: a stored measurement differs.
            IllegalTransition: a trial cannot leave its stored state for the new one; ended ones never do.
            StoreConflict: a proposal or trial is stored already or its sweep, trial or proposal is not
                stored, or fewer rounds would be done than before.
            ValueError: a number that must be finite is not.
        """
        self._write_held(
            lease, lambda connection: store_rounds.write_round(connection, lease.sweep_id, record)
        )

    def interrupt(self, lease: Lease) -> None:
        """Give the lease back: the sweep and its open trials wait for whoever resumes it.

        Raises:
            LeaseLost: the lease has ended or is another's.
        """

        def work(connection: Connection) -> None:
            _set_open_trials(connection, lease.sweep_id, TrialState.waiting)
            _set_sweep(connection, lease.sweep_id, state=SweepState.waiting, **leases.FREE)

        self._write_held(lease, work)

    def finish_sweep(
        self,
        lease: Lease,
        state: SweepState,
        error: str | None = None,
        *,
        ending: Mapping[str, Any] | None = None,
    ) -> None:
        """End the sweep for good and give the lease back; stopped or failed, it cancels its open trials.

        ``ending``: why it is finished before all its settings were; it may then have open trials to cancel.

        Raises:
            LeaseLost: the lease has ended or is another's.
            TrialsStillOpen: the state is ``finished``, nothing ended it early, and a trial is open.
            ValueError: the state is not final.
        """
        if state not in FINAL_SWEEP_STATES:
            raise ValueError(f"a sweep ends as one of {sorted(FINAL_SWEEP_STATES)}, not as {state}")

        def work(connection: Connection) -> None:
            if state is SweepState.finished and ending is None:
                _refuse_open_trials(connection, lease.sweep_id)
            _set_open_trials(connection, lease.sweep_id, TrialState.cancelled)
            connection.execute(delete(requests).where(requests.c.sweep_id == lease.sweep_id))
            told = None if error is None else _storable(error)
            ended: dict[str, Any] = {"state": state, "error": told, "ended_at": self._instant()}
            if ending is not None:
                ended["ending"] = dict(ending)
            _set_sweep(connection, lease.sweep_id, **ended, **leases.FREE)

        self._write_held(lease, work)

    def request_stop(self, sweep_id: int) -> None:
        """Ask the sweep's runner to end it; without effect on a sweep that has ended.

        Raises:
            UnknownSweep: there is none.
        """

        def work(connection: Connection) -> None:
            if leases.lock_sweep(connection, sweep_id).state in FINAL_SWEEP_STATES:
                return
            row = {"sweep_id": sweep_id, "kind": "stop", "created_at": self._instant()}
            connection.execute(insert(requests).values(row))

        self._database.write(work)

    def delete_sweep(self, sweep_id: int, is_dead: Callable[[Owner], bool]) -> None:
        """Forget the sweep and everything that hangs on it.

        Raises:
            UnknownSweep: there is none.
            SweepBusy: a living owner's lease is in force.
        """

        def work(connection: Connection) -> None:
            leases.refuse_living_owner(leases.lock_sweep(connection, sweep_id), is_dead)
            connection.execute(delete(sweeps).where(sweeps.c.id == sweep_id))

        self._database.write(work)

    def record_publications(self, rows: Sequence[Publication]) -> None:
        """Store how far the publisher has come, in place of what was stored for the same trials.

        Raises:
            StoreConflict: a sweep is not stored.
        """

        def work(connection: Connection) -> None:
            statement = insert_or(connection, publications)
            key = [publications.c.sweep_id, publications.c.number]
            changed = {name: statement.excluded[name] for name in ("run_id", "epochs", "state")}
            connection.execute(
                statement.on_conflict_do_update(index_elements=key, set_=changed),
                [store_rows.publication_values(row) for row in rows],
            )

        if rows:
            self._database.write(work)

    def _write_held(self, lease: Lease, work: Callable[[Connection], None]) -> None:
        """Run ``work`` in a transaction in which the lease is held and extended."""

        def held(connection: Connection) -> None:
            leases.hold(connection, lease)
            work(connection)

        self._database.write(held)

    def _instant(self) -> str:
        instant = self._now().astimezone(UTC).isoformat(timespec="milliseconds")
        return instant.removesuffix("+00:00") + "Z"


def _set_sweep(connection: Connection, sweep_id: int, **values: Any) -> None:
    connection.execute(update(sweeps).where(sweeps.c.id == sweep_id).values(values))


def _set_open_trials(connection: Connection, sweep_id: int, state: TrialState) -> None:
    still_open = (trials.c.sweep_id == sweep_id) & trials.c.state.in_(sorted(OPEN_STATES))
    connection.execute(update(trials).where(still_open).values(state=state))


def _refuse_open_trials(connection: Connection, sweep_id: int) -> None:
    still_open = (trials.c.sweep_id == sweep_id) & trials.c.state.in_(sorted(OPEN_STATES))
    count = connection.execute(select(func.count()).select_from(trials).where(still_open)).scalar_one()
    if count:
        raise TrialsStillOpen(sweep_id, count)


def _storable(message: str) -> str:
    """The text without what a database's text cannot hold: zero bytes and halves of surrogate pairs."""
    return message.encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")
