"""Sweeps and what hangs on them: stored, found, counted, ranked, deleted."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from sqlalchemy import func, select, text

from sweeps.errors import SweepBusy, UnknownSweep, UnknownTrial
from sweeps.records import Proposal, Publication, RoundRecord, SweepState, TrialState
from sweeps.store import Store, open_store
from sweeps.tables import metadata, trial_results
from tests.contract.store_values import (
    ME,
    alive,
    dead,
    leased,
    measurement,
    new_sweep,
    new_trial,
    progress,
    with_trials,
)


def test_a_sweep_comes_back_as_it_was_stored(store_url: str) -> None:
    instant = datetime(2026, 3, 1, 1, 2, 3, 456_789, tzinfo=timezone(timedelta(hours=9)))
    store = open_store(store_url, now=lambda: instant)
    new = new_sweep(seed=2**62, spec={"a": [1, 2.5, None, {"ü": "\x00"}]}, goal="maximize")
    sweep = store.sweep(store.create_sweep(new))
    for name in ("name", "task", "metric", "goal", "seed", "epochs", "trials", "spec", "columns"):
        assert getattr(sweep, name) == getattr(new, name)
    assert sweep.state is SweepState.waiting
    assert (sweep.rounds_done, sweep.plan, sweep.owner, sweep.lease_epoch) == (0, None, None, 0)
    assert (sweep.created_at, sweep.started_at, sweep.ended_at) == ("2026-02-28T16:02:03.456Z", None, None)
    lease = store.take_lease(sweep.id, ME, lease_seconds=60, is_dead=alive)
    running = store.sweep(sweep.id)
    assert (running.state, running.owner, running.lease_epoch) == (SweepState.running, ME, 1)
    assert running.started_at == "2026-02-28T16:02:03.456Z"
    store.finish_sweep(lease, SweepState.failed, "no \x00 luck \udc80")
    failed = store.sweep(sweep.id)
    assert (failed.state, failed.owner, failed.error) == (SweepState.failed, None, "no \\x00 luck \\udc80")
    assert failed.ended_at == "2026-02-28T16:02:03.456Z"
    store.close()


def test_found_by_id_and_newest_of_a_name(store: Store) -> None:
    first = store.create_sweep(new_sweep())
    second = store.create_sweep(new_sweep())
    store.create_sweep(new_sweep(name="other"))
    assert store.find_sweep("digits").id == second
    assert store.find_sweep(str(first)).id == first
    assert [sweep.id for sweep in store.sweeps()] == [first, second, second + 1]


@pytest.mark.parametrize("reference", ["digit", "999", "9" * 30, "²", "", "'; DROP TABLE sweeps; --"])
def test_an_unknown_sweep_says_what_to_do(store: Store, reference: str) -> None:
    store.create_sweep(new_sweep())
    with pytest.raises(UnknownSweep, match="ravine list") as caught:
        store.find_sweep(reference)
    assert caught.value.nearest == (("digits",) if reference == "digit" else ())
    assert ("Did you mean digits?" in str(caught.value)) == (reference == "digit")


def test_an_unknown_trial_is_named(store: Store) -> None:
    lease = with_trials(store, TrialState.waiting)
    with pytest.raises(UnknownTrial, match="no trial 7"):
        store.trial(lease.sweep_id, 7)
    assert store.trial(lease.sweep_id, 0).number == 0


def test_counts_name_every_state(store: Store) -> None:
    lease = with_trials(store, TrialState.waiting, TrialState.running, TrialState.pruned, TrialState.pruned)
    empty = store.create_sweep(new_sweep())
    counts = dict.fromkeys(TrialState, 0)
    expected = counts | {TrialState.waiting: 1, TrialState.running: 1, TrialState.pruned: 2}
    assert store.trial_counts(lease.sweep_id) == expected
    assert store.trial_counts_by_sweep() == {lease.sweep_id: expected, empty: counts}
    assert store.trial_counts(999) == counts


@pytest.mark.parametrize(("goal", "expected"), [("minimize", [3, 0, 4]), ("maximize", [1, 0, 4])])
def test_the_best_are_finished_and_equal_ones_by_number(store: Store, goal: str, expected: list[int]) -> None:
    lease = leased(store, goal=goal)
    values = [0.5, 0.9, 0.1, 0.2, 0.5, None]
    states = [TrialState.finished] * 6
    states[2] = TrialState.pruned
    record = RoundRecord(
        rounds_done=1,
        trials=tuple(new_trial(number) for number in range(6)),
        started=tuple(range(6)),
        progress=tuple(progress(number, states[number], value=values[number]) for number in range(6)),
    )
    store.commit_round(lease, record)
    assert [trial.number for trial in store.best_trials(lease.sweep_id, 3)] == expected
    assert len(store.best_trials(lease.sweep_id, 99)) == 4


def test_the_plan_is_stored(store: Store) -> None:
    lease = leased(store)
    store.set_plan(lease, {"mode": "stacked", "width": 32, "scale": 0.1})
    assert store.sweep(lease.sweep_id).plan == {"mode": "stacked", "width": 32, "scale": 0.1}


def test_a_stop_is_asked_for_until_the_sweep_has_ended(store: Store) -> None:
    lease = leased(store)
    assert not store.stop_requested(lease.sweep_id)
    store.request_stop(lease.sweep_id)
    store.request_stop(lease.sweep_id)
    assert store.stop_requested(lease.sweep_id)
    store.interrupt(lease)
    lease = store.take_lease(lease.sweep_id, ME, lease_seconds=60, is_dead=alive)
    assert store.stop_requested(lease.sweep_id)
    store.finish_sweep(lease, SweepState.stopped)
    assert not store.stop_requested(lease.sweep_id)
    store.request_stop(lease.sweep_id)
    assert not store.stop_requested(lease.sweep_id)
    with pytest.raises(UnknownSweep):
        store.request_stop(999)


def test_publications_replace_each_other(store: Store) -> None:
    sweep_id = store.create_sweep(new_sweep())
    parent = Publication(sweep_id=sweep_id, number=-1, run_id="p", epochs=0, state="running")
    child = Publication(sweep_id=sweep_id, number=3, run_id="c", epochs=2, state="running")
    store.record_publications([])
    store.record_publications([parent, child])
    later = Publication(sweep_id=sweep_id, number=3, run_id="c", epochs=20, state="finished")
    store.record_publications([later])
    assert store.publications(sweep_id) == {-1: parent, 3: later}
    assert store.publications(999) == {}


def _fill(store: Store) -> int:
    lease = with_trials(store, TrialState.running, TrialState.finished)
    store.commit_round(
        lease,
        RoundRecord(
            rounds_done=1,
            measurements=(measurement(0), measurement(1)),
            proposals=(Proposal(index=0, parameters={"lr": 0.1}, attributes={}),),
        ),
    )
    store.request_stop(lease.sweep_id)
    row = Publication(sweep_id=lease.sweep_id, number=0, run_id="r", epochs=1, state="running")
    store.record_publications([row])
    return lease.sweep_id


def test_deleting_takes_everything_along_and_no_id_comes_back(store: Store) -> None:
    kept, gone = _fill(store), _fill(store)
    before = _row_counts(store)
    with pytest.raises(SweepBusy):
        store.delete_sweep(gone, alive)
    assert _row_counts(store) == before
    store.delete_sweep(gone, dead)
    after = _row_counts(store)
    assert after == {name: 1 if name == "store_identity" else count // 2 for name, count in before.items()}
    assert all(after.values())
    assert store.sweep(kept).id == kept
    assert store.create_sweep(new_sweep()) > gone
    with pytest.raises(UnknownSweep):
        store.delete_sweep(gone, dead)


def _row_counts(store: Store) -> dict[str, int]:
    def work(connection):  # type: ignore[no-untyped-def]
        return {
            name: connection.execute(select(func.count()).select_from(table)).scalar_one()
            for name, table in metadata.tables.items()
        }

    return store._database.read(work)


def test_a_sweep_nobody_holds_can_be_deleted(store: Store) -> None:
    lease = leased(store)
    store.interrupt(lease)
    store.delete_sweep(lease.sweep_id, alive)
    assert store.sweeps() == []


def test_the_view_has_the_promised_columns(store: Store) -> None:
    with_trials(store, TrialState.waiting)
    columns = (
        "sweep_id sweep number state seed optimizer schedule value epochs_done lr momentum weight_decay "
        "nesterov peak_lr final_lr"
    )

    def work(connection):  # type: ignore[no-untyped-def]
        as_written = connection.execute(text("SELECT * FROM trial_results"))
        return as_written.keys(), connection.execute(select(trial_results)).one()

    keys, row = store._database.read(work)
    assert list(keys) == columns.split() == list(trial_results.c.keys())
    assert (row.sweep, row.lr, row.nesterov, row.value) == ("digits", 0.1, True, None)


def test_best_loss_by_momentum_band_is_one_select(store: Store) -> None:
    lease = leased(store)
    momenta = [0.05, 0.55, 0.57, 0.95, None]
    record = RoundRecord(
        rounds_done=1,
        trials=tuple(new_trial(number, momentum=momentum) for number, momentum in enumerate(momenta)),
        started=tuple(range(5)),
        progress=tuple(progress(number, TrialState.finished, value=0.5 - number / 10) for number in range(5)),
    )
    store.commit_round(lease, record)
    bands = text(
        "SELECT CAST(FLOOR(momentum * 10) AS INTEGER) AS band, MIN(value) AS best FROM trial_results "
        "WHERE sweep = 'digits' AND state = 'finished' AND momentum >= 0 GROUP BY 1 ORDER BY 1"
    )
    rows = store._database.read(lambda connection: connection.execute(bands).all())
    assert [tuple(row) for row in rows] == [(0, 0.5), (5, 0.3), (9, 0.2)]


def test_confirming_trials_are_found_by_the_query_of_the_documents(store: Store) -> None:
    page = (Path(__file__).parents[2] / "docs" / "search.md").read_text()
    section = page[page.index("## Confirming the leaders") :]
    query = re.search(r"```sql\n(.*?)```", section, re.DOTALL)
    postgresql = re.search(r"PostgreSQL: `(.*?)`", section)
    assert query is not None
    assert postgresql is not None
    asked = query[1].replace("= 3", "= 1")
    if "postgresql" in store.url_for_display:
        asked = re.sub(r"\(SELECT value FROM json_each.*?\)\)?\n?$", "", asked.strip()) + postgresql[1]
    lease = leased(store, spec={"seeds": [4, 2**62]})
    seeds = (4, 2**62, 0, 1)
    trials = tuple(new_trial(number, seed=seed, setting_index=0) for number, seed in enumerate(seeds))
    store.commit_round(lease, RoundRecord(rounds_done=1, trials=trials))
    rows = store._database.read(lambda connection: connection.execute(text(asked)).all())
    assert sorted(row.seed for row in rows) == [0, 1]


def test_the_default_clock_is_utc(store: Store) -> None:
    created = store.sweep(store.create_sweep(new_sweep())).created_at
    assert created.endswith("Z")
    assert abs(datetime.now(UTC) - datetime.fromisoformat(created)) < timedelta(seconds=60)
