"""A whole process, with all that it starts: how long it took, and how much of the processors they used.

Seconds of the processors tell more than those of the clock where others use the machine too. They are read
twice a second from every process of the family, also from one that has lost its parent, so that the last half
second of each is missing.
"""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import psutil

ROOT = Path(__file__).resolve().parent.parent
PATIENCE_SECONDS = 3600.0
_LOOK_SECONDS = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """A process that has ended."""

    seconds: float
    core_seconds: float
    code: int
    output: str
    said: str  # on stderr


def run(command: Sequence[str], patience_seconds: float = PATIENCE_SECONDS) -> Ran:
    """Run a command in the repository. Raises subprocess.TimeoutExpired, and ends it then."""
    began = perf_counter()
    with subprocess.Popen(
        list(command),
        cwd=ROOT,
        env=dict(os.environ),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        family = _Family(process.pid)
        watching = threading.Thread(target=family.watch, daemon=True)
        watching.start()
        try:
            output, said = process.communicate(timeout=patience_seconds)
        except subprocess.TimeoutExpired:
            process.terminate()  # so that it can end what it has started
            raise
        finally:
            seconds = perf_counter() - began
            family.ended.set()
            watching.join()
    return Ran(
        seconds=seconds,
        core_seconds=sum(family.core_seconds.values()),
        code=process.returncode,
        output=output,
        said=said,
    )


class _Family:
    """A process and everything that it and its children have started."""

    def __init__(self, pid: int) -> None:
        self.ended = threading.Event()
        self.core_seconds: dict[int, float] = {}  # by process
        self._known: dict[int, psutil.Process] = {pid: psutil.Process(pid)}

    def watch(self) -> None:
        while not self.ended.wait(_LOOK_SECONDS):
            for pid, process in list(self._known.items()):
                try:
                    times = process.cpu_times()
                    self.core_seconds[pid] = times.user + times.system
                    for child in process.children():
                        self._known.setdefault(child.pid, child)
                except psutil.Error:
                    del self._known[pid]
