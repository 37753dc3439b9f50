"""Interrupted trials trained again: bits where trials repeat themselves, a sentence where loops do not."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sweeps.entries import to_measurement
from sweeps.records import Measurement, SweepState, TrialState
from sweeps.replay import Replay, ReplayMismatch
from sweeps.store import Store, open_store
from tests.unit.sweeps_for_tests import FakePool, Killed, Silence, run, space, stored
from workers.messages import Diverged, Failed, Measured, Note, Outcome, Report

MEASURED = Measured(
    number=3,
    epoch=2,
    step=20,
    lr=0.1,
    momentum=None,
    peak_lr=0.1,
    train_loss=0.5,
    grad_norm=math.nan,
    metrics={"val_loss": 0.25, "f1": math.nan, "zero": 0.0},
)
AGAIN = "trained again, gives other numbers in epoch"


def of(outcome: Measured) -> dict[tuple[int, int], Measurement]:
    return {(outcome.number, outcome.epoch): to_measurement(outcome, 1_700_000_000_000)}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with_url = open_store(f"sqlite:///{tmp_path / 'ravine.db'}", read_only=False)
    yield with_url
    with_url.close()


@pytest.mark.parametrize("repeatable", [True, False])
def test_the_same_bits_are_the_same_whatever_their_order_and_nan_like_nan(repeatable: bool) -> None:
    turned = replace(MEASURED, metrics={"zero": 0.0, "f1": float("nan"), "val_loss": 0.25})
    assert Replay(1, of(MEASURED), repeatable=repeatable).compare(turned) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"train_loss": 0.5 + 2**-53},
        {"step": 21},
        {"metrics": {**MEASURED.metrics, "f1": 1.0}},
        {"metrics": {**MEASURED.metrics, "zero": -0.0}},
        {"momentum": 0.0},
    ],
)
def test_other_bits_are_told(changes: dict[str, Any]) -> None:
    other = replace(MEASURED, **changes)
    with pytest.raises(ReplayMismatch, match="Epoch 2 of trial 3, sweep 1, is stored"):
        Replay(1, of(MEASURED), repeatable=True).compare(other)
    loops = Replay(1, of(MEASURED), repeatable=False)
    assert AGAIN in str(loops.compare(other))
    assert loops.compare(other) is None


def test_a_trial_that_breaks_when_trained_again_is_told() -> None:
    failed: Outcome = Failed(number=3, cause="user_error", message="KeyError: 'x'", traceback="")
    with pytest.raises(ReplayMismatch, match="Trial 3 of sweep 1 is stored as training well"):
        Replay(1, of(MEASURED), repeatable=True).compare(failed)
    sentence = Replay(1, of(MEASURED), repeatable=False).compare(failed)
    assert sentence == "note: trial 3, trained again up to its last stored epoch, failed: KeyError: 'x'"


def interrupted(store: Store, **changes: Any) -> tuple[int, Any]:
    """A sweep that was killed after some rounds."""
    space_ = space(**changes)
    sweep_id = stored(store, space_)
    with pytest.raises(Killed):
        run(store, sweep_id, space_, execution="loop", fault=_at(5, Killed))
    return sweep_id, space_


def _at(number: int, error: type[BaseException]) -> Callable[[], None]:
    counted = iter(range(1, 10_000))

    def fault() -> None:
        if next(counted) == number:
            raise error

    return fault


@pytest.mark.parametrize("order", ["rounds", "arrival"])
def test_a_loop_that_does_not_repeat_itself_goes_on_from_what_is_stored(store: Store, order: str) -> None:
    sweep_id, space_ = interrupted(store, order=order)
    before = store.measurements(sweep_id)
    assert before
    observer = Silence()
    ended = run(store, sweep_id, space_, execution="loop", shift=1e-16, observer=observer)
    assert ended is SweepState.finished
    assert store.measurements(sweep_id)[: len(before)] != []
    kept = {(row.number, row.epoch): row for row in store.measurements(sweep_id)}
    assert [kept[row.number, row.epoch] for row in before] == before
    assert sum(AGAIN in sentence for sentence in observer.sentences) == 1
    assert {trial.state for trial in store.trials(sweep_id)} <= {TrialState.finished, TrialState.diverged}


def _breaking(outcome: Outcome) -> Callable[[FakePool, int, int], Outcome]:
    advance = FakePool._advance

    def broken(self: FakePool, number: int, worker: int) -> Outcome:
        if number != outcome.number:
            return advance(self, number, worker)
        del self.held[number]
        return outcome

    return broken


@pytest.mark.parametrize("order", ["rounds", "arrival"])
@pytest.mark.parametrize(
    ("outcome", "state", "words"),
    [
        (
            Failed(number=0, cause="user_error", message="OSError: gone", traceback="there"),
            TrialState.failed,
            "trial 0, trained again up to its last stored epoch, failed: OSError: gone",
        ),
        (
            Diverged(
                number=0, epoch=1, step=1, lr=0.1, peak_lr=0.1, grad_norm=None, reason="val_loss was nan"
            ),
            TrialState.diverged,
            "trial 0, trained again up to its last stored epoch, diverged: val_loss was nan",
        ),
    ],
)
def test_a_loop_that_breaks_when_trained_again_ends_so_and_the_sweep_goes_on(
    store: Store, monkeypatch: pytest.MonkeyPatch, outcome: Outcome, state: TrialState, words: str, order: str
) -> None:
    sweep_id, space_ = interrupted(store, order=order, sampler="random", seed=1)
    assert store.trials(sweep_id)[0].state in (TrialState.running, TrialState.waiting)
    stored_epochs = store.trials(sweep_id)[0].epochs_done
    assert stored_epochs > 0
    observer = Silence()
    with monkeypatch.context() as patch:
        patch.setattr(FakePool, "_advance", _breaking(outcome))
        assert run(store, sweep_id, space_, execution="loop", observer=observer) is SweepState.finished
    trials = store.trials(sweep_id)
    assert (trials[0].state, trials[0].epochs_done, trials[0].value) == (state, stored_epochs, None)
    assert sum(words in sentence for sentence in observer.sentences) == 1
    assert len(trials) == space_.trials
    assert sum(trial.state is TrialState.finished for trial in trials) > 10


def test_what_workers_note_is_said_once(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    receive = FakePool.receive

    def noting(self: FakePool, timeout_seconds: float) -> tuple[int, Report] | None:
        received = receive(self, timeout_seconds)
        assert received is not None
        notes = (Note(number=4, sentence="its loop said no"), Note(number=5, sentence="its loop said no"))
        return received[0], replace(received[1], notes=notes)

    monkeypatch.setattr(FakePool, "receive", noting)
    observer = Silence()
    space_ = space()
    assert run(store, stored(store, space_), space_, observer=observer) is SweepState.finished
    assert observer.sentences == ["note: trial 4: its loop said no"]
