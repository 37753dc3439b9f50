"""What cannot be stacked is found before training, with a reason in words of the model."""

from __future__ import annotations

from pathlib import Path

import pytest

from workers import vector_tails
from workers.stacking import why_not_stacked

FILE = """\
import random
import torch
from torch import nn
from torch.nn import functional

class Base:
    def __init__(self):
        self.losses = 0
    def model(self):
        self.net = Net(self.kind)
        return self.net
    def data(self):
        generator = torch.Generator().manual_seed(0)
        inputs = torch.randn(60, 5, 4, generator=generator)
        targets = torch.arange(60) % 3
        return inputs[:40], targets[:40], inputs[40:], targets[40:]
    def loss(self, outputs, targets):
        loss = functional.cross_entropy(outputs, targets)
        if self.kind == "penalty":
            loss = loss + 1e-5 * self.net.head.weight.square().sum()
        if self.kind == "losses":
            self.losses += 1
            loss = loss * (1.0 if self.losses < 1000 else 0.5)
        return loss
    def metrics(self, outputs, targets):
        net = self.net.head.weight.detach() if self.kind == "norm" else outputs
        return {"val_norm": net.square().mean()}

class Net(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.kind = kind
        self.lstm = nn.LSTM(4, 6, batch_first=True)
        self.head = nn.Linear(4, 3)
        self.wide = nn.Linear(6, 3)
        self.thirteen, self.three = nn.Linear(4, 13), nn.Linear(13, 3)
        self.norm = nn.BatchNorm1d(4, momentum=None)
        self.dropout = nn.Dropout(0.3)
        self.calls = 0
        self.times = torch.tensor(0.0)
        self.last = None
        if kind == "hook":
            self.head.weight.register_hook(lambda gradient: 0.9 * gradient)

    def forward(self, inputs):
        if self.kind == "lstm":
            return self.wide(self.lstm(inputs)[0][:, -1])
        features = inputs.mean(dim=1)
        if self.kind == "branch" and features.sum() > 0:
            features = -features
        if self.kind == "item":
            features = features / float(features.abs().max())
        if self.kind == "noise" and self.training:
            features = features + 0.1 * torch.randn_like(features)
        if self.kind == "cumulative":
            features = self.norm(features)
        if self.kind == "counts":
            self.calls += 1
            features = features * self.calls
        if self.kind == "late":
            self.calls += 1
            features = features * (1.0 if self.calls < 1000 else 0.5)
        if self.kind == "written":
            self.times += 1
            features = features * (1 + 1e-9 * self.times)
        if self.kind == "rare" and random.random() < 1e-9:
            features = -features
        if self.kind == "leak":
            features = features + (0 if self.last is None else 0 * self.last.mean())
            self.last = features
        if self.kind == "finite":
            features = features + 0 * torch.linalg.svdvals(self.head.weight).sum()
        if self.kind == "mish":
            return self.three(functional.mish(3 * self.thirteen(features)))
        if self.kind == "aux":
            self.last = features.square().mean()
        if self.kind == "dropout":
            features = self.dropout(features)
        return self.head(features)

"""
REFUSED = {
    "lstm": "PyTorch cannot batch it",
    "branch": "looks at the values",
    "item": "looks at the values",
    "noise": "random numbers that are not dropout's",
    "rare": "random numbers that are not dropout's",
    "cumulative": "looks at the values",
    "counts": "changes its 'calls' as it trains",
    "late": "changes its 'calls' as it trains",
    "losses": "changes its 'losses' as it trains",
    "written": "changes its 'times' as it trains",
    "hook": "its head.weight moves otherwise than alone",
    "penalty": "its loss reads parameters of a model that the task keeps",
    "norm": "stacked, its val_norm is ",
    "leak": "PyTorch cannot batch it",
    "finite": "a trial that diverges would end those beside it: linalg.svd",
}
STACKED = ("dropout", "mish", "aux", "plain")


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("stacking") / "models.py"
    classes = "\n".join(
        f"class {kind.title()}(Base):\n    kind = '{kind}'\n" for kind in (*REFUSED, *STACKED)
    )
    path.write_text(FILE + classes)
    return path


@pytest.mark.parametrize(("kind", "words"), REFUSED.items())
def test_what_cannot_be_stacked_and_why(file: Path, kind: str, words: str) -> None:
    reason = why_not_stacked(f"{file}:{kind.title()}", (), 8)
    assert reason is not None
    assert words in reason
    assert "\n" not in reason


@pytest.mark.parametrize("kind", STACKED)
@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_what_can_be_stacked(file: Path, kind: str, precision: str) -> None:
    assert why_not_stacked(f"{file}:{kind.title()}", (), 8, precision) is None


def test_rows_whose_last_bits_depend_on_their_company_are_none(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As those of a function would whose tails nobody has noted."""
    monkeypatch.setattr(vector_tails, "_UNEVEN", frozenset())
    assert why_not_stacked(f"{file}:Mish", (), 7) == "its last bits depend on the trials beside it"
