"""Memory: whether an error says that there is too little of it, and giving back what is only cached."""

from __future__ import annotations

import gc
import os
import resource
import sys
from pathlib import Path

import torch

_MEMINFO = Path("/proc/meminfo")

_OF_THE_HOST = (
    "not enough memory",
    "can't allocate memory",
)  # torch's CPU allocator, which has no class for it


def is_out_of_memory(error: BaseException) -> bool:
    """Whether ``error`` is a device's or the host's memory being too small."""
    if isinstance(error, (MemoryError, torch.cuda.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _OF_THE_HOST)


def release_cached_memory() -> None:
    """Give back what an attempt that failed has left behind."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def peak_memory(device: torch.device) -> int:
    """Most bytes that this process has had on ``device`` so far."""
    if device.type == "cuda":
        return torch.cuda.max_memory_reserved(device)
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def free_memory(device: torch.device) -> int:
    """Bytes that may still be had on ``device``; of the host's, what caches would give back counts too."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    if _MEMINFO.exists():
        for line in _MEMINFO.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
