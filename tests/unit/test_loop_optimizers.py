"""The optimizer that a loop is given trains as the sweep file says: equal to solo trials, to the last bit."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from search_spaces.settings import Schedule, Setting
from tests.unit.loops_for_tests import loop_in, round_of, worker_of
from tests.unit.trials_for_tests import recipe
from workers.loop_setting import LoopSetting, optimizers_of
from workers.messages import Admission, Failed, Measured, Outcome
from workers.solo import SoloTrial

DIGITS = """\
import torch
from torch.nn.functional import cross_entropy

from workers.randomness import data_order, initial_model
from workers.tasks.digits_mlp import DigitsMLP


def halve(epoch):
    return 0.5 ** epoch


class Line:
    def train(self, setting, seed, resume):
        task = DigitsMLP()
        data = task.data()
        model = initial_model(task, seed)
        size = setting.batch_size
        updates = len(data.train_inputs) // size
        optimizer = setting.torch_optimizer({parameters}, updates_per_epoch={told})
        for epoch in range(1, setting.epochs + 1):
            order = data_order(seed, epoch, len(data.train_inputs))
            total = []
            model.train()
            for update in range(updates):
                picked = order[update * size : (update + 1) * size]
                {update}
                total.append(loss.item())
            model.eval()
            with torch.no_grad():
                found = task.metrics(model(data.validation_inputs), data.validation_targets)
            yield {{"train_loss": __import__("math").fsum(total) / updates, **found}}
"""
STEP = """\
optimizer.zero_grad()
loss = cross_entropy(model(data.train_inputs[picked]), data.train_targets[picked])
loss.backward()
optimizer.step()"""
CLOSURE = """\
def closure():
    optimizer.zero_grad()
    loss = cross_entropy(model(data.train_inputs[picked]), data.train_targets[picked])
    loss.backward()
    return loss
loss = optimizer.step({closure})"""


def digits(update: str = STEP, parameters: str = "model", told: str = "updates") -> str:
    """A loop over the digits that takes a solo trial's steps."""
    return DIGITS.format(update=update.replace("\n", "\n" + 16 * " "), parameters=parameters, told=told)


SETTINGS: dict[str, dict[str, Any]] = {
    "sgd": {},
    "momentum and nesterov": {
        "arguments": {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01}
    },
    "adam": {"optimizer": "Adam", "arguments": {"lr": 0.01}},
    "adagrad": {"optimizer": "Adagrad", "arguments": {"lr": 0.01}},
    "steps": {"schedule": Schedule(name="StepLR", arguments={"step_size": 1, "gamma": 0.5})},
    "every step": {"schedule": Schedule(name="ExponentialLR", arguments={"gamma": 0.99}, every="step")},
    "a function": {"schedule": Schedule(name="LambdaLR", arguments={"lr_lambda": "halve"})},
    "cosine, horizon left out": {"schedule": Schedule(name="CosineAnnealingLR"), "warmup_epochs": 1},
    "fractions": {
        "schedule": Schedule(name="CosineAnnealingWarmRestarts", arguments={"T_0": 2}, every="fraction"),
        "warmup_epochs": 1,
    },
    "one cycle": {
        "arguments": {},
        "schedule": Schedule(name="OneCycleLR", arguments={"max_lr": 0.3}, every="step"),
        "warmup_epochs": 1,
    },
    "plateau": {
        "arguments": {"lr": 2.0},
        "schedule": Schedule(
            name="ReduceLROnPlateau", arguments={"patience": 0, "mode": "max"}, watch="val_accuracy"
        ),
        "warmup_epochs": 1,
    },
    "clipped": {"clip_grad_norm": 0.1},
    "two groups": {"two_groups": True, "bias_lr": 0.02, "arguments": {"lr": 0.1, "weight_decay": 0.1}},
}


def measured(outcomes: list[Outcome]) -> list[Measured]:
    assert all(isinstance(outcome, Measured) for outcome in outcomes), outcomes
    return [outcome for outcome in outcomes if isinstance(outcome, Measured)]


