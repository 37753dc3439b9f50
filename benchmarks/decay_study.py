"""The decay study: 4 learning rates x 3 momenta x 12 decays that begin after 80 % of the training.

Ravine trains each of the 12 trunks once and copies its row at the branch; with ``forks: false`` each of the
144 trials trains from its start. Both are whole launches of one sweep file, with the same settings, seed and
concurrency, clocked until everything is published; beside them the training alone, from the end of the first
epoch to that of the last. The bound is epochs asked over distinct epochs: 20 / (0.8 * 20 / 12 + 0.2 * 20) =
3.75.
"""

from __future__ import annotations

import sqlite3
import tempfile
from dataclasses import dataclass
from pathlib import Path

import yaml

from benchmarks.ravine_side import launch
from benchmarks.workloads import WORKLOADS

FILE = Path(__file__).with_name("decay_study.yaml")
TRUNKS, DECAYS = 12, 12
EPOCHS, SHARED = 20, 16
BOUND = TRUNKS * DECAYS * EPOCHS / (TRUNKS * (SHARED + DECAYS * (EPOCHS - SHARED)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Studied:
    """One launch of the study."""

    seconds: float  # from the start of the process to its end, published
    core_seconds: float  # of all its processes
    training_seconds: float  # between the first and the last measurement
    epochs_asked: int
    epochs_trained: int
    values: tuple[float, ...]  # of the trials in their order: forks must not change them


def study(task: str, *, forks: bool) -> Studied:
    """Launch the study on a workload."""
    with tempfile.TemporaryDirectory(prefix="ravine-decay-") as folder:
        file, home = Path(folder) / "decay_study.yaml", Path(folder) / "home"
        file.write_text(sweep_file(task, forks=forks), encoding="utf-8")
        launched = launch(file, home)
        return read(home / "ravine.db", launched.seconds, launched.core_seconds)


def sweep_file(task: str, *, forks: bool) -> str:
    """The study's sweep file for a workload."""
    workload = WORKLOADS[task]
    described = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    described |= {
        "task": workload.task,
        "task_args": dict(workload.task_arguments),
        "batch_size": workload.batch_size,
        "forks": forks,
    }
    return yaml.safe_dump(described)


def read(database: Path, seconds: float, core_seconds: float) -> Studied:
    """What a launch has stored."""
    connection = sqlite3.connect(database)
    try:
        rows = connection.execute("SELECT epochs_done, epochs_trained, value FROM trials ORDER BY number")
        trials = rows.fetchall()
        first, last = connection.execute("SELECT min(ts_ms), max(ts_ms) FROM measurements").fetchone()
    finally:
        connection.close()
    return Studied(
        seconds=seconds,
        core_seconds=core_seconds,
        training_seconds=(last - first) / 1000,
        epochs_asked=sum(done for done, _, _ in trials),
        epochs_trained=sum(trained for _, trained, _ in trials),
        values=tuple(value for _, _, value in trials),
    )
