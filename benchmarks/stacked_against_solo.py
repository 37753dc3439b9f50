"""How much faster trials train as rows of a population than one after another, on this machine.

Both are timed in one run, on the same data, after one epoch that nobody times. Seconds are of one epoch of
one trial; the last column is their ratio.
"""

from __future__ import annotations

import argparse
from time import perf_counter

import torch

from search_spaces.settings import Setting
from workers.messages import Admission, Orders, WorkerSetup
from workers.worker import Worker

TASKS = ("digits-mlp", "digits-cnn", "mnist1d", "chars")
BATCH_SIZE = 64
SOLO_TRIALS = 2


def seconds_per_trial(task: str, device: str, precision: str, width: int, execution: str) -> float:
    """Seconds that one epoch of one of ``width`` trials takes, the second of two epochs."""
    threads = torch.get_num_threads()
    worker = Worker(
        WorkerSetup(
            task=task,
            metric="val_loss",
            epochs=3,
            execution=execution,
            device=device,
            precision=precision,
            threads=threads,
            width=width,
        )
    )
    numbers = tuple(range(width))
    trials = tuple(
        Admission(
            number=number,
            seed=number,
            setting=Setting(
                optimizer="SGD",
                arguments={"lr": 0.001 * (number + 1), "momentum": 0.9},
                batch_size=BATCH_SIZE,
            ),
        )
        for number in numbers
    )
    report = worker.carry_out(Orders(lane=0, round=1, admit=trials, advance=numbers))
    assert len(report.outcomes) == width, report.outcomes
    began = perf_counter()
    worker.carry_out(Orders(lane=0, round=2, advance=numbers))  # ends with results on the host
    return (perf_counter() - began) / width


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--precision", default="float32", choices=("float32", "tf32", "bf16"))
    parser.add_argument("--widths", type=int, nargs="+", default=[8, 32])
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), choices=TASKS)
    given = parser.parse_args()
    where = (
        torch.cuda.get_device_name() if given.device == "cuda" else f"{torch.get_num_threads()} CPU threads"
    )
    print(f"{where}, torch {torch.__version__}, {given.precision}, batches of {BATCH_SIZE}")
    print(f"{'task':12}{'width':>7}{'solo s':>12}{'stacked s':>12}{'ratio':>8}")
    for task in given.tasks:
        solo = seconds_per_trial(task, given.device, given.precision, SOLO_TRIALS, "solo")
        for width in given.widths:
            stacked = seconds_per_trial(task, given.device, given.precision, width, "stacked")
            print(f"{task:12}{width:7}{solo:12.4f}{stacked:12.4f}{solo / stacked:8.2f}", flush=True)


if __name__ == "__main__":
    main()
