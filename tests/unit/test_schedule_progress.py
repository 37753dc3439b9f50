"""How far schedules are, beside what a plain loop over PyTorch's objects spends."""

from __future__ import annotations

from typing import Any

import pytest

from search_spaces.settings import Schedule, Setting
from tests.unit.trials_for_tests import admission
from workers.messages import Measured, Orders, WorkerSetup
from workers.optimization import Horizon
from workers.schedule_progress import epoch_rates, shown_progress
from workers.worker import Worker

EPOCHS, UPDATES = 8, 5


def _setting(schedule: Schedule, warmup_epochs: int = 0) -> Setting:
    return Setting(
        optimizer="SGD",
        arguments={"lr": 0.4},
        schedule=schedule,
        warmup_epochs=warmup_epochs,
        batch_size=32,
        task_arguments={},
    )


def _by_hand(schedule: Any, every: str) -> list[float]:
    """The learning rate of every update."""
    import torch

    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.4)
    stepped = schedule(optimizer)
    rates = []
    for update in range(1, EPOCHS * UPDATES + 1):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if every == "step" or update % UPDATES == 0:
            stepped.step()
    return rates


CASES: dict[str, tuple[Schedule, Any]] = {
    "StepLR": (
        Schedule(name="StepLR", arguments={"step_size": 3, "gamma": 0.1}),
        lambda scheduler, optimizer: scheduler.StepLR(optimizer, 3, 0.1),
    ),
    "ExponentialLR": (
        Schedule(name="ExponentialLR", arguments={"gamma": 0.5}),
        lambda scheduler, optimizer: scheduler.ExponentialLR(optimizer, 0.5),
    ),
    "OneCycleLR": (
        Schedule(name="OneCycleLR", arguments={"max_lr": 0.4}, every="step"),
        lambda scheduler, optimizer: scheduler.OneCycleLR(optimizer, 0.4, total_steps=EPOCHS * UPDATES),
    ),
    "ConstantLR": (
        Schedule(name="ConstantLR", arguments={"factor": 1.0}),
        lambda scheduler, optimizer: scheduler.ConstantLR(optimizer, 1.0),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_spent_and_annealing_are_those_of_a_plain_loop(name: str) -> None:
    from torch.optim import lr_scheduler

    schedule, build = CASES[name]
    expected = _by_hand(lambda optimizer: build(lr_scheduler, optimizer), schedule.every)
    rates = epoch_rates(_setting(schedule), Horizon(epochs=EPOCHS, updates_per_epoch=UPDATES))
    for epoch in range(1, EPOCHS + 1):
        found = rates.progress(epoch)
        made = epoch * UPDATES
        assert found.spent == pytest.approx(sum(expected[:made]) / sum(expected), rel=1e-12)
        assert found.annealing == pytest.approx(max(0.0, 1 - expected[-1] / expected[made - 1]), rel=1e-12)
    assert rates.progress(EPOCHS).spent == pytest.approx(1.0)
    assert rates.progress(EPOCHS).annealing == 0.0


def test_a_warm_up_spends_less() -> None:
    horizon = Horizon(epochs=EPOCHS, updates_per_epoch=UPDATES, warmup_epochs=2)
    rates = epoch_rates(_setting(Schedule(), warmup_epochs=2), horizon)
    expected = [min(1.0, update / 10) for update in range(1, EPOCHS * UPDATES + 1)]
    assert rates.progress(1).spent == pytest.approx(sum(expected[:5]) / sum(expected))
    assert rates.progress(1).annealing == 0.0  # a rise is none


def test_rates_of_zero_have_nothing_left() -> None:
    horizon = Horizon(epochs=EPOCHS, updates_per_epoch=UPDATES)
    found = epoch_rates(
        _setting(Schedule(name="ConstantLR", arguments={"factor": 0.0, "total_iters": 99})), horizon
    )
    assert (found.progress(1).spent, found.progress(1).annealing) == (1.0, 0.0)


def test_what_is_not_known_ahead_is_taken_to_stay_as_it_is() -> None:
    found = shown_progress([1.0, 1.0, 0.1], 8)
    assert found.spent == pytest.approx(2.1 / 2.6)
    assert found.annealing == 0.0
    assert shown_progress([0.5], 4).spent == pytest.approx(0.25)


@pytest.mark.parametrize("execution", ["stacked", "solo"])
def test_a_worker_tells_it_where_it_is_asked_for(execution: str) -> None:
    setup = WorkerSetup(
        task="quadratic", metric="val_loss", epochs=4, execution=execution, judged_after=(1, 3)
    )
    worker = Worker(setup)
    step = Schedule(name="StepLR", arguments={"step_size": 2, "gamma": 0.5})
    plateau = Schedule(
        name="ReduceLROnPlateau",
        arguments={"factor": 0.5, "patience": 0, "threshold": 10.0},
        watch="val_loss",
    )
    trials = [admission(number, schedule=schedule, lr=0.1) for number, schedule in enumerate((step, plateau))]
    shown: dict[tuple[int, int], Any] = {}
    for round_ in range(1, 5):
        report = worker.carry_out(
            Orders(lane=0, round=round_, admit=tuple(trials) if round_ == 1 else (), advance=(0, 1))
        )
        for outcome in report.outcomes:
            assert isinstance(outcome, Measured)
            shown[outcome.number, outcome.epoch] = outcome.progress
    assert [key for key, progress in sorted(shown.items()) if progress is None] == [
        (number, epoch) for number in (0, 1) for epoch in (2, 4)
    ]
    assert shown[0, 1].spent == pytest.approx(1 / 3)
    assert shown[0, 1].annealing == pytest.approx(0.5)
    assert shown[0, 3].spent == pytest.approx(2.5 / 3)
    # It never improves by ten times, so the rate halves after each epoch; what comes is taken to stay.
    assert shown[1, 1].spent == pytest.approx(1 / 4)
    assert shown[1, 3].spent == pytest.approx((1 + 0.5 + 0.25) / (1 + 0.5 + 0.25 + 0.25))
