"""A sweep through the command line: launched, read, interrupted, killed, resumed, stopped, deleted."""

from __future__ import annotations

import csv
import io
import json
import os
import random
import signal
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sweeps.records import TrialState
from sweeps.store import Store, open_store
from tests.end_to_end.command_line import SMALL, ravine, start, sweep_file
from tests.unit.sweeps_for_tests import everything

pytestmark = pytest.mark.xdist_group("ray")  # one process, so that one runtime serves all


def stored(home: Path) -> Store:
    return open_store(f"sqlite:///{home / 'ravine.db'}", read_only=True)


def result_of(home: Path, sweep: int = 1) -> tuple[Any, ...]:
    """All trials, curves and proposals, without their timestamps."""
    store = stored(home)
    try:
        trials, measurements, proposals = everything(store, sweep)
        bare = [
            (m.number, m.epoch, m.step, m.lr, m.momentum, m.train_loss, m.val_loss, m.grad_norm, m.extra)
            for m in measurements
        ]
        return trials, bare, proposals
    finally:
        store.close()


@pytest.fixture(scope="module")
def launched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home of the small sweep, trained in this process."""
    folder = tmp_path_factory.mktemp("launched")
    ran = ravine("launch", sweep_file(folder), "--ray", "none", "--json", home=folder / "home")
    assert ran.code == 0, ran.stderr
    return folder / "home"


def test_every_trial_ended_once_and_mlflow_equals_sql(launched: Path) -> None:
    trials, measurements, _ = result_of(launched)
    assert len(trials) == 24
    states = {trial.state for trial in trials}
    assert states <= {TrialState.finished, TrialState.pruned, TrialState.diverged}
    assert TrialState.pruned in states
    assert TrialState.diverged in states
    database = sqlite3.connect(launched / "mlflow.db")
    parents = "SELECT count(*) FROM runs JOIN tags USING (run_uuid) WHERE key = 'ravine.trial'"
    assert database.execute(parents).fetchone() == (24,)
    assert database.execute("SELECT count(*) FROM runs").fetchone() == (25,)
    published = database.execute(
        "SELECT CAST(tags.value AS INTEGER), metrics.step, metrics.value FROM metrics "
        "JOIN tags USING (run_uuid) WHERE tags.key = 'ravine.trial' AND metrics.key = 'val_loss' ORDER BY 1, 2"
    ).fetchall()
    assert published == [(m[0], m[1], m[6]) for m in measurements]


@pytest.mark.ray
@pytest.mark.parametrize("workers", [1, 2])
def test_ray_gives_the_same_bits(launched: Path, workers: int, tmp_path: Path, ray_runtime: None) -> None:
    home = tmp_path / "home"
    ran = ravine("launch", sweep_file(tmp_path), "--workers", workers, home=home)
    assert ran.code == 0, ran.stderr
    assert result_of(home) == result_of(launched)


def test_json_and_csv_are_what_scripts_rely_on(launched: Path) -> None:
    trials = list(csv.DictReader(io.StringIO(ravine("trials", 1, "--format", "csv", home=launched).stdout)))
    assert len(trials) == 24
    first = ["number", "state", "seed", "optimizer", "schedule", "value", "epochs_done"]
    assert list(trials[0])[:7] == first
    assert list(trials[0])[-2:] == ["peak_lr", "final_lr"]
    assert {"lr", "momentum", "nesterov", "weight_decay", "schedule.gamma", "schedule.max_lr"} <= set(
        trials[0]
    )
    for trial in trials:
        assert (trial["lr"] == "") == (trial["schedule"] == "OneCycleLR")
        assert (trial["schedule.max_lr"] != "") == (trial["schedule"] == "OneCycleLR")
        assert trial["nesterov"] in ("true", "false")
        assert (trial["value"] == "") == (trial["state"] == "diverged")
    curves = list(csv.DictReader(io.StringIO(ravine("curves", "small", home=launched).stdout)))
    assert list(curves[0])[:8] == [
        "number", "epoch", "step", "lr", "momentum", "train_loss", "val_loss", "val_accuracy",
    ]  # fmt: skip
    assert [(int(r["number"]), int(r["epoch"])) for r in curves] == [m[:2] for m in result_of(launched)[1]]
    assert [float(r["val_loss"]) for r in curves] == [m[6] for m in result_of(launched)[1]]
    as_json = json.loads(ravine("trials", 1, "--format", "json", home=launched).stdout)
    assert [str(row["number"]) for row in as_json] == [row["number"] for row in trials]


def test_reading_commands_say_what_is_stored(launched: Path) -> None:
    assert "small" in ravine("list", home=launched).stdout
    shown = ravine("show", 1, home=launched).stdout
    assert "finished" in shown
    assert "digits-mlp" in shown
    best = ravine("best", 1, "--json", home=launched)
    ranked = json.loads(best.stdout)
    assert [row["value"] for row in ranked] == sorted(row["value"] for row in ranked)
    assert str(ranked[0]["number"]) in ravine("best", 1, home=launched).stdout
    assert "val_accuracy" in ravine("tasks").stdout
    assert ravine("trials", 1, home=launched).stdout.count("\n") == 25


def test_a_view_answers_without_parsing_json(launched: Path) -> None:
    database = sqlite3.connect(launched / "ravine.db")
    rows = database.execute(
        "SELECT round(momentum, 1), min(value) FROM trial_results WHERE state = 'finished' "
        "AND momentum IS NOT NULL GROUP BY 1"
    ).fetchall()
    assert rows


def test_resuming_a_finished_sweep_publishes_what_is_missing(launched: Path) -> None:
    before = result_of(launched)
    ran = ravine("resume", 1, "--json", home=launched)
    assert ran.code == 0, ran.stderr
    assert ran.result["state"] == "finished"
    assert result_of(launched) == before


def test_the_result_object(launched: Path) -> None:
    result = ravine("resume", "small", "--json", home=launched).result
    assert set(result) == {"sweep", "name", "state", "trials", "best", "seconds"}
    assert set(result["trials"]) == {
        "finished", "pruned", "diverged", "failed", "cancelled", "waiting", "running",
    }  # fmt: skip
    assert sum(result["trials"].values()) == 24
    assert result["best"]["value"] == min(
        trial.value for trial in result_of(launched)[0] if trial.state is TrialState.finished
    )


LONGER = SMALL.replace("epochs: 4", "epochs: 6").replace(
    "pruner: {asha: {min_resource: 1, reduction_factor: 2}}", "pruner: asha"
)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed")
    ran = ravine("launch", sweep_file(folder, LONGER), "--ray", "none", home=folder / "home")
    assert ran.code == 0, ran.stderr
    return folder / "home"


def wait_for_rounds(home: Path, rounds: int, process: Any) -> None:
    """Until so many rounds are stored, or the process has ended."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        if (home / "ravine.db").exists():
            try:
                with sqlite3.connect(f"file:{home / 'ravine.db'}?mode=ro", uri=True, timeout=5) as database:
                    found = database.execute("SELECT max(rounds_done) FROM sweeps").fetchone()[0]
            except sqlite3.OperationalError:
                found = None
            if found is not None and found >= rounds:
                return
        time.sleep(0.02)


