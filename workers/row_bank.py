"""Row bank: where rows rest between passes: on the device, else in the host's memory, else on disk.

A row is a set of tensors by name, its parameters, buffers and optimizer state. Slots are made in blocks,
each in the first of the three places that has room for it; a block stays where it is.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from workers.memory import free_memory

SHARE_OF_FREE_MEMORY = 0.5  # that resting rows may take; the rest is for training


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """Bytes that resting rows may take, by place; on a processor device and host are one."""

    device_bytes: int
    host_bytes: int


@dataclass(frozen=True, slots=True)
class _Block:
    first: int  # slot of its first row
    rows: int
    tensors: Mapping[str, Tensor]  # (rows, *shape) by name


def free_room(device: torch.device) -> Room:
    """Half of what is free now on ``device`` and in the host's memory."""
    host = 0 if device.type == "cpu" else free_memory(torch.device("cpu"))
    return Room(
        device_bytes=int(SHARE_OF_FREE_MEMORY * free_memory(device)),
        host_bytes=int(SHARE_OF_FREE_MEMORY * host),
    )


class RowBank:
    """Slots for rows. All zero until something is put into them."""

    def __init__(self, row: Mapping[str, Tensor], device: torch.device, room: Room | None = None) -> None:
        """``row``: one row to take names, shapes and types from, (1, *shape) each; no ``room``: all free."""
        self._shapes = {name: (tensor.shape[1:], tensor.dtype) for name, tensor in row.items()}
        self._row_bytes = max(1, sum(tensor.numel() * tensor.element_size() for tensor in row.values()))
        self._device = device
        room = free_room(device) if room is None else room
        self._room = {"device": room.device_bytes, "host": room.host_bytes}
        self._blocks: list[_Block] = []
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def __len__(self) -> int:
        """How many slots there are."""
        return self._blocks[-1].first + self._blocks[-1].rows if self._blocks else 0

    def grow(self, slots: int) -> str:
        """Have ``slots`` slots from now on; where the new ones are: device, host or disk.

        Raises OSError where the disk is full.
        """
        rows = slots - len(self)
        wanted = rows * self._row_bytes
        place = next((name for name, left in self._room.items() if wanted <= left), "disk")
        if place != "disk":
            self._room[place] -= wanted
        self._blocks.append(_Block(len(self), rows, self._made(place, rows)))
        return place

    def gather(self, slots: Sequence[int]) -> dict[str, Tensor]:
        """Copies of the rows in ``slots``, on the device."""
        parts = self._by_block(slots)
        if len(parts) == 1:
            ((block, indices, _),) = parts
            return {name: tensor[indices].to(self._device) for name, tensor in block.tensors.items()}
        found = {
            name: torch.empty(len(slots), *shape, dtype=dtype, device=self._device)
            for name, (shape, dtype) in self._shapes.items()
        }
        for block, indices, positions in parts:
            for name, tensor in block.tensors.items():
                found[name][positions.to(self._device)] = tensor[indices].to(self._device)
        return found

    def put(self, slots: Sequence[int], rows: Mapping[str, Tensor]) -> None:
        """Overwrite the rows in ``slots`` with the first of ``rows``."""
        for block, indices, positions in self._by_block(slots):
            for name, tensor in block.tensors.items():
                tensor[indices] = rows[name][positions.to(rows[name].device)].to(tensor.device)

    def clear(self, slot: int) -> None:
        """Leave nothing behind in ``slot``."""
        for block, indices, _ in self._by_block([slot]):
            for tensor in block.tensors.values():
                tensor[indices] = 0

    def _by_block(self, slots: Sequence[int]) -> list[tuple[_Block, Tensor, Tensor]]:
        """The blocks that ``slots`` lie in, with where in the block and where among ``slots``."""
        found = []
        for block in self._blocks:
            here = [
                (slot - block.first, at)
                for at, slot in enumerate(slots)
                if 0 <= slot - block.first < block.rows
            ]
            if here:
                indices, positions = torch.tensor(here).T
                device = next(iter(block.tensors.values())).device
                found.append((block, indices.to(device), positions))
        return found

    def _made(self, place: str, rows: int) -> dict[str, Tensor]:
        if place == "disk":
            return {
                name: self._on_disk((rows, *shape), dtype) for name, (shape, dtype) in self._shapes.items()
            }
        device = self._device if place == "device" else torch.device("cpu")
        return {
            name: torch.zeros(rows, *shape, dtype=dtype, device=device)
            for name, (shape, dtype) in self._shapes.items()
        }

    def _on_disk(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """Zeros whose memory is a file. All its space is taken at once: a full disk is an error here."""
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="ravine-rows-")
        count = 1
        for size in shape:
            count *= size
        descriptor, path = tempfile.mkstemp(dir=self._folder.name)
        with os.fdopen(descriptor, "wb"):
            os.posix_fallocate(descriptor, 0, max(1, count * dtype.itemsize))
        found = torch.from_file(path, shared=True, size=count, dtype=dtype).view(shape)
        Path(path).unlink()  # the mapping keeps it; nothing is left behind however this process ends
        return found
