"""Cooldown: what is told of a copy that trained on while its learning rate fell to zero, and was thrown away.

A trial with a slow decay looks bad until it decays; after a cooldown trials can be compared as if all of
them had ended here (Hägele et al. 2024, arXiv 2405.18392: forked cooldowns of one run stand for whole runs).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from search_spaces.task_code import TaskRefused
from workers.messages import Cooldown, Diverged, Measured

DIVERGED = "cooldown_diverged"
"""Name of what stands, as 1.0, in the place of a cooled metric where the copy diverged."""


def cooled_name(metric: str) -> str:
    """What ``metric`` after a cooldown is called among the metrics of the epoch that it began after."""
    return f"cooldown_{metric}"


def is_due(cooldown: Cooldown | None, epoch: int, epochs: int) -> bool:
    """Whether a copy is made at the end of ``epoch`` of a training of ``epochs``: not beyond its length."""
    return cooldown is not None and epoch in cooldown.at and epoch + cooldown.epochs <= epochs


@dataclass(frozen=True, slots=True, kw_only=True)
class Cooled:
    """How a cooldown ended."""

    value: float | None  # of the sweep's metric after it; None where the copy diverged
    epochs: int  # trained, that of its divergence included


def cooled(outcomes: Iterable[Measured | Diverged], metric: str) -> Cooled:
    """How a copy ended whose epochs had these outcomes; after one that diverged no more is asked for."""
    value, epochs = None, 0
    for outcome in outcomes:
        epochs += 1
        if not isinstance(outcome, Measured):
            return Cooled(value=None, epochs=epochs)
        value = outcome.train_loss if metric == "train_loss" else outcome.metrics.get(metric)
    return Cooled(value=value, epochs=epochs)


def with_cooldown(outcome: Measured, found: Cooled, metric: str) -> Measured:
    """``outcome`` and what the cooldown after it showed.

    Raises TaskRefused where the task's own metrics have a name that is needed for it.
    """
    name = cooled_name(metric)
    taken = next((own for own in (name, DIVERGED) if own in outcome.metrics), None)
    if taken is None and name == DIVERGED:
        taken = metric
    if taken is not None:
        raise TaskRefused(
            f"the task has a metric called '{taken}'",
            "another name",
            f"trials of this sweep are scored on cooldowns, which are told as '{name}' and '{DIVERGED}'",
        )
    shown = {DIVERGED: 1.0} if found.value is None else {name: found.value}
    return replace(outcome, metrics={**outcome.metrics, **shown}, cooldown_epochs=found.epochs)
