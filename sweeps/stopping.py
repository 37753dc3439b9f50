"""Stopping a sweep for good, whether somebody runs it or not."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic, sleep

from sweeps.errors import RavineError, SweepBusy, SweepOver
from sweeps.processes import current_owner, is_dead
from sweeps.records import FINAL_SWEEP_STATES, SweepRow, SweepState
from sweeps.store import Store

STOP_LEASE_SECONDS = 30.0
PATIENCE_SECONDS = 60.0


def stop_sweep(store: Store, sweep: SweepRow, *, wait: Callable[[float], None] = sleep) -> SweepState:
    """Ask the sweep's runner to stop and wait for it; without a living runner, stop it here.

    Returns the state the sweep ended in. Raises SweepOver where it had ended before, and RavineError where
    its runner does not answer.
    """
    if sweep.state in FINAL_SWEEP_STATES:
        raise SweepOver(sweep.id, sweep.state)
    store.request_stop(sweep.id)
    deadline = monotonic() + PATIENCE_SECONDS
    while monotonic() < deadline:
        state = store.sweep(sweep.id).state
        if state in FINAL_SWEEP_STATES:
            return state
        try:
            lease = store.take_lease(
                sweep.id, current_owner(), lease_seconds=STOP_LEASE_SECONDS, is_dead=is_dead
            )
        except SweepBusy:
            wait(0.2)
            continue
        except SweepOver:
            continue
        store.finish_sweep(lease, SweepState.stopped)
    state = store.sweep(sweep.id).state
    if state in FINAL_SWEEP_STATES:
        return state
    raise RavineError(
        f"Sweep {sweep.id} has been asked to stop; its runner has not answered for {PATIENCE_SECONDS:.0f} s "
        "and will stop at its next round."
    )
