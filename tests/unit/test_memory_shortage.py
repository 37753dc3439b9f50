"""A worker whose memory is too small for all rows trains fewer at a time, and says so."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from search_spaces.settings import Setting
from workers import worker as worker_room
from workers.messages import Admission, Measured, Orders, Report, WorkerSetup
from workers.tasks.digits_mlp import DigitsMLP
from workers.worker import Worker


class Hungry(nn.Module):
    """Passes numbers through where they are of a few rows only."""

    most_rows = 10**6
    error: type[RuntimeError] = torch.cuda.OutOfMemoryError
    words = "CUDA out of memory"

    def forward(self, inputs: Tensor) -> Tensor:
        stacked = inputs
        while torch._C._functorch.is_batchedtensor(stacked):
            stacked = torch._C._functorch.get_unwrapped(stacked)
        if stacked.dim() > inputs.dim() and len(stacked) > self.most_rows:
            raise self.error(self.words)
        return inputs


class HungryDigits(DigitsMLP):
    """digits-mlp, of which only so many rows fit into memory."""

    def model(self) -> nn.Module:
        return nn.Sequential(Hungry(), super().model())

    def metrics(self, outputs: Tensor, targets: Tensor) -> Mapping[str, Tensor]:
        return {"val_loss": self.loss(outputs, targets)}


@pytest.fixture
def setup(monkeypatch: pytest.MonkeyPatch) -> WorkerSetup:
    monkeypatch.setattr(worker_room, "make_task", lambda *_: HungryDigits())
    return WorkerSetup(task="digits-mlp", metric="val_loss", epochs=2, width=12)


def report(setup: WorkerSetup, rounds: int = 2) -> list[Report]:
    worker = Worker(setup)
    admitted = tuple(
        Admission(number=n, seed=n, setting=Setting(optimizer="SGD", arguments={"lr": 0.01 * (n + 1)}))
        for n in range(12)
    )
    advance = tuple(range(12))
    return [
        worker.carry_out(Orders(lane=0, round=r, admit=admitted if r == 1 else (), advance=advance))
        for r in range(1, rounds + 1)
    ]


def shown(reports: list[Report]) -> list[Any]:
    return [sorted(report.outcomes, key=lambda outcome: outcome.number) for report in reports]


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (torch.cuda.OutOfMemoryError, "CUDA out of memory"),
        (RuntimeError, "DefaultCPUAllocator: not enough memory: you tried to allocate 8 bytes"),
    ],
)
def test_no_trial_is_lost_and_none_has_other_bits(
    setup: WorkerSetup, monkeypatch: pytest.MonkeyPatch, error: type[RuntimeError], words: str
) -> None:
    expected = report(setup)
    assert all(isinstance(outcome, Measured) for found in expected for outcome in found.outcomes)
    assert expected[0].notes == ()
    monkeypatch.setattr(Hungry, "error", error)
    monkeypatch.setattr(Hungry, "words", words)
    monkeypatch.setattr(Hungry, "most_rows", 7)
    found = report(setup)
    assert shown(found) == shown(expected)
    (note,) = found[0].notes
    assert note.sentence == "12 rows do not fit into memory; training 6 at a time"
    assert found[1].notes == ()  # narrow from then on


def test_what_does_not_fit_at_all_fails_with_its_cause(
    setup: WorkerSetup, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Hungry, "most_rows", 3)
    (only,) = report(setup, rounds=1)
    assert {outcome.cause for outcome in only.outcomes} == {"oom_gpu"}  # type: ignore[union-attr]
    assert len(only.outcomes) == 12
