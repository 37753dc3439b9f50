"""Drawing settings: what is asked and when, what schedules suppress, grids, and settings as JSON."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from itertools import groupby

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search_spaces.files import load_space
from search_spaces.grid import grid_settings, settings_at_most
from search_spaces.ranges import Choice, Numeric, Value
from search_spaces.settings import Schedule, Setting
from search_spaces.space import SearchSpace, dimensions
from tests.unit.catalogue_for_tests import CATALOGUE

HEAD = """\
task: digits-mlp
metric: {name: val_loss, goal: minimize}
epochs: 20
trials: 64
"""


def space(text: str) -> SearchSpace:
    return load_space(HEAD + text, source="s.yaml", stem="s", catalogue=CATALOGUE).space


def settings_of(grid: SearchSpace) -> list[Setting]:
    return [point.setting for point in grid_settings(grid)]


class Asked:
    """Answers with prepared values, else the middle of a range, and remembers what it was asked."""

    def __init__(self, **answers: Value) -> None:
        self.answers = {name.replace("__", "."): value for name, value in answers.items()}
        self.names: list[str] = []

    def __call__(self, name: str, range_: Numeric | Choice) -> Value:
        self.names.append(name)
        return self.answers.get(name, range_.at(0.5))


MIXED = """\
optimizer:
  - SGD: {lr: {log: [1e-4, 1]}, momentum: {log1m: [0, 0.99]}, weight_decay: 0.0005}
  - Adam: {lr: {log: [1e-5, 1e-2]}, betas: {tuple: [{log1m: [0.8, 0.95]}, 0.999]}}
schedule:
  - constant
  - StepLR: {step_size: {int: [3, 15]}, gamma: [0.1, {uniform: [0.3, 0.9]}]}
  - OneCycleLR: {max_lr: {log: [0.01, 2]}}
