"""``start`` in a sweep file: what a point may say, what is refused, and when PyTorch's defaults come first."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from search_spaces.catalogue import Argument, Kind
from search_spaces.errors import SpaceErrors
from search_spaces.files import Overrides, load_space
from search_spaces.starts import StartPoint
from search_spaces.writing import write_space
from sweeps.proposals import Proposals
from tests.unit.catalogue_for_tests import CATALOGUE

HEAD = """\
task: digits-mlp
metric: {name: val_loss, goal: minimize}
epochs: 20
trials: 64
batch_size: [32, 64]
optimizer:
  - SGD: {lr: {log: [1e-4, 1.0]}, momentum: {log1m: [0.0, 0.99]}, weight_decay: 0.0005}
  - Adam: {lr: {log: [1e-5, 1e-2]}, betas: {tuple: [0.9, {log1m: [0.9, 0.999]}]}}
schedule:
  - ConstantLR: {factor: 1.0}
  - StepLR: {step_size: {int: [3, 15]}, gamma: {uniform: [0.05, 0.9]}}
  - ExponentialLR: {gamma: {uniform: [0.5, 0.99]}}
  - OneCycleLR: {max_lr: {log: [0.01, 2.0]}}
  - SequentialLR:
      schedulers: [{ConstantLR: {factor: 1.0}}, {CosineAnnealingLR: {T_max: {int: [5, 10]}}}]
      milestones: {value: [5]}
"""
WIDTH = Argument(name="width", kinds=(Kind.integer,))
FIRST = len(HEAD.splitlines()) + 1  # line of what follows
ONE = """\
task: digits-mlp
metric: {name: val_loss, goal: minimize}
epochs: 20
"""


def points(text: str, head: str = HEAD, **overrides: int) -> tuple[StartPoint, ...]:
    loaded = load_space(
        head + text, source="s", stem="s", catalogue=CATALOGUE, overrides=Overrides(**overrides)
    )
    return loaded.space.start


def told(text: str, head: str = HEAD, **overrides: int) -> list[str]:
    return [point.told for point in points(text, head, **overrides)]


def problems(text: str, head: str = HEAD, **overrides: int) -> list[str]:
    with pytest.raises(SpaceErrors) as caught:
        points(text, head, **overrides)
    return [str(problem) for problem in caught.value.problems]


def own(text: str, head: str = HEAD) -> dict[str, Any]:
    """Values of the file's first point."""
    found = points(text, head)
    assert found[0].origin == f"line {len(head.splitlines()) + 1}"
    return dict(found[0].values) | dict(found[0].among)


@pytest.mark.parametrize(
    ("point", "values"),
    [
        (
            "{lr: 0.1, momentum: 0.9, optimizer: SGD, schedule: StepLR, schedule.gamma: 0.1, batch_size: 64}",
            {
                "optimizer": 0,
                "SGD.lr": 0.1,
                "SGD.momentum": 0.9,
                "schedule": 1,
                "StepLR.gamma": 0.1,
                "batch_size": 1,
            },
        ),
        (
            "{optimizer: {SGD: {lr: 0.1}}, schedule: {StepLR: {gamma: 0.1}}}",
            {"optimizer": 0, "SGD.lr": 0.1, "schedule": 1, "StepLR.gamma": 0.1},
        ),
        (
            "{betas: [0.9, 0.99], schedule.step_size: 4}",
            {"optimizer": 1, "Adam.betas.1": 0.99, "schedule": 1},
        ),
        (
            "{betas: [null, 0.99], schedule: OneCycleLR}",
            {"optimizer": 1, "Adam.betas.1": 0.99, "schedule": 3},
        ),
        ("{lr: 1, optimizer: SGD, weight_decay: 5e-4}", {"optimizer": 0, "SGD.lr": 1.0}),
        (
            "{schedule: {SequentialLR: {schedulers: [ConstantLR, {CosineAnnealingLR: {T_max: 7}}], milestones: [5]}}}",
            {"schedule": 4, "SequentialLR.1.CosineAnnealingLR.T_max": 7},
        ),
    ],
)
def test_a_point_says_where_each_value_stands(point: str, values: dict[str, Any]) -> None:
    found = own(f"start: [{point}]\n")
    assert values.items() <= found.items()
    assert not any(name not in values for name in found if name not in ("schedule", "StepLR.step_size"))


