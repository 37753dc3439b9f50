"""What a round's outcomes say of settings that come to a rung."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from search_spaces.space import Metric, SearchSpace
from sweeps.entries import SettingEntry
from sweeps.reaching import WORST, reached_together
from tests.unit.sweeps_for_tests import space
from workers.messages import Failed, Measured, Outcome, ScheduleProgress

MAXIMIZED = replace(space(), metric=Metric(name="val_accuracy", goal="maximize"))


def _outcome(number: int, value: float, *, spent: float | None = 0.2, **metrics: float) -> Measured:
    progress = None if spent is None else ScheduleProgress(spent=spent, annealing=2 * spent)
    return Measured(
        number=number,
        epoch=2,
        step=20,
        lr=0.1,
        momentum=None,
        peak_lr=0.1,
        train_loss=value,
        grad_norm=1.0,
        metrics={"val_loss": value, "val_accuracy": value, **metrics},
        progress=progress,
    )


def _entry(values: dict[int, float], numbers: list[int] | None = None, **more: Any) -> SettingEntry:
    return SettingEntry(index=7, numbers=numbers or list(values), values={2: values}, heard=1, **more)


def _reached(entry: SettingEntry, outcomes: list[Outcome], space_: SearchSpace | None = None) -> list[Any]:
    found = reached_together([entry], outcomes, space_ or space())
    return [
        (
            one.index,
            one.epoch,
            one.loss,
            pytest.approx(one.spent),
            pytest.approx(one.annealing),
            one.is_annealed,
        )
        for one in found
    ]


def test_means_over_the_seeds() -> None:
    outcomes: list[Outcome] = [_outcome(3, 1.0, spent=0.1), _outcome(4, 2.0, spent=0.3)]
    assert _reached(_entry({3: 1.0, 4: 2.0}), outcomes) == [(7, 2, 1.5, 0.2, 0.4, False)]


def test_more_is_better_where_the_goal_says_so() -> None:
    assert _reached(_entry({3: 0.9}), [_outcome(3, 0.9)], MAXIMIZED)[0][2] == -0.9


def test_not_before_all_seeds_are_there_nor_after_the_end() -> None:
    assert _reached(_entry({3: 1.0}, [3, 4]), [_outcome(3, 1.0)]) == []
    assert _reached(_entry({3: 1.0}, end="pruned"), [_outcome(3, 1.0)]) == []
    failed = Failed(number=4, cause="user_error", message="", traceback="")
    assert _reached(_entry({3: 1.0}, [3, 4]), [_outcome(3, 1.0), failed]) == []


def test_a_schedule_of_which_nothing_is_known_has_all_its_credit() -> None:
    assert _reached(_entry({3: 1.0}), [_outcome(3, 1.0, spent=None)]) == [(7, 2, 1.0, 0.0, 0.0, False)]


def test_the_score_after_a_cooldown_counts_where_all_seeds_have_one() -> None:
    entry = _entry({3: 1.0, 4: 2.0})
    both: list[Outcome] = [
        _outcome(3, 1.0, cooldown_val_loss=0.5),
        _outcome(4, 2.0, cooldown_val_loss=0.7),
    ]
    assert _reached(entry, both)[0][2:] == (pytest.approx(0.6), 0.2, 0.4, True)
    one: list[Outcome] = [both[0], _outcome(4, 2.0)]
    assert _reached(entry, one)[0][2] == 1.5
    assert not _reached(entry, one)[0][5]


def test_a_cooldown_that_diverged_is_the_worst_and_can_be_stored() -> None:
    outcomes: list[Outcome] = [_outcome(3, 1.0, cooldown_diverged=1.0)]
    assert _reached(_entry({3: 1.0}), outcomes)[0][2] == WORST
    assert _reached(_entry({3: 1.0}), outcomes, MAXIMIZED)[0][2] == WORST
