"""mnist1d: the one-dimensional MNIST of Greydanus and Kobak (arXiv 2011.14439), generated here.

Ten hand-drawn templates of 12 points are padded, stretched, scaled, moved, put on noise, sheared and
resampled to 40 points. The draws are made in the order of the authors' published code, with its numbers
and from the same generator, NumPy's Mersenne Twister: examples and their split are the authors' own up
to the last bits' rounding.
"""

from __future__ import annotations

from functools import cache
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from workers.tasks.arguments import at_least
from workers.tasks.classification import Classification
from workers.tasks.task import Data

EXAMPLES = 5000
TRAINING_EXAMPLES = 4000
POINTS = 40
CLASSES = 10
SEED = 42

_PADDING = (36, 60)  # fewest and most zeros put behind a template
_SCALE = 0.4  # heights vary by up to half of this either way
_MOST_TRANSLATION = 48  # points, exclusive
_CORRELATED_NOISE = 0.25  # standard deviation before smoothing; only where the template is not
_SMOOTHING = 2.0  # standard deviation of the noise's Gaussian filter, in points
_INDEPENDENT_NOISE = 0.02
_SHEAR = 0.75
_OFFSET = 1e-8  # tells a template's own zeros from the padding's

_TEMPLATES = (
    (5, 6, 6.5, 6.75, 7, 7, 7, 7, 6.75, 6.5, 6, 5),
    (5, 3, 3, 3.4, 3.8, 4.2, 4.6, 5, 5.4, 5.8, 5, 5),
    (5, 6, 6.5, 6.5, 6, 5.25, 4.75, 4, 3.5, 3.5, 4, 5),
    (5, 6, 6.5, 6.5, 6, 5, 5, 6, 6.5, 6.5, 6, 5),
    (5, 4.4, 3.8, 3.2, 2.6, 2.6, 5, 5, 5, 5, 5, 5),
    (5, 3, 3, 3, 3, 5, 6, 6.5, 6.5, 6, 4.5, 5),
    (5, 4, 3.5, 3.25, 3, 3, 3, 3, 3.25, 3.5, 4, 5),
    (5, 7, 7, 6.6, 6.2, 5.8, 5.4, 5, 4.6, 4.2, 5, 5),
    (5, 4, 3.5, 3.5, 4, 5, 5, 4, 3.5, 3.5, 4, 5),
    (5, 4, 3.5, 3.5, 4, 5, 5, 5, 5, 4.7, 4.3, 5),
)
"""Heights of the strokes of 0 to 9 as the paper draws them."""

_Array = NDArray[np.float64]


class MNIST1D(Classification):
    """Signals of 40 points, each one of ten templates; the paper's CNN, MLP or linear model."""

    def __init__(self, model: Literal["cnn", "mlp", "linear"] = "cnn", width: int = 25) -> None:
        """``width`` channels in each convolution; the MLP has four times as many units in each layer.

        The default is the paper's: 25 channels, 100 units. The linear model has no width.
        """
        if model not in ("cnn", "mlp", "linear"):
            raise ValueError(f"model must be cnn, mlp or linear, got {model}")
        self.kind = model
        self.width = at_least("width", width, 1)

    def model(self) -> nn.Module:
        """The paper's network of this kind, with PyTorch's default initialisation."""
        if self.kind == "linear":
            return nn.Sequential(nn.Flatten(), nn.Linear(POINTS, CLASSES))
        return _convolutional(self.width) if self.kind == "cnn" else _Perceptron(4 * self.width)

    def data(self) -> Data:
        """4,000 signals to train, 1,000 to validate: inputs (examples, 1, 40), mean 0, deviation 1."""
        return _data()


def _convolutional(width: int) -> nn.Module:
    """Three convolutions of stride 2: 40 points become 19, 10 and 5."""
    return nn.Sequential(
        nn.Conv1d(1, width, kernel_size=5, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv1d(width, width, kernel_size=3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv1d(width, width, kernel_size=3, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(5 * width, CLASSES),
    )


class _Perceptron(nn.Module):
    """Two hidden layers, the second added to the first."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Linear(POINTS, width)
        self.second = nn.Linear(width, width)
        self.last = nn.Linear(width, CLASSES)

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = self.first(inputs.flatten(1)).relu()
        return self.last(hidden + self.second(hidden).relu())  # type: ignore[no-any-return]


@cache
def _data() -> Data:
    signals, labels = generate(EXAMPLES, SEED)
    inputs = torch.from_numpy(signals).to(torch.float32).unsqueeze(1)
    targets = torch.from_numpy(labels)
    return Data(
        train_inputs=inputs[:TRAINING_EXAMPLES],
        train_targets=targets[:TRAINING_EXAMPLES],
        validation_inputs=inputs[TRAINING_EXAMPLES:],
        validation_targets=targets[TRAINING_EXAMPLES:],
    )


def generate(examples: int, seed: int) -> tuple[_Array, NDArray[np.int64]]:
    """Signals (examples, 40), standardised over all of them, and labels (examples,), shuffled."""
    random = np.random.RandomState(seed)
    each = examples // len(_TEMPLATES)
    signals = np.stack([_signal(template, random) for template in _standardised() for _ in range(each)])
    labels = np.repeat(np.arange(len(_TEMPLATES), dtype=np.int64), each)
    order = random.permutation(len(labels))
    return (signals[order] - signals.mean()) / signals.std(), labels[order]


def _standardised() -> _Array:
    """The templates (10, 12) with unit deviation, from 0 at the first point, at a sixth of their height."""
    heights = np.array(_TEMPLATES, dtype=np.float64)
    heights = (heights - heights.mean(axis=1, keepdims=True)) / heights.std(axis=1, keepdims=True)
    return np.asarray((heights - heights[:, :1]) / 6)


def _signal(template: _Array, random: np.random.RandomState) -> _Array:
    """One example of ``template`` (12,), as 40 points."""
    from scipy.ndimage import gaussian_filter1d

    low, high = _PADDING
    behind = low + int(random.rand() * (high - low + 1))
    length = len(template) + high
    signal = _resampled(np.concatenate([template + _OFFSET, np.zeros(behind)]), length)
    signal = signal * (1 + _SCALE * (random.rand() - 0.5))
    signal = np.roll(signal, random.choice(_MOST_TRANSLATION))
    noise = gaussian_filter1d(_CORRELATED_NOISE * random.randn(length), _SMOOTHING)
    signal = np.where(signal != 0, signal, noise) + _INDEPENDENT_NOISE * random.randn(length)
    slope = _SHEAR * (random.rand() - 0.5)
    return _resampled(signal - slope * np.linspace(-0.5, 0.5, length), POINTS)


def _resampled(signal: _Array, points: int) -> _Array:
    """``signal`` at ``points`` evenly spaced positions, linear in between."""
    return np.interp(np.linspace(0, 1, points), np.linspace(0, 1, len(signal)), signal)
