"""Usage: how well a sweep's slots and workers were used, added up over its sessions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(slots=True, kw_only=True)
class Usage:
    """Sums over closed rounds and reports."""

    slots_offered: float = 0.0  # rows that the concurrency allows, in rounds with settings still to propose
    slots_used: float = 0.0  # rows trained in those rounds for trials that were still open
    slots_lagging: float = 0.0  # of the others, those whose trial's end came too late to be acted upon
    worker_seconds: float = 0.0  # workers x time, from the first orders on
    training_seconds: float = 0.0  # of it, what workers spent on orders
    wall_seconds: float = 0.0  # while the sweep ran, from the first orders of each of its sessions on

    @staticmethod
    def restored(stored: Mapping[str, float] | None) -> Usage:
        """The sums that an earlier session has stored."""
        return Usage(**{name: value for name, value in (stored or {}).items() if name in Usage.__slots__})

    def close_round(self, *, offered: int, used: int, lagging: int) -> None:
        """Count a round of one lane, in rows."""
        used = min(used, offered)
        self.slots_offered += offered
        self.slots_used += used
        self.slots_lagging += min(lagging, offered - used)

    def to_plain(self) -> dict[str, float]:
        """The sums, and the shares that people read: of slots used and lagging, and of workers idle."""
        plain = {name: float(getattr(self, name)) for name in Usage.__slots__}
        if self.slots_offered:
            plain["slot_occupancy"] = self.slots_used / self.slots_offered
            plain["slot_lag_share"] = self.slots_lagging / self.slots_offered
        if self.worker_seconds:
            plain["device_idle_share"] = max(0.0, 1.0 - self.training_seconds / self.worker_seconds)
        return plain
