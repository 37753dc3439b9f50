"""A sweep's range test: asked once, remembered, stored in the plan, and what the plan says is searched."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from search_spaces.range_test import RangeTest
from search_spaces.ranges import Choice, Effective, Fixed, Log, LogOneMinus, Tuple
from search_spaces.space import OptimizerSpace, SearchSpace
from sweeps.range_test import Plan, RangeMemory, questions_of, range_tested, searched_space
from sweeps.range_test_words import range_test_words
from tests.unit.test_measured_plan import PLAN
from tests.unit.test_rehearsal import GOOD
from workers.range_question import RangeQuestion, Stopped
from workers.rate_curves import RateFinding, Rise
from workers.torch_catalogue import torch_catalogue

SGD = OptimizerSpace(
    name="SGD",
    label="SGD",
    arguments={
        "lr": Log(low=1e-4, high=10.0),
        "momentum": LogOneMinus(low=0.0, high=0.99),
        "nesterov": Choice(options=(Fixed(value=False), Fixed(value=True))),
    },
)
SPACE = replace(GOOD, optimizers=(SGD,), range_test=RangeTest())
EDGES = {0.0: 1.284, 0.9: 0.424, 0.99: 0.157}


def finding(momentum: float | None, edge: float | None) -> RateFinding:
    rise = Rise(rates=(1e-4, 1.0), losses=(2.3, 1.0), start=2.3, steepest=(edge or 10.0) / 5)
    return RateFinding(momentum=momentum, rise=rise, held=((0.1, 0.5), (10.0, None)), edge=edge)


@dataclass
class Bench:
    """Where tests are carried out, and what was asked there."""

    folder: Path
    error: BaseException | None = None
    asked: list[RangeQuestion] = field(default_factory=list)
    said: list[str] = field(default_factory=list)

    def ask(self, question: RangeQuestion) -> tuple[RateFinding, ...]:
        self.asked.append(question)
        if self.error is not None:
            raise self.error
        return tuple(finding(m, EDGES.get(m or 0.0)) for m in question.momenta)

    def plan(self, space: SearchSpace = SPACE, plan: Plan = PLAN, **changes: Any) -> Plan:
        return range_tested(
            plan,
            space,
            catalogue=torch_catalogue(),
            task_file=changes.get("task_file", {}),
            memory=RangeMemory(self.folder, self.said.append),
            ask=self.ask,
        )


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_without_a_test_the_plan_is_as_it_was(bench: Bench) -> None:
    assert bench.plan(replace(SPACE, range_test=None)) is PLAN
    assert searched_space(SPACE, PLAN) == SPACE
    assert searched_space(SPACE, None) == SPACE
    assert range_test_words(PLAN) == range_test_words(None) == ()


def test_what_was_found_narrows_the_space_by_way_of_the_plan(bench: Bench) -> None:
    plan = json.loads(json.dumps(bench.plan()))  # as the store gives it back
    (question,) = bench.asked
    assert (question.low, question.high, question.momenta) == (1e-4, 10.0, (0.0, 0.9, 0.99))
    assert (question.updates, question.seeds, question.stacked) == (200, (0,), True)
    assert question.setting.schedule.name == "constant"
    assert question.setting.batch_size == 32
    found = plan["range_test"]
    assert found["file"] == {"SGD.lr": [1e-4, 10.0]}
    assert found["searched"] == {"SGD.lr": [0.0031, 1.3]}
    assert found["left"] == []
    assert [one["edge"] for one in found["tests"][0]["findings"]] == list(EDGES.values())
    narrowed = searched_space(SPACE, plan)
    assert narrowed.optimizers[0].arguments == {**SGD.arguments, "lr": Log(low=0.0031, high=1.3)}
    assert searched_space(narrowed, plan) == narrowed
    assert range_test_words(plan) == (
        "range test: the loss falls fastest at lr 0.26 (momentum 0), 0.085 (momentum 0.9), 0.031 (momentum 0.99); "
        "learns nothing or diverges from 1.3 (momentum 0), 0.42 (momentum 0.9), 0.16 (momentum 0.99)",
        "lr is searched from 0.0031 to 1.3 instead of 0.0001 to 10",
    )


def test_a_second_sweep_uses_what_is_remembered_and_says_so(bench: Bench) -> None:
    first, second = bench.plan()["range_test"], bench.plan()["range_test"]
    assert len(bench.asked) == 1
    assert second["searched"] == first["searched"]
    assert [test["remembered"] for test in (*first["tests"], *second["tests"])] == [False, True]
    assert range_test_words({"range_test": second})[0].startswith("range test (as found before): the loss")


def with_lr(low: float, high: float) -> SearchSpace:
    arguments = {**SGD.arguments, "lr": Log(low=low, high=high)}
    return replace(SPACE, optimizers=(replace(SGD, arguments=arguments),))


def test_what_is_remembered_of_a_wider_range_serves_a_narrower_one_only(bench: Bench) -> None:
    bench.plan()
    assert bench.plan(with_lr(1e-3, 1.0))["range_test"]["searched"] == {"SGD.lr": [0.0031, 1.0]}
    assert len(bench.asked) == 1
    bench.plan(with_lr(1e-5, 1.0))
    assert len(bench.asked) == 2


@pytest.mark.parametrize(
    "change",
    [
        lambda space: replace(space, task="digits-cnn"),
        lambda space: replace(space, batch_size=Fixed(value=64)),
        lambda space: replace(space, range_test=RangeTest(updates=300)),
        lambda space: replace(space, range_test=RangeTest(seeds=(1,))),
        lambda space: replace(space, range_test=RangeTest(momenta=(0.5,))),
        lambda space: replace(space, optimizers=(replace(SGD, name="RMSprop"),)),
        lambda space: replace(space, task_arguments={"hidden": Fixed(value=8)}),
    ],
)
def test_another_question_is_asked_again(bench: Bench, change: Callable[[SearchSpace], SearchSpace]) -> None:
    bench.plan()
    bench.plan(change(SPACE))
    assert len(bench.asked) == 2


@pytest.mark.parametrize("name", ["torch", "processor", "products", "precision"])
def test_other_libraries_are_another_question(bench: Bench, name: str) -> None:
    bench.plan()
    bench.plan(plan={**PLAN, name: "other"})
    bench.plan(task_file={"a.py": "digest"})
    assert len(bench.asked) == 3


def test_a_damaged_memory_costs_testing_again(bench: Bench) -> None:
    bench.plan()
    (kept,) = bench.folder.iterdir()
    kept.write_text(kept.read_text().replace('"rise"', '"fall"'))
    bench.plan()
    assert len(bench.asked) == 2
    assert bench.said == [f"{kept} cannot be read (it is damaged); rates are measured again"]


def test_the_largest_batch_and_the_middle_of_all_else_are_tried(bench: Bench) -> None:
    arguments = {**SGD.arguments, "weight_decay": Log(low=1e-6, high=1e-2)}
    sizes = Choice(options=(Fixed(value=16), Fixed(value=128), Fixed(value=64)))
    bench.plan(replace(SPACE, optimizers=(replace(SGD, arguments=arguments),), batch_size=sizes))
    (question,) = bench.asked
    assert question.setting.batch_size == 128
    assert question.setting.arguments["weight_decay"] == pytest.approx(1e-4)
    assert question.setting.arguments["nesterov"] is False


@pytest.mark.parametrize(
    ("name", "arguments", "momenta"),
    [
        ("SGD", {}, (None,)),
        ("SGD", {"momentum": Fixed(value=0.9)}, (0.9,)),
        ("SGD", {"momentum": Choice(options=(Fixed(value=0.0), Fixed(value=0.95)))}, (0.0, 0.9, 0.95)),
        ("Adam", {}, (None,)),
        ("Adam", {"betas": Fixed(value=(0.8, 0.999))}, (0.8,)),
        (
            "Adam",
            {"betas": Tuple(items=(LogOneMinus(low=0.5, high=0.95), Fixed(value=0.999)))},
            (0.5, 0.9, 0.95),
        ),
        ("Adagrad", {}, (None,)),
    ],
)
def test_momenta_come_from_the_file(name: str, arguments: dict[str, Any], momenta: tuple[Any, ...]) -> None:
    optimizer = replace(SGD, name=name, arguments={"lr": SGD.arguments["lr"], **arguments})
    (question,) = questions_of(replace(SPACE, optimizers=(optimizer,)), PLAN, torch_catalogue())
    assert question.momenta == momenta


def test_each_optimizer_has_its_test_and_its_range(bench: Bench) -> None:
    adam = OptimizerSpace(name="Adam", label="Adam", arguments={"lr": Log(low=1e-5, high=1.0)})
    plan = bench.plan(replace(SPACE, optimizers=(SGD, adam)))
    assert [question.setting.optimizer for question in bench.asked] == ["SGD", "Adam"]
    assert set(plan["range_test"]["searched"]) == {"SGD.lr", "Adam.lr"}
    words = range_test_words(plan)
    assert [sentence.partition(":")[0] for sentence in words[:2]] == [
        "range test of SGD",
        "range test of Adam",
    ]
    assert words[3].startswith("Adam.lr is searched from ")


def test_an_effective_rate_is_narrowed_as_such_and_told_so(bench: Bench) -> None:
    arguments = {**SGD.arguments, "lr": Effective(low=1e-3, high=100.0)}
    space = replace(SPACE, optimizers=(replace(SGD, arguments=arguments),))
    plan = bench.plan(space)
    (question,) = bench.asked
    assert (question.low, question.high) == pytest.approx((1e-4, 100.0))  # at most six decades
    # 0.2568, 0.848 and 3.14 by momentum; 1.284, 4.24 and 15.7
    assert searched_space(space, plan).optimizers[0].arguments["lr"] == Effective(low=0.025, high=16.0)
    assert range_test_words(plan)[1] == (
        "lr / (1 - momentum) is searched from 0.025 to 16 instead of 0.001 to 100"
    )


def test_a_task_that_fails_is_left_to_its_trials(bench: Bench) -> None:
    bench.error = ValueError("no such\nlayer")
    found = bench.plan()["range_test"]
    assert found["searched"] == {}
    assert found["left"] == ["SGD: the task cannot be trained so: no such layer"]
    assert list(bench.folder.iterdir()) == []


def test_a_loop_of_the_users_own_is_not_tested(bench: Bench) -> None:
    plan = bench.plan(plan={**PLAN, "execution": "loop"})
    assert bench.asked == []
    assert "its own training loop" in range_test_words(plan)[0]
    assert searched_space(SPACE, plan) == SPACE


def test_whoever_interrupts_hears_of_it(bench: Bench) -> None:
    bench.error = Stopped()
    with pytest.raises(Stopped):
        bench.plan()
