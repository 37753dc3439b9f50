"""Every mistake of a sweep file is told with its line, what stands there, what is wanted and what is near."""

from __future__ import annotations

import json
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search_spaces.errors import Findings, Problem, SpaceErrors
from search_spaces.files import LoadedSpace, Overrides, load_space
from search_spaces.nodes import DEEPEST, LARGEST_TEXT, MOST_NODES
from tests.unit.catalogue_for_tests import CATALOGUE

HEAD = """\
task: digits-mlp
metric: {name: val_loss, goal: minimize}
epochs: 20
trials: 64
"""
GOOD = HEAD + "optimizer: {SGD: {lr: 0.1, momentum: 0.9}}\n"  # line 5; what follows begins on line 6


def load(text: str, overrides: Overrides | None = None, stem: str = "sweep") -> LoadedSpace:
    return load_space(
        text,
        source="sweep.yaml",
        stem=stem,
        catalogue=CATALOGUE,
        overrides=overrides if overrides is not None else Overrides(),
    )


def problems(text: str, overrides: Overrides | None = None, stem: str = "sweep") -> tuple[Problem, ...]:
    with pytest.raises(SpaceErrors) as caught:
        load(text, overrides, stem)
    return caught.value.problems


def the_problem(text: str) -> Problem:
    found = problems(text)
    assert len(found) == 1, [str(problem) for problem in found]
    return found[0]


def optimizer(text: str) -> str:
    return HEAD + f"optimizer: {text}\n"


def momentum(text: str) -> str:
    return HEAD + "optimizer:\n  SGD:\n    lr: 0.1\n    momentum: " + text + "\n"


def without(field: str) -> str:
    return "".join(line for line in GOOD.splitlines(keepends=True) if not line.startswith(field))


