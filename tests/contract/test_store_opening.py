"""Opening: what is made, what is refused and in which words, and what two who come at once find."""

from __future__ import annotations

import re
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine, inspect, select, text

from sweeps import engines, migrations
from sweeps.errors import StoreUnavailable
from sweeps.store import Store, file_url, open_store
from sweeps.tables import metadata, store_identity, trial_results
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


REFLECTED = ("get_columns", "get_pk_constraint", "get_foreign_keys", "get_unique_constraints", "get_indexes")


def _reflection(connection: Connection) -> object:
    inspector = inspect(connection)
    shape: dict[object, object] = {}
    for table in metadata.tables:
        for question in REFLECTED:
            answer = getattr(inspector, question)(table)
            rows = answer if isinstance(answer, list) else [answer]
            shape[table, question] = sorted(repr(sorted(row.items(), key=str)) for row in rows)
        checks = inspector.get_check_constraints(table)
        shape[table, "checks"] = sorted((str(check["name"]), check["sqltext"]) for check in checks)
    return shape


def _made_from_metadata(url: str) -> object:
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    with engine.begin() as connection:
        metadata.create_all(connection)
        shape = _reflection(connection)
    engine.dispose()
    return shape


@pytest.mark.parametrize("backend", ["sqlite", "postgresql"])
def test_migrating_gives_exactly_the_tables(
    backend: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    empty = f"sqlite:///{tmp_path}/plain.db"
    if backend == "postgresql":
        empty = request.getfixturevalue("empty_postgresql_url")
    store = open_store(request.getfixturevalue(f"{backend}_url"))

    def compare(connection: Connection) -> tuple[object, object]:
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "compare_server_default": True}
        )
        return compare_metadata(context, metadata), _reflection(connection)

    differences, migrated = store._database.read(compare)
    store.close()
    assert differences == []
    assert migrated == _made_from_metadata(empty)


def test_autoincrement_is_in_the_file(sqlite_url: str) -> None:
    with sqlite3.connect(_path(sqlite_url)) as connection:
        tables = dict(connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'table'"))
    assert {name for name, sql in tables.items() if "AUTOINCREMENT" in sql} == {
        "sweeps",
        "trials",
        "requests",
    }


def test_the_head_is_the_newest_revision() -> None:
    scripts = ScriptDirectory(str(Path(migrations.__file__).parent))
    assert scripts.get_heads() == [migrations.HEAD]


@pytest.mark.parametrize("read_only", [False, True])
def test_a_newer_database_is_refused(store_url: str, read_only: bool) -> None:
    store = open_store(store_url)
    set_revision = text("UPDATE alembic_version SET version_num = :revision")
    store._database.write(lambda connection: connection.execute(set_revision, {"revision": "9999"}))
    try:
        with pytest.raises(StoreUnavailable, match="newer version"):
            open_store(store_url, read_only=read_only)
    finally:
        store._database.write(
            lambda connection: connection.execute(set_revision, {"revision": migrations.HEAD})
        )
        store.close()


def test_another_programs_tables_are_left_alone(empty_url: str) -> None:
    if empty_url.startswith("sqlite"):
        _path(empty_url).parent.mkdir()
    engine = create_engine(empty_url.replace("postgresql://", "postgresql+psycopg://"))
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE trials (trial_id INTEGER)"))
    with pytest.raises(StoreUnavailable, match=r"another program under our names \(trials\)"):
        open_store(empty_url)
    with engine.begin() as connection:
        assert inspect(connection).get_table_names() == ["trials"]
    engine.dispose()


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
            open_store(sqlite_url, read_only=read_only)
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


OPENED_BY_FOUR = """
import os, sys
from sweeps.store import open_store

children = []
for _ in range(4):
    children.append(os.fork())
    if children[-1] == 0:
        store = open_store(sys.argv[1])
        revisions = store._database.read(
            lambda connection: connection.exec_driver_sql("SELECT * FROM alembic_version").all()
        )
        os.write(1, f"{store.identity()} {revisions}\\n".encode())
        os._exit(0)
assert [os.waitpid(pid, 0)[1] for pid in children] == [0] * 4
"""


def test_all_who_open_a_fresh_store_at_once_succeed(empty_url: str) -> None:
    command = [sys.executable, "-c", OPENED_BY_FOUR, empty_url]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    said = done.stdout.splitlines()
    assert len(said) == 4
    assert len(set(said)) == 1


def test_alembic_is_loaded_only_to_migrate(store_url: str) -> None:
    code = (
        "import sys; from sweeps.store import open_store; open_store(sys.argv[1]).sweeps(); "
        "assert not {'alembic', 'torch', 'optuna', 'ray', 'mlflow'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, store_url], cwd=ROOT, check=True, timeout=60)


def test_the_view_is_no_table_of_ours(store: Store) -> None:
    assert trial_results.name not in metadata.tables
    ours = store._database.read(lambda connection: inspect(connection).get_view_names())
    assert ours == [trial_results.name]
    one = store._database.read(
        lambda connection: connection.execute(select(store_identity.c.id)).scalars().all()
    )
    assert one == [1]
