"""Columns: the records of a round, column by column for a bulk statement, with every number looked at."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import isfinite
from operator import attrgetter, index
from typing import Any, TypeVar

from sweeps import store_rows
from sweeps.records import Measurement, NewTrial, Proposal, TrialProgress, TrialState
from sweeps.store_bulk import Columns
from sweeps.store_json import encode

Record = TypeVar("Record")


def measurement_columns(sweep_id: int, offered: Sequence[Measurement]) -> Columns:
    """The columns of measurements.

    Raises:
        ValueError: a number other than a gradient's norm is not finite.
    """
    finite = {name: _floats(name, offered) for name in ("lr", "momentum", "train_loss", "val_loss")}
    extra = [item.extra for item in offered]
    if not (
        all(map(_all_finite, finite.values())) and all(map(isfinite, (v for e in extra for v in e.values())))
    ):
        _refuse(offered, lambda item: store_rows.measurement_values(sweep_id, item))
    return {
        "sweep_id": [sweep_id] * len(offered),
        **{name: _integers(name, offered) for name in ("number", "epoch", "step", "ts_ms")},
        **finite,
        "grad_norm": [None if norm != norm else norm for norm in _floats("grad_norm", offered)],
        "extra": list(map(encode, extra)),
    }


def progress_columns(progress: Sequence[TrialProgress]) -> Columns:
    """The columns of trials that a round changes, apart from their state.

    Raises:
        ValueError: a number is not finite.
    """
    finite = {name: _floats(name, progress) for name in ("value", "peak_lr", "final_lr")}
    if not all(map(_all_finite, finite.values())):
        _refuse(progress, store_rows.progress_values)
    return {
        **{name: _integers(name, progress) for name in ("number", "epochs_done", "epochs_trained")},
        **finite,
        "parent_number": [item.parent_number for item in progress],
        "fork_step": [item.fork_step for item in progress],
        "cause": [item.cause for item in progress],
        "detail": [None if item.detail is None else encode(item.detail) for item in progress],
    }


NEW_TRIAL = (
    "sweep_id",
    "number",
    "setting_index",
    "seed",
    "admitted_round",
    "lane",
    "state",
    "attempt",
    "epochs_done",
    "epochs_trained",
    "optimizer",
    "schedule",
    "setting",
    "lr",
    "momentum",
    "weight_decay",
    "nesterov",
)
"""Columns of :func:`trial_columns`."""


def trial_columns(sweep_id: int, new: Sequence[NewTrial]) -> Columns:
    """The columns of trials that are about to be stored as waiting.

    Raises:
        ValueError: a number is not finite.
    """
    finite = {name: _floats(name, new) for name in ("lr", "momentum", "weight_decay")}
    if not all(map(_all_finite, finite.values())):
        _refuse(new, lambda trial: store_rows.trial_values(sweep_id, trial))
    nothing = [0] * len(new)
    whole = ("number", "setting_index", "seed", "admitted_round", "lane")
    return {
        "sweep_id": [sweep_id] * len(new),
        **{name: _integers(name, new) for name in whole},
        "state": [TrialState.waiting.value] * len(new),
        "attempt": nothing,
        "epochs_done": nothing,
        "epochs_trained": nothing,
        "optimizer": [trial.optimizer for trial in new],
        "schedule": [trial.schedule for trial in new],
        "setting": [encode(trial.setting) for trial in new],
        **finite,
        "nesterov": [trial.nesterov for trial in new],
    }


def proposal_columns(sweep_id: int, proposed: Sequence[Proposal]) -> Columns:
    """The columns of proposals."""
    return {
        "sweep_id": [sweep_id] * len(proposed),
        "index": _integers("index", proposed),
        "parameters": [encode(proposal.parameters) for proposal in proposed],
        "attributes": [encode(proposal.attributes) for proposal in proposed],
    }


def _floats(name: str, records: Sequence[Any]) -> list[float | None]:
    """Floats of exactly that type: on SQLite an undeclared column would keep an integer an integer."""
    return [
        value if value is None or type(value) is float else float(value)
        for value in map(attrgetter(name), records)
    ]


def _integers(name: str, records: Sequence[Any]) -> list[int]:
    return list(map(index, map(attrgetter(name), records)))


def _all_finite(values: Sequence[float | None]) -> bool:
    return all(map(isfinite, filter(None, values)))  # leaves out zeros too, which are finite


def _refuse(records: Sequence[Record], to_values: Callable[[Record], object]) -> None:
    """Let the conversion of single records say which of them is not finite."""
    for record in records:
        to_values(record)
    raise AssertionError("a number is not finite, but no record says so")