TOP_LEVEL = [
    (without("task"), 1, ["task: missing", "the name of a task"]),
    (without("metric"), 1, ["metric: missing", "goal: minimize"]),
    (without("epochs"), 1, ["epochs: missing", "a whole number from 1 to 1000000"]),
    (without("trials"), 1, ["trials: missing"]),
    (without("optimizer"), 1, ["optimizer: missing", "one class"]),
    (GOOD + "scheduler: constant", 6, ["unknown field 'scheduler'", "did you mean 'schedule'?"]),
    (GOOD + "<<: {seed: 1}", 6, ["unknown field '<<'"]),
    (GOOD + "seed: 1\nseed: 2", 7, ["seed: given again (first on line 6)"]),
    (GOOD + "seed: -1", 6, ["seed: got -1", "a whole number of at least 0"]),
    (GOOD + "seed: 1.0", 6, ["seed: got 1.0", "whole number"]),
    (GOOD + "seed: 99999999999999999999", 6, ["seed: got 99999999999999999999"]),
    (GOOD + "seed: true", 6, ["seed: got true"]),
    (GOOD + "seeds: 3", 6, ["seeds: got 3", "a list of 1 to 1000 distinct"]),
    (GOOD + "seeds: []", 6, ["seeds: got an empty list"]),
    (GOOD + "seeds:\n  - 1\n  - 1", 8, ["seeds[1]: got 1 again"]),
    (GOOD + "seeds: [0, x]", 6, ["seeds[1]: got 'x'"]),
    (GOOD + f"seeds: {list(range(1001))}", 6, ["seeds: got the list"]),
    (GOOD + "concurrency: 0", 6, ["concurrency: got 0", "from 1 to 100000"]),
    (GOOD + "sampler: tpee", 6, ["got 'tpee'", "tpe, random, qmc, grid, gp", "did you mean 'tpe'?"]),
    (GOOD + "sampler: null", 6, ["sampler: got null"]),
    (GOOD + "order: round", 6, ["order: got 'round'", "did you mean 'rounds'?"]),
    (GOOD + "execution: alone", 6, ["execution: got 'alone'", "one of auto, stacked, solo"]),
    (GOOD + "device: gpu", 6, ["device: got 'gpu'", "one of auto, cpu, cuda"]),
    (
        GOOD + "pruner: ashe",
        6,
        ["got 'ashe'", "none, asha, hyperband, median, decay_fair", "did you mean 'asha'?"],
    ),
    (GOOD + "pruner: {asha: {}, median: {}}", 6, ["got the mapping {asha, median}"]),
    (GOOD + "pruner: {asha: 3}", 6, ["pruner.asha: got 3", "{argument: value}"]),
    (GOOD + "pruner: {asha: {min_resource: .inf}}", 6, ["pruner.asha.min_resource: got .inf", "finite"]),
    (GOOD + "pruner: {asha: {min_resource: {int: [1, 2]}}}", 6, ["min_resource", "a plain value"]),
    (GOOD + "pruner: {none: {a: 1}}", 6, ["pruner.none", "no arguments"]),
    (GOOD + "batch_size: 0", 6, ["batch_size: got 0", "at least 1"]),
    (GOOD + "batch_size: [32, 0]", 6, ["batch_size", "at least 1"]),
    (GOOD + "batch_size: 3.5", 6, ["batch_size: got 3.5", "whole number"]),
    (GOOD + "batch_size: {uniform: [1, 64]}", 6, ["got a range of numbers (uniform)", "int and int_log"]),
    (GOOD + "clip_grad_norm: 0", 6, ["clip_grad_norm: got 0", "above 0, or null"]),
    (GOOD + "clip_grad_norm: {uniform: [-1, 2]}", 6, ["clip_grad_norm", "above 0, or null"]),
    (GOOD + "clip_grad_norm: tight", 6, ["clip_grad_norm: got 'tight'", "a number"]),
    (GOOD + "forks: sometimes", 6, ["forks: got 'sometimes'", "true or false"]),
    (GOOD + "forks: 1", 6, ["forks: got 1", "true or false"]),
    (GOOD + "precision: fp16", 6, ["precision: got 'fp16'", "one of auto, float32, tf32, bf16"]),
    (GOOD + "warmup: 3", 6, ["warmup: got 3", "{epochs: n}"]),
    (GOOD + "warmup: {}", 6, ["warmup.epochs: missing"]),
    (GOOD + "confirm: 5", 6, ["confirm: got 5; wants {top: n, seeds: n}"]),
    (GOOD + "confirm: true", 6, ["confirm: got true"]),
    (GOOD + "confirm: {top: 1}", 6, ["confirm.top: got 1; wants a whole number from 2 to 100"]),
    (GOOD + "confirm: {top: 3, seeds: 1}", 6, ["confirm.seeds: got 1; wants a whole number from 2 to 1000"]),
    (GOOD + "confirm:\n  top: 3\n  seeds: [5]", 8, ["confirm.seeds: got the list [5]"]),
    (GOOD + "confirm: {seed: 5}", 6, ["confirm.seed: unknown field 'seed'", "did you mean 'seeds'?"]),
    (GOOD + "confirm: {error_rate: 0}", 6, ["got 0; wants a probability from 0.001 to 0.5"]),
    (GOOD + "warmup: {epoch: 1, epochs: 1}", 6, ["unknown field 'epoch'", "did you mean 'epochs'?"]),
    (GOOD + "warmup:\n  epochs: 20", 7, ["got 20", "fewer than the 20 epochs", "nothing would be left"]),
    (GOOD + "warmup: {epochs: -1}", 6, ["warmup.epochs: got -1"]),
    (GOOD + "name: 2024", 6, ["name: got 2024", "mistaken for an id"]),
    (GOOD + "name: '2024'", 6, ["name: got '2024'", "not all digits"]),
    (GOOD + "name: true", 6, ["name: got true", "in quotes"]),
    (GOOD + "name: ' '", 6, ["name: got ' '", "1 to 100 printable"]),
    (GOOD + 'name: "a\\nb"', 6, ["name: got 'a\\nb'", "printable"]),
    (GOOD + f"name: {'x' * 101}", 6, ["1 to 100 printable"]),
    (GOOD + "name: [a]", 6, ["name: got the list ['a']"]),
]
TASK_AND_METRIC = [
    (GOOD.replace("digits-mlp", "digits-mpl"), 1, ["'digits-mpl' is not a registered task", "'digits-mlp'?"]),
    (
        GOOD.replace("digits-mlp", "my.py:Task"),
        1,
        ["'my.py:Task' is not a registered task", "quadratic", "command line only"],
    ),
    (GOOD.replace("digits-mlp", "[a]"), 1, ["task: got the list ['a']", "one of digits-mlp, quadratic"]),
    (GOOD.replace("val_loss", "val_acuracy"), 2, ["train_loss, val_loss, val_accuracy", "'val_accuracy'?"]),
    (GOOD.replace("minimize", "down"), 2, ["metric.goal: got 'down'", "one of minimize, maximize"]),
    (GOOD.replace("{name: val_loss, goal: minimize}", "val_loss"), 2, ["metric: got 'val_loss'", "goal:"]),
    (GOOD.replace("name: val_loss, ", ""), 2, ["metric.name: missing", "train_loss"]),
    (GOOD.replace(", goal: minimize", ""), 2, ["metric.goal: missing"]),
    (GOOD.replace("goal:", "aim: 1, goal:"), 2, ["metric.aim: unknown field 'aim'"]),
    (GOOD + "task_args: {condition: 3}", 6, ["task_args.condition: unknown argument 'condition'"]),
    (GOOD + "task_args: 3", 6, ["task_args: got 3"]),
    (
        GOOD.replace("digits-mlp", "quadratic") + "task_args:\n  condition: hard",
        7,
        ["task_args.condition: got 'hard'", "a number or a range"],
    ),
    (
        GOOD.replace("digits-mlp", "demanding").replace("val_loss", "train_loss"),
        1,
        ["task_args.depth: missing", "a whole number"],
    ),
]
OPTIMIZERS = [
    (optimizer("SDG"), 5, ["unknown class 'SDG'", "SGD, Adam, AdamW", "did you mean 'SGD'?"]),
    (optimizer("3"), 5, ["optimizer: got 3", "{Class: {argument: value}}"]),
    (optimizer("[]"), 5, ["optimizer: got an empty list", "at least one optimizer"]),
    (optimizer("[[SGD]]"), 5, ["optimizer: got the list ['SGD']"]),
    (optimizer("{SGD: 0.1}"), 5, ["optimizer.SGD: got 0.1", "{argument: value}"]),
    (HEAD + "optimizer:\n  SGD:\n  lr: 0.1\n", 5, ["mapping {SGD, lr}", "indent the arguments below"]),
    (
        optimizer("\n  SGD:\n    momentun: 0.9"),
        7,
        ["unknown argument 'momentun'", "lr, momentum,", "'momentum'?"],
    ),
    (optimizer("{Adam: {momentum: 0.9}}"), 5, ["unknown argument 'momentum'", "Adam's own name", "'betas'"]),
    (optimizer("{AdamW: {momentum: 0.9}}"), 5, ["AdamW's own name for it is 'betas'"]),
    (
        optimizer("{SGD: {betas: 0.9}}"),
        5,
        ["unknown argument 'betas'", "SGD's own name for it is 'momentum'"],
    ),
    (optimizer("{SGD: {params: 1}}"), 5, ["unknown argument 'params'"]),
    (optimizer("{SGD: {lr: fast}}"), 5, ["optimizer.SGD.lr: got 'fast'", "a number or a range"]),
    (optimizer("{SGD: {lr: '0.1'}}"), 5, ["optimizer.SGD.lr: got '0.1'"]),
    (optimizer("{SGD: {lr: true}}"), 5, ["optimizer.SGD.lr: got true"]),
    (optimizer("{SGD: {lr: 1_000}}"), 5, ["optimizer.SGD.lr: got '1_000'"]),
    (optimizer("{SGD: {lr: 1:30}}"), 5, ["optimizer.SGD.lr: got '1:30'"]),
    (optimizer("{SGD: {lr: 0o17}}"), 5, ["optimizer.SGD.lr: got '0o17'"]),
    (optimizer("{SGD: {lr: .nan}}"), 5, ["optimizer.SGD.lr: got .nan", "a finite number"]),
    (optimizer("{SGD: {lr: -.inf}}"), 5, ["optimizer.SGD.lr: got -.inf", "a finite number"]),
    (optimizer("{SGD: {lr: 1e400}}"), 5, ["optimizer.SGD.lr: got 1e400", "a finite number"]),
    (optimizer("{SGD: {lr: " + "9" * 5000 + "}}"), 5, ["optimizer.SGD.lr: got 999", "a finite number"]),
    (optimizer("{SGD: {lr: null}}"), 5, ["optimizer.SGD.lr: got null"]),
    (optimizer("{SGD: {lr: [[0.1, 0.2]]}}"), 5, ["optimizer.SGD.lr[0]: got the list [0.1, 0.2]"]),
    (optimizer("{SGD: {momentum: 0.9, nesterov: yes}}"), 5, ["nesterov: got 'yes'", "true or false"]),
    (optimizer("{SGD: {foreach: 1}}"), 5, ["optimizer.SGD.foreach: got 1", "true or false"]),
    (optimizer("{Muon: {ns_steps: 3.0}}"), 5, ["ns_steps: got 3.0", "a whole number"]),
    (optimizer("{Muon: {ns_steps: {uniform: [1, 3]}}}"), 5, ["ns_steps: got a range of numbers"]),
    (optimizer("{Adam: {betas: [0.9, 0.999]}}"), 5, ["a list is a choice", "{value: [0.9, 0.999]}"]),
    (optimizer("{Adam: {betas: {uniform: [0, 1]}}}"), 5, ["betas: got a range of numbers", "a list"]),
    (optimizer("{Adam: {betas: {tuple: 3}}}"), 5, ["betas: got 3", "{tuple: [0.9"]),
    (optimizer("{Adam: {betas: {tuple: [0.9, {log: [0, 1]}]}}}"), 5, ["betas[1].log", "low > 0"]),
    (optimizer("{Adam: {betas: [[{uniform: [0, 1]}, 0.9]]}}"), 5, ["betas[0][0]", "{tuple: [range, range]}"]),
    (optimizer('{Muon: {adjust_lr_fn: "a\\0"}}'), 5, ["adjust_lr_fn", "printable text"]),
]
GROUPS = [
    (optimizer("\n  SGD:\n    bias_lr: sane"), 7, ["bias_lr: got 'sane'", "a number", "same"]),
    (optimizer("\n  SGD:\n    bias_lr: {log: [0, 1]}"), 7, ["bias_lr.log", "low > 0"]),
]
RANGES = [
    (momentum("{unifrom: [0, 1]}"), 8, ["unknown range 'unifrom'", "uniform, log, log1m", "'uniform'?"]),
    (momentum("{uniform: [0, 1], log: [1, 2]}"), 8, ["got the mapping {uniform, log}", "exactly one of"]),
    (momentum("{}"), 8, ["momentum: got the mapping {}", "exactly one of uniform"]),
    (momentum("{points: 3}"), 8, ["momentum: got the mapping {points}", "exactly one of uniform"]),
    (momentum("[]"), 8, ["momentum: got an empty list", "at least one item"]),
    (momentum("{uniform: [0.9, 0.1]}"), 8, ["momentum.uniform: got the list [0.9, 0.1]", "low <= high"]),
    (momentum("{uniform: [0]}"), 8, ["momentum.uniform: got the list [0]", "two finite numbers"]),
    (momentum("{uniform: 0.9}"), 8, ["momentum.uniform: got 0.9", "two finite numbers"]),
    (momentum("{uniform: [0, .inf]}"), 8, ["got the list [0, .inf]", "two finite numbers"]),
    (momentum("{uniform: [a, 1]}"), 8, ["got the list ['a', 1]", "two finite numbers"]),
    (momentum("{uniform: [false, true]}"), 8, ["got the list [false, true]", "two finite numbers"]),
    (momentum("{log: [0, 1]}"), 8, ["momentum.log: got the list [0, 1]", "low > 0"]),
    (momentum("{int_log: [0, 4]}"), 8, ["momentum.int_log", "low > 0"]),
    (momentum("{log1m: [0, 1]}"), 8, ["momentum.log1m: got the list [0, 1]", "high < 1"]),
    (momentum("{int: [1, 2.5]}"), 8, ["momentum.int: got the list [1, 2.5]", "two whole numbers"]),
    (momentum("{int: [1, " + "9" * 400 + "]}"), 8, ["momentum.int", "two whole numbers"]),
    (momentum("{uniform: [0, 1], points: 0}"), 8, ["momentum.points: got 0", "from 1 to"]),
    (momentum("{uniform: [0, 1], points: 2.0}"), 8, ["momentum.points: got 2.0"]),
    (momentum("{value: 0.9, points: 2}"), 8, ["momentum.points: got points beside 'value'"]),
    (momentum("{value: {a: 1}}"), 8, ["momentum: got the mapping {a}", "a plain value"]),
    (momentum("{value: [0.9]}"), 8, ["momentum: got the list [0.9]", "a number or a range"]),
    (momentum("{tuple: [0.9]}"), 8, ["momentum: got a tuple"]),
    (momentum("[0.9, high]"), 8, ["momentum[1]: got 'high'", "a number"]),
    (momentum("\n      - 0.9\n      - {log: [2, 1]}"), 10, ["momentum[1].log", "low <= high"]),
    (momentum("{uniform: [0, 1]}") + "sampler: grid", 8, ["momentum: no points", "points: n"]),
    (GOOD + "sampler: grid\nbatch_size: {int: [1, 9]}", 7, ["batch_size: no points", "sampler is grid"]),
    (
        GOOD + "sampler: grid\nschedule:\n  ExponentialLR:\n    gamma: [0.9, {log: [0.1, 1]}]",
        9,
        ["schedule.ExponentialLR.gamma[1]: no points"],
    ),
]
SCHEDULES = [
    (GOOD + "schedule: StepRL", 6, ["unknown class 'StepRL'", "constant", "did you mean 'StepLR'?"]),
    (GOOD + "schedule: StepLR", 6, ["schedule.StepLR.step_size: missing", "a whole number"]),
    (GOOD + "schedule: {StepLR: null}", 6, ["schedule.StepLR.step_size: missing"]),
    (GOOD + "schedule: null", 6, ["schedule: got null"]),
    (GOOD + "schedule: []", 6, ["schedule: got an empty list"]),
    (GOOD + "schedule: {constant: {gamma: 1}}", 6, ["schedule.constant.gamma: unknown argument 'gamma'"]),
    (GOOD + "schedule: {StepLR: {step_size: 3, last_epoch: 2}}", 6, ["last_epoch", "Ravine keeps the clock"]),
    (GOOD + "schedule: {StepLR: {step_size: 3.0}}", 6, ["step_size: got 3.0", "a whole number"]),
    (GOOD + "schedule: {StepLR: {step_size: 3, optimizer: 1}}", 6, ["unknown argument 'optimizer'"]),
    (GOOD + "schedule: {StepLR: {step_size: 3, every: batch}}", 6, ["every: got 'batch'", "epoch, step"]),
    (GOOD + "schedule: {StepLR: {step_size: 3, every: fraction}}", 6, ["every: got 'fraction'"]),
    (GOOD + "schedule: {StepLR: {step_size: 3, every: [epoch, step]}}", 6, ["every: got the list"]),
    (GOOD + "schedule: {StepLR: {step_size: 3, watch: val_loss}}", 6, ["unknown argument 'watch'"]),
    (
        GOOD + "schedule:\n  - StepLR: {step_size: 3}\n  - StepLR: {step_size: x}",
        8,
        ["schedule.StepLR#2.step_size: got 'x'"],
    ),
    (GOOD + "schedule: {MultiStepLR: {milestones: [10, 15]}}", 6, ["choice", "{value: [10, 15]}"]),
    (
        GOOD + "schedule:\n  ReduceLROnPlateau:\n    watch: val_accuracy",
        8,
        ["ReduceLROnPlateau.mode: missing", "min or max", "val_accuracy is better"],
    ),
    (GOOD + "schedule: {ReduceLROnPlateau: {watch: val_los}}", 6, ["watch: got 'val_los'", "'val_loss'?"]),
    (GOOD + "schedule: {ReduceLROnPlateau: {mode: up}}", 6, ["mode: got 'up'", "one of min, max"]),
    (GOOD + "schedule: {ReduceLROnPlateau: {every: step}}", 6, ["every: got 'step'", "wants epoch"]),
    (
        GOOD.replace("digits-mlp", "demanding").replace("val_loss", "train_loss")
        + "task_args: {depth: 2}\nschedule: ReduceLROnPlateau",
        7,
        ["the task has no val_loss", "val_perplexity"],
    ),
    (
        GOOD + "schedule: {LambdaLR: {lr_lambda: halve}}",
        6,
        ["got 'halve'", "halve_each_epoch, warm_then_cool"],
    ),
    (
        GOOD + "schedule: {SequentialLR: {schedulers: {StepLR: {step_size: 2}}, milestones: {value: [3]}}}",
        6,
        ["SequentialLR.schedulers: got the mapping {StepLR}", "a list of schedules"],
    ),
    (
        GOOD
        + "schedule:\n  ChainedScheduler:\n    schedulers:\n    - StepLR: {step_size: 2}\n    - Step: {}",
        10,
        ["unknown class 'Step'", "did you mean 'StepLR'?"],
    ),
    (
        GOOD + "schedule: {ChainedScheduler: {schedulers: [{StepLR: {step_size: 2, gama: 1}}]}}",
        6,
        ["schedule.ChainedScheduler.0.StepLR.gama: unknown argument 'gama'", "'gamma'?"],
    ),
    (
        GOOD + "schedule: {ChainedScheduler: {schedulers: [{StepLR: {step_size: 2, every: step}}]}}",
        6,
        ["unknown argument 'every'", "the outermost schedule says it"],
    ),
    (
        GOOD + "schedule: {ChainedScheduler: {schedulers: [ReduceLROnPlateau]}}",
        6,
        ["ReduceLROnPlateau inside ChainedScheduler, which PyTorch refuses"],
    ),
    (GOOD + "schedule: {ChainedScheduler: {schedulers: [constant]}}", 6, ["unknown class 'constant'"]),
    (GOOD + "schedule: {ChainedScheduler: {schedulers: [[StepLR]]}}", 6, ["one class with its arguments"]),
]
BRANCHES = [
    (GOOD + "branches: []", 6, ["branches: got an empty list", "at least one schedule"]),
    (GOOD + "branches: null", 6, ["branches: got null", "one class with its arguments"]),
    (GOOD + "branches: [StepRL]", 6, ["branches.StepRL: unknown class 'StepRL'", "did you mean 'StepLR'?"]),
    (
        GOOD + "branches:\n  - constant\n  - StepLR:\n      step_size: 3\n      gamma: {uniform: [0.1, 0.9]}",
        10,
        ["branches.StepLR.gamma: no points", "a value, a list, or points: n", "branches are all tried"],
    ),
    (
        GOOD + "sampler: grid\nbranches: [constant, {StepLR: {step_size: {int: [1, 9]}}}]",
        7,
        ["branches.StepLR.step_size: no points", "branches are all tried"],
    ),
    (
        GOOD + "branches: [constant, {MultiStepLR: {milestones: {tuple: [5, {int: [6, 9]}]}}}]",
        6,
        ["branches.MultiStepLR.milestones[1]: no points"],
    ),
    (
        GOOD
        + "branches:\n  - constant\n  - SequentialLR:\n      milestones: {value: [3]}\n      schedulers:\n"
        + "        - ConstantLR: {factor: 0.5}\n        - ExponentialLR: {gamma: {log: [0.1, 1]}}",
        12,
        ["branches.SequentialLR.1.ExponentialLR.gamma: no points"],
    ),
    (
        GOOD + "schedule: constant\nbranches: [constant, {StepLR: {step_size: 3}}]",
        7,
        ["branches: got branches beside schedule (line 6)", "not both", "all tried for each proposal"],
    ),
    (
        GOOD + "branches: [constant, {StepLR: {step_size: 3}}]\nschedule: constant",
        7,
        ["schedule: got schedule beside branches (line 6)"],
    ),
    (GOOD + "branches: [constant]", 6, ["branches: got 1 branch;", "2 to 1000", "schedule: {...}"]),
    (
        GOOD + "branches: {MultiStepLR: {milestones: {value: [10, 15]}}}",
        6,
        ["branches: got 1 branch;", "several values of an argument are a list"],
    ),
    (
        GOOD + "branches: {StepLR: {step_size: {int: [3, 3], points: 2}}}",
        6,
        ["branches: got 1 branch;"],
    ),
    (
        GOOD + "branches: {StepLR: {step_size: [3, 4, 5], gamma: {log: [0.1, 1], points: 1000}}}",
        6,
        ["branches: got 3000 branches", "2 to 1000"],
    ),
    (
        GOOD + "branches: {StepLR: {step_size: 3, gamma: {log: [0.1, 1], points: 1000000}}}",
        6,
        ["branches: got 1000000 branches"],
    ),
    (
        GOOD
        + "branches:\n  - StepLR: {step_size: [3, 4]}\n  - StepLR:\n      step_size: 4\n      gamma: 0.1",
        8,
        ["branches.StepLR#3: got StepLR step_size=4 gamma=0.1, the same as branches.StepLR#2 on line 7"],
    ),
    (
        GOOD + "branches:\n  - constant\n  - ExponentialLR: {gamma: [1, 0.9, 1.0]}",
        8,
        ["branches.ExponentialLR#3: got ExponentialLR gamma=1.0, the same as branches.ExponentialLR on"],
    ),
    (
        GOOD + "branches:\n  - ChainedScheduler: {schedulers: [{StepLR: {step_size: [3, 3]}}]}",
        7,
        [
            "branches.ChainedScheduler#2: got ChainedScheduler, the same as branches.ChainedScheduler on line 7"
        ],
    ),
    (GOOD + "branchs: [constant]", 6, ["unknown field 'branchs'", "did you mean 'branches'?"]),
]
NESTEROV = [
    (optimizer(f"\n  SGD:\n    {momentum}\n    nesterov: {nesterov}"), 8, ["nesterov without momentum"])
    for momentum in ("lr: 0.1", "momentum: 0", "momentum: {uniform: [0, 0]}", "momentum: [0.0, -0.0]")
    for nesterov in ("true", "[false, true]")
] + [
    (
        optimizer("{SGD: {nesterov: true}}")
        + "schedule: {CyclicLR: {base_lr: 0.1, max_lr: 1, cycle_momentum: false}}",
        5,
        ["optimizer.SGD.nesterov: nesterov without momentum"],
    ),
    (
        optimizer("[{SGD: {momentum: 0.9, nesterov: true}}, {SGD: {nesterov: true}}]"),
        5,
        ["optimizer.SGD#2.nesterov: nesterov without momentum"],
    ),
]
NOT_A_SWEEP = [
    ("", 1, ["an empty file", "task, metric, epochs"]),
    ("# nothing yet\n", 1, ["an empty file"]),
    ("---\n", 2, ["an empty file"]),
    ("- task: digits-mlp", 1, ["file: got a list of 1", "a sweep"]),
    ("sweep", 1, ["file: got 'sweep'", "a sweep"]),
    (GOOD + "seed: [1", 6, ["not YAML", "wants YAML or JSON"]),
    (GOOD + "warmup:\n\tepochs: 1", 7, ["not YAML", "indent with spaces, not tabs"]),
    (GOOD + "a: b: c", 6, ["not YAML (mapping values are not allowed here)"]),
    (GOOD + "---\n" + GOOD, 6, ["a second document", "one document"]),
    (GOOD + "seed: *base", 6, ["the alias *base", "written out"]),
    (GOOD + "seed: !!python/object/apply:os.system [ls]", 6, ["the tag tag:yaml.org,2002:python/object"]),
    (GOOD + "seed: !!int 3", 6, ["the tag tag:yaml.org,2002:int", "without tags"]),
    (GOOD + "name: a\x00b", 6, ["the unprintable character U+0000"]),
    (GOOD + "name: a\ud800b", 6, ["the unprintable character U+D800"]),
    (GOOD + "name: \x1b[31m", 6, ["the unprintable character U+001B"]),
    (GOOD + "? [a, b]\n: 1", 6, ["a list or mapping as a key"]),
    (GOOD + "seed: " + "[" * 5000, 6, [f"more than {DEEPEST} levels"]),
    (GOOD + "seeds:\n" + "- 1\n" * MOST_NODES, None, [f"more than {MOST_NODES:,} values"]),
    (GOOD + "#" * LARGEST_TEXT, None, [f"at most {LARGEST_TEXT:,} bytes (1 MiB)"]),
    (GOOD + '"\\UFFFFFFFF": 1', None, ["not YAML"]),
]


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        *TOP_LEVEL,
        *TASK_AND_METRIC,
        *OPTIMIZERS,
        *GROUPS,
        *RANGES,
        *SCHEDULES,
        *BRANCHES,
        *NESTEROV,
        *NOT_A_SWEEP,
    ],
)
def test_one_mistake_is_told_with_its_line(text: str, line: int | None, words: list[str]) -> None:
    problem = the_problem(text)
    if line is not None:
        assert problem.line == line, str(problem)
    for part in words:
        assert part in str(problem)
    assert "\n" not in str(problem)


