"""What a learning-rate range test is asked: plain values, sent to a worker as they are."""

from __future__ import annotations

from dataclasses import dataclass

from search_spaces.settings import Setting
from workers.rate_curves import COARSE_RATES, FINE_RATES

HELD_SHARE = 0.5  # of a rise's updates, that a rate is held for


@dataclass(frozen=True, slots=True, kw_only=True)
class RangeQuestion:
    """What is to be found out, as a worker is asked it."""

    task: str  # registered name, or /absolute/path/to/file.py:Name
    setting: Setting  # what trials share beside rate and momentum; its schedule is constant
    low: float  # rates of the first and the last update of a rise
    high: float
    momenta: tuple[float | None, ...]  # None: as the setting has it
    updates: int  # of a rise
    seeds: tuple[int, ...]
    device: str = "cpu"
    precision: str = "float32"
    convolutions: str = "grouped"
    stacked: bool = True

    @property
    def most_updates(self) -> int:
        """Updates of single trials that the test takes at most."""
        held = round(HELD_SHARE * self.updates) * (COARSE_RATES + FINE_RATES)
        return len(self.momenta) * len(self.seeds) * (self.updates + held)


class Stopped(Exception):
    """Whoever asked does not want to wait for the answer."""
