"""What MLflow's database and the store say of a sweep, in the same words, for tests that compare them."""

from __future__ import annotations

import math
import shutil
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dashboards import tracking
from dashboards.projection import Projection
from dashboards.publish import figures
from sweeps.records import Measurement
from sweeps.store import Store, open_store

STATUS = {"finished": "FINISHED", "pruned": "FINISHED", "diverged": "FINISHED"}
STATUS |= {"failed": "FAILED", "cancelled": "KILLED", "waiting": "RUNNING", "running": "RUNNING"}


@dataclass(frozen=True)
class Place:
    """A store and a MLflow of a test's own."""

    folder: Path
    store: Store

    @property
    def uri(self) -> str:
        return f"sqlite:///{self.mlflow}"

    @property
    def mlflow(self) -> Path:
        return self.folder / "mlflow.db"

    @property
    def artifacts(self) -> Path:
        return self.folder / "artifacts"

    def projection(self, sweep_id: int, connected: Any = None, **changes: Any) -> Projection:
        connect = (lambda: connected) if connected else (lambda: tracking.connect(self.uri, self.artifacts))
        return Projection(self.store, sweep_id, connect, **({"figures": no_figures} | changes))

    def publish(self, sweep_id: int, *, with_figures: bool = False) -> int:
        drawn = figures if with_figures else no_figures
        return self.projection(sweep_id, figures=drawn).publish(everything=True)


def no_figures(*_rows: Any) -> dict[str, str]:
    return {"figures/none.html": "<p>none"}


def place(folder: Path, empty_mlflow: Path) -> Place:
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(empty_mlflow, folder / "mlflow.db")
    return Place(folder, open_store(f"sqlite:///{folder / 'ravine.db'}"))


def runs_in(mlflow: Path, *, store: str, sweep_id: int) -> list[dict[str, Any]]:
    """The active runs of the sweep, read past MLflow: parent first, then by trial."""
    with closing(sqlite3.connect(mlflow)) as connection:
        rows = connection.execute(
            "SELECT run_uuid, name, status, start_time, end_time, artifact_uri, experiment_id FROM runs "
            "WHERE lifecycle_stage = 'active'"
        ).fetchall()
        tags: dict[str, dict[str, str]] = {}
        for run_id, key, value in connection.execute("SELECT run_uuid, key, value FROM tags"):
            tags.setdefault(run_id, {})[key] = value
        params: dict[str, dict[str, str]] = {}
        for run_id, key, value in connection.execute("SELECT run_uuid, key, value FROM params"):
            params.setdefault(run_id, {})[key] = value
        points: dict[str, list[tuple[str, int, int, float]]] = {}
        for run_id, *point in connection.execute("SELECT run_uuid, key, step, timestamp, value FROM metrics"):
            points.setdefault(run_id, []).append(tuple(point))
    names = ("run_id", "name", "status", "start_ms", "end_ms", "artifacts", "experiment")
    found = [
        dict(zip(names, row, strict=True))
        | {"tags": tags[row[0]], "params": params.get(row[0], {}), "points": sorted(points.get(row[0], []))}
        for row in rows
    ]
    ours = [
        run
        for run in found
        if run["tags"].get("ravine.store") == store and run["tags"].get("ravine.sweep") == str(sweep_id)
    ]
    return sorted(ours, key=lambda run: int(run["tags"].get("ravine.trial", -1)))


def check_equal(where: Place, sweep_id: int) -> list[dict[str, Any]]:
    """MLflow shows exactly what the store has: one parent, one run per trial, every number; the runs."""
    store = where.store
    parent, *children = runs_in(where.mlflow, store=store.identity(), sweep_id=sweep_id)
    sweep, trials = store.sweep(sweep_id), store.trials(sweep_id)
    shown = [t for t in trials if t.epochs_done or t.state not in ("waiting", "running")]
    assert [int(run["tags"]["ravine.trial"]) for run in children] == [trial.number for trial in shown]
    assert "ravine.trial" not in parent["tags"]
    assert parent["tags"]["ravine.state"] == sweep.state
    curves: dict[int, list[Measurement]] = {}
    for row in store.measurements(sweep_id):
        curves.setdefault(row.number, []).append(row)
    for trial, run in zip(shown, children, strict=True):
        assert run["points"] == sorted(p for row in curves.get(trial.number, []) for p in stored_points(row))
        assert run["status"] == STATUS[trial.state]
        assert (run["end_ms"] is None) == (run["status"] == "RUNNING")
        assert run["tags"]["ravine.state"] == trial.state
        assert run["tags"]["mlflow.parentRunId"] == parent["run_id"]
        assert run["name"] == f"trial {trial.number}"
        assert run["params"]["optimizer"] == trial.optimizer
        if trial.lr is not None:
            assert float(run["params"]["lr"]) == trial.lr
    return [parent, *children]


def content(runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The runs without what differs from one publishing to the next: ids."""
    ids = {run["run_id"]: str(number) for number, run in enumerate(runs)}
    return [
        {key: run[key] for key in ("name", "status", "start_ms", "end_ms", "params", "points")}
        | {"tags": {key: ids.get(value, value) for key, value in run["tags"].items()}}
        for run in runs
    ]


def stored_points(row: Measurement) -> list[tuple[str, int, int, float]]:
    named = {"train_loss": row.train_loss, "val_loss": row.val_loss, "lr": row.lr, "momentum": row.momentum}
    named |= {"grad_norm": row.grad_norm} | dict(row.extra)
    return [
        (key, row.epoch, row.ts_ms, value)
        for key, value in named.items()
        if value is not None and math.isfinite(value)
    ]
