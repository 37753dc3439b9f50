"""Time to a target loss, after AlgoPerf's rules (MLCommons, external tuning), made smaller.

The target: 64 settings are drawn at random and trained; the best eight are trained again with ten seeds
each, and the target is the best of their medians of the last val_loss. (The rules train the best one again;
here that is a setting on the edge of stability that one seed was kind to, whose median is far worse.) Each
study then searches with a seed of its own until any epoch of any trial is as good. The clock covers
everything from the start of the process: imports, Ray, proposing, training, and storing the measurement that
counts (Ray Tune stores nothing here: it is clocked when its driver hears it). A study that does not reach
the target counts as infinite. The score is the median over studies.
"""

from __future__ import annotations

import json
import math
import random
import sqlite3
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from time import time
from typing import Any

import yaml

from benchmarks import main_job
from benchmarks.ravine_side import launch
from benchmarks.whole_process import Ran, run
from search_spaces.settings import Setting

DRAWN, CANDIDATES, SEEDS = 64, 8, 10
EPOCHS, TRIALS = 20, 256
TARGET_SEED = 64_010


class RivalFailed(RuntimeError):
    """A rival's process did not end as it should; the text is the end of what it said."""


class RandomParameters:
    """Suggests at random, each number uniformly on its own axis."""

    def __init__(self, seed: int) -> None:
        self._drawn = random.Random(seed)

    def suggest_float(self, _: str, low: float, high: float, *, log: bool = False) -> float:
        if log:
            return math.exp(self._drawn.uniform(math.log(low), math.log(high)))
        return self._drawn.uniform(low, high)

    def suggest_int(self, _: str, low: int, high: int) -> int:
        return self._drawn.randint(low, high)

    def suggest_categorical(self, _: str, choices: Sequence[object]) -> object:
        return self._drawn.choice(choices)


def target(drawn: int = DRAWN, seeds: int = SEEDS, epochs: int = EPOCHS) -> float:
    """The val_loss to reach; trained by rows of this process, which is quick."""
    suggest = RandomParameters(TARGET_SEED)
    settings = [main_job.suggested(suggest) for _ in range(drawn)]
    values = _last_losses([(setting, 0) for setting in settings], epochs)
    best = sorted(range(drawn), key=lambda number: values[number])[:CANDIDATES]
    again = _last_losses([(settings[number], seed) for number in best for seed in range(seeds)], epochs)
    return min(median(again[first : first + seeds]) for first in range(0, len(again), seeds))


def _last_losses(trials: Sequence[tuple[Setting, int]], epochs: int) -> list[float]:
    """The last val_loss of each setting with its seed; infinite where it diverged."""
    from workers.messages import Admission, Failed, Measured, Orders, WorkerSetup
    from workers.worker import Worker

    worker = Worker(WorkerSetup(task=main_job.TASK, metric="val_loss", epochs=epochs))
    admitted = tuple(
        Admission(number=number, seed=seed, setting=setting) for number, (setting, seed) in enumerate(trials)
    )
    values = [math.inf] * len(trials)
    numbers = tuple(range(len(trials)))
    for round_ in range(1, epochs + 1):
        orders = Orders(lane=0, round=round_, admit=admitted if round_ == 1 else (), advance=numbers)
        for outcome in worker.carry_out(orders).outcomes:
            if isinstance(outcome, Failed):
                raise RuntimeError(outcome.message)
            values[outcome.number] = (
                outcome.metrics["val_loss"] if isinstance(outcome, Measured) else math.inf
            )
    return values


def seconds_of_ravine(target: float, seed: int, trials: int = TRIALS, epochs: int = EPOCHS) -> float:
    """Until Ravine with its ASHA has stored a measurement that is as good; infinite where it never has."""
    described = yaml.safe_load(main_job.FILE.read_text(encoding="utf-8"))
    described |= {"pruner": "asha", "seed": seed, "trials": trials, "epochs": epochs}
    with tempfile.TemporaryDirectory(prefix="ravine-target-") as folder:
        file, home = Path(folder) / "to_target.yaml", Path(folder) / "home"
        file.write_text(yaml.safe_dump(described), encoding="utf-8")
        launched = launch(file, home)
        return reached(home / "ravine.db", target, launched.began_ms)


def reached(database: Path, target: float, began_ms: int) -> float:
    """Seconds from ``began_ms`` to the first stored measurement that is as good as the target."""
    connection = sqlite3.connect(database)
    try:
        query = "SELECT min(ts_ms) FROM measurements WHERE val_loss <= ?"
        (first,) = connection.execute(query, (target,)).fetchone()
    finally:
        connection.close()
    return math.inf if first is None else (first - began_ms) / 1000


def seconds_of_ray_tune(target: float, seed: int, trials: int = TRIALS, epochs: int = EPOCHS) -> float:
    """Until Ray Tune with ASHAScheduler has heard of an epoch that is as good; infinite where it has not."""
    began = time()
    found, _ = run_rival(
        "ray_tune_rival",
        *("--trials", str(trials), "--epochs", str(epochs), "--seed", str(seed)),
        *("--asha", "--target", repr(target)),
    )
    return math.inf if found["target_at"] is None else found["target_at"] - began


def run_rival(module: str, *arguments: str) -> tuple[dict[str, Any], Ran]:
    """A rival's whole process: the object that it prints last, and what it took. Raises RivalFailed."""
    ran = run([sys.executable, "-m", f"benchmarks.{module}", *arguments])
    lines = ran.output.splitlines()
    if ran.code != 0 or not lines:
        raise RivalFailed(f"{module}: exit code {ran.code}: {ran.said[-2000:]}")
    found: dict[str, Any] = json.loads(lines[-1])
    if found.get("failed"):
        raise RivalFailed(f"{module}: {found['failed']} trials failed")
    return found, ran
