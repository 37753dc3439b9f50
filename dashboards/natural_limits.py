"""Limits: how far a range may be widened before it means nothing more; how much of it is at its bounds."""

from __future__ import annotations

from dashboards.narrowing import EDGE
from search_spaces.axes import position_of
from search_spaces.ranges import Integer, LogOneMinus, Numeric
from search_spaces.space import SearchSpace

UP_TO_ONE = frozenset(
    {
        "alpha",
        "base_momentum",
        "betas",
        "dampening",
        "factor",
        "final_factor",
        "gamma",
        "max_momentum",
        "momentum",
        "pct_start",
        "rho",
    }
)
"""Arguments that mean something between 0 and 1 only; a range that goes beyond says otherwise."""
_PLACES = 1000  # at which a range is asked how much of it is at its bounds


def limit_of(name: str, range_: Numeric, space: SearchSpace, *, up: bool) -> float | None:
    """The value beyond which the dimension's range is not to go; None where there is none."""
    if not up:
        whole = isinstance(range_, Integer) and range_.low >= 1
        return None if range_.low < 0 else 1.0 if whole else 0.0
    if isinstance(range_, Integer):
        return float(max(space.epochs, range_.high)) if _counts_epochs(name, space) else None
    arguments = name.replace("[", ".").split(".")
    if isinstance(range_, LogOneMinus) or (UP_TO_ONE & set(arguments) and range_.high <= 1.0):
        return 1.0
    return None


def at_bounds(range_: Numeric) -> tuple[float, float]:
    """The share of a range's draws within :data:`dashboards.narrowing.EDGE` of each bound."""
    places = [(index + 0.5) / _PLACES for index in range(_PLACES)]
    positions = [position_of(range_, float(range_.at(place))) for place in places]
    low = sum(position <= EDGE for position in positions)
    high = sum(position >= 1.0 - EDGE for position in positions)
    return low / _PLACES, high / _PLACES


def _counts_epochs(name: str, space: SearchSpace) -> bool:
    """Whether whole numbers of the dimension are epochs of a schedule: more than there are mean nothing."""
    return any(
        name.startswith(f"{schedule.label}.") and schedule.every == "epoch" for schedule in space.schedules
    )