"""


GROUPS = """\
optimizer: {SGD: {lr: 0.1, momentum: 0.9, bias_lr: [same, {log: [0.01, 1]}]}}
clip_grad_norm: [null, {uniform: [0.5, 2]}]
schedule: [constant, OneCycleLR: {max_lr: 1.0}]
"""


@pytest.mark.parametrize(
    ("answers", "names"),
    [
        ({"optimizer": 0, "schedule": 0}, ["optimizer", "schedule", "SGD.lr", "SGD.momentum"]),
        ({"optimizer": 1, "schedule": 0}, ["optimizer", "schedule", "Adam.lr", "Adam.betas.0"]),
        (
            {"optimizer": 0, "schedule": 1, "StepLR__gamma": 0},
            ["optimizer", "schedule", "StepLR.step_size", "StepLR.gamma", "SGD.lr", "SGD.momentum"],
        ),
        (
            {"optimizer": 0, "schedule": 1, "StepLR__gamma": 1},
            [
                "optimizer",
                "schedule",
                "StepLR.step_size",
                "StepLR.gamma",
                "StepLR.gamma[1]",
                "SGD.lr",
                "SGD.momentum",
            ],
        ),
        ({"optimizer": 0, "schedule": 2}, ["optimizer", "schedule", "OneCycleLR.max_lr"]),
    ],
)
def test_only_what_a_choice_brings_is_asked(answers: dict[str, Value], names: list[str]) -> None:
    asked = Asked(**answers)
    found = space(MIXED)
    found.draw(asked)
    assert asked.names == names
    assert set(names) <= set(dimensions(found))


def test_a_drawn_setting_has_everything() -> None:
    setting = space(MIXED + "batch_size: [16, 64]\nwarmup: {epochs: 1}").draw(
        Asked(optimizer=1, schedule=1, StepLR__gamma=0, Adam__lr=0.003, Adam__betas__0=0.9, batch_size=1)
    )
    assert setting == Setting(
        optimizer="Adam",
        arguments={"lr": 0.003, "betas": (0.9, 0.999)},
        schedule=Schedule(name="StepLR", arguments={"step_size": 9, "gamma": 0.1}),
        warmup_epochs=1,
        batch_size=64,
    )


SUPPRESSING = "optimizer: {SGD: {lr: {log: [1e-4, 1]}, momentum: 0.9, nesterov: true}}\nschedule: "


@pytest.mark.parametrize(
    ("schedule", "kept"),
    [
        ("constant", {"lr", "momentum", "nesterov"}),
        ("{OneCycleLR: {max_lr: 1}}", {"nesterov"}),
        ("{OneCycleLR: {max_lr: 1, cycle_momentum: false}}", {"momentum", "nesterov"}),
        ("{CyclicLR: {base_lr: 0.1, max_lr: 1}}", {"nesterov"}),
        ("{CyclicLR: {base_lr: 0.1, max_lr: 1, cycle_momentum: false}}", {"momentum", "nesterov"}),
        ("{ChainedScheduler: {schedulers: [{OneCycleLR: {max_lr: 1}}]}}", {"nesterov"}),
        (
            "{SequentialLR: {milestones: {value: [3]}, schedulers: [{ConstantLR: {factor: [0.5, 1]}}, "
            "{CyclicLR: {base_lr: 0.1, max_lr: 1, cycle_momentum: false}}]}}",
            {"momentum", "nesterov"},
        ),
    ],
)
def test_what_a_schedule_sets_itself_is_absent(schedule: str, kept: set[str]) -> None:
    setting = space(SUPPRESSING + schedule).draw(Asked())
    assert set(setting.arguments) == kept
    assert setting.arguments["nesterov"] is True


def test_a_drawn_switch_decides_whether_momentum_is_suppressed() -> None:
    found = space(SUPPRESSING + "{CyclicLR: {base_lr: 0.1, max_lr: 1, cycle_momentum: [false, true]}}")
    assert "momentum" in found.draw(Asked(CyclicLR__cycle_momentum=0)).arguments
    assert "momentum" not in found.draw(Asked(CyclicLR__cycle_momentum=1)).arguments


@pytest.mark.parametrize(("momentum", "nesterov"), [(0.0, False), (0.5, True)])
def test_a_drawn_momentum_of_zero_turns_nesterov_off(momentum: float, nesterov: bool) -> None:
    found = space("optimizer: {SGD: {momentum: {uniform: [0, 0.9]}, nesterov: true}}")
    assert found.draw(Asked(SGD__momentum=momentum)).arguments["nesterov"] is nesterov


def test_nesterov_needs_the_schedule_that_brings_the_momentum() -> None:
    found = space("optimizer: {SGD: {nesterov: true}}\nschedule: [constant, {OneCycleLR: {max_lr: 1}}]")
    assert found.draw(Asked(schedule=0)).arguments["nesterov"] is False
    assert found.draw(Asked(schedule=1)).arguments["nesterov"] is True


def test_an_optimizer_with_momentum_by_default_keeps_nesterov() -> None:
    assert space("optimizer: {Muon: {nesterov: true}}").draw(Asked()).arguments == {"nesterov": True}


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("optimizer: SGD", 1),
        ("optimizer: {SGD: {lr: {log: [1e-3, 1], points: 4}}}", 4),
        ("optimizer: {SGD: {lr: {log: [1e-3, 1], points: 4}, momentum: [0.5, 0.9]}}", 8),
        ("optimizer: {SGD: {lr: [0.1, {log: [0.2, 1], points: 3}]}}", 4),
        ("optimizer: {SGD: {lr: {int: [1, 3], points: 9}}}", 3),
        ("optimizer: [{SGD: {lr: [0.1, 0.2]}}, {Adam: {lr: [0.1, 0.2, 0.3]}}]", 5),
        ("optimizer: {SGD: {lr: [0.1, 0.2]}}\nbatch_size: [8, 16, 32]", 6),
        (
            "optimizer: {SGD: {lr: {log: [1e-3, 1], points: 4}, weight_decay: [0, 1e-4]}}\n"
            "schedule: [constant, {StepLR: {step_size: [3, 5]}}, {OneCycleLR: {max_lr: [1, 2, 3]}}]",
            8 + 2 * 8 + 3 * 2,
        ),
        ("optimizer: {Adam: {betas: {tuple: [[0.8, 0.9], {log1m: [0.9, 0.999], points: 3}]}}}", 6),
    ],
)
def test_a_grid_has_every_point_once(text: str, count: int) -> None:
    grid = space(text + "\nsampler: grid")
    points = list(grid_settings(grid))
    assert settings_at_most(grid) == count
    assert settings_at_most(replace(grid, trials=count - 1)) == count - 1
    assert len(points) == count
    assert len({json.dumps(point.values) for point in points}) == count
    assert len({json.dumps(point.setting.to_json(), sort_keys=True) for point in points}) == count


def test_in_a_grid_later_names_vary_fastest() -> None:
    found = space("optimizer: {SGD: {lr: [0.1, 0.2], momentum: [0.5, 0.9]}}\nsampler: grid")
    settings = [setting.arguments for setting in settings_of(found)]
    assert [(each["lr"], each["momentum"]) for each in settings] == [
        (0.1, 0.5),
        (0.1, 0.9),
        (0.2, 0.5),
        (0.2, 0.9),
    ]


def test_columns_are_in_the_files_order() -> None:
    assert space(MIXED + "batch_size: [16, 64]").columns() == (
        "lr",
        "momentum",
        "weight_decay",
        "betas",
        "schedule.step_size",
        "schedule.gamma",
        "schedule.max_lr",
        "batch_size",
    )


NESTED = """\
optimizer: {Adam: {lr: {log: [1e-4, 1]}, betas: {tuple: [[0.8, 0.9], 0.999]}, foreach: null}}
schedule:
  SequentialLR:
    every: step
    milestones: {value: [5]}
    schedulers:
      - ConstantLR: {factor: {uniform: [0.1, 1]}}
      - ChainedScheduler: {schedulers: [{StepLR: {step_size: 3}}, {MultiStepLR: {milestones: {value: [8]}}}]}
