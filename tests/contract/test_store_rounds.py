"""Rounds: everything one decision changes, all of it or none, and never twice."""

from __future__ import annotations

import math
import struct
import sys
from dataclasses import replace

import pytest

from sweeps.errors import IllegalTransition, MeasurementConflict, StoreConflict, TrialsStillOpen
from sweeps.records import (
    OPEN_STATES,
    TRIAL_TRANSITIONS,
    Proposal,
    RoundRecord,
    SweepState,
    TrialRow,
    TrialState,
)
from sweeps.store import Store
from tests.contract.store_values import leased, measurement, new_trial, progress, with_trials

FLOATS = [
    0.0,
    -0.0,
    1.0,
    -3.0,
    0.1,
    1 / 3,
    1e308,
    -1e308,
    sys.float_info.max,
    sys.float_info.min,
    sys.float_info.epsilon,
    5e-324,
    -5e-324,
    2.2250738585072009e-308,
    9007199254740993.0,
    123456789012345680.0,
    math.nextafter(0.3, 1),
]


def _bits(value: float | None) -> bytes:
    assert value is not None
    return struct.pack("<d", value)


def test_floats_come_back_bit_for_bit(store: Store) -> None:
    lease = leased(store)
    names = ("lr", "momentum", "train_loss", "val_loss", "grad_norm")
    record = RoundRecord(
        rounds_done=1,
        proposals=tuple(
            Proposal(index=number, parameters={"lr": value}, attributes={"rung": [value]})
            for number, value in enumerate(FLOATS)
        ),
        trials=tuple(
            new_trial(
                number, lr=value, momentum=value, weight_decay=value, setting={"lr": value, "b": [value]}
            )
            for number, value in enumerate(FLOATS)
        ),
        started=tuple(range(len(FLOATS))),
        measurements=tuple(
            measurement(number, **dict.fromkeys(names, value), extra={"score": value})
            for number, value in enumerate(FLOATS)
        ),
        progress=tuple(
            progress(
                number, TrialState.diverged, value=value, peak_lr=value, final_lr=value, detail={"x": value}
            )
            for number, value in enumerate(FLOATS)
        ),
    )
    store.commit_round(lease, record)
    measured = store.measurements(lease.sweep_id)
    proposed = store.proposals(lease.sweep_id)
    for number, value in enumerate(FLOATS):
        row = store.trial(lease.sweep_id, number)
        read = [getattr(measured[number], name) for name in names] + [measured[number].extra["score"]]
        read += [row.lr, row.momentum, row.weight_decay, row.value, row.peak_lr, row.final_lr]
        read += [row.setting["lr"], row.setting["b"][0], row.detail and row.detail["x"]]
        read += [proposed[number].parameters["lr"], proposed[number].attributes["rung"][0]]
        assert [_bits(found) for found in read] == [struct.pack("<d", value)] * 17, value
    store.commit_round(lease, RoundRecord(rounds_done=1, measurements=record.measurements))


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_a_gradient_norm_may_be_infinite_and_nan_is_none(store: Store, value: float) -> None:
    lease = with_trials(store, TrialState.running)
    record = RoundRecord(rounds_done=1, measurements=(measurement(0, grad_norm=value),))
    store.commit_round(lease, record)
    store.commit_round(lease, record)
    stored = store.measurements(lease.sweep_id)[0].grad_norm
    assert stored is None if math.isnan(value) else stored == value


def test_what_is_not_finite_survives_in_json(store: Store) -> None:
    lease = with_trials(store, TrialState.running)
    detail = {"step": 7, "lr": 0.1, "grad_norm": math.inf, "norms": [-math.inf, math.nan, (1, 2)]}
    end = progress(0, TrialState.diverged, value=None, detail=detail)
    proposal = Proposal(index=0, parameters={"low": -math.inf}, attributes={"nested": {"x": math.nan}})
    store.commit_round(lease, RoundRecord(rounds_done=1, progress=(end,), proposals=(proposal,)))
    stored = store.trial(lease.sweep_id, 0).detail
    assert stored is not None
    assert (stored["step"], stored["grad_norm"], stored["norms"][0]) == (7, math.inf, -math.inf)
    assert math.isnan(stored["norms"][1])
    assert stored["norms"][2] == [1, 2]
    (row,) = store.proposals(lease.sweep_id)
    assert row.parameters == {"low": -math.inf}
    assert math.isnan(row.attributes["nested"]["x"])


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_other_numbers_must_be_finite(store: Store, value: float) -> None:
    lease = with_trials(store, TrialState.running)
    for name in ("lr", "momentum", "train_loss", "val_loss", "extra"):
        bad = measurement(0, **{name: {"score": value} if name == "extra" else value})
        with pytest.raises(ValueError, match="trial 0, epoch 1"):
            store.commit_round(lease, RoundRecord(rounds_done=1, measurements=(measurement(0, 2), bad)))
    with pytest.raises(ValueError, match="trial 1: lr"):
        store.commit_round(lease, RoundRecord(rounds_done=1, trials=(new_trial(1, lr=value),)))
    with pytest.raises(ValueError, match="trial 0: value"):
        store.commit_round(
            lease, RoundRecord(rounds_done=1, progress=(progress(0, TrialState.finished, value=value),))
        )
    assert store.measurements(lease.sweep_id) == []
    assert store.sweep(lease.sweep_id).rounds_done == 0


