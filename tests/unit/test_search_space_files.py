"""What a right sweep file means: defaults, ranges, labels, lines, notes, JSON."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from search_spaces.catalogue import Suppression
from search_spaces.confirming import Confirm
from search_spaces.files import LoadedSpace, Overrides, load_space
from search_spaces.ranges import Choice, Fixed, Integer, Log, LogOneMinus, Range, Tuple, Uniform
from search_spaces.space import Metric, Pruner, ScheduleSpace, SearchSpace
from tests.unit.catalogue_for_tests import CATALOGUE
from workers.torch_catalogue import torch_catalogue

HEAD = """\
task: digits-mlp
metric: {name: val_loss, goal: minimize}
epochs: 20
trials: 64
"""
GOOD = HEAD + "optimizer: {SGD: {lr: 0.1, momentum: 0.9}}\n"
LIBRARY = Path(__file__).parents[2] / "search_spaces" / "library"


def load(text: str, overrides: Overrides | None = None) -> LoadedSpace:
    overrides = overrides if overrides is not None else Overrides()
    return load_space(text, source="s.yaml", stem="stem", catalogue=CATALOGUE, overrides=overrides)


def space(text: str) -> SearchSpace:
    return load(text).space


def argument(text: str, name: str = "SGD", of: str = "lr") -> Range:
    return space(HEAD + f"optimizer: {{{name}: {{{of}: {text}}}}}").optimizers[0].arguments[of]


def schedule(text: str) -> ScheduleSpace:
    (only,) = space(GOOD + f"schedule: {text}").schedules
    return only


def test_defaults() -> None:
    found = space(HEAD + "optimizer: SGD\n")
    assert found.name == "stem"
    assert found.metric == Metric(name="val_loss", goal="minimize")
    assert (found.epochs, found.trials, found.concurrency) == (20, 64, 8)
    assert found.batch_size == Fixed(value=32)
    assert found.schedules == (ScheduleSpace(name="constant", label="constant"),)
    assert found.optimizers[0].arguments == {}
    assert (found.warmup_epochs, found.seed, found.seeds) == (0, 0, (0,))
    assert (found.sampler, found.pruner, found.order) == ("tpe", Pruner(), "rounds")
    assert (found.execution, found.device, found.task_arguments) == ("auto", "auto", {})


@pytest.mark.parametrize(("trials", "concurrency"), [(1, 1), (8, 1), (16, 2), (256, 32), (100_000, 64)])
def test_concurrency_follows_the_trials(trials: int, concurrency: int) -> None:
    assert space(GOOD.replace("trials: 64", f"trials: {trials}")).concurrency == concurrency
    assert load(GOOD, Overrides(trials=trials)).space.concurrency == concurrency


def test_everything_said() -> None:
    found = space(
        GOOD
        + """\
