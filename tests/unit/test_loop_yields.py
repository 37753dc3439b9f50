"""What a training loop may yield, and what it gets wrong, in the words of the sentence."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from search_spaces.settings import Schedule
from tests.unit.loops_for_tests import (
    GOOD,
    YIELDS,
    events_of,
    loop_in,
    outcomes_of,
    plain,
)
from workers.messages import Failed, Measured
from workers.tasks.registry import task_class


@pytest.mark.parametrize(
    ("value", "number"),
    [
        ("torch.tensor(0.5, requires_grad=True)", 0.5),
        ("torch.tensor([2])", 2.0),
        ("np.float32(0.5)", 0.5),
        ("np.array([[0.25]])", 0.25),
        ("np.int64(3)", 3.0),
        ("True", 1.0),
        ("__import__('fractions').Fraction(1, 4)", 0.25),
        ("float('nan')", math.nan),
    ],
)
def test_anything_that_is_one_number_is_a_metric(value: str, number: float, tmp_path: Path) -> None:
    body = f"import numpy as np, torch\n{YIELDS}".format(yielded=f"{{**{GOOD}, 'f 1': {value}}}")
    first = outcomes_of(tmp_path, plain(body))[0]
    assert isinstance(first, Measured)
    assert first.metrics["f 1"] == pytest.approx(number, nan_ok=True)
    assert type(first.metrics["f 1"]) is float
    assert list(first.metrics) == ["val_loss", "f 1"]
    assert first.train_loss == 1.0


WRONG: dict[str, tuple[str, str]] = {
    "no dict": (YIELDS.format(yielded="0.5"), "line 9: train() yielded a value of type float; wants a dict"),
    "nothing": (YIELDS.format(yielded=""), "line 9: train() yielded nothing (None); wants a dict of names"),
    "no val_loss": (
        YIELDS.format(yielded="{'train_loss': 1.0, 'valloss': 2}"),
        "yielded no 'val_loss', only train_loss, valloss; wants 'val_loss', the loss on what is not trained on; did you",
    ),
    "no train_loss": (
        YIELDS.format(yielded="{'val_loss': 1.0}"),
        "no 'train_loss', only val_loss; wants 'train_loss'",
    ),
    "an empty dict": (YIELDS.format(yielded="{}"), "no 'train_loss', an empty dict"),
    "a list": (
        YIELDS.format(yielded=f"{{**{GOOD}, 'f1': [1.0]}}"),
        "yielded 'f1', a value of type list; wants a number",
    ),
    "a text": (
        YIELDS.format(yielded=f"{{**{GOOD}, 'f1': '1.0'}}"),
        "yielded 'f1', a value of type str; wants a number",
    ),
    "complex": (YIELDS.format(yielded=f"{{**{GOOD}, 'f1': 1j}}"), "yielded 'f1', a value of type complex"),
    "a tensor": (
        "import torch\n" + YIELDS.format(yielded=f"{{**{GOOD}, 'f1': torch.zeros(2, 3)}}"),
        "yielded 'f1' of shape (2, 3); wants a number, or a tensor of one element; its mean, say",
    ),
    "a number for a name": (
        YIELDS.format(yielded=f"{{**{GOOD}, 3: 1.0}}"),
        "yielded one named 3; wants names of",
    ),
    "a column's name": (
        YIELDS.format(yielded=f"{{**{GOOD}, 'epoch': 1}}"),
        "one named 'epoch', which is a column of",
    ),
    "a new name": (
        YIELDS.format(yielded=f"{{**{GOOD}, f'm{{epoch}}': 1}}"),
        "line 9: train() yielded no 'm0', which epoch 1 has, in epoch 2; wants val_loss, m0 in every epoch",
    ),
    "one more name": (
        YIELDS.format(yielded=f"{{**{GOOD}, **({{'late': 1}} if epoch else {{}})}}"),
        "yielded 'late', which epoch 1 has not, in epoch 2",
    ),
    "too few epochs": (
        f"yield {GOOD}\nyield {GOOD}",
        "train() ended after 2 of 3 epochs; wants a yield for each of setting.epochs",
    ),
    "no epoch": ("return\nyield", "train() ended after 0 of 3 epochs"),
    "an error": ("raise ValueError('of mine')\nyield", "ValueError: of mine"),
    "an exit": ("raise SystemExit(3)\nyield", "SystemExit: 3, which would end Ravine"),
    "inside no_grad": (
        f"import torch\nwith torch.no_grad():\n    {YIELDS.format(yielded=GOOD)}".replace(
            "\n    yield", "\n        yield"
        ),
        "train() yielded inside torch.no_grad(); wants the yield after that block",
    ),
    "with gradients switched off": (
        f"import torch\ntorch.set_grad_enabled(False)\nyield {GOOD}",
        "train() yielded inside torch.no_grad()",
    ),
    "inside inference_mode": (
        f"import torch\nwith torch.inference_mode():\n    yield {GOOD}",
        "train() yielded inside torch.inference_mode()",
    ),
    "inside autocast": (
        f"import torch\nwith torch.autocast('cpu'):\n    yield {GOOD}",
        "train() yielded inside torch.autocast()",
    ),
    "a step of half": (
        YIELDS.format(yielded=f"{{**{GOOD}, 'step': 1.5}}"),
        "yielded 'step': 1.5; wants the updates",
    ),
    "a rate that is none": (
        YIELDS.format(yielded=f"{{**{GOOD}, 'lr': float('nan')}}"),
        "yielded 'lr': nan; wants a finite number",
    ),
}


@pytest.mark.parametrize("kind", WRONG)
def test_what_a_loop_gets_wrong_fails_its_trial_in_one_sentence(kind: str, tmp_path: Path) -> None:
    body, words = WRONG[kind]
    outcomes = outcomes_of(tmp_path, plain(body))
    failed = outcomes[-1]
    assert isinstance(failed, Failed)
    assert failed.cause == "user_error"
    assert words in failed.message
    assert "\n" not in failed.message
    assert events_of(tmp_path) == [("closed", 0.1)]
    assert torch.is_grad_enabled()
    assert not torch.is_inference_mode_enabled()
    assert not torch.is_autocast_enabled("cpu")


def test_the_sweeps_metric_and_what_a_schedule_watches_must_be_yielded(tmp_path: Path) -> None:
    failed = outcomes_of(tmp_path, plain(YIELDS.format(yielded=GOOD)), metric="val_accuracy")[0]
    assert isinstance(failed, Failed)
    assert (
        "no 'val_accuracy', only train_loss, val_loss; wants 'val_accuracy', the sweep's metric"
        in failed.message
    )
    (tmp_path / "plateau").mkdir()
    plateau = Schedule(name="ReduceLROnPlateau", arguments={"mode": "max"}, watch="f1")
    failed = outcomes_of(tmp_path / "plateau", plain(YIELDS.format(yielded=GOOD)), schedule=plateau)[0]
    assert isinstance(failed, Failed)
    assert "no 'f1', only train_loss, val_loss; wants 'f1', which ReduceLROnPlateau watches" in failed.message


@pytest.mark.parametrize(
    ("changes", "yielded", "expected"),
    [
        ({}, "{}", (1, 0.1, 0.0, None)),
        ({"arguments": {"lr": 0.1, "momentum": 0.9}}, "{'step': 12}", (12, 0.1, 0.9, None)),
        (
            {"arguments": {"momentum": 0.5}},
            "{'lr': 0.3, 'momentum': 0.4, 'grad_norm': 2}",
            (1, 0.3, 0.4, 2.0),
        ),
        ({"arguments": {}}, "{}", (1, 0.001, 0.0, None)),
        ({"optimizer": "Adam"}, "{}", (1, 0.1, 0.9, None)),
        ({"optimizer": "Adam", "arguments": {"lr": 0.1, "betas": (0.7, 0.9)}}, "{}", (1, 0.1, 0.7, None)),
        ({"optimizer": "Adagrad"}, "{}", (1, 0.1, None, None)),
        (
            {"schedule": Schedule(name="StepLR", arguments={"step_size": 1})},
            "{'lr': 0.01}",
            (1, 0.01, None, None),
        ),
    ],
)
def test_a_loop_without_pytorch_has_the_settings_numbers_or_its_own(
    changes: dict[str, Any], yielded: str, expected: tuple[object, ...], tmp_path: Path
) -> None:
    text = plain(YIELDS.format(yielded=f"{{**{GOOD}, **{yielded}}}")).replace('["lr"]', '.get("lr")')
    first = outcomes_of(tmp_path, text, **changes)[0]
    assert isinstance(first, Measured)
    grad_norm = None if math.isnan(first.grad_norm) else first.grad_norm
    assert (first.step, first.lr, first.momentum, grad_norm) == expected
    assert first.peak_lr == first.lr
    assert list(first.metrics) == ["val_loss"]


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"schedule": Schedule(name="StepLR", arguments={"step_size": 1})}, "schedule StepLR"),
        ({"warmup_epochs": 1}, "warm-up"),
    ],
)
def test_a_loop_that_leaves_the_schedule_aside_is_told(
    changes: dict[str, Any], what: str, tmp_path: Path
) -> None:
    failed = outcomes_of(tmp_path, plain(YIELDS.format(yielded=GOOD)), **changes)[0]
    assert isinstance(failed, Failed)
    assert f"the sweep's {what} changes the learning rate, and train() does not say to what" in failed.message


def test_declared_metrics_must_be_yielded_all_and_no_others(tmp_path: Path) -> None:
    text = plain(YIELDS.format(yielded=GOOD)).replace(
        "class Plain:", "class Plain:\n    metrics = ['f1', 'train_loss']\n"
    )
    reference = loop_in(tmp_path, text)
    assert task_class(reference).metrics == ("val_loss", "f1")
    failed = outcomes_of(tmp_path, text)[0]
    assert isinstance(failed, Failed)
    assert (
        "yielded no 'f1', which the class's 'metrics' has, in epoch 1; wants val_loss, f1 in"
        in failed.message
    )