def test_a_whole_round_comes_back(store: Store) -> None:
    lease = leased(store)
    proposals = tuple(Proposal(index=index, parameters={"lr": 0.1}, attributes={}) for index in range(3))
    trials = (new_trial(0), new_trial(1, lr=None, nesterov=None, seed=2**62), new_trial(2, nesterov=False))
    measured = (measurement(1), measurement(0, 2, momentum=None, grad_norm=None, extra={}), measurement(0))
    store.commit_round(
        lease,
        RoundRecord(
            rounds_done=5,
            proposals=proposals,
            attributes={1: {"rung": [0.5]}},
            trials=trials,
            started=(0, 1),
            measurements=measured,
            progress=(
                progress(0, TrialState.running, epochs_done=2),
                progress(1, TrialState.failed, value=None, cause="oom", detail={"message": "m"}),
            ),
        ),
    )
    sweep_id = lease.sweep_id
    assert store.sweep(sweep_id).rounds_done == 5
    assert store.proposals(sweep_id) == [
        replace(proposal, attributes={"rung": [0.5]}) if proposal.index == 1 else proposal
        for proposal in proposals
    ]
    assert store.measurements(sweep_id) == [measured[2], measured[1], measured[0]]
    assert store.measurements(sweep_id, numbers=[1, 2]) == [measured[0]]
    assert store.measurements(sweep_id, numbers=range(1, 5000)) == [measured[0]]
    assert store.measurements(sweep_id, numbers=[]) == []
    assert store.epochs_total(sweep_id) == 3
    first, second, third = store.trials(sweep_id)
    assert (first.state, first.value, first.epochs_done, first.peak_lr) == (TrialState.running, 0.25, 2, 0.2)
    assert (second.state, second.cause, second.detail) == (TrialState.failed, "oom", {"message": "m"})
    assert (second.lr, second.nesterov, second.seed) == (None, None, 2**62)
    assert third == TrialRow(
        **{name: getattr(trials[2], name) for name in new_trial(0).__slots__ if hasattr(trials[2], name)},
        sweep_id=sweep_id,
        state=TrialState.waiting,
        attempt=0,
        cause=None,
        detail=None,
        value=None,
        epochs_done=0,
        peak_lr=None,
        final_lr=None,
    )


def test_measuring_again_is_a_replay(store: Store) -> None:
    lease = with_trials(store, TrialState.running, TrialState.running)
    first = RoundRecord(rounds_done=1, measurements=(measurement(0), measurement(1)))
    store.commit_round(lease, first)
    again = (measurement(0, ts_ms=1), measurement(1), measurement(0, 2))
    store.commit_round(lease, RoundRecord(rounds_done=2, measurements=again))
    assert store.measurements(lease.sweep_id) == [measurement(0), measurement(0, 2), measurement(1)]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("step", 45),
        ("lr", math.nextafter(0.1, 1)),
        ("momentum", None),
        ("train_loss", -0.5),
        ("val_loss", math.nextafter(0.25, 0)),
        ("grad_norm", math.nan),
        ("extra", {"val_accuracy": 0.7500000000000001}),
        ("extra", {}),
        ("extra", {"val_accuracy": 0.75, "more": 1.0}),
    ],
)
def test_measuring_something_else_is_a_conflict(store: Store, name: str, value: object) -> None:
    lease = with_trials(store, TrialState.running, TrialState.running)
    store.commit_round(lease, RoundRecord(rounds_done=1, measurements=(measurement(0), measurement(1))))
    other = (measurement(0), measurement(1, 2), measurement(1, **{name: value}))
    with pytest.raises(MeasurementConflict, match=r"Trial 1 .* epoch 1") as caught:
        store.commit_round(lease, RoundRecord(rounds_done=2, measurements=other))
    error = caught.value
    assert (error.number, error.epoch) == (1, 1)
    assert name in (error.field, "extra")
    assert repr(error.stored) in str(error)
    assert repr(error.offered) in str(error)
    assert store.measurements(lease.sweep_id) == [measurement(0), measurement(1)]
    assert store.sweep(lease.sweep_id).rounds_done == 1


