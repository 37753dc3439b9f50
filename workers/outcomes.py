"""From an epoch's raw numbers to an outcome: measured, or diverged with step, rate and gradient norm."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from workers.messages import Diverged, Measured
from workers.optimization import Rates

DIVERGENCE_FACTOR = 1000.0
"""An epoch's train_loss above this multiple of the first update's loss is divergence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochNumbers:
    """What one trial showed in one epoch, before it is judged."""

    number: int
    epoch: int
    updates_before: int
    first_loss: float  # of the trial's very first update
    losses: Sequence[float]  # of each update
    grad_norms: Sequence[float]
    lr: Rates
    momentum: Rates | None
    metrics: Mapping[str, float]  # val_loss and others, measured after the last update


def judge(numbers: EpochNumbers, metric: str | None) -> Measured | Diverged:
    """The epoch's outcome for a sweep judged by ``metric``; None: its losses alone, nothing was measured.

    Diverged: an update's loss, val_loss or the metric is not finite, or train_loss exceeds
    :data:`DIVERGENCE_FACTOR` times the first update's loss.
    """
    for update, loss in enumerate(numbers.losses):
        if not math.isfinite(loss):
            return _diverged(numbers, update, f"the loss was {loss}")
    last = len(numbers.losses) - 1
    train_loss = math.fsum(numbers.losses) / len(numbers.losses)
    reason = divergence({"train_loss": train_loss, **numbers.metrics}, numbers.first_loss, metric)
    if reason is not None:
        return _diverged(numbers, last, reason)
    return Measured(
        number=numbers.number,
        epoch=numbers.epoch,
        step=numbers.updates_before + len(numbers.losses),
        lr=float(numbers.lr[last]),
        momentum=None if numbers.momentum is None else float(numbers.momentum[last]),
        peak_lr=float(numbers.lr.max()),
        train_loss=train_loss,
        grad_norm=numbers.grad_norms[last],
        metrics=dict(numbers.metrics),
    )


def divergence(shown: Mapping[str, float], first_loss: float, metric: str | None) -> str | None:
    """Why an epoch that showed train_loss, val_loss and other metrics has diverged; None where it has not.

    Without ``metric`` only train_loss was shown.
    """
    if 0 <= DIVERGENCE_FACTOR * first_loss < shown["train_loss"]:
        return f"train_loss rose to {shown['train_loss']:.6g}, from {first_loss:.6g}"
    for name in ("train_loss",) if metric is None else ("train_loss", "val_loss", metric):
        if not math.isfinite(shown[name]):
            return f"{name} was {shown[name]}"
    return None


def _diverged(numbers: EpochNumbers, update: int, reason: str) -> Diverged:
    grad_norm = numbers.grad_norms[update]
    return Diverged(
        number=numbers.number,
        epoch=numbers.epoch,
        step=numbers.updates_before + update + 1,
        lr=float(numbers.lr[update]),
        peak_lr=float(numbers.lr[: update + 1].max()),
        grad_norm=grad_norm if math.isfinite(grad_norm) else None,
        reason=reason,
    )
