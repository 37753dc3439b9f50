"""On the quadratic ravine, what is measured is what the theory says."""

from __future__ import annotations

import math

import numpy as np
import pytest

from search_spaces.settings import Setting
from tests.unit.trials_for_tests import population
from workers.messages import Admission, Diverged, Measured
from workers.population import Population
from workers.tasks.quadratic import UPDATES_PER_EPOCH

CONDITION = 100.0


def ravine(width: int, epochs: int) -> Population:
    return population(task="quadratic", width=width, epochs=epochs, condition=CONDITION)


def point(number: int, lr: float, momentum: float) -> Admission:
    return Admission(
        number=number,
        seed=0,
        setting=Setting(
            optimizer="SGD",
            arguments={"lr": lr, "momentum": momentum},
            task_arguments={"condition": CONDITION},
        ),
    )


def trained(points: list[tuple[float, float]], epochs: int) -> dict[int, Measured | Diverged]:
    """The last outcome of each point."""
    rows = ravine(len(points), epochs)
    for number, (lr, momentum) in enumerate(points):
        rows.admit(point(number, lr, momentum))
    last: dict[int, Measured | Diverged] = {}
    for _ in range(epochs):
        for outcome in rows.advance(range(len(points))):
            last[outcome.number] = outcome
    return last


@pytest.mark.parametrize("momentum", [0.0, 0.3, 0.6, 0.9, 0.97])
def test_the_edge_of_divergence(momentum: float) -> None:
    """lr * lambda_max = 2 + 2 * momentum, within 2 %, after 1,500 updates."""
    theory = 2 + 2 * momentum  # lambda_max is 1
    offsets = np.arange(-0.05, 0.0501, 0.0025)
    last = trained([(theory * (1 + offset), momentum) for offset in offsets], 1500 // UPDATES_PER_EPOCH)
    diverged = [isinstance(last[number], Diverged) for number in range(len(offsets))]
    first = diverged.index(True)
    assert all(diverged[first:])
    assert not any(diverged[:first])
    measured = theory * (1 + offsets[first])
    assert measured == pytest.approx(theory, rel=0.02)


def test_the_best_point_is_polyaks() -> None:
    """On a 32 x 32 grid the best (lr, momentum) after 150 updates is within one cell of the optimum."""
    cells = 32
    lrs = np.geomspace(1e-2, 10, cells)
    momenta = np.linspace(0, 0.99, cells)
    points = [(float(lr), float(momentum)) for lr in lrs for momentum in momenta]
    last = trained(points, 150 // UPDATES_PER_EPOCH)
    losses = {
        number: outcome.metrics["val_loss"]
        for number, outcome in last.items()
        if isinstance(outcome, Measured)
    }
    best = min(losses, key=losses.__getitem__)
    root = math.sqrt(CONDITION)
    momentum = ((root - 1) / (root + 1)) ** 2
    lr = (1 + math.sqrt(momentum)) ** 2  # over lambda_max, which is 1
    nearest = (np.abs(np.log(lrs / lr)).argmin(), np.abs(momenta - momentum).argmin())
    found = divmod(best, cells)
    assert abs(found[0] - nearest[0]) <= 1
    assert abs(found[1] - nearest[1]) <= 1


def test_plain_gradient_descent_in_closed_form() -> None:
    """Without momentum w_i = (1 - lr * lambda_i)^t: the loss after each epoch is known exactly."""
    lr = 0.5
    rows = ravine(4, 2)
    rows.admit(point(0, lr, 0.0))
    lambdas = CONDITION ** np.linspace(-1, 0, 20)
    for epoch in (1, 2):
        (outcome,) = rows.advance([0])
        weights = (1 - lr * lambdas) ** (epoch * UPDATES_PER_EPOCH)
        assert isinstance(outcome, Measured)
        assert outcome.metrics["val_loss"] == pytest.approx(0.5 * (lambdas * weights**2).sum(), rel=1e-9)


def test_a_condition_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match=r"at least 1, got 0\.5"):
        population(task="quadratic", condition=0.5)
