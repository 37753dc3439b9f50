"""Copies of rows are cooled down as trials with such rates would train, and the rows know nothing of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from search_spaces.settings import Schedule
from tests.unit.modules_for_tests import BATCH, VECTORS, Task, recipe
from tests.unit.trials_for_tests import admission, curves, population
from workers import population as population_room
from workers.cooldown import DIVERGED
from workers.epoch_training import EpochTraining
from workers.messages import Admission, Cooldown, Diverged, Measured
from workers.population import Population
from workers.row_bank import Room
from workers.schedule_table import GroupRates, SchedulePath

EPOCHS = 6
LARGE_BATCH = 256  # five updates an epoch
NUMBERS = {"lr": 0.3, "momentum": 0.9, "nesterov": True, "weight_decay": 5e-4}
COOLED = "cooldown_val_loss"
BOTH = Cooldown(epochs=2, at=(1, 3))
Outcomes = list[Measured | Diverged]


def trial(number: int = 0, **changes: Any) -> Admission:
    return admission(number, **{"batch_size": LARGE_BATCH, **changes})


def schedule(name: str, every: str = "epoch", **arguments: Any) -> Schedule:
    return Schedule(name=name, arguments=arguments, every=every)


def trained(rows: Population, trials: Sequence[Admission], epochs: int = EPOCHS) -> Outcomes:
    for one in trials:
        rows.admit(one)
    numbers = [one.number for one in trials]
    return [outcome for _ in range(epochs) for outcome in rows.advance(numbers)]


def rows_of(cooldown: Cooldown | None = None, **changes: Any) -> Population:
    return population(epochs=EPOCHS, batch_size=LARGE_BATCH, cooldown=cooldown, **changes)


def plain(outcomes: Sequence[Measured | Diverged]) -> Outcomes:
    """Outcomes without what cooldowns add to them."""
    return [
        one
        if isinstance(one, Diverged)
        else replace(
            one,
            metrics={name: value for name, value in one.metrics.items() if not name.startswith("cooldown_")},
            cooldown_epochs=0,
        )
        for one in outcomes
    ]


def cooled(outcomes: Sequence[Measured | Diverged]) -> dict[int, float]:
    """The metric after each cooldown, by the epoch that it began after."""
    return {
        one.epoch: one.metrics[COOLED]
        for one in outcomes
        if isinstance(one, Measured) and COOLED in one.metrics
    }


class _Fallen:
    """A path that leaves another's after some epochs, its rates falling to zero, its momentum held."""

    def __init__(self, path: SchedulePath, after: int, epochs: int) -> None:
        self._path, self._after, self._epochs = path, after, epochs
        self._last: tuple[GroupRates, ...] = ()

    def group_rates(self, epoch: int) -> tuple[GroupRates, ...]:
        if epoch <= self._after:
            self._last = self._path.group_rates(epoch)
            return self._last
        updates = len(self._last[0][0])
        first = (epoch - self._after - 1) * updates
        left = [1.0 - update / (self._epochs * updates) for update in range(first, first + updates)]
        return tuple(
            (
                np.array([float(lr[-1]) * max(0.0, factor) for factor in left]),
                None if momentum is None else np.full(updates, momentum[-1]),
            )
            for lr, momentum in self._last
        )

    def observe(self, metrics: Mapping[str, float]) -> None:
        self._path.observe(metrics)


def as_trained(
    subject: Admission, cooldown: Cooldown, monkeypatch: pytest.MonkeyPatch, make: Callable[[], Population]
) -> dict[int, float]:
    """What :func:`cooled` should be: of trials whose own rates fall so."""
    found = {}
    original = population_room.schedule_path
    for epoch in cooldown.at:
        with monkeypatch.context() as patched:
            patched.setattr(
                population_room,
                "schedule_path",
                lambda *told, after=epoch: _Fallen(original(*told), after, cooldown.epochs),
            )
            last = trained(make(), [subject], epoch + cooldown.epochs)[-1]
        assert isinstance(last, Measured)
        found[epoch] = last.metrics["val_loss"]
    return found


