"""A task file: pictures of 784 numbers that are made up, in ten classes, and an MLP 784-256-10.

Of the size of MNIST's, so that an update at batch 128 is nearly all matrix products.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

PIXELS, HIDDEN, CLASSES = 784, 256, 10
TRAINING_EXAMPLES, VALIDATION_EXAMPLES = 8192, 1024
NOISE = 4.0  # deviations, of pictures around their class's: the classes overlap


class SyntheticImages:
    """A Gaussian cloud a class, cross-entropy."""

    def model(self) -> nn.Module:
        return nn.Sequential(nn.Linear(PIXELS, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, CLASSES))

    def data(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Inputs (examples, 784) and targets to train on, then those to validate with."""
        random = torch.Generator().manual_seed(0)
        examples = TRAINING_EXAMPLES + VALIDATION_EXAMPLES
        centres = torch.randn(CLASSES, PIXELS, generator=random)
        targets = torch.randint(CLASSES, (examples,), generator=random)
        noise = torch.randn(examples, PIXELS, generator=random)
        inputs = (centres[targets] + NOISE * noise) / NOISE
        first, rest = slice(0, TRAINING_EXAMPLES), slice(TRAINING_EXAMPLES, None)
        return inputs[first], targets[first], inputs[rest], targets[rest]

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return cross_entropy(outputs, targets)

    def metrics(self, outputs: Tensor, targets: Tensor) -> Mapping[str, Tensor]:
        return {"val_accuracy": (outputs.argmax(dim=1) == targets).float().mean()}
