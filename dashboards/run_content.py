"""Run content: what MLflow is to show of a trial or a sweep, as plain values."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from dashboards.audit_words import audit_lines
from sweeps.pruning_audit import PruningAudit
from sweeps.range_test_words import range_test_words
from sweeps.records import Measurement, SweepRow, SweepState, TrialRow, TrialState
from sweeps.verdict import best_trial, search_trials

_LONGEST_TAG = 5_000  # characters; MLflow refuses tags above 8,000 bytes and params above 6,000
_TRIAL_STATUS = {
    TrialState.waiting: "RUNNING",
    TrialState.running: "RUNNING",
    TrialState.finished: "FINISHED",
    TrialState.pruned: "FINISHED",
    TrialState.diverged: "FINISHED",
    TrialState.failed: "FAILED",
    TrialState.cancelled: "KILLED",
}
_SWEEP_STATUS = {
    SweepState.waiting: "SCHEDULED",
    SweepState.running: "RUNNING",
    SweepState.finished: "FINISHED",
    SweepState.stopped: "KILLED",
    SweepState.failed: "FAILED",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One value of a metric. The time is the store's own: the same point again is then the same row."""

    key: str
    value: float
    step: int
    ts_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RunContent:
    """A run as MLflow is to show it. Equal facts give equal content."""

    name: str
    status: str  # RunStatus of MLflow
    start_ms: int
    end_ms: int | None  # None while the trial or sweep is open
    tags: Mapping[str, str]
    params: Mapping[str, str]
    points: Sequence[Point] = field(default_factory=tuple)


def trial_content(
    sweep: SweepRow, trial: TrialRow, measurements: Sequence[Measurement], *, after_epoch: int = 0
) -> RunContent:
    """The run of a trial with these measurements (by epoch); its points are those ``after_epoch``."""
    status = _TRIAL_STATUS[trial.state]
    start_ms = measurements[0].ts_ms if measurements else milliseconds(sweep.started_at or sweep.created_at)
    last_ms = measurements[-1].ts_ms if measurements else start_ms
    return RunContent(
        name=f"trial {trial.number}",
        status=status,
        start_ms=start_ms,
        end_ms=None if status == "RUNNING" else last_ms,
        tags=_trial_tags(trial) | {"ravine.epochs": str(len(measurements))},
        params=_trial_params(sweep, trial),
        points=[
            point for shown in measurements if shown.epoch > after_epoch for point in _epoch_points(shown)
        ],
    )


def sweep_content(
    sweep: SweepRow,
    trials: Sequence[TrialRow],
    measurements: Sequence[Measurement] = (),
    audit: PruningAudit | None = None,
) -> RunContent:
    """The sweep's parent run; once the sweep has ended for good, with its best value so far by trial.

    Then also with how many epochs it asked for and trained, and how well its slots and workers were used.
    """
    status = _SWEEP_STATUS[sweep.state]
    is_open = status in ("SCHEDULED", "RUNNING")
    start_ms = milliseconds(sweep.started_at or sweep.created_at)
    end_ms = milliseconds(sweep.ended_at) if sweep.ended_at else start_ms
    best = best_trial(sweep, trials)
    tags = {
        "ravine.state": sweep.state.value,
        "mlflow.source.name": "ravine",
        "mlflow.note.content": sweep_note(sweep, trials),
    }
    if best is not None:
        tags |= {"ravine.best_trial": str(best.number), "ravine.best_value": plain_text(best.value)}
    found = range_test_words(sweep.plan)
    if found:
        tags["ravine.range_test"] = "\n".join(found)[:_LONGEST_TAG]
    if sweep.error:
        tags["ravine.error"] = sweep.error[:_LONGEST_TAG]
    if audit is not None:
        tags["ravine.pruning_audit"] = "\n".join(audit_lines(audit, sweep.metric))[:_LONGEST_TAG]
    if sweep.ended_early:
        tags["ravine.ended_early"] = sweep.ended_early[:_LONGEST_TAG]
    return RunContent(
        name=f"{sweep.name} (sweep {sweep.id})",
        status=status,
        start_ms=start_ms,
        end_ms=None if is_open else end_ms,
        tags=tags,
        params=_sweep_params(sweep),
        points=()
        if is_open
        else [*_best_points(sweep, trials, measurements), *_sum_points(sweep, trials, end_ms)],
    )


def sweep_note(sweep: SweepRow, trials: Sequence[TrialRow]) -> str:
    """The sweep in two sentences, for the description on MLflow's page."""
    counts = ", ".join(
        f"{sum(trial.state is state for trial in trials)} {state.value}"
        for state in TrialState
        if any(trial.state is state for trial in trials)
    )
    best = best_trial(sweep, trials)
    found = "" if best is None else f" Best: trial {best.number}, {sweep.metric} {best.value:.6g}."
    return f"Sweep {sweep.id} of `{sweep.task}` ({sweep.state.value}): {counts or 'no trials yet'}.{found}"


