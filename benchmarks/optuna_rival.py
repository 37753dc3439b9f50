"""Optuna on the main job, at its best: TPE, RDB storage on SQLite, two pinned processes of one thread.

Every epoch is reported, so that every epoch lands in SQL, as Ravine's do; ``--no-reports`` leaves that out.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

NAME = "main-job"
PROCESSES = 2
LOCK_SECONDS = 100.0


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a study; the last line of stdout is one object."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.optuna_rival", description=__doc__)
    parser.add_argument("--trials", type=int, default=256)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--no-reports", action="store_true", help="only a trial's last value lands")
    wanted = parser.parse_args(arguments)
    os.environ["OMP_NUM_THREADS"] = "1"
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with tempfile.TemporaryDirectory(prefix="optuna-") as folder:
        url = f"sqlite:///{Path(folder) / 'optuna.db'}"
        optuna.create_study(study_name=NAME, storage=_storage(url), direction="minimize")
        context = multiprocessing.get_context("spawn")
        cores = sorted(os.sched_getaffinity(0))
        begun = context.Value("i", 0)
        processes = [
            context.Process(
                target=_optimize,
                args=(url, begun, wanted, part, cores[part % len(cores)]),
            )
            for part in range(PROCESSES)
        ]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
        assert all(process.exitcode == 0 for process in processes), "a process of the study failed"
        study = optuna.load_study(study_name=NAME, storage=_storage(url))
        print(json.dumps({"trials": len(study.trials), "best": study.best_value}))


def _storage(url: str) -> Any:
    """SQLite's own five seconds of waiting for the other process end a study on a busy machine."""
    from optuna.storages import RDBStorage

    return RDBStorage(url, engine_kwargs={"connect_args": {"timeout": LOCK_SECONDS}})


def _optimize(url: str, begun: Any, wanted: argparse.Namespace, part: int, core: int) -> None:
    """Trials one after another until both processes together have ``begun`` as many as asked."""
    os.sched_setaffinity(0, {core})
    import optuna
    import torch

    from benchmarks.main_job import suggested, train

    torch.set_num_threads(1)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sampler = optuna.samplers.TPESampler(seed=wanted.seed + part)
    study = optuna.load_study(study_name=NAME, storage=_storage(url), sampler=sampler)

    def objective(trial: optuna.Trial) -> float:
        def report(epoch: int, value: float) -> bool:
            if not wanted.no_reports:
                trial.report(value, epoch)
            return False

        return train(suggested(trial), seed=0, epochs=wanted.epochs, report=report)

    while _another(begun, wanted.trials):
        study.optimize(objective, n_trials=1)


def _another(begun: Any, trials: int) -> bool:
    with begun.get_lock():
        begun.value += 1
        return bool(begun.value <= trials)


if __name__ == "__main__":
    main()
