"""What cannot be stacked is found before training, with a reason in words of the model."""

from __future__ import annotations

from pathlib import Path

import pytest

from workers.stacking import why_not_stacked

FILE = """\
import torch
from torch import nn
from torch.nn import functional

class Base:
    def model(self):
        return Net(self.kind)
    def data(self):
        generator = torch.Generator().manual_seed(0)
        inputs = torch.randn(60, 5, 4, generator=generator)
        targets = torch.arange(60) % 3
        return inputs[:40], targets[:40], inputs[40:], targets[40:]
    def loss(self, outputs, targets):
        return functional.cross_entropy(outputs, targets)

class Net(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.kind = kind
        self.lstm = nn.LSTM(4, 6, batch_first=True)
        self.head = nn.Linear(4, 3)
        self.wide = nn.Linear(6, 3)
        self.norm = nn.BatchNorm1d(4, momentum=None)
        self.dropout = nn.Dropout(0.3)
        self.calls = 0

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
        if self.kind == "dropout":
            features = self.dropout(features)
        return self.head(features)

"""
KINDS = ("lstm", "branch", "item", "noise", "cumulative", "counts", "dropout", "plain")


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("stacking") / "models.py"
    classes = "\n".join(f"class {kind.title()}(Base):\n    kind = '{kind}'\n" for kind in KINDS)
    path.write_text(FILE + classes)
    return path


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("lstm", "PyTorch cannot batch it"),
        ("branch", "looks at the values"),
        ("item", "looks at the values"),
        ("noise", "random numbers that are not dropout's"),
        ("cumulative", "looks at the values"),
        ("counts", "stacked, its losses are"),
    ],
)
def test_what_cannot_be_stacked_and_why(file: Path, kind: str, words: str) -> None:
    reason = why_not_stacked(f"{file}:{kind.title()}", (), 8)
    assert reason is not None
    assert words in reason
    assert "\n" not in reason


@pytest.mark.parametrize("kind", ["dropout", "plain"])
@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_what_can_be_stacked(file: Path, kind: str, precision: str) -> None:
    assert why_not_stacked(f"{file}:{kind.title()}", (), 8, precision) is None
