"""The schedules of replayed settings: how far each is after each epoch, by PyTorch's own classes."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from search_spaces.settings import Schedule, Setting
from workers.messages import ScheduleProgress
from workers.optimization import REFUSALS, Horizon, takes_metric
from workers.schedule_progress import EpochRates, epoch_rates

Progress = Sequence[ScheduleProgress]
"""How far a schedule is after each epoch, epoch 1 first."""


def progress_of(settings: Sequence[Mapping[str, Any]], epochs: int) -> list[Progress]:
    """How far the schedule of each setting is, stepped once an epoch over a training of ``epochs``.

    Settings as HyperRec's file has them: ``optimizer``, ``optimizer_param``, ``scheduler``,
    ``scheduler_param``. One without a schedule is constant; where PyTorch refuses one, or it acts on what
    training shows, it is taken for constant and that is said once on stderr.
    """
    found, refused = [], []
    for number, setting in enumerate(settings):
        rates = None
        if setting.get("scheduler") not in (None, "constant"):
            rates = _rates(setting, epochs)
            if rates is None:
                refused.append(number)
        found.append(_constant(epochs) if rates is None else rates)
    if refused:
        print(
            f"note: the schedules of settings {', '.join(map(str, refused))} are taken for constant: "
            "they act on what training shows, or PyTorch refuses them",
            file=sys.stderr,
        )
    return [[rates.progress(epoch) for epoch in range(1, epochs + 1)] for rates in found]


def _rates(setting: Mapping[str, Any], epochs: int) -> EpochRates | None:
    schedule = Schedule(
        name=str(setting["scheduler"]),
        arguments={name: _plain(value) for name, value in setting.get("scheduler_param", {}).items()},
    )
    whole = Setting(
        optimizer=str(setting.get("optimizer", "SGD")),
        arguments={name: _plain(value) for name, value in setting.get("optimizer_param", {}).items()},
        schedule=schedule,
        warmup_epochs=0,
        batch_size=1,
        task_arguments={},
    )
    try:
        if takes_metric(schedule):
            return None
        return epoch_rates(whole, Horizon(epochs=epochs, updates_per_epoch=1))
    except REFUSALS:
        return None


def _constant(epochs: int) -> EpochRates:
    import numpy as np

    return EpochRates(np.ones(epochs), np.ones(epochs))


def _plain(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
