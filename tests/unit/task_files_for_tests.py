"""A task file of a user, and ways to get it wrong."""

from __future__ import annotations

from pathlib import Path

GOOD = '''\
"""Which side of a line a point is on."""
import torch
from torch import nn


def halve(epoch):
    return 0.5 ** epoch


class Sides:
    """Points of the plane by their side of a line.

    More words.
    """

    def __init__(self, width: int = 8, shift: float = 0.0):
        self.width = width
        self.shift = shift

    def model(self):
        return nn.Sequential(nn.Linear(2, self.width), nn.ReLU(), nn.Linear(self.width, 2))

    def data(self):
        points = torch.randn(300, 2, generator=torch.Generator().manual_seed(0))
        sides = (points.sum(dim=1) > self.shift).long()
        return points[:200], sides[:200], points[200:], sides[200:]

    def loss(self, outputs, targets):
        return nn.functional.cross_entropy(outputs, targets)

    def metrics(self, outputs, targets):
        return {"val_accuracy": (outputs.argmax(dim=1) == targets).float().mean()}
'''


def changed(old: str, new: str, text: str = GOOD) -> str:
    """The good file with ``new`` in place of ``old``."""
    assert old in text
    return text.replace(old, new)


def with_method(name: str, body: str, text: str = GOOD) -> str:
    """The good file, its class's method ``name`` replaced by a later one with this body."""
    arguments = {
        "loss": ", outputs, targets",
        "metrics": ", outputs, targets",
        "augment": ", inputs, uniform",
    }
    lines = "\n".join(f"        {line}" for line in body.splitlines())
    return f"{text}\n    def {name}(self{arguments.get(name, '')}):\n{lines}\n"


def task_file_in(folder: Path, text: str = GOOD, name: str = "mine.py") -> str:
    """Write the file; returns the reference of its class Sides."""
    path = folder / name
    path.write_text(text)
    return f"{path}:Sides"