def test_zero_and_minus_zero_conflict(store: Store) -> None:
    lease = with_trials(store, TrialState.running)
    store.commit_round(lease, RoundRecord(rounds_done=1, measurements=(measurement(0, momentum=0.0),)))
    with pytest.raises(MeasurementConflict):
        store.commit_round(lease, RoundRecord(rounds_done=1, measurements=(measurement(0, momentum=-0.0),)))


@pytest.mark.parametrize("before", TrialState)
def test_states_follow_the_table(store: Store, before: TrialState) -> None:
    for after in TrialState:
        lease = with_trials(store, TrialState.running, before, TrialState.running)
        old = store.trials(lease.sweep_id)
        values = {"value": 0.125, "epochs_done": 4, "cause": "oom" if after is TrialState.failed else None}
        changes = tuple(progress(number, after, **values) for number in range(3))
        # Going on running is no change of state.
        if after in TRIAL_TRANSITIONS.get(before, ()) or before is after is TrialState.running:
            store.commit_round(lease, RoundRecord(rounds_done=1, progress=changes[1:2]))
            row = store.trial(lease.sweep_id, 1)
            assert (row.state, row.value, row.epochs_done) == (after, 0.125, 4)
            assert row.attempt == (1 if after is TrialState.waiting else 0)
        else:
            with pytest.raises(IllegalTransition) as caught:
                store.commit_round(lease, RoundRecord(rounds_done=1, progress=changes))
            assert (caught.value.number, caught.value.before, caught.value.after) == (1, before, after)
            assert store.trials(lease.sweep_id) == old


@pytest.mark.parametrize("before", [state for state in TrialState if state is not TrialState.waiting])
def test_only_what_waits_is_started(store: Store, before: TrialState) -> None:
    lease = with_trials(store, TrialState.waiting, before)
    old = store.trials(lease.sweep_id)
    with pytest.raises(IllegalTransition, match=f"Trial 1 .* is {before} and cannot become running"):
        store.commit_round(lease, RoundRecord(rounds_done=1, started=(0, 1)))
    assert store.trials(lease.sweep_id) == old
    with pytest.raises(IllegalTransition, match=r"Trial 7 .* is not stored"):
        store.commit_round(lease, RoundRecord(rounds_done=1, started=(0, 7)))


def test_contradictions_leave_nothing_behind(store: Store) -> None:
    lease = with_trials(store, TrialState.running)
    proposal = Proposal(index=0, parameters={}, attributes={})
    good = RoundRecord(rounds_done=3, proposals=(proposal,), measurements=(measurement(0),))
    store.commit_round(lease, good)
    contradictions = [
        RoundRecord(rounds_done=2),
        RoundRecord(rounds_done=4, proposals=(replace(proposal, index=1), proposal)),
        RoundRecord(rounds_done=4, trials=(new_trial(1), new_trial(0))),
        RoundRecord(rounds_done=4, trials=(new_trial(1),), measurements=(measurement(2),)),
        RoundRecord(rounds_done=4, trials=(new_trial(1),), attributes={0: {}, 5: {}}),
        RoundRecord(rounds_done=4, trials=(new_trial(1),), measurements=(measurement(0, 0),)),
    ]
    for record in contradictions:
        with pytest.raises(StoreConflict):
            store.commit_round(lease, record)
    assert store.sweep(lease.sweep_id).rounds_done == 3
    assert len(store.trials(lease.sweep_id)) == 1
    assert store.proposals(lease.sweep_id) == [proposal]
    assert store.measurements(lease.sweep_id) == [measurement(0)]


@pytest.mark.parametrize("state", [SweepState.stopped, SweepState.failed])
def test_what_is_open_when_a_sweep_ends_is_cancelled(store: Store, state: SweepState) -> None:
    lease = with_trials(store, TrialState.waiting, TrialState.running, TrialState.diverged)
    store.finish_sweep(lease, state)
    states = [trial.state for trial in store.trials(lease.sweep_id)]
    assert states == [TrialState.cancelled, TrialState.cancelled, TrialState.diverged]
    assert store.sweep(lease.sweep_id).state is state


@pytest.mark.parametrize("state", sorted(OPEN_STATES))
def test_a_sweep_with_open_trials_is_not_finished(store: Store, state: TrialState) -> None:
    lease = with_trials(store, TrialState.finished, state)
    with pytest.raises(TrialsStillOpen, match="1 open"):
        store.finish_sweep(lease, SweepState.finished)
    assert store.sweep(lease.sweep_id).state is SweepState.running
    with pytest.raises(ValueError, match="waiting"):
        store.finish_sweep(lease, SweepState.waiting)
    store.commit_round(lease, RoundRecord(rounds_done=1, progress=(progress(1, TrialState.cancelled),)))
    store.finish_sweep(lease, SweepState.finished)
    assert store.sweep(lease.sweep_id).state is SweepState.finished