def milliseconds(instant: str) -> int:
    """Milliseconds since 1970 of an ISO 8601 instant."""
    return round(datetime.fromisoformat(instant).timestamp() * 1000)


def plain_text(value: Any) -> str:
    """A setting's value as the CSV writes it: shortest round-trip floats, true and false, lists as JSON."""
    if isinstance(value, str):
        return value
    if isinstance(value, float):
        return repr(value)
    return json.dumps(value)


def _counts(trial: TrialRow) -> bool:
    return trial.state is TrialState.finished and trial.value is not None


def _trial_tags(trial: TrialRow) -> dict[str, str]:
    tags = {
        "ravine.state": trial.state.value,
        "ravine.trial": str(trial.number),
        "ravine.setting": str(trial.setting_index),
        "ravine.epochs_trained": str(trial.epochs_trained),
    }
    if trial.parent_number is not None:
        tags["ravine.parent_trial"] = str(trial.parent_number)
        tags["ravine.fork_step"] = str(trial.fork_step)
    if trial.cause:
        tags["ravine.cause"] = trial.cause
    detail = dict(trial.detail or {})
    if trial.state is TrialState.diverged:
        tags |= {f"ravine.diverged_{key}": plain_text(value)[:_LONGEST_TAG] for key, value in detail.items()}
    if trial.state is TrialState.failed and detail:
        message, traceback = str(detail.get("message", "")), str(detail.get("traceback", ""))
        tags["ravine.message"] = message[:_LONGEST_TAG]
        tags["mlflow.note.content"] = f"{message}\n\n```\n{traceback[-_LONGEST_TAG // 2 :]}\n```"[
            :_LONGEST_TAG
        ]
    return tags


def _trial_params(sweep: SweepRow, trial: TrialRow) -> dict[str, str]:
    params = {"optimizer": trial.optimizer, "schedule": trial.schedule, "seed": str(trial.seed)}
    shown = {name: trial.setting.get(name) for name in sweep.columns}
    return params | {name: plain_text(value) for name, value in shown.items() if value is not None}


def _epoch_points(shown: Measurement) -> Iterator[Point]:
    values = {
        "train_loss": shown.train_loss,
        "val_loss": shown.val_loss,
        "lr": shown.lr,
        "momentum": shown.momentum,
        "grad_norm": shown.grad_norm,
        **shown.extra,
    }
    for key, value in values.items():
        # MLflow stores infinity as 1.8e308 and nan as 0: left out, they at least do not lie.
        if value is not None and math.isfinite(value):
            yield Point(key=key, value=float(value), step=shown.epoch, ts_ms=shown.ts_ms)


def _sweep_params(sweep: SweepRow) -> dict[str, str]:
    own: dict[str, Any] = {
        "task": sweep.task,
        "metric": sweep.metric,
        "goal": sweep.goal,
        "epochs": sweep.epochs,
        "trials": sweep.trials,
        "seed": sweep.seed,
        "sampler": sweep.spec.get("sampler"),
        "pruner": sweep.spec.get("pruner"),
    }
    return {name: plain_text(value) for name, value in own.items() if value is not None}


def _best_points(
    sweep: SweepRow, trials: Sequence[TrialRow], measurements: Sequence[Measurement]
) -> Iterator[Point]:
    """The best value after each finished trial, in the order of their ends; the step counts them."""
    ended_ms = {shown.number: shown.ts_ms for shown in measurements}
    better = max if sweep.goal == "maximize" else min
    best: float | None = None
    searched = (trial for trial in search_trials(sweep, trials) if _counts(trial))
    finished = sorted((ended_ms[t.number], t.number, t) for t in searched if t.number in ended_ms)
    for step, (ts_ms, _, trial) in enumerate(finished, start=1):
        assert trial.value is not None  # noqa: S101 - told by _counts
        best = trial.value if best is None else better(best, trial.value)
        yield Point(key=f"best_{sweep.metric}", value=best, step=step, ts_ms=ts_ms)


def _sum_points(sweep: SweepRow, trials: Sequence[TrialRow], end_ms: int) -> Iterator[Point]:
    """The sweep's sums, at its end."""
    sums = {
        "epochs_asked": float(sum(trial.epochs_done for trial in trials)),
        "epochs_trained": float(sum(trial.epochs_trained for trial in trials)),
        **(sweep.usage or {}),
    }
    for key, value in sums.items():
        if math.isfinite(value):
            yield Point(key=key, value=float(value), step=0, ts_ms=end_ms)
