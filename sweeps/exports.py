"""Exports: trials and curves as CSV and JSON, exactly as scripts rely on them."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from sweeps.records import Measurement, SweepRow, TrialRow, TrialState

_FIRST = ("number", "state", "seed", "optimizer", "schedule", "value", "epochs_done")
_LAST = ("peak_lr", "final_lr")
_CURVE = ("number", "epoch", "step", "lr", "momentum", "train_loss", "val_loss")


def trial_columns(sweep: SweepRow) -> tuple[str, ...]:
    """Names of a trial's columns, in order."""
    return (*_FIRST, *sweep.columns, *_LAST)


def trial_values(sweep: SweepRow, trial: TrialRow) -> dict[str, Any]:
    """A trial by column name; None where a column does not apply."""
    values: dict[str, Any] = {name: getattr(trial, name) for name in (*_FIRST, *_LAST)}
    values["state"] = str(trial.state)
    for column in sweep.columns:
        values[column] = trial.setting.get(column)
    return {name: values[name] for name in trial_columns(sweep)}


def curve_columns(sweep: SweepRow, measurements: Iterable[Measurement] = ()) -> tuple[str, ...]:
    """Names of a measurement's columns: the fixed ones, then the task's other metrics.

    Those that were not known when the sweep was launched, as of a training loop, are what was measured.
    """
    measured = (name for measurement in measurements for name in measurement.extra)
    return tuple(dict.fromkeys((*_CURVE, *sweep.spec["metrics"], *measured)))


def curve_values(measurement: Measurement, columns: Sequence[str]) -> dict[str, Any]:
    """A measurement by column name."""
    return {
        name: getattr(measurement, name) if name in _CURVE else measurement.extra.get(name)
        for name in columns
    }


def as_csv(columns: Sequence[str], rows: Iterable[dict[str, Any]]) -> str:
    """CSV text with a header: shortest round-trip floats, empty for none, ``nan``, ``inf``, ``true``."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow([cell(row[column]) for column in columns])
    return text.getvalue()


def as_json(rows: Iterable[dict[str, Any]]) -> str:
    """A JSON list of objects; numbers that JSON cannot say become the CSV's words."""
    return json.dumps([{key: _sayable(value) for key, value in row.items()} for row in rows], indent=1) + "\n"


def cell(value: Any) -> str:
    """One value as CSV and MLflow show it."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, (list, tuple, dict)):
        return json.dumps(value)
    return str(value)


def _sayable(value: Any) -> Any:
    return cell(value) if isinstance(value, float) and not math.isfinite(value) else value


def sweep_result(
    sweep: SweepRow,
    counts: Mapping[TrialState, int],
    best: TrialRow | None,
    seconds: float,
    *,
    told_of_best: Mapping[str, Any] = MappingProxyType({}),
) -> dict[str, Any]:
    """The object that ``--json`` prints last.

    ``ended_early`` is there where it has a reason; ``told_of_best``: what else is known of the best setting.
    """
    shown = ("finished", "pruned", "diverged", "failed", "cancelled", "waiting", "running")
    return {
        "sweep": sweep.id,
        "name": sweep.name,
        "state": str(sweep.state),
        "trials": {state: counts[TrialState(state)] for state in shown},
        "best": None
        if best is None
        else {
            "trial": best.number,
            "value": best.value,
            "setting": dict(best.setting),
            **told_of_best,
        },
        "seconds": round(seconds, 3),
    } | ({} if sweep.ended_early is None else {"ended_early": sweep.ended_early})
