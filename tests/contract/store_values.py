"""Values to store in tests, with whatever a test does not care about filled in."""

from __future__ import annotations

from typing import Any

from sweeps.records import (
    Lease,
    Measurement,
    NewSweep,
    NewTrial,
    Owner,
    RoundRecord,
    TrialProgress,
    TrialState,
)
from sweeps.store import Store

ME = Owner(host="here", pid=100, started=1_700_000_000.25)
OTHER = Owner(host="there", pid=200, started=1_700_000_001.5)


def alive(_owner: Owner) -> bool:
    return False


def dead(_owner: Owner) -> bool:
    return True


def new_sweep(**changes: Any) -> NewSweep:
    values: dict[str, Any] = {
        "name": "digits",
        "task": "digits-mlp",
        "metric": "val_loss",
        "goal": "minimize",
        "seed": 0,
        "epochs": 20,
        "trials": 8,
        "spec": {"file": "task: digits-mlp\n", "overrides": {"epochs": 20}},
        "columns": ("lr", "momentum", "schedule.gamma"),
    }
    return NewSweep(**(values | changes))


def new_trial(number: int, **changes: Any) -> NewTrial:
    values: dict[str, Any] = {
        "number": number,
        "setting_index": number,
        "seed": 0,
        "admitted_round": 1,
        "lane": 0,
        "optimizer": "SGD",
        "schedule": "StepLR",
        "setting": {"optimizer": "SGD", "lr": 0.1, "schedule.gamma": 0.5, "betas": [0.9, 0.99]},
        "lr": 0.1,
        "momentum": 0.9,
        "weight_decay": 0.0005,
        "nesterov": True,
    }
    return NewTrial(**(values | changes))


def measurement(number: int, epoch: int = 1, **changes: Any) -> Measurement:
    values: dict[str, Any] = {
        "number": number,
        "epoch": epoch,
        "step": 44 * epoch,
        "lr": 0.1,
        "momentum": 0.9,
        "train_loss": 0.5,
        "val_loss": 0.25,
        "grad_norm": 1.5,
        "extra": {"val_accuracy": 0.75},
        "ts_ms": 1_700_000_000_123,
    }
    return Measurement(**(values | changes))


def progress(number: int, state: TrialState, **changes: Any) -> TrialProgress:
    values: dict[str, Any] = {"value": 0.25, "epochs_done": 1, "peak_lr": 0.2, "final_lr": 0.1}
    return TrialProgress(number=number, state=state, **(values | changes))


def leased(store: Store, *, owner: Owner = ME, lease_seconds: float = 60, **changes: Any) -> Lease:
    """A new sweep's lease."""
    sweep_id = store.create_sweep(new_sweep(**changes))
    return store.take_lease(sweep_id, owner, lease_seconds=lease_seconds, is_dead=alive)


def with_trials(store: Store, *states: TrialState, lease: Lease | None = None) -> Lease:
    """A sweep whose trials are in these states, by number."""
    lease = lease or leased(store)
    numbers = range(len(states))
    store.commit_round(
        lease,
        RoundRecord(
            rounds_done=0,
            trials=tuple(new_trial(number) for number in numbers),
            started=tuple(number for number in numbers if states[number] is not TrialState.waiting),
            progress=tuple(
                progress(number, states[number], value=None, epochs_done=0)
                for number in numbers
                if states[number] not in (TrialState.waiting, TrialState.running)
            ),
        ),
    )
    return lease
