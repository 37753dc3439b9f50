"""Entries of the ledger: an open trial, a setting with its seeds, and the rows that say how they stand."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from search_spaces.catalogue import Catalogue
from search_spaces.settings import Setting
from search_spaces.space import SearchSpace, may_draw, suppressed_settings
from sweeps.plan import Place
from sweeps.records import Measurement, NewTrial, TrialProgress, TrialRow, TrialState
from workers.messages import Diverged, Failed, Measured


@dataclass(slots=True, kw_only=True)
class OpenTrial:
    """A trial that has not ended."""

    row: NewTrial
    setting: Setting
    place: Place
    epochs_done: int = 0
    step: int = 0  # updates made so far
    value: float | None = None
    peak_lr: float | None = None
    final_lr: float | None = None
    epochs_trained: int = 0  # by a row of its own and by its copies in cooldowns
    parent_number: int | None = None  # the trial whose row it rode on last
    fork_step: int | None = None  # updates made on the parent's row

    @property
    def repeats(self) -> bool:
        """As :attr:`TrialRow.repeats`."""
        return self.parent_number is not None and self.epochs_trained == 0

    @property
    def rides_on(self) -> int | None:
        """The trial whose row it was last on, its own included; None before its first epoch."""
        if self.step == 0:
            return None
        return self.parent_number if self.fork_step == self.step else self.row.number


@dataclass(frozen=True, slots=True)
class Ended:
    """How a setting ended that was trained."""

    how: str  # finished | pruned | failed, as Optuna was told
    trials: tuple[tuple[TrialProgress, int], ...]  # by seed: the end, and the updates made until then

    @property
    def failed(self) -> bool:
        """Whether any of its trials did."""
        return any(progress.state is TrialState.failed for progress, _ in self.trials)

    @property
    def given_up(self) -> bool:
        """Whether any of its trials was, by a pruner."""
        return any(progress.state is TrialState.pruned for progress, _ in self.trials)

    @property
    def value(self) -> float | None:
        """The mean over the seeds, where it finished."""
        values = [progress.value for progress, _ in self.trials if progress.value is not None]
        return math.fsum(values) / len(values) if self.how == "finished" else None


@dataclass(slots=True, kw_only=True)
class SettingEntry:
    """The trials of one setting, one per seed, and what Optuna has heard of it."""

    index: int
    parameters: Mapping[str, Any] = field(default_factory=dict)  # the sampler's own coordinates by name
    numbers: list[int] = field(default_factory=list)
    values: dict[int, dict[int, float]] = field(default_factory=dict)  # not heard yet: by epoch, then trial
    heard: int = 0  # last epoch whose mean Optuna has heard
    end: str | None = None  # finished | pruned | failed, as told
    ends: dict[int, tuple[TrialProgress, int]] = field(default_factory=dict)  # by trial, with its updates

    def ended(self) -> Ended:
        """How it ended, once all its trials have."""
        return Ended(self.end or "failed", tuple(self.ends[number] for number in self.numbers))

    def mean(self, epoch: int) -> float | None:
        """Mean over the seeds once all have reached ``epoch``."""
        values = self.values.get(epoch)
        if values is None or len(values) < len(self.numbers):
            return None
        return math.fsum(values[number] for number in self.numbers) / len(self.numbers)


def to_open(trial: TrialRow, step: int) -> OpenTrial:
    """A stored trial that has made ``step`` updates, as the ledger knows it."""
    return OpenTrial(
        row=trial,
        setting=Setting.from_json(trial.setting),
        place=Place(number=trial.number, lane=trial.lane, admitted_round=trial.admitted_round),
        epochs_done=trial.epochs_done,
        step=step,
        value=trial.value,
        peak_lr=trial.peak_lr,
        final_lr=trial.final_lr,
        epochs_trained=trial.epochs_trained,
        parent_number=trial.parent_number,
        fork_step=trial.fork_step,
    )


def measure(trial: OpenTrial, outcome: Measured, value: float, *, trained: int) -> None:
    """Bring an entry up to date with a trained epoch; ``value``: of the sweep's metric.

    ``trained``: epochs of rows that are counted for this trial.
    """
    trial.epochs_done = outcome.epoch
    trial.step = outcome.step
    trial.value = value
    trial.peak_lr = outcome.peak_lr if trial.peak_lr is None else max(trial.peak_lr, outcome.peak_lr)
    trial.final_lr = outcome.lr
    trial.epochs_trained += trained
    if outcome.rides_on is not None:
        trial.parent_number, trial.fork_step = outcome.rides_on, outcome.step


def break_off(trial: OpenTrial, outcome: Diverged | Failed) -> tuple[TrialState, str | None, dict[str, Any]]:
    """Bring an entry up to date with its end: the new state, a failure's cause, and the detail to store."""
    trial.value = None
    if isinstance(outcome, Failed):
        detail: dict[str, Any] = {"message": outcome.message, "traceback": outcome.traceback}
        return TrialState.failed, outcome.cause, detail
    trial.peak_lr = max(outcome.peak_lr, trial.peak_lr or 0.0)
    trial.final_lr = outcome.lr
    detail = {
        "epoch": outcome.epoch,
        "step": outcome.step,
        "lr": outcome.lr,
        "grad_norm": outcome.grad_norm,
        "reason": outcome.reason,
    }
    return TrialState.diverged, None, detail