def test_killed_at_random_moments_and_resumed(undisturbed: Path, tmp_path: Path) -> None:
    """kill -9 of the launching process, several times in one sweep: nothing lost, nothing doubled."""
    home = tmp_path / "home"
    file = sweep_file(tmp_path, LONGER)
    chance = random.Random(7)
    process = start("launch", file, "--ray", "none", home=home)
    kills = 0
    for rounds in (1, 3, 6, 9):
        wait_for_rounds(home, rounds, process)
        time.sleep(chance.uniform(0, 0.1))
        if process.poll() is not None:
            break
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        kills += 1
        process = start("resume", 1, "--ray", "none", home=home)
    _, errors = process.communicate(timeout=180)
    assert process.returncode == 0, errors
    assert kills >= 3
    assert result_of(home) == result_of(undisturbed)


@pytest.mark.parametrize(
    ("number", "ray"), [(signal.SIGINT, "none"), pytest.param(signal.SIGTERM, "local", marks=pytest.mark.ray)]
)
def test_a_signal_leaves_the_sweep_resumable(
    number: int, ray: str, undisturbed: Path, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    process = start("launch", sweep_file(tmp_path, LONGER), "--ray", ray, "--workers", 1, "--json", home=home)
    wait_for_rounds(home, 2, process)
    os.kill(process.pid, number)
    out, errors = process.communicate(timeout=60)
    assert process.returncode == 3, errors
    assert "ravine resume 1" in errors
    result = json.loads(out.splitlines()[-1])
    assert result["state"] == "waiting"
    assert result["trials"]["running"] == 0
    assert result["trials"]["waiting"] > 0
    ran = ravine("resume", 1, "--ray", "none", home=home)
    assert ran.code == 0, ran.stderr
    assert result_of(home) == result_of(undisturbed)


LONG = LONGER.replace("epochs: 6", "epochs: 4000").replace("pruner: asha\n", "")


@pytest.fixture
def running(tmp_path: Path) -> Iterator[tuple[Path, Any]]:
    """A sweep that would take very long."""
    process = start("launch", sweep_file(tmp_path, LONG), "--ray", "none", "--json", home=tmp_path / "home")
    wait_for_rounds(tmp_path / "home", 1, process)
    yield tmp_path / "home", process
    if process.poll() is None:
        process.kill()
    process.wait()


def test_a_running_sweep_can_be_read_and_stopped_but_not_taken(running: tuple[Path, Any]) -> None:
    home, process = running
    assert "running" in ravine("show", 1, home=home).stdout
    assert ravine("curves", 1, home=home).stdout.count("\n") > 1
    for command in ("resume", "delete"):
        refused = ravine(command, 1, home=home)
        assert refused.code == 2
        assert str(process.pid) in refused.stderr
    assert ravine("stop", 1, home=home).code == 0
    out, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    result = json.loads(out.splitlines()[-1])
    assert result["state"] == "stopped"
    assert result["trials"]["cancelled"] > 0
    assert result["trials"]["running"] == result["trials"]["waiting"] == 0
    assert ravine("resume", 1, home=home).code == 2
    assert ravine("delete", 1, "--yes", home=home).code == 0
    assert ravine("show", 1, home=home).code == 2


def test_an_interrupted_sweep_is_stopped_without_a_runner(running: tuple[Path, Any]) -> None:
    home, process = running
    process.kill()
    process.wait()
    assert ravine("stop", "small", home=home).code == 0
    assert "stopped" in ravine("show", "small", home=home).stdout
