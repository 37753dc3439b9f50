"""mnist1d: the authors' own examples, in their order."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.interpolate import interp1d
from scipy.ndimage import gaussian_filter
from sklearn.linear_model import LogisticRegression

from workers.tasks.mnist1d import MNIST1D, generate


def test_the_default_set_is_the_published_one() -> None:
    """Values of the set that the authors' published code makes with its defaults and seed 42."""
    data = MNIST1D().data()
    assert data.train_inputs.shape == (4000, 1, 40)
    assert data.validation_inputs.shape == (1000, 1, 40)
    expected = torch.tensor([-0.33200567, -0.47191037, -0.77869708])
    torch.testing.assert_close(data.train_inputs[0, 0, :3], expected, rtol=0, atol=1e-6)
    expected = torch.tensor([-0.07877078, -0.21073171, -0.09175138])
    torch.testing.assert_close(data.validation_inputs[0, 0, :3], expected, rtol=0, atol=1e-6)
    assert data.train_targets[:10].tolist() == [2, 6, 4, 5, 6, 6, 6, 0, 3, 1]


def test_a_signal_is_made_as_the_paper_says() -> None:
    """The first example of all, step by step with SciPy's interpolation and filter."""
    random = np.random.RandomState(7)
    template = np.array([5, 6, 6.5, 6.75, 7, 7, 7, 7, 6.75, 6.5, 6, 5])
    template = (template - template.mean()) / template.std()
    template = (template - template[0]) / 6

    def resampled(signal, points):  # type: ignore[no-untyped-def]
        return interp1d(np.linspace(0, 1, len(signal)), signal)(np.linspace(0, 1, points))

    padded = np.concatenate([template + 1e-8, np.zeros(36 + int(random.rand() * 25))])
    signal = resampled(padded, 72) * (1 + 0.4 * (random.rand() - 0.5))
    shift = random.choice(48)
    signal = np.concatenate([signal[-shift:], signal[:-shift]])
    noise = gaussian_filter(0.25 * random.randn(72), 2)
    signal = np.where(signal == 0, noise, signal) + 0.02 * random.randn(72)
    signal = resampled(signal - 0.75 * (random.rand() - 0.5) * np.linspace(-0.5, 0.5, 72), 40)

    signals, labels = generate(10, 7)
    first = signals[labels.tolist().index(0)]
    centred, expected = first - first.mean(), signal - signal.mean()
    np.testing.assert_allclose(centred / first.std(), expected / signal.std(), atol=1e-12)


def test_signals_are_standardised_balanced_and_a_function_of_the_seed() -> None:
    signals, labels = generate(200, 1)
    assert signals.shape == (200, 40)
    assert abs(signals.mean()) < 1e-12
    assert signals.std() == pytest.approx(1)
    assert np.bincount(labels).tolist() == [20] * 10
    np.random.rand(3)  # the global generator plays no part
    again, _ = generate(200, 1)
    other, _ = generate(200, 2)
    assert np.array_equal(signals, again)
    assert not np.allclose(signals, other)


def test_a_linear_model_cannot_tell_the_signals_apart() -> None:
    """The paper's point: logistic regression reaches 32 %, a convolutional network 94 %."""
    data = MNIST1D().data()
    linear = LogisticRegression(max_iter=200).fit(data.train_inputs[:, 0], data.train_targets)
    assert 0.25 < linear.score(data.validation_inputs[:, 0], data.validation_targets) < 0.4


@pytest.mark.parametrize(("model", "parameters"), [("cnn", 5210), ("mlp", 15210), ("linear", 410)])
def test_the_networks_are_the_papers(model: str, parameters: int) -> None:
    network = MNIST1D(model=model).model()  # type: ignore[arg-type]
    assert sum(parameter.numel() for parameter in network.parameters()) == parameters
    assert network(torch.zeros(3, 1, 40)).shape == (3, 10)


def test_an_unknown_model_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^model must be cnn, mlp or linear, got gru$"):
        MNIST1D(model="gru")  # type: ignore[arg-type]


def test_the_second_hidden_layer_of_the_mlp_is_added_to_the_first() -> None:
    network = MNIST1D(model="mlp").model()
    torch.nn.init.zeros_(network.second.weight)  # type: ignore[union-attr, arg-type]
    torch.nn.init.zeros_(network.second.bias)  # type: ignore[union-attr, arg-type]
    signals = MNIST1D().data().train_inputs[:4]
    expected = network.last(network.first(signals.flatten(1)).relu())  # type: ignore[operator]
    assert torch.equal(network(signals), expected)