def test_the_message_reads_as_one_line() -> None:
    assert str(the_problem(optimizer("\n  SGD:\n    momentun: 0.9"))) == (
        "line 7: optimizer.SGD.momentun: unknown argument 'momentun'; wants one of lr, momentum, dampening, "
        "weight_decay, nesterov, maximize, foreach, differentiable, fused, bias_lr; did you mean 'momentum'?"
    )


def test_all_mistakes_are_told_at_once_by_line() -> None:
    text = """\
task: digits-mpl
metric: {name: val_loss, goal: lower}
epochs: none
optimizer:
  - SGD: {lr: {log: [0, 1]}, momentun: 0.9}
  - Adam: {momentum: 0.9, lr: .nan}
schedule:
  - StepLR
  - OneCycleLR: {max_lr: [0.1, big]}
warmup: {epochs: -1}
seed: 1
seed: 2
"""
    found = problems(text, Overrides(trials=0))
    assert [(problem.line, problem.field) for problem in found] == [
        (1, "task"),
        (2, "metric.goal"),
        (3, "epochs"),
        (5, "optimizer.SGD.lr.log"),
        (5, "optimizer.SGD.momentun"),
        (6, "optimizer.Adam.momentum"),
        (6, "optimizer.Adam.lr"),
        (8, "schedule.StepLR.step_size"),
        (9, "schedule.OneCycleLR.max_lr[1]"),
        (10, "warmup.epochs"),
        (12, "seed"),
        (None, "--trials"),
    ]


