"""The runner: takes a sweep's lease and holds sessions until the sweep ends.

Recovery is this loop started again: same rows, same fold, same plan.
"""

from __future__ import annotations

from collections.abc import Callable

from sweeps.errors import LeaseLost, SamplerFailed
from sweeps.lease_keeper import LeaseKeeper
from sweeps.processes import is_dead
from sweeps.records import Lease, Owner, SweepState
from sweeps.session import Session, SweepRun
from workers.pool import Pool, WorkerLost

LEASE_SECONDS = 60.0
LOSSES_WITHOUT_PROGRESS = 3


def run_sweep(run: SweepRun, owner: Owner, start_pool: Callable[[], Pool]) -> SweepState:
    """Run a sweep from wherever it stands: finished, stopped, failed, or ``waiting`` if interrupted.

    Where a sampler of the user's own fails, so does the sweep: it would fail again.
    A lost worker costs a new session, trained again from the store. Raises SweepBusy and SweepOver where
    the sweep cannot be taken, LeaseLost where another runner has taken over, ReplayMismatch where an epoch
    trained again differs, and what the pool raises where it cannot start.
    """
    losses = 0
    while True:
        lease = run.store.take_lease(
            run.sweep_id,
            owner,
            lease_seconds=LEASE_SECONDS,
            is_dead=lambda holder: holder == owner or is_dead(holder),
        )
        before = run.store.sweep(run.sweep_id)
        if before.plan is None:
            run.store.set_plan(lease, run.plan)
        try:
            return _session(run, lease, start_pool)
        except WorkerLost as lost:
            progressed = run.store.sweep(run.sweep_id).rounds_done > before.rounds_done
            losses = 1 if progressed else losses + 1
            if losses == LOSSES_WITHOUT_PROGRESS:
                run.observer.said(f"{lost}; {losses} times without progress, so the sweep is left waiting")
                run.store.interrupt(lease)
                return SweepState.waiting
            run.observer.said(f"{lost}; starting again from the store")
        except SamplerFailed as failed:
            run.store.finish_sweep(lease, SweepState.failed, error=str(failed))
            run.observer.sweep_ended()
            return SweepState.failed
        except LeaseLost:
            raise
        except BaseException:
            run.store.interrupt(lease)
            raise


def _session(run: SweepRun, lease: Lease, start_pool: Callable[[], Pool]) -> SweepState:
    with LeaseKeeper(run.store, lease, LEASE_SECONDS) as keeper:
        pool = start_pool()
        try:
            return Session(run, lease, keeper, pool).drive()
        finally:
            pool.close()
