"""Leases: one writer per sweep, whoever dies, sleeps or comes back late."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest
from sqlalchemy import Connection

from sweeps.errors import LeaseLost, SweepBusy, SweepOver, UnknownSweep
from sweeps.leases import lock_sweep
from sweeps.records import Lease, Owner, RoundRecord, SweepState, TrialState
from sweeps.store import Store
from tests.contract.store_values import ME, OTHER, alive, dead, leased, measurement, new_sweep, with_trials

WRITES: dict[str, Callable[[Store, Lease], None]] = {
    "renew_lease": lambda store, lease: store.renew_lease(lease, 60),
    "set_plan": lambda store, lease: store.set_plan(lease, {"width": 8}),
    "commit_round": lambda store, lease: store.commit_round(
        lease, RoundRecord(rounds_done=1, measurements=(measurement(1),))
    ),
    "interrupt": lambda store, lease: store.interrupt(lease),
    "stop": lambda store, lease: store.finish_sweep(lease, SweepState.stopped),
    "fail": lambda store, lease: store.finish_sweep(lease, SweepState.failed, "why"),
}


def _everything(store: Store, sweep_id: int) -> object:
    return (
        store.sweep(sweep_id),
        store.trials(sweep_id),
        store.measurements(sweep_id),
        store.proposals(sweep_id),
    )


def test_a_living_owner_keeps_its_sweep(store: Store) -> None:
    lease = leased(store)
    asked: list[Owner] = []

    def ask(owner: Owner) -> bool:
        asked.append(owner)
        return False

    with pytest.raises(SweepBusy, match="process 100 on here") as caught:
        store.take_lease(lease.sweep_id, OTHER, lease_seconds=60, is_dead=ask)
    assert asked == [ME]
    assert caught.value.owner == ME
    assert 0 < caught.value.until - time.time() <= 61
    assert store.sweep(lease.sweep_id).lease_epoch == 1


def test_a_dead_owner_loses_it_at_once(store: Store) -> None:
    old = with_trials(store, TrialState.waiting, TrialState.running, TrialState.running, TrialState.pruned)
    started = store.sweep(old.sweep_id).started_at
    new = store.take_lease(old.sweep_id, OTHER, lease_seconds=60, is_dead=dead)
    assert new.epoch == old.epoch + 1
    sweep = store.sweep(old.sweep_id)
    assert (sweep.owner, sweep.lease_epoch, sweep.started_at) == (OTHER, 2, started)
    assert [(trial.state, trial.attempt) for trial in store.trials(old.sweep_id)] == [
        (TrialState.waiting, 0),
        (TrialState.waiting, 1),
        (TrialState.waiting, 1),
        (TrialState.pruned, 0),
    ]


@pytest.mark.parametrize("write", WRITES)
def test_whoever_lost_the_lease_writes_nothing(store: Store, write: str) -> None:
    old = with_trials(store, TrialState.waiting, TrialState.running)
    new = store.take_lease(old.sweep_id, OTHER, lease_seconds=60, is_dead=dead)
    before = _everything(store, old.sweep_id)
    with pytest.raises(LeaseLost, match="no longer holds"):
        WRITES[write](store, old)
    assert _everything(store, old.sweep_id) == before
    WRITES[write](store, new)


@pytest.mark.parametrize("write", WRITES)
def test_an_ended_lease_writes_nothing_even_if_nobody_took_it(store: Store, write: str) -> None:
    lease = with_trials(store, TrialState.waiting, TrialState.running)
    store.renew_lease(lease, 0.05)
    time.sleep(0.1)
    before = _everything(store, lease.sweep_id)
    with pytest.raises(LeaseLost):
        WRITES[write](store, lease)
    assert _everything(store, lease.sweep_id) == before


@pytest.mark.parametrize("write", ["interrupt", "stop", "fail"])
def test_a_lease_that_was_given_back_is_gone(store: Store, write: str) -> None:
    lease = with_trials(store, TrialState.waiting, TrialState.running)
    WRITES[write](store, lease)
    assert store.sweep(lease.sweep_id).owner is None
    for late in WRITES.values():
        with pytest.raises(LeaseLost):
            late(store, lease)


def test_an_ended_lease_can_be_taken_from_a_living_owner(store: Store) -> None:
    lease = leased(store, lease_seconds=0.05)
    time.sleep(0.1)
    assert store.sweep(lease.sweep_id).owner is None
    assert store.take_lease(lease.sweep_id, OTHER, lease_seconds=60, is_dead=alive).epoch == 2


def test_the_clock_is_read_after_waiting(store: Store) -> None:
    lease = leased(store, lease_seconds=0.4)
    holding = threading.Event()

    def hold(connection: Connection) -> None:
        lock_sweep(connection, lease.sweep_id)
        holding.set()
        time.sleep(0.6)

    holder = threading.Thread(target=store._database.write, args=(hold,))
    holder.start()
    assert holding.wait(10)
    # In force when it is asked for, ended when it can be taken.
    assert store.take_lease(lease.sweep_id, OTHER, lease_seconds=60, is_dead=alive).epoch == 2
    holder.join()


def test_every_write_extends_the_lease(store: Store) -> None:
    lease = leased(store, lease_seconds=0.5)
    for rounds_done in range(4):
        time.sleep(0.2)
        store.commit_round(lease, RoundRecord(rounds_done=rounds_done))
    assert store.sweep(lease.sweep_id).owner == ME


def test_an_interrupted_sweep_waits_as_it_was(store: Store) -> None:
    lease = with_trials(store, TrialState.waiting, TrialState.running, TrialState.diverged)
    store.interrupt(lease)
    assert store.sweep(lease.sweep_id).state is SweepState.waiting
    states = [(trial.state, trial.attempt) for trial in store.trials(lease.sweep_id)]
    assert states == [(TrialState.waiting, 0), (TrialState.waiting, 0), (TrialState.diverged, 0)]
    assert store.take_lease(lease.sweep_id, OTHER, lease_seconds=60, is_dead=alive).epoch == 2


@pytest.mark.parametrize("state", [SweepState.finished, SweepState.stopped, SweepState.failed])
def test_an_ended_sweep_cannot_be_taken(store: Store, state: SweepState) -> None:
    lease = leased(store)
    store.finish_sweep(lease, state)
    with pytest.raises(SweepOver, match=str(state)):
        store.take_lease(lease.sweep_id, ME, lease_seconds=60, is_dead=dead)
    assert store.sweep(lease.sweep_id).state is state


def test_an_unknown_sweep_cannot_be_taken_nor_written(store: Store) -> None:
    with pytest.raises(UnknownSweep):
        store.take_lease(999, ME, lease_seconds=60, is_dead=alive)
    for write in WRITES.values():
        with pytest.raises(LeaseLost):
            write(store, Lease(sweep_id=999, epoch=1))


def test_leases_of_two_sweeps_do_not_meet(store: Store) -> None:
    first, second = leased(store), leased(store)
    other = Lease(sweep_id=second.sweep_id, epoch=first.epoch + 1)
    with pytest.raises(LeaseLost):
        store.set_plan(other, {})
    store.set_plan(first, {"width": 1})
    assert store.sweep(second.sweep_id).plan is None
    assert store.create_sweep(new_sweep())
