"""Warmup-stable-decay, in a plain torch loop."""

from __future__ import annotations

import math
import re
import warnings
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import SGD, Adam, Optimizer, lr_scheduler

from workers.wsd import WSD

BASE = 0.3


def sgd(*rates: float) -> Optimizer:
    """An optimizer with one parameter group for each learning rate."""
    groups = [{"params": [nn.Parameter(torch.zeros(1))], "lr": rate} for rate in rates or (BASE,)]
    return SGD(groups, momentum=0.9)


def rates_of(optimizer: Optimizer, schedule: Any, steps: int) -> list[list[float]]:
    """Learning rates of every group, as steps 0 to ``steps`` use them."""
    rates = []
    for _ in range(steps + 1):
        rates.append([group["lr"] for group in optimizer.param_groups])
        assert schedule.get_last_lr() == rates[-1]
        optimizer.step()
        schedule.step()
    return rates


def factors(steps: int, **arguments: Any) -> list[float]:
    """Learning rate over its base at steps 0 to ``steps``."""
    optimizer = sgd(1.0)
    return [rate for (rate,) in rates_of(optimizer, WSD(optimizer, **arguments), steps)]


@pytest.mark.parametrize(
    ("shape", "decay"),
    [
        ("linear", [0.75, 0.5, 0.25, 0.0]),
        ("cosine", [(1 + math.sqrt(0.5)) / 2, 0.5, (1 - math.sqrt(0.5)) / 2, 0.0]),
        ("1-sqrt", [0.5, 1 - math.sqrt(0.5), 1 - math.sqrt(0.75), 0.0]),
        ("exponential", [10**-0.25, 10**-0.5, 10**-0.75, 0.1]),
    ],
)
def test_the_formula_of_each_shape(shape: str, decay: list[float]) -> None:
    found = factors(8, decay_start=2, decay_length=4, shape=shape)
    assert found[:3] == [1.0, 1.0, 1.0]
    assert found[3:7] == pytest.approx(decay, rel=1e-12)
    assert found[6:] == [decay[-1]] * 3


@pytest.mark.parametrize("shape", ["linear", "cosine", "1-sqrt"])
def test_a_final_factor_is_what_is_left(shape: str) -> None:
    """Hägele et al.'s code: final + (1 - final) * what the shape leaves of 1."""
    whole = factors(6, decay_start=1, decay_length=4, shape=shape)
    kept = factors(6, decay_start=1, decay_length=4, shape=shape, final_factor=0.2)
    assert kept == pytest.approx([0.2 + 0.8 * factor for factor in whole], rel=1e-12)
    assert kept[5:] == [0.2, 0.2]


def test_exponential_falls_by_the_same_ratio_every_step() -> None:
    found = factors(6, decay_start=1, decay_length=4, shape="exponential", final_factor=0.0016)
    assert found == pytest.approx([1, 1, 0.2, 0.04, 0.008, 0.0016, 0.0016], rel=1e-12)


@pytest.mark.parametrize("shape", ["linear", "cosine", "1-sqrt", "exponential"])
def test_a_factor_of_1_changes_nothing(shape: str) -> None:
    assert factors(4, decay_start=1, decay_length=2, shape=shape, final_factor=1.0) == [1.0] * 5


def test_the_default_shape_is_1_sqrt_to_0() -> None:
    found = factors(4, decay_start=0, decay_length=4)
    assert found == pytest.approx([1.0, 0.5, 1 - math.sqrt(0.5), 1 - math.sqrt(0.75), 0.0])


def test_the_decay_is_what_the_total_leaves_unless_its_length_is_given() -> None:
    left = factors(9, decay_start=3, total_steps=8, shape="linear")
    assert left == factors(9, decay_start=3, decay_length=5, shape="linear")
    cut_off = factors(7, decay_start=3, decay_length=50, total_steps=8, shape="linear")
    assert cut_off[-1] == pytest.approx(1 - 4 / 50)


def test_parameter_groups_keep_their_own_learning_rates() -> None:
    optimizer = sgd(0.1, 0.4)
    for rates in rates_of(optimizer, WSD(optimizer, 1, 3, final_factor=0.5), 6):
        assert rates[1] == pytest.approx(4 * rates[0])
    assert [group["lr"] for group in optimizer.param_groups] == [0.05, 0.2]


def test_momentum_is_left_alone() -> None:
    optimizer = Adam([nn.Parameter(torch.zeros(1))], betas=(0.8, 0.95))
    rates_of(optimizer, WSD(optimizer, 1, 3), 5)
    assert optimizer.param_groups[0]["betas"] == (0.8, 0.95)


