"""What is promised of a population holds on a GPU: parity with the plain loop, and a row's own bits.

Each test runs on the CPU as well, so that what a machine without a GPU skips is the device, not the code.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor

from search_spaces.settings import Setting
from tests.unit.trials_for_tests import admission
from workers.messages import Admission, Cooldown, Measured, Orders, WorkerSetup
from workers.population import Population
from workers.recipe import Recipe, numeric_settings
from workers.solo import SoloTrial
from workers.speed import SpeedQuestion
from workers.speed_benches import speeds_of
from workers.tasks.registry import make_task
from workers.worker import Worker

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]
TASKS = {
    "digits-mlp": (),
    "digits-cnn": (("batch_norm", True), ("dropout", 0.2), ("width", 4)),
    "chars": (("characters", 4000), ("context", 16), ("dropout", 0.1), ("heads", 2), ("width", 16)),
}
BATCH = 64
COOLDOWN = Cooldown(epochs=1, at=(1,))


def recipe(task: str, device: str, *, host_data: bool = False, precision: str = "float32") -> Recipe:
    made = make_task(task, TASKS[task])
    data = made.data()
    few = dataclasses.replace(
        data, train_inputs=data.train_inputs[: 3 * BATCH], train_targets=data.train_targets[: 3 * BATCH]
    )
    return Recipe(
        task=made,
        data=few if host_data else few.to(torch.device(device)),
        epochs=3,
        metric="val_loss",
        device=torch.device(device),
        precision=precision,
    )


def trial(number: int = 7, **changes: Any) -> Admission:
    arguments = {"lr": 0.02, "momentum": 0.9, "weight_decay": 5e-4, **changes}
    return admission(number, seed=1, batch_size=BATCH, **arguments)


def stacked(
    shared: Recipe, width: int, slot: int, *, optimizer: str = "SGD"
) -> tuple[list[Any], dict[str, Tensor]]:
    rows = Population(shared, optimizer=optimizer, batch_size=BATCH, width=width, cooldown=COOLDOWN)
    others = [n for n in range(100, 100 + width) if n - 100 != slot]
    for number in others:
        rate = 1e8 if number % 5 == 0 else 0.001 * (number - 99)
        rows.admit(
            admission(number, seed=number % 3, batch_size=BATCH, lr=rate, optimizer=optimizer), number - 100
        )
    subject = (
        trial()
        if optimizer == "SGD"
        else admission(7, seed=1, batch_size=BATCH, lr=0.003, optimizer=optimizer)
    )
    rows.admit(subject, slot)
    outcomes = [outcome for _ in range(2) for outcome in rows.advance([7, *others])]
    return [outcome for outcome in outcomes if outcome.number == 7], rows.weights(7)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("task", TASKS)
def test_a_row_is_what_the_plain_loop_trains(task: str, device: str) -> None:
    shared = recipe(task, device)
    with numeric_settings("float32"):
        outcomes, _ = stacked(shared, 6, 2)
        alone = SoloTrial(shared, trial(), cooldown=COOLDOWN)
        for found, expected in zip(outcomes, [alone.advance(), alone.advance()], strict=True):
            assert isinstance(found, Measured)
            assert isinstance(expected, Measured)
            assert found.train_loss == pytest.approx(expected.train_loss, rel=1e-3)
            told = ("val_loss", "cooldown_val_loss") if found.epoch == 1 else ("val_loss",)
            for name in told:
                assert found.metrics[name] == pytest.approx(expected.metrics[name], rel=1e-3)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("optimizer", ["SGD", "AdamW"])
def test_a_rows_bits_are_its_own(task: str, device: str, optimizer: str) -> None:
    shared = recipe(task, device)
    with numeric_settings("float32"):
        expected, expected_weights = stacked(shared, 4, 1, optimizer=optimizer)
        for width, slot in ((4, 3), (9, 8), (32, 17)):
            outcomes, weights = stacked(shared, width, slot, optimizer=optimizer)
            assert outcomes == expected
            assert all(torch.equal(weights[name], expected_weights[name]) for name in weights)


@pytest.mark.parametrize("device", DEVICES)
def test_data_in_the_hosts_memory_train_the_same(device: str) -> None:
    with numeric_settings("float32"):
        on_device = stacked(recipe("digits-cnn", device), 5, 4)
        from_host = stacked(recipe("digits-cnn", device, host_data=True), 5, 4)
    assert on_device[0] == from_host[0]
    assert all(torch.equal(on_device[1][name], from_host[1][name]) for name in on_device[1])


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("precision", ["tf32", "bf16"])
def test_lower_precision_is_near_and_repeatable(device: str, precision: str) -> None:
    full = stacked(recipe("digits-mlp", device), 5, 4)[0]
    with numeric_settings(precision):
        low = [
            stacked(recipe("digits-mlp", device, precision=precision), *place)[0]
            for place in ((5, 4), (16, 3))
        ]
    assert low[0] == low[1]
    assert low[0][-1].train_loss == pytest.approx(full[-1].train_loss, rel=0.05)


@pytest.mark.parametrize("device", DEVICES)
def test_a_worker_trains_there(device: str) -> None:
    setup = WorkerSetup(task="digits-cnn", metric="val_loss", epochs=2, device=device, width=4)
    numbers = (0, 1)
    trials = tuple(admission(number, lr=0.05, momentum=0.9, batch_size=256) for number in numbers)
    worker = Worker(setup)
    outcomes = [
        outcome
        for round_, admitted in ((1, trials), (2, ()))
        for outcome in worker.carry_out(
            Orders(lane=0, round=round_, admit=admitted, advance=numbers)
        ).outcomes
    ]
    assert [type(outcome) for outcome in outcomes] == [Measured] * 4


@pytest.mark.parametrize("device", DEVICES)
def test_speeds_are_measured_on_the_device(device: str) -> None:
    setting = Setting(optimizer="SGD", arguments={"lr": 0.1, "momentum": 0.9}, batch_size=BATCH)
    found = speeds_of(
        SpeedQuestion(task="digits-cnn", setting=setting, device=device, most=6, trial_epochs=10**9)
    )
    assert found is not None
    assert set(found.stacked) <= {4, 6}
    assert found.solo is not None
    assert found.compared is not None
    assert not torch.are_deterministic_algorithms_enabled() or device == "cpu"
