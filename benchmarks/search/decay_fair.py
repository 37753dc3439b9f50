"""Decay-fair pruning, replayed: the scores of ``sweeps.decay_fair`` with a budget instead of shares."""

from __future__ import annotations

import math
from collections.abc import Sequence

from benchmarks.search.baselines import random_search
from benchmarks.search.schedules import Progress
from benchmarks.search.trainer import Trainer
from sweeps.decay_fair import KEPT, Shown, best_of, usual_rungs

WHOLE = 0.75
"""Share of the budget for the trainings that go to the end."""


def decay_fair(trainer: Trainer, order: Sequence[int], *, progress: Sequence[Progress]) -> None:
    """Many settings to the first rung, the best by score to the second, of those some to the end.

    What too few settings leave of the budget brings more of them to the second rung, and then to the end.
    Later rungs stop trials of a stream, which came to the first ones beside few; here all come at once.
    """
    epochs = trainer.epochs
    rungs = usual_rungs(epochs)[:2]
    if len(rungs) < 2:
        random_search(trainer, order)
        return
    first, second = rungs
    finishing = max(1, int(WHOLE * trainer.left_epochs / epochs))
    chosen = math.ceil(finishing / KEPT[1])
    later = chosen * (second - first) + finishing * (epochs - second)
    tried = list(order[: max(finishing, (trainer.left_epochs - later) // first)])
    spare = trainer.left_epochs - later - first * len(tried)
    chosen = min(len(tried), chosen + max(0, spare) // (second - first))
    kept = best(trainer, tried, first, chosen, progress)
    for setting in best(trainer, kept, second, len(kept), progress):
        if trainer.affords(setting, epochs):
            trainer.train(setting, epochs)


def best(
    trainer: Trainer, settings: Sequence[int], epoch: int, count: int, progress: Sequence[Progress]
) -> list[int]:
    """The ``count`` settings with the best scores at ``epoch``, which all are trained up to; best first."""
    shown = [
        Shown(
            loss=-float(trainer.train(setting, epoch).max()),
            spent=progress[setting][epoch - 1].spent,
            annealing=progress[setting][epoch - 1].annealing,
        )
        for setting in settings
        if trainer.affords(setting, epoch)
    ]
    return [settings[place] for place in best_of(shown, epoch / trainer.epochs, count)]
