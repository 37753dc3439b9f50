"""Terminators: when no improvement is expected any more, told from the settings that have ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from search_spaces.limits import Terminator
from search_spaces.space import SearchSpace
from sweeps.entries import SettingEntry

EndedSetting = tuple[SettingEntry, float | None]
"""A setting that has ended, and the metric's mean over its seeds at the last epoch, if it has one."""


class Judge(Protocol):
    """A terminator as the ledger knows it: told of each setting's end, asked at each decision."""

    def restore(self, kept: Mapping[str, Any], ended: Sequence[EndedSetting]) -> None:
        """Go on from what :meth:`to_plain` gave, with the settings that have ended by now."""
        ...

    def ended(self, setting: SettingEntry, how: str, value: float | None) -> None:
        """A setting ended: ``finished`` with a value, ``pruned`` or ``failed``."""
        ...

    def look(self) -> None:
        """Work something out while workers train; what comes of it counts from the next decision on."""
        ...

    def decide(self) -> str | None:
        """Why no improvement is expected any more; None: go on."""
        ...

    def to_plain(self) -> dict[str, Any]:
        """What it must remember beside settings' ends."""
        ...


def make_judge(space: SearchSpace) -> Judge:
    """The terminator of a space. Raises TerminatorUnavailable where Optuna has none."""
    if space.terminator.name == "optuna":
        from sweeps.regret_bound import RegretBound

        return RegretBound(space)
    if space.terminator.name == "no_improvement":
        return NoImprovement(space.terminator, space.metric.goal)
    return NeverEnough()


class NeverEnough:
    """No terminator."""

    def restore(self, kept: Mapping[str, Any], ended: Sequence[EndedSetting]) -> None:
        """There is nothing to remember."""

    def ended(self, setting: SettingEntry, how: str, value: float | None) -> None:
        """Nothing depends on it."""

    def look(self) -> None:
        """There is nothing to work out."""

    def decide(self) -> str | None:
        """Go on."""
        return None

    def to_plain(self) -> dict[str, Any]:
        """Nothing."""
        return {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Streak:
    """How many settings have ended since the last improvement."""

    best: float | None = None  # that the next improvement must be better than; None: none has finished
    since: int = 0

    def after(self, value: float | None, *, sign: float, by: float) -> Streak:
        """With one more setting that ended; ``value`` None: it was given up; ``sign`` -1: more is better."""
        if value is not None and self._is_improved_by(value, sign, by):
            return Streak(best=value)
        return self if self.best is None else replace(self, since=self.since + 1)

    def _is_improved_by(self, value: float, sign: float, by: float) -> bool:
        return self.best is None or sign * (self.best - value) > by * abs(self.best)


class NoImprovement:
    """Enough where none of the last so many ended settings was better than the best before, by a share of it.

    Settings that were pruned or diverged count: they were tried. Failed ones say nothing of the search.
    """

    def __init__(self, terminator: Terminator, goal: str) -> None:
        """Nothing has ended yet."""
        self._terminator = terminator
        self._sign = 1.0 if goal == "minimize" else -1.0
        self._streak = Streak()

    def restore(self, kept: Mapping[str, Any], ended: Sequence[EndedSetting]) -> None:  # noqa: ARG002
        """Go on from the stored streak."""
        self._streak = Streak(**kept)

    def ended(self, setting: SettingEntry, how: str, value: float | None) -> None:  # noqa: ARG002
        """Count the setting."""
        if how != "failed":
            shown = value if how == "finished" else None
            self._streak = self._streak.after(shown, sign=self._sign, by=self._terminator.by)

    def look(self) -> None:
        """There is nothing to work out."""

    def decide(self) -> str | None:
        """Whether enough settings have ended since the last improvement."""
        if self._streak.since < self._terminator.settings:
            return None
        least = f" by more than {self._terminator.by:.3g} of it" if self._terminator.by else ""
        return (
            f"none of the last {self._streak.since:,} settings that ended improved on the best before them, "
            f"{self._streak.best:.6g}{least}"
        )

    def to_plain(self) -> dict[str, Any]:
        """The streak, which depends on the order in which settings ended."""
        return {"best": self._streak.best, "since": self._streak.since}
