"""Tracking rows: the rows that MLflow's client would write, many runs to a transaction.

MLflow has no call for several runs at once, and its client needs some 30 ms of a core for one. What is
written here is compared, row for row, with what the client writes (``tests/contract/test_tracking_rows.py``);
where MLflow or its database are of another version than those compared, the client does the work.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit
from uuid import uuid4

from sqlalchemy import Connection, Engine, bindparam, create_engine, event, make_url, text
from sqlalchemy.exc import SQLAlchemyError

from dashboards.errors import TrackingUnavailable
from dashboards.run_content import Point
from dashboards.tracking import FoundRun, RunChange, Tracking, translated

COMPARED = ("3.17.2", "dc11669786a5")  # of MLflow, and of its database's schema
_BUSY_SECONDS = 20  # as long as MLflow's client waits for another writer of a SQLite file
_PLAIN_KEY = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\- ]{0,249}", re.ASCII)
_LONGEST_VALUE = 6_000  # MLflow's limit for params; that for tags is 8,000
_LONGEST_NAME = 250

_INSERT_RUN = text(
    "INSERT INTO runs (run_uuid, name, source_type, source_name, entry_point_name, user_id, status, "
    "start_time, end_time, deleted_time, source_version, lifecycle_stage, artifact_uri, experiment_id) "
    "VALUES (:run_id, :name, 'UNKNOWN', '', '', 'unknown', :status, "
    ":start_ms, :end_ms, NULL, '', 'active', :artifacts, :experiment)"
)
_UPDATE_RUN = text(
    "UPDATE runs SET status = :status, end_time = coalesce(:end_ms, end_time) "
    "WHERE run_uuid = :run_id AND lifecycle_stage = 'active'"
)
_SET_TAG = text(
    "INSERT INTO tags (run_uuid, key, value) VALUES (:run_id, :key, :value) "
    "ON CONFLICT (key, run_uuid) DO UPDATE SET value = excluded.value"
)
_INSERT_PARAM = text(
    "INSERT INTO params (run_uuid, key, value) VALUES (:run_id, :key, :value) ON CONFLICT DO NOTHING"
)
_INSERT_METRIC = text(
    "INSERT INTO metrics (run_uuid, key, value, timestamp, step, is_nan) "
    "VALUES (:run_id, :key, :value, :ts_ms, :step, :is_nan) ON CONFLICT DO NOTHING"
)
_SET_LATEST = text(
    "INSERT INTO latest_metrics (run_uuid, key, value, timestamp, step, is_nan) "
    "VALUES (:run_id, :key, :value, :ts_ms, :step, :is_nan) ON CONFLICT (key, run_uuid) DO UPDATE SET "
    "value = excluded.value, timestamp = excluded.timestamp, step = excluded.step, is_nan = excluded.is_nan "
    "WHERE (excluded.step, excluded.timestamp, excluded.value) "
    "> (latest_metrics.step, latest_metrics.timestamp, latest_metrics.value)"
)
_EXPERIMENT = text(
    "SELECT experiment_id, artifact_location, lifecycle_stage FROM experiments "
    "WHERE workspace = 'default' AND name = :name"
)
_FIND_RUNS = text(
    "SELECT runs.run_uuid, runs.start_time, runs.status, tags.key, tags.value FROM runs "
    "JOIN tags ON tags.run_uuid = runs.run_uuid WHERE runs.lifecycle_stage = 'active' "
    "AND runs.experiment_id IN :experiments "
    "AND runs.run_uuid IN (SELECT run_uuid FROM tags WHERE key = :key AND value = :value)"
).bindparams(bindparam("experiments", expanding=True))
_ARTIFACTS = text("SELECT artifact_uri FROM runs WHERE run_uuid = :run_id AND lifecycle_stage = 'active'")


def why_not(uri: str) -> str | None:
    """Why rows should not be written at this database's address; None where they may be.

    Raises SQLAlchemyError where the database does not answer.
    """
    if make_url(uri).get_backend_name() not in ("sqlite", "postgresql"):
        return "rows were compared on SQLite and PostgreSQL only"
    if os.environ.get("MLFLOW_ENABLE_WORKSPACES", "").lower() in ("true", "1"):
        return "MLflow keeps workspaces here"
    installed, compared = version("mlflow"), COMPARED[0]
    if installed != compared:
        return f"rows were compared with those of MLflow {compared}, and this is {installed}"
    engine = _engine(uri)
    try:
        with engine.connect() as connection:
            found = connection.execute(text("SELECT version_num FROM alembic_version")).scalars().all()
    except SQLAlchemyError:
        return "MLflow has no tables there yet"
    finally:
        engine.dispose()
    return None if found == [COMPARED[1]] else f"MLflow's database has another schema ({', '.join(found)})"


class TrackingRows(Tracking):
    """MLflow's runs in a database of known schema; what is rare goes through the client, loaded then."""

    def __init__(self, uri: str, client: Callable[[], Any], display: str, artifacts: Path | None) -> None:
        """``uri``: the database's, of which :func:`why_not` says nothing; ``client`` makes MLflow's."""
        super().__init__(client, display, artifacts, is_server=False)
        self._engine = _engine(uri)
        self._locations: dict[str, str] = {}  # where experiments keep their files, by id

    def experiment(self, name: str) -> str:
        """The id of the experiment of this name, made where there is none."""
        for attempt in range(2):
            with translated(self.display), self._engine.connect() as connection:
                found = connection.execute(_EXPERIMENT, {"name": name}).one_or_none()
            if found is not None and found.lifecycle_stage == "active":
                self._locations[str(found.experiment_id)] = found.artifact_location
                return str(found.experiment_id)
            if attempt == 0:
                super().experiment(name)
        raise TrackingUnavailable(f"MLflow at {self.display} has lost the experiment {name} it just made.")

    def find_runs(self, experiments: Sequence[str], tags: Mapping[str, str]) -> list[FoundRun]:
        """The runs, but deleted ones, that have all these tags."""
        (key, value), *others = tags.items()
        asked = {"experiments": [int(one) for one in experiments], "key": key, "value": value}
        with translated(self.display), self._engine.connect() as connection:
            rows = connection.execute(_FIND_RUNS, asked).all()
        runs: dict[str, tuple[int, str, dict[str, str]]] = {}
        for run_id, start_ms, status, name, tag in rows:
            runs.setdefault(run_id, (start_ms, status, {}))[2][name] = tag
        return [
            FoundRun(run_id=run_id, start_ms=start_ms, status=status, tags=found)
            for run_id, (start_ms, status, found) in runs.items()
            if all(found.get(name) == tag for name, tag in others)
        ]

    def write(self, experiment: str, changes: Sequence[RunChange]) -> list[str]:
        """Make runs, or bring them up to date, all or none; their ids, in this order."""
        if not _is_plain_place(self._locations.get(experiment)) or not all(map(_is_plain, changes)):
            return super().write(experiment, changes)
        run_ids = [change.run_id or uuid4().hex for change in changes]
        with translated(self.display), self._engine.begin() as connection:
            self._write_runs(connection, experiment, run_ids, changes)
            _write_facts(connection, run_ids, changes)
        return run_ids

    def log_text(self, run_id: str, text: str, path: str) -> None:
        """Hang a file on the run, in place of one of the same name."""
        with translated(self.display):
            with self._engine.connect() as connection:
                place = connection.execute(_ARTIFACTS, {"run_id": run_id}).scalar_one_or_none()
            if not _is_plain_place(place):
                super().log_text(run_id, text, path)
                return
            _replace(Path(unquote(urlsplit(place).path)) / path, text)

    def _write_runs(
        self,
        connection: Connection,
        experiment: str,
        run_ids: Sequence[str],
        changes: Sequence[RunChange],
    ) -> None:
        location = self._locations[experiment].rstrip("/")
        rows = [
            {
                "run_id": run_id,
                "name": change.content.name,
                "status": change.content.status,
                "start_ms": change.content.start_ms,
                "end_ms": change.content.end_ms,
                "artifacts": f"{location}/{run_id}/artifacts",
                "experiment": int(experiment),
            }
            for run_id, change in zip(run_ids, changes, strict=True)
        ]
        made = [row for row, change in zip(rows, changes, strict=True) if change.run_id is None]
        known = [row for row, change in zip(rows, changes, strict=True) if change.run_id is not None]
        if made:
            connection.execute(_INSERT_RUN, made)
        for row in known:
            if connection.execute(_UPDATE_RUN, row).rowcount != 1:
                raise TrackingUnavailable(f"MLflow at {self.display} has no run {row['run_id']} any more.")


