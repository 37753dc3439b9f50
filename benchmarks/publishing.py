"""What publishing a finished sweep costs: seconds of a core, all in, and for each further run.

A made-up sweep is published after its end, by processes of their own, in turn: by MLflow's client and by
rows, each into a new database, which MLflow has to make first, and into one that is there.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from sweeps.records import (
    Measurement,
    NewSweep,
    NewTrial,
    Owner,
    RoundRecord,
    SweepState,
    TrialProgress,
    TrialState,
)
from sweeps.store import open_store

WAYS = {"client": "tracking_rows.COMPARED = ('none', 'none'); ", "rows": ""}
PROGRAM = "import sys; from dashboards import publish, tracking_rows; {}sys.exit(publish.main(sys.argv[1:]))"
START_MS = 1_700_000_000_000
EPOCHS = 20


def make_sweep(folder: Path, trials: int) -> None:
    """Store a finished sweep of trials with six settings and six metrics an epoch."""
    folder.mkdir(parents=True)
    store = open_store(f"sqlite:///{folder / 'ravine.db'}")
    sweep_id = store.create_sweep(
        NewSweep(
            name="made up",
            task="digits-mlp",
            metric="val_loss",
            goal="minimize",
            seed=0,
            epochs=EPOCHS,
            trials=trials,
            spec={"sampler": "random", "pruner": "none", "concurrency": 32},
            columns=("lr", "momentum", "nesterov", "weight_decay", "schedule.step_size", "schedule.gamma"),
        )
    )
    owner = Owner(host="here", pid=1, started=1.0)
    lease = store.take_lease(sweep_id, owner, lease_seconds=600.0, is_dead=lambda _: False)
    for start in range(0, trials, 256):
        numbers = range(start, min(start + 256, trials))
        rows = {number: _curve(number) for number in numbers}
        store.commit_round(
            lease,
            RoundRecord(
                rounds_done=start + 1,
                trials=tuple(_trial(number) for number in numbers),
                started=tuple(numbers),
                measurements=tuple(row for number in numbers for row in rows[number]),
                progress=tuple(_end(rows[number]) for number in numbers),
            ),
        )
    store.finish_sweep(lease, SweepState.finished)
    store.close()


def _trial(number: int) -> NewTrial:
    numbers = {"lr": 10 ** -(1 + number % 31 / 10), "momentum": 1 - 1 / (2 + number % 17), "nesterov": True}
    schedule = {"schedule": "StepLR", "schedule.step_size": 3 + number % 12, "schedule.gamma": 0.3}
    return NewTrial(
        number=number,
        setting_index=number,
        seed=0,
        admitted_round=1,
        lane=0,
        optimizer="SGD",
        schedule="StepLR",
        setting={"optimizer": "SGD", "weight_decay": 0.0005, **numbers, **schedule},
        weight_decay=0.0005,
        **numbers,  # type: ignore[arg-type]
    )


def _curve(number: int) -> list[Measurement]:
    losses = [0.1 + 2.2 * math.exp(-epoch / (2 + number % 7)) for epoch in range(1, EPOCHS + 1)]
    return [
        Measurement(
            number=number,
            epoch=epoch,
            step=44 * epoch,
            lr=0.1 * 0.97**epoch,
            momentum=0.9,
            train_loss=0.9 * loss,
            val_loss=loss,
            grad_norm=3 * loss,
            extra={"val_accuracy": 1 - loss / 3},
            ts_ms=START_MS + 1000 * epoch + number,
        )
        for epoch, loss in enumerate(losses, start=1)
    ]


def _end(rows: Sequence[Measurement]) -> TrialProgress:
    return TrialProgress(
        number=rows[-1].number,
        state=TrialState.finished,
        value=rows[-1].val_loss,
        epochs_done=len(rows),
        epochs_trained=len(rows),
        peak_lr=0.1,
        final_lr=rows[-1].lr,
    )


def core_seconds(way: str, stored: Path, folder: Path, *, mlflow: Path | None) -> float:
    """Of a process that publishes the sweep in ``stored``; ``mlflow``: a database to start from."""
    shutil.copytree(stored, folder)
    if mlflow is not None:
        shutil.copy(mlflow, folder / "mlflow.db")
    command = [sys.executable, "-c", PROGRAM.format(WAYS[way]), "--sweep", "1"]
    command += ["--database", f"sqlite:///{folder / 'ravine.db'}"]
    command += ["--tracking", f"sqlite:///{folder / 'mlflow.db'}", "--artifacts", str(folder / "artifacts")]
    before = os.times()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


def measure(trials: int, repeats: int) -> dict[str, dict[str, list[float]]]:
    """Core-seconds by way: into a new database, into one that is there, there with an eighth of them."""
    found: dict[str, dict[str, list[float]]] = {way: {"new": [], "there": [], "few": []} for way in WAYS}
    with tempfile.TemporaryDirectory(prefix="ravine-publish-") as name:
        folder = Path(name)
        make_sweep(folder / "many", trials)
        make_sweep(folder / "few", trials // 8)
        make_sweep(folder / "one", 1)
        core_seconds("client", folder / "one", folder / "first", mlflow=None)
        there = folder / "first" / "mlflow.db"
        for turn in range(repeats):
            for way, of_way in found.items():
                for case, stored in (("new", "many"), ("there", "many"), ("few", "few")):
                    place = folder / f"{way}-{case}-{turn}"
                    mlflow = None if case == "new" else there
                    of_way[case].append(core_seconds(way, folder / stored, place, mlflow=mlflow))
                    shutil.rmtree(place)
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.publishing", description=__doc__)
    parser.add_argument("--trials", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="the numbers as one JSON object")
    wanted = parser.parse_args(arguments)
    found = measure(wanted.trials, wanted.repeats)
    if wanted.json:
        print(json.dumps({"trials": wanted.trials, "epochs": EPOCHS, "core_seconds": found}))
        return
    print(f"seconds of a core for {wanted.trials} runs of {EPOCHS} epochs, medians of {wanted.repeats}")
    for way, of_way in found.items():
        new, there, few = (median(of_way[case]) for case in ("new", "there", "few"))
        each = 1000 * (there - few) / (wanted.trials - wanted.trials // 8)
        print(
            f"{way:7} new database {new:6.2f}, one that is there {there:6.2f}, each further run {each:.2f} ms"
        )


if __name__ == "__main__":
    main()
