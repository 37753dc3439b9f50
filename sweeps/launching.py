"""Launching: from a stored sweep to a run of it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import time
from typing import TYPE_CHECKING, Any

from search_spaces.space import SearchSpace
from sweeps.cooldowns import cooldown_of
from sweeps.execution_choice import Share, even_share
from sweeps.execution_plan import execution_plan, told_of_plan
from sweeps.processes import available_cores, current_owner
from sweeps.records import SweepRow, SweepState
from sweeps.rungs import judged_after
from sweeps.runner import run_sweep
from sweeps.session import SweepRun
from sweeps.store import Store
from sweeps.sweep_files import task_file_problem
from sweeps.warm_start import earlier_settings
from sweeps.watching import Observer
from workers.messages import WorkerSetup
from workers.pool import Pool, PoolUnavailable
from workers.range_question import RangeQuestion, Stopped
from workers.rate_curves import RateFinding
from workers.speed import SpeedQuestion, Speeds

if TYPE_CHECKING:
    from workers.ray_pool import RayWorkers
    from workers.ray_runtime import RayRuntime

ROWS_WORTH_A_WORKER = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """Where a sweep trains."""

    workers: int
    threads: int  # of each worker
    ray: str  # local | none | an address


def share_out(
    space: SearchSpace,
    *,
    workers: int | None,
    ray: str,
    cores: int,
    devices: int,
    stacked: bool = True,
    threads: int | None = None,
) -> Resources:
    """Workers and the threads of each, so that workers do not fight over cores.

    By default a worker per GPU, else per core, but none with fewer than :data:`ROWS_WORTH_A_WORKER` rows;
    where trials are not stacked, none without a trial. Rows on a processor are trained in one thread: where
    several share an operation, they cut it at places that depend on how many rows there are, and so do bits.
    ``threads``: those of a sweep that is resumed, which keeps them for the same reason.
    """
    if ray == "none":
        count = 1
    else:
        worth = max(1, space.concurrency // (ROWS_WORTH_A_WORKER if stacked else 1))
        count = workers if workers is not None else min(worth, devices or cores)
    if threads is None:
        threads = 1 if stacked and not devices else max(1, cores // count)
    return Resources(workers=count, threads=threads, ray=ray)


def run_stored_sweep(
    store: Store,
    sweep: SweepRow,
    space: SearchSpace,
    *,
    workers: int | None,
    ray: str,
    speeds: Path,
    observer: Observer,
    interrupted: Callable[[], bool],
    runtime: RayRuntime | None = None,
) -> SweepState:
    """Run a stored sweep from wherever it stands; ``speeds``: folder of what was measured before.

    ``runtime``: for ``ray`` local, one that has been begun. Nothing is stored of a sweep that is interrupted
    while it is measured.
    Raises what :func:`sweeps.runner.run_sweep` raises.
    """
    from sweeps.range_test import searched_space
    from sweeps.range_test_words import range_test_words

    plan = sweep.plan or execution_plan(space)
    resources = _resources(space, plan, workers=workers, ray=ray)
    with _started_ahead(runtime, plan, resources) as ahead:
        if sweep.plan is None:
            plan = _measured(plan, sweep, space, workers=workers, ray=ray, speeds=speeds, observer=observer)
            try:
                plan = _range_tested(plan, sweep, space, ray, speeds, observer, interrupted)
            except Stopped:
                return SweepState.waiting
        for sentence in range_test_words(plan):
            observer.said(sentence)
        space = searched_space(space, plan)
        resources = _resources(space, plan, workers=workers, ray=ray)
        setup = _setup(space, plan, resources)
        run = _run_of(store, sweep, space, {**plan, **_told(resources, setup)}, setup, observer, interrupted)

        def start() -> Pool:
            problem = task_file_problem(sweep.spec)
            if problem is not None:
                raise PoolUnavailable(f"{problem}; put it back as it was, and resume")
            # A runtime that has lost a worker is not used again.
            return start_pool(setup, resources, ahead.pop() if ahead else None)

        return run_sweep(run, current_owner(), start)


def _setup(space: SearchSpace, plan: Mapping[str, Any], resources: Resources) -> WorkerSetup:
    """What each worker is told once."""
    from sweeps.measured_plan import width_of

    rows = even_share(space.concurrency, resources.workers).rows
    return WorkerSetup(
        task=space.task,
        metric=space.metric.name,
        epochs=space.epochs,
        execution=plan["execution"],
        device=plan["device"],
        precision=plan.get("precision", "float32"),
        convolutions=plan.get("convolutions", "grouped"),
        threads=resources.threads,
        width=width_of(plan, rows, resources.threads),
        forks=space.forks and plan["execution"] == "stacked",
        cooldown=cooldown_of(space),
        judged_after=judged_after(space),
    )


def _told(resources: Resources, setup: WorkerSetup) -> dict[str, Any]:
    """What the plan says of where and how wide the sweep trains."""
    return {"threads": resources.threads, "workers": resources.workers, "width": setup.width}


def _run_of(
    store: Store,
    sweep: SweepRow,
    space: SearchSpace,
    plan: Mapping[str, Any],
    setup: WorkerSetup,
    observer: Observer,
    interrupted: Callable[[], bool],
) -> SweepRun:
    from workers.equivalence import TrainedRates
    from workers.prefixes import prefixes
    from workers.torch_catalogue import catalogue_for

    follows_schedules = setup.execution != "loop"
    return SweepRun(
        store=store,
        sweep_id=sweep.id,
        space=space,
        catalogue=catalogue_for(space.task),
        plan=plan,
        observer=observer,
        interrupted=interrupted,
        now=time,
        prefixes=partial(prefixes, space.task, space.epochs) if setup.forks else None,
        rates=TrainedRates(task=space.task, epochs=space.epochs) if follows_schedules else None,
        earlier=earlier_settings(sweep.spec),
    )


@contextmanager
def _started_ahead(
    runtime: RayRuntime | None, plan: Mapping[str, Any], resources: Resources
) -> Iterator[list[RayWorkers]]:
    """Workers that load torch while this process measures, to be taken; what nobody takes is ended."""
    ahead: list[RayWorkers] = []
    if runtime is not None:
        from workers.ray_pool import RayWorkers

        ahead.append(RayWorkers(runtime))
        ahead[0].start_soon(plan["device"], resources.threads, resources.workers)
    try:
        yield ahead
    finally:
        for workers in ahead:
            workers.close()


def _measured(
    plan: Mapping[str, Any],
    sweep: SweepRow,
    space: SearchSpace,
    *,
    workers: int | None,
    ray: str,
    speeds: Path,
    observer: Observer,
) -> dict[str, Any]:
    """The plan of a sweep that has none yet, with what was measured for it."""
    from sweeps.measured_plan import Sharing, measured_plan
    from sweeps.speed_memory import SpeedMemory

    def share(execution: str) -> Share:
        resources = _resources(space, {**plan, "execution": execution}, workers=workers, ray=ray)
        return even_share(space.concurrency, resources.workers)

    found = measured_plan(
        dict(plan),
        space,
        task_file=sweep.spec.get("task_file", {}),
        sharing=Sharing(stacked=share("stacked"), solo=share("solo")),
        memory=SpeedMemory(speeds, observer.said),
        ask=partial(_measure, ray=ray),
        said=observer.said,
    )
    for sentence in told_of_plan(found):
        observer.said(f"note: {sentence}")
    return found


def _measure(question: SpeedQuestion, *, ray: str) -> Speeds | None:
    """Here, unless trials train on another machine's processors."""
    if ray in ("local", "none"):
        from workers.speed_benches import speeds_of

        with redirect_stdout(sys.stderr):  # what a task's own code prints is no part of a result
            return speeds_of(question)
    from workers.ray_pool import RayPool

    pool = RayPool(WorkerSetup(task=question.task, metric="", epochs=1, device=question.device), 1, ray)
    try:
        return pool.measure(question)
    finally:
        pool.close()


