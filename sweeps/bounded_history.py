"""What a sampler is shown of a long sweep's ended settings: the best, the newest, and some of the rest.

TPE fits two densities to all settings at every ask, which takes longer the more there are. Its good density
takes the best 25 at most, so that it stays as it is; the other is fitted to fewer settings instead of all.
"""

from __future__ import annotations

from bisect import insort

BEST = 200
NEWEST = 600
REST = 200  # spread evenly over all the others

Rank = tuple[float, ...]
"""Settings that ended with a smaller one are better."""


class BoundedHistory:
    """The ended settings by index. Which are shown is a function of who has ended and how well, only."""

    def __init__(self, *, best: int = BEST, newest: int = NEWEST, rest: int = REST) -> None:
        """At most ``best`` + ``newest`` + ``rest`` settings are shown; all of them while they are fewer."""
        self._best, self._newest, self._rest = best, newest, rest
        self._ranked: list[tuple[Rank, int]] = []
        self._indices: list[int] = []

    def end(self, index: int, rank: Rank) -> None:
        """The setting ended so well."""
        insort(self._ranked, (rank, index))
        insort(self._indices, index)

    def shown(self) -> list[int]:
        """The indices of those that are shown, ascending."""
        if len(self._indices) <= self._best + self._newest + self._rest:
            return list(self._indices)
        found = {index for _, index in self._ranked[: self._best]}
        wanted = self._best + self._newest
        position = len(self._indices)
        while len(found) < wanted:
            position -= 1
            found.add(self._indices[position])
        older = self._indices[:position] if self._rest else []
        found.update(older[place * len(older) // self._rest] for place in range(self._rest))
        return sorted(found)


def rank_of(reports: tuple[int, float] | None, *, finished: bool, sign: float) -> Rank:
    """How Optuna ranks an ended setting: finished ones by value, then pruned ones by how far they came.

    ``reports``: the last epoch that was reported, with its value; ``sign`` is -1 where more is better.
    """
    if reports is None:
        return (2.0, 0.0, 0.0)
    epoch, value = reports
    return (0.0, sign * value, 0.0) if finished else (1.0, float(-epoch), sign * value)
