"""digits-mlp stays bit for bit what it was; digits-cnn sees the same split as images."""

from __future__ import annotations

import hashlib

import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn

from workers.randomness import initial_model
from workers.tasks.digits_cnn import DigitsCNN
from workers.tasks.digits_mlp import DigitsMLP


def test_digits_mlp_is_the_split_promised() -> None:
    images, labels = load_digits(return_X_y=True)
    order = torch.randperm(1797, generator=torch.Generator().manual_seed(0))
    inputs = torch.from_numpy(images).float()[order] / 16
    targets = torch.from_numpy(labels)[order]
    data = DigitsMLP().data()
    assert torch.equal(data.train_inputs, inputs[:1437])
    assert torch.equal(data.validation_inputs, inputs[1437:])
    assert torch.equal(data.train_targets, targets[:1437])
    assert torch.equal(data.validation_targets, targets[1437:])


def test_digits_mlp_starts_from_the_same_bits() -> None:
    digest = hashlib.sha256()
    for parameter in initial_model(DigitsMLP(), 3).parameters():
        digest.update(parameter.detach().numpy().tobytes())
    torch.manual_seed(3)
    expected = hashlib.sha256()
    for layer in (nn.Linear(64, 64), nn.Linear(64, 64), nn.Linear(64, 10)):
        expected.update(layer.weight.detach().numpy().tobytes())
        expected.update(layer.bias.detach().numpy().tobytes())
    assert digest.hexdigest() == expected.hexdigest()


def test_digits_cnn_sees_the_same_digits_as_images() -> None:
    flat, images = DigitsMLP().data(), DigitsCNN().data()
    assert images.train_inputs.shape == (1437, 1, 8, 8)
    assert torch.equal(images.train_inputs.flatten(1), flat.train_inputs)
    assert torch.equal(images.validation_targets, flat.validation_targets)


@pytest.mark.parametrize("batch_norm", [False, True])
def test_batch_norm_and_dropout_are_arguments(batch_norm: bool) -> None:
    model = DigitsCNN(width=4, batch_norm=batch_norm, dropout=0.3).model()
    assert sum(isinstance(part, nn.BatchNorm2d) for part in model.modules()) == (2 if batch_norm else 0)
    assert [part.p for part in model.modules() if isinstance(part, nn.Dropout)] == [0.3]
    assert model(torch.zeros(5, 1, 8, 8)).shape == (5, 10)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"width": 0}, "width must be a whole number of at least 1, got 0"),
        ({"width": 2.5}, "width must be a whole number of at least 1, got 2.5"),
        ({"dropout": 1.0}, "dropout must be at least 0 and below 1, got 1.0"),
    ],
)
def test_arguments_out_of_range_are_refused(arguments: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValueError, match="^" + sentence + "$"):
        DigitsCNN(**arguments)  # type: ignore[arg-type]


def test_accuracy_counts_in_float32_under_low_precision() -> None:
    outputs = torch.eye(2, dtype=torch.bfloat16).repeat(500, 1)
    targets = torch.tensor([0, 1] * 500)
    targets[:3] = 1 - targets[:3]
    assert DigitsMLP().metrics(outputs, targets)["val_accuracy"].item() == pytest.approx(0.997)
