"""The main job, digits-momentum-and-decay of the library, as rivals search and train it.

The search space is written as a user of Optuna writes it, conditions included (a test holds it to the
library's file), and needs no torch, so that a rival's driver does not have to load it. Settings are trained
by the hand loop.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from search_spaces.settings import Schedule, Setting

if TYPE_CHECKING:
    from benchmarks.hand_loop import PlainTrial

FILE = Path(__file__).resolve().parent.parent / "search_spaces" / "library" / "digits-momentum-and-decay.yaml"
TASK = "digits-mlp"
LOST = 1e9  # what a trial that diverged is worth to Optuna, which takes no NaN
SCHEDULES = ("ConstantLR", "StepLR", "MultiStepLR", "ReduceLROnPlateau", "OneCycleLR")


class GivenParameters:
    """Suggests what has been suggested before, as optuna.trial.FixedTrial does."""

    def __init__(self, parameters: Mapping[str, Any]) -> None:
        self._parameters = parameters

    def suggest_float(self, name: str, *_: float, **__: bool) -> float:
        return float(self._parameters[name])

    def suggest_int(self, name: str, *_: int) -> int:
        return int(self._parameters[name])

    def suggest_categorical(self, name: str, _: Any) -> Any:
        return self._parameters[name]


def suggested(trial: Any) -> Setting:
    """The setting that Optuna suggests through ``trial``, or that :class:`GivenParameters` give again."""
    schedule = _schedule(trial)
    arguments: dict[str, Any] = {"weight_decay": 0.0005}
    arguments["nesterov"] = bool(trial.suggest_categorical("nesterov", [False, True]))
    if schedule.name != "OneCycleLR":  # which sets learning rate and momentum itself
        arguments["lr"] = trial.suggest_float("lr", 1e-4, 1.0, log=True)
        # Momentum's natural axis is its distance to 1.
        arguments["momentum"] = max(0.0, 1.0 - trial.suggest_float("1-momentum", 0.01, 1.0, log=True))
        if arguments["momentum"] == 0.0:
            arguments["nesterov"] = False
    return Setting(optimizer="SGD", arguments=arguments, schedule=schedule, batch_size=32)


def _schedule(trial: Any) -> Schedule:
    name = trial.suggest_categorical("schedule", list(SCHEDULES))
    if name == "ConstantLR":
        return Schedule(name=name, arguments={"factor": 1.0})
    if name == "StepLR":
        step_size = trial.suggest_int("step_size", 3, 15)
        gamma = trial.suggest_float("gamma", 0.05, 0.9)
        return Schedule(name=name, arguments={"step_size": step_size, "gamma": gamma})
    if name == "MultiStepLR":
        return Schedule(name=name, arguments={"milestones": (10, 15), "gamma": 0.1})
    if name == "ReduceLROnPlateau":
        patience = trial.suggest_int("patience", 1, 5)
        return Schedule(name=name, arguments={"factor": 0.1, "patience": patience}, watch="val_loss")
    max_lr = trial.suggest_float("max_lr", 0.01, 2.0, log=True)
    return Schedule(name=name, arguments={"max_lr": max_lr}, every="step")


def train(setting: Setting, *, seed: int, epochs: int, report: Callable[[int, float], bool]) -> float:
    """Train a setting; its last val_loss, :data:`LOST` where it diverged.

    ``report`` hears every epoch and its val_loss, and says whether to stop.
    """
    trial = plain_trial(setting, seed=seed, epochs=epochs)
    found = LOST
    for epoch in range(1, epochs + 1):
        found = judged(trial, trial.train_epoch())
        if report(epoch, found) or found == LOST:
            break
    return found


def plain_trial(setting: Setting, *, seed: int, epochs: int) -> PlainTrial:
    """A trial of the main job in the hand loop, in the way that has been the fastest for it."""
    from benchmarks.hand_loop import FUSED, WAYS, PlainTrial
    from workers.tasks.registry import make_task, task_data

    task, data = make_task(TASK, ()), task_data(TASK, ())
    return PlainTrial(task, data, setting, seed=seed, epochs=epochs, way=WAYS[FUSED])


def judged(trial: PlainTrial, found: Mapping[str, float]) -> float:
    """The epoch's val_loss, or :data:`LOST` where it shows divergence."""
    return LOST if trial.has_diverged(found) else found["val_loss"]
