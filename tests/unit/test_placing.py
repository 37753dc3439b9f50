"""Where a setting lies in a space that it was not drawn from, and what keeps it out."""

from __future__ import annotations

import random
from typing import Any

import pytest

from search_spaces.files import load_space
from search_spaces.placing import Placement, place
from search_spaces.ranges import Choice, Numeric, Value
from search_spaces.settings import Setting
from search_spaces.space import SearchSpace
from tests.unit.catalogue_for_tests import CATALOGUE

HEAD = "task: quadratic\nmetric: {name: val_loss, goal: minimize}\nepochs: 20\ntrials: 64\n"
WIDE = """\
optimizer:
  - SGD: {lr: {log: [1e-4, 1.0]}, momentum: {log1m: [0.0, 0.99]}, nesterov: [false, true]}
  - SGD: {lr: {effective: [1e-3, 10.0]}, momentum: [0.0, {uniform: [0.5, 0.9]}], weight_decay: 0.01}
  - AdamW: {lr: {log: [1e-5, 1e-2]}, betas: {tuple: [{log1m: [0.8, 0.99]}, 0.999]}, bias_lr: [same, 0.01]}
schedule:
  - constant
  - StepLR: {step_size: {int: [3, 15]}, gamma: {uniform: [0.05, 0.9]}}
  - MultiStepLR: {milestones: [[4, 8], [10]], gamma: 0.1}
  - OneCycleLR: {max_lr: {log: [0.01, 2.0]}}
  - SequentialLR:
      schedulers:
        - ConstantLR: {factor: {uniform: [0.1, 1.0]}}
        - ExponentialLR: {gamma: {uniform: [0.5, 1.0]}}
      milestones: {value: [5]}
  - ReduceLROnPlateau: {factor: 0.1, patience: {int: [1, 5]}}
batch_size: [16, 32]
clip_grad_norm: [null, {log: [0.1, 10]}]
task_args: {condition: {log: [10, 1000]}}
warmup: {epochs: 1}
"""


def space(text: str) -> SearchSpace:
    return load_space(HEAD + text, source="s.yaml", stem="s", catalogue=CATALOGUE).space


def drawn(space_: SearchSpace, seed: int) -> Setting:
    chance = random.Random(seed)
    return space_.draw(lambda _, range_: range_.at(chance.random()))


def placed(text: str, other: str, **values: Any) -> Placement:
    """Where a setting of the space ``text`` with these values lies in ``other``."""

    def choose(name: str, range_: Numeric | Choice) -> Value:
        return values.get(name.rpartition(".")[2] if name not in values else name, range_.at(0.5))

    return place(space(other), space(text).draw(choose), CATALOGUE)


@pytest.mark.parametrize("seed", range(60))
def test_a_setting_of_the_space_itself_is_found_and_drawn_again(seed: int) -> None:
    wide = space(WIDE)
    setting = drawn(wide, seed)
    found = place(wide, setting, CATALOGUE)
    assert found.fits, found.outside
    again = wide.draw(lambda name, _: found.values[name]).to_json()
    stored = setting.to_json()
    assert again.keys() == stored.keys()
    for name, value in stored.items():
        assert again[name] == (pytest.approx(value, rel=1e-12) if isinstance(value, float) else value)
    reread = place(wide, Setting.from_json(setting.to_json()), CATALOGUE)
    assert reread.values == found.values


SGD = "optimizer: {SGD: {lr: {log: [1e-4, 1.0]}}}\n"


