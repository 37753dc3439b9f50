"""Entries of the ledger: an open trial, a setting with its seeds, and the rows that say how they stand."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from search_spaces.catalogue import Catalogue
from search_spaces.settings import Setting
from search_spaces.space import SearchSpace, suppressed_settings
from sweeps.plan import Place
from sweeps.records import Measurement, NewTrial, TrialProgress, TrialState
from workers.messages import Measured


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenTrial:
    """A trial that has not ended."""

    row: NewTrial
    place: Place
    epochs_done: int = 0
    value: float | None = None
    peak_lr: float | None = None
    final_lr: float | None = None


@dataclass(slots=True, kw_only=True)
class SettingEntry:
    """The trials of one setting, one per seed, and what Optuna has heard of it."""

    index: int
    numbers: list[int] = field(default_factory=list)
    values: dict[int, dict[int, float]] = field(default_factory=dict)  # by epoch, then trial
    heard: int = 0  # last epoch whose mean Optuna has heard
    end: str | None = None  # finished | pruned | failed, as told

    def mean(self, epoch: int) -> float | None:
        """Mean over the seeds once all have reached ``epoch``."""
        values = self.values.get(epoch, {})
        if len(values) < len(self.numbers):
            return None
        return math.fsum(values[number] for number in self.numbers) / len(self.numbers)


def to_measurement(outcome: Measured, now_ms: int) -> Measurement:
    """The row that stores a trained epoch."""
    extra = {name: value for name, value in outcome.metrics.items() if name != "val_loss"}
    return Measurement(
        number=outcome.number,
        epoch=outcome.epoch,
        step=outcome.step,
        lr=outcome.lr,
        momentum=outcome.momentum,
        train_loss=outcome.train_loss,
        val_loss=outcome.metrics["val_loss"],
        grad_norm=None if math.isnan(outcome.grad_norm) else outcome.grad_norm,
        extra=extra,
        ts_ms=now_ms,
    )


def to_progress(
    trial: OpenTrial,
    state: TrialState,
    *,
    cause: str | None = None,
    detail: Mapping[str, Any] | None = None,
) -> TrialProgress:
    """How an entry stands, or how it ended, for the store."""
    return TrialProgress(
        number=trial.row.number,
        state=state,
        value=trial.value,
        epochs_done=trial.epochs_done,
        peak_lr=trial.peak_lr,
        final_lr=trial.final_lr,
        cause=cause,
        detail=detail,
    )


def typed_columns(space: SearchSpace, catalogue: Catalogue, setting: Setting) -> dict[str, Any]:
    """Numbers that SQL asks for most: as drawn, else PyTorch's default; None where the schedule sets them."""
    entry = catalogue.optimizers[setting.optimizer]
    schedule = next(schedule for schedule in space.schedules if schedule.name == setting.schedule.name)
    suppressed = suppressed_settings(schedule, setting.schedule)
    typed: dict[str, Any] = {}
    for name in ("lr", "momentum", "weight_decay", "nesterov"):
        default = entry.arguments[name].default if name in entry.arguments else None
        value = setting.arguments.get(name, None if name in suppressed else default)
        typed[name] = value if value is None or name == "nesterov" else float(str(value))
    return typed