def test_a_number_that_a_schedule_may_set_keeps_an_open_schedule_from_doing_so() -> None:
    assert own("start: [{momentum: 0.9}]")["schedule"] == (0, 1, 2, 4)
    assert "schedule" not in own("start: [{batch_size: 64}]")


@pytest.mark.parametrize(
    ("point", "said"),
    [
        ("{lr: 0.1}", "start[0].lr: got lr, which may be that of SGD or Adam; wants optimizer: SGD or"),
        ("{lr: 5, optimizer: SGD}", "start[0].lr: got 5; wants a number from 0.0001 to 1.0"),
        ("{momentun: 0.9}", "unknown setting 'momentun'; wants one of lr, momentum"),
        ("{momentun: 0.9}", "did you mean 'momentum'?"),
        ("{weight_decay: 0.1}", "start[0].weight_decay: got 0.1; wants 0.0005, as the file fixes it"),
        ("{batch_size: 48}", "start[0].batch_size: got 48; wants one of 32, 64"),
        ("{clip_grad_norm: 1.0}", "start[0].clip_grad_norm: got 1.0; wants null, as the file fixes it"),
        ("{momentum: 0.9, betas: [0.9, 0.99]}", "got betas of Adam beside momentum of SGD"),
        ("{schedule.gamma: 0.6}", "schedule.gamma, which may be that of StepLR or ExponentialLR"),
        ("{schedule.gama: 0.6}", "unknown setting 'schedule.gama'"),
        ("{schedule: OneCycleLR, momentum: 0.9}", "got 0.9, but OneCycleLR sets momentum itself"),
        ("{schedule.step_size: 3.5}", "got 3.5; wants a whole number from 3 to 15"),
        ("{schedule.step_size: true}", "got true; wants a whole number from 3 to 15"),
        ("{momentum: {uniform: [0, 1]}}", "got the mapping {uniform}; wants a number from 0.0 to 0.99"),
        ("{momentum: .nan}", "got .nan; wants a finite number"),
        ("{}", "start[0]: got the mapping {}; wants a point"),
        ("3", "start[0]: got 3; wants a point"),
        ("{schedule: {gamma: 3}}", "start[0].schedule: got the mapping {gamma}; wants the name of one"),
        ("{optimizer: Adm}", "start[0].optimizer: got 'Adm'; wants one of SGD, Adam; did you mean 'Adam'?"),
        ("{schedule: {SequentialLR: {schedulers: [ConstantLR]}}}", "wants a list of 2: ConstantLR, Cosine"),
        ("{schedule: {SequentialLR: {schedulers: [ConstantLR, StepLR]}}}", "wants CosineAnnealingLR, as in"),
        ("{task.width: 3}", "unknown setting 'task.width'"),
        ("{lr: 0.1, optimizer: {SGD: {lr: 0.2}}}", "got 0.2 beside start[0].lr on line 17"),
    ],
)
def test_what_is_wrong_with_a_point_is_told(point: str, said: str) -> None:
    (problem,) = problems(f"start: [{point}]\n")
    assert problem.startswith(f"line {FIRST}: start[0]")
    assert said in problem


def test_all_at_once_with_the_rest_of_the_file() -> None:
    text = "seeds: 3\nstart:\n  - {momentum: 2}\n  - {optimizer: SGD, lr: 3, batch_size: 5}\n  - {momentum: 0.9}\n  - {momentum: 0.9}\n"
    found = problems(text)
    assert [problem.split(":")[0] for problem in found] == [
        f"line {FIRST + offset}" for offset in (0, 2, 3, 3, 5)
    ]
    assert "got {momentum: 0.9}, the same as start[2] on line 21; wants each point once" in found[-1]


def test_a_name_whose_range_is_wrong_is_told_once() -> None:
    head = HEAD.replace("log1m: [0.0, 0.99]", "log1m: [0.0, 1.5]")
    assert len(problems("start: [{momentum: 0.9, lr: 0.1, optimizer: SGD}]", head)) == 1
    assert len(problems("start: [{momentum: 0.9}]", HEAD.replace("- SGD", "- SDG"))) == 1


