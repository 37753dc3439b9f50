"""Cooldowns of a sweep: at which rungs trials are scored on one, and the score that a stored epoch tells."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from search_spaces.ranges import Value
from search_spaces.space import SearchSpace
from sweeps.decay_fair import rungs
from workers.cooldown import DIVERGED, cooled_name, is_due
from workers.messages import Cooldown

ARGUMENT = "cooldown_epochs"  # of a pruner that scores rungs on cooldowns; 0, as without it: it does not

Rungs = Callable[[Mapping[str, Value], int], tuple[int, ...]]
"""The epochs, from 1, at which a pruner with such arguments judges trials of so many epochs."""

RUNGS: dict[str, Rungs] = {"decay_fair": rungs}
"""Of the pruners that can score trials on cooldowns, by name."""


def cooldown_epochs(arguments: Mapping[str, Value]) -> int:
    """Epochs of a cooldown, by a pruner's arguments. Raises ValueError where they are no number of epochs."""
    epochs = arguments.get(ARGUMENT, 0)
    if isinstance(epochs, bool) or not isinstance(epochs, int) or epochs < 0:
        raise ValueError(f"{ARGUMENT} must be a whole number of at least 0, got {epochs!r}")
    return epochs


def cooldown_of(space: SearchSpace) -> Cooldown | None:
    """The cooldowns that the space's pruner asks for at its rungs; None: it asks for none.

    A rung so near to the training's end that a cooldown would go beyond it is judged without. Raises
    ValueError where the pruner's arguments are wrong.
    """
    arguments, judged_after = space.pruner.arguments, RUNGS.get(space.pruner.name)
    if judged_after is None or not (epochs := cooldown_epochs(arguments)):
        return None
    at = tuple(rung for rung in judged_after(arguments, space.epochs) if rung + epochs <= space.epochs)
    return Cooldown(epochs=epochs, at=at) if at else None


def epoch_costs(space: SearchSpace) -> tuple[int, ...]:
    """Epochs that a trial's row is trained for in each of its epochs, the cooldown after it included."""
    cooldown = cooldown_of(space)
    return tuple(
        1 + (cooldown.epochs if cooldown is not None and is_due(cooldown, epoch, space.epochs) else 0)
        for epoch in range(1, space.epochs + 1)
    )


def cooled_score(shown: Mapping[str, float], space: SearchSpace) -> float | None:
    """The sweep's metric after the cooldown of an epoch that showed ``shown``; None where there was none.

    Infinitely bad where the copy diverged. ``shown``: the metrics of a report, or of a measurement ``extra``.
    """
    if DIVERGED in shown:
        return math.inf if space.metric.goal == "minimize" else -math.inf
    return shown.get(cooled_name(space.metric.name))
