"""Ends: when a sweep proposes nothing more before all its settings are tried, and why.

A budget of epochs and a terminator are functions of stored facts. Time is passed in: what it ends is stored
as it was. Nothing here reads a clock.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from search_spaces.limits import SECONDS_PER_HOUR, Limits
from search_spaces.space import SearchSpace
from sweeps.cooldowns import epoch_costs
from sweeps.entries import SettingEntry
from sweeps.plan import ROUNDS_IN_FLIGHT
from sweeps.terminators import make_judge

NEVER = float("inf")


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeLeft:
    """What is left of a sweep's time as its next decision is taken."""

    wall_seconds: float = NEVER
    device_seconds: float = NEVER
    devices: int = 1  # that train at once
    round_seconds: float = 0.0  # how long a round takes at present; 0 where none has been seen

    @property
    def seconds(self) -> float:
        """Until the first of both is used up."""
        return min(self.wall_seconds, self.device_seconds / self.devices)

    def suffices_for(self, epochs: int, trials: int = 1) -> bool:
        """Whether so many trials one after another, the first admitted now, are expected to end in time."""
        needed = trials * (epochs + ROUNDS_IN_FLIGHT) * self.round_seconds
        return self.seconds > 0 and needed <= self.seconds

    def limit(self, limits: Limits) -> tuple[str, str]:
        """Which of the limits ends the sweep, by its field and in words."""
        if self.wall_seconds <= self.device_seconds / self.devices:
            return "wall_seconds", f"the budget of {limits.wall_seconds:g} s of wall time"
        return "device_hours", f"the budget of {limits.device_hours:g} device-hours"


ENDLESS = TimeLeft()


def time_left(
    limits: Limits, *, wall_seconds: float, worker_seconds: float, workers: int, round_seconds: float = 0.0
) -> TimeLeft:
    """What the limits leave where so much has been used by so many workers at once."""
    wall, hours = limits.wall_seconds, limits.device_hours
    return TimeLeft(
        wall_seconds=NEVER if wall is None else wall - wall_seconds,
        device_seconds=NEVER if hours is None else hours * SECONDS_PER_HOUR - worker_seconds,
        devices=workers,
        round_seconds=round_seconds,
    )


def settings_that_fit(limits: Limits, *, trained: int, coming: int, epochs_each: int) -> int | None:
    """How many more settings the budget of epochs admits; None: any number.

    ``trained``: epochs so far; ``coming``: at most how many the open trials still train; ``epochs_each``: at
    most how many a setting trains. What is admitted can so be finished within the budget.
    """
    if limits.epochs is None:
        return None
    return max(0, limits.epochs - trained - coming) // epochs_each


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """Why a sweep ended, or will end, before all its settings were tried."""

    by: str  # the field of ``budget``, or the terminator
    reason: str  # a clause for people: "the budget of 5,000 epochs is used up: ..."


def epochs_to_confirm(space: SearchSpace) -> int:
    """Epochs that the search leaves to the trials that confirm its leaders: what they may take at most."""
    return 0 if space.confirm is None else space.confirm.top * space.confirm.seeds * space.epochs


def epochs_of_a_setting(space: SearchSpace) -> int:
    """Epochs that a setting is trained for at most: with each seed, cooldowns included."""
    return sum(epoch_costs(space)) * len(space.seeds)


def least_epochs(space: SearchSpace) -> int:
    """The smallest budget of epochs that admits a setting, and what is kept for confirming."""
    return epochs_of_a_setting(space) + epochs_to_confirm(space)


def ending_by_epochs(limit: int, *, trained: int, kept: Mapping[str, int]) -> Ending:
    """The budget of epochs admits no further setting; ``kept``: at most so many, for what comes after."""
    told = [f"of the budget of {limit:,} epochs the search trained {trained:,}"]
    told += [f"up to {epochs:,} are kept for {what}" for what, epochs in kept.items() if epochs]
    rest = limit - trained - sum(kept.values())
    told += [f"{rest:,} are fewer than another setting may take"] if rest > 0 else []
    return Ending(by="epochs", reason="; ".join(told))


