"""Start-up: from `ravine launch` to the first stored epoch, beside what Ray and PyTorch alone need.

In turn, each as a process of its own from its first instruction on: a bare script that starts Ray and has one
actor import torch and answer; the main job launched in a new home, where widths are measured first; the same
where they were measured before; and `ravine --help`. A launch ends for us when a measurement is in the store.
Beside the time, what all processes have used of the processors until then, which tells more where others use
the machine too.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from time import monotonic, sleep

import psutil

FILE = Path(__file__).parents[1] / "search_spaces" / "library" / "digits-momentum-and-decay.yaml"
AIM = 1.3  # times the bare script
POLL_SECONDS = 0.01
LONGEST_SECONDS = 120.0
RAVINE = [sys.executable, "-m", "sweeps"]
BARE = """
import ray

ray.init(address="local", include_dashboard=False, log_to_driver=False, logging_level="error")

@ray.remote
class Actor:
    def __init__(self):
        import torch

    def answer(self):
        return 1

ray.get(Actor.remote().answer.remote())
print("answered", flush=True)
ray.shutdown()
"""


@dataclass(frozen=True, slots=True)
class Took:
    """Until something was there."""

    seconds: float
    core_seconds: float  # of the process and all that it started


def bare(_folder: Path) -> Took:
    """Until the actor of the bare script has answered."""
    began = monotonic()
    with subprocess.Popen(
        [sys.executable, "-c", BARE],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "RAY_USAGE_STATS_ENABLED": "0"},
    ) as process:
        assert process.stdout is not None
        answered = process.stdout.readline()
        took = Took(monotonic() - began, _core_seconds(process.pid))
    if answered != "answered\n":
        raise RuntimeError("the bare script's actor has not answered")
    return took


def first_epoch(folder: Path) -> Took:
    """Until the first measurement of a launch in a new home is stored."""
    shutil.rmtree(folder / "home", ignore_errors=True)
    return _launch(folder / "home")


def first_epoch_again(folder: Path) -> Took:
    """The same where an earlier launch in another home has measured widths."""
    shutil.rmtree(folder / "known", ignore_errors=True)
    if not (folder / "home" / "speeds").exists():
        first_epoch(folder)
    shutil.copytree(folder / "home" / "speeds", folder / "known" / "speeds")
    return _launch(folder / "known")


def help_page(_folder: Path) -> Took:
    """Until `ravine --help` has ended."""
    began, before = monotonic(), os.times()
    subprocess.run([*RAVINE, "--help"], stdout=subprocess.DEVNULL, check=True)
    after = os.times()
    used = after.children_user + after.children_system - before.children_user - before.children_system
    return Took(monotonic() - began, used)


def _launch(home: Path) -> Took:
    began = monotonic()
    process = subprocess.Popen(
        [*RAVINE, "launch", str(FILE), "--home", str(home)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        while not _has_measurement(home / "ravine.db"):
            if process.poll() is not None or monotonic() - began > LONGEST_SECONDS:
                process.kill()
                raise RuntimeError(f"no epoch was stored: {process.communicate()[1]}")
            sleep(POLL_SECONDS)
        return Took(monotonic() - began, _core_seconds(process.pid))
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=LONGEST_SECONDS)


def _has_measurement(database: Path) -> bool:
    try:
        with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
            return connection.execute("SELECT 1 FROM measurements LIMIT 1").fetchone() is not None
    except sqlite3.Error:  # not there yet, or just being made
        return False


def _core_seconds(process: int) -> float:
    """Of a process and all that descend from it, those that have ended and were waited for included."""
    used = 0.0
    first = psutil.Process(process)
    for one in (first, *first.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):
            used += sum(one.cpu_times()[:4])
    return used


MEASURED: dict[str, Callable[[Path], Took]] = {
    "bare": bare,
    "launch": first_epoch,
    "launch again": first_epoch_again,
    "help": help_page,
}


def measure(repeats: int) -> dict[str, list[Took]]:
    """Each of :data:`MEASURED`, in turn; the first, which fills the disk's cache, is dropped."""
    found: dict[str, list[Took]] = {name: [] for name in MEASURED}
    with tempfile.TemporaryDirectory(prefix="ravine-start-") as folder:
        for turn in range(repeats + 1):
            for name, until in MEASURED.items():
                took = until(Path(folder))
                if turn:
                    found[name].append(took)
    return found


def ratios(found: dict[str, list[Took]], name: str) -> list[float]:
    """Of each turn's launch to the same turn's bare script, in seconds."""
    return [took.seconds / alone.seconds for took, alone in zip(found[name], found["bare"], strict=True)]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.start_up", description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="the numbers as one JSON object")
    wanted = parser.parse_args(arguments)
    found = measure(wanted.repeats)
    compared = {name: ratios(found, name) for name in ("launch", "launch again")}
    if wanted.json:
        took = {name: [asdict(one) for one in many] for name, many in found.items()}
        print(json.dumps({"took": took, "ratios": compared, "load": os.getloadavg()}))
        return
    print(f"{wanted.repeats} turns, load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    for name, many in found.items():
        seconds = [took.seconds for took in many]
        told = f"{name:13} median {median(seconds):6.2f} s, from {min(seconds):5.2f} to {max(seconds):5.2f}"
        told += f", {median(took.core_seconds for took in many):5.2f} s of a core"
        if name in compared:
            told += f"; {median(compared[name]):.2f} times the bare script (aim {AIM})"
        print(told)


if __name__ == "__main__":
    main()
