"""Trials that cannot share a population train in groups, and no group waits for another."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from search_spaces.settings import Setting
from workers.messages import Admission, Failed, Measured, Orders, WorkerSetup
from workers.population import Population
from workers.worker import Worker

EPOCHS = 3


def trial(number: int, *, batch_size: int = 256, optimizer: str = "SGD", **task_arguments: Any) -> Admission:
    arguments = {"lr": 0.01 * (number + 1)}
    return Admission(
        number=number,
        seed=0,
        setting=Setting(
            optimizer=optimizer, arguments=arguments, batch_size=batch_size, task_arguments=task_arguments
        ),
    )


MIXED = (
    trial(0, width=2),
    trial(1, width=3),
    trial(2, width=2, batch_size=128),
    trial(3, width=2, batch_norm=True),
    trial(4, width=2, optimizer="Adam"),
    trial(5, width=2),
    trial(6, width=2, dropout=0.25),
)


def trained(admissions: tuple[Admission, ...], rounds: int = EPOCHS) -> dict[int, list[Any]]:
    worker = Worker(WorkerSetup(task="digits-cnn", metric="val_loss", epochs=EPOCHS, width=8))
    numbers = tuple(admission.number for admission in admissions)
    found: dict[int, list[Any]] = {number: [] for number in numbers}
    for round_ in range(1, rounds + 1):
        orders = Orders(lane=0, round=round_, admit=admissions if round_ == 1 else (), advance=numbers)
        for outcome in worker.carry_out(orders).outcomes:
            found[outcome.number].append(outcome)
    return found


def test_every_group_trains_one_epoch_a_round() -> None:
    found = trained(MIXED)
    for outcomes in found.values():
        assert [type(outcome) for outcome in outcomes] == [Measured] * EPOCHS
        assert [outcome.epoch for outcome in outcomes] == [1, 2, 3]


def test_a_trials_curve_does_not_depend_on_the_groups_beside_it() -> None:
    together = trained(MIXED)
    for admission in MIXED:
        assert trained((admission,))[admission.number] == together[admission.number]


def test_trials_of_one_group_share_a_population(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    build = Population.__init__

    def counted(self: Population, *args: Any, **kwargs: Any) -> None:
        made.append(kwargs["batch_size"])
        build(self, *args, **kwargs)

    monkeypatch.setattr(Population, "__init__", counted)
    trained(MIXED, rounds=1)
    assert len(made) == len(MIXED) - 1


def test_a_group_that_fails_leaves_the_others_alone() -> None:
    found = trained((*MIXED, trial(7, width=-1)))
    (failed,) = found.pop(7)
    assert isinstance(failed, Failed)
    assert failed.cause == "user_error"
    assert all(isinstance(outcome, Measured) for outcomes in found.values() for outcome in outcomes)


def test_threads_are_the_setups_whatever_a_task_sets() -> None:
    worker = Worker(WorkerSetup(task="quadratic", metric="val_loss", epochs=1, threads=1))
    torch.set_num_threads(2)
    worker.carry_out(Orders(lane=0, round=1, admit=(), advance=()))
    assert torch.get_num_threads() == 1
