"""What a sweep file says of confirming: how many leaders are trained again, and with how many fresh seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count, islice


@dataclass(frozen=True, slots=True, kw_only=True)
class Confirm:
    """The leaders of a sweep are trained again until the best is separated or they are tied."""

    top: int = 5  # settings, at least 2
    seeds: int = 5  # fresh ones for each of them at most, at least 2
    error_rate: float = 0.05  # probability of separating what is equal


def fresh_seeds(seeds: Sequence[int], wanted: int) -> tuple[int, ...]:
    """The smallest whole numbers that the search's ``seeds`` lack, in the order in which they are used."""
    used = frozenset(seeds)
    return tuple(islice((seed for seed in count() if seed not in used), wanted))
