"""Rows written past MLflow's client are those that the client writes, in both databases, table by table."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import psycopg
import pytest
from sqlalchemy import MetaData, create_engine, select

from dashboards import tracking, tracking_rows
from dashboards.projection import PARENT, Projection
from dashboards.run_content import Point, RunContent
from sweeps.records import Publication, RoundRecord, SweepRow, SweepState, TrialState
from sweeps.store import Store, open_store
from tests.contract.conftest import _new_database
from tests.unit import published_sweeps as made_up

pytestmark = pytest.mark.xdist_group("publish")

Tables = dict[str, list[tuple[Any, ...]]]
ENDS = [TrialState.finished, TrialState.pruned, TrialState.diverged, TrialState.failed, TrialState.cancelled]


@pytest.fixture(scope="module")
def empty_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    tracking.connect(f"sqlite:///{path}", path.parent / "artifacts")
    return path


@pytest.fixture(scope="module")
def empty_database(postgresql_server: str) -> str:
    url = _new_database(postgresql_server)
    connected = tracking.connect(url)
    assert isinstance(connected, tracking_rows.TrackingRows)  # once MLflow has made its tables
    connected._engine.dispose()
    _let_go()  # a database that somebody uses is no template
    return url


@pytest.fixture(params=["sqlite", "postgresql"])
def databases(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, str]]:
    """Two MLflows without runs: for the client, and for rows."""
    if request.param == "sqlite":
        empty: Path = request.getfixturevalue("empty_file")
        for name in ("client", "rows"):
            shutil.copy(empty, tmp_path / f"{name}.db")
        yield f"sqlite:///{tmp_path / 'client.db'}", f"sqlite:///{tmp_path / 'rows.db'}"
        return
    server: str = request.getfixturevalue("postgresql_server")
    original = urlsplit(request.getfixturevalue("empty_database")).path.removeprefix("/")
    urls = []
    for _ in range(2):
        database = f"mlflow_{uuid4().hex}"
        with psycopg.connect(server, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {database} TEMPLATE {original}")
        urls.append(server.replace("/postgres?", f"/{database}?"))
    yield urls[0], urls[1]
    _let_go()


def _let_go() -> None:
    """Close the connections of MLflow's clients, which it keeps by address."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore  # seconds to import

    for engine in SqlAlchemyStore._engine_map.values():
        engine.dispose()


def by_client(monkeypatch: pytest.MonkeyPatch, url: str, artifacts: Path) -> tracking.Tracking:
    with monkeypatch.context() as patched:
        patched.setattr(tracking_rows, "COMPARED", ("0.0", "none"))
        connected = tracking.connect(url, artifacts)
    assert type(connected) is tracking.Tracking
    assert "MLflow 0.0" in (connected.note or "")
    return connected


def by_rows(url: str, artifacts: Path) -> tracking.Tracking:
    connected = tracking.connect(url, artifacts)
    assert isinstance(connected, tracking_rows.TrackingRows)
    assert connected.note is None
    return connected


def tables(url: str) -> Tables:
    """Every row of every table; runs are named by their names, and times of making left out."""
    engine = create_engine(url)
    metadata = MetaData()
    metadata.reflect(engine)
    with engine.connect() as connection:
        runs = metadata.tables["runs"]
        names = dict(tuple(row) for row in connection.execute(select(runs.c.run_uuid, runs.c.name)))
        found = {
            table.name: sorted(
                (
                    tuple(_told(value, names) for name, value in row._mapping.items() if "_time" not in name)
                    if table.name == "experiments"
                    else tuple(_told(value, names) for value in row)
                    for row in connection.exec_driver_sql(f"SELECT * FROM {table.name}")
                ),
                key=repr,
            )
            for table in metadata.tables.values()
        }
    engine.dispose()
    return found


def _told(value: Any, names: dict[str, str]) -> Any:
    if not isinstance(value, str):
        return value
    for run_id, name in names.items():
        value = value.replace(run_id, name)
    return value