def test_forks_and_usage_come_back(store: Store) -> None:
    lease = with_trials(store, TrialState.running, TrialState.running)
    forked = replace(
        progress(1, TrialState.running), epochs_trained=1, parent_number=0, fork_step=2**40, epochs_done=3
    )
    usage = {"slot_occupancy": 1 / 3}
    ending = {"kept": {"best": 1 / 3, "since": 2}}
    store.commit_round(lease, RoundRecord(rounds_done=1, progress=(forked,), usage=usage, ending=ending))
    first, second = store.trials(lease.sweep_id)
    assert (first.epochs_trained, first.parent_number, first.fork_step) == (0, None, None)
    assert (second.epochs_trained, second.parent_number, second.fork_step) == (1, 0, 2**40)
    assert (store.epochs_total(lease.sweep_id), store.epochs_trained_total(lease.sweep_id)) == (3, 1)
    assert store.sweep(lease.sweep_id).usage == usage
    store.commit_round(lease, RoundRecord(rounds_done=2))
    assert store.sweep(lease.sweep_id).usage == usage
    assert store.sweep(lease.sweep_id).ending == ending
    assert store.sweep(lease.sweep_id).ended_early is None


def test_a_sweep_that_ends_early_cancels_what_is_open_and_says_why(store: Store) -> None:
    lease = with_trials(store, TrialState.running, TrialState.waiting)
    store.finish_sweep(lease, SweepState.finished, ending={"by": "wall_seconds", "reason": "time is up"})
    found = store.sweep(lease.sweep_id)
    assert (found.state, found.ended_early) == (SweepState.finished, "time is up")
    assert {trial.state for trial in store.trials(lease.sweep_id)} == {TrialState.cancelled}


def test_a_copy_has_the_measurements_of_another_trial(store: Store) -> None:
    """Also those of the same record, and it begins and ends in one transaction."""
    lease = with_trials(store, TrialState.running, TrialState.running)
    store.commit_round(lease, RoundRecord(rounds_done=1, measurements=(measurement(0), measurement(1))))
    worst = measurement(0, epoch=2, train_loss=-0.0, val_loss=5e-324, grad_norm=None, extra={"score": 1 / 3})
    copied = replace(progress(2, TrialState.finished, epochs_done=2), parent_number=0, fork_step=88)
    record = RoundRecord(
        rounds_done=2,
        measurements=(worst,),
        progress=(progress(0, TrialState.finished, epochs_done=2), copied),
        proposals=(Proposal(index=2, parameters={}, attributes={}),),
        trials=(new_trial(2),),
        started=(2,),
        copies={2: 0},
    )
    store.commit_round(lease, record)
    original, _, copy = store.trials(lease.sweep_id)
    assert (copy.state, copy.epochs_done, copy.epochs_trained) == (TrialState.finished, 2, 0)
    assert (copy.parent_number, copy.fork_step, original.parent_number) == (0, 88, None)
    rows = store.measurements(lease.sweep_id)
    of = [[repr(replace(row, number=0)) for row in rows if row.number == number] for number in (0, 2)]
    assert of[0] == of[1]
    assert len(of[1]) == 2
    with pytest.raises(StoreConflict):
        store.commit_round(lease, replace(record, rounds_done=3))
    assert store.sweep(lease.sweep_id).rounds_done == 2


def test_copies_of_several_trials_are_kept_apart(store: Store) -> None:
    lease = with_trials(store, TrialState.running, TrialState.running)
    other = with_trials(store, TrialState.running)
    store.commit_round(other, RoundRecord(rounds_done=1, measurements=(measurement(0, val_loss=9.0),)))
    store.commit_round(
        lease,
        RoundRecord(
            rounds_done=1,
            measurements=(measurement(0, val_loss=1.0), measurement(1, val_loss=2.0)),
            proposals=tuple(Proposal(index=index, parameters={}, attributes={}) for index in (2, 3)),
            trials=(new_trial(2), new_trial(3)),
            started=(2, 3),
            copies={2: 1, 3: 0},
        ),
    )
    found = {row.number: row.val_loss for row in store.measurements(lease.sweep_id)}
    assert found == {0: 1.0, 1: 2.0, 2: 2.0, 3: 1.0}
    assert len(store.measurements(other.sweep_id)) == 1
