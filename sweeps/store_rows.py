"""Rows and records: how a table's row becomes a frozen value, and the other way."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Row

from sweeps.leases import owner_of
from sweeps.records import (
    Measurement,
    NewSweep,
    NewTrial,
    Publication,
    SweepRow,
    SweepState,
    TrialProgress,
    TrialRow,
    TrialState,
)

_NEW_SWEEP = ("name", "task", "metric", "goal", "seed", "epochs", "trials", "spec")
_NEW_TRIAL = (
    "number",
    "setting_index",
    "seed",
    "admitted_round",
    "lane",
    "optimizer",
    "schedule",
    "setting",
    "lr",
    "momentum",
    "weight_decay",
    "nesterov",
)
_PROGRESS = (
    "number",
    "state",
    "value",
    "epochs_done",
    "peak_lr",
    "final_lr",
    "epochs_trained",
    "parent_number",
    "fork_step",
    "cause",
    "detail",
)


def sweep_values(new: NewSweep) -> dict[str, Any]:
    """The columns of a sweep that is about to be stored."""
    return {name: getattr(new, name) for name in _NEW_SWEEP} | {"columns": list(new.columns)}


def sweep_row(row: Row[Any]) -> SweepRow:
    """A sweep as it was read, ``now`` by the database's clock included: an ended lease has no owner."""
    in_force = row.lease_until is not None and row.lease_until > row.now
    return SweepRow(
        **{name: getattr(row, name) for name in _NEW_SWEEP},
        columns=tuple(row._mapping["columns"]),
        id=row.id,
        state=SweepState(row.state),
        rounds_done=row.rounds_done,
        plan=row.plan,
        owner=owner_of(row) if in_force else None,
        lease_epoch=row.lease_epoch,
        created_at=row.created_at,
        started_at=row.started_at,
        ended_at=row.ended_at,
        error=row.error,
        usage=row.usage,
        ending=row.ending,
    )


def trial_values(sweep_id: int, new: NewTrial) -> dict[str, Any]:
    """The columns of a trial that is about to be stored as waiting.

    Raises:
        ValueError: a number is not finite.
    """
    _refuse_not_finite(f"trial {new.number}", new, ("lr", "momentum", "weight_decay"))
    return {name: getattr(new, name) for name in _NEW_TRIAL} | {
        "sweep_id": sweep_id,
        "state": TrialState.waiting,
        "attempt": 0,
        "epochs_done": 0,
        "epochs_trained": 0,
    }


def trial_row(row: Row[Any]) -> TrialRow:
    """A trial as it was read."""
    return TrialRow(
        **{name: getattr(row, name) for name in _NEW_TRIAL},
        sweep_id=row.sweep_id,
        state=TrialState(row.state),
        attempt=row.attempt,
        cause=row.cause,
        detail=row.detail,
        value=row.value,
        epochs_done=row.epochs_done,
        peak_lr=row.peak_lr,
        final_lr=row.final_lr,
        epochs_trained=row.epochs_trained,
        parent_number=row.parent_number,
        fork_step=row.fork_step,
    )


def progress_values(progress: TrialProgress) -> dict[str, Any]:
    """The columns of a trial that a round changes.

    Raises:
        ValueError: a number is not finite.
    """
    _refuse_not_finite(f"trial {progress.number}", progress, ("value", "peak_lr", "final_lr"))
    return {name: getattr(progress, name) for name in _PROGRESS}


def measurement_values(sweep_id: int, measurement: Measurement) -> dict[str, Any]:
    """The columns of a measurement.

    Raises:
        ValueError: a number other than the gradient's norm is not finite.
    """
    place = f"trial {measurement.number}, epoch {measurement.epoch}"
    _refuse_not_finite(place, measurement, ("lr", "momentum", "train_loss", "val_loss"))
    for name, value in measurement.extra.items():
        if not math.isfinite(value):
            raise ValueError(f"{place}: {name} is {value!r}, and only finite numbers are stored")
    return {
        "sweep_id": sweep_id,
        "number": measurement.number,
        "epoch": measurement.epoch,
        "step": measurement.step,
        "lr": measurement.lr,
        "momentum": measurement.momentum,
        "train_loss": measurement.train_loss,
        "val_loss": measurement.val_loss,
        "grad_norm": measurement.grad_norm,
        "extra": measurement.extra,
        "ts_ms": measurement.ts_ms,
    }


MEASUREMENT_COLUMNS = (
    "number",
    "epoch",
    "step",
    "lr",
    "momentum",
    "train_loss",
    "val_loss",
    "grad_norm",
    "extra",
    "ts_ms",
)


def measurement(row: Sequence[Any]) -> Measurement:
    """A measurement as it was read, its columns in the order of :data:`MEASUREMENT_COLUMNS`."""
    number, epoch, step, lr, momentum, train_loss, val_loss, grad_norm, extra, ts_ms = row
    return Measurement(
        number=number,
        epoch=epoch,
        step=step,
        lr=lr,
        momentum=momentum,
        train_loss=train_loss,
        val_loss=val_loss,
        grad_norm=grad_norm,
        extra=extra,
        ts_ms=ts_ms,
    )


def publication(row: Row[Any]) -> Publication:
    """A publication as it was read."""
    return Publication(
        sweep_id=row.sweep_id, number=row.number, run_id=row.run_id, epochs=row.epochs, state=row.state
    )


def publication_values(row: Publication) -> dict[str, Any]:
    """The columns of a publication."""
    return {
        "sweep_id": row.sweep_id,
        "number": row.number,
        "run_id": row.run_id,
        "epochs": row.epochs,
        "state": row.state,
    }


def _refuse_not_finite(place: str, record: object, names: tuple[str, ...]) -> None:
    for name in names:
        value = getattr(record, name)
        if value is not None and not math.isfinite(value):
            raise ValueError(f"{place}: {name} is {value!r}, and only finite numbers are stored")
