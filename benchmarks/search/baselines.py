"""Baselines: how others spend a budget of epochs. Each is given the settings in a random order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from benchmarks.search.trainer import Trainer

Method = Callable[[Trainer, Sequence[int]], None]

ETA = 3  # one of so many is kept at a rung
HALVINGS = {"halving 1,3,9,27": (1, 3, 9, 27), "halving 3,9,27": (3, 9, 27), "halving 9,25": (9, 25)}
STARTUP = 3  # trials before the median rule stops any
GRACE = 5  # epochs before it stops one


def random_search(trainer: Trainer, order: Sequence[int]) -> None:
    """As many settings as can be trained to the end."""
    for setting in order[: trainer.left_epochs // trainer.epochs]:
        trainer.train(setting, trainer.epochs)


def one_epoch(trainer: Trainer, order: Sequence[int]) -> None:
    """Many settings for one epoch and the best of them to the end (arXiv 2307.15422).

    As many to the end as leave at least one whole training for the first epochs.
    """
    whole = trainer.epochs
    kept = max(1, trainer.left_epochs // whole - 1)
    tried = order[: max(kept, trainer.left_epochs - kept * (whole - 1))]
    for setting in best(trainer, tried, 1, kept):
        trainer.train(setting, whole)


def halving(trainer: Trainer, order: Sequence[int], *, rungs: Sequence[int]) -> None:
    """Successive halving: at each rung the best third goes on, one at least (Jamieson and Talwalkar)."""
    halved(trainer, order, [rung for rung in rungs if rung < trainer.epochs], trainer.left_epochs)


def hyperband(trainer: Trainer, order: Sequence[int]) -> None:
    """Brackets of successive halving from a first rung of one epoch up to none, an equal share each."""
    whole = trainer.epochs
    brackets = [
        [round(whole / ETA**power) for power in range(count, 0, -1)]
        for count in range(int(np.log(whole) / np.log(ETA)), -1, -1)
    ]
    taken = 0
    for place, rungs in enumerate(brackets):
        share = trainer.left_epochs // (len(brackets) - place)
        taken += halved(trainer, order[taken:], rungs, share)


def median_stopping(trainer: Trainer, order: Sequence[int]) -> None:
    """One after another, stopped where its mean so far is below the median of the others' (Vizier)."""
    means: list[list[float]] = []  # by trial, of the epochs up to each
    for setting in order:
        mine: list[float] = []
        means.append(mine)
        for epoch in range(1, trainer.epochs + 1):
            if not trainer.affords(setting, epoch):
                return
            mine.append(float(trainer.train(setting, epoch).mean()))
            others = [mean[epoch - 1] for mean in means[:-1] if len(mean) >= epoch]
            if epoch >= GRACE and len(others) >= STARTUP and mine[-1] < np.median(others):
                break


def best(trainer: Trainer, settings: Sequence[int], epoch: int, count: int) -> list[int]:
    """The ``count`` most accurate at ``epoch`` of ``settings``, which are trained up to it; best first."""
    shown = {setting: trainer.train(setting, epoch)[-1] for setting in settings}
    return sorted(settings, key=lambda setting: -shown[setting])[:count]


def halved(trainer: Trainer, order: Sequence[int], rungs: Sequence[int], budget_epochs: int) -> int:
    """Halve as many settings as ``budget_epochs`` pays for; returns how many that were."""
    affordable = [
        count
        for count in range(1, len(order) + 1)
        if halving_epochs(count, rungs, trainer.epochs) <= budget_epochs
    ]
    if not affordable:
        return 0
    going = list(order[: affordable[-1]])
    for rung in rungs:
        going = best(trainer, going, rung, survivors(len(going)))
    for setting in going:
        trainer.train(setting, trainer.epochs)
    return affordable[-1]


def halving_epochs(count: int, rungs: Sequence[int], whole: int) -> int:
    """Epochs that halving ``count`` settings takes."""
    spent = before = 0
    for rung in rungs:
        spent += count * (rung - before)
        before, count = rung, survivors(count)
    return spent + count * (whole - before)


def survivors(count: int) -> int:
    """How many of ``count`` settings go on."""
    return max(1, count // ETA)


BASELINES: dict[str, Method] = {
    "random": random_search,
    **{name: partial(halving, rungs=rungs) for name, rungs in HALVINGS.items()},
    "hyperband": hyperband,
    "median": median_stopping,
    "one epoch": one_epoch,
}
