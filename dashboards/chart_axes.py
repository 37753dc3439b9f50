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
_MOMENTUM_TICKS = (0.0, 0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999, 0.9999)


def short(value: float | None) -> str:
    """Four significant digits; a dash for none."""
    return "–" if value is None else f"{value:.4g}"


def decades(values: Sequence[float], *, clip: bool = False) -> dict[str, Any]:
    """Layout of a logarithmic axis: 1, 2, 5 ticks where it is short, powers of ten where it is long.

    With ``clip``, the largest twentieth may lie outside: one diverging curve would flatten all others.
    """
    if not values:
        return {"type": "log", "range": [-4, 0]}
    ordered = sorted(values)
    low, high = ordered[0], ordered[-1]
    if clip:
        high = min(high, 3.0 * ordered[int(0.95 * (len(ordered) - 1))])
    ticks, texts = _ticks(low, high)
    margin = 0.04 * max(math.log10(high / low), 0.5)
    return {
        "type": "log",
        "range": [math.log10(low) - margin, math.log10(high) + margin],
        "tickvals": ticks,
        "ticktext": texts,
    }


def _ticks(low: float, high: float) -> tuple[list[float], list[str]]:
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    digits = (1, 2, 5) if last - first <= 4 else (1,)
    stride = max(1, math.ceil((last - first) / 10))
    ticks = [digit * 10.0**power for power in range(first, last + 1, stride) for digit in digits]
    return ticks, [
        f"{tick:.0e}".replace("e-0", "e-").replace("e+0", "e") if _is_long(tick) else f"{tick:g}"
        for tick in ticks
    ]


def _is_long(tick: float) -> bool:
    return not 1e-4 <= tick < 1e6


@dataclass(frozen=True, slots=True, kw_only=True)
class MomentumAxis:
    """Momentum's own axis: logarithmic in 1 - momentum, as the step a velocity accumulates is 1 / (1 - momentum)."""

    title: str
    ticks: dict[str, Any]
    is_log: bool

    def place(self, momentum: float) -> float:
        """Where a momentum lies on the axis."""
        return -math.log10(1.0 - momentum) if self.is_log else momentum


def momentum_axis(momenta: Sequence[float]) -> MomentumAxis:
    """The axis for these momenta; plain where one is 1 or more, or negative."""
    if any(not 0.0 <= momentum < 1.0 for momentum in momenta):
        return MomentumAxis(title="momentum", ticks={}, is_log=False)
    top = max([0.9, *momenta])
    shown = [tick for tick in _MOMENTUM_TICKS if tick <= 1 - (1 - top) / 1.3]
    places = [-math.log10(1.0 - tick) for tick in shown]
    reach = -math.log10(1.0 - top)
    layout = {
        "tickvals": places,
        "ticktext": [f"{tick:g}" for tick in shown],
        "range": [-0.06 * reach, 1.06 * reach],
    }
    return MomentumAxis(title="momentum (log scale of 1 − momentum)", ticks=layout, is_log=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class LogColours:
    """Colours for values: by their logarithm where all are positive, else by themselves."""

    low: float | None  # already on the scale; None without values
    high: float
    is_log: bool
    steps: int | None  # how many colours; None for as many as there are values
    scale: list[list[Any]]

    @staticmethod
    def of(values: Sequence[float | None], *, steps: int | None, reverse: bool = False) -> LogColours:
        """Colours from the smallest value to the largest; without ``steps`` the worst tenth shares one."""
        known = sorted(value for value in values if value is not None and math.isfinite(value))
        is_log = bool(known) and known[0] > 0
        placed = [math.log10(value) if is_log else value for value in known]
        ends = (placed[0], placed[-1]) if placed else (None, 0.0)
        if placed and steps is None:
            tenth = len(placed) // 10
            ends = (placed[tenth], placed[-1]) if reverse else (placed[0], placed[-1 - tenth])
        points = [index / 20 for index in range(21)]
        colours = sample_colorscale(_SCALE, [_LIGHTEST * point for point in points])
        if reverse:
            colours = colours[::-1]
        scale = [[point, colour] for point, colour in zip(points, colours, strict=True)]
        return LogColours(low=ends[0], high=ends[1], is_log=is_log, steps=steps, scale=scale)

    def place(self, value: float) -> float:
        """Where a value lies on the scale."""
        return math.log10(value) if self.is_log else value

    def bin(self, value: float | None) -> int:
        """Which of the ``steps`` colours a value has; -1 for none."""
        if value is None or self.low is None or self.steps is None:
            return -1
        width = (self.high - self.low) or 1.0
        return min(self.steps - 1, int(self.steps * (self.place(value) - self.low) / width))

    def colour(self, bin_: int) -> str:
        """The colour of a bin."""
        if bin_ < 0 or self.steps is None:
            return _NO_VALUE
        return str(sample_colorscale(self.scale, [(bin_ + 0.5) / self.steps])[0])

    def markers(self, values: Sequence[float | None]) -> dict[str, Any]:
        """Marker colours of these values; grey where there is none."""
        places = [None if value is None else self.place(value) for value in values]
        if self.low is None or any(place is None for place in places):
            return {"color": _NO_VALUE}
        return {"color": places, "colorscale": self.scale, "cmin": self.low, "cmax": self.high}

    def bar(self, title: str) -> Any:
        """A trace without points that brings the colour bar."""
        low = self.low if self.low is not None else 0.0
        high = self.high if self.high > low else low + 1e-9
        bar: dict[str, Any] = {
            "title": {"text": f"{title}{'<br>(log scale)' if self.is_log else ''}", "side": "top"},
            "thickness": 14,
            "outlinewidth": 0,
            "ticks": "outside",
        }
        if self.is_log:
            values, texts = _ticks(10**low, 10**high)
            inside = [
                (math.log10(value), text)
                for value, text in zip(values, texts, strict=True)
                if low <= math.log10(value) <= high
            ]
            if len(inside) < 2:
                inside = (
                    [(low, short(10**low)), (high, short(10**high))]
                    if self.high > low
                    else [(low, short(10**low))]
                )
            bar |= {"tickvals": [place for place, _ in inside], "ticktext": [text for _, text in inside]}
        marker = {
            "color": [low],
            "colorscale": self.scale,
            "cmin": low,
            "cmax": high,
            "showscale": True,
            "colorbar": bar,
        }
        return go.Scatter(
            x=[None], y=[None], mode="markers", marker=marker, showlegend=False, hoverinfo="skip"
        )
