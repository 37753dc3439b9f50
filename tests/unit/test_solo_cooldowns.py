"""A solo trial's copy is cooled down as a trial with such rates would train, and the trial goes on as it was."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from threading import Lock
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from search_spaces.settings import Schedule
from tests.unit.modules_for_tests import BATCH, VECTORS, Task, recipe
from tests.unit.test_solo import CHANGES, Changed, Penalized
from tests.unit.trials_for_tests import admission, population, solo
from workers.cooldown import DIVERGED
from workers.messages import Admission, Cooldown, Measured, Note
from workers.recipe import Recipe
from workers.solo import SoloTrial, SoloTrials
from workers.tasks.user_task import UserTask

COOLED = "cooldown_val_loss"
EPOCHS = 5
AFTER, LONG = 2, 2  # epochs
COOLDOWN = Cooldown(epochs=LONG, at=(AFTER,))


class Reluctant(torch.optim.SGD):
    """A user's optimizer that keeps numbers of its own beside PyTorch's, and halves every other gradient."""

    def __init__(self, params: Any, lr: float = 0.1, momentum: float = 0.0) -> None:
        super().__init__(params, lr=lr, momentum=momentum)
        self.steps = [0]

    def step(self, closure: Any = None) -> None:
        self.steps[0] += 1
        if self.steps[0] % 2:
            for group in self.param_groups:
                for parameter in group["params"]:
                    parameter.grad.mul_(0.5)
        super().step(closure)


class Keeping(nn.Module):
    """Keeps what it computed, as people do to look at it, and what cannot be copied."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 3)
        self.one_at_a_time = Lock()

    def forward(self, inputs: Tensor) -> Tensor:
        with self.one_at_a_time:
            self.seen = self.layer(inputs)
        return self.seen


def penalized() -> Recipe:
    task = UserTask(Penalized, {})
    return Recipe(task=task, data=task.data(), epochs=EPOCHS, metric="val_loss")


def of(make: Callable[[], nn.Module]) -> Callable[[], Recipe]:
    return lambda: replace(recipe(Task(make, VECTORS.clone(), double=False)), epochs=EPOCHS)


RECIPES: dict[str, Callable[[], Recipe]] = {
    "batch norm": of(lambda: nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 3))),
    "a task that keeps its model, and counts": penalized,
    **{name: of(lambda change=change: Changed(change)) for name, change in CHANGES.items()},
    "own optimizer": lambda: replace(of(lambda: nn.Linear(6, 3))(), optimizers={"Reluctant": Reluctant}),
}
FALLING = Schedule(
    name="WSD",
    arguments={"decay_start": AFTER * 4, "decay_length": LONG * 4, "shape": "linear"},
    every="step",
)


def trial(name: str = "", **changes: Any) -> Admission:
    numbers = {"lr": 0.05, "momentum": 0.9, "seed": 1, "batch_size": BATCH}
    if name == "own optimizer":
        numbers["optimizer"] = "Reluctant"
    return admission(3, **{**numbers, **changes})


def trained(one: SoloTrial, epochs: int = EPOCHS) -> list[Any]:
    return [one.advance() for _ in range(epochs)]


def without(outcomes: list[Any]) -> list[Any]:
    return [
        replace(one, metrics={k: v for k, v in one.metrics.items() if k != COOLED}, cooldown_epochs=0)
        for one in outcomes
    ]


@pytest.mark.parametrize("name", RECIPES)
def test_it_is_a_trial_whose_rates_fall_and_the_trial_goes_on_as_it_was(name: str) -> None:
    found = trained(SoloTrial(RECIPES[name](), trial(name), cooldown=COOLDOWN))
    falling = trained(SoloTrial(RECIPES[name](), trial(name, schedule=FALLING)), AFTER + LONG)
    assert found[AFTER - 1].metrics[COOLED] == falling[-1].metrics["val_loss"]
    assert [COOLED in one.metrics for one in found] == [False, True, False, False, False]
    assert [one.cooldown_epochs for one in found] == [0, LONG, 0, 0, 0]
    assert without(found) == trained(SoloTrial(RECIPES[name](), trial(name)))


