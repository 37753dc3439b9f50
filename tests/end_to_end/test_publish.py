"""Publishing to a real MLflow: it shows what the store has, once, whatever happened before."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from dashboards import tracking
from dashboards.errors import TrackingUnavailable
from dashboards.publish import follow
from dashboards.run_content import RunContent
from dashboards.tracking import RunChange, delete_runs
from sweeps.records import SweepState, TrialState
from tests.end_to_end.published_runs import Place, check_equal, content, place, runs_in
from tests.unit import published_sweeps as made_up

pytestmark = pytest.mark.xdist_group("publish")  # its fixtures are made once


@pytest.fixture(scope="module")
def empty_mlflow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MLflow's tables take it two seconds: made once, then copied."""
    folder = tmp_path_factory.mktemp("mlflow")
    tracking.connect(f"sqlite:///{folder / 'mlflow.db'}", folder / "artifacts")
    return folder / "mlflow.db"


@pytest.fixture
def here(tmp_path: Path, empty_mlflow: Path) -> Place:
    return place(tmp_path / "home", empty_mlflow)


def test_mlflow_shows_every_trial_as_the_store_has_it(here: Place) -> None:
    lease = made_up.start_sweep(here.store)
    ends = list(TrialState)[2:]
    states = {number: (state, 0 if state is TrialState.cancelled else 3) for number, state in enumerate(ends)}
    made_up.add_trials(here.store, lease, states)
    here.store.finish_sweep(lease, SweepState.finished)
    assert here.publish(lease.sweep_id) == 1 + 1 + len(states)  # the parent is begun and finished
    parent, *children = check_equal(here, lease.sweep_id)
    assert parent["name"] == f"digits (sweep {lease.sweep_id})"
    assert parent["status"] == "FINISHED"
    assert parent["params"] == {
        "task": "digits-mlp",
        "metric": "val_loss",
        "goal": "minimize",
        "epochs": "20",
        "trials": "6",
        "seed": "0",
        "sampler": "tpe",
        "pruner": "asha",
    }
    assert [(key, step) for key, step, _, _ in parent["points"]] == [
        ("best_val_loss", 1),
        ("epochs_asked", 0),
        ("epochs_trained", 0),
    ]
    assert {run["experiment"] for run in (parent, *children)} == {1}


def test_a_second_time_writes_nothing(here: Place) -> None:
    sweep_id = made_up.finished_sweep(here.store)
    here.publish(sweep_id)
    before = here.mlflow.read_bytes()
    assert here.publish(sweep_id) == 0
    assert here.mlflow.read_bytes() == before


def test_the_parent_carries_the_figures(here: Place) -> None:
    sweep_id = made_up.finished_sweep(here.store, trials=3)
    here.publish(sweep_id, with_figures=True)
    parent = runs_in(here.mlflow, store=here.store.identity(), sweep_id=sweep_id)[0]
    folder = Path(parent["artifacts"].removeprefix("file://")) / "figures"
    assert folder.is_relative_to(here.artifacts)
    assert sorted(path.name for path in folder.iterdir()) == ["lr_momentum.html", "validation_curves.html"]
    assert "Plotly.newPlot" in (folder / "lr_momentum.html").read_text()


def test_following_shows_trials_as_they_end_and_open_ones_now_and_then(here: Place) -> None:
    lease = made_up.start_sweep(here.store, epochs=4)
    sweep_id, now = lease.sweep_id, 0.0
    running, finished = TrialState.running, TrialState.finished
    seen: list[dict[str, int]] = []

    def story() -> Any:
        made_up.add_trials(here.store, lease, {0: (running, 1), 1: (running, 1), 2: (TrialState.waiting, 0)})
        yield 1.0
        made_up.add_epochs(here.store, lease, 0, 4, finished)
        made_up.add_epochs(here.store, lease, 1, 2, running)
        yield 1.0
        yield 15.0
        made_up.add_epochs(here.store, lease, 1, 4, finished)
        here.store.finish_sweep(lease, SweepState.stopped)
        yield 1.0

    acts = story()

    def sleep(_seconds: float) -> None:
        nonlocal now
        shown = runs_in(here.mlflow, store=here.store.identity(), sweep_id=sweep_id)
        seen.append({run["name"]: max((p[1] for p in run["points"]), default=0) for run in shown[1:]})
        now += next(acts)

    projection = here.projection(sweep_id, clock=lambda: now)
    list(follow(projection, is_orphan=lambda: False, clock=lambda: now, sleep=sleep))
    assert seen == [{}, {}, {"trial 0": 4}, {"trial 0": 4, "trial 1": 2}]
    parent, *children = check_equal(here, sweep_id)
    assert parent["status"] == "KILLED"
    assert [run["tags"]["ravine.state"] for run in children] == ["finished", "finished", "cancelled"]


