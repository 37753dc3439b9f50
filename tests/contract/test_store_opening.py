"""Opening: what is made, what is refused and in which words, and what two who come at once find."""

from __future__ import annotations

import re
import sqlite3
import stat
from pathlib import Path

import pytest
from sqlalchemy import Connection, text

from sweeps import engines
from sweeps.errors import StoreUnavailable
from sweeps.store import file_url, open_store
from tests.contract.store_values import leased, new_sweep

ROOT = Path(__file__).parents[2]
SECRET = "kanarienvogel"


def _path(url: str) -> Path:
    return Path(url.removeprefix("sqlite:///"))


def test_a_store_is_made_once_and_keeps_its_identity(empty_url: str) -> None:
    identities = set()
    for _ in range(2):
        store = open_store(empty_url)
        identities.add(store.identity())
        store.create_sweep(new_sweep())
        store.close()
    (identity,) = identities
    assert len(identity) == 32
    int(identity, 16)
    store = open_store(empty_url)
    assert len(store.sweeps()) == 2
    store.close()


def test_the_file_is_its_owners_alone(empty_sqlite_url: str) -> None:
    open_store(empty_sqlite_url).close()
    path = _path(empty_sqlite_url)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_a_path_may_hold_odd_characters(tmp_path: Path) -> None:
    path = tmp_path / "a b%20ü#?x=1" / "ravine.db"
    store = open_store(file_url(path))
    store.create_sweep(new_sweep())
    store.close()
    assert path.stat().st_size > 0


def test_reading_only_makes_nothing(empty_sqlite_url: str) -> None:
    with pytest.raises(StoreUnavailable, match=r"no sweeps yet .*ravine launch"):
        open_store(empty_sqlite_url, read_only=True)
    assert not _path(empty_sqlite_url).parent.exists()


def test_reading_only_an_empty_database(empty_postgresql_url: str) -> None:
    with pytest.raises(StoreUnavailable, match=r"no sweeps yet .*ravine launch"):
        open_store(empty_postgresql_url, read_only=True)


def test_reading_only_reads_and_never_writes(store_url: str) -> None:
    writer = open_store(store_url)
    lease = leased(writer)
    reader = open_store(store_url, read_only=True)
    assert reader.sweeps() == writer.sweeps()
    with pytest.raises(StoreUnavailable, match="reading only"):
        reader.request_stop(lease.sweep_id)
    wipe = text("DELETE FROM sweeps")
    with pytest.raises(StoreUnavailable):
        reader._database.read(lambda connection: connection.execute(wipe))
    assert len(reader.sweeps()) == 1
    reader.close()
    writer.close()


@pytest.mark.parametrize(
    "url",
    [
        f"mysql://me:{SECRET}@host/database",
        f"postgresql+asyncpg://me:{SECRET}@host/database",
        f"postgresql://me:{SECRET}@127.0.0.1:1/database",
        f"postgresql://me:{SECRET}/{SECRET}@host/database",
        f"{SECRET}",
        "",
        "sqlite://",
        "sqlite:///:memory:",
        "sqlite:////tmp/x.db?mode=ro",
        "sqlite:////proc/nowhere/ravine.db",
        "sqlite:////dev/null/ravine.db",
        "sqlite:////tmp",
    ],
)
@pytest.mark.parametrize("read_only", [False, True])
def test_what_cannot_be_opened_is_said_without_the_password(url: str, read_only: bool) -> None:
    with pytest.raises(StoreUnavailable) as caught:
        open_store(url, read_only=read_only, sleep=lambda _seconds: None)
    error: BaseException | None = caught.value
    while error is not None:
        assert SECRET not in str(error)
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    assert len(str(caught.value).split()) > 8


def test_the_display_hides_the_password(postgresql_url: str) -> None:
    store = open_store(postgresql_url.replace("postgres:@", f"postgres:{SECRET}@"))
    assert SECRET not in store.url_for_display
    assert store.url_for_display.startswith("postgresql+psycopg://postgres:***@/ravine_")
    assert store.description.startswith("PostgreSQL 1")
    store.close()


