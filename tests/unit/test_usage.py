"""How well slots and workers were used."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sweeps.store import Store, open_store
from sweeps.usage import Usage
from tests.unit.sweeps_for_tests import run, space, stored


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = open_store(f"sqlite:///{tmp_path / 'ravine.db'}")
    yield opened
    opened.close()


def test_shares_are_of_what_was_offered() -> None:
    usage = Usage()
    usage.close_round(offered=10, used=8, lagging=1)
    usage.close_round(offered=10, used=12, lagging=0)  # after forks there are more rows than places
    usage.close_round(offered=0, used=3, lagging=1)
    usage.worker_seconds, usage.training_seconds = 8.0, 6.0
    plain = usage.to_plain()
    assert (plain["slot_occupancy"], plain["slot_lag_share"], plain["device_idle_share"]) == (0.9, 0.05, 0.25)


def test_nothing_is_claimed_of_nothing() -> None:
    assert set(Usage().to_plain()) == set(Usage.__slots__)


def test_sums_go_on_after_an_interruption() -> None:
    usage = Usage.restored(None)
    usage.close_round(offered=4, used=2, lagging=2)
    again = Usage.restored(usage.to_plain())
    again.close_round(offered=4, used=4, lagging=0)
    assert again.to_plain()["slot_occupancy"] == 0.75


@pytest.mark.parametrize("workers", [1, 3])
def test_without_unforeseen_ends_every_slot_is_used(store: Store, workers: int) -> None:
    space_ = space(epochs=1, trials=23)
    sweep_id = stored(store, space_)
    run(store, sweep_id, space_, workers=workers)
    usage = store.sweep(sweep_id).usage
    assert usage is not None
    assert (usage["slot_occupancy"], usage["slot_lag_share"]) == (1.0, 0.0)


def test_empty_slots_are_those_of_the_two_round_lag(store: Store) -> None:
    space_ = space(sampler="random", pruner="asha", trials=60)
    sweep_id = stored(store, space_)
    run(store, sweep_id, space_)
    usage = store.sweep(sweep_id).usage
    assert usage is not None
    assert 0.3 < usage["slot_occupancy"] < 1.0
    assert usage["slot_occupancy"] + usage["slot_lag_share"] == pytest.approx(1.0)
