"""Transactions: a read or a write of the store as one unit, and when it is tried again."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from sqlalchemy import Connection, Engine, Table
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError, IntegrityError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from sweeps.errors import StoreConflict, StoreUnavailable

Result = TypeVar("Result")

TRIES = 8
_PASSING = ("40001", "40P01", "55P03")  # serialization failure, deadlock, lock not available: rolled back
_DISCONNECTED = ("08", "57P0")  # connection lost, server shutting down


class Database:
    """One opened database. Reads and writes are functions of a connection, run as one transaction each.

    Safe to use from several threads, not across a fork. On SQLite a write begins with BEGIN IMMEDIATE, so
    nothing it has read can change before it commits.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        display: str,
        description: str,
        read_only: bool,
        sleep: Callable[[float], None],
        jitter: Callable[[], float],
    ) -> None:
        self.engine = engine
        self.display = display  # the URL, password hidden
        self.description = description
        self.read_only = read_only
        self._writing = engine.execution_options(begin="BEGIN IMMEDIATE")
        self._sleep = sleep
        self._jitter = jitter

    def read(self, work: Callable[[Connection], Result]) -> Result:
        """The result of ``work``, which only selects.

        Raises:
            StoreUnavailable: the database cannot be reached or read.
        """
        return self._transact(self.engine, work)

    def write(self, work: Callable[[Connection], Result]) -> Result:
        """The result of ``work``, all of whose changes are committed; or none, where it raises.

        ``work`` is run again from its beginning when another transaction or a lost connection was in the
        way, so it must change nothing but the database.

        Raises:
            StoreUnavailable: the database cannot be reached or written.
            StoreConflict: a key, foreign key or check of the database refused a row.
        """
        if self.read_only:
            raise StoreUnavailable(f"The store {self.display} was opened for reading only.")
        return self._transact(self._writing, work)

    def close(self) -> None:
        """Close every connection."""
        self.engine.dispose()

    def _transact(self, engine: Engine, work: Callable[[Connection], Result]) -> Result:
        for attempt in range(1, TRIES + 1):
            committing = False
            try:
                with engine.begin() as connection:
                    result = work(connection)
                    committing = True
                return result
            except IntegrityError as error:
                raise StoreConflict(f"The store {self.display} refused a row: {reason(error)}") from error
            except (DBAPIError, PoolTimeout) as error:
                if attempt == TRIES or not _may_pass(error, committing=committing):
                    raise self._unavailable(error, committing=committing) from error
            self._sleep(pause(attempt, self._jitter()))
        raise AssertionError("the last try returns or raises")

    def _unavailable(self, error: SQLAlchemyError, *, committing: bool) -> StoreUnavailable:
        if committing and _is_disconnect(error):
            return StoreUnavailable(
                f"The connection to the store {self.display} broke during a commit ({reason(error)}). "
                "Whether it was stored is not known; read it again before going on."
            )
        return unavailable(self.display, error)


def pause(attempt: int, jitter: float) -> float:
    """Seconds to wait after this try, the first being 1; ``jitter`` from 0 to 1 spreads them."""
    return min(2.0, 0.05 * 2.0**attempt) * (0.5 + jitter)


def _may_pass(error: SQLAlchemyError, *, committing: bool) -> bool:
    """Whether the same transaction may succeed when run again, and cannot have been stored already."""
    return _state(error).startswith(_PASSING) or (_is_disconnect(error) and not committing)


def _is_disconnect(error: SQLAlchemyError) -> bool:
    lost = isinstance(error, DBAPIError) and error.connection_invalidated
    return lost or _state(error).startswith(_DISCONNECTED)


def _state(error: SQLAlchemyError) -> str:
    """The SQLSTATE; empty for SQLite."""
    return getattr(getattr(error, "orig", None), "sqlstate", None) or ""


def insert_or(connection: Connection, table: Table) -> sqlite.Insert | postgresql.Insert:
    """An insert to be completed with ``on_conflict_...``, which the databases share in all but type."""
    return sqlite.insert(table) if connection.dialect.name == "sqlite" else postgresql.insert(table)


def reason(error: Exception) -> str:
    """The first line of what the database said, without statement or values."""
    text = str(getattr(error, "orig", None) or error).strip()
    return text.splitlines()[0] if text else type(error).__name__


_ADVICE = {
    "locked": "Another process kept it locked for half a minute; see which one, end it or wait.",
    "full": "Free some space and resume.",
    "not a database": "Name another file, or move this one away.",
    "malformed": "Restore a backup (`ravine restore`), or move the file away.",
    "readonly": "Give this user write permission on the file and its folder.",
    "unable to open": "Check that the file exists and that this user may read and write it and its folder.",
    "password": "Check the user and the password in the URL.",
    "does not exist": "Create it, or correct the URL.",
}


def unavailable(display: str, error: Exception) -> StoreUnavailable:
    """The error as a sentence: what is wrong, where, what to do."""
    said = reason(error)
    advice = next((text for mark, text in _ADVICE.items() if mark in said), "Check the URL and the database.")
    return StoreUnavailable(f"The store {display} cannot be used: {said}. {advice}")
