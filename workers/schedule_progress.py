"""Schedule progress: how much of its learning rates a trial has spent, and how far they still fall."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from search_spaces.settings import Setting
from workers.messages import Admission, Measured, Outcome, ScheduleProgress, WorkerSetup
from workers.optimization import Functions, Horizon, Optimizers, takes_metric
from workers.schedule_table import schedule_path
from workers.tasks.registry import task_class, training_size


@dataclass(frozen=True, slots=True)
class EpochRates:
    """The learning rates of a whole training by epoch, of the weights."""

    sums: npt.NDArray[np.float64]  # over the updates of each epoch
    last: npt.NDArray[np.float64]  # of each epoch's last update

    def progress(self, epoch: int) -> ScheduleProgress:
        """How far the schedule is after ``epoch``. Where all rates are 0 nothing is left to spend."""
        whole, now = float(self.sums.sum()), float(self.last[epoch - 1])
        falls = 1.0 - float(self.last[-1]) / now if now > 0 else 0.0
        return ScheduleProgress(
            spent=float(self.sums[:epoch].sum()) / whole if whole > 0 else 1.0,
            annealing=min(1.0, max(0.0, falls)),
        )


def epoch_rates(
    setting: Setting,
    horizon: Horizon,
    functions: Functions | None = None,
    optimizers: Optimizers | None = None,
) -> EpochRates:
    """The learning rates of a schedule that is known before training. Raises ScheduleRefused."""
    path = schedule_path(setting, horizon, functions, optimizers)
    rates = [path.rates(epoch)[0] for epoch in range(1, horizon.epochs + 1)]
    return EpochRates(np.array([rate.sum() for rate in rates]), np.array([rate[-1] for rate in rates]))


def shown_progress(learning_rates: Sequence[float], epochs: int) -> ScheduleProgress:
    """How far a trial is that has shown ``learning_rates`` by epoch, if its rate stays as it is.

    For schedules that act on what training shows, and for loops that step as they like.
    """
    now = learning_rates[-1]
    known = np.array([*learning_rates, *[now] * (epochs - len(learning_rates))])
    return EpochRates(known, known).progress(len(learning_rates))


@dataclass(slots=True)
class _Course:
    """A trial's learning rates, as far as they are known."""

    planned: EpochRates | None  # None: only what was shown is known
    shown: list[float] = field(default_factory=list)  # at the end of each epoch so far


class ScheduleProgresses:
    """Tells of each trial of a worker how far its schedule is, at the epochs at which it is judged."""

    def __init__(self, setup: WorkerSetup) -> None:
        """No trial yet."""
        self._setup = setup
        self._courses: dict[int, _Course] = {}

    def admit(self, trial: Admission) -> None:
        """Follow ``trial`` from its start."""
        self._courses[trial.number] = _Course(self._planned(trial.setting))

    def release(self, number: int) -> None:
        """Forget the trial, if it is here."""
        self._courses.pop(number, None)

    def told(self, outcome: Outcome) -> Outcome:
        """The outcome, with how far the schedule is where the trial is judged after its epoch."""
        course = self._courses.get(outcome.number)
        if course is None:
            return outcome
        if not isinstance(outcome, Measured):
            del self._courses[outcome.number]
            return outcome
        course.shown.append(outcome.lr)
        if outcome.epoch == max(self._setup.judged_after):
            del self._courses[outcome.number]
        if outcome.epoch not in self._setup.judged_after:
            return outcome
        if course.planned is None:
            return replace(outcome, progress=shown_progress(course.shown, self._setup.epochs))
        return replace(outcome, progress=course.planned.progress(outcome.epoch))

    def _planned(self, setting: Setting) -> EpochRates | None:
        setup = self._setup
        if setup.execution == "loop" or takes_metric(setting.schedule):
            return None
        known = task_class(setup.task)
        size = training_size(setup.task, tuple(sorted(setting.task_arguments.items())))
        horizon = Horizon(
            epochs=setup.epochs,
            updates_per_epoch=size.updates_per_epoch(setting.batch_size),
            warmup_epochs=setting.warmup_epochs,
        )
        return epoch_rates(setting, horizon, known.functions, known.optimizers)
