"""Training loops of users, as files, and workers that carry them out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from search_spaces.settings import Setting
from workers.messages import Admission, Measured, Orders, Outcome, Report, WorkerSetup
from workers.tasks.task_file import task_file
from workers.worker import Worker

LINE = '''\
"""A line through points, by a loop of one's own."""
import random

import numpy as np
import torch
from torch import nn


class Line:
    """A line through points."""

    def __init__(self, slope: float = 2.0):
        self.slope = slope

    def train(self, setting, seed, resume):
        points = torch.linspace(-1, 1, 40)[:, None]
        model = nn.Linear(1, 1)
        optimizer = setting.torch_optimizer(model, updates_per_epoch=4)
        for epoch in range(setting.epochs):
            losses = []
            for batch in torch.randperm(40).reshape(4, 10):
                optimizer.zero_grad()
                loss = nn.functional.mse_loss(model(points[batch]), self.slope * points[batch])
                loss.backward()
                optimizer.step()
                losses.append(loss.item())
            noise = random.random() + np.random.rand()
            yield {"train_loss": sum(losses) / 4, "val_loss": losses[-1], "noise": noise}
'''

PLAIN = '''\
"""A loop without PyTorch."""
events = []


class Plain:
    def train(self, setting, seed, resume):
        try:
            {body}
        finally:
            events.append(("closed", setting["lr"]))
'''


YIELDS = "for epoch in range(setting.epochs):\n    yield {yielded}"
GOOD = "{'train_loss': 1.0, 'val_loss': 2.0}"


def plain(body: str) -> str:
    """A loop whose ``train`` has this body; it notes when it is closed."""
    return PLAIN.format(body=body.replace("\n", "\n            "))


def loop_in(folder: Path, text: str, name: str = "Plain") -> str:
    """Write the file; returns the reference of its class."""
    path = folder / "own.py"
    path.write_text(text)
    return f"{path}:{name}"


def worker_of(reference: str, *, epochs: int = 3, metric: str = "val_loss") -> Worker:
    return Worker(WorkerSetup(task=reference, metric=metric, epochs=epochs, execution="loop"))


def trial(number: int = 0, *, seed: int = 0, **changes: Any) -> Admission:
    """A trial of SGD with ``lr`` 0.1 unless said otherwise; other changes are of the setting."""
    arguments = changes.pop("arguments", {"lr": 0.1})
    setting = Setting(**{"optimizer": "SGD", "arguments": arguments, **changes})
    return Admission(number=number, seed=seed, setting=setting)


def round_of(
    worker: Worker, numbers: tuple[int, ...], *admitted: Admission, release: tuple[int, ...] = ()
) -> Report:
    return worker.carry_out(Orders(lane=0, round=1, release=release, admit=admitted, advance=numbers))


_kept: list[Worker] = []


def outcomes_of(
    folder: Path, text: str, *, epochs: int = 3, metric: str = "val_loss", **changes: Any
) -> list[Outcome]:
    """All outcomes of one trial of the file's loop."""
    name = "Line" if "class Line" in text else "Plain"
    worker = worker_of(loop_in(folder, text, name), epochs=epochs, metric=metric)
    _kept[:] = [worker]  # or its going out of scope would close its loops
    outcomes = list(round_of(worker, (0,), trial(**changes)).outcomes)
    while isinstance(outcomes[-1], Measured) and outcomes[-1].epoch < epochs:
        outcomes += round_of(worker, (0,)).outcomes
    return outcomes


def events_of(folder: Path) -> list[Any]:
    found: list[Any] = task_file(str(folder / "own.py")).module.events  # type: ignore[attr-defined]
    return found
