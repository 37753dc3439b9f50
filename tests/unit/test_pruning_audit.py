"""The pruning audit on sweeps whose truth is planted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from dashboards.audit_words import audit_lines
from sweeps.pruning_audit import audit, audit_of
from sweeps.records import Proposal, SweepState, TrialRow, TrialState
from sweeps.rungs import ATTRIBUTE, CONTROL_ATTRIBUTE
from sweeps.store import open_store
from tests.unit.sweeps_for_tests import run, space, stored


def _trial(index: int, value: float | None, schedule: str = "StepLR", *, seed: int = 0) -> TrialRow:
    return TrialRow(
        number=10 * index + seed,
        setting_index=index,
        seed=seed,
        admitted_round=1,
        lane=0,
        optimizer="SGD",
        schedule=schedule,
        setting={},
        lr=None,
        momentum=None,
        weight_decay=None,
        nesterov=None,
        sweep_id=1,
        state=TrialState.pruned if value is None else TrialState.finished,
        attempt=0,
        cause=None,
        detail=None,
        value=value,
        epochs_done=1,
        peak_lr=None,
        final_lr=None,
    )


def _proposal(index: int, *goes_on: bool, control: bool = False) -> Proposal:
    rungs = {str(4**place): [1.0, 0.1, 0.0, verdict] for place, verdict in enumerate(goes_on)}
    attributes = {ATTRIBUTE: rungs} | ({CONTROL_ATTRIBUTE: True} if control else {})
    return Proposal(index=index, parameters={}, attributes=attributes)


PROPOSALS = [
    _proposal(0, True, True),  # kept
    _proposal(1, True, True),  # kept
    _proposal(2, False),  # given up
    _proposal(3, False, True, control=True),
    _proposal(4, True, False, control=True),
    _proposal(5, True, True, control=True),
    _proposal(6, control=True),  # diverged before any rung
]


def _trials(sign: float = 1.0) -> list[TrialRow]:
    values = [0.3, 0.4, None, 0.1, 0.9, 0.5, None]
    schedules = ["StepLR", "StepLR", "StepLR", "ExponentialLR", "StepLR", "StepLR", "StepLR"]
    return [
        _trial(index, None if value is None else sign * value, schedule)
        for index, (value, schedule) in enumerate(zip(values, schedules, strict=True))
    ]


@pytest.mark.parametrize(("goal", "sign"), [("minimize", 1.0), ("maximize", -1.0)])
def test_what_the_control_group_shows(goal: str, sign: float) -> None:
    found = audit(goal, PROPOSALS, _trials(sign))
    assert [(one.index, one.stopped_after, one.is_good) for one in found.control] == [
        (3, 1, True),
        (4, 4, False),
        (5, None, False),
    ]
    assert found.best_stopped is not None
    assert found.best_stopped.index == 3
    assert found.best_kept == sign * 0.3
    assert found.lost == pytest.approx(0.2)
    assert [(f.schedule, f.trained, f.stopped, f.good, f.good_stopped) for f in found.families] == [
        ("ExponentialLR", 1, 1, 1, 1),
        ("StepLR", 2, 1, 0, 0),
    ]


def test_a_kept_setting_of_the_control_group_counts_as_kept() -> None:
    trials = _trials()
    trials[5] = _trial(5, 0.05)
    found = audit("minimize", PROPOSALS, trials)
    assert (found.best_kept, found.lost) == (0.05, 0.0)


def test_a_copy_was_judged_as_the_setting_that_it_is_a_copy_of() -> None:
    """Else a copy of what would have been given up would be the best that was kept."""
    copies = [
        replace(_trial(7, 0.1), parent_number=30, fork_step=9),
        replace(_trial(8, 0.5), parent_number=50, fork_step=9),
    ]
    plain = Proposal(index=7, parameters={}, attributes={})
    control = Proposal(index=8, parameters={}, attributes={CONTROL_ATTRIBUTE: True})
    found = audit("minimize", [*PROPOSALS, plain, control], [*_trials(), *copies])
    assert found.best_kept == 0.3
    assert [one.stopped_after for one in found.control] == [1, 4, None, None]


def test_the_words() -> None:
    first, *families = audit_lines(audit("minimize", PROPOSALS, _trials()), "val_loss")
    assert "of 3 control settings" in first
    assert "would have given up 2" in first
    assert "trial 30 (ExponentialLR), came to val_loss 0.1 and was better by 0.2" in first
    assert "it would have been lost after epoch 1" in first
    assert families[0] == (
        "  ExponentialLR: 1 of 1 would have been given up; of the 1 that ended among the best quarter of all, 1"
    )
    assert families[1] == (
        "  StepLR: 1 of 2 would have been given up; none of them ended among the best quarter of all"
    )
    assert audit_lines(audit("minimize", [], []), "val_loss") == [
        "pruning audit: no setting of the control group has finished, so nothing can be said"
    ]
    harmless = audit("minimize", PROPOSALS[:5], [trial for trial in _trials() if trial.setting_index != 3])
    assert "nothing would have been lost: the best of these" in audit_lines(harmless, "val_loss")[0]
    spared = audit("minimize", PROPOSALS, [trial for trial in _trials() if trial.setting_index in (0, 5)])
    assert "so nothing of them would have been lost" in audit_lines(spared, "val_loss")[0]
    lone = audit("minimize", PROPOSALS, [trial for trial in _trials() if trial.setting_index == 3])
    assert "nothing else has finished" in audit_lines(lone, "val_loss")[0]


def test_a_setting_counts_by_the_mean_over_its_seeds_once_all_have_finished() -> None:
    trials = [_trial(3, 0.2), _trial(3, 0.4, seed=1), _trial(4, 0.1), _trial(4, None, seed=1)]
    found = audit("minimize", PROPOSALS, trials)
    assert [(one.index, one.value) for one in found.control] == [(3, pytest.approx(0.3))]


def test_a_sweep_stores_what_its_audit_needs(tmp_path: Path) -> None:
    store = open_store(f"sqlite:///{tmp_path / 'ravine.db'}")
    space_ = space(sampler="random", pruner="decay_fair", trials=120, epochs=22, concurrency=12)
    sweep_id = stored(store, space_)
    assert run(store, sweep_id, space_) is SweepState.finished
    row = store.sweep(sweep_id)
    assert audit_of(store, row) is None  # its spec says nothing of a pruner
    found = audit("minimize", store.proposals(sweep_id), store.trials(sweep_id))
    states = {trial.setting_index: trial.state for trial in store.trials(sweep_id)}
    judged = {p.index: p.attributes for p in store.proposals(sweep_id) if ATTRIBUTE in p.attributes}
    control = {index for index, attributes in judged.items() if CONTROL_ATTRIBUTE in attributes}
    assert {one.index for one in found.control} == {i for i in control if states[i] is TrialState.finished}
    assert any(one.stopped_after is not None for one in found.control)
    for index, attributes in judged.items():
        goes_on = all(verdict for *_, verdict in attributes[ATTRIBUTE].values())
        if states[index] is TrialState.finished:
            assert goes_on or index in control
        elif states[index] is TrialState.pruned:
            assert not goes_on
            assert index not in control
    store.close()
