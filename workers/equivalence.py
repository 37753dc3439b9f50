"""Equivalence: whether settings that begin alike train alike to the end, told from their schedules."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, replace
from hashlib import blake2b

from search_spaces.settings import Schedule, Setting
from workers.optimization import Horizon, ScheduleRefused, takes_metric
from workers.schedule_table import SchedulePath, rate_bits, schedule_path, starting_rates
from workers.tasks.registry import task_class, training_size

_STANDSTILL = 1.0  # a metric that never improves: no other makes a plateau schedule act sooner, or more often


def training_horizon(task: str, epochs: int, setting: Setting) -> Horizon:
    """What the schedule of a trial of ``task`` is laid out on, where training is not the task's own loop."""
    size = training_size(task, tuple(sorted(setting.task_arguments.items())))
    return Horizon(
        epochs=epochs,
        updates_per_epoch=size.updates_per_epoch(setting.batch_size),
        warmup_epochs=setting.warmup_epochs,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainedRates:
    """The learning rates and momenta that settings of one task are trained with."""

    task: str
    epochs: int

    def at_start(self, setting: Setting) -> Hashable | None:
        """Rates before the schedule's first tick, which costs no table; None where PyTorch refuses it."""
        known = task_class(self.task)
        horizon = training_horizon(self.task, self.epochs, setting)
        try:
            return starting_rates(setting, horizon, known.functions, known.optimizers)
        except ScheduleRefused:
            return None

    def throughout(self, setting: Setting) -> Hashable | None:
        """Equal for settings whose rates agree in every bit at every update of their training.

        None where that is not known before it: of a plateau schedule that may act, and of one that PyTorch
        refuses.
        """
        try:
            found = self._digest(setting)
            if takes_metric(setting.schedule):
                standing = self._digest(replace(setting, schedule=Schedule()))
                return found if found == standing and _begins_with_a_best(setting.schedule) else None
        except ScheduleRefused:
            return None
        return found

    def _digest(self, setting: Setting) -> bytes:
        known = task_class(self.task)
        horizon = training_horizon(self.task, self.epochs, setting)
        path: SchedulePath = schedule_path(setting, horizon, known.functions, known.optimizers)
        watched = {setting.schedule.watch or "val_loss": _STANDSTILL}
        digest = blake2b(digest_size=16)
        for epoch in range(1, self.epochs + 1):
            for lr, momentum in rate_bits(path.group_rates(epoch)):
                digest.update(lr)
                digest.update(b"none" if momentum is None else momentum)
            path.observe(watched)
        return digest.digest()


def _begins_with_a_best(plateau: Schedule) -> bool:
    """Whether a plateau schedule takes any first number for the best so far, and no equal one for a better.

    PyTorch compares with infinity times or plus a threshold.
    """
    threshold = float(str(plateau.arguments.get("threshold", 1e-4)))
    relative = plateau.arguments.get("threshold_mode", "rel") == "rel"
    return threshold >= 0.0 and (threshold < 1.0 or not relative)
