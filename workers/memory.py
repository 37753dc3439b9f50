"""Memory: whether an error says that there is too little of it, and giving back what is only cached."""

from __future__ import annotations

import gc
import os
import resource
import sys
import threading
from pathlib import Path

import torch

_MEMINFO = Path("/proc/meminfo")
_scratch = threading.local()

_OF_THE_HOST = (
    "not enough memory",
    "can't allocate memory",
)  # torch's CPU allocator, which has no class for it


def is_out_of_memory(error: BaseException) -> bool:
    """Whether ``error`` is a device's or the host's memory being too small."""
    if isinstance(error, (MemoryError, torch.cuda.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _OF_THE_HOST)


def scratch_memory(size: int, device: torch.device) -> torch.Tensor:
    """``size`` bytes of uint8 on ``device`` for what lasts until this thread asks for scratch memory again.

    It is the same memory each time, grown where it was too small: fresh memory is mapped page by page.
    """
    held: dict[torch.device, torch.Tensor] = _scratch.__dict__.setdefault("held", {})
    found = held.get(device)
    if found is None or len(found) < size:
        held.pop(device, None)
        found = None  # before more is taken
        found = held[device] = torch.empty(size, dtype=torch.uint8, device=device)
    return found


def release_cached_memory() -> None:
    """Give back what an attempt that failed has left behind."""
    _scratch.__dict__.clear()
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
