"""Ravine as it is measured: its worker alone in two pinned processes, and whole launches."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter, time
from typing import Any

from benchmarks.frozen_trials import frozen_trials, half
from benchmarks.whole_process import ROOT, run
from benchmarks.workloads import WORKLOADS, Workload
from workers.messages import Admission, Diverged, Failed, Orders, WorkerSetup

SWEEP = """\
task: TASK
task_args: ARGUMENTS
metric: {name: val_loss, goal: minimize}
epochs: EPOCHS
batch_size: BATCH
optimizer: {SGD: {lr: {log: [1e-4, 1.0]}, momentum: {log1m: [0.0, 0.99]}}}
trials: TRIALS
concurrency: TRIALS
"""
"""A sweep of a workload, for what Ravine decides before it trains one."""


class LaunchFailed(RuntimeError):
    """A launch did not end as it should; the text is the end of what it said."""


def plan_for(_part: int, name: str, rows: int, processes: int = 2) -> dict[str, Any]:
    """What Ravine's own measurement chooses for ``rows`` trials in each of ``processes`` workers.

    ``execution``, ``convolutions`` and ``width``, as a launch would.
    """
    import tempfile

    from sweeps.execution_choice import Share
    from sweeps.execution_plan import execution_plan
    from sweeps.measured_plan import Sharing, measured_plan, width_of
    from sweeps.speed_memory import SpeedMemory
    from workers.speed_benches import speeds_of

    workload = WORKLOADS[name]
    space = _space(workload, processes * rows)
    share = Share(workers=processes, rows=rows)
    said: list[str] = []
    with tempfile.TemporaryDirectory(prefix="ravine-speeds-") as folder:
        plan = measured_plan(
            execution_plan(space),
            space,
            task_file={},
            sharing=Sharing(stacked=share, solo=share),
            memory=SpeedMemory(Path(folder), said.append),
            ask=speeds_of,
            said=said.append,
        )
    return {
        "execution": plan["execution"],
        "convolutions": plan.get("convolutions", "grouped"),
        "width": width_of(plan, rows, 1),
        "said": said,
    }


def _space(workload: Workload, trials: int) -> Any:
    from sweeps.sweep_files import checked_space
    from workers.local_code import LocalCode

    text = SWEEP
    for name, value in (
        ("TASK", workload.task),
        ("ARGUMENTS", json.dumps(dict(workload.task_arguments))),
        ("EPOCHS", max(workload.epochs, 50)),  # long enough to be worth measuring
        ("BATCH", workload.batch_size),
        ("TRIALS", trials),
    ):
        text = text.replace(name, str(value))
    code = LocalCode({"the repository": ROOT})
    from search_spaces.files import Overrides

    return checked_space(text, "this file", workload.name, Overrides(), code).space


_workers: dict[str, Any] = {}  # of this process, by what they were set up for


def train_half(
    part: int, name: str, plan: Mapping[str, Any], rows: int, seeds: int = 1, count: int | None = None
) -> dict[str, float]:
    """Train this process's half of the frozen trials, at most ``rows`` at once; places are filled again."""
    workload = WORKLOADS[name]
    worker = _worker(workload, plan)
    trials = half(frozen_trials(workload, seeds=seeds), part)[:count]
    began = perf_counter()
    steps = _trained(worker, trials, workload, rows)
    return {"trial_steps": steps, "seconds": perf_counter() - began}


def _worker(workload: Workload, plan: Mapping[str, Any]) -> Any:
    from workers.worker import Worker

    setup = WorkerSetup(
        task=workload.task,
        metric="val_loss",
        epochs=workload.epochs,
        execution=plan["execution"],
        convolutions=plan["convolutions"],
        width=plan["width"],
    )
    if repr(setup) not in _workers:
        _workers[repr(setup)] = Worker(setup)
    return _workers[repr(setup)]


def _trained(worker: Any, trials: Sequence[Admission], workload: Workload, rows: int) -> int:
    """Trial-steps made, those of a diverged epoch too. Raises RuntimeError where a trial fails."""
    from workers.tasks.registry import training_size

    arguments = tuple(sorted(workload.task_arguments.items()))
    updates = training_size(workload.task, arguments).updates_per_epoch(workload.batch_size)
    waiting = list(reversed(trials))
    training: set[int] = set()
    epochs, round_ = 0, 0
    while waiting or training:
        admitted = [waiting.pop() for _ in range(min(rows - len(training), len(waiting)))]
        training |= {trial.number for trial in admitted}
        round_ += 1
        orders = Orders(lane=0, round=round_, admit=tuple(admitted), advance=tuple(sorted(training)))
        for outcome in worker.carry_out(orders).outcomes:
            if isinstance(outcome, Failed):
                raise RuntimeError(f"trial {outcome.number} failed: {outcome.message}\n{outcome.traceback}")
            epochs += 1
            if isinstance(outcome, Diverged) or outcome.epoch == workload.epochs:
                training.discard(outcome.number)
    return epochs * updates


@dataclass(frozen=True, slots=True, kw_only=True)
class Launched:
    """One launch, from the start of its process until MLflow was up to date and the process ended."""

    seconds: float
    core_seconds: float  # of all its processes
    result: Mapping[str, Any]  # the object of --json
    began_ms: int  # of the wall clock


def launch(file: Path, home: Path, *options: str, workers: int = 2) -> Launched:
    """``ravine launch FILE``. Raises LaunchFailed where its exit code is not 0, or not all is published."""
    command = [sys.executable, "-m", "sweeps", "launch", str(file), "--home", str(home)]
    command += ["--workers", str(workers), "--json", *options]
    began_ms = int(1000 * time())
    ran = run(command)
    if ran.code != 0 or "not up to date" in ran.said:
        raise LaunchFailed(f"exit code {ran.code}: {ran.said[-2000:]}")
    result = json.loads(ran.output.splitlines()[-1])
    return Launched(seconds=ran.seconds, core_seconds=ran.core_seconds, result=result, began_ms=began_ms)
