"""Made-up sweeps in a real store, for tests of what MLflow and the charts show of them."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from typing import Any

from sweeps.records import (
    Lease,
    Measurement,
    NewSweep,
    NewTrial,
    Owner,
    RoundRecord,
    SweepState,
    TrialProgress,
    TrialState,
)
from sweeps.store import Store, open_store

__all__ = ["open_store"]
COLUMNS = ("lr", "momentum", "nesterov", "weight_decay", "betas", "schedule.gamma", "schedule.milestones")
START_MS = 1_700_000_000_000
ME = Owner(host="here", pid=1, started=1.0)


def start_sweep(store: Store, *, epochs: int = 20, trials: int = 6, **changes: Any) -> Lease:
    """A running sweep without trials; the lease to go on with."""
    values: dict[str, Any] = {
        "name": "digits",
        "task": "digits-mlp",
        "metric": "val_loss",
        "goal": "minimize",
        "seed": 0,
        "epochs": epochs,
        "trials": trials,
        "spec": {"sampler": "tpe", "pruner": "asha"},
        "columns": COLUMNS,
    }
    sweep_id = store.create_sweep(NewSweep(**(values | changes)))
    return store.take_lease(sweep_id, ME, lease_seconds=600.0, is_dead=lambda _: False)


def new_trial(number: int) -> NewTrial:
    """Deterministic settings: SGD with four schedules, every fifth trial Adam."""
    source = random.Random(number)
    lr, momentum = 10 ** source.uniform(-4, 0.3), 1 - 10 ** source.uniform(-2, 0)
    setting: dict[str, Any] = {"optimizer": "SGD", "schedule": "constant", "schedule.every": "epoch"}
    if number % 5 == 4:
        setting |= {"optimizer": "Adam", "lr": lr / 10, "betas": [momentum, 0.999]}
        typed = {"lr": lr / 10, "momentum": None, "nesterov": None}
    elif number % 5 == 3:
        setting |= {"schedule": "OneCycleLR", "schedule.max_lr": lr}
        typed = {"lr": None, "momentum": None, "nesterov": None}
    else:
        setting |= {"schedule": "StepLR", "schedule.gamma": 0.5, "lr": lr, "momentum": momentum}
        setting |= {"nesterov": number % 2 == 0}
        typed = {"lr": lr, "momentum": momentum, "nesterov": number % 2 == 0}
    return NewTrial(
        number=number,
        setting_index=number,
        seed=0,
        admitted_round=1,
        lane=0,
        optimizer=setting["optimizer"],
        schedule=setting["schedule"],
        setting=setting | {"weight_decay": 0.0005},
        weight_decay=0.0005,
        **typed,  # type: ignore[arg-type]
    )


def curve(trial: NewTrial, epochs: int) -> list[Measurement]:
    """A plausible curve: the faster the larger lr / (1 - momentum), until that is too large."""
    source = random.Random(trial.number + 1000)
    momentum = trial.momentum if trial.momentum is not None else trial.setting.get("betas", [0.9])[0]
    lr = trial.lr or trial.setting["schedule.max_lr"]
    speed = (10 if trial.optimizer == "Adam" else 1) * lr / (1 - momentum)
    floor = 0.06 + 0.05 * abs(math.log10(speed / 0.8)) + 0.02 * source.random()
    rows = []
    for epoch in range(1, epochs + 1):
        loss = floor + 2.2 * math.exp(-min(4.0, 3 * speed) * epoch / 3) + 0.01 * source.random()
        rows.append(
            Measurement(
                number=trial.number,
                epoch=epoch,
                step=44 * epoch,
                lr=lr * 0.5 ** (epoch // 8),
                momentum=momentum,
                train_loss=0.9 * loss,
                val_loss=loss,
                grad_norm=math.inf if epoch == 1 else loss * 3,
                extra={"val_accuracy": max(0.1, 1 - loss / 2)},
                ts_ms=START_MS + 1000 * epoch + trial.number,
            )
        )
    return rows


def ending(
    trial: NewTrial, rows: list[Measurement], state: TrialState, metric: str = "val_loss"
) -> TrialProgress:
    """How the trial stands with these measurements."""
    detail: dict[str, Any] | None = None
    if state is TrialState.diverged:
        detail = {"step": 44 * len(rows) + 7, "lr": 1.5, "grad_norm": math.inf}
    if state is TrialState.failed:
        detail = {"message": "the task raised ValueError: no", "traceback": "Traceback ...\nValueError: no"}
    valueless = state in (TrialState.diverged, TrialState.failed) or not rows
    return TrialProgress(
        number=trial.number,
        state=state,
        value=None if valueless else getattr(rows[-1], metric, None) or rows[-1].extra[metric],
        epochs_done=len(rows),
        epochs_trained=len(rows),
        peak_lr=max((row.lr for row in rows), default=None),
        final_lr=rows[-1].lr if rows else None,
        cause="user_error" if state is TrialState.failed else None,
        detail=detail,
    )


def add_trials(
    store: Store, lease: Lease, states: dict[int, tuple[TrialState, int]], round_: int = 1
) -> None:
    """Store trials by number that have trained some epochs and stand as told."""
    trials = [new_trial(number) for number in states]
    metric = store.sweep(lease.sweep_id).metric
    rows = {trial.number: curve(trial, states[trial.number][1]) for trial in trials}
    moved = [t for t in trials if states[t.number][0] is not TrialState.waiting]
    cancelled = [t for t in moved if states[t.number] == (TrialState.cancelled, 0)]
    store.commit_round(
        lease,
        RoundRecord(
            rounds_done=round_,
            trials=tuple(trials),
            started=tuple(t.number for t in moved if t not in cancelled),
            measurements=tuple(row for t in moved for row in rows[t.number]),
            progress=tuple(ending(t, rows[t.number], states[t.number][0], metric) for t in moved),
        ),
    )


def add_epochs(store: Store, lease: Lease, number: int, epochs: int, state: TrialState) -> None:
    """Let a running trial train until it has done so many epochs."""
    trial, done = new_trial(number), store.trial(lease.sweep_id, number).epochs_done
    rows = curve(trial, epochs)
    rounds = store.sweep(lease.sweep_id).rounds_done + 1
    store.commit_round(
        lease,
        RoundRecord(
            rounds_done=rounds, measurements=tuple(rows[done:]), progress=(ending(trial, rows, state),)
        ),
    )


def plausible_states(trials: int, epochs: int) -> dict[int, tuple[TrialState, int]]:
    """Fast trials diverge, every third of the others is pruned, one fails."""
    states = {}
    for number in range(trials):
        trial = new_trial(number)
        momentum = trial.momentum if trial.momentum is not None else trial.setting.get("betas", [0.9])[0]
        lr = trial.lr or trial.setting["schedule.max_lr"]
        speed = (10 if trial.optimizer == "Adam" else 1) * lr / (1 - momentum)
        if speed > 8:
            states[number] = (TrialState.diverged, number % 4)
        elif number % 41 == 7:
            states[number] = (TrialState.failed, 3)
        elif number % 3 == 1 and speed < 0.3:
            states[number] = (TrialState.pruned, max(1, epochs // (4 if number % 2 else 16)))
        else:
            states[number] = (TrialState.finished, epochs)
    return states


def finished_sweep(store: Store, *, trials: int = 6, epochs: int = 5, **changes: Any) -> int:
    """A finished sweep with trials of every end."""
    lease = start_sweep(store, epochs=epochs, trials=trials, **changes)
    add_trials(store, lease, plausible_states(trials, epochs))
    store.finish_sweep(lease, SweepState.finished)
    return lease.sweep_id


def without_time(rows: list[Measurement]) -> list[Measurement]:
    """The rows as if measured at once."""
    return [replace(row, ts_ms=0) for row in rows]


def start_again(store: Store, lease: Lease, number: int) -> None:
    """Let a waiting trial run."""
    rounds = store.sweep(lease.sweep_id).rounds_done + 1
    store.commit_round(lease, RoundRecord(rounds_done=rounds, started=(number,)))
