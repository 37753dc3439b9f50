"""Charts: a sweep's curves and settings as plotly figures. Pure: records in, figure out."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from itertools import groupby
from typing import Any

import plotly.graph_objects as go

from dashboards.chart_axes import Colours, decades, epoch_axis, momentum_axis
from dashboards.chart_dress import INK, MUTED, dress
from dashboards.chart_words import (
    curves_subtitle,
    hover_text,
    metric_name,
    metric_value,
    peak_momenta,
    peak_rate,
    scatter_subtitle,
    trial_momentum,
)
from sweeps.records import OPEN_STATES, Measurement, SweepRow, TrialRow, TrialState
from sweeps.verdict import best_trial

_BINS = 32  # colours of the curves: one trace each, however many trials there are
_MOST_POINTS = 40_000  # beyond it a browser gets slow: every n-th epoch is drawn then
_ACCENT, _ALARM, _GREY = "#d6336c", "#e03131", "#9aa5b1"

Curve = list[tuple[int, float]]  # epoch and value
_Mark = tuple[str, frozenset[TrialState], dict[str, Any]]  # what a state is called and how it is drawn
_CANCELLED: _Mark = (
    "cancelled",
    frozenset({TrialState.cancelled}),
    {"symbol": "line-ew-open", "size": 9, "color": _GREY},
)
_OPEN: _Mark = ("open", OPEN_STATES, {"symbol": "circle-open", "size": 8, "color": _GREY})
_PRUNED: _Mark = (
    "pruned",
    frozenset({TrialState.pruned}),
    {"symbol": "triangle-down", "size": 8, "opacity": 0.8},
)
_FINISHED: _Mark = (
    "finished",
    frozenset({TrialState.finished}),
    {"symbol": "circle", "size": 11, "line": {"width": 1, "color": "white"}},
)
_DIVERGED: _Mark = (
    "diverged",
    frozenset({TrialState.diverged}),
    {"symbol": "x-thin", "size": 8, "color": _ALARM, "line": {"width": 1.8, "color": _ALARM}},
)
_FAILED: _Mark = (
    "failed",
    frozenset({TrialState.failed}),
    {"symbol": "square-open", "size": 9, "color": INK, "line": {"width": 1.8}},
)


def page(figure: Any) -> str:
    """The figure as a page of its own that needs no network."""
    options = {"displaylogo": False, "responsive": True, "toImageButtonOptions": {"scale": 2}}
    return str(figure.to_html(include_plotlyjs=True, full_html=True, config=options, default_height="100vh"))


def curves_figure(sweep: SweepRow, trials: Sequence[TrialRow], measurements: Sequence[Measurement]) -> Any:
    """All validation curves, coloured by learning rate; the best one and early ends are marked."""
    curves = _curves(sweep, measurements)
    momenta = peak_momenta(measurements)
    shown = [trial for trial in trials if trial.number in curves]
    hovers = {t.number: hover_text(sweep, t, trial_momentum(t, momenta)) for t in shown}
    values = [value for curve in curves.values() for _, value in curve]
    is_log = _is_log(sweep, values)
    best = best_trial(sweep, trials)
    figure = go.Figure()
    colours = Colours.of([peak_rate(trial) for trial in shown], is_log=True)
    bins: dict[int, list[int]] = {}
    for trial in shown:
        bins.setdefault(colours.bin(peak_rate(trial), _BINS), []).append(trial.number)
    for bin_, numbers in sorted(bins.items()):
        _add_curves(
            figure, [(_thin(curves[n], len(values)), hovers[n]) for n in numbers], colours.colour(bin_, _BINS)
        )
    for mark in (_PRUNED, _DIVERGED, _FAILED):
        _add_ends(figure, mark, shown, curves, hovers)
    if best is not None and best.number in curves:
        _add_best_curve(figure, curves[best.number], hovers[best.number], best.number)
    if shown:
        figure.add_trace(colours.bar("peak learning rate"))
    title = f"{escape(sweep.name)}: {metric_name(sweep)} of every trial"
    dress(figure, title, curves_subtitle(sweep, trials, best))
    figure.update_xaxes(**epoch_axis(max((curve[-1][0] for curve in curves.values()), default=sweep.epochs)))
    figure.update_yaxes(title=f"{metric_name(sweep)}{' (log scale)' if is_log else ''}")
    if is_log:
        figure.update_yaxes(**decades(values, clip=True))
    if not shown:
        _say_nothing(figure, "No trial has finished an epoch yet.")
    return figure


def scatter_figure(
    sweep: SweepRow, trials: Sequence[TrialRow], measurements: Sequence[Measurement] = ()
) -> Any:
    """Learning rate against momentum, coloured by result.

    The measurements tell the momentum of trials whose schedule sets it.
    """
    momenta = peak_momenta(measurements)
    rates = {trial.number: rate for trial in trials if (rate := peak_rate(trial)) is not None}
    shown = [trial for trial in trials if trial.number in rates]
    axis = momentum_axis([trial_momentum(trial, momenta) for trial in shown])
    places = {t.number: (rates[t.number], axis.place(trial_momentum(t, momenta))) for t in shown}
    hovers = {t.number: hover_text(sweep, t, trial_momentum(t, momenta)) for t in shown}
    values = [trial.value for trial in shown if trial.value is not None and trial.state not in OPEN_STATES]
    colours = Colours.of(
        values, is_log=_is_log(sweep, values), dark_is_high=sweep.goal == "maximize", shares_worst=True
    )
    figure = go.Figure()
    for label, states, marker in (_CANCELLED, _OPEN, _PRUNED, _FINISHED, _DIVERGED, _FAILED):
        members = [trial for trial in shown if trial.state in states]
        if "color" not in marker:
            marker = marker | colours.markers([trial.value for trial in members])
        _add_marks(figure, f"{label} ({len(members)})", members, places, hovers, marker)
    best = best_trial(sweep, trials)
    if best is not None and best.number in places:
        ring = {"symbol": "circle-open", "size": 20, "color": _ACCENT, "line": {"width": 3}}
        _add_marks(figure, f"best: trial {best.number}", [best], places, hovers, ring)
    if values:
        figure.add_trace(colours.bar(metric_name(sweep)))
    title = f"{escape(sweep.name)}: {metric_name(sweep)} by learning rate and momentum"
    dress(figure, title, scatter_subtitle(sweep, trials, best))
    figure.update_xaxes(title="peak learning rate (log scale)", **decades(list(rates.values())))
    has_betas = any("betas" in trial.setting for trial in shown)
    figure.update_yaxes(title=f"momentum{', for Adam β₁' if has_betas else ''}{axis.scale}", **axis.layout)
    if not shown:
        _say_nothing(figure, "No trial has a learning rate yet.")
    return figure


def _curves(sweep: SweepRow, measurements: Iterable[Measurement]) -> dict[int, Curve]:
    curves = {}
    for number, rows in groupby(measurements, key=lambda row: row.number):
        curve = [(row.epoch, value) for row in rows if (value := metric_value(sweep, row)) is not None]
        if curve:
            curves[number] = curve
    return curves


def _is_log(sweep: SweepRow, values: Sequence[float]) -> bool:
    """A loss falls by factors; what is to grow, say an accuracy, has a ceiling and is read plainly."""
    return sweep.goal != "maximize" and bool(values) and min(values) > 0


def _thin(curve: Curve, points: int) -> Curve:
    """Every n-th epoch and the last, where all points together are too many to draw."""
    step = max(1, math.ceil(points / _MOST_POINTS))
    return curve if step == 1 else [*curve[:-1:step], curve[-1]]


def _add_curves(figure: Any, curves: Iterable[tuple[Curve, str]], colour: str) -> None:
    xs: list[int | None] = []
    ys: list[float | None] = []
    texts: list[str | None] = []
    for curve, hover in curves:
        xs += [*(epoch for epoch, _ in curve), None]  # a gap between this curve and the next
        ys += [*(value for _, value in curve), None]
        texts += [*([hover] * len(curve)), None]
    figure.add_trace(
        go.Scatter(
            x=xs,
            y=ys,
            text=texts,
            mode="lines",
            line={"color": colour, "width": 1.3},
            opacity=0.65,
            showlegend=False,
            hovertemplate="%{text}<br>epoch %{x}: %{y:.5g}<extra></extra>",
        )
    )


def _add_ends(
    figure: Any,
    mark: _Mark,
    trials: Sequence[TrialRow],
    curves: Mapping[int, Curve],
    hovers: Mapping[int, str],
) -> None:
    label, states, marker = mark
    members = [trial for trial in trials if trial.state in states]
    ends = {trial.number: curves[trial.number][-1] for trial in members}
    _add_marks(figure, label, members, ends, hovers, {"color": MUTED} | marker | {"size": 6})


def _add_marks(
    figure: Any,
    name: str,
    trials: Sequence[TrialRow],
    places: Mapping[int, tuple[float, float]],
    hovers: Mapping[int, str],
    marker: Mapping[str, Any],
) -> None:
    if trials:
        figure.add_trace(
            go.Scatter(
                x=[places[trial.number][0] for trial in trials],
                y=[places[trial.number][1] for trial in trials],
                text=[hovers[trial.number] for trial in trials],
                mode="markers",
                name=name,
                marker=marker,
                hovertemplate="%{text}<extra></extra>",
            )
        )


def _add_best_curve(figure: Any, curve: Curve, hover: str, number: int) -> None:
    figure.add_trace(
        go.Scatter(
            x=[epoch for epoch, _ in curve],
            y=[value for _, value in curve],
            mode="lines+markers",
            name=f"best: trial {number}",
            line={"color": _ACCENT, "width": 3},
            marker={"size": 5},
            text=[hover] * len(curve),
            hovertemplate="%{text}<br>epoch %{x}: %{y:.5g}<extra></extra>",
        )
    )


def _say_nothing(figure: Any, text: str) -> None:
    figure.add_annotation(
        text=text,
        x=0.5,
        y=0.5,
        xref="paper",
        yref="paper",
        showarrow=False,
        font={"size": 16, "color": MUTED},
    )