SETTINGS: dict[str, dict[str, Any]] = {
    "nesterov": {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 5e-4},
    "one cycle": {
        "lr": 0.1,
        "schedule": Schedule(name="OneCycleLR", arguments={"max_lr": 0.2}, every="step"),
    },
    "warm-up": {"lr": 0.1, "momentum": 0.5, "warmup_epochs": 3},
    "AdamW": {"optimizer": "AdamW", "lr": 0.01, "weight_decay": 0.1},
    "Adam, one cycle": {
        "optimizer": "Adam",
        "lr": 0.01,
        "schedule": Schedule(name="OneCycleLR", arguments={"max_lr": 0.02}, every="step"),
    },
    "NAdam": {"optimizer": "NAdam", "lr": 0.01},
    "two groups": {"lr": 0.1, "momentum": 0.9, "two_groups": True, "bias_lr": 0.05},
}


@pytest.mark.parametrize("name", SETTINGS)
def test_it_is_that_of_a_row(name: str) -> None:
    subject = admission(3, batch_size=359, **SETTINGS[name])
    shared: dict[str, Any] = {"dtype": torch.float64, "epochs": EPOCHS}
    rows = population(
        optimizer=subject.setting.optimizer,
        two_groups=subject.setting.two_groups,
        batch_size=359,
        cooldown=COOLDOWN,
        **shared,
    )
    rows.admit(subject)
    stacked = [rows.advance([3])[0] for _ in range(AFTER)][-1]
    alone = trained(solo(subject, cooldown=COOLDOWN, **shared), AFTER)[-1]
    assert isinstance(stacked, Measured)
    assert stacked.metrics[COOLED] == pytest.approx(alone.metrics[COOLED], rel=1e-8)
    assert stacked.metrics[COOLED] != pytest.approx(alone.metrics["val_loss"], rel=1e-3)
    assert stacked.cooldown_epochs == alone.cooldown_epochs == LONG


def test_a_copy_that_diverges_is_told_and_is_trained_no_further() -> None:
    climbing = admission(0, lr=0.19, maximize=True)
    one = solo(climbing, task="quadratic", cooldown=Cooldown(epochs=2, at=(1,)))
    outcome = one.advance()
    assert isinstance(outcome, Measured)
    assert (outcome.metrics[DIVERGED], COOLED in outcome.metrics, outcome.cooldown_epochs) == (1.0, False, 1)


def test_where_there_can_be_no_copy_that_is_said_once_and_the_trial_trains() -> None:
    bench = SoloTrials(of(Keeping)(), Cooldown(epochs=1, at=(1, 2, 3)))
    bench.admit(trial())
    found = [outcome for _ in range(EPOCHS) for outcome in bench.advance([3])]
    (note,) = bench.take_notes()
    assert isinstance(note, Note)
    assert note.number == 3
    assert note.sentence.startswith(
        "no cooldowns of it, so it is judged by what it shows without: it cannot be"
    )
    assert note.sentence.endswith("copied (cannot pickle '_thread.lock' object)")
    assert bench.take_notes() == ()
    assert found == trained(SoloTrial(of(Keeping)(), trial()))


def test_hooks_of_parameters_would_be_missing_in_a_copy() -> None:
    def hooked() -> nn.Module:
        model = nn.Linear(6, 3)
        model.weight.register_hook(lambda gradient: 2 * gradient)
        return model

    notes: list[Note] = []
    one = SoloTrial(of(hooked)(), trial(), cooldown=COOLDOWN, noted=notes.append)
    assert [COOLED in outcome.metrics for outcome in trained(one)] == [False] * EPOCHS
    assert [note.sentence.rpartition("(")[2] for note in notes] == [
        "its parameters have hooks, which a copy would not have)"
    ]


def test_none_of_a_trial_that_is_to_have_none() -> None:
    unwanted = replace(trial(), cools=False)
    found = trained(SoloTrial(RECIPES["batch norm"](), unwanted, cooldown=COOLDOWN))
    assert found == trained(SoloTrial(RECIPES["batch norm"](), unwanted))


def test_training_data_are_not_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    """A task may hold them; that is no reason to have them twice."""
    from workers import solo as solo_room

    shared = penalized()
    shared.task.own.kept = shared.data.train_inputs  # type: ignore[attr-defined]
    seen: list[tuple[Any, Any]] = []
    copies = solo_room.copies

    def watched(*given: Any) -> Any:
        found = copies(*given)
        seen.append((given[0].task.own, found[0].task.own))
        return found

    monkeypatch.setattr(solo_room, "copies", watched)
    trained(SoloTrial(shared, trial(), cooldown=COOLDOWN), AFTER)
    ((own, copied),) = seen
    assert copied.kept is own.kept
    assert copied.net is not own.net
