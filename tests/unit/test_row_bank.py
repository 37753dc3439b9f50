"""Rows come back from wherever they rest as they were put there."""

from __future__ import annotations

import os
from typing import Any

import pytest
import torch

from workers.row_bank import Room, RowBank, free_room

ROW = {"weights": torch.zeros(1, 3), "buffer.count": torch.zeros(1, dtype=torch.int64)}
BYTES = 3 * 4 + 8


def row(number: int) -> dict[str, torch.Tensor]:
    return {"weights": torch.full((1, 3), float(number)), "buffer.count": torch.tensor([number])}


def bank(device_rows: int, host_rows: int) -> RowBank:
    room = Room(device_bytes=device_rows * BYTES, host_bytes=host_rows * BYTES)
    return RowBank(ROW, torch.device("cpu"), room)


@pytest.mark.parametrize(("device_rows", "host_rows"), [(100, 0), (4, 0), (0, 0), (0, 4), (4, 8)])
def test_rows_come_back_from_every_place(device_rows: int, host_rows: int) -> None:
    rows = bank(device_rows, host_rows)
    for slots in (4, 8, 16, 32):
        rows.grow(slots)
    for slot in range(32):
        rows.put([slot], row(slot))
    picked = [31, 0, 7, 7, 20, 4]
    found = rows.gather(picked)
    assert found["weights"].tolist() == [[float(slot)] * 3 for slot in picked]
    assert found["buffer.count"].tolist() == picked
    rows.put([5, 30], {name: torch.cat([row(50)[name], row(51)[name], row(52)[name]]) for name in ROW})
    rows.clear(0)
    assert rows.gather([0, 5, 30, 29])["buffer.count"].tolist() == [0, 50, 51, 29]


def test_gathered_rows_are_copies() -> None:
    rows = bank(4, 0)
    rows.grow(4)
    rows.gather([0, 1, 2, 3])["weights"].fill_(1.0)
    assert not rows.gather([0, 1, 2, 3])["weights"].any()


def test_a_full_disk_is_an_error_and_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = bank(4, 0)
    rows.grow(4)
    rows.put([2], row(2))

    def full(*_arguments: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OSError, match="No space left"):
        rows.grow(8)
    assert len(rows) == 4
    assert rows.gather([2])["buffer.count"].tolist() == [2]


def test_what_rests_on_disk_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    rows = bank(0, 0)
    rows.grow(4)
    rows.put([3], row(3))
    assert rows.gather([3])["buffer.count"].tolist() == [3]
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_memory_that_only_caches_hold_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.row_bank.free_memory", lambda _device: 1000)
    assert free_room(torch.device("cpu")) == Room(device_bytes=500, host_bytes=0)


def test_growing_tells_where_to() -> None:
    rows = bank(4, 8)
    assert [rows.grow(slots) for slots in (4, 8, 16, 32)] == ["device", "host", "disk", "disk"]