def _range_tested(
    plan: Mapping[str, Any],
    sweep: SweepRow,
    space: SearchSpace,
    ray: str,
    kept: Path,
    observer: Observer,
    interrupted: Callable[[], bool],
) -> dict[str, Any]:
    """The plan with what the sweep's range test finds, if it has one. Raises Stopped."""
    if space.range_test is None:
        return dict(plan)
    from sweeps.range_test import RangeMemory, range_tested
    from workers.torch_catalogue import catalogue_for

    return range_tested(
        dict(plan),
        space,
        catalogue=catalogue_for(space.task),
        task_file=sweep.spec.get("task_file", {}),
        memory=RangeMemory(kept, observer.said),
        ask=partial(_test_range, ray=ray, interrupted=interrupted),
    )


def _test_range(
    question: RangeQuestion, *, ray: str, interrupted: Callable[[], bool]
) -> tuple[RateFinding, ...]:
    """Here, unless trials train on another machine's processors; there it is not interrupted."""
    if ray in ("local", "none"):
        from workers.range_test import range_test

        with redirect_stdout(sys.stderr):  # what a task's own code prints is no part of a result
            return range_test(question, interrupted)
    from workers.ray_pool import RayPool

    pool = RayPool(WorkerSetup(task=question.task, metric="", epochs=1, device=question.device), 1, ray)
    try:
        return pool.range_test(question)
    finally:
        pool.close()


def _resources(space: SearchSpace, plan: Mapping[str, Any], *, workers: int | None, ray: str) -> Resources:
    import torch

    return share_out(
        space,
        workers=workers,
        ray=ray,
        cores=available_cores(),
        devices=torch.cuda.device_count() if plan["device"] == "cuda" else 0,
        stacked=plan["execution"] == "stacked",
        threads=plan.get("threads"),
    )


def start_pool(setup: WorkerSetup, resources: Resources, started: RayWorkers | None = None) -> Pool:
    """Workers in this process (``none``) or on Ray, those ``started`` first. Raises PoolUnavailable."""
    if resources.ray == "none":
        from workers.in_process_pool import InProcessPool

        return InProcessPool(setup)
    from workers.ray_pool import RayPool
    from workers.tasks.registry import forget_tasks

    forget_tasks()  # what reading the sweep file has loaded is of use in the workers' processes only
    address = None if resources.ray == "local" else resources.ray
    return RayPool(setup, resources.workers, address, started=started)
