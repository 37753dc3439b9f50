"""Rungs: the settings of a sweep that have come to each, what they showed there, and who goes on.

What is known at a rung is the sweep's own: it is stored with the setting, beside Optuna's attributes, so
that a resumed sweep judges by the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from search_spaces.space import SearchSpace
from sweeps.decay_fair import DecayFair, Shown, best_of, decay_fair, is_control, places, rungs

ATTRIBUTE = "ravine:rungs"
"""Name of a setting's rungs among its stored attributes: by rung, loss, spent, annealing and goes on."""

CONTROL_ATTRIBUTE = "ravine:control"
"""Name of what says that a setting is never given up."""


OWN_ATTRIBUTES = (ATTRIBUTE, CONTROL_ATTRIBUTE)


@dataclass(frozen=True, slots=True)
class Judged:
    """What a setting showed at a rung, and whether it was good enough to go on."""

    shown: Shown
    goes_on: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Reached:
    """A setting that has trained up to an epoch."""

    index: int
    epoch: int
    loss: float  # of that epoch, negated where more is better
    spent: float
    annealing: float
    is_annealed: bool = False  # the loss is that after a cooldown, and the only one that counts


def rungs_of(space: SearchSpace) -> Rungs | None:
    """The rungs of a sweep that is pruned by them. Raises ValueError where its arguments cannot be."""
    if space.pruner.name != "decay_fair":
        return None
    pruner = decay_fair(space.pruner.arguments, space.epochs)
    return Rungs(pruner, is_control=control_group(space), epochs=space.epochs)


def control_group(space: SearchSpace) -> Callable[[int], bool]:
    """Tells by its index whether a setting is never given up; a family of branches is or is not as a whole.

    Raises ValueError where the pruner's arguments cannot be.
    """
    if space.pruner.name != "decay_fair":
        return lambda _: False
    share = decay_fair(space.pruner.arguments, space.epochs).control
    size = len(space.schedules) if space.branches else 1
    return lambda index: is_control(space.seed, index // size, share)


def judged_after(space: SearchSpace) -> tuple[int, ...]:
    """Epochs at whose end the sweep wants to know how far schedules are."""
    if space.pruner.name != "decay_fair":
        return ()
    return rungs(space.pruner.arguments, space.epochs)


class Rungs:
    """Who has come to which rung, and who is given up."""

    def __init__(self, pruner: DecayFair, *, epochs: int, is_control: Callable[[int], bool]) -> None:
        """No setting yet; trials of ``epochs`` epochs. ``is_control``, by index: never given up."""
        self._pruner = pruner
        self._is_control = is_control
        self._epochs = epochs
        self._judged: dict[int, dict[int, Judged]] = {rung: {} for rung in pruner.rungs}  # then by index
        self._heard: dict[int, tuple[int, float]] = {}  # last epoch and best loss, up to the last rung
        self._copies: set[int] = set()

    def restore(self, index: int, attributes: Mapping[str, Any], losses: Mapping[int, float]) -> None:
        """Put a stored setting back; ``losses`` by epoch, of one that is still open."""
        for rung, (loss, spent, annealing, goes_on) in attributes.get(ATTRIBUTE, {}).items():
            shown = Shown(loss=loss, spent=spent, annealing=annealing)
            self._judged.setdefault(int(rung), {})[index] = Judged(shown, bool(goes_on))
        for epoch, loss in losses.items():
            self.hear(index, epoch, loss)

    def hear(self, index: int, epoch: int, loss: float) -> None:
        """A setting's loss at the end of ``epoch``."""
        if epoch > max(self._pruner.rungs, default=0):
            self._heard.pop(index, None)
        else:
            self._heard[index] = epoch, min(loss, self._best(index, loss))

    def repeat(self, index: int) -> None:
        """A setting is stored as a copy of another one, and is not judged beside it."""
        self._copies.add(index)

    def end(self, index: int) -> None:
        """A setting has ended."""
        self._heard.pop(index, None)

    def judge(self, reached: Sequence[Reached]) -> None:
        """Judge settings that came to their rungs together, beside all that were there before.

        What was judged before stays as it was; an epoch that is no rung is none.
        """
        for rung in self._pruner.rungs:
            self._judge(rung, [one for one in reached if one.epoch == rung])

    def _judge(self, epoch: int, reached: Sequence[Reached]) -> None:
        if not reached:
            return
        rung = self._judged[epoch]
        for one in reached:
            so_far = one.loss if one.is_annealed else min(one.loss, self._best(one.index, one.loss))
            annealing = 0.0 if one.is_annealed else one.annealing
            rung[one.index] = Judged(Shown(loss=so_far, spent=one.spent, annealing=annealing), goes_on=False)
        there = list(rung)
        best = best_of(
            [judged.shown for judged in rung.values()],
            epoch / self._epochs,
            places(len(there), self._pruner.keep[self._pruner.rungs.index(epoch)]),
        )
        going_on = {there[position] for position in best}
        for one in reached:
            rung[one.index] = replace(rung[one.index], goes_on=one.index in going_on)

    def gives_up(self, index: int) -> bool:
        """Whether a setting ends with the epoch heard last; those of the control group never do."""
        if index not in self._heard:
            return False
        judged = self._judged.get(self._heard[index][0], {}).get(index)
        if judged is None or judged.goes_on:
            return False
        return not self._is_control(index)

    def attributes(self, index: int) -> dict[str, Any]:
        """What is to be stored of a setting."""
        found = {
            str(rung): [judged.shown.loss, judged.shown.spent, judged.shown.annealing, judged.goes_on]
            for rung, of_rung in self._judged.items()
            if (judged := of_rung.get(index)) is not None
        }
        if not found and index not in self._copies:
            return {}
        own: dict[str, Any] = {ATTRIBUTE: found} if found else {}
        return own | ({CONTROL_ATTRIBUTE: True} if self._is_control(index) else {})

    def _best(self, index: int, otherwise: float) -> float:
        return self._heard[index][1] if index in self._heard else otherwise