def test_the_errors_begin_with_the_files_name_and_survive_pickling() -> None:
    with pytest.raises(SpaceErrors) as caught:
        load(GOOD + "seed: -1\norder: x")
    lines = str(caught.value).splitlines()
    assert lines[0] == "sweep.yaml: 2 problems"
    assert lines[1] == "  line 6: seed: got -1; wants a whole number of at least 0"
    again = pickle.loads(pickle.dumps(caught.value))
    assert (str(again), again.problems) == (str(caught.value), caught.value.problems)


def test_a_message_with_very_many_problems_ends() -> None:
    findings = Findings()
    for line in range(5000):
        findings.problem(line, "field", "got x", "y")
    with pytest.raises(SpaceErrors) as caught:
        findings.raise_if_any("sweep.yaml")
    assert len(caught.value.problems) == 5000
    assert str(caught.value).splitlines()[-1] == "  ... and 4900 more"


@pytest.mark.parametrize(
    ("overrides", "field"),
    [
        (Overrides(trials=0), "--trials"),
        (Overrides(trials=1_000_001), "--trials"),
        (Overrides(epochs=0), "--epochs"),
        (Overrides(seed=-1), "--seed"),
    ],
)
def test_an_override_out_of_bounds_names_the_option(overrides: Overrides, field: str) -> None:
    (problem,) = problems(GOOD, overrides)
    assert (problem.line, problem.field) == (None, field)
    assert str(problem).startswith(f"{field}: got ")


