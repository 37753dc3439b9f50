"""The schema: migrated to exactly our tables, by one process at a time, and only if it is ours to migrate."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine, inspect, select, text

from sweeps import migrations
from sweeps.errors import StoreUnavailable
from sweeps.records import RoundRecord, TrialState
from sweeps.store import Store, open_store
from sweeps.tables import metadata, store_identity, trial_results
from tests.contract.store_values import progress, with_trials

ROOT = Path(__file__).parents[2]


def _path(url: str) -> Path:
    return Path(url.removeprefix("sqlite:///"))


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
        shape[table, "options"] = inspector.get_table_options(table)
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


def test_a_store_of_the_first_revision_is_migrated_with_what_it_holds(store_url: str) -> None:
    """As if it had been made before trials shared rows."""
    store = open_store(store_url)
    lease = with_trials(store, TrialState.running, TrialState.running)
    store.commit_round(
        lease, RoundRecord(rounds_done=1, progress=(progress(1, TrialState.running, epochs_done=7),))
    )
    before = [
        "ALTER TABLE trials DROP COLUMN epochs_trained",
        'ALTER TABLE sweeps DROP COLUMN "usage"',
        'ALTER TABLE sweeps DROP COLUMN "ending"',
        "UPDATE alembic_version SET version_num = '0001'",
    ]
    for statement in before:
        store._database.write(lambda connection, said=statement: connection.execute(text(said)))
    store.close()
    with pytest.raises(StoreUnavailable, match="not of this version"):
        open_store(store_url, read_only=True)
    migrated = open_store(store_url)
    assert [trial.epochs_trained for trial in migrated.trials(lease.sweep_id)] == [0, 7]
    assert migrated.sweep(lease.sweep_id).usage is None
    assert migrated.sweep(lease.sweep_id).ending is None
    migrated.close()
