"""Chart axes: logarithmic scales and colours with ticks that people can read."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go
from plotly.colors import sample_colorscale

_SCALE = "Viridis"
_LIGHTEST = 0.9  # of the colour scale: its last yellow is hard to see on white
_NO_VALUE = "#9aa5b1"
_SHORTEST = 0.6  # decades that an axis has at least
_MOMENTUM_TICKS = (0.0, 0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999, 0.9999)


def short(value: float | None) -> str:
    """Four significant digits; a dash for none."""
    return "–" if value is None else f"{value:.4g}"


def epoch_axis(last: int) -> dict[str, Any]:
    """Layout of an axis of epochs from 1 to ``last``, with whole numbers only."""
    margin = max(0.3, 0.015 * last)
    step = next(step for step in (1, 2, 5, 10, 20, 50, 100, 10 ** len(str(last))) if last <= 12 * step)
    first = step if step > 1 else 1
    return {
        "title": "epoch (passes over the training data)",
        "range": [1 - margin, max(last, 2) + margin],
        "tick0": first,
        "dtick": step,
    }


def decades(values: Sequence[float], *, clip: bool = False) -> dict[str, Any]:
    """Layout of a logarithmic axis over these positive values, with ticks as dense as its length allows.

    With ``clip``, the largest twentieth may lie outside: one diverging curve would flatten all others.
    """
    if not values:
        return {"type": "log", **_log_layout(-4.0, 0.0)}
    ordered = sorted(values)
    high = ordered[-1]
    if clip:
        high = min(high, 3.0 * ordered[int(0.95 * (len(ordered) - 1))])
    low_end, high_end = math.log10(ordered[0]), math.log10(high)
    margin = max(0.04 * (high_end - low_end), (_SHORTEST - high_end + low_end) / 2)
    return {"type": "log", **_log_layout(low_end - margin, high_end + margin)}


def _log_layout(low: float, high: float) -> dict[str, Any]:
    ticks = _log_ticks(low, high)
    return {"range": [low, high], "tickvals": ticks, "ticktext": [_power(tick) for tick in ticks]}


def _log_ticks(low: float, high: float) -> list[float]:
    """Round numbers between two powers of ten."""
    digits = (1, 2, 3, 4, 5, 6, 8) if high - low <= 1 else (1, 2, 5) if high - low <= 3.5 else (1,)
    stride = max(1, math.ceil((high - low) / 10))
    powers = range(math.floor(low), math.ceil(high) + 1, stride)
    ticks = [digit * 10.0**power for power in powers for digit in digits]
    return [tick for tick in ticks if low <= math.log10(tick) <= high]


def _power(tick: float) -> str:
    if 1e-4 <= tick < 1e5:
        return f"{tick:.10g}"
    mantissa, exponent = f"{tick:.0e}".split("e")
    return f"{mantissa}e{int(exponent)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class MomentumAxis:
    """Momentum's own axis: a velocity adds up 1 / (1 - momentum) updates, so that is its scale."""

    scale: str  # what the title says of it
    layout: dict[str, Any]
    is_log: bool

    def place(self, momentum: float) -> float:
        """Where a momentum lies on the axis."""
        return -math.log10(1.0 - momentum) if self.is_log else momentum


def momentum_axis(momenta: Sequence[float]) -> MomentumAxis:
    """The axis for these momenta; plain where one is 1 or more, or negative."""
    if any(not 0.0 <= momentum < 1.0 for momentum in momenta):
        return MomentumAxis(scale="", layout={}, is_log=False)
    reach = -math.log10(1.0 - max([0.9, *momenta]))
    shown = [tick for tick in _MOMENTUM_TICKS if -math.log10(1.0 - tick) <= 1.06 * reach]
    layout = {
        "tickvals": [-math.log10(1.0 - tick) for tick in shown],
        "ticktext": [f"{tick:g}" for tick in shown],
        "range": [-0.06 * reach, 1.06 * reach],
    }
    return MomentumAxis(scale=" (log scale of 1 − momentum)", layout=layout, is_log=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Colours:
    """Colours for values between two ends of a scale."""

    low: float  # already on the scale
    high: float
    is_log: bool
    scale: list[list[Any]]

    @staticmethod
    def of(
        values: Sequence[float | None],
        *,
        is_log: bool,
        dark_is_high: bool = False,
        shares_worst: bool = False,
    ) -> Colours:
        """Colours from the smallest value to the largest, dark at the low end unless told otherwise.

        ``shares_worst``: the tenth at the light end is drawn alike, so that the others can be told apart.
        """
        places = sorted(math.log10(value) if is_log else value for value in values if value is not None)
        tenth = len(places) // 10 if shares_worst else 0
        low = places[tenth if dark_is_high else 0] if places else 0.0
        high = places[-1 if dark_is_high else -1 - tenth] if places else 0.0
        shortest = _SHORTEST if is_log else 1e-9
        if high - low < shortest:
            low, high = (low + high - _SHORTEST) / 2, (low + high + _SHORTEST) / 2
        points = [index / 20 for index in range(21)]
        colours = sample_colorscale(_SCALE, [_LIGHTEST * point for point in points])
        ordered = colours[::-1] if dark_is_high else colours
        scale = [[point, colour] for point, colour in zip(points, ordered, strict=True)]
        return Colours(low=low, high=high, is_log=is_log, scale=scale)

    def bin(self, value: float | None, bins: int) -> int:
        """Which of so many colours a value has; -1 for none."""
        if value is None:
            return -1
        share = (self._place(value) - self.low) / (self.high - self.low)
        return min(bins - 1, max(0, int(bins * share)))

    def colour(self, bin_: int, bins: int) -> str:
        """The colour of a bin."""
        return _NO_VALUE if bin_ < 0 else str(sample_colorscale(self.scale, [(bin_ + 0.5) / bins])[0])

    def markers(self, values: Sequence[float | None]) -> dict[str, Any]:
        """Marker colours of these values; grey where one has none."""
        if any(value is None for value in values):
            return {"color": _NO_VALUE}
        places = [self._place(value) for value in values if value is not None]
        return {"color": places, "colorscale": self.scale, "cmin": self.low, "cmax": self.high}

    def bar(self, title: str) -> Any:
        """A trace without points that brings the colour bar."""
        text = f"{title.replace(' ', '<br>', 1)}{'<br>(log scale)' if self.is_log else ''}"
        bar: dict[str, Any] = {"title": {"text": text, "side": "top"}, "thickness": 14, "outlinewidth": 0}
        if self.is_log:
            ticks = _log_ticks(self.low, self.high)
            bar |= {
                "tickvals": [math.log10(tick) for tick in ticks],
                "ticktext": [_power(tick) for tick in ticks],
            }
        marker = {
            "color": [self.low],
            "colorscale": self.scale,
            "cmin": self.low,
            "cmax": self.high,
            "showscale": True,
            "colorbar": bar | {"ticks": "outside"},
        }
        return go.Scatter(
            x=[None], y=[None], mode="markers", marker=marker, showlegend=False, hoverinfo="skip"
        )

    def _place(self, value: float) -> float:
        return math.log10(value) if self.is_log else value
