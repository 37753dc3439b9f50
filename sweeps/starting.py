"""Starting: what the first proposals of a sweep are given by its start points."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random

from search_spaces.ranges import Value
from search_spaces.space import SearchSpace

_NOTHING: Mapping[str, Value] = {}


class Starts:
    """A space's start points by proposal and by setting: with branches a proposal has a setting for each."""

    def __init__(self, space: SearchSpace) -> None:
        self._seed = space.seed
        self._points = space.start
        self._branches = len(space.schedules) if space.branches else 1

    @property
    def proposals(self) -> int:
        """How many proposals have a start point."""
        return len(self._points)

    @property
    def settings(self) -> int:
        """How many settings these are."""
        return len(self._points) * self._branches

    def of_setting(self, index: int) -> Mapping[str, Value]:
        """Values given to the setting, by the range's name; none where it has no start point.

        Where a point leaves open which of several options it is, that is a function of the sweep's seed.
        """
        proposal = index // self._branches
        if proposal >= len(self._points):
            return _NOTHING
        point = self._points[proposal]
        drawn = Random(f"ravine start {self._seed} {proposal}")  # noqa: S311 - nothing secret
        return {**point.values, **{name: drawn.choice(options) for name, options in point.among.items()}}
