"""Engines: how SQLite and PostgreSQL are opened so that nothing committed is ever lost."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import URL, Connection, Engine, QueuePool, create_engine, event, make_url, text
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from sweeps import store_json
from sweeps.errors import StoreUnavailable
from sweeps.store_transactions import TRIES, Database, pause, unavailable

_WANTED = "Give sqlite:////path/to/ravine.db or postgresql://user@host/database."
_BUSY_MILLISECONDS = 30_000
_NETWORK_FILE_SYSTEMS = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "ncpfs"})


def open_database(
    url: str, *, read_only: bool, sleep: Callable[[float], None], jitter: Callable[[], float]
) -> Database:
    """Connect to the database that ``url`` names; SQLite's file is made where there is none.

    Raises:
        StoreUnavailable: the URL is none of ours, or the database cannot be reached or trusted.
    """
    parsed = _parse(url)
    is_sqlite = parsed.get_backend_name() == "sqlite"
    display = parsed.render_as_string(hide_password=True)
    engine = _sqlite_engine(parsed, read_only) if is_sqlite else _postgresql_engine(parsed, read_only)
    try:
        if is_sqlite and not read_only:
            _set_journal_mode(engine, sleep, jitter)
        description = _inspect_sqlite(engine, display) if is_sqlite else _inspect_postgresql(engine, display)
    except (SQLAlchemyError, sqlite3.Error) as error:
        engine.dispose()
        raise unavailable(display, error) from error
    except StoreUnavailable:
        engine.dispose()
        raise
    return Database(
        engine, display=display, description=description, read_only=read_only, sleep=sleep, jitter=jitter
    )


def _parse(url: str) -> URL:
    """The URL with our drivers' names; one that cannot be read is never shown: it may hold a password."""
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise StoreUnavailable(f"The store's URL cannot be read. {_WANTED}") from None
    display = parsed.render_as_string(hide_password=True)
    if parsed.drivername in ("postgresql", "postgresql+psycopg"):
        return parsed.set(drivername="postgresql+psycopg")
    if parsed.drivername != "sqlite":
        raise StoreUnavailable(f"The store cannot be kept in {display}. {_WANTED}")
    if parsed.host or parsed.query or parsed.database in (None, "", ":memory:"):
        raise StoreUnavailable(f"{display} does not name a file. {_WANTED}")
    return parsed


def _sqlite_engine(url: URL, read_only: bool) -> Engine:
    path = Path(url.database or "").absolute()
    if read_only:
        _find_file(path)
    else:
        _make_file(path)
    # Not mode=ro: reading after a crash has to roll back the journal that was left behind.
    address = f"file:{quote(str(path))}?mode=rw"

    def connect() -> sqlite3.Connection:
        return sqlite3.connect(
            address,
            uri=True,
            timeout=_BUSY_MILLISECONDS / 1000,
            check_same_thread=False,
            isolation_level=None,  # the driver begins no transactions: it would do so only before a write
        )

    engine = create_engine(
        "sqlite://",
        creator=connect,
        poolclass=QueuePool,
        hide_parameters=True,
        json_serializer=store_json.encode,
        json_deserializer=store_json.decode,
    )

    @event.listens_for(engine, "connect")
    def _configure(connection: DBAPIConnection, _record: object) -> None:
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout={_BUSY_MILLISECONDS}")
        cursor.execute("PRAGMA synchronous=FULL")
        cursor.execute("PRAGMA foreign_keys=ON")  # SQLite ignores foreign keys unless asked
        if read_only:
            cursor.execute("PRAGMA query_only=ON")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql(connection.get_execution_options().get("begin", "BEGIN"))

    return engine


def _find_file(path: Path) -> None:
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        raise StoreUnavailable(
            f"There are no sweeps yet in {path}. `ravine launch FILE` makes the first."
        ) from None
    except OSError as error:
        raise StoreUnavailable(f"The store {path} cannot be read: {error.strerror or error}.") from error


