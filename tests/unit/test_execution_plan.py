"""The execution plan: stacked where that is possible, solo with a reason, precision as file or task say."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from search_spaces.space import OptimizerSpace
from sweeps.execution_plan import execution_plan, told_of_plan
from tests.unit.test_rehearsal import GOOD

FILE = """\
import torch
from torch import nn
class Task:
    precision = "bf16"
    def model(self):
        return nn.Linear(4, 1)
    def data(self):
        inputs = torch.linspace(-1, 1, 160).view(40, 4)
        return inputs[:32], inputs[:32].sum(1), inputs[32:], inputs[32:].sum(1)
    def loss(self, outputs, targets):
        return ((outputs[:, 0] - targets) ** 2).mean()
class Picky(Task):
    def loss(self, outputs, targets):
        error = ((outputs[:, 0] - targets) ** 2).mean()
        return error if error < 1e9 else error * 0
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "task.py"
    path.write_text(FILE)
    return path


def test_the_main_job_is_stacked_in_full_precision() -> None:
    plan = execution_plan(GOOD)
    assert (plan["execution"], plan["precision"], plan["device"]) == ("stacked", "float32", "cpu")
    assert told_of_plan(plan) == ()


def test_an_optimizer_without_a_rule_trains_solo_and_says_so() -> None:
    rprop = OptimizerSpace(name="Rprop", label="Rprop", arguments={})
    plan = execution_plan(replace(GOOD, optimizers=(rprop,)))
    assert plan["execution"] == "solo"
    (sentence,) = told_of_plan(plan)
    assert "Rprop trains solo only" in sentence
    assert "why_solo" not in execution_plan(replace(GOOD, optimizers=(rprop,), execution="solo"))


def test_a_model_that_cannot_be_stacked_trains_solo_and_says_why(file: Path) -> None:
    plan = execution_plan(replace(GOOD, task=f"{file}:Picky"))
    assert plan["execution"] == "solo"
    assert "looks at the values" in told_of_plan(plan)[0]
    assert execution_plan(replace(GOOD, task=f"{file}:Task"))["execution"] == "stacked"


def test_precision_is_the_files_else_the_tasks(file: Path) -> None:
    own = replace(GOOD, task=f"{file}:Task")
    assert execution_plan(own)["precision"] == "bf16"
    assert execution_plan(replace(own, precision="float32"))["precision"] == "float32"
    tf32 = execution_plan(replace(GOOD, precision="tf32", device="cpu"))
    assert "float32" in told_of_plan(tf32)[0]


def test_a_task_that_fails_alone_too_is_left_to_training(file: Path) -> None:
    """There its trial fails and is told; the plan neither fails nor ends the process."""
    for number, raised in enumerate(("ValueError('late')", "SystemExit(0)")):
        name = f"Late{number}"
        text = (
            f"class {name}(Task):\n    asked = 0\n    def loss(self, outputs, targets):\n"
            f"        {name}.asked += 1\n        if {name}.asked > 1:\n            raise {raised}\n"
            "        return super().loss(outputs, targets)\n"
        )
        other = file.with_name(f"late{number}.py")
        other.write_text(FILE + text)
        assert execution_plan(replace(GOOD, task=f"{other}:{name}"))["execution"] == "stacked"
