"""digits-mlp: scikit-learn's handwritten digits and a multi-layer perceptron."""

from __future__ import annotations

import importlib.util
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from workers.tasks.classification import Classification
from workers.tasks.task import Data

TRAINING_EXAMPLES = 1437


class DigitsMLP(Classification):
    """8x8 grey images of ten digits, MLP 64-64-64-10 with ReLU, cross-entropy."""

    def model(self) -> nn.Module:
        """MLP 64-64-64-10 with PyTorch's default initialisation."""
        return nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))

    def data(self) -> Data:
        """1,437 images to train, the other 360 to validate, pixels in [0, 1]."""
        return digits()


@cache
def digits() -> Data:
    """Inputs (examples, 64) in [0, 1] and the digit that each shows, shuffled by a fixed seed."""
    images, labels = _read_digits()
    order = torch.randperm(1797, generator=torch.Generator().manual_seed(0))
    inputs = (torch.from_numpy(images).to(torch.float32) / 16)[order]
    targets = torch.from_numpy(labels).to(torch.int64)[order]
    return Data(
        train_inputs=inputs[:TRAINING_EXAMPLES],
        train_targets=targets[:TRAINING_EXAMPLES],
        validation_inputs=inputs[TRAINING_EXAMPLES:],
        validation_targets=targets[TRAINING_EXAMPLES:],
    )


def _read_digits() -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """scikit-learn's digits: images (examples, 64) of 0 to 16, and labels.

    Read from the file that ``sklearn.datasets.load_digits`` reads, where it is there: importing that takes a
    second.
    """
    package = importlib.util.find_spec("sklearn")
    folders = (package.submodule_search_locations or []) if package is not None else []
    for folder in folders:
        file = Path(folder) / "datasets" / "data" / "digits.csv.gz"
        if file.exists():
            table = np.loadtxt(file, delimiter=",")
            return table[:, :-1], table[:, -1]
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    return images, labels