def test_an_interrupted_sweep_is_shown_as_it_stands_and_goes_on_in_the_same_runs(here: Place) -> None:
    lease = made_up.start_sweep(here.store)
    made_up.add_trials(here.store, lease, {0: (TrialState.finished, 4), 1: (TrialState.running, 2)})
    here.store.interrupt(lease)
    here.publish(lease.sweep_id)
    before = check_equal(here, lease.sweep_id)
    assert [run["status"] for run in before] == ["SCHEDULED", "FINISHED", "RUNNING"]
    resumed = here.store.take_lease(lease.sweep_id, made_up.ME, lease_seconds=60.0, is_dead=lambda _: False)
    here.projection(lease.sweep_id).publish(everything=False)
    parent = runs_in(here.mlflow, store=here.store.identity(), sweep_id=lease.sweep_id)[0]
    assert (parent["status"], parent["tags"]["ravine.state"]) == ("RUNNING", "running")
    made_up.add_trials(here.store, resumed, {2: (TrialState.finished, 4)}, round_=2)
    made_up.start_again(here.store, resumed, 1)
    made_up.add_epochs(here.store, resumed, 1, 4, TrialState.finished)
    here.store.finish_sweep(resumed, SweepState.finished)
    here.publish(lease.sweep_id)
    after = check_equal(here, lease.sweep_id)
    assert [run["run_id"] for run in after[:3]] == [run["run_id"] for run in before]


def test_a_fresh_mlflow_is_filled_again(here: Place, empty_mlflow: Path) -> None:
    sweep_id = made_up.finished_sweep(here.store)
    here.publish(sweep_id)
    before = content(check_equal(here, sweep_id))
    shutil.copy(empty_mlflow, here.mlflow)
    here.publish(sweep_id)
    assert content(check_equal(here, sweep_id)) == before


def test_an_mlflow_from_an_older_backup_is_brought_up_to_date(here: Place) -> None:
    lease = made_up.start_sweep(here.store)
    made_up.add_trials(here.store, lease, {0: (TrialState.running, 2), 1: (TrialState.finished, 3)})
    here.publish(lease.sweep_id)
    backup = here.mlflow.read_bytes()
    made_up.add_epochs(here.store, lease, 0, 4, TrialState.finished)
    here.store.finish_sweep(lease, SweepState.finished)
    here.publish(lease.sweep_id)
    tracking_before = content(check_equal(here, lease.sweep_id))
    here.mlflow.write_bytes(backup)
    here.publish(lease.sweep_id)
    assert content(check_equal(here, lease.sweep_id)) == tracking_before


def test_part_of_a_curve_that_a_restored_mlflow_lost_is_not_forgotten(here: Place) -> None:
    lease = made_up.start_sweep(here.store)
    made_up.add_trials(here.store, lease, {0: (TrialState.running, 1)})
    here.publish(lease.sweep_id)
    backup = here.mlflow.read_bytes()
    made_up.add_epochs(here.store, lease, 0, 3, TrialState.running)
    here.publish(lease.sweep_id)
    here.mlflow.write_bytes(backup)
    made_up.add_epochs(here.store, lease, 0, 4, TrialState.finished)
    here.publish(lease.sweep_id)
    check_equal(here, lease.sweep_id)


def test_a_parent_deleted_by_hand_is_made_again_with_its_trials_under_it(here: Place) -> None:
    sweep_id = made_up.finished_sweep(here.store)
    here.publish(sweep_id)
    parent = runs_in(here.mlflow, store=here.store.identity(), sweep_id=sweep_id)[0]
    tracking.connect(here.uri).delete_run(parent["run_id"])
    here.publish(sweep_id)
    assert check_equal(here, sweep_id)[0]["run_id"] != parent["run_id"]


def test_doubles_are_removed_and_the_recorded_run_kept(here: Place) -> None:
    sweep_id = made_up.finished_sweep(here.store)
    here.publish(sweep_id)
    before = check_equal(here, sweep_id)
    connected = tracking.connect(here.uri)
    for run in before:
        told = {"name": run["name"], "start_ms": run["start_ms"] - 5, "status": "RUNNING", "end_ms": None}
        double = RunContent(**told, tags=run["tags"], params={})
        connected.write("1", [RunChange(run_id=None, content=double, tags=run["tags"])])
    assert len(runs_in(here.mlflow, store=here.store.identity(), sweep_id=sweep_id)) == 2 * len(before)
    here.publish(sweep_id)
    assert [run["run_id"] for run in check_equal(here, sweep_id)] == [run["run_id"] for run in before]


def test_two_stores_with_the_same_sweep_id_do_not_mix(here: Place, tmp_path: Path) -> None:
    other = Place(tmp_path / "home", made_up.open_store(f"sqlite:///{tmp_path / 'other.db'}"))
    sweep_id = made_up.finished_sweep(here.store)
    assert made_up.finished_sweep(other.store, trials=4) == sweep_id
    here.publish(sweep_id)
    other.publish(sweep_id)
    check_equal(here, sweep_id)
    check_equal(other, sweep_id)
    assert delete_runs(here.store.identity(), sweep_id, here.uri) == 7
    assert runs_in(here.mlflow, store=here.store.identity(), sweep_id=sweep_id) == []
    check_equal(other, sweep_id)