name: my sweep
batch_size: {int_log: [16, 128]}
schedule: constant
warmup: {epochs: 2}
seed: 017
seeds: [3, 1]
concurrency: 5
sampler: qmc
pruner: {asha: {min_resource: 2, reduction_factor: 3}}
order: arrival
execution: solo
device: cpu
"""
    )
    assert (found.name, found.warmup_epochs, found.seed, found.seeds) == ("my sweep", 2, 17, (3, 1))
    assert found.batch_size == Integer(low=16, high=128, log=True)
    assert (found.concurrency, found.sampler, found.order) == (5, "qmc", "arrival")
    assert found.pruner == Pruner(name="asha", arguments={"min_resource": 2, "reduction_factor": 3})
    assert (found.execution, found.device) == ("solo", "cpu")


def test_overrides_stand_in_for_the_files_values() -> None:
    found = load(HEAD + "optimizer: SGD\nseed: 4", Overrides(trials=3, epochs=2, seed=1)).space
    assert (found.trials, found.epochs, found.seed) == (3, 2, 1)
    left_out = HEAD.replace("trials: 64\n", "").replace("epochs: 20\n", "epochs: wrong\n")
    assert load(left_out + "optimizer: SGD", Overrides(trials=3, epochs=2)).space.trials == 3


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0.1", Fixed(value=0.1)),
        ("1e-4", Fixed(value=1e-4)),
        ("1E5", Fixed(value=1e5)),
        ("+1.5e+3", Fixed(value=1500.0)),
        (".5", Fixed(value=0.5)),
        ("1.", Fixed(value=1.0)),
        ("3", Fixed(value=3)),
        ("017", Fixed(value=17)),
        ("{value: 0.1}", Fixed(value=0.1)),
        ("{uniform: [0, 1]}", Uniform(low=0.0, high=1.0)),
        ("{uniform: [0, 1], points: 5}", Uniform(low=0.0, high=1.0, points=5)),
        ("{points: 5, log: [1e-4, 1]}", Log(low=1e-4, high=1.0, points=5)),
        ("{log1m: [0.0, 0.99]}", LogOneMinus(low=0.0, high=0.99)),
        ("{log1m: [-1, 0.5], points: 2}", LogOneMinus(low=-1.0, high=0.5, points=2)),
        ("{int: [3, 15]}", Integer(low=3, high=15)),
        ("{int: [0, 4], points: 3}", Integer(low=0, high=4, points=3)),
        ("{int_log: [1, 8]}", Integer(low=1, high=8, log=True)),
        ("{uniform: [0.5, 0.5]}", Uniform(low=0.5, high=0.5)),
        ("[0.1, 1]", Choice(options=(Fixed(value=0.1), Fixed(value=1)))),
        ("[0.0, {log: [0.1, 1]}]", Choice(options=(Fixed(value=0.0), Log(low=0.1, high=1.0)))),
    ],
)
def test_ranges(text: str, expected: Range) -> None:
    assert argument(text) == expected


def test_numbers_keep_their_type() -> None:
    for text, kind in (("3", int), ("3.0", float), ("1e3", float)):
        fixed = argument(text)
        assert isinstance(fixed, Fixed)
        assert type(fixed.value) is kind


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{value: [30, 80]}", Fixed(value=(30, 80))),
        ("[[30, 80], [60]]", Choice(options=(Fixed(value=(30, 80)), Fixed(value=(60,))))),
        ("[{value: [30]}, [60]]", Choice(options=(Fixed(value=(30,)), Fixed(value=(60,))))),
        (
            "{tuple: [{int: [2, 9]}, [10, 20]]}",
            Tuple(items=(Integer(low=2, high=9), Choice(options=(Fixed(value=10), Fixed(value=20))))),
        ),
    ],
)
def test_list_valued_ranges(text: str, expected: Range) -> None:
    assert schedule(f"{{MultiStepLR: {{milestones: {text}}}}}").arguments["milestones"] == expected


def test_betas_may_have_a_range_for_each() -> None:
    found = argument("{tuple: [{log1m: [0.8, 0.95]}, 0.999]}", "Adam", "betas")
    assert found == Tuple(items=(LogOneMinus(low=0.8, high=0.95), Fixed(value=0.999)))


def test_implementation_arguments_and_nulls_are_kept() -> None:
    found = space(HEAD + "optimizer: {SGD: {foreach: true, fused: null, maximize: False}}").optimizers[0]
    assert found.arguments == {
        "foreach": Fixed(value=True),
        "fused": Fixed(value=None),
        "maximize": Fixed(value=False),
    }


def test_words_of_yaml_1_1_are_text() -> None:
    assert space(GOOD + "name: yes").name == "yes"
    assert space(GOOD + "name: 2024-05-01").name == "2024-05-01"
    assert space(GOOD + "name: 1:30").name == "1:30"


@pytest.mark.parametrize(
    "text", ["constant", "{constant: null}", "{constant: {}}", "[constant]", "- constant"]
)
def test_constant(text: str) -> None:
    text = f"\n  {text}" if text.startswith("-") else text
    assert schedule(text) == ScheduleSpace(name="constant", label="constant")


@pytest.mark.parametrize("text", ["ConstantLR", "{ConstantLR: null}", "[{ConstantLR: {}}]"])
def test_a_schedule_without_required_arguments_may_be_a_bare_word(text: str) -> None:
    assert schedule(text) == ScheduleSpace(name="ConstantLR", label="ConstantLR")


def test_the_same_class_twice_is_numbered() -> None:
    found = space(
        HEAD
        + "optimizer: [SGD, Adam, {SGD: {lr: 1}}]\n"
        + "schedule: [{ExponentialLR: {gamma: 0.9}}, constant, {ExponentialLR: {gamma: 0.8}}, constant]"
    )
    assert [optimizer.label for optimizer in found.optimizers] == ["SGD", "Adam", "SGD#2"]
    assert [schedule.label for schedule in found.schedules] == [
        "ExponentialLR",
        "constant",
        "ExponentialLR#2",
        "constant#2",
    ]


def test_horizons_may_be_left_out() -> None:
    assert schedule("CosineAnnealingLR").arguments == {}
    assert schedule("{CosineAnnealingLR: {T_max: 7}}").arguments == {"T_max": Fixed(value=7)}


@pytest.mark.parametrize(
    ("text", "every"),
    [
        ("{StepLR: {step_size: 3}}", "epoch"),
        ("{StepLR: {step_size: 3, every: step}}", "step"),
        ("{OneCycleLR: {max_lr: 1}}", "step"),
        ("{OneCycleLR: {max_lr: 1, every: epoch}}", "epoch"),
        ("{CosineAnnealingWarmRestarts: {T_0: 5}}", "epoch"),
        ("{CosineAnnealingWarmRestarts: {T_0: 5, every: fraction}}", "fraction"),
    ],
)
def test_every(text: str, every: str) -> None:
    found = schedule(text)
    assert found.every == every
    assert "every" not in found.arguments


@pytest.mark.parametrize(
    ("text", "watch", "kept"),
    [
        ("ReduceLROnPlateau", "val_loss", set()),
        ("{ReduceLROnPlateau: {watch: val_loss}}", "val_loss", set()),
        ("{ReduceLROnPlateau: {watch: val_accuracy, mode: max}}", "val_accuracy", {"mode"}),
        (
            "{ReduceLROnPlateau: {watch: train_loss, mode: min, patience: 3}}",
            "train_loss",
            {"mode", "patience"},
        ),
        ("{StepLR: {step_size: 3}}", None, {"step_size"}),
    ],
)
def test_watch(text: str, watch: str | None, kept: set[str]) -> None:
    found = schedule(text)
    assert found.watch == watch
    assert set(found.arguments) == kept


def test_suppression_comes_from_the_catalogue() -> None:
    assert schedule("{OneCycleLR: {max_lr: 1}}").suppresses == (
        Suppression(setting="lr"),
        Suppression(setting="momentum", unless_false="cycle_momentum"),
    )


def test_nested_schedules_are_one_list_and_step_with_their_parent() -> None:
    found = schedule(
        "{SequentialLR: {every: step, milestones: {value: [10]}, schedulers: "
        "[{ConstantLR: {factor: [0.1, 0.5]}}, {OneCycleLR: {max_lr: 1}}, CosineAnnealingLR]}}"
    )
    parts = found.arguments["schedulers"]
    assert isinstance(parts, tuple)
    assert [part.label for part in parts] == [
        "SequentialLR.0.ConstantLR",
        "SequentialLR.1.OneCycleLR",
        "SequentialLR.2.CosineAnnealingLR",
    ]
    assert {part.every for part in parts} == {"step"}
    assert parts[0].arguments["factor"] == Choice(options=(Fixed(value=0.1), Fixed(value=0.5)))


def test_functions_of_the_task() -> None:
    assert schedule("{LambdaLR: {lr_lambda: halve_each_epoch}}").arguments == {
        "lr_lambda": Fixed(value="halve_each_epoch")
    }
    found = schedule("{LambdaLR: {lr_lambda: [halve_each_epoch, warm_then_cool]}}").arguments["lr_lambda"]
    assert isinstance(found, Choice)


def test_task_arguments_may_be_ranges() -> None:
    text = GOOD.replace("digits-mlp", "quadratic") + "task_args: {condition: {log: [10, 1000]}}"
    assert space(text).task_arguments == {"condition": Log(low=10.0, high=1000.0)}
    assert space(GOOD + "task_args:\n").task_arguments == {}


@pytest.mark.parametrize(
    "text",
    [
        "{SGD: {momentum: 0.9, nesterov: true}}",
        "{SGD: {momentum: {log1m: [0, 0.9]}, nesterov: [false, true]}}",
        "{SGD: {nesterov: false}}",
        "{Muon: {nesterov: true}}",
        "{SGD: {nesterov: true}}\nschedule: [constant, {OneCycleLR: {max_lr: 1}}]",
        "{SGD: {nesterov: true}}\n"
        "schedule: {CyclicLR: {base_lr: 1, max_lr: 2, cycle_momentum: [false, true]}}",
        "{SGD: {nesterov: true}}\nschedule: {ChainedScheduler: {schedulers: [{OneCycleLR: {max_lr: 1}}]}}",
    ],
)
def test_nesterov_with_some_momentum(text: str) -> None:
    assert space(HEAD + f"optimizer: {text}").optimizers[0].arguments["nesterov"] is not None


def test_verbose_is_noted_and_dropped() -> None:
    loaded = load(GOOD + "schedule:\n  StepLR:\n    step_size: 3\n    verbose: true\n")
    assert loaded.notes == ("line 9: StepLR: verbose ignored: PyTorch dropped it",)
    assert set(loaded.space.schedules[0].arguments) == {"step_size"}


def test_lines_by_label_and_argument() -> None:
    loaded = load(
        """\