def to_measurement(outcome: Measured, now_ms: int) -> Measurement:
    """The row that stores a trained epoch."""
    extra = dict(outcome.metrics)
    val_loss = extra.pop("val_loss")
    return Measurement(
        number=outcome.number,
        epoch=outcome.epoch,
        step=outcome.step,
        lr=outcome.lr,
        momentum=outcome.momentum,
        train_loss=outcome.train_loss,
        val_loss=val_loss,
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
        epochs_trained=trial.epochs_trained,
        parent_number=trial.parent_number,
        fork_step=trial.fork_step,
        cause=cause,
        detail=detail,
    )


def step_at_end(step: int, detail: Mapping[str, Any] | None) -> int:
    """Updates that a trial made: ``step`` in stored epochs, more in one that it diverged in."""
    diverged_at = (detail or {}).get("step")
    return step if diverged_at is None else int(diverged_at)


def ended_as(trial: TrialRow) -> TrialProgress:
    """How a stored trial ended."""
    return TrialProgress(**{name: getattr(trial, name) for name in TrialProgress.__slots__})


def new_trials(
    space: SearchSpace, catalogue: Catalogue, index: int, setting: Setting, place: Place
) -> list[NewTrial]:
    """The trials of a setting, one per seed; ``place`` of the first."""
    typed = typed_columns(space, catalogue, setting)
    plain = setting.to_json()
    return [
        NewTrial(
            number=place.number + position,
            setting_index=index,
            seed=seed,
            admitted_round=place.admitted_round,
            lane=place.lane,
            optimizer=setting.optimizer,
            schedule=setting.schedule.name,
            setting=plain,
            **typed,
        )
        for position, seed in enumerate(space.seeds)
    ]


def typed_columns(space: SearchSpace, catalogue: Catalogue, setting: Setting) -> dict[str, Any]:
    """Numbers that SQL asks for most: as drawn, else PyTorch's default; None where the schedule sets them."""
    entry = catalogue.optimizers[setting.optimizer]
    schedule = next(schedule for schedule in space.schedules if may_draw(schedule, setting.schedule))
    suppressed = suppressed_settings(schedule, setting.schedule)
    typed: dict[str, Any] = {}
    for name in ("lr", "momentum", "weight_decay", "nesterov"):
        default = entry.arguments[name].default if name in entry.arguments else None
        value = setting.arguments.get(name, None if name in suppressed else default)
        typed[name] = value if value is None or name == "nesterov" else float(str(value))
    return typed
