"""Memory: whether an error says that there is too little of it, and giving back what is only cached."""

from __future__ import annotations

import gc

import torch

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
