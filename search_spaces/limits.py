"""Limits: what a sweep may use beside its number of settings, and when it is enough before that."""

from __future__ import annotations

from dataclasses import dataclass

SECONDS_PER_HOUR = 3600.0
BUDGETS = ("epochs", "wall_seconds", "device_hours")
ARGUMENTS = {"none": (), "no_improvement": ("settings", "by"), "optuna": ("settings", "by", "every")}
"""What each terminator may be given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """A sweep's ``budget``; None: as much as its settings take."""

    epochs: int | None = None  # trained, all trials together; what trials share on one row counts once
    wall_seconds: float | None = None  # while it runs, summed over its sessions
    device_hours: float | None = None  # workers, on GPUs devices, times the hours while it runs

    @property
    def any_time(self) -> bool:
        """Whether time is limited."""
        return self.wall_seconds is not None or self.device_hours is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Terminator:
    """When no improvement is expected any more, so that nothing more is proposed."""

    name: str = "none"  # none | no_improvement | optuna
    settings: int = 50  # no_improvement: ended without one; optuna: finished before it is asked first
    by: float = 0.01  # of the best value so far; what is less is no improvement
    every: int = 10  # optuna: settings that finish from one look to the next
