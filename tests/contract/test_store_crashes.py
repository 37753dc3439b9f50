"""Crashes and crowds: killed in the middle of a write, or many writers at once."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from sweeps.errors import LeaseLost, SweepBusy
from sweeps.records import RoundRecord, SweepState, TrialState
from sweeps.store import Store, open_store
from tests.contract.store_values import ME, alive, dead, leased, measurement, new_sweep, progress, with_trials

ROOT = Path(__file__).parents[2]

# One child per statement of a round, killed right after it; the parent only counts.
KILLED_AT_EVERY_STATEMENT = """
import os, signal, sys
from sqlalchemy import event
from sweeps.errors import LeaseLost, SweepBusy
from sweeps.records import Lease, Proposal, RoundRecord, TrialState
from sweeps.store import open_store
from tests.contract.store_values import measurement, new_trial, progress

RECORD = RoundRecord(
    rounds_done=1,
    proposals=tuple(Proposal(index=n, parameters={"lr": 0.1}, attributes={}) for n in range(400)),
    trials=tuple(new_trial(n) for n in range(2, 400)),
    started=(1, 2),
    measurements=tuple(measurement(n) for n in range(400)),
    progress=(progress(0, TrialState.finished), progress(1, TrialState.running)),
)

def child(url, sweep_id, killed_after):
    store = open_store(url)
    statements = []
    def after(*_):
        statements.append(1)
        if len(statements) == killed_after:
            os.kill(os.getpid(), signal.SIGKILL)
    event.listen(store._database.engine, "after_cursor_execute", after)
    store.commit_round(Lease(sweep_id=sweep_id, epoch=1), RECORD)

url, sweep_ids = sys.argv[1], [int(argument) for argument in sys.argv[2:]]
for killed_after, sweep_id in enumerate(sweep_ids, start=1):
    pid = os.fork()
    if pid == 0:
        child(url, sweep_id, killed_after)
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    print(sweep_id, os.WTERMSIG(status) if os.WIFSIGNALED(status) else "done")
    if not os.WIFSIGNALED(status):
        break
"""


def test_a_round_killed_anywhere_is_stored_whole_or_not_at_all(store_url: str) -> None:
    store = open_store(store_url)
    leases = [with_trials(store, TrialState.running, TrialState.waiting) for _ in range(24)]
    store.close()
    command = [sys.executable, "-c", KILLED_AT_EVERY_STATEMENT, store_url]
    numbers = [str(lease.sweep_id) for lease in leases]
    done = subprocess.run([*command, *numbers], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    ends = dict(line.split() for line in done.stdout.splitlines())
    *killed, last = ends.values()
    assert set(killed) == {"9"}
    assert len(killed) >= 8
    assert last == "done", "more sweeps are needed to be killed after every statement"
    store = open_store(store_url)
    for sweep_id in map(int, ends):
        sizes = (
            len(store.trials(sweep_id)),
            len(store.measurements(sweep_id)),
            len(store.proposals(sweep_id)),
        )
        states = [store.trial(sweep_id, number).state for number in range(2)]
        if ends[str(sweep_id)] == "9":
            assert (store.sweep(sweep_id).rounds_done, *sizes) == (0, 2, 0, 0)
            assert states == [TrialState.running, TrialState.waiting]
        else:
            assert (store.sweep(sweep_id).rounds_done, *sizes) == (1, 400, 400, 400)
            assert states == [TrialState.finished, TrialState.running]
    _check_integrity(store_url)
    store.close()


def _check_integrity(url: str) -> None:
    if url.startswith("sqlite"):
        with sqlite3.connect(url.removeprefix("sqlite:///")) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            assert connection.execute("PRAGMA foreign_key_check").fetchall() == []


TAKEN_MANY_TIMES = """
import os, sys
from sweeps.store import open_store
from tests.contract.store_values import ME, dead

def child(url, sweep_id):
    store = open_store(url)
    take = lambda: store.take_lease(sweep_id, ME, lease_seconds=60, is_dead=dead).epoch
    os.write(1, " ".join(str(take()) for _ in range(25)).encode() + b"\\n")

children = []
for _ in range(8):
    children.append(os.fork())
    if children[-1] == 0:
        child(sys.argv[1], int(sys.argv[2]))
        os._exit(0)
assert [os.waitpid(pid, 0)[1] for pid in children] == [0] * 8
"""


def test_eight_processes_lose_no_update(store: Store, store_url: str) -> None:
    """Taking a lease reads the epoch and writes the next: a lost update gives one twice."""
    lease = leased(store)
    command = [sys.executable, "-c", TAKEN_MANY_TIMES, store_url, str(lease.sweep_id)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    epochs = sorted(int(epoch) for epoch in done.stdout.split())
    assert epochs == list(range(2, 202))
    assert store.sweep(lease.sweep_id).lease_epoch == 201
    _check_integrity(store_url)


def test_eight_threads_write_and_read_beside_each_other(store: Store) -> None:
    lease = with_trials(store, *[TrialState.running] * 8)
    errors: list[BaseException] = []

    def write(number: int) -> None:
        try:
            for epoch in range(1, 21):
                record = RoundRecord(
                    rounds_done=0,
                    measurements=(measurement(number, epoch),),
                    progress=(progress(number, TrialState.running, epochs_done=epoch),),
                )
                store.commit_round(lease, record)
                # What one transaction stored together is seen together.
                done = store.trial(lease.sweep_id, number).epochs_done
                assert len(store.measurements(lease.sweep_id, numbers=[number])) == done == epoch
        except BaseException as error:
            errors.append(error)
            raise

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=120)
    assert errors == []
    assert store.epochs_total(lease.sweep_id) == 160
    assert len(store.measurements(lease.sweep_id)) == 160


def test_only_one_of_many_takes_a_free_sweep(store: Store) -> None:
    sweep_id = store.create_sweep(new_sweep())
    taken: list[int] = []
    together = threading.Barrier(8)

    def take() -> None:
        together.wait()
        try:
            taken.append(store.take_lease(sweep_id, ME, lease_seconds=60, is_dead=alive).epoch)
        except SweepBusy:
            taken.append(-1)

    threads = [threading.Thread(target=take) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert sorted(taken) == [-1] * 7 + [1]


@pytest.mark.parametrize("end", [SweepState.stopped, None])
def test_a_takeover_beside_a_writer_leaves_one_of_them(store: Store, end: SweepState | None) -> None:
    """The old writer's last round is whole or absent, and nothing of it comes after the takeover."""
    lease = with_trials(store, *[TrialState.running] * 4)
    taken = threading.Event()
    late: list[int] = []

    def write() -> None:
        for epoch in range(1, 10_000):
            was_taken = taken.is_set()
            try:
                rows = tuple(measurement(number, epoch) for number in range(4))
                store.commit_round(lease, RoundRecord(rounds_done=epoch, measurements=rows))
            except LeaseLost:
                return
            if was_taken:
                late.append(epoch)
            time.sleep(0.001)  # SQLite lets a writer in that waits only between two writes

    writer = threading.Thread(target=write)
    writer.start()
    while store.sweep(lease.sweep_id).rounds_done < 5:
        time.sleep(0.001)
    new = store.take_lease(lease.sweep_id, ME, lease_seconds=60, is_dead=dead)
    taken.set()
    if end is not None:
        store.finish_sweep(new, end)
    rounds_done = store.sweep(lease.sweep_id).rounds_done
    writer.join(timeout=60)
    assert late == []
    assert store.sweep(lease.sweep_id).rounds_done == rounds_done
    assert len(store.measurements(lease.sweep_id)) == 4 * rounds_done
