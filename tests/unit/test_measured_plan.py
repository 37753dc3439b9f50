"""The measured part of a plan: asked once, remembered, reused by a resumed sweep. Speeds are made up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from search_spaces.ranges import Choice, Fixed, Log
from search_spaces.space import OptimizerSpace, SearchSpace
from sweeps.execution_choice import Share
from sweeps.execution_plan import told_of_plan
from sweeps.measured_plan import Plan, Sharing, measured_plan, width_of
from sweeps.speed_memory import SpeedMemory
from tests.unit.test_rehearsal import GOOD
from workers.speed import SpeedQuestion, Speeds

PLAN: Plan = {
    "execution": "stacked",
    "device": "cpu",
    "precision": "float32",
    "torch": "2.13",
    "processor": "AVX2",
    "products": "AUTO,STRICT",
}
SPACE = replace(GOOD, trials=100, epochs=20, concurrency=32)
SHARING = Sharing(stacked=Share(workers=2, rows=16), solo=Share(workers=2, rows=16))
SPEEDS = Speeds(stacked={4: 100.0, 8: 160.0, 16: 150.0}, solo=90.0, seconds=1.0)


@dataclass
class Bench:
    """Where speeds are measured, and what was asked there."""

    folder: Path
    answer: Speeds | BaseException | None = SPEEDS
    asked: list[SpeedQuestion] = field(default_factory=list)
    said: list[str] = field(default_factory=list)

    def ask(self, question: SpeedQuestion) -> Speeds | None:
        self.asked.append(question)
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer

    def plan(self, space: SearchSpace = SPACE, plan: Plan = PLAN, **changes: Any) -> Plan:
        given: dict[str, Any] = {"task_file": {}, "sharing": SHARING, **changes}
        return measured_plan(
            plan,
            space,
            memory=SpeedMemory(self.folder, self.said.append),
            ask=self.ask,
            said=self.said.append,
            **given,
        )


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_what_was_measured_goes_into_the_plan(bench: Bench) -> None:
    assert bench.plan() == {
        **PLAN,
        "execution": "stacked",
        "convolutions": "grouped",
        "width": 8,
        "speeds": {"4": 100.0, "8": 160.0, "16": 150.0},
        "solo_speed": 90.0,
    }
    (question,) = bench.asked
    assert (question.task, question.device, question.most) == ("digits-mlp", "cpu", 16)
    assert (question.workers, question.trial_epochs, question.pinned) == (2, 2000, False)
    assert question.known is None
    assert bench.said == ["width 8 (measured: 4: 100, 8: 160, 16: 150 trial-steps/s; solo 90)"]


def test_it_is_measured_once(bench: Bench) -> None:
    first = bench.plan()
    assert bench.plan() == first
    assert len(bench.asked) == 1
    assert bench.said[1].startswith("width 8 (remembered: ")


@pytest.mark.parametrize(
    "change",
    [
        lambda bench: bench.plan(replace(SPACE, task="digits-cnn")),
        lambda bench: bench.plan(replace(SPACE, batch_size=Fixed(value=64))),
        lambda bench: bench.plan(replace(SPACE, clip_grad_norm=Fixed(value=1.0))),
        lambda bench: bench.plan(replace(SPACE, execution="stacked")),
        lambda bench: bench.plan(
            replace(SPACE, optimizers=(OptimizerSpace(name="Adam", label="Adam", arguments={}),))
        ),
        lambda bench: bench.plan(plan={**PLAN, "precision": "bf16"}),
        lambda bench: bench.plan(plan={**PLAN, "torch": "2.14"}),
        lambda bench: bench.plan(plan={**PLAN, "processor": "AVX512"}),
        lambda bench: bench.plan(plan={**PLAN, "products": ""}),
        lambda bench: bench.plan(task_file={"/mine.py": "other digest"}),
    ],
)
def test_other_circumstances_are_measured_anew(bench: Bench, change: Callable[[Bench], Plan]) -> None:
    bench.plan()
    change(bench)
    assert len(bench.asked) == 2


@pytest.mark.parametrize(
    "changes", [{"trials": 50}, {"epochs": 5}, {"seed": 9}, {"seeds": (1, 2)}, {"concurrency": 8}]
)
def test_how_much_is_trained_changes_no_speed(bench: Bench, changes: dict[str, Any]) -> None:
    bench.plan()
    bench.plan(replace(SPACE, **changes))
    assert len(bench.asked) == 1


def test_wider_than_was_measured_is_asked_for_with_what_is_known(bench: Bench) -> None:
    wide = Sharing(stacked=Share(workers=1, rows=32), solo=Share(workers=1, rows=32))
    bench.plan()
    bench.answer = replace(SPEEDS, stacked={**SPEEDS.stacked, 32: 170.0}, stopped="slower")
    assert bench.plan(sharing=wide)["width"] == 32
    assert bench.asked[1].known == SPEEDS
    assert bench.asked[1].most == 32
    wider = Sharing(stacked=Share(workers=1, rows=500), solo=Share(workers=1, rows=500))
    assert bench.plan(sharing=wider)["width"] == 32
    assert len(bench.asked) == 2


def test_no_more_rows_are_asked_for_than_any_worker_trains(bench: Bench) -> None:
    bench.plan(sharing=Sharing(stacked=Share(workers=1, rows=500), solo=Share(workers=1, rows=500)))
    assert bench.asked[0].most == 128


def test_solo_where_that_is_clearly_faster_and_why(bench: Bench) -> None:
    bench.answer = replace(SPEEDS, solo=200.0, convolutions="unfolded")
    found = bench.plan()
    assert (found["execution"], found["convolutions"]) == ("solo", "unfolded")
    (sentence,) = told_of_plan(found)
    assert "400 trial-steps/s solo, 320 stacked" in sentence
    assert bench.said[0].startswith("solo (measured")


def test_a_pinned_sweep_stays_stacked(bench: Bench) -> None:
    bench.answer = Speeds(stacked={4: 100.0, 8: 50.0}, solo=None, seconds=1.0)
    found = bench.plan(replace(SPACE, execution="stacked"))
    assert bench.asked[0].pinned
    assert (found["execution"], found["width"]) == ("stacked", 4)
    assert "solo_speed" not in found


@pytest.mark.parametrize("execution", ["solo", "loop"])
def test_where_nothing_is_stacked_nothing_is_measured(bench: Bench, execution: str) -> None:
    plan = {**PLAN, "execution": execution}
    assert bench.plan(plan=plan) == plan
    assert bench.asked == []


@pytest.mark.parametrize("answer", [None, ValueError("the task's own"), SystemExit(0), MemoryError()])
def test_what_cannot_be_measured_trains_stacked_and_is_not_remembered(bench: Bench, answer: Any) -> None:
    bench.answer = answer
    assert bench.plan() == PLAN
    assert bench.said == []
    bench.answer = SPEEDS
    assert bench.plan()["width"] == 8


def test_an_interruption_is_no_failure_of_the_task(bench: Bench) -> None:
    bench.answer = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        bench.plan()


def test_the_heaviest_setting_is_measured(bench: Bench) -> None:
    """Of the first optimizer; a wide model at a small batch may still move fewer numbers."""
    sgd = OptimizerSpace(name="SGD", label="SGD", arguments={"lr": Log(low=1e-3, high=1.0)})
    adam = OptimizerSpace(name="Adam", label="Adam", arguments={"lr": Log(low=1e-3, high=1.0)})
    space = replace(
        SPACE,
        task="mnist1d",
        optimizers=(sgd, adam),
        batch_size=Choice(options=(Fixed(value=16), Fixed(value=64))),
        task_arguments={"model": Choice(options=(Fixed(value="linear"), Fixed(value="mlp")))},
    )
    bench.plan(space)
    setting = bench.asked[0].setting
    assert (setting.optimizer, setting.batch_size, setting.task_arguments["model"]) == ("SGD", 64, "mlp")


@pytest.mark.parametrize(
    ("plan", "rows", "threads", "width"),
    [
        ({"speeds": {"4": 100.0, "8": 160.0, "16": 150.0}}, 16, 1, 8),
        ({"speeds": {"4": 100.0, "8": 160.0, "16": 150.0}}, 6, 1, 6),
        ({"speeds": {"4": 100.0, "8": 90.0}}, 16, 1, 4),
        ({"speeds": {"4": 100.0, "8": 90.0}}, 16, 3, 6),  # a sweep of earlier days, with three threads
        ({"speeds": {"4": 100.0, "8": 90.0}, "device": "cuda"}, 16, 3, 4),
        ({}, 16, 1, 16),
        ({}, 1, 1, 4),
        ({}, 500, 1, 128),
    ],
)
def test_the_width_of_a_resumed_sweep_follows_its_own_speeds(
    plan: Plan, rows: int, threads: int, width: int
) -> None:
    assert width_of({**PLAN, **plan}, rows, threads) == width