def test_one_class_listed_twice_is_told_apart_by_what_fits_or_by_number() -> None:
    head = ONE + "trials: 4\noptimizer: [{SGD: {lr: {log: [1e-3, 1]}}}, {SGD: {lr: {log: [1e-2, 10]}}}]\n"
    assert own("start: [{lr: 5.0}]", head) == {"optimizer": 1, "SGD#2.lr": 5.0}
    assert own("start: [{lr: 0.002, optimizer: SGD}]", head) == {"optimizer": 0, "SGD.lr": 0.002}
    assert own("start: [{lr: 0.1, optimizer: SGD#1}]", head) == {"optimizer": 0, "SGD.lr": 0.1}
    assert own("start: [{lr: 0.1, optimizer: SGD#2}]", head) == {"optimizer": 1, "SGD#2.lr": 0.1}
    assert "optimizer: SGD#1 or optimizer: SGD#2" in problems("start: [{lr: 0.1, optimizer: SGD}]", head)[0]


def test_more_points_than_settings() -> None:
    text = "start: [{batch_size: 32}, {batch_size: 64}, {optimizer: SGD}]\n"
    assert problems(text, trials=2) == [
        f"line {FIRST}: start: got 3 points; wants at most the 2 settings of trials"
    ]
    assert told(text, trials=3) == ["{batch_size: 32}", "{batch_size: 64}", "{optimizer: SGD}"]
    assert "wants a list of points" in problems("start: {lr: 0.1}")[0]


BRANCHED = (
    ONE + "optimizer: {SGD: {lr: {log: [1e-4, 1.0]}}}\nbranches: [{StepLR: {step_size: 3}}, ConstantLR]\n"
)


def test_with_branches_a_point_is_a_proposal() -> None:
    head = BRANCHED + "trials: 4\n"
    assert own("start: [{lr: 0.1}, {lr: 0.2}]", head) == {"SGD.lr": 0.1}
    assert (
        "at most the 2 proposals that 4 trials"
        in problems("start: [{lr: 0.1}, {lr: 0.2}, {lr: 0.3}]", head)[0]
    )
    assert "tried with every branch" in problems("start: [{lr: 0.1, schedule: StepLR}]", head)[0]
    assert told("", BRANCHED + "trials: 9\n") == ["{lr: 0.001}"]
    assert told("", BRANCHED + "trials: 8\n") == []


BOTH = ["{lr: 0.001}", "{lr: 0.1, momentum: 0.9}"]


@pytest.mark.parametrize(
    ("sampler", "trials", "found"),
    [
        ("tpe", 64, BOTH),
        ("gp", 10, BOTH),
        ("tpe", 9, BOTH[:1]),
        ("tpe", 4, []),
        ("random", 64, []),
        ("qmc", 64, []),
    ],
)
def test_defaults_come_first_where_a_sampler_learns_and_there_is_room(
    sampler: str, trials: int, found: list[str]
) -> None:
    assert told(f"sampler: {sampler}\n", trials=trials) == found
    assert told(f"sampler: {sampler}\nstart: []\n", trials=trials) == []


def sgd(arguments: str, more: str = "") -> str:
    return ONE + f"trials: 64\noptimizer: {{SGD: {{{arguments}}}}}\n{more}"