def stage_one(store: Store) -> Any:
    """A sweep with trials of every end, a fork, and two that are open."""
    lease = made_up.start_sweep(store, name="digits — ñ")
    states = {number: (state, 0 if number == 4 else 3) for number, state in enumerate(ENDS)}
    made_up.add_trials(store, lease, states | {5: (TrialState.running, 2), 6: (TrialState.running, 1)})
    fork = made_up.ending(made_up.new_trial(5), made_up.curve(made_up.new_trial(5), 2), TrialState.running)
    fork = replace(fork, epochs_trained=1, parent_number=2, fork_step=44)
    store.commit_round(lease, RoundRecord(rounds_done=2, progress=(fork,), usage={"slot_occupancy": 0.97}))
    store.interrupt(lease)
    return lease


def stage_two(store: Store, sweep_id: int) -> None:
    """The open ones go on, and the sweep ends."""
    lease = store.take_lease(sweep_id, made_up.ME, lease_seconds=600.0, is_dead=lambda _: False)
    for number in (5, 6):
        made_up.start_again(store, lease, number)
        made_up.add_epochs(store, lease, number, 4, TrialState.finished)
    store.finish_sweep(lease, SweepState.finished)


def pages(sweep: SweepRow, *_: Any) -> dict[str, str]:
    return {"figures/first.html": f"<p>ü {sweep.state}\n", "second.html": "<p>always"}


