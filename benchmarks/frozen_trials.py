"""One frozen list of 64 trials that every system trains, so that nobody's draws are luckier than another's.

Learning rates log-uniform in 1e-4 to 1, 1 - momentum log-uniform in 1e-3 to 1, weight decay log-uniform in
1e-6 to 1e-2, one of five schedules laid out on the training's length, and a seed of its own each. Drawn by
Python's random.Random from one seed, whose numbers are the same on every machine; :func:`digest` tells.
"""

from __future__ import annotations

import hashlib
import json
import math
import random
from dataclasses import replace

from benchmarks.workloads import MAIN, WORKLOADS, Workload
from search_spaces.settings import Schedule, Setting
from workers.messages import Admission

COUNT = 64
SEED = 20_260_101
_DIGITS = 6  # significant digits kept of each number drawn
SCHEDULES = ("constant", "StepLR", "CosineAnnealingLR", "PolynomialLR", "WSD")


def frozen_trials(workload: Workload, *, seeds: int = 1) -> tuple[Admission, ...]:
    """The list as trials of ``workload``; with more ``seeds``, each setting with as many."""
    drawn = random.Random(SEED)
    settings = [_setting(drawn, workload) for _ in range(COUNT)]
    return tuple(
        Admission(number=number, seed=number, setting=settings[number % COUNT])
        for number in range(COUNT * seeds)
    )


def half(trials: tuple[Admission, ...], part: int) -> tuple[Admission, ...]:
    """Every second trial, numbered from 0: the share of one of two processes."""
    return tuple(replace(trial, number=number) for number, trial in enumerate(trials[part::2]))


def digest() -> str:
    """SHA-256 of the list, in hexadecimal."""
    listed = [{"seed": trial.seed, **trial.setting.to_json()} for trial in frozen_trials(WORKLOADS[MAIN])]
    return hashlib.sha256(json.dumps(listed, sort_keys=True).encode()).hexdigest()


def _setting(drawn: random.Random, workload: Workload) -> Setting:
    learning_rate = _log_uniform(drawn, 1e-4, 1.0)
    momentum = _rounded(1 - _log_uniform(drawn, 1e-3, 1.0))
    weight_decay = _log_uniform(drawn, 1e-6, 1e-2)
    return Setting(
        optimizer="SGD",
        arguments={"lr": learning_rate, "momentum": momentum, "weight_decay": weight_decay},
        schedule=_schedule(drawn, workload.epochs),
        batch_size=workload.batch_size,
        task_arguments=workload.task_arguments,
    )


def _schedule(drawn: random.Random, epochs: int) -> Schedule:
    """Two numbers are drawn whichever it is, so that trials do not depend on what came before them."""
    name, first, second = drawn.choice(SCHEDULES), drawn.random(), drawn.random()
    if name == "StepLR":
        step = 1 + int(first * epochs * 0.75)
        return Schedule(name=name, arguments={"step_size": step, "gamma": _rounded(0.05 + 0.85 * second)})
    if name == "CosineAnnealingLR":
        return Schedule(name=name, arguments={"T_max": epochs})
    if name == "PolynomialLR":
        return Schedule(name=name, arguments={"total_iters": epochs, "power": _rounded(0.5 + 2 * second)})
    if name == "WSD":
        start = min(int(epochs * (0.5 + 0.4 * first)), epochs - 1)
        return Schedule(name=name, arguments={"decay_start": start, "decay_length": epochs - start})
    return Schedule()


def _log_uniform(drawn: random.Random, low: float, high: float) -> float:
    return _rounded(math.exp(drawn.uniform(math.log(low), math.log(high))))


def _rounded(number: float) -> float:
    return float(f"{number:.{_DIGITS}g}")
