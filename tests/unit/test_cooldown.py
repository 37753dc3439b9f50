"""What is told of a cooldown, and by whom."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from search_spaces.settings import Setting
from search_spaces.task_code import TaskRefused
from tests.unit.loops_for_tests import GOOD, YIELDS, loop_in, plain, trial
from workers.cooldown import Cooled, cooled, cooled_name, is_due, with_cooldown
from workers.cooldown_rates import cooldown_rates, falling
from workers.messages import Admission, Cooldown, Diverged, Measured, Orders, Report, WorkerSetup
from workers.worker import Worker

COOLDOWN = Cooldown(epochs=2, at=(1, 4, 5))
MEASURED = Measured(
    number=4,
    epoch=3,
    step=30,
    lr=0.1,
    momentum=None,
    peak_lr=0.1,
    train_loss=0.5,
    grad_norm=1.0,
    metrics={"val_loss": 0.25, "val_error": 0.125},
)
DIVERGED = Diverged(number=4, epoch=3, step=21, lr=0.1, peak_lr=0.1, grad_norm=None, reason="made up")


def test_when_a_copy_is_made() -> None:
    assert [epoch for epoch in range(1, 8) if is_due(COOLDOWN, epoch, 6)] == [1, 4]
    assert [epoch for epoch in range(1, 8) if is_due(COOLDOWN, epoch, 7)] == [1, 4, 5]
    assert not is_due(None, 1, 6)


def test_no_more_is_asked_of_a_copy_that_has_diverged() -> None:
    def outcomes() -> Iterator[Measured | Diverged]:
        yield MEASURED
        yield DIVERGED
        raise AssertionError("trained further")

    assert cooled(outcomes(), "val_loss") == Cooled(value=None, epochs=2)


@pytest.mark.parametrize(("metric", "value"), [("val_loss", 0.25), ("val_error", 0.125), ("train_loss", 0.5)])
def test_the_sweeps_metric_is_told(metric: str, value: float) -> None:
    first = replace(MEASURED, train_loss=9.0, metrics={})  # nothing is measured before the last epoch
    found = cooled(iter([first, MEASURED]), metric)
    assert found == Cooled(value=value, epochs=2)
    told = with_cooldown(MEASURED, found, metric)
    assert told == replace(
        MEASURED, metrics={**MEASURED.metrics, f"cooldown_{metric}": value}, cooldown_epochs=2
    )


def test_not_cooled_down_and_diverged_are_told_apart() -> None:
    told = with_cooldown(MEASURED, Cooled(value=None, epochs=1), "val_loss")
    assert told.metrics == {**MEASURED.metrics, "cooldown_diverged": 1.0}
    assert told.cooldown_epochs == 1


@pytest.mark.parametrize(
    ("own", "metric"),
    [("cooldown_val_loss", "val_loss"), ("cooldown_diverged", "val_loss"), ("diverged", "diverged")],
)
def test_a_metric_of_the_tasks_that_has_such_a_name_is_refused(own: str, metric: str) -> None:
    outcome = replace(MEASURED, metrics={**MEASURED.metrics, own: 1.0})
    with pytest.raises(TaskRefused, match=f"called '{own}'; wants another name; .*{cooled_name(metric)}"):
        with_cooldown(outcome, Cooled(value=1.0, epochs=1), metric)


def test_rates_fall_in_equal_steps_to_what_would_be_zero() -> None:
    assert falling(0.8, 4).tolist() == pytest.approx([0.8, 0.6, 0.4, 0.2])
    last = np.array([0.1, 0.9]), np.array([0.5, 0.7])
    second = np.array([0.1, 0.3]), None
    (first_epoch, second_epoch) = cooldown_rates((last, second), 2)
    assert first_epoch[0][0].tolist() == pytest.approx([0.9, 0.675])
    assert second_epoch[0][0].tolist() == pytest.approx([0.45, 0.225])
    assert second_epoch[1][0].tolist() == pytest.approx([0.15, 0.075])
    assert [first_epoch[0][1].tolist(), first_epoch[1][1]] == [[0.7, 0.7], None]  # type: ignore[union-attr]


def reports(setup: WorkerSetup, rounds: int, *trials: Admission) -> list[Report]:
    worker = Worker(setup)
    numbers = tuple(one.number for one in trials)
    return [
        worker.carry_out(Orders(lane=0, round=round_, admit=trials if round_ == 1 else (), advance=numbers))
        for round_ in range(1, rounds + 1)
    ]


@pytest.mark.parametrize("execution", ["stacked", "solo"])
def test_a_worker_cools_down_as_it_was_set_up(execution: str) -> None:
    cooldown = Cooldown(epochs=1, at=(2,))
    setup = WorkerSetup(task="quadratic", metric="val_loss", epochs=4, execution=execution, cooldown=cooldown)
    subject = Admission(number=0, seed=0, setting=Setting(optimizer="SGD", arguments={"lr": 0.5}))
    shown: list[Any] = [one for report in reports(setup, 4, subject) for one in report.outcomes]
    assert [one.cooldown_epochs for one in shown] == [0, 1, 0, 0]
    assert ["cooldown_val_loss" in one.metrics for one in shown] == [False, True, False, False]


def test_a_loop_of_ones_own_has_none_and_says_so_once(tmp_path: Path) -> None:
    setup = WorkerSetup(
        task=loop_in(tmp_path, plain(YIELDS.format(yielded=GOOD))),
        metric="val_loss",
        epochs=3,
        execution="loop",
        cooldown=COOLDOWN,
    )
    found = reports(setup, 3, trial(0), trial(1))
    shown: list[Any] = [one for report in found for one in report.outcomes]
    assert [(one.cooldown_epochs, dict(one.metrics)) for one in shown] == [(0, {"val_loss": 2.0})] * 6
    assert [[note.sentence for note in report.notes] for report in found] == [
        [
            "a training loop of one's own cannot be copied in its course, so there are no cooldowns; "
            "its trials are judged by what they show without"
        ],
        [],
        [],
    ]
    assert reports(replace(setup, cooldown=None), 1, trial(0))[0].notes == ()
