"""Ray Tune with OptunaSearch on the main job, at its best: two workers of one CPU each.

Trainables of the class API are reused (``reset_config``), results are buffered to one message a trial where
no pruner waits for them, loggers, callbacks, checkpoints, progress output and the dashboard are off, threads
are one a worker. With ``--asha`` ASHAScheduler stops trials, which needs every result at once.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Sequence
from time import time
from typing import Any

WORKERS = 2
QUIET = {
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_TRAIN_ENABLE_V2_MIGRATION_WARNINGS": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000000",  # no snapshots of the experiment meanwhile
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "1000000000",
    "OMP_NUM_THREADS": "1",
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a study; the last line of stdout is one object."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ray_tune_rival", description=__doc__)
    parser.add_argument("--trials", type=int, default=256)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--asha", action="store_true")
    parser.add_argument("--target", type=float, help="stop at the first val_loss that is no larger")
    parser.add_argument("--concurrent", type=int, default=WORKERS, help="trials that Tune keeps open")
    parser.add_argument("--no-buffer", action="store_true", help="a message an epoch")
    wanted = parser.parse_args(arguments)
    os.environ.update(QUIET)
    if not wanted.asha and not wanted.no_buffer and wanted.target is None:
        # Tune passes these two to train_buffered in the other's place: both have to be the number of results.
        os.environ["TUNE_RESULT_BUFFER_LENGTH"] = str(wanted.epochs)
        os.environ["TUNE_RESULT_BUFFER_MIN_TIME_S"] = str(wanted.epochs)
    print(json.dumps(study(wanted)))


def study(wanted: argparse.Namespace) -> dict[str, Any]:
    """Trials by state, the best value, and the moments of the wall clock at which things happened."""
    import ray
    from ray import tune
    from ray.tune.schedulers import ASHAScheduler
    from ray.tune.search.optuna import OptunaSearch

    ray.init(
        address="local",
        num_cpus=WORKERS,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="error",
        runtime_env={"env_vars": {"OMP_NUM_THREADS": "1"}},
    )
    began = time()
    stopper = _at_target(tune.Stopper, wanted.target)
    with tempfile.TemporaryDirectory(prefix="ray-tune-") as folder:
        tuner = tune.Tuner(
            tune.with_resources(_trainable(tune.Trainable, wanted.epochs), {"cpu": 1}),
            tune_config=tune.TuneConfig(
                metric="val_loss",
                mode="min",
                search_alg=OptunaSearch(_define_by_run, metric="val_loss", mode="min", seed=wanted.seed),
                scheduler=ASHAScheduler(max_t=wanted.epochs, grace_period=1, reduction_factor=4)
                if wanted.asha
                else None,
                num_samples=wanted.trials,
                max_concurrent_trials=wanted.concurrent,
                reuse_actors=True,
            ),
            run_config=tune.RunConfig(
                storage_path=folder,
                verbose=0,
                stop=stopper,
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            ),
        )
        results = tuner.fit()
        ended = time()
        values = [result.metrics["val_loss"] for result in results if "val_loss" in (result.metrics or {})]
    found = {
        "trials": len(values),
        "failed": len(results.errors),
        "best": min(values),
        "tuning_began": began,
        "tuning_ended": ended,
        "target_at": stopper.reached_at,
    }
    ray.shutdown()
    return found


def _define_by_run(trial: Any) -> None:
    from benchmarks.main_job import suggested

    suggested(trial)


def _trainable(base: Any, epochs: int) -> Any:
    class MainJob(base):  # type: ignore[misc]
        """One actor, which trains one trial after another."""

        def setup(self, config: dict[str, Any]) -> None:
            import torch

            torch.set_num_threads(1)
            self.reset_config(config)

        def reset_config(self, new_config: dict[str, Any]) -> bool:
            from benchmarks.main_job import GivenParameters, plain_trial, suggested

            setting = suggested(GivenParameters(new_config))
            self.trial = plain_trial(setting, seed=0, epochs=epochs)
            return True

        def step(self) -> dict[str, Any]:
            from benchmarks.main_job import LOST, judged

            value = judged(self.trial, self.trial.train_epoch())
            return {"val_loss": value, "done": value == LOST or self.trial.epochs_done == epochs}

    return MainJob


def _at_target(base: Any, target: float | None) -> Any:
    class AtTarget(base):  # type: ignore[misc]
        """Ends the study when a result is good enough."""

        reached_at: float | None = None

        def __call__(self, _: str, result: dict[str, Any]) -> bool:
            if target is not None and self.reached_at is None and result["val_loss"] <= target:
                self.reached_at = time()
            return self.stop_all()

        def stop_all(self) -> bool:
            return self.reached_at is not None

    return AtTarget()


if __name__ == "__main__":
    main()
