"""The machine that is measured on: what it is, and how busy it was with other things."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from time import monotonic
from typing import Any

import psutil

LIBRARIES = ("torch", "ray", "optuna", "mlflow", "sqlalchemy", "numpy")
BUSY = 0.1  # share of all cores that others used, above which a measurement is marked
_LOOK_SECONDS = 1.0  # while nothing of ours runs, to see what others do


def facts() -> dict[str, Any]:
    """Processor, cores, memory, and the versions of what was measured."""
    import torch

    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "vectors": torch.backends.cpu.get_cpu_capability(),
        "libraries": {name: _version(name) for name in LIBRARIES},
        "torch_built_with": [
            line.strip(" -")
            for line in torch.__config__.show().splitlines()
            if "MKL" in line or "oneDNN" in line
        ][:2],
    }


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        if names:
            return names[0].partition(":")[2].strip()
    return platform.processor()


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "none"


@dataclass(frozen=True, slots=True)
class Moment:
    """The machine's counters at one time."""

    at: float  # seconds since any moment
    processor: Mapping[str, float]  # seconds of all cores by use
    load: float  # processes that run or wait to, over the last minute, ourselves included
    others: float  # share of all cores that was in use while we did nothing

    @staticmethod
    def now() -> Moment:
        """Looks for a second; nothing of ours may be running."""
        others = psutil.cpu_percent(interval=_LOOK_SECONDS) / 100
        return Moment(monotonic(), psutil.cpu_times()._asdict(), os.getloadavg()[0], others)


@dataclass(frozen=True, slots=True)
class Between:
    """How the machine was used between two moments."""

    seconds: float
    busy: float  # share of all cores that anybody used, ourselves included
    steal: float  # share that the host took away
    load_before: float
    load_after: float
    others_before: float  # share of all cores
    others_after: float

    @property
    def was_busy(self) -> bool:
        """Whether others used the machine, as far as looks before and after and the host's steal tell."""
        return max(self.others_before, self.others_after, self.steal) > BUSY

    def told(self) -> str:
        return (
            f"load {self.load_before:.1f} before, {self.load_after:.1f} after; others used "
            f"{100 * self.others_before:.0f} % of the cores before, {100 * self.others_after:.0f} % after; "
            f"steal {100 * self.steal:.1f} %"
        )


def between(first: Moment, last: Moment) -> Between:
    """What happened between them."""
    spent = {name: last.processor[name] - first.processor[name] for name in last.processor}
    # Linux counts guests' time as that of users too.
    whole = sum(seconds for name, seconds in spent.items() if not name.startswith("guest"))
    idle = spent.get("idle", 0.0) + spent.get("iowait", 0.0)
    return Between(
        seconds=last.at - first.at,
        busy=1 - idle / whole if whole else 0.0,
        steal=spent.get("steal", 0.0) / whole if whole else 0.0,
        load_before=first.load,
        load_after=last.load,
        others_before=first.others,
        others_after=last.others,
    )