task: quadratic
task_args:
  condition: 10
metric: {name: val_loss, goal: minimize}
epochs: 20
trials: 64
optimizer:
  - SGD:
      lr: 0.1
      momentum: 0.9
  - SGD:
      lr: 0.2
  - Adam:
      betas: {tuple: [0.9, [0.99, 0.999]]}
schedule:
  - StepLR: {step_size: 3}
  - StepLR:
      step_size: 4
  - SequentialLR:
      milestones: {value: [5]}
      schedulers:
        - ConstantLR:
            factor: 0.5
        - StepLR: {step_size: 5}
"""
    )
    expected = {
        ("SGD", None): 8,
        ("SGD", "lr"): 9,
        ("SGD", "momentum"): 10,
        ("SGD", "nesterov"): 8,
        ("SGD#2", "lr"): 12,
        ("Adam", "betas"): 14,
        ("StepLR", "step_size"): 16,
        ("StepLR#2", None): 17,
        ("StepLR#2", "step_size"): 18,
        ("SequentialLR.0.ConstantLR", "factor"): 23,
        ("SequentialLR.1.StepLR", None): 24,
        ("SequentialLR.0", None): 19,
        ("task", "condition"): 3,
        ("batch_size", None): 1,
        ("epochs", None): 5,
    }
    assert {key: loaded.line_of(*key) for key in expected} == expected
    assert loaded.line_of("Adam.betas.1[0]") == 14
    assert loaded.lines["optimizer.SGD#2.lr"] == 12
    assert loaded.lines["metric.name"] == 4


def as_json(text: str, **style: Any) -> str:
    plain = yaml.safe_load(text.replace("1e-4", "0.0001"))
    return json.dumps(plain, **style)


@pytest.mark.parametrize("style", [{}, {"indent": 2}, {"indent": "\t"}, {"separators": (",", ":")}])
def test_json_means_the_same(style: dict[str, Any]) -> None:
    text = (LIBRARY / "digits-momentum-and-decay.yaml").read_text()
    assert space(as_json(text, **style)) == space(text)


def test_json_with_tabs_keeps_its_lines_and_escapes() -> None:
    text = as_json(GOOD, indent="\t").replace('"digits-mlp"', '"digits\\u002dmlp"')
    loaded = load(text.replace("{", '{\n\t"name": "a\\/\\ud83d\\ude00",', 1))
    assert loaded.space.name == "a/\U0001f600"
    assert loaded.lines["name"] == 2


@pytest.mark.parametrize("path", sorted(LIBRARY.glob("*.yaml")), ids=lambda path: path.stem)
def test_the_ready_made_files_are_right_and_say_what_they_ask(path: Path) -> None:
    text = path.read_text()
    assert text.startswith("# ")
    assert "?" in text.splitlines()[0] + text.splitlines()[1]
    assert load_space(text, source=path.name, stem="x", catalogue=torch_catalogue()).space.name == path.stem


def test_importing_search_spaces_loads_no_torch() -> None:
    code = (
        "import sys, search_spaces.files, search_spaces.space;"
        "print({'torch', 'sqlalchemy', 'ray', 'optuna'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize(
    ("text", "confirm"),
    [
        ("", None),
        ("confirm: null\n", None),
        ("confirm: {}\n", Confirm(top=5, seeds=5, error_rate=0.05)),
        ("confirm: {top: 2, seeds: 9}\n", Confirm(top=2, seeds=9)),
        ("confirm: {error_rate: 1e-2}\n", Confirm(error_rate=0.01)),
    ],
)
def test_how_leaders_are_confirmed(text: str, confirm: Confirm | None) -> None:
    assert space(GOOD + text).confirm == confirm