def ending_by_time(
    limits: Limits, left: TimeLeft, *, needed: float, cancelled: int, confirming: bool
) -> Ending:
    """The budget of time does not suffice for ``needed`` seconds; or it is over and open trials end."""
    by, budget = left.limit(limits)
    if left.seconds > 0:
        what = "another setting, and then a look at the leaders," if confirming else "another setting"
        return Ending(
            by=by,
            reason=f"{budget} leaves {left.seconds:.3g} s, and {what} would take {needed:.3g} s at the pace "
            "of the last rounds",
        )
    told = f", and {cancelled:,} open trial{'s were' if cancelled > 1 else ' was'} cancelled"
    return Ending(by=by, reason=f"{budget} is used up{told if cancelled else ''}")


class Ends:
    """What may end one sweep early: its limits, and its terminator with what that has decided."""

    def __init__(self, space: SearchSpace) -> None:
        """Nothing used yet, nothing decided. Raises TerminatorUnavailable where Optuna has none."""
        self._space = space
        self._judge = make_judge(space)
        self._decided: Ending | None = None
        self._trials_in_a_row = 1 if space.confirm is None else 2  # leaders are looked at afterwards
        self._epochs_each = epochs_of_a_setting(space)
        self.time = ENDLESS  # at the decision that is being taken

    def restore(self, stored: Mapping[str, Any] | None, settings: Iterable[SettingEntry]) -> None:
        """Go on from what :meth:`to_plain` gave, with every setting that has ended by now."""
        known = stored or {}
        if "reason" in known:
            self._decided = Ending(by=known["by"], reason=known["reason"])
        ended = [setting for setting in settings if setting.end is not None]
        self._judge.restore(known.get("kept", {}), [(one, one.mean(self._space.epochs)) for one in ended])

    def setting_ended(self, setting: SettingEntry, how: str, value: float | None) -> None:
        """A setting ended: ``finished`` with a value, ``pruned`` or ``failed``."""
        self._judge.ended(setting, how, value)

    def look(self) -> None:
        """Let the terminator work something out while workers train; it counts from the next decision on."""
        if self._decided is None:
            self._judge.look()

    def decide(self) -> None:
        """Ask the terminator, at a decision."""
        if self._decided is None and (reason := self._judge.decide()) is not None:
            self._decided = Ending(by=self._space.terminator.name, reason=reason)

    @property
    def decided(self) -> Ending | None:
        """Why nothing more is searched, for good."""
        return self._decided

    def room(self, *, trained: int, coming: int) -> int | None:
        """How many more settings budgets admit now; None: any number.

        ``trained``: epochs so far; ``coming``: at most how many the open trials still train.
        """
        if not self.time.suffices_for(self._space.epochs, self._trials_in_a_row):
            return 0
        return settings_that_fit(
            self._space.budget,
            trained=trained,
            coming=coming + epochs_to_confirm(self._space),
            epochs_each=self._epochs_each,
        )

    def end_by_budget(self, *, trained: int, put_off: int) -> None:
        """The search has ended for good: budgets admit no further setting beside those ``put_off``."""
        limits = self._space.budget
        if limits.epochs is not None and self.time.suffices_for(self._space.epochs, self._trials_in_a_row):
            kept = {
                "confirming": epochs_to_confirm(self._space),
                "its control group": put_off * self._epochs_each,
            }
            self._decided = ending_by_epochs(limits.epochs, trained=trained, kept=kept)
        else:
            self._decided = self.ending(cancelled=0)

    def ending(self, *, cancelled: int) -> Ending:
        """Why a sweep ends that has something left to train: its time is up."""
        needed = self._trials_in_a_row * (self._space.epochs + ROUNDS_IN_FLIGHT) * self.time.round_seconds
        confirming = self._space.confirm is not None
        return ending_by_time(
            self._space.budget, self.time, needed=needed, cancelled=cancelled, confirming=confirming
        )

    def to_plain(self) -> dict[str, Any] | None:
        """What a resumed sweep needs to know beside settings' ends; None where that is nothing."""
        kept = self._judge.to_plain()
        plain: dict[str, Any] = {"kept": kept} if kept else {}
        if self._decided is not None:
            plain |= plain_ending(self._decided)
        return plain or None


def plain_ending(ending: Ending) -> dict[str, str]:
    """An ending as it is stored with its sweep."""
    return {"by": ending.by, "reason": ending.reason}