class OwnCursor:
    """A store of whose publications nobody else hears, so that it may be published twice."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._rows: dict[int, Publication] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def publications(self, sweep_id: int) -> dict[int, Publication]:
        return dict(self._rows)

    def record_publications(self, rows: Sequence[Publication]) -> None:
        self._rows |= {row.number: row for row in rows}


def test_rows_are_those_of_the_client_row_for_row(
    databases: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(f"sqlite:///{tmp_path / 'ravine.db'}")
    sweep_id = stage_one(store).sweep_id
    artifacts = tmp_path / "artifacts"
    client, rows = by_client(monkeypatch, databases[0], artifacts), by_rows(databases[1], artifacts)
    projections = [
        Projection(OwnCursor(store), sweep_id, lambda: client, figures=pages),
        Projection(OwnCursor(store), sweep_id, lambda: rows, figures=pages),
    ]
    assert [projection.publish(everything=True) for projection in projections] == [9, 9]
    assert tables(databases[1]) == tables(databases[0])
    stage_two(store, sweep_id)
    assert [projection.publish(everything=True) for projection in projections] == [3, 3]
    by_the_client, by_us = (tables(url) for url in databases)
    assert set(by_us) == set(by_the_client)
    for name, expected in by_the_client.items():
        assert by_us[name] == expected, name
    filled = {name for name, found in by_us.items() if found}
    assert filled >= {"runs", "tags", "params", "metrics", "latest_metrics", "experiments"}
    assert len(by_us["metrics"]) > 100
    files = [path for path in artifacts.rglob("*") if path.is_file()]
    assert sorted(path.name for path in files) == ["first.html", "first.html", "second.html", "second.html"]
    assert {path.read_text() for path in files} == {"<p>ü finished\n", "<p>always"}
    assert len({path.stat().st_mode & 0o777 for path in files}) == 1


def content(**changes: Any) -> RunContent:
    values: dict[str, Any] = {
        "name": "a run",
        "status": "RUNNING",
        "start_ms": 5,
        "end_ms": None,
        "tags": {"ravine.state": "running"},
        "params": {"lr": "0.1"},
        "points": [Point(key="loss", value=2.0, step=3, ts_ms=30)],
    }
    return RunContent(**(values | changes))


def change(run_id: str | None, told: RunContent) -> tracking.RunChange:
    return tracking.RunChange(run_id=run_id, content=told, tags=told.tags)


OLDER = content(points=[Point(key="loss", value=9.0, step=1, ts_ms=10)])
AGAIN = content(tags={"ravine.state": "finished", "note": "ü" * 5_000}, status="FINISHED", end_ms=77)
REPEATED = content(points=[Point(key="loss", value=1.0, step=step, ts_ms=30) for step in (5, 5, 4)])


@pytest.mark.parametrize("then", [OLDER, AGAIN, REPEATED, content(points=())])
def test_what_is_written_again_becomes_what_the_client_makes_of_it(
    databases: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, then: RunContent
) -> None:
    ways = (by_client(monkeypatch, databases[0], tmp_path), by_rows(databases[1], tmp_path))
    for way in ways:
        experiment = way.experiment("task")
        [run_id] = way.write(experiment, [change(None, content())])
        for told in (then, then, content()):
            assert way.write(experiment, [change(run_id, told)]) == [run_id]
    assert tables(databases[1]) == tables(databases[0])


@pytest.mark.parametrize(
    "odd",
    [
        content(points=[Point(key="a/b:c", value=1.0, step=1, ts_ms=1)]),
        content(tags={"ravine.state": "t" * 7_000}),
        content(params={"größe": "1"}),
        content(params={"long": "l" * 6_001}),
    ],
)
def test_what_the_client_might_judge_otherwise_is_left_to_it(
    databases: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, odd: RunContent
) -> None:
    ways = (by_client(monkeypatch, databases[0], tmp_path), by_rows(databases[1], tmp_path))
    for way in ways:
        way.write(way.experiment("task"), [change(None, odd), change(None, content(name="another"))])
    assert tables(databases[1]) == tables(databases[0])


@pytest.mark.parametrize(
    "refused",
    [
        content(points=[Point(key="loss?", value=1.0, step=1, ts_ms=1)]),
        content(params={"k" * 251: "1"}),
    ],
)
def test_what_the_client_refuses_is_refused(
    databases: tuple[str, str], tmp_path: Path, refused: RunContent
) -> None:
    way = by_rows(databases[1], tmp_path)
    with pytest.raises(tracking.TrackingUnavailable, match="cannot be brought up to date"):
        way.write(way.experiment("task"), [change(None, content()), change(None, refused)])


def test_a_run_deleted_meanwhile_is_told_and_the_rest_is_not_half_written(
    databases: tuple[str, str], tmp_path: Path
) -> None:
    way = by_rows(databases[1], tmp_path)
    experiment = way.experiment("task")
    [run_id] = way.write(experiment, [change(None, content())])
    way.delete_run(run_id)
    before = tables(databases[1])
    with pytest.raises(tracking.TrackingUnavailable, match="any more"):
        way.write(experiment, [change(None, content(name="new")), change(run_id, content())])
    assert tables(databases[1]) == before


def test_runs_are_found_as_the_client_finds_them(
    databases: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(f"sqlite:///{tmp_path / 'ravine.db'}")
    sweep_id = made_up.finished_sweep(store)
    rows = by_rows(databases[1], tmp_path)
    Projection(store, sweep_id, lambda: rows, figures=lambda *_: {}).publish(everything=True)
    client = by_client(monkeypatch, databases[1], tmp_path)
    tags = tracking.sweep_tags(store.identity(), sweep_id)
    asked = rows.experiments()
    found = sorted(rows.find_runs(asked, tags), key=lambda run: run.run_id)
    assert found == sorted(client.find_runs(asked, tags), key=lambda run: run.run_id)
    assert len(found) == 7
    assert rows.find_runs(asked, tags | {"ravine.store": "another"}) == []
    assert min(int(run.tags.get("ravine.trial", PARENT)) for run in found) == PARENT


@pytest.mark.parametrize(
    ("version", "schema", "told"),
    [("9.9.9", None, "MLflow 9.9.9"), (None, "of_tomorrow", "another schema")],
)
def test_another_version_is_left_to_its_own_client(
    databases: tuple[str, str],
    monkeypatch: pytest.MonkeyPatch,
    version: str | None,
    schema: str | None,
    told: str,
) -> None:
    known = tracking_rows.COMPARED
    monkeypatch.setattr(tracking_rows, "COMPARED", (version or known[0], schema or known[1]))
    assert told in (tracking_rows.why_not(databases[0]) or "")


def test_databases_that_were_not_compared_and_workspaces_are_left_to_the_client(
    databases: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert tracking_rows.why_not(databases[0]) is None
    assert "SQLite and PostgreSQL only" in (tracking_rows.why_not("mysql://me@host/mlflow") or "")
    monkeypatch.setenv("MLFLOW_ENABLE_WORKSPACES", "true")
    assert "workspaces" in (tracking_rows.why_not(databases[0]) or "")