def looped(folder: Path, text: str, trial: Admission, epochs: int = 4) -> list[Outcome]:
    worker = worker_of(loop_in(folder, text, "Line"), epochs=epochs)
    outcomes = list(round_of(worker, (0,), trial).outcomes)
    while isinstance(outcomes[-1], Measured) and outcomes[-1].epoch < epochs:
        outcomes += round_of(worker, (0,)).outcomes
    return outcomes


def shown(curve: list[Measured]) -> list[tuple[Any, ...]]:
    return [
        (one.epoch, one.step, one.lr, one.momentum, one.peak_lr, one.train_loss, dict(one.metrics))
        for one in curve
    ]


def admission(changes: dict[str, Any]) -> Admission:
    setting = {"optimizer": "SGD", "arguments": {"lr": 0.1}, "batch_size": 128, **changes}
    return Admission(number=0, seed=3, setting=Setting(**setting))


@pytest.mark.parametrize("kind", SETTINGS)
def test_a_loop_trains_as_a_solo_trial_does(kind: str, tmp_path: Path) -> None:
    trial = admission(SETTINGS[kind])
    solo = SoloTrial(replace(recipe(), functions={"halve": lambda epoch: 0.5**epoch}), trial)
    expected = measured([solo.advance() for _ in range(4)])
    found = measured(looped(tmp_path, digits(), trial))
    assert shown(found) == shown(expected)
    for one, other in zip(found, expected, strict=True):
        assert one.grad_norm == pytest.approx(other.grad_norm, rel=1e-5)
    assert found[0].train_loss > found[-1].train_loss


@pytest.mark.parametrize("closure", ["closure", "closure=closure"])
@pytest.mark.parametrize("kind", ["clipped", "one cycle"])
def test_a_step_with_a_closure_is_the_same_step(kind: str, closure: str, tmp_path: Path) -> None:
    trial = admission(SETTINGS[kind])
    found = []
    for name, update in (("step", STEP), ("closure", CLOSURE.format(closure=closure))):
        (tmp_path / name).mkdir()
        found.append(measured(looped(tmp_path / name, digits(update), trial)))
    assert found[0] == found[1]


@pytest.mark.parametrize(
    "parameters", ["model.parameters()", "model.named_parameters()", "list(model.parameters())"]
)
def test_parameters_come_as_pytorch_takes_them(parameters: str, tmp_path: Path) -> None:
    found = []
    for name, given in (("model", "model"), ("others", parameters)):
        (tmp_path / name).mkdir()
        text = digits(parameters=given)
        found.append(measured(looped(tmp_path / name, text, admission(SETTINGS["two groups"]), epochs=2)))
    assert found[0] == found[1]


@pytest.mark.parametrize(
    ("parameters", "told", "words"),
    [
        ("[]", "updates", "ValueError: torch_optimizer() got no parameters, wants a model, or what its"),
        ("model.state_dict()", "updates", "TypeError: torch_optimizer() got strs, wants a model"),
        (
            "[{'params': model.parameters()}]",
            "updates",
            "TypeError: torch_optimizer() got dicts, wants a model",
        ),
        ("next(model.parameters())", "updates", "TypeError: torch_optimizer() got a value of type Parameter"),
        ("model", "11.0", "TypeError: updates_per_epoch is 11.0, not a whole number"),
        ("model", "0", "ValueError: updates_per_epoch is 0: an epoch has at least one update"),
    ],
)
def test_what_is_no_model_is_told(parameters: str, told: str, words: str, tmp_path: Path) -> None:
    (failed,) = looped(tmp_path, digits(parameters=parameters, told=told), admission({}))
    assert isinstance(failed, Failed)
    assert words in failed.message


