"""Small models on random inputs, trained stacked and alone, that tests share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.unit.trials_for_tests import admission
from workers.messages import Admission, Measured
from workers.population import Population
from workers.recipe import Recipe
from workers.solo import SoloTrial
from workers.tasks.task import Data

EXAMPLES, EPOCHS, BATCH = 40, 3, 8


class Task:
    """Any model on random inputs, to tell three classes apart."""

    def __init__(self, make: Callable[[], nn.Module], inputs: Tensor, *, double: bool = True) -> None:
        self._make = make
        self._inputs = inputs
        self._double = double and inputs.is_floating_point()

    def model(self) -> nn.Module:
        made = self._make()
        return made.double() if self._double else made

    def data(self) -> Data:
        inputs = self._inputs.double() if self._double else self._inputs
        targets = torch.arange(EXAMPLES) % 3
        cut = EXAMPLES // 5
        return Data(
            train_inputs=inputs[cut:],
            train_targets=targets[cut:],
            validation_inputs=inputs[:cut],
            validation_targets=targets[:cut],
        )

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return functional.cross_entropy(outputs, targets)

    def metrics(self, outputs: Tensor, targets: Tensor) -> Mapping[str, Tensor]:
        return {"val_loss": self.loss(outputs, targets)}


VECTORS = torch.randn(EXAMPLES, 6, generator=torch.Generator().manual_seed(1))
SEQUENCES = torch.randn(EXAMPLES, 5, 4, generator=torch.Generator().manual_seed(2))
IMAGES = torch.randn(EXAMPLES, 1, 6, 6, generator=torch.Generator().manual_seed(3))
WORDS = torch.randint(7, (EXAMPLES, 5), generator=torch.Generator().manual_seed(4))


def recipe(task: Task, precision: str = "float32", convolutions: str = "grouped") -> Recipe:
    return Recipe(
        task=task,
        data=task.data(),
        epochs=EPOCHS,
        metric="val_loss",
        precision=precision,
        convolutions=convolutions,
    )


def subject(**changes: Any) -> Admission:
    arguments = {"lr": 0.05, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01, **changes}
    return admission(3, seed=1, batch_size=BATCH, **arguments)


def neighbour(number: int, *, diverging: bool = False, **changes: Any) -> Admission:
    lr = 1e30 if diverging else 0.01 * number
    return admission(90 + number, seed=number % 3, batch_size=BATCH, lr=lr, momentum=0.5, **changes)


def stacked(
    task: Task,
    *,
    width: int = 6,
    slot: int = 2,
    late: bool = False,
    diverging: bool = False,
    precision: str = "float32",
    convolutions: str = "grouped",
    **changes: Any,
) -> tuple[list[Any], dict[str, Tensor]]:
    """Outcomes of the subject's first two epochs, and its weights and buffers after them."""
    rows = Population(
        recipe(task, precision, convolutions),
        optimizer="SGD",
        batch_size=BATCH,
        width=width,
        two_groups=bool(changes.get("two_groups")),
    )
    grouped = {"two_groups": True} if changes.get("two_groups") else {}
    others = [neighbour(n, diverging=diverging and n % 2 == 0, **grouped) for n in range(width) if n != slot]
    for other in others:
        rows.admit(other, other.number - 90)
    numbers = [other.number for other in others]
    if late:
        rows.advance(numbers)
    rows.admit(subject(**changes), slot)
    outcomes = [outcome for _ in range(2) for outcome in rows.advance([3, *numbers])]
    return [outcome for outcome in outcomes if outcome.number == 3], rows.weights(3)


def alone(task: Task, precision: str = "float32", **changes: Any) -> tuple[list[Any], dict[str, Tensor]]:
    """The same by the plain loop."""
    trial = SoloTrial(recipe(task, precision), subject(**changes))
    return [trial.advance(), trial.advance()], {
        name: tensor.detach() for name, tensor in trial.model.state_dict().items()
    }


def assert_equal_up_to_rounding(
    task: Task, rtol: float = 1e-8, convolutions: str = "grouped", **changes: Any
) -> None:
    outcomes, weights = stacked(task, convolutions=convolutions, **changes)
    expected, expected_weights = alone(task, **changes)
    for found, wanted in zip(outcomes, expected, strict=True):
        assert isinstance(found, Measured)
        assert (found.lr, found.momentum, found.step) == (wanted.lr, wanted.momentum, wanted.step)
        assert found.train_loss == pytest.approx(wanted.train_loss, rel=rtol)
        assert found.metrics["val_loss"] == pytest.approx(wanted.metrics["val_loss"], rel=rtol)
        assert found.grad_norm == pytest.approx(wanted.grad_norm, rel=10 * rtol)
    for name, found in weights.items():
        torch.testing.assert_close(found, expected_weights[name], rtol=rtol, atol=rtol)
