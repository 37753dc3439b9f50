"""kill -9 the launching process at random moments, resume, and compare with the undisturbed sweep.

``python -m tests.end_to_end.kills --trials 256`` (``make kills``) prints one line a kill and exits 1 on
any difference. The tests do the same with 24 trials.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

from sweeps.store import open_store
from tests.end_to_end.command_line import start
from tests.unit.sweeps_for_tests import everything

MAIN_JOB = Path("search_spaces/library/digits-momentum-and-decay.yaml")


def main() -> int:
    """Run both sweeps and compare; 0 where they are equal."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=256)
    parser.add_argument("--kills", type=int, default=6)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--ray", default="local")
    arguments = parser.parse_args()
    chance = random.Random(arguments.seed)
    with tempfile.TemporaryDirectory() as folder:
        calm, disturbed = Path(folder) / "calm", Path(folder) / "disturbed"
        launch = ("launch", MAIN_JOB, "--trials", arguments.trials, "--ray", arguments.ray)
        began = time.monotonic()
        if start(*launch, home=calm).wait() != 0:
            print("the undisturbed sweep did not finish")
            return 1
        seconds = time.monotonic() - began
        print(f"undisturbed: {seconds:.1f} s")
        process = start(*launch, home=disturbed)
        for kill in range(1, arguments.kills + 1):
            wait_seconds = chance.uniform(0.2, 0.5) * seconds  # a start takes about a fifth
            deadline = time.monotonic() + wait_seconds
            while time.monotonic() < deadline and process.poll() is None:
                time.sleep(0.01)
            if process.poll() is not None:
                break
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
            print(f"kill {kill} after {wait_seconds:.1f} s, {rounds_done(disturbed)} rounds stored")
            process = start("resume", 1, "--ray", arguments.ray, home=disturbed)
        process.communicate()
        if process.returncode != 0:
            print(f"the disturbed sweep ended with code {process.returncode}")
            return 1
        return compare(calm, disturbed)


def rounds_done(home: Path) -> int:
    """Rounds the store holds."""
    store = open_store(f"sqlite:///{home / 'ravine.db'}", read_only=True)
    try:
        return store.sweep(1).rounds_done
    finally:
        store.close()


def compare(calm: Path, disturbed: Path) -> int:
    """0 where trials, curves and proposals are equal, bit for bit."""
    found = []
    for home in (calm, disturbed):
        store = open_store(f"sqlite:///{home / 'ravine.db'}", read_only=True)
        trials, measurements, proposals = everything(store, 1)
        bare = [
            (m.number, m.epoch, m.step, m.lr, m.momentum, m.train_loss, m.val_loss, m.grad_norm, m.extra)
            for m in measurements
        ]
        found.append((trials, bare, proposals))
        store.close()
    for name, before, after in zip(("trials", "measurements", "proposals"), *found, strict=True):
        if before != after:
            different = sum(one != other for one, other in zip(before, after, strict=False))
            print(f"{name} differ: {len(before)} and {len(after)}, {different} of them")
            return 1
        print(f"{len(before)} {name}: equal")
    return 0


if __name__ == "__main__":
    sys.exit(main())