@pytest.mark.parametrize(
    ("kind", "told", "words"),
    [
        (
            "every step",
            "updates - 1",
            "epoch 1 made 11 updates, and torch_optimizer() was told updates_per_epoch=10",
        ),
        (
            "every step",
            "3 * updates",
            "epoch 1 made 11 updates, and torch_optimizer() was told updates_per_epoch=33",
        ),
        ("cosine, horizon left out", "32 * updates", "epoch 1 made 11 updates"),
        ("one cycle", "updates - 1", "epoch 1 made 11 updates"),
        ("every step", "updates + 1", ""),
        ("steps", "3 * updates", ""),
    ],
)
def test_a_miscount_of_updates_is_told_where_a_schedule_counts_them(
    kind: str, told: str, words: str, tmp_path: Path
) -> None:
    last = looped(tmp_path, digits(told=told), admission(SETTINGS[kind]))[-1]
    if words:
        assert isinstance(last, Failed)
        assert words in last.message
    else:
        assert isinstance(last, Measured)
        assert last.step == 44
        assert math.isnan(last.grad_norm)


def test_of_two_optimizers_the_first_ones_numbers_are_recorded_and_both_are_scheduled() -> None:
    schedule = Schedule(name="StepLR", arguments={"step_size": 1, "gamma": 0.5})
    own = LoopSetting(Setting(optimizer="SGD", arguments={"lr": 1.0}, schedule=schedule), seed=0, epochs=3)
    made = [own.torch_optimizer(nn.Linear(1, 1), updates_per_epoch=1) for _ in range(2)]
    for optimizer, updates in zip(made, (1, 2), strict=True):
        for _ in range(updates):
            optimizer.step()
    first, second = optimizers_of(own)
    assert (first.shown(1).step, second.shown(1).step) == (1, 2)
    for watched in (first, second):
        watched.end_epoch({"val_loss": 1.0})
    assert [optimizer.param_groups[0]["lr"] for optimizer in made] == [0.5, 0.5]


def test_the_bench_records_the_first_of_two_optimizers(tmp_path: Path) -> None:
    more = digits().replace(
        "        for epoch in range(1",
        "        other = setting.torch_optimizer([torch.nn.Parameter(torch.zeros(1))], 1)\n        for epoch in range(1",
    )
    found = measured(looped(tmp_path, more, admission({}), epochs=2))
    assert [outcome.step for outcome in found] == [11, 22]


def test_a_gradient_norm_is_that_of_the_epoch_or_none() -> None:
    own = LoopSetting(Setting(optimizer="SGD", arguments={"lr": 0.1}), seed=0, epochs=3)
    parameter = nn.Parameter(torch.zeros(2))
    optimizer = own.torch_optimizer([parameter], updates_per_epoch=2)
    (watched,) = optimizers_of(own)
    norms = []
    for epoch, gradients in enumerate(((1.0, 3.0), (5.0,)), start=1):
        for gradient in gradients:
            parameter.grad = torch.tensor([gradient, 0.0])
            optimizer.step()
        norms.append(watched.shown(epoch).grad_norm)
    assert norms[0] == 3.0
    assert math.isnan(norms[1])


def test_an_epoch_without_an_update_shows_the_rate_in_force() -> None:
    own = LoopSetting(Setting(optimizer="Adam", arguments={"lr": 0.5}), seed=0, epochs=3)
    own.torch_optimizer([nn.Parameter(torch.zeros(1))], updates_per_epoch=4)
    shown = optimizers_of(own)[0].shown(1)
    assert (shown.step, shown.lr, shown.momentum, shown.peak_lr) == (0, 0.5, 0.9, 0.5)
    assert math.isnan(shown.grad_norm)


def test_an_optimizer_of_the_tasks_own_code_is_made(tmp_path: Path) -> None:
    text = digits().replace(
        "class Line:\n", "class Mine(torch.optim.SGD):\n    pass\n\n\nclass Line:\n    OWN\n"
    )
    text = text.replace("OWN", "optimizers = {'Mine': Mine}")
    found = measured(looped(tmp_path, text, admission({"optimizer": "Mine"}), epochs=2))
    (tmp_path / "theirs").mkdir()
    assert found == measured(looped(tmp_path / "theirs", digits(), admission({}), epochs=2))


def test_pytorchs_refusal_is_the_trials_failure(tmp_path: Path) -> None:
    (failed,) = looped(tmp_path, digits(), admission({"arguments": {"lr": -1.0}}))
    assert isinstance(failed, Failed)
    assert failed.message == "ScheduleRefused: Invalid learning rate: -1.0"
