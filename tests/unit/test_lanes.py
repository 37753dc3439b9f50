"""Lanes: whose reports a round waits for, and decisions of several lanes stored as one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sweeps.lanes import Lane, merged
from sweeps.records import Proposal, RoundRecord, SweepState, TrialProgress, TrialState
from sweeps.store import Store, open_store
from tests.unit.sweeps_for_tests import Silence, run, space, stored
from workers.messages import Failed


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = open_store(f"sqlite:///{tmp_path / 'ravine.db'}")
    yield opened
    opened.close()


def failed(number: int) -> Failed:
    return Failed(number=number, cause="user_error", message="no", traceback="")


def test_a_round_is_reported_when_all_its_workers_have() -> None:
    lane = Lane(number=0, workers=(0, 1), next_round=5)
    lane.expect(5, [0, 1], offered=7)
    lane.expect(6, [1], offered=8)
    lane.take(1, 5, [failed(1)])
    lane.take(1, 6, [failed(2)])
    seen = [lane.reported]
    lane.add(failed(3))
    lane.take(0, 5, [])
    seen.append(lane.reported)
    assert lane.close() == (5, 7, [failed(1), failed(3)])
    seen.append(lane.reported)
    assert lane.close() == (6, 8, [failed(2)])
    assert [*seen, lane.reported] == [False, True, True, False]


def test_a_round_in_which_nobody_trains_is_reported_at_once() -> None:
    lane = Lane(number=0, workers=(0,), next_round=1)
    lane.expect(1, [], offered=0)
    assert lane.reported


def test_records_are_merged_in_the_order_of_decisions() -> None:
    def record(number: int) -> RoundRecord:
        return RoundRecord(
            rounds_done=10 + number,
            started=(number,),
            progress=(
                TrialProgress(
                    number=number,
                    state=TrialState.pruned,
                    value=None,
                    epochs_done=1,
                    peak_lr=None,
                    final_lr=None,
                ),
            ),
            proposals=(Proposal(index=number, parameters={}, attributes={}),),
            attributes={number: {"rung": number}},
        )

    one = merged([record(3), record(4)])
    assert (one.rounds_done, one.started, one.attributes) == (14, (3, 4), {3: {"rung": 3}, 4: {"rung": 4}})
    assert [progress.number for progress in one.progress] == [3, 4]
    assert [proposal.index for proposal in one.proposals] == [3, 4]
    assert merged([record(3)]) == record(3)


def test_reports_that_are_there_at_once_are_stored_at_once(store: Store) -> None:
    space_ = space(order="arrival", sampler="random", concurrency=6, trials=40)
    sweep_id = stored(store, space_)
    observer = Silence()
    assert run(store, sweep_id, space_, workers=6, observer=observer) is SweepState.finished
    rounds = [snapshot.rounds_done for snapshot in observer.snapshots]
    at_once = [later - earlier for earlier, later in zip([0, *rounds], rounds, strict=False)]
    assert min(at_once) == 1
    assert max(at_once) > 2
    assert sum(at_once) == store.sweep(sweep_id).rounds_done
