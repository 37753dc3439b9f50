"""A solo trial is a function of its setting and seed: whatever else trains, drew random numbers, or ran before."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from search_spaces.settings import Schedule
from tests.unit.modules_for_tests import BATCH, VECTORS, Task, recipe, subject
from tests.unit.trials_for_tests import admission
from workers.recipe import Recipe
from workers.solo import SoloTrial, SoloTrials
from workers.tasks.user_task import UserTask


class Changed(nn.Module):
    """A layer over inputs that ``change`` has changed."""

    def __init__(self, change: Callable[[Changed, Tensor], Tensor]) -> None:
        super().__init__()
        self.change = change
        self.layer = nn.Linear(6, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.layer(self.change(self, inputs))


class Penalized:
    """A task that keeps its model, and counts."""

    def __init__(self) -> None:
        self.calls = 0

    def model(self) -> nn.Module:
        self.net = nn.Linear(6, 3)
        return self.net

    def data(self) -> tuple[Tensor, ...]:
        targets = torch.arange(40) % 3
        return VECTORS[:32], targets[:32], VECTORS[32:], targets[32:]

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        self.calls += 1
        penalty = sum(parameter.square().sum() for parameter in self.net.parameters())
        return functional.cross_entropy(outputs, targets) + self.calls * penalty

    def augment(self, inputs: Tensor, uniform: Callable[[int], Tensor]) -> Tensor:
        self.calls += 1
        return inputs + uniform(1)

    def metrics(self, outputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
        return {"val_loss": self.loss(outputs, targets), "val_weight": self.net.weight.norm()}


class Checkpointed(nn.Module):
    """Layers and dropout whose forward pass is done once more in the backward pass."""

    def __init__(self, *, reentrant: bool) -> None:
        super().__init__()
        self.reentrant = reentrant
        self.first = nn.Linear(6, 13)
        self.blocks = nn.ModuleList([nn.Sequential(nn.Linear(13, 13), nn.Dropout(0.3)) for _ in range(3)])
        self.head = nn.Linear(13, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        found = self.first(inputs)
        for block in self.blocks:
            found = checkpoint(block, found, use_reentrant=self.reentrant)
        return self.head(found)


CHANGES: dict[str, Callable[[Changed, Tensor], Tensor]] = {
    "torch": lambda model, x: x + torch.randn_like(x),
    "numpy": lambda model, x: x + np.random.rand(),
    "random": lambda model, x: x + random.random(),
    "dropout that never stops": lambda model, x: functional.dropout(x, 0.3),
    "in place": lambda model, x: x.mul_(1.1),
}


def penalized() -> Recipe:
    task = UserTask(Penalized, {})
    return Recipe(task=task, data=task.data(), epochs=3, metric="val_loss")


def outcomes(shared: Recipe, *, company: bool = False) -> list[Any]:
    """The subject's, of two epochs."""
    bench = SoloTrials(shared)
    if company:
        bench.admit(admission(1, seed=5, batch_size=BATCH, lr=0.3))
    bench.admit(subject())
    if company:
        bench.admit(admission(9, seed=6, batch_size=BATCH, lr=0.2))
    found = [outcome for _ in range(2) for outcome in bench.advance([1, 3, 9])]
    return [outcome for outcome in found if outcome.number == 3]


@pytest.mark.parametrize("name", CHANGES)
def test_company_and_earlier_draws_change_nothing(name: str) -> None:
    shared = recipe(Task(lambda: Changed(CHANGES[name]), VECTORS.clone()))
    expected = outcomes(shared)
    for seed in (1, 2):
        torch.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed)
        assert outcomes(shared, company=True) == expected


def test_random_numbers_differ_from_epoch_to_epoch_and_what_was_global_is_put_back() -> None:
    drawn: list[tuple[float, ...]] = []

    def note(model: Changed, inputs: Tensor) -> Tensor:
        drawn.append((random.random(), np.random.rand(), torch.rand(()).item()))
        return inputs

    state = random.getstate(), torch.get_rng_state()
    after = np.random.get_state()[1].copy()
    outcomes(recipe(Task(lambda: Changed(note), VECTORS)))
    assert random.getstate() == state[0]
    assert torch.equal(torch.get_rng_state(), state[1])
    assert np.array_equal(np.random.get_state()[1], after)
    assert all(len(set(numbers)) == len(drawn) for numbers in zip(*drawn, strict=True))


@pytest.mark.parametrize("full_batch", [False, True])
def test_a_model_that_writes_into_its_inputs_leaves_the_data_alone(full_batch: bool) -> None:
    shared = recipe(Task(lambda: Changed(CHANGES["in place"]), VECTORS.clone()))
    if full_batch:
        shared = dataclasses.replace(shared, data=dataclasses.replace(shared.data, full_batch_updates=2))
    before = shared.data.train_inputs.clone(), shared.data.validation_inputs.clone()
    SoloTrial(shared, subject()).advance()
    assert torch.equal(shared.data.train_inputs, before[0])
    assert torch.equal(shared.data.validation_inputs, before[1])


@pytest.mark.parametrize("reentrant", [False, True])
def test_a_checkpointed_block_drops_the_same_when_it_is_done_again(reentrant: bool) -> None:
    """With one example, what the forward pass drops has no gradient."""
    dropped: list[Tensor] = []
    torch.manual_seed(0)
    model = Checkpointed(reentrant=reentrant)
    for block in model.blocks:
        block.register_forward_hook(lambda _, __, found: dropped.append(found.detach()[0] == 0))
    trial = SoloTrial(
        recipe(Task(lambda: model, VECTORS)), admission(seed=1, batch_size=1, lr=0.0, momentum=0.0)
    )
    trial._update(1, 1)
    assert any(mask.any() for mask in dropped[:3])
    for block, mask in zip(model.blocks, dropped[:3], strict=True):
        assert torch.equal(block[0].bias.grad == 0, mask)


def test_what_a_task_keeps_of_a_trial_is_that_trials_own() -> None:
    """Its model, say, which the loss looks at."""
    expected = outcomes(penalized())
    assert outcomes(penalized(), company=True) == expected
    shared = penalized()
    assert outcomes(shared) == expected
    assert outcomes(shared) == expected


class Halving(torch.optim.SGD):
    """A user's optimizer, which makes its parent's step in its own."""

    def __init__(self, params: Any, lr: float = 0.1) -> None:
        super().__init__(params, lr=lr)

    def step(self, closure: Any = None) -> None:
        for parameter in self.param_groups[0]["params"]:
            parameter.grad.mul_(0.5)
        super().step(closure)


def test_an_optimizer_that_makes_its_parents_step_makes_one_update() -> None:
    """Where the parent has been made too, PyTorch calls hooks for either step."""
    torch.optim.SGD([torch.zeros(1)], lr=0.1)
    shared = dataclasses.replace(
        recipe(Task(lambda: nn.Linear(6, 3), VECTORS)), optimizers={"Halving": Halving}
    )
    decay = Schedule(name="ExponentialLR", arguments={"gamma": 0.5}, every="step")
    trial = SoloTrial(
        shared, admission(optimizer="Halving", lr=0.8, schedule=decay, warmup_epochs=1, batch_size=BATCH)
    )
    found: list[Any] = [trial.advance() for _ in range(3)]
    assert [(one.step, one.peak_lr, one.lr) for one in found] == [
        (4, 0.8, 0.8),
        (8, 0.8, 0.1),
        (12, 0.05, 0.00625),
    ]
