"""Tracking database: MLflow's own SQLite file, never left half made."""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import Engine, event

from dashboards.errors import TrackingUnavailable


def check_database(path: Path, display: str) -> None:
    """Refuse at once what MLflow would try ten times, for a minute and a half."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise TrackingUnavailable(f"MLflow's database {display} cannot be written: permission denied.")
    if not path.exists():
        return
    try:
        connection = sqlite3.connect(f"{path.as_uri()}?mode=rw", uri=True, timeout=20)
        try:
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise TrackingUnavailable(
            f"MLflow's database {display} cannot be read: {error}. It holds nothing that the store has not: "
            "move it away, and `ravine publish SWEEP` makes it anew."
        ) from error


def make_database(path: Path, artifacts: Path | None) -> None:
    """Let MLflow make its tables in a file of another name, and only then give it its own.

    Killed in the middle of its seventy migrations, MLflow would find a database it can neither use nor mend.
    Nothing but this process knows the file yet, so nothing is lost by not waiting for the disk.
    """
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    make_store: Any = SqlAlchemyStore  # it has no type hints
    draft = path.with_name(f".{path.name}.draft")

    def hurry(connection: sqlite3.Connection, _record: object) -> None:
        connection.execute("PRAGMA synchronous=OFF")

    with _locked(path.parent):
        if path.exists():
            return  # another publisher was faster
        draft.unlink(missing_ok=True)
        draft.touch(mode=0o600)
        event.listen(Engine, "connect", hurry)
        try:
            make_store(
                f"sqlite:///{quote(str(draft))}", str(artifacts or path.parent / "artifacts")
            ).engine.dispose()
        finally:
            event.remove(Engine, "connect", hurry)
        _sync(draft)
        draft.replace(path)
        _sync(path.parent)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Keep other processes out of the same block; a process that is killed lets go of it."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