SETTINGS: dict[str, dict[str, Any]] = {
    "nesterov": NUMBERS,
    "dampening": {"lr": 0.3, "momentum": 0.8, "dampening": 0.3},
    "step decay": NUMBERS | {"schedule": schedule("StepLR", step_size=2, gamma=0.3)},
    "warm-up": NUMBERS | {"warmup_epochs": 2, "schedule": schedule("ExponentialLR", gamma=0.7)},
    "by update": NUMBERS | {"schedule": schedule("ExponentialLR", "step", gamma=0.97)},
    "one cycle": {"lr": 0.1, "schedule": schedule("OneCycleLR", "step", max_lr=0.4)},
    "momentum that starts late": {
        "dampening": 0.2,
        "schedule": schedule(
            "CyclicLR",
            "step",
            base_lr=0.01,
            max_lr=0.3,
            step_size_up=8,
            base_momentum=0.0,
            max_momentum=0.9,
        ),
    },
    "plateau": NUMBERS | {"schedule": schedule("ReduceLROnPlateau", factor=0.5, patience=0, threshold=0.9)},
    "clipped": NUMBERS | {"clip_grad_norm": 0.5},
    "AdamW": {"optimizer": "AdamW", "lr": 0.01, "amsgrad": True, "weight_decay": 0.1},
    "Adam, one cycle": {
        "optimizer": "Adam",
        "lr": 0.1,
        "schedule": schedule("OneCycleLR", "step", max_lr=0.02),
    },
    "NAdam": {"optimizer": "NAdam", "lr": 0.01, "weight_decay": 0.01},
    "RMSprop": {"optimizer": "RMSprop", "lr": 0.003, "momentum": 0.5, "centered": True},
    "Adagrad": {"optimizer": "Adagrad", "lr": 0.02, "lr_decay": 0.01},
    "two groups": NUMBERS | {"two_groups": True, "bias_lr": 0.05},
}


@pytest.mark.parametrize("name", SETTINGS)
def test_a_cooldown_is_a_trial_whose_rates_fall_and_the_row_knows_nothing_of_it(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    subject = trial(**SETTINGS[name])
    kind = {"optimizer": subject.setting.optimizer, "two_groups": subject.setting.two_groups}
    outcomes = trained(rows_of(BOTH, **kind), [subject])
    assert cooled(outcomes) == as_trained(subject, BOTH, monkeypatch, lambda: rows_of(**kind))
    assert plain(outcomes) == trained(rows_of(**kind), [subject])


def test_it_is_the_linear_decay_of_wsd() -> None:
    """The way of rates that people know by that name, written down by a class of its own."""
    found = trained(rows_of(Cooldown(epochs=3, at=(2,))), [trial(**NUMBERS)])
    decay = schedule("WSD", "step", decay_start=2 * 5, decay_length=3 * 5, shape="linear")
    alone = trained(rows_of(), [trial(**NUMBERS, schedule=decay)])[4]
    assert isinstance(alone, Measured)
    assert cooled(found) == {2: alone.metrics["val_loss"]}


MODULES: dict[str, Callable[[], nn.Module]] = {
    "batch norm": lambda: nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 3)),
    "dropout": lambda: nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Dropout(0.4), nn.Linear(8, 3)),
    "vector tails": lambda: nn.Sequential(nn.Linear(6, 7), nn.Sigmoid(), nn.Linear(7, 3)),
}