def _make_file(path: Path) -> None:
    """An empty file that only its owner can read, in a folder likewise, unless they exist."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if kind := _network_file_system(path):
            raise StoreUnavailable(
                f"{path} is on a network file system ({kind}), where SQLite's locks cannot be trusted. "
                "Name a file on a local disk, or a PostgreSQL database."
            )
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise StoreUnavailable(
            f"The store {path} cannot be written: {error.strerror or error}. "
            "Name a file in a folder of yours (`--home` or `--database`)."
        ) from error


def _network_file_system(path: Path) -> str | None:
    """The kind of network file system the path is on; None on a local disk, or where it is not known."""
    try:
        mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    except OSError:
        return None
    kinds = {mount[1].replace("\\040", " "): mount[2] for mount in mounts}
    resolved = path.resolve()
    nearest = next((str(folder) for folder in resolved.parents if str(folder) in kinds), "/")
    kind = kinds.get(nearest)
    return kind if kind in _NETWORK_FILE_SYSTEMS else None


def wal_is_safe(version: tuple[int, ...]) -> bool:
    """Whether this SQLite is free of the bug by which a reset WAL could lose commits (3.7.0 to 3.51.2)."""
    return version >= (3, 51, 3) or (3, 50, 7) <= version < (3, 51) or (3, 44, 6) <= version < (3, 45)


def _journal_mode_wanted() -> str:
    return "wal" if wal_is_safe(sqlite3.sqlite_version_info) else "delete"


def _set_journal_mode(engine: Engine, sleep: Callable[[float], None], jitter: Callable[[], float]) -> None:
    """Set the journal's mode where it is another; the file remembers it."""
    wanted = _journal_mode_wanted()
    with closing(engine.raw_connection()) as connection:
        cursor = connection.cursor()
        for attempt in range(1, TRIES + 1):
            try:
                if wanted in (_pragma(cursor, "journal_mode"), _pragma(cursor, f"journal_mode={wanted}")):
                    return
            except sqlite3.OperationalError:
                # Where two change the mode at once, SQLite refuses one of them without waiting.
                if attempt == TRIES:
                    raise
            sleep(pause(attempt, jitter()))


def _inspect_sqlite(engine: Engine, display: str) -> str:
    """What the store runs on, in words, once it is known that the journal's mode loses nothing."""
    with closing(engine.raw_connection()) as connection:
        mode = _pragma(connection.cursor(), "journal_mode")
    if mode == "wal" and _journal_mode_wanted() != "wal":
        raise StoreUnavailable(
            f"The store {display} is in WAL mode, in which SQLite {sqlite3.sqlite_version} can lose "
            "commits. End what else has it open, then launch or resume a sweep, which changes the mode."
        )
    return f"SQLite {sqlite3.sqlite_version}, journal_mode={mode}, synchronous=FULL"


def _pragma(cursor: Any, statement: str) -> str:
    return str(cursor.execute(f"PRAGMA {statement}").fetchone()[0])


def _postgresql_engine(url: URL, read_only: bool) -> Engine:
    engine = create_engine(
        url,
        connect_args={"connect_timeout": 10},
        pool_pre_ping=True,
        hide_parameters=True,
        json_serializer=store_json.encode,
        json_deserializer=store_json.decode,
    )

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, _record: object) -> None:
        connection.autocommit = True
        connection.execute("SET lock_timeout = '10s'")
        connection.execute("SET statement_timeout = '60s'")
        # A paused process must not hold the sweep's row longer than a lease.
        connection.execute("SET idle_in_transaction_session_timeout = '15s'")
        if read_only:
            connection.execute("SET default_transaction_read_only = on")
        connection.autocommit = False

    return engine


def _inspect_postgresql(engine: Engine, display: str) -> str:
    """What the store runs on, in words, once it is known that the server keeps what it has committed."""
    with engine.connect() as connection:
        for setting in ("fsync", "full_page_writes", "synchronous_commit"):
            value = connection.execute(
                text("SELECT current_setting(:setting)"), {"setting": setting}
            ).scalar()
            if value == "off":
                raise StoreUnavailable(
                    f"The store {display} runs with {setting} = off and may lose what it has committed. "
                    f"Set {setting} = on in postgresql.conf."
                )
        version = connection.execute(text("SELECT current_setting('server_version')")).scalar()
    return f"PostgreSQL {version}, synchronous_commit on"