warmup: {epochs: 2}
"""


@pytest.mark.parametrize(
    "text",
    [
        MIXED,
        GROUPS,
        NESTED,
        NESTED.replace("    every: step\n", ""),
        "optimizer: SGD\nschedule: {ReduceLROnPlateau: {watch: val_accuracy, mode: max}}",
        "optimizer: SGD\nschedule: {CosineAnnealingWarmRestarts: {T_0: 3, every: fraction}}",
    ],
)
@pytest.mark.parametrize("seed", range(5))
def test_a_setting_survives_json(text: str, seed: int) -> None:
    numbers = random.Random(seed)
    setting = space(text).draw(lambda name, range_: range_.at(numbers.random()))
    again = Setting.from_json(json.loads(json.dumps(setting.to_json())))
    assert again == setting


@given(
    lr=st.floats(allow_nan=False, allow_infinity=False),
    milestones=st.lists(st.integers(0, 100)),
    every=st.sampled_from(["epoch", "step"]),
)
def test_json_keeps_every_number_exactly(lr: float, milestones: list[int], every: str) -> None:
    part = Schedule(name="MultiStepLR", arguments={"milestones": tuple(milestones)}, every=every)
    setting = Setting(
        optimizer="SGD",
        arguments={"lr": lr},
        schedule=Schedule(name="ChainedScheduler", arguments={"schedulers": (part,)}, every=every),
        task_arguments={"condition": lr, "layers": tuple(milestones)},
    )
    assert Setting.from_json(json.loads(json.dumps(setting.to_json()))) == setting


def test_a_schedules_own_name_does_not_collide_with_its_columns() -> None:
    setting = space(NESTED).draw(Asked())
    flat = setting.to_json()
    assert flat["schedule"] == "SequentialLR"
    assert flat["schedule.every"] == "step"
    assert flat["schedule.schedulers"][1] == {
        "ChainedScheduler": {
            "schedulers": [{"StepLR": {"step_size": 3}}, {"MultiStepLR": {"milestones": [8]}}]
        }
    }
    assert Setting.from_json(flat | {"batch_size": 64}) == replace(setting, batch_size=64)


def test_biases_and_norms_as_a_group_of_their_own() -> None:
    drawn = space(GROUPS).draw(Asked(schedule=0, SGD__bias_lr=1))
    assert (drawn.two_groups, drawn.bias_lr) == (True, pytest.approx(0.1))
    assert "bias_lr" not in drawn.arguments
    same = space(GROUPS).draw(Asked(schedule=0, SGD__bias_lr=0))
    assert (same.two_groups, same.bias_lr) == (True, None)


def test_a_schedule_that_sets_the_rate_suppresses_both_groups_rates() -> None:
    asked = Asked(schedule=1)
    drawn = space(GROUPS).draw(asked)
    assert (drawn.two_groups, drawn.bias_lr) == (True, None)
    assert not [name for name in asked.names if "bias_lr" in name]


def test_clipping_is_a_range_like_any_other() -> None:
    assert space(GROUPS).draw(Asked(clip_grad_norm=0)).clip_grad_norm is None
    assert space(GROUPS).draw(Asked(clip_grad_norm=1)).clip_grad_norm == pytest.approx(1.25)
    assert space("optimizer: SGD").draw(Asked()).clip_grad_norm is None
    assert {"bias_lr", "clip_grad_norm"} <= set(space(GROUPS).columns())
    assert {"clip_grad_norm", "clip_grad_norm[1]", "SGD.bias_lr"} <= set(dimensions(space(GROUPS)))


BETAS = """\
optimizer: {Adam: {betas: {tuple: [{log1m: [0.8, 0.95]}, {log1m: [0.9, 0.999]}]}}}
schedule: [constant, OneCycleLR: {max_lr: 1.0}, OneCycleLR: {max_lr: 1.0, cycle_momentum: false}]
"""


def test_the_first_beta_is_momentum_and_suppressed_where_the_schedule_sets_it() -> None:
    for schedule, sampled in ((0, True), (1, False), (2, True)):
        asked = Asked(schedule=schedule)
        first, second = space(BETAS).draw(asked).arguments["betas"]
        assert ("Adam.betas.0" in asked.names) is sampled
        assert (first is not None) is sampled
        assert "Adam.betas.1" in asked.names
        assert second == pytest.approx(0.99)


def test_a_choice_of_betas_that_differ_in_the_first_only_is_no_choice_any_more() -> None:
    text = BETAS.replace(
        "{tuple: [{log1m: [0.8, 0.95]}, {log1m: [0.9, 0.999]}]}", "[[0.9, 0.99], [0.8, 0.99]]"
    )
    asked = Asked(schedule=1)
    assert space(text).draw(asked).arguments["betas"] == (None, 0.99)
    assert asked.names == ["schedule"]


def test_grid_points_that_differ_in_their_schedule_only_come_side_by_side() -> None:
    text = (
        "optimizer: {SGD: {lr: [0.1, 0.2], momentum: [0.5, 0.9]}}\nsampler: grid\n"
        "schedule: [constant, {StepLR: {step_size: [3, 5]}}, {OneCycleLR: {max_lr: [1, 2]}}]"
    )
    points = list(grid_settings(space(text)))
    runs = [len(list(group)) for _, group in groupby(points, key=lambda point: point.setting.beginning)]
    assert runs == [3, 2, 3, 3, 3]  # OneCycleLR sets lr and momentum itself, and so is there once
    assert [point.family for point in points] == [0] * 5 + [1] * 3 + [2] * 3 + [3] * 3


def test_a_grid_of_nested_choices_has_every_point_once() -> None:
    text = (
        "optimizer: {SGD: {lr: [0.1, {log: [0.2, 1], points: 3}], momentum: [0, 0.9]}}\nsampler: grid\n"
        "schedule: [constant, {CyclicLR: {base_lr: 0.1, max_lr: 1, cycle_momentum: [true, false]}}]"
    )
    settings = [json.dumps(setting.to_json()) for setting in settings_of(space(text))]
    assert len(settings) == len(set(settings)) == 4 * 2 + 2 + 1


@pytest.mark.parametrize("schedules", ["schedule: ", "branches: [constant, "])
def test_ranges_in_a_choice_of_betas_keep_their_names_where_a_schedule_cycles_momentum(
    schedules: str,
) -> None:
    betas = ", ".join(f"{{tuple: [{first}, {{log1m: [0.9, 0.999]}}]}}" for first in (0.9, 0.8))
    cycle = schedules + "{OneCycleLR: {max_lr: 0.1}}" + ("]" if "[" in schedules else "")
    found = space(f"optimizer: {{Adam: {{lr: 0.1, betas: [{betas}]}}}}\n{cycle}")
    names: set[str] = set()

    def choose(name: str, range_: Numeric | Choice) -> Value:
        names.add(name)
        return len(found.schedules) - 1 if name == "schedule" else range_.at(0.5)

    assert found.draw(choose).arguments["betas"][0] is None
    assert names <= dimensions(found).keys()
