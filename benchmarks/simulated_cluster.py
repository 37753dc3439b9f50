"""How far the runner carries: the real one, with Optuna and its store, on a simulated cluster.

Each run has a process and a database of its own. Times are of this machine's wall clock without what the
simulation itself takes, where not said otherwise; those of the cluster are virtual. A decision's latency
reaches from the report that completes a round to the last of the orders that follow it, its commit included.
"""

from __future__ import annotations

import argparse
import cProfile
import json
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import pairwise
from pathlib import Path
from statistics import median, quantiles
from tempfile import TemporaryDirectory
from time import process_time, time
from typing import cast

from benchmarks.clocks import timed_methods
from benchmarks.control_plane import PARTS, TEXT, _profile_text
from benchmarks.null_store import NullStore
from benchmarks.simulated_pool import Cluster, Conditions
from benchmarks.simulated_watch import Watch, WatchedPool
from search_spaces.space import SearchSpace
from sweeps.processes import current_owner
from sweeps.records import SweepState
from sweeps.runner import run_sweep
from sweeps.session import SweepRun
from sweeps.store import Store, file_url, open_store
from sweeps.sweep_files import new_sweep

COLUMNS = (
    ("workers", "workers", "d"),
    ("slots", "slots", "d"),
    ("trials", "trials", "d"),
    ("seconds", "seconds", ".1f"),
    ("trials_per_second", "trials/s", ".0f"),
    ("epochs_per_second", "epochs/s", ".0f"),
    ("processor_ms", "cpu ms/trial", ".2f"),
    ("decisions", "decisions", "d"),
    ("decision_ms_median", "decision ms", ".1f"),
    ("decision_ms_p99", "p99", ".1f"),
    ("virtual_hours", "virtual h", ".2f"),
    ("occupancy", "occupancy", ".3f"),
    ("resident_mib_added", "MiB added", ".0f"),
    ("sessions", "sessions", "d"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One run."""

    workers: int
    slots: int  # a worker
    trials: int
    epochs: int
    order: str
    pruner: str
    store: str  # sqlite | none
    loss_seconds: float | None
    epoch_seconds: float
    runner_takes_time: bool
    profile: bool


@dataclass(slots=True, kw_only=True)
class Answer:
    """What one run took."""

    workers: int
    slots: int
    trials: int
    seconds: float
    processor_ms: float  # a trial, of all this process's threads, without the simulation's own
    simulation_seconds: float  # not part of ``seconds``
    trials_per_second: float
    epochs_per_second: float  # stored, those trained again after a loss not counted
    decisions: int
    decision_ms_median: float
    decision_ms_p99: float
    virtual_hours: float
    occupancy: float  # share of all slots in which a row was in training, over virtual time
    resident_mib_added: float  # most of it at once, beyond what was there before the sweep
    sessions: int
    epochs_trained: int  # an epoch trained again after a loss counted again
    epochs_stored: int
    first_orders_seconds: list[float]  # by session: from its pool to its first orders, read from the store
    parts: dict[str, float]  # milliseconds a trial, without the simulation's own
    usage: dict[str, float] = field(default_factory=dict)
    profile: str = ""


def answer(question: Question) -> Answer:
    """Run one sweep from its first proposal to its end."""
    from search_spaces.files import load_space
    from workers.torch_catalogue import torch_catalogue

    text = f"{TEXT}pruner: {question.pruner}\norder: {question.order}\n"
    numbers = {"concurrency": question.workers * question.slots, "trials": question.trials}
    for name, number in (numbers | {"epochs": question.epochs}).items():
        text = text.replace(name.upper(), str(number))
    catalogue = torch_catalogue()
    space = load_space(text, source="this file", stem="simulated_cluster", catalogue=catalogue).space
    new = new_sweep(space, {})
    if question.store == "none":
        return _run(question, space, cast(Store, NullStore(new)), 1)
    with TemporaryDirectory(prefix="ravine-") as folder:
        store = open_store(file_url(Path(folder) / "ravine.db"))
        try:
            found = _run(question, space, store, store.create_sweep(new))
            assert sum(store.trial_counts(1).values()) == question.trials
            return found
        finally:
            store.close()


def _run(question: Question, space: SearchSpace, store: Store, sweep_id: int) -> Answer:
    from workers.prefixes import prefixes
    from workers.torch_catalogue import torch_catalogue

    watch = Watch()
    cluster = Cluster(
        conditions=Conditions(
            workers=question.workers,
            slots=question.slots,
            epoch_seconds=question.epoch_seconds,
            loss_seconds=question.loss_seconds,
        ),
        epochs=space.epochs,
        runner_clock=watch.runner_seconds if question.runner_takes_time else None,
    )
    run = SweepRun(
        store=store,
        sweep_id=sweep_id,
        space=space,
        catalogue=torch_catalogue(),
        plan={"execution": "stacked"},
        observer=watch,
        interrupted=lambda: False,
        now=time,
        clock=lambda: cluster.now,
        prefixes=partial(prefixes, space.task, space.epochs),
    )
    profiler = cProfile.Profile() if question.profile else None
    with timed_methods(PARTS) as clocks:
        began, processor = watch.runner_seconds(), process_time()
        if profiler is not None:
            profiler.enable()
        state = SweepState.waiting
        while state is SweepState.waiting:  # after too many losses without progress: resumed at once
            state = run_sweep(run, current_owner(), lambda: WatchedPool(cluster.start_pool(), watch))
        if profiler is not None:
            profiler.disable()
        seconds = watch.runner_seconds() - began
        processor = process_time() - processor - watch.simulation_processor
    assert state is SweepState.finished, state
    parts = {name: 1000 * clock.wall / question.trials for name, clock in clocks.items()}
    parts["ledger"] -= parts["ask"]
    parts["session"] = 1000 * seconds / question.trials - sum(parts.values())
    decisions = list(watch.decisions)
    return Answer(
        workers=question.workers,
        slots=question.workers * question.slots,
        trials=question.trials,
        seconds=seconds,
        processor_ms=1000 * processor / question.trials,
        simulation_seconds=watch.simulation_seconds,
        trials_per_second=question.trials / seconds,
        epochs_per_second=watch.epochs_done / seconds,
        decisions=len(decisions),
        decision_ms_median=1000 * median(decisions),
        decision_ms_p99=1000 * quantiles(decisions, n=100, method="inclusive")[98],
        virtual_hours=cluster.now / 3600,
        occupancy=cluster.occupancy,
        resident_mib_added=watch.resident_added / 2**20,
        sessions=cluster.pools,
        epochs_trained=cluster.epochs_trained,
        epochs_stored=watch.epochs_done,
        first_orders_seconds=watch.first_orders,
        parts=parts,
        usage=dict(store.sweep(sweep_id).usage or {}),
        profile="" if profiler is None else _profile_text(profiler),
    )


def _row(values: list[str]) -> str:
    return "  ".join(
        value.rjust(max(8, len(head))) for value, (_, head, _) in zip(values, COLUMNS, strict=True)
    )


def _growth(few: Answer, many: Answer) -> str:
    """What more workers or trials make of the costs, as ratios."""
    memory = (many.resident_mib_added - few.resident_mib_added) / max(1, many.trials - few.trials)
    return (
        f"{few.slots} slots, {few.trials} trials -> {many.slots} slots, {many.trials} trials: "
        f"seconds a trial x {few.trials_per_second / many.trials_per_second:.2f}, "
        f"of the processor x {many.processor_ms / few.processor_ms:.2f}, "
        f"decision's median x {many.decision_ms_median / few.decision_ms_median:.2f}"
        + (f", memory {1024 * memory:.2f} KiB a further trial" if many.trials > few.trials else "")
    )


def main() -> None:
    """Print a table; with ``--json`` the last line is one object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, nargs="+", default=[4, 64, 1024, 4096])
    parser.add_argument("--slots", type=int, default=1, help="rows that a worker trains at once")
    parser.add_argument("--trials", type=int, nargs="+", default=[10_000])
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--order", choices=("rounds", "arrival"), default="rounds")
    parser.add_argument("--pruner", choices=("none", "asha"), default="none")
    parser.add_argument("--store", choices=("sqlite", "none"), default="sqlite")
    parser.add_argument("--loss-seconds", type=float, help="virtual seconds between losses of a worker")
    parser.add_argument("--epoch-seconds", type=float, default=10.0, help="virtual, median over trials")
    parser.add_argument(
        "--runner-takes-time", action="store_true", help="virtual time goes on while the runner decides"
    )
    parser.add_argument("--profile", action="store_true", help="where Python spends its time; slows all down")
    parser.add_argument("--json", action="store_true")
    given = vars(parser.parse_args())
    as_json, workers, trials = given.pop("json"), given.pop("workers"), given.pop("trials")
    print(_row([head for _, head, _ in COLUMNS]))
    answers: list[Answer] = []
    for worker_count in sorted(workers):
        for trial_count in sorted(trials):
            question = Question(workers=worker_count, trials=trial_count, **given)
            # A process of its own, so that memory is this run's.
            with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
                answers.append(process.submit(answer, question).result())
            print(_row([f"{getattr(answers[-1], name):{form}}" for name, _, form in COLUMNS]), flush=True)
            if answers[-1].profile:
                print(answers[-1].profile)
    for found in answers:
        parts = ", ".join(f"{part} {milliseconds:.3f}" for part, milliseconds in found.parts.items())
        print(f"{found.slots} slots, {found.trials} trials: ms a trial: {parts}")
        if found.sessions > 1:
            print(
                f"  from a loss to orders, at most: {max(found.first_orders_seconds[1:]):.2f} s; "
                f"epochs trained / stored: {found.epochs_trained / found.epochs_stored:.2f}"
            )
    for few, many in pairwise(answers):
        print(_growth(few, many))
    if as_json:
        print(json.dumps({"runs": [asdict(found) for found in answers]}))


if __name__ == "__main__":
    main()