@pytest.mark.parametrize(
    ("old", "new", "outside"),
    [
        (SGD, "optimizer: {SGD: {lr: {log: [0.1, 1.0]}}}", ["lr"]),
        (SGD, "optimizer: {SGD: {lr: {uniform: [0, 0.02]}}}", []),
        (SGD, "optimizer: {SGD: {lr: 0.01}}", []),
        (SGD, "optimizer: {SGD: {lr: 0.02}}", ["lr"]),
        (SGD, "optimizer: {SGD: {lr: [0.1, {log: [1e-3, 0.1]}]}}", []),
        (SGD, "optimizer: {SGD: {}}", ["lr"]),  # PyTorch's own lr is 0.001
        (SGD, "optimizer: Adam", ["optimizer"]),
        (SGD, SGD + "schedule: {StepLR: {step_size: 3}}", ["schedule"]),
        (SGD, SGD + "warmup: {epochs: 1}", ["warmup.epochs"]),
        (SGD, SGD + "batch_size: [16, 32]", []),
        (SGD, SGD + "batch_size: 64", ["batch_size"]),
        (SGD, SGD + "clip_grad_norm: 1.0", ["clip_grad_norm"]),
        (SGD, SGD + "task_args: {condition: 100}", []),  # the task's own default
        (SGD, SGD + "task_args: {condition: 10}", ["task.condition"]),
        (SGD, "optimizer: {SGD: {lr: 0.01, momentum: {log1m: [0.0, 0.9]}}}", []),  # new; 0 by default
        (SGD, "optimizer: {SGD: {lr: 0.01, momentum: {log1m: [0.5, 0.9]}}}", ["momentum"]),
        (SGD, "optimizer: {SGD: {lr: 0.01, weight_decay: [0.1, 0.2]}}", ["weight_decay"]),
        (SGD, "optimizer: {SGD: {lr: 0.01, bias_lr: same}}", ["bias_lr"]),
        ("optimizer: {SGD: {lr: 0.1, momentum: 0.5}}", "optimizer: {SGD: {lr: 0.1}}", ["momentum"]),
        ("optimizer: {SGD: {lr: 0.1, momentum: 0.0}}", "optimizer: {SGD: {lr: 0.1}}", []),
    ],
)
def test_what_fits_and_what_lies_outside(old: str, new: str, outside: list[str]) -> None:
    assert placed(old, new).outside == outside


def test_arguments_of_schedules_are_told_by_their_columns() -> None:
    steps = SGD + "schedule: {StepLR: {step_size: {int: [3, 15]}, gamma: {uniform: [0.1, 0.9]}}}\n"
    narrow = steps.replace("[3, 15]", "[3, 5]").replace("[0.1, 0.9]", "[0.8, 0.9]")
    assert placed(steps, narrow).outside == ["schedule.step_size", "schedule.gamma"]
    assert placed(steps, narrow, gamma=0.85, step_size=4).fits
    default = placed(SGD + "schedule: {StepLR: {step_size: 3}}", steps, gamma=0.1)
    assert default.values == {"SGD.lr": pytest.approx(0.01), "StepLR.step_size": 3, "StepLR.gamma": 0.1}
    every = placed(steps, steps.replace("{step_size", "{every: step, step_size"))
    assert every.outside == ["schedule.every"]


def test_of_several_entries_of_one_class_the_one_that_fits_is_taken() -> None:
    two = "optimizer:\n  - SGD: {lr: {log: [0.5, 1.0]}}\n  - SGD: {lr: {log: [1e-4, 0.5]}}\n"
    assert placed(SGD, two).values == {"optimizer": 1, "SGD#2.lr": pytest.approx(0.01)}


def test_a_momentum_of_zero_has_turned_nesterov_off() -> None:
    on = "optimizer: {SGD: {lr: 0.1, momentum: [0.0, 0.9], nesterov: true}}\n"
    assert placed(on, on, momentum=0).fits
    off = on.replace("true", "false")
    assert placed(off, on, momentum=0).fits
    assert placed(off, on, momentum=1).outside == ["nesterov"]


def test_an_effective_rate_is_found_from_the_learning_rate_and_the_momentum() -> None:
    plain = "optimizer: {SGD: {lr: 0.01, momentum: 0.9}}\n"
    by_effect = "optimizer: {SGD: {lr: {effective: [0.05, 1.0]}, momentum: {log1m: [0.0, 0.99]}}}\n"
    found = placed(plain, by_effect)
    assert found.values["SGD.lr"] == pytest.approx(0.1)
    assert placed(plain, by_effect.replace("0.05", "0.2")).outside == ["lr"]