@pytest.mark.parametrize("content", [b"x" * 5000, b"SQLite format 3\0" + b"\xff" * 5000])
@pytest.mark.parametrize("read_only", [False, True])
def test_a_file_that_is_no_database_is_left_alone(tmp_path: Path, content: bytes, read_only: bool) -> None:
    path = tmp_path / "notes.txt"
    path.write_bytes(content)
    with pytest.raises(StoreUnavailable, match=r"notes\.txt"):
        open_store(f"sqlite:///{path}", read_only=read_only)
    assert path.read_bytes() == content


def test_a_server_that_may_forget_is_refused(postgresql_url: str) -> None:
    forgetful = f"{postgresql_url}&options=-c%20synchronous_commit%3Doff"
    with pytest.raises(StoreUnavailable, match="synchronous_commit = off"):
        open_store(forgetful)


def test_a_database_that_is_not_there_is_named(postgresql_url: str) -> None:
    with pytest.raises(StoreUnavailable, match=r'"nowhere" does not exist.* Create it'):
        open_store(re.sub(r"/ravine_\w+", "/nowhere", postgresql_url))


def test_a_network_file_system_is_refused(
    empty_sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert engines._network_file_system(_path(empty_sqlite_url)) is None
    mounts = f"disk / ext4 rw 0 0\nserver:/home {tmp_path} nfs4 rw 0 0\n"
    monkeypatch.setattr(Path, "read_text", lambda _path: mounts)
    with pytest.raises(StoreUnavailable, match=r"network file system \(nfs4\)"):
        open_store(empty_sqlite_url)


@pytest.mark.parametrize(
    ("version", "safe"),
    [
        ((3, 40, 1), False),
        ((3, 44, 5), False),
        ((3, 44, 6), True),
        ((3, 45, 0), False),
        ((3, 50, 6), False),
        ((3, 50, 7), True),
        ((3, 51, 2), False),
        ((3, 51, 3), True),
        ((3, 52, 0), True),
        ((4, 0, 0), True),
    ],
)
def test_wal_only_where_it_loses_nothing(version: tuple[int, ...], safe: bool) -> None:
    assert engines.wal_is_safe(version) is safe


def test_the_journals_mode_follows_the_version(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for safe, mode in ((True, "wal"), (False, "delete"), (True, "wal")):
        monkeypatch.setattr(engines, "wal_is_safe", lambda _version, safe=safe: safe)
        store = open_store(sqlite_url)
        assert f"journal_mode={mode}, synchronous=FULL" in store.description
        store.create_sweep(new_sweep())
        store.close()
    holder = sqlite3.connect(_path(sqlite_url))
    holder.execute("BEGIN")
    holder.execute("SELECT * FROM sweeps").fetchall()
    monkeypatch.setattr(engines, "wal_is_safe", lambda _version: False)
    monkeypatch.setattr(engines, "_BUSY_MILLISECONDS", 50)
    for read_only in (False, True):
        with pytest.raises(StoreUnavailable, match=r"WAL mode|locked"):
            open_store(sqlite_url, read_only=read_only, sleep=lambda _seconds: None)
    holder.close()


def test_changing_the_journals_mode_waits_its_turn(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "_BUSY_MILLISECONDS", 20)
    monkeypatch.setattr(engines, "wal_is_safe", lambda _version: True)
    holder = sqlite3.connect(_path(sqlite_url), isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    store = open_store(sqlite_url, sleep=lambda _seconds: holder.rollback())
    assert "journal_mode=wal" in store.description
    store.close()
    holder.close()


def test_every_connection_keeps_its_promises(sqlite_url: str) -> None:
    store = open_store(sqlite_url)
    names = ("foreign_keys", "synchronous", "busy_timeout", "journal_mode")
    ask = [text(f"PRAGMA {name}") for name in names]

    def pragmas(connection: Connection) -> list[object]:
        return [connection.execute(question).scalar() for question in ask]

    mode = "wal" if engines.wal_is_safe(sqlite3.sqlite_version_info) else "delete"
    expected: list[object] = [1, 2, 30_000, mode]
    assert store._database.read(lambda outer: store._database.read(pragmas) + pragmas(outer)) == expected * 2
    store.close()
