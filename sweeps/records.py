"""Records: the rows of the store as frozen values, and the states a sweep and a trial may be in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class SweepState(StrEnum):
    """States of a sweep. ``waiting``: nobody runs it now, and ``resume`` goes on."""

    waiting = "waiting"
    running = "running"
    finished = "finished"
    stopped = "stopped"
    failed = "failed"


class TrialState(StrEnum):
    """States of a trial. Diverged is a fact about the setting, failed is a crash with a cause."""

    waiting = "waiting"
    running = "running"
    finished = "finished"
    pruned = "pruned"
    diverged = "diverged"
    failed = "failed"
    cancelled = "cancelled"


OPEN_STATES = frozenset({TrialState.waiting, TrialState.running})
FINAL_SWEEP_STATES = frozenset({SweepState.finished, SweepState.stopped, SweepState.failed})

TRIAL_TRANSITIONS: Mapping[TrialState, frozenset[TrialState]] = {
    TrialState.waiting: frozenset({TrialState.running, TrialState.cancelled}),
    TrialState.running: frozenset(
        {
            TrialState.waiting,
            TrialState.finished,
            TrialState.pruned,
            TrialState.diverged,
            TrialState.failed,
            TrialState.cancelled,
        }
    ),
}
"""Which state may follow which; a missing pair is the error."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """The process that runs a sweep."""

    host: str
    pid: int
    started: float  # the process's start time in seconds since 1970: a pid alone is reused


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """The right to write a sweep's results. Only the newest epoch may write."""

    sweep_id: int
    epoch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NewSweep:
    """A sweep that is about to be stored."""

    name: str
    task: str
    metric: str
    goal: str  # minimize | maximize
    seed: int
    epochs: int
    trials: int  # settings
    spec: Mapping[str, Any]  # the sweep file's text and what the command line overrode
    columns: tuple[str, ...]  # names of the setting's columns, in the file's order


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepRow(NewSweep):
    """A stored sweep."""

    id: int
    state: SweepState
    rounds_done: int  # rounds whose reports and decisions are stored
    plan: Mapping[str, Any] | None  # the execution plan; None until the first runner has measured it
    owner: Owner | None  # who holds the lease now
    lease_epoch: int
    created_at: str  # ISO 8601, UTC
    started_at: str | None
    ended_at: str | None
    error: str | None  # why a failed sweep failed
    usage: Mapping[str, float] | None = None  # how well the sweep's slots and devices were used, summed up
    ending: Mapping[str, Any] | None = None  # what an early end is decided from, then ``by`` and ``reason``

    @property
    def ended_early(self) -> str | None:
        """Why settings are left that are not tried any more; None where there is no such reason."""
        return (self.ending or {}).get("reason")


@dataclass(frozen=True, slots=True, kw_only=True)
class NewTrial:
    """A trial that is about to be stored as waiting."""

    number: int
    setting_index: int  # trials of one setting differ in their seed only
    seed: int
    admitted_round: int  # the round of its first epoch
    lane: int  # 0, but with ``order: arrival`` the worker that trains it
    optimizer: str
    schedule: str
    setting: Mapping[str, Any]  # Setting.to_json()
    lr: float | None  # typed copies of what SQL asks for most; None where the schedule sets it
    momentum: float | None
    weight_decay: float | None
    nesterov: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialRow(NewTrial):
    """A stored trial."""

    sweep_id: int
    state: TrialState
    attempt: int  # how often a worker or runner was lost under it
    cause: str | None  # of a failed trial
    detail: Mapping[str, Any] | None  # of a divergence: step, lr, grad_norm; of a failure: message, traceback
    value: float | None
    epochs_done: int
    peak_lr: float | None  # largest learning rate of any update so far
    final_lr: float | None  # learning rate of the last stored epoch's last update
    epochs_trained: int = 0  # those of epochs_done that no other trial's row was trained for, and cooldowns
    parent_number: int | None = None  # the trial whose row it shared at first
    fork_step: int | None = None  # updates shared with the parent

    @property
    def repeats(self) -> bool:
        """Whether all its epochs are those of another trial's row, which it rode on or is a copy of."""
        return self.parent_number is not None and self.epochs_trained == 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """What one trial showed at the end of one epoch. Every number is finite but ``grad_norm``."""

    number: int
    epoch: int  # from 1
    step: int  # updates made so far
    lr: float
    momentum: float | None
    train_loss: float
    val_loss: float
    grad_norm: float | None
    extra: Mapping[str, float] = field(default_factory=dict)  # the task's other metrics by name
    ts_ms: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """A setting as the sampler knows it."""

    index: int
    parameters: Mapping[str, Any]  # the sampler's own coordinates by name
    attributes: Mapping[str, Any]  # Optuna's system attributes of its trial


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialProgress:
    """How a trial stands after a round: the new state (or still running) and its summary columns."""

    number: int
    state: TrialState  # running, or how it ended
    value: float | None
    epochs_done: int
    peak_lr: float | None
    final_lr: float | None
    epochs_trained: int = 0
    parent_number: int | None = None
    fork_step: int | None = None
    cause: str | None = None
    detail: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundRecord:
    """Everything one decision changes, written in one transaction."""

    rounds_done: int
    started: tuple[int, ...] = ()  # waiting -> running: orders for them are about to be sent
    measurements: tuple[Measurement, ...] = ()
    progress: tuple[TrialProgress, ...] = ()
    proposals: tuple[Proposal, ...] = ()
    attributes: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)  # changed, by setting index
    trials: tuple[NewTrial, ...] = ()
    copies: Mapping[int, int] = field(
        default_factory=dict
    )  # by number: whose measurements a new trial has too
    usage: Mapping[str, float] | None = None  # replaces the sweep's; None leaves it
    ending: Mapping[str, Any] | None = None  # likewise


@dataclass(frozen=True, slots=True, kw_only=True)
class Publication:
    """How far MLflow has been brought up to date; the publisher's own cursor."""

    sweep_id: int
    number: int  # of the trial; -1 for the sweep's parent run
    run_id: str
    epochs: int  # metrics published so far
    state: str  # the last state published
