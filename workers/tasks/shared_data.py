"""One copy of equal data a process, however many tasks have made it.

Where a task's argument varies continuously, every trial has a task of its own, and most of them learn from
the same examples. Nothing here keeps data alive that nobody uses.
"""

from __future__ import annotations

import hashlib
from weakref import WeakKeyDictionary, WeakValueDictionary

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from workers.tasks.task import Data

_by_content: WeakValueDictionary[bytes, Data] = WeakValueDictionary()
_digests: WeakKeyDictionary[Data, bytes] = WeakKeyDictionary()
_copies: WeakKeyDictionary[Data, dict[str, Data]] = WeakKeyDictionary()


def shared(data: Data) -> Data:
    """The first data of this process with the content of ``data`` that is still in use."""
    digest = _digests.get(data)
    if digest is None:
        digest = _digests[data] = _digest(data)
    return _by_content.setdefault(digest, data)


def on_device(data: Data, device: str) -> Data:
    """``data`` on ``device``: a copy that lives as long as ``data`` does."""
    if device == "cpu":
        return data
    copies = _copies.setdefault(data, {})
    if device not in copies:
        copies[device] = data.to(torch.device(device))
    return copies[device]


def _digest(data: Data) -> bytes:
    """BLAKE2 of shapes, types and bytes."""
    digest = hashlib.blake2b(repr(data.full_batch_updates).encode(), digest_size=32)
    for tensor in (data.train_inputs, data.train_targets, data.validation_inputs, data.validation_targets):
        digest.update(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(memoryview(_bytes(tensor)))  # type: ignore[arg-type]
    return digest.digest()


def _bytes(tensor: Tensor) -> npt.NDArray[np.uint8]:
    bits: npt.NDArray[np.uint8] = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
    return bits