@pytest.mark.parametrize("augmented", [False, True])
@pytest.mark.parametrize("name", MODULES)
def test_buffers_and_random_masks_are_the_copys_own(
    name: str, augmented: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = Task(MODULES[name], VECTORS, double=False)
    if augmented:
        task.augment = lambda inputs, uniform: inputs + uniform(inputs.shape[1])  # type: ignore[attr-defined]

    def rows(cooldown: Cooldown | None = None) -> Population:
        shared = replace(recipe(task), epochs=EPOCHS)
        return Population(shared, optimizer="SGD", batch_size=BATCH, width=6, cooldown=cooldown)

    subject = trial(3, seed=1, **NUMBERS | {"batch_size": BATCH, "lr": 0.05})
    outcomes = trained(rows(BOTH), [subject])
    assert cooled(outcomes) == as_trained(subject, BOTH, monkeypatch, rows)
    alone = rows()
    assert plain(outcomes) == trained(alone, [subject])


def test_weights_go_on_as_if_there_had_been_no_copy() -> None:
    one, other = rows_of(BOTH), rows_of()
    for rows in (one, other):
        trained(rows, [trial(**NUMBERS)], EPOCHS - 1)
    found, expected = one.weights(0), other.weights(0)
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_company_changes_nothing_whoever_is_cooled_down_or_diverges() -> None:
    subject = trial(7, **NUMBERS)
    expected = trained(rows_of(BOTH), [subject])
    rows = rows_of(BOTH, width=8)
    early = [trial(number, lr=0.01 * number, momentum=0.5, seed=number) for number in (20, 21, 22)]
    early.append(trial(23, lr=1e8))
    outcomes = trained(rows, early, 2)
    others = [trial(number, lr=0.02 * (number - 29), momentum=0.3) for number in range(30, 41)]
    outcomes = trained(rows, [*others, subject], EPOCHS)
    assert curves(outcomes)[7] == expected


def test_riders_share_one_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    trained_rows: list[tuple[int, ...]] = []
    train = EpochTraining.train

    def counting(self: Any, live: Any, state: Any, rows: Any, **options: Any) -> Any:
        trained_rows.append(tuple({id(row.arguments): row.epoch for row in rows}.values()))
        return train(self, live, state, rows, **options)

    monkeypatch.setattr(EpochTraining, "train", counting)
    decays = [
        schedule("constant"),
        schedule("StepLR", step_size=2, gamma=0.5),
        schedule("MultiStepLR", milestones=(4,), gamma=0.1),
    ]
    trials = [trial(number, schedule=decay, **NUMBERS) for number, decay in enumerate(decays)]
    together = curves(trained(rows_of(Cooldown(epochs=1, at=(2, 3))), trials, 3))
    # Two epochs on one row and a copy of it for its third; then two rows and a copy of each.
    assert trained_rows == [(1,), (2,), (3,), (3, 3), (4, 4)]
    second, third = ([together[number][epoch] for number in range(3)] for epoch in (1, 2))
    assert len({one.metrics[COOLED] for one in second}) == 1  # type: ignore[union-attr]
    assert [one.cooldown_epochs for one in second] == [1, 0, 0]  # type: ignore[union-attr]
    assert [one.cooldown_epochs for one in third] == [1, 1, 0]  # type: ignore[union-attr]
    assert [one.rides_on for one in third] == [None, None, 0]  # type: ignore[union-attr]
    for number, one in enumerate(trials):
        alone = trained(rows_of(Cooldown(epochs=1, at=(2, 3))), [one], 3)
        assert cooled(together[number]) == cooled(alone)


def test_none_goes_beyond_the_trainings_length() -> None:
    outcomes = trained(rows_of(Cooldown(epochs=2, at=(1, 4, 5, 6))), [trial(**NUMBERS)])
    assert sorted(cooled(outcomes)) == [1, 4]
    assert [one.cooldown_epochs for one in outcomes if isinstance(one, Measured)] == [2, 0, 0, 2, 0, 0]


@pytest.mark.parametrize("epochs", [1, 2])
def test_a_copy_that_diverges_is_told_and_its_trial_goes_on(epochs: int) -> None:
    """A trial that climbs, and whose first epoch is over before the loss is a thousand times the first."""
    beyond, within = admission(0, lr=0.19, maximize=True), admission(1, lr=0.5)
    rows = population(task="quadratic", cooldown=Cooldown(epochs=epochs, at=(1,)))
    outcomes = curves(trained(rows, [beyond, within], 1))
    (found,), (good,) = outcomes[0], outcomes[1]
    assert isinstance(found, Measured)
    assert isinstance(good, Measured)
    assert (found.metrics[DIVERGED], COOLED in found.metrics, found.cooldown_epochs) == (1.0, False, 1)
    assert (DIVERGED in good.metrics, good.cooldown_epochs) == (False, epochs)
    assert good.metrics[COOLED] < good.metrics["val_loss"]
    assert rows.holds(0)


def test_too_little_memory_for_a_copy_halves_the_width(monkeypatch: pytest.MonkeyPatch) -> None:
    trials = [trial(number, lr=0.01 * (number + 1), momentum=0.5) for number in range(16)]
    expected = trained(rows_of(BOTH, width=16), trials)
    train = EpochTraining.train

    def short_of_memory(self: Any, live: Any, state: Any, rows: Any, **options: Any) -> Any:
        found = train(self, live, state, rows, **options)
        if len(rows) > 5 and rows[0].epoch in (2, 3) and rows[0].rates[0][0][0] != rows[0].rates[0][0][-1]:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return found

    monkeypatch.setattr(EpochTraining, "train", short_of_memory)
    rows = rows_of(BOTH, width=16, room=Room(device_bytes=0, host_bytes=0))
    assert curves(trained(rows, trials)) == curves(expected)
    assert [note.sentence for note in rows.take_notes()][-2:] == [
        "16 rows do not fit into memory; training 8 at a time",
        "8 rows do not fit into memory; training 4 at a time",
    ]


def test_rows_that_are_not_cooled_down_are_told_first() -> None:
    rows = rows_of(Cooldown(epochs=1, at=(2,)))
    trained(rows, [trial(0, **NUMBERS)], 1)
    rows.admit(trial(1, **NUMBERS))
    assert [(one.number, one.epoch) for one in rows.advance([0, 1])] == [(1, 1), (0, 2)]


def test_a_row_is_cooled_down_where_anyone_on_it_is_to_be() -> None:
    wanted, unwanted = trial(0, **NUMBERS), replace(trial(1, **NUMBERS), cools=False)
    alone = replace(trial(2, **{**NUMBERS, "lr": 0.1}), cools=False)
    outcomes = trained(rows_of(Cooldown(epochs=1, at=(1,))), [wanted, unwanted, alone], 1)
    assert [(one.number, COOLED in one.metrics) for one in outcomes] == [(2, False), (0, True), (1, True)]  # type: ignore[union-attr]