def test_sixteen_at_once_make_one_experiment(here: Place) -> None:
    found: list[str] = []
    clients = [tracking.connect(here.uri, here.artifacts) for _ in range(16)]
    threads = [
        threading.Thread(target=lambda client=client: found.append(client.experiment("new")))
        for client in clients
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 16
    assert len(set(found)) == 1


def test_more_points_than_one_request_takes_arrive(here: Place) -> None:
    lease = made_up.start_sweep(here.store, epochs=400)
    made_up.add_trials(here.store, lease, {0: (TrialState.finished, 400)})
    here.publish(lease.sweep_id)
    assert len(check_equal(here, lease.sweep_id)[1]["points"]) == 400 * 6 - 1


def test_a_task_named_by_a_path_gets_an_experiment_and_a_folder(here: Place) -> None:
    sweep_id = made_up.finished_sweep(here.store, trials=1, task="../my tasks/file.py:Näme")
    here.publish(sweep_id)
    parent = runs_in(here.mlflow, store=here.store.identity(), sweep_id=sweep_id)[0]
    assert Path(parent["artifacts"].removeprefix("file://")).is_relative_to(here.artifacts)


def run_publisher(folder: Path, uri: str, sweep_id: int = 1) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "dashboards.publish", "--sweep", str(sweep_id)]
    command += ["--artifacts", str(folder / "artifacts")]
    addresses = {"RAVINE_DATABASE": f"sqlite:///{folder / 'ravine.db'}", "MLFLOW_TRACKING_URI": uri}
    return subprocess.run(
        command, env={**os.environ, **addresses}, capture_output=True, text=True, timeout=60
    )


def test_the_process_makes_a_database_and_says_what_it_did(tmp_path: Path) -> None:
    here = Place(tmp_path, made_up.open_store(f"sqlite:///{tmp_path / 'ravine.db'}"))
    sweep_id = made_up.finished_sweep(here.store)
    ended = run_publisher(tmp_path, here.uri)
    assert (ended.returncode, ended.stderr) == (0, "")
    result = json.loads(ended.stdout)
    assert (result["published"], result["complete"]) == (8, True)
    check_equal(here, sweep_id)
    assert here.mlflow.stat().st_mode & 0o777 == 0o600
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"ravine.db", "mlflow.db", "artifacts"}


def test_mlflow_is_not_loaded_where_its_tables_and_the_experiment_are_there(here: Place) -> None:
    first, second = made_up.finished_sweep(here.store), made_up.finished_sweep(here.store)
    here.publish(first)
    code = "import sys; from dashboards import publish; code = publish.main(sys.argv[1:])"
    code += "; print(code, 'mlflow' in sys.modules)"
    given = ["--sweep", second, "--database", f"sqlite:///{here.folder / 'ravine.db'}"]
    given += ["--tracking", here.uri, "--artifacts", here.artifacts]
    ended = subprocess.run(
        [sys.executable, "-c", code, *map(str, given)], capture_output=True, text=True, timeout=60
    )
    assert (ended.stdout.splitlines()[-1], ended.stderr) == ("0 False", "")
    check_equal(here, second)


def test_an_mlflow_that_does_not_answer_is_told_in_a_sentence(tmp_path: Path) -> None:
    here = Place(tmp_path, made_up.open_store(f"sqlite:///{tmp_path / 'ravine.db'}"))
    made_up.finished_sweep(here.store, trials=1)
    began = time.monotonic()
    ended = run_publisher(tmp_path, "http://me:secret@127.0.0.1:1")
    assert time.monotonic() - began < 20
    assert ended.returncode == 1
    assert json.loads(ended.stdout)["complete"] is False
    told = "publish: MLflow at http://127.0.0.1:1 cannot be brought up to date: nothing answers there."
    assert ended.stderr.startswith(told)
    assert "secret" not in ended.stderr
    assert len(ended.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("uri", "told"),
    [
        ("file:///tmp/mlruns", "MLflow's runs cannot be kept in"),
        ("mlflow", "The tracking URI cannot be read"),
        ("sqlite://", "MLflow's runs cannot be kept in"),
        ("sqlite:////proc/nowhere/mlflow.db", "cannot be brought up to date"),
    ],
)
def test_an_address_of_another_kind_is_refused(uri: str, told: str) -> None:
    with pytest.raises(TrackingUnavailable, match=told):
        tracking.connect(uri)


def test_a_damaged_database_is_told_at_once(here: Place) -> None:
    here.mlflow.write_bytes(b"no database" * 1000)
    with pytest.raises(TrackingUnavailable, match=r"cannot be read.*publish SWEEP"):
        tracking.connect(here.uri, here.artifacts)


def test_a_database_of_another_mlflow_is_left_alone(here: Place) -> None:
    with closing(sqlite3.connect(here.mlflow)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = 'of_tomorrow'")
        connection.commit()
    with pytest.raises(TrackingUnavailable, match="out-of-date database schema"):
        tracking.connect(here.uri, here.artifacts)