def test_an_override_can_make_the_files_warmup_too_long() -> None:
    (problem,) = problems(GOOD + "warmup: {epochs: 5}", Overrides(epochs=5))
    assert (problem.line, problem.field) == (6, "warmup.epochs")


@pytest.mark.parametrize("stem", ["2024", "", "x" * 101])
def test_a_file_name_that_cannot_be_a_sweeps_name(stem: str) -> None:
    (problem,) = problems(GOOD, stem=stem)
    assert (problem.line, problem.field) == (None, "name")
    assert "the file's name" in str(problem)
    assert load(GOOD + "name: fine", stem=stem).space.name == "fine"


def test_billion_laughs_are_refused_before_they_are_told() -> None:
    bomb = "a: &a [x, x]\n" + "".join(
        f"{name}: &{name} [*{before}, *{before}]\n"
        for before, name in zip("abcdefgh", "bcdefghi", strict=True)
    )
    assert all("alias" in str(problem) for problem in problems(bomb))


@given(st.text(max_size=200))
def test_any_text_is_either_read_or_refused(text: str) -> None:
    with pytest.raises(SpaceErrors):
        load(text)


PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["SGD", "StepLR", "constant", "asha", "val_loss", "grid"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["SGD", "StepLR", "lr", "log", "int", "value", "tuple", "points", "epochs", "x"]),
            inner,
            max_size=3,
        )
    ),
    max_leaves=12,
)


@given(
    field=st.sampled_from(["optimizer", "schedule", "batch_size", "pruner", "seeds", "name", "warmup"]),
    value=PLAIN,
)
def test_any_value_of_any_field_is_either_read_or_refused(field: str, value: object) -> None:
    sweep = {
        "task": "digits-mlp",
        "metric": {"name": "val_loss", "goal": "minimize"},
        "epochs": 20,
        "trials": 8,
        "optimizer": "SGD",
    }
    try:
        loaded = load(json.dumps(sweep | {field: value}))
    except SpaceErrors:
        return
    assert loaded.space.task == "digits-mlp"