@pytest.mark.parametrize("stopped_after", [1, 4, 9])
def test_a_state_dict_goes_on_where_it_was_saved(stopped_after: int) -> None:
    arguments = {"decay_start": 3, "decay_length": 5, "shape": "cosine", "final_factor": 0.1}
    optimizer = sgd(0.1, 0.4)
    schedule = WSD(optimizer, **arguments)
    rates_of(optimizer, schedule, stopped_after - 1)
    saved = (optimizer.state_dict(), schedule.state_dict())
    later = sgd(0.1, 0.4)
    resumed = WSD(later, decay_start=0, decay_length=1)  # the saved state knows better
    later.load_state_dict(saved[0])
    resumed.load_state_dict(saved[1])
    assert rates_of(later, resumed, 6) == rates_of(optimizer, schedule, 6)


def test_last_epoch_resumes_as_pytorchs_own_classes_do() -> None:
    optimizer = sgd()
    undisturbed = rates_of(optimizer, WSD(optimizer, 2, 4), 7)
    later = sgd()
    later.param_groups[0]["initial_lr"] = BASE
    assert rates_of(later, WSD(later, 2, 4, last_epoch=3), 3) == undisturbed[4:]


def test_a_learning_rate_may_be_a_tensor() -> None:
    """As torch.compile wants it: the tensor is filled, never replaced."""
    rate = torch.tensor(0.5, dtype=torch.float64)
    optimizer = Adam([nn.Parameter(torch.zeros(1))], lr=rate, capturable=False, foreach=False)
    schedule = WSD(optimizer, 0, 2, shape="linear")
    optimizer.step()
    schedule.step()
    assert optimizer.param_groups[0]["lr"] is rate
    assert float(rate) == 0.25


def test_after_a_warm_up_in_a_plain_loop() -> None:
    optimizer = sgd(1.0)
    warm_up = lr_scheduler.LinearLR(optimizer, start_factor=0.25, total_iters=3)
    decay = WSD(optimizer, decay_start=2, decay_length=2, shape="linear")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch's own, of SequentialLR's milestones
        rates = rates_of(optimizer, lr_scheduler.SequentialLR(optimizer, [warm_up, decay], [3]), 8)
    assert [rate for (rate,) in rates] == pytest.approx([0.25, 0.5, 0.75, 1, 1, 1, 0.5, 0, 0])


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"decay_start": -1, "decay_length": 2}, "decay_start must be a whole number of at least 0, got -1"),
        (
            {"decay_start": 1.5, "decay_length": 2},
            "decay_start must be a whole number of at least 0, got 1.5",
        ),
        (
            {"decay_start": True, "decay_length": 2},
            "decay_start must be a whole number of at least 0, got True",
        ),
        ({"decay_start": 1, "decay_length": 0}, "decay_length must be a whole number of at least 1, got 0"),
        ({"decay_start": 1, "total_steps": 0}, "total_steps must be a whole number of at least 1, got 0"),
        (
            {"decay_start": 8, "total_steps": 8},
            "decay_start must be below 8, the steps of the training (total_steps), got 8: nothing would decay",
        ),
        ({"decay_start": 9, "decay_length": 2, "total_steps": 8}, "decay_start must be below 8"),
        ({"decay_start": 1}, "WSD needs decay_length, or total_steps to decay until"),
        (
            {"decay_start": 1, "decay_length": 2, "shape": "sqrt"},
            "shape must be one of linear, cosine, 1-sqrt, exponential, got 'sqrt'",
        ),
        (
            {"decay_start": 1, "decay_length": 2, "final_factor": 1.5},
            "final_factor must be from 0 to 1, got 1.5",
        ),
        ({"decay_start": 1, "decay_length": 2, "final_factor": -0.1}, "final_factor must be from 0 to 1"),
        ({"decay_start": 1, "decay_length": 2, "final_factor": math.nan}, "final_factor must be from 0 to 1"),
        (
            {"decay_start": 1, "decay_length": 2, "final_factor": "half"},
            "final_factor must be a number, got 'half'",
        ),
        (
            {"decay_start": 1, "decay_length": 2, "shape": "exponential", "final_factor": 0.0},
            "final_factor must be above 0 for exponential, which never reaches 0, got 0.0",
        ),
    ],
)
def test_arguments_that_describe_no_decay(arguments: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=re.escape(sentence)):
        WSD(sgd(), **arguments)
