"""Rate curves: what a learning-rate range test shows. Pure arithmetic over losses.

Where the rate rises, the loss falls, and falls fastest at one rate (L. N. Smith, "Cyclical Learning Rates for
Training Neural Networks", arXiv 1506.01186, 2015). Where it breaks is no measure of what rates diverge: a
direction of the loss in which large rates are unstable has first been damped to nothing at smaller rates, and
takes long to grow again, however slowly the rate rises. So rates from the steepest descent upwards are also
held, each from the initial weights on.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

COARSE_RATES = 8  # held first, from the steepest descent to the highest rate, both included
FINE_RATES = 6  # held then, between the largest that learned and the one above it
LEAST_SHARE_LEARNED = 0.1  # of what the best rate learns; what learns less is beyond the edge
_WINDOW_SHARE = 0.05  # of a rise, on either side of an update, for smoothing and slopes
_SHORTEST_WINDOW = 2
_CERTAIN = 6.0  # standard errors that the loss must fall by to have fallen at all
_NORMAL = 1.4826  # standard deviation of a normal distribution, by its median absolute deviation
_ENDING_SHARE = 0.25  # of a held rate's updates, whose mean loss counts
MOST_POINTS = 200  # of a curve that is kept


@dataclass(frozen=True, slots=True, kw_only=True)
class Rise:
    """The losses of one rise of the learning rate, smoothed, as long as they are finite."""

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    start: float  # the loss before anything was learned
    steepest: float | None  # rate at which the loss falls fastest; None where it does not fall


@dataclass(frozen=True, slots=True, kw_only=True)
class RateFinding:
    """What a range test found at one momentum."""

    momentum: float | None  # None for an optimizer without
    rise: Rise
    held: tuple[tuple[float, float | None], ...]  # rates and the losses they end with; None: not finite
    edge: float | None  # the rate beyond which no held one learns; None where that was not reached

    @property
    def steepest(self) -> float | None:
        """The rate at which the loss falls fastest; None where it does not fall."""
        return self.rise.steepest

    def to_json(self) -> dict[str, Any]:
        """For a file: numbers of six digits."""
        return {
            "momentum": self.momentum,
            "steepest": _short(self.steepest),
            "edge": _short(self.edge),
            "start": _short(self.rise.start),
            "rise": [
                [_short(rate), _short(loss)]
                for rate, loss in zip(self.rise.rates, self.rise.losses, strict=True)
            ],
            "held": [[_short(rate), _short(loss)] for rate, loss in self.held],
        }

    @staticmethod
    def from_json(plain: Mapping[str, Any]) -> RateFinding:
        """Inverse of :meth:`to_json`. Raises KeyError, TypeError or ValueError for anything else."""
        points = [(float(rate), float(loss)) for rate, loss in plain["rise"]]
        start = plain["start"]
        return RateFinding(
            momentum=_number(plain["momentum"]),
            rise=Rise(
                rates=tuple(rate for rate, _ in points),
                losses=tuple(loss for _, loss in points),
                start=math.inf if start is None else float(start),
                steepest=_number(plain["steepest"]),
            ),
            held=tuple((float(rate), _number(loss)) for rate, loss in plain["held"]),
            edge=_number(plain["edge"]),
        )


def rising_rates(low: float, high: float, updates: int) -> list[float]:
    """The rate of every update of a rise, evenly spaced in its logarithm."""
    return [low * (high / low) ** (index / (updates - 1)) for index in range(updates)]


def rise_of(rates: Sequence[float], losses: Sequence[float]) -> Rise:
    """A rise's smoothed losses and steepest descent.

    Smoothed and slope at an update are the mean and the least-squares slope of the losses around it, as many
    before as after, so that neither lags behind. The steepest descent is looked for before the smoothed
    loss is at its least. It is none where the loss falls by less than what noise may do.
    """
    finite = _finite_prefix(losses)
    half = max(_SHORTEST_WINDOW, round(_WINDOW_SHARE * len(losses)))
    if len(finite) <= half:
        return Rise(rates=(), losses=(), start=finite[0] if finite else math.inf, steepest=None)
    windows = [finite[max(0, index - half) : index + half + 1] for index in range(len(finite))]
    smoothed = [math.fsum(window) / len(window) for window in windows]
    start = max(finite[0], smoothed[0])
    least = min(range(len(smoothed)), key=smoothed.__getitem__)
    seen = max(least, 2 * half) + 1
    noise = _NORMAL * median(
        abs(loss - mean) for loss, mean in zip(finite[:seen], smoothed[:seen], strict=True)
    )
    steepest = None
    if smoothed[0] - smoothed[least] > _CERTAIN * noise / math.sqrt(2 * half + 1):
        slopes = [_slope(windows[index]) for index in range(least + 1)]
        steepest = rates[min(range(least + 1), key=slopes.__getitem__)]
    stride = math.ceil(len(smoothed) / MOST_POINTS)
    return Rise(
        rates=tuple(rates[: len(smoothed) : stride]),
        losses=tuple(smoothed[::stride]),
        start=start,
        steepest=steepest,
    )


def coarse_rates(rise: Rise, high: float) -> tuple[float, ...]:
    """Rates to hold first; none where the loss does not fall, or falls fastest at the highest rate."""
    if rise.steepest is None or rise.steepest >= high:
        return ()
    return tuple(rising_rates(rise.steepest, high, COARSE_RATES))


def fine_rates(rise: Rise, held: Mapping[float, float]) -> tuple[float, ...]:
    """Rates to hold then, within the two between which the edge lies; none where it was not reached."""
    within = _around_edge(rise, held)
    return () if within is None else tuple(rising_rates(*within, FINE_RATES + 2)[1:-1])


def edge_of(rise: Rise, held: Mapping[float, float]) -> float | None:
    """The edge: half-way, in the logarithm, between the largest rate that learned and the next one held.

    None where the highest rate learns, or no held rate does.
    """
    within = _around_edge(rise, held)
    return None if within is None else math.sqrt(within[0] * within[1])


def ending_loss(losses: Sequence[float]) -> float:
    """The loss that a held rate ends with: the mean of its last quarter; infinite if one is not finite."""
    last = losses[-max(1, round(_ENDING_SHARE * len(losses))) :]
    return math.fsum(last) / len(last) if all(map(math.isfinite, losses)) else math.inf


def _around_edge(rise: Rise, held: Mapping[float, float]) -> tuple[float, float] | None:
    rates = sorted(held)
    best = min([*rise.losses, *held.values()], default=math.inf)
    most = rise.start - LEAST_SHARE_LEARNED * (rise.start - best)
    learned = [index for index, rate in enumerate(rates) if held[rate] <= most]
    if not learned or learned[-1] + 1 == len(rates):
        return None
    return rates[learned[-1]], rates[learned[-1] + 1]


def _finite_prefix(losses: Sequence[float]) -> list[float]:
    ended = next((index for index, loss in enumerate(losses) if not math.isfinite(loss)), len(losses))
    return list(losses[:ended])


def _slope(values: Sequence[float]) -> float:
    """The least-squares slope of values at 0, 1, 2 ..."""
    middle = (len(values) - 1) / 2
    spread = math.fsum((index - middle) ** 2 for index in range(len(values)))
    return math.fsum((index - middle) * value for index, value in enumerate(values)) / spread


def _short(value: float | None) -> float | None:
    return float(f"{value:.6g}") if value is not None and math.isfinite(value) else None


def _number(value: Any) -> float | None:
    return None if value is None else float(value)