def _write_facts(connection: Connection, run_ids: Sequence[str], changes: Sequence[RunChange]) -> None:
    tags, params, metrics, latest = [], [], [], []
    for run_id, change in zip(run_ids, changes, strict=True):
        named = dict(change.tags)
        if change.run_id is None:
            named["mlflow.runName"] = change.content.name
        tags += [{"run_id": run_id, "key": key, "value": value} for key, value in named.items()]
        params += [
            {"run_id": run_id, "key": key, "value": value} for key, value in change.content.params.items()
        ]
        newest: dict[str, Point] = {}
        for point in change.content.points:
            metrics.append(_metric(run_id, point))
            before = newest.get(point.key)
            if before is None or _age(point) > _age(before):
                newest[point.key] = point
        latest += [_metric(run_id, point) for point in newest.values()]
    for statement, rows in (
        (_SET_TAG, tags),
        (_INSERT_PARAM, params),
        (_INSERT_METRIC, metrics),
        (_SET_LATEST, latest),
    ):
        if rows:
            connection.execute(statement, rows)


def _metric(run_id: str, point: Point) -> dict[str, Any]:
    return {
        "run_id": run_id,
        "key": point.key,
        "value": point.value,
        "ts_ms": point.ts_ms,
        "step": point.step,
        "is_nan": False,
    }


def _age(point: Point) -> tuple[int, int, float]:
    return point.step, point.ts_ms, point.value


def _is_plain(change: RunChange) -> bool:
    """Whether MLflow's client would take all of it as it is."""
    content = change.content
    keys = {*change.tags, *content.params, *(point.key for point in content.points)}
    values = (*change.tags.values(), *content.params.values())
    return (
        all(map(_PLAIN_KEY.fullmatch, keys))
        and all(len(value) <= _LONGEST_VALUE for value in values)
        and len(content.name) <= _LONGEST_NAME
    )


def _is_plain_place(uri: str | None) -> bool:
    """Whether files there are files of this machine, and the address has nothing for MLflow to make out."""
    return uri is not None and uri.startswith(("/", "file:///")) and not set(uri) & set("?#;")


def _replace(path: Path, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.draft")
    draft.write_text(content, encoding="utf-8")
    draft.replace(path)


def _engine(uri: str) -> Engine:
    if make_url(uri).get_backend_name() != "sqlite":
        return create_engine(uri, pool_pre_ping=True)
    engine = create_engine(uri, connect_args={"timeout": _BUSY_SECONDS})

    @event.listens_for(engine, "connect")
    def hold_to_keys(connection: Any, _record: object) -> None:
        connection.execute("PRAGMA foreign_keys = ON")

    return engine
