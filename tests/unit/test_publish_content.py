"""What MLflow is to show: a pure function of the store's rows."""

from __future__ import annotations

import math
import subprocess
import sys
from dataclasses import replace

import pytest

from dashboards.run_content import milliseconds, plain_text, sweep_content, trial_content
from sweeps.records import Measurement, SweepRow, SweepState, TrialRow, TrialState
from sweeps.store import open_store
from sweeps.verdict import best_trial
from tests.unit import published_sweeps as made_up

STATUS = {
    TrialState.waiting: "RUNNING",
    TrialState.running: "RUNNING",
    TrialState.finished: "FINISHED",
    TrialState.pruned: "FINISHED",
    TrialState.diverged: "FINISHED",
    TrialState.failed: "FAILED",
    TrialState.cancelled: "KILLED",
}


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> tuple[SweepRow, list[TrialRow], list[Measurement]]:
    """A sweep with a trial of every ended state, by number in that order."""
    store = open_store(f"sqlite:///{tmp_path_factory.mktemp('store') / 'ravine.db'}")
    lease = made_up.start_sweep(store)
    ends = [TrialState.finished, TrialState.pruned, TrialState.diverged, TrialState.failed]
    made_up.add_trials(store, lease, {number: (state, 3) for number, state in enumerate(ends)})
    made_up.add_trials(store, lease, {4: (TrialState.finished, 3), 5: (TrialState.cancelled, 0)})
    sweep_id = lease.sweep_id
    return store.sweep(sweep_id), store.trials(sweep_id), store.measurements(sweep_id)


def rows_of(measurements: list[Measurement], number: int) -> list[Measurement]:
    return [row for row in measurements if row.number == number]


@pytest.mark.parametrize("state", TrialState)
def test_every_trial_state_has_its_status(stored, state: TrialState) -> None:
    sweep, trials, measurements = stored
    content = trial_content(sweep, replace(trials[0], state=state), rows_of(measurements, 0))
    assert content.status == STATUS[state]
    assert content.tags["ravine.state"] == state
    assert (content.end_ms is None) == (content.status == "RUNNING")


def test_points_are_every_number_of_every_epoch_at_the_stores_own_time(stored) -> None:
    sweep, trials, measurements = stored
    rows = rows_of(measurements, 0)
    points = trial_content(sweep, trials[0], rows).points
    at_two = {point.key: point.value for point in points if point.step == 2}
    assert at_two == {
        "train_loss": rows[1].train_loss,
        "val_loss": rows[1].val_loss,
        "lr": rows[1].lr,
        "momentum": rows[1].momentum,
        "grad_norm": rows[1].grad_norm,
        "val_accuracy": rows[1].extra["val_accuracy"],
    }
    assert {point.ts_ms for point in points if point.step == 2} == {rows[1].ts_ms}


def test_an_infinite_gradient_norm_and_a_missing_momentum_are_left_out(stored) -> None:
    sweep, trials, measurements = stored
    rows = [replace(row, momentum=None) for row in rows_of(measurements, 0)]
    assert rows[0].grad_norm == math.inf
    points = trial_content(sweep, trials[0], rows).points
    assert "momentum" not in {point.key for point in points}
    assert [point.step for point in points if point.key == "grad_norm"] == [2, 3]


def test_points_after_an_epoch_are_the_later_ones_only(stored) -> None:
    sweep, trials, measurements = stored
    content = trial_content(sweep, trials[0], rows_of(measurements, 0), after_epoch=2)
    assert {point.step for point in content.points} == {3}
    assert content.start_ms == rows_of(measurements, 0)[0].ts_ms


def test_params_are_the_settings_columns_as_the_csv_writes_them(stored) -> None:
    sweep, trials, _ = stored
    trial = replace(
        trials[0],
        setting={"lr": 0.1, "nesterov": True, "betas": [0.9, 0.999], "batch_size": 32, "momentum": None},
    )
    assert trial_content(sweep, trial, []).params == {
        "optimizer": "SGD",
        "schedule": "StepLR",
        "seed": "0",
        "lr": "0.1",
        "nesterov": "true",
        "betas": "[0.9, 0.999]",
    }


@pytest.mark.parametrize("value", [0.1, 1e-300, 1 / 3, 5e-324, 1e22, -0.0])
def test_floats_come_back_bit_for_bit(value: float) -> None:
    assert float(plain_text(value)).hex() == value.hex()


def test_a_divergence_says_where(stored) -> None:
    sweep, trials, measurements = stored
    tags = trial_content(sweep, trials[2], rows_of(measurements, 2)).tags
    assert (tags["ravine.diverged_step"], tags["ravine.diverged_lr"]) == ("139", "1.5")


def test_a_failure_says_why(stored) -> None:
    sweep, trials, measurements = stored
    tags = trial_content(sweep, trials[3], rows_of(measurements, 3)).tags
    assert tags["ravine.cause"] == "user_error"
    assert "ValueError: no" in tags["mlflow.note.content"]


