"""digits-cnn: scikit-learn's handwritten digits and a small convolutional network."""

from __future__ import annotations

import dataclasses
from functools import cache

from torch import nn

from workers.tasks.arguments import at_least, dropout_rate
from workers.tasks.classification import Classification
from workers.tasks.digits_mlp import digits
from workers.tasks.task import Data

SIDE = 8  # pixels


class DigitsCNN(Classification):
    """8x8 grey images of ten digits, two convolutions with pooling and a linear layer, cross-entropy."""

    def __init__(self, width: int = 8, batch_norm: bool = False, dropout: float = 0.0) -> None:
        """``width`` channels in the first convolution and twice as many in the second.

        ``batch_norm`` puts nn.BatchNorm2d after each convolution (Ioffe and Szegedy, arXiv 1502.03167);
        ``dropout`` is the share of features dropped before the last layer.
        """
        self.width = at_least("width", width, 1)
        self.batch_norm = batch_norm
        self.dropout = dropout_rate(dropout)

    def model(self) -> nn.Module:
        """Two blocks of 3x3 convolution, ReLU and 2x2 max-pooling, then dropout and a linear layer."""
        pooled = SIDE // 4
        return nn.Sequential(
            *self._block(1, self.width),
            *self._block(self.width, 2 * self.width),
            nn.Flatten(),
            nn.Dropout(self.dropout),
            nn.Linear(2 * self.width * pooled * pooled, 10),
        )

    def data(self) -> Data:
        """The split of digits-mlp, as images: inputs (examples, 1, 8, 8)."""
        return _digit_images()

    def _block(self, channels: int, width: int) -> list[nn.Module]:
        norm = [nn.BatchNorm2d(width)] if self.batch_norm else []
        return [nn.Conv2d(channels, width, kernel_size=3, padding=1), *norm, nn.ReLU(), nn.MaxPool2d(2)]


@cache
def _digit_images() -> Data:
    flat = digits()
    return dataclasses.replace(
        flat,
        train_inputs=flat.train_inputs.view(-1, 1, SIDE, SIDE),
        validation_inputs=flat.validation_inputs.view(-1, 1, SIDE, SIDE),
    )
