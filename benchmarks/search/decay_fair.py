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

    Later rungs stop trials of a stream that came to the first ones beside few others; here all come together.
    """
    epochs = trainer.epochs
    rungs = usual_rungs(epochs)[:2]
    if not rungs:
        random_search(trainer, order)
        return
    finishing = max(1, int(WHOLE * trainer.left_epochs / epochs))
    going = [*(math.ceil(finishing / share - 1e-9) for share in KEPT[1:][: len(rungs) - 1]), finishing]
    ends = [*rungs[1:], epochs]
    later = sum(count * (end - rung) for count, rung, end in zip(going, rungs, ends, strict=True))
    kept = list(order[: max(finishing, (trainer.left_epochs - later) // rungs[0])])
    for rung, count in zip(rungs, going, strict=True):
        ranked = best(trainer, kept, rung, len(kept), progress)
        kept = ranked[:count]
    for setting in ranked:  # more than were counted on where the settings were too few for the budget
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