def test_an_endless_traceback_is_cut_to_what_mlflow_takes(stored) -> None:
    sweep, trials, _ = stored
    trial = replace(trials[3], detail={"message": "m" * 20_000, "traceback": "t" * 20_000})
    assert all(len(tag) <= 5_000 for tag in trial_content(sweep, trial, []).tags.values())


def test_a_trial_cancelled_before_its_first_epoch_has_a_run_without_points(stored) -> None:
    sweep, trials, _ = stored
    content = trial_content(sweep, trials[5], [])
    assert (content.status, list(content.points)) == ("KILLED", [])
    assert content.end_ms == content.start_ms == milliseconds(sweep.started_at)


@pytest.mark.parametrize(
    ("state", "status"),
    [
        (SweepState.waiting, "SCHEDULED"),
        (SweepState.running, "RUNNING"),
        (SweepState.finished, "FINISHED"),
        (SweepState.stopped, "KILLED"),
        (SweepState.failed, "FAILED"),
    ],
)
def test_every_sweep_state_has_its_status(stored, state: SweepState, status: str) -> None:
    sweep, trials, _ = stored
    assert sweep_content(replace(sweep, state=state), trials).status == status


def test_the_parent_shows_the_best_value_so_far_once_the_sweep_has_ended(stored) -> None:
    sweep, trials, measurements = stored
    ended = replace(sweep, state=SweepState.finished, ended_at="2026-01-02T03:04:05.678Z")
    content = sweep_content(ended, trials, measurements)
    first, second = trials[0].value, trials[4].value
    shown = [(point.step, point.value) for point in content.points if point.key == "best_val_loss"]
    assert shown == [(1, first), (2, min(first, second))]
    assert content.end_ms == 1_767_323_045_678
    assert content.params["sampler"] == "tpe"
    assert not sweep_content(sweep, trials, measurements).points


def test_the_parent_shows_what_was_asked_for_trained_and_used_once_the_sweep_has_ended(stored) -> None:
    sweep, trials, _ = stored
    usage = {"slot_occupancy": 0.96, "device_idle_share": 0.04, "anything": 3, "unknown": math.nan}
    riders = [replace(trial, epochs_trained=trial.epochs_done // 2) for trial in trials]
    ended = replace(sweep, state=SweepState.stopped, ended_at="2026-01-02T03:04:05.678Z", usage=usage)
    points = {point.key: point for point in sweep_content(ended, riders).points}
    assert {key: point.value for key, point in points.items()} == {
        "epochs_asked": 15.0,
        "epochs_trained": 5.0,
        "slot_occupancy": 0.96,
        "device_idle_share": 0.04,
        "anything": 3.0,
    }
    assert {(point.step, point.ts_ms) for point in points.values()} == {(0, 1_767_323_045_678)}
    assert not sweep_content(replace(sweep, usage=usage), riders).points


def test_the_parent_says_why_a_sweep_ended_early(stored) -> None:
    sweep, trials, _ = stored
    assert "ravine.ended_early" not in sweep_content(replace(sweep, ending={"kept": {}}), trials).tags
    early = replace(sweep, ending={"by": "epochs", "reason": "the budget is used up"})
    assert sweep_content(early, trials).tags["ravine.ended_early"] == "the budget is used up"


def test_a_trial_says_whose_row_it_rode_on_and_how_far(stored) -> None:
    sweep, trials, measurements = stored
    alone = trial_content(sweep, trials[0], rows_of(measurements, 0)).tags
    assert alone["ravine.epochs_trained"] == "3"
    assert not {"ravine.parent_trial", "ravine.fork_step"} & set(alone)
    rider = replace(trials[0], epochs_trained=1, parent_number=0, fork_step=88)
    tags = trial_content(sweep, rider, rows_of(measurements, 0)).tags
    names = ("ravine.epochs_trained", "ravine.parent_trial", "ravine.fork_step")
    assert [tags[name] for name in names] == ["1", "0", "88"]


def test_the_best_is_a_finished_trial_by_the_sweeps_goal(stored) -> None:
    sweep, trials, _ = stored
    finished = sorted((trials[0], trials[4]), key=lambda trial: trial.value)
    assert best_trial(sweep, trials) == finished[0]
    assert best_trial(replace(sweep, goal="maximize"), trials) == finished[1]
    assert best_trial(sweep, trials[1:4]) is None


@pytest.mark.parametrize(
    "module", ["charts", "tracking", "tracking_rows", "projection", "publish", "server", "run_content"]
)
def test_mlflow_is_loaded_only_when_it_is_spoken_to(module: str) -> None:
    code = f"import sys, dashboards.{module}; print('mlflow' in sys.modules)"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed == "False\n"
