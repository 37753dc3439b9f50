"""Convolutions unfolded into products: PyTorch's numbers, and a row's bits are its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.unit.modules_for_tests import BATCH, IMAGES, Task, assert_equal_up_to_rounding, recipe, stacked
from workers import row_layout
from workers.anatomy import anatomy_of
from workers.unfolded_convolution import unfolded_convolution, unfolds

CONVOLUTIONS: dict[int, Callable[..., Tensor]] = {
    1: functional.conv1d,
    2: functional.conv2d,
    3: functional.conv3d,
}


@pytest.mark.parametrize(
    ("axes", "kernel", "options"),
    [
        (1, (3,), {}),
        (1, (5,), {"stride": 2, "padding": 1}),
        (1, (4,), {"padding": "same"}),
        (2, (1, 1), {}),
        (2, (1, 1), {"stride": (2, 3)}),
        (2, (3, 3), {"padding": 1}),
        (2, (3, 2), {"stride": (2, 1), "padding": (0, 2), "dilation": (1, 2)}),
        (2, (2, 4), {"padding": "same", "dilation": 2}),
        (2, (3, 3), {"padding": "valid", "stride": [3]}),
        (2, (7, 7), {}),
        (3, (2, 3, 1), {"stride": (1, 2, 1), "padding": (1, 0, 2)}),
    ],
)
@pytest.mark.parametrize("biased", [True, False])
def test_it_is_pytorchs_convolution(
    axes: int, kernel: tuple[int, ...], options: dict[str, Any], biased: bool
) -> None:
    generator = torch.Generator().manual_seed(axes)
    sizes = (7, 9, 8)[:axes]
    shapes = [(5, 3, *sizes), (4, 3, *kernel), (4,)][: 3 if biased else 2]
    given = [
        torch.randn(shape, generator=generator, dtype=torch.float64, requires_grad=True) for shape in shapes
    ]
    assert unfolds(*given, **options)
    found, wanted = unfolded_convolution(*given, **options), CONVOLUTIONS[axes](*given, **options)
    torch.testing.assert_close(found, wanted)
    weighted = torch.randn(wanted.shape, generator=generator, dtype=torch.float64)
    for mine, theirs in zip(
        torch.autograd.grad((found * weighted).sum(), given),
        torch.autograd.grad((wanted * weighted).sum(), given),
        strict=True,
    ):
        torch.testing.assert_close(mine, theirs)


def test_groups_and_inputs_without_a_batch_are_left_to_pytorch() -> None:
    assert not unfolds(torch.zeros(2, 4, 8), torch.zeros(4, 1, 3), groups=4)
    assert not unfolds(torch.zeros(4, 8), torch.zeros(4, 4, 3))


def pictures() -> nn.Module:
    """Convolutions of several kinds, two of them in groups, and what follows them in real models."""
    return nn.Sequential(
        nn.Conv2d(1, 5, 3, padding=1, bias=False),
        nn.BatchNorm2d(5),
        nn.ReLU(),
        nn.Conv2d(5, 6, 1),
        nn.Conv2d(6, 6, 3, groups=6),
        nn.Dropout2d(0.2),
        nn.Conv2d(6, 4, 2, stride=2, padding="valid"),
        nn.Flatten(),
        nn.Linear(16, 3),
    )


def sequences() -> nn.Module:
    return nn.Sequential(
        nn.Flatten(1, 2),
        nn.Conv1d(6, 7, 3, padding="same"),
        nn.GELU(),
        nn.Conv1d(7, 3, 4, dilation=1),
        nn.Flatten(),
        nn.Linear(9, 3),
    )


MODELS = {"pictures": pictures, "sequences": sequences}


@pytest.mark.parametrize("name", MODELS)
def test_a_row_is_what_the_plain_loop_trains(name: str) -> None:
    assert_equal_up_to_rounding(Task(MODELS[name], IMAGES), convolutions="unfolded")


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize(
    ("width", "slot", "late", "diverging"),
    [(4, 0, False, False), (5, 4, False, False), (9, 8, True, False), (16, 5, True, True)],
)
def test_a_rows_bits_are_its_own(name: str, width: int, slot: int, late: bool, diverging: bool) -> None:
    task = Task(MODELS[name], IMAGES, double=False)
    expected, expected_weights = stacked(task, convolutions="unfolded")
    outcomes, weights = stacked(
        task, width=width, slot=slot, late=late, diverging=diverging, convolutions="unfolded"
    )
    assert outcomes == expected
    assert all(torch.equal(weights[key], expected_weights[key]) for key in expected_weights)


def test_it_is_used_where_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests above would pass if nothing were ever unfolded."""
    asked = []

    def counted(*args: Any, **kwargs: Any) -> Tensor:
        asked.append(args[1].shape)
        return unfolded_convolution(*args, **kwargs)

    monkeypatch.setattr(row_layout, "unfolded_convolution", counted)
    stacked(Task(pictures, IMAGES, double=False))
    assert not asked
    stacked(Task(pictures, IMAGES, double=False), convolutions="unfolded")
    assert {tuple(shape) for shape in asked} == {(5, 1, 3, 3), (6, 5, 1, 1), (4, 6, 2, 2)}


def test_the_anatomy_knows_whether_there_is_a_choice() -> None:
    def only(layer: nn.Module, features: int) -> bool:
        task = Task(lambda: nn.Sequential(layer, nn.Flatten(), nn.Linear(features, 3)), IMAGES)
        return anatomy_of(recipe(task), BATCH).convolves

    assert only(nn.Conv2d(1, 3, 3), 48)
    assert not only(nn.ConvTranspose2d(1, 3, 3), 192)
    assert not only(nn.BatchNorm2d(1), 36)
