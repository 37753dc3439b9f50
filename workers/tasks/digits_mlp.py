"""digits-mlp: scikit-learn's handwritten digits and a multi-layer perceptron."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from workers.tasks.task import Data

TRAINING_EXAMPLES = 1437


class DigitsMLP:
    """8x8 grey images of ten digits, MLP 64-64-64-10 with ReLU, cross-entropy."""

    def model(self) -> nn.Module:
        """MLP 64-64-64-10 with PyTorch's default initialisation."""
        return nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))

    def data(self) -> Data:
        """1,437 images to train, the other 360 to validate, pixels in [0, 1]."""
        return _data()

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Mean cross-entropy of a batch."""
        return cross_entropy(outputs, targets)

    def metrics(self, outputs: Tensor, targets: Tensor) -> Mapping[str, Tensor]:
        """Cross-entropy and the share of right answers."""
        right = (outputs.argmax(dim=-1) == targets).to(outputs.dtype)
        return {"val_loss": cross_entropy(outputs, targets), "val_accuracy": right.mean()}


@cache
def _data() -> Data:
    images, labels = load_digits(return_X_y=True)
    order = torch.randperm(1797, generator=torch.Generator().manual_seed(0))
    inputs = (torch.from_numpy(images).to(torch.float32) / 16)[order]
    targets = torch.from_numpy(labels).to(torch.int64)[order]
    return Data(
        train_inputs=inputs[:TRAINING_EXAMPLES],
        train_targets=targets[:TRAINING_EXAMPLES],
        validation_inputs=inputs[TRAINING_EXAMPLES:],
        validation_targets=targets[TRAINING_EXAMPLES:],
    )
