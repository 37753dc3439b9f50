"""Decay-fair pruning: which trials go on, judged by what they show and by what their schedules leave them.

A decay that is over early makes a trial look good early: its learning rates are spent, and it improves
little after. So at a rung a trial is ranked by the best value that it has shown, but never above its decay's
remaining credit. Pure arithmetic: curves and schedules in, scores out.

The constants were chosen on curves of 14 image tasks, the shares that go on and the later rungs on six sweeps
of digits-cnn; docs/benchmarks.md says how much hangs on them. Nothing else is fitted.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Scores = npt.NDArray[np.float64]

FREE_PACE = 4.0
"""How many times as fast as evenly a schedule may spend its learning rates before its credit falls."""

SETTLING = 0.1
"""How far, as a share of all ranks, the whole of an annealing that is still to come lifts a trial."""

TINY = 1e-300  # shares of learning rates are taken for at least this
FIRST_RUNG = 1  # epoch
SECOND_RUNG = 15  # a whole training is so many times as long
KEPT = (0.2, 0.5)  # of those that reach the first rung, and each after it
LAST_RUNG = 0.5  # share of the training after which nobody is judged any more
CONTROL = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class DecayFair:
    """The pruner's arguments; that of cooldowns is read by :mod:`sweeps.cooldowns`."""

    rungs: tuple[int, ...]  # epochs at whose end trials are judged, ascending; none within a single one
    keep: tuple[float, ...]  # share of the trials at each rung that go on
    control: float = CONTROL  # share of the settings that are never given up


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """What one trial has shown up to a rung."""

    loss: float  # the best of the metric so far, negated where more is better
    spent: float  # share of all learning rates, summed over updates, that is used up
    annealing: float = 0.0  # by how much of itself the learning rate still falls until the end, 0 to 1


class ArgumentRefused(ValueError):
    """An argument of the pruner that cannot be."""

    def __init__(self, argument: str, got: str, wanted: str) -> None:
        super().__init__(f"{argument}: {got}; wants {wanted}")
        self.argument, self.got, self.wanted = argument, got, wanted


def decay_fair(arguments: Mapping[str, Any], epochs: int) -> DecayFair:
    """The pruner with ``arguments`` for trials of ``epochs`` epochs.

    Raises ArgumentRefused where an argument is unknown or cannot be.
    """
    known = ("rungs", "keep", "control", "cooldown_epochs")
    unknown = sorted(set(arguments) - set(known))
    if unknown:
        raise ArgumentRefused(unknown[0], f"unknown argument '{unknown[0]}'", f"one of {', '.join(known)}")
    judged_after = _rungs(arguments.get("rungs"), epochs)
    keep = _keep(arguments.get("keep"), len(judged_after))
    control = arguments.get("control", CONTROL)
    if not _is_number(control) or not 0 <= control < 1:
        raise ArgumentRefused("control", _got(control), "a share from 0 to below 1")
    cooldown = arguments.get("cooldown_epochs", 0)
    if not _is_whole(cooldown) or not 0 <= cooldown < epochs:
        wanted = f"a whole number from 0 to {epochs - 1}" if epochs > 1 else "0, for trials of a single epoch"
        raise ArgumentRefused("cooldown_epochs", _got(cooldown), wanted)
    return DecayFair(rungs=judged_after, keep=keep, control=float(control))


def rungs(arguments: Mapping[str, Any], epochs: int) -> tuple[int, ...]:
    """The epochs at which trials of ``epochs`` epochs are judged. Raises ValueError as :func:`decay_fair`."""
    return decay_fair(arguments, epochs).rungs


def scores(shown: Sequence[Shown], phase: float) -> Scores:
    """A score of each trial at a rung, more is better, (trials,); ``phase`` of all epochs have led to it.

    Its rank among them by loss (1: the best; equal losses share theirs), lifted a little by an annealing
    still to come, but not above its credit: 1 while it spends its learning rates up to :data:`FREE_PACE`
    times as fast as a constant one would, and the less the faster. Among trials of equal credit the better
    loss scores higher.
    """
    losses = np.array([one.loss for one in shown])
    ascending = np.sort(losses)
    better, not_worse = np.searchsorted(ascending, losses), np.searchsorted(ascending, losses, side="right")
    rank = 1.0 - (better + not_worse - 1) / 2 / len(losses)
    spent = np.array([one.spent for one in shown])
    ceiling = np.minimum(1.0, FREE_PACE * phase / np.maximum(spent, TINY))
    lifted = rank + SETTLING * np.array([one.annealing for one in shown])
    found: Scores = np.minimum(lifted, ceiling) + rank / 1000
    return found


def best_of(shown: Sequence[Shown], phase: float, count: int) -> list[int]:
    """Positions of the ``count`` trials with the best scores, best first; earlier ones where equal."""
    best_first = np.argsort(-scores(shown, phase), kind="stable")
    return [int(position) for position in best_first[:count]]


def places(trials: int, keep: float) -> int:
    """How many of ``trials`` at a rung go on: a share of them, one at least."""
    return max(1, math.ceil(trials * keep - 1e-9))


def is_control(seed: int, number: int, share: float) -> bool:
    """Whether family ``number`` of a sweep of ``seed`` belongs to the group that is never given up."""
    digest = hashlib.sha256(f"ravine control {seed} {number}".encode()).digest()
    return int.from_bytes(digest[:8], "big") < share * 2**64


def usual_rungs(epochs: int) -> tuple[int, ...]:
    """The rungs of a training of ``epochs``: the first epoch, a fifteenth of all, and doubled from there."""
    found = [FIRST_RUNG]
    rung = max(FIRST_RUNG + 1, round(epochs / SECOND_RUNG))
    while rung < epochs and (len(found) == 1 or rung <= LAST_RUNG * epochs):
        found.append(rung)
        rung *= 2
    return tuple(rung for rung in found if rung < epochs)


def _rungs(given: Any, epochs: int) -> tuple[int, ...]:
    if given is None:
        return usual_rungs(epochs)
    listed = given if isinstance(given, tuple | list) else (given,)
    ascending = all(_is_whole(rung) for rung in listed) and list(listed) == sorted(set(listed))
    if not listed or not ascending or not listed[0] >= 1 or not listed[-1] < epochs:
        wanted = f"ascending epochs from 1 to {epochs - 1}" if epochs > 1 else "none, for a single epoch"
        raise ArgumentRefused("rungs", _got(given), wanted)
    return tuple(listed)


def _keep(given: Any, count: int) -> tuple[float, ...]:
    if given is None:
        return (*KEPT[:count], *KEPT[-1:] * (count - len(KEPT)))
    listed = given if isinstance(given, tuple | list) else (given,) * count
    if len(listed) != count or not all(_is_number(share) and 0 < share <= 1 for share in listed):
        several = f", or a list of one for each of {count} rungs" if count > 1 else ""
        raise ArgumentRefused("keep", _got(given), f"a share above 0 and up to 1{several}")
    return tuple(float(share) for share in listed)


def _got(given: Any) -> str:
    """As the file has it."""
    if isinstance(given, bool):
        return f"got {str(given).lower()}"
    return f"got {list(given) if isinstance(given, tuple) else given}"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