@pytest.mark.parametrize(
    ("head", "found"),
    [
        (sgd("lr: 0.1, momentum: {log1m: [0, 0.9]}"), []),
        (sgd("momentum: {log1m: [0, 0.9]}"), []),
        (sgd("lr: {log: [0.01, 1]}, momentum: {log1m: [0, 0.9]}"), ["{lr: 0.1, momentum: 0.9}"]),
        (sgd("lr: {log: [0.01, 1]}, momentum: {log1m: [0, 0.8]}"), ["{lr: 0.1}"]),
        (sgd("lr: {log: [1e-3, 0.1]}"), ["{lr: 0.001}", "{lr: 0.1}"]),
        (sgd("lr: [1e-3, 1e-2]"), ["{lr: 0.001}"]),
        (sgd("lr: {log: [1e-3, 1]}", "schedule: {OneCycleLR: {max_lr: 0.1}}"), []),
        (sgd("lr: {log: [1e-3, 1]}", "start: [{lr: 1e-3}]"), ["{lr: 0.001}", "{lr: 0.1}"]),
        (
            sgd("lr: {log: [1e-3, 1]}, momentum: [0, 0.9]", "start: [{lr: 0.1, momentum: 0.9}]"),
            ["{lr: 0.1, momentum: 0.9}", "{lr: 0.001}"],
        ),
        (
            sgd("lr: {log: [1e-3, 1]}, momentum: [0, 0.9]", "start: [{lr: 0.1, momentum: 0}]"),
            ["{lr: 0.1, momentum: 0}", "{lr: 0.001}", "{lr: 0.1, momentum: 0.9}"],
        ),
        (
            sgd("lr: {effective: [1e-3, 2]}, momentum: {log1m: [0, 0.9]}"),
            ["{lr: 0.001, momentum: 0.0}", "{lr: 0.1, momentum: 0.9}"],
        ),
        (sgd("lr: {effective: [1e-3, 2]}, momentum: {log1m: [0.5, 0.95]}"), ["{lr: 0.1, momentum: 0.9}"]),
        (sgd("lr: {effective: [1e-3, 0.5]}, momentum: {log1m: [0, 0.9]}"), ["{lr: 0.001, momentum: 0.0}"]),
        (sgd("lr: {effective: [1e-3, 2]}"), ["{lr: 0.001}", "{lr: 0.1}"]),
    ],
)
def test_defaults_stay_within_the_files_ranges(head: str, found: list[str]) -> None:
    assert told("", head) == found


def test_of_several_optimizers_the_one_with_momentum_gets_the_usual_first_try() -> None:
    first, second = points("")
    assert first.values == {"SGD.lr": 1e-3, "Adam.lr": 1e-3}
    assert second.values == {"optimizer": 0, "SGD.lr": 0.1, "SGD.momentum": 0.9}
    assert first.among == second.among == {"schedule": (0, 1, 2, 4)}


def test_a_point_on_the_grid_is_the_grids_own() -> None:
    head = (
        ONE
        + "trials: 9\noptimizer: {SGD: {lr: {log: [1e-3, 1.0], points: 4}, momentum: {log1m: [0, 0.9], points: 3}}}\n"
        "sampler: grid\n"
    )
    found = own("start: [{lr: 0.1, momentum: 0.3}]", head)
    assert found["SGD.lr"] == pytest.approx(0.1, abs=1e-12)
    assert found["SGD.lr"] != 0.1, "the grid's 0.1 is another float; then the point would be trained twice"
    assert found["SGD.momentum"] == 0.3


@pytest.mark.parametrize(("lr", "momentum"), [(0.1, 0.9), (0.03, 0.3), (0.007, 0.99), (0.013, 0.77)])
def test_beside_an_effective_rate_a_learning_rate_is_the_points_own(lr: float, momentum: float) -> None:
    """Found again through lr / (1 - momentum), which rounds."""
    head = sgd("lr: {effective: [1e-3, 2]}, momentum: {log1m: [0, 0.99]}")
    loaded = load_space(
        f"{head}start: [{{lr: {lr}, momentum: {momentum}}}]", source="s", stem="s", catalogue=CATALOGUE
    )
    setting = Proposals(loaded.space).ask(1)[0].setting
    assert (setting.arguments["lr"], setting.arguments["momentum"]) == (lr, momentum)
    (alone,) = problems("start: [{lr: 0.1}]", head)
    assert "got 0.1 alone; wants momentum beside it" in alone


@pytest.mark.parametrize(
    "text", ["", "start: []\n", "start: [{momentum: 0.9, task.width: 8}, {batch_size: 64}]\n"]
)
def test_a_space_with_start_points_is_written_and_read_back(text: str) -> None:
    head = HEAD.replace("batch_size", "task_args: {width: [8, 16]}\nbatch_size", 1)
    head = head.replace("digits-mlp", "widths")
    tasks = {
        **CATALOGUE.tasks,
        "widths": replace(CATALOGUE.tasks["digits-mlp"], name="widths", arguments={"width": WIDTH}),
    }
    catalogue = replace(CATALOGUE, tasks=tasks)
    space = load_space(head + text, source="s", stem="s", catalogue=catalogue).space
    written = write_space(space, catalogue)
    assert load_space(written, source="s", stem="s", catalogue=catalogue).space == space
    assert ("start:" in written) == bool(text)
