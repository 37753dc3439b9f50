"""Charts: a sweep's curves and settings as plotly figures. Pure: records in, figure out."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any

import plotly.graph_objects as go

from dashboards.chart_axes import LogColours, decades, momentum_axis, short
from dashboards.run_content import best_trial
from sweeps.records import OPEN_STATES, Measurement, SweepRow, TrialRow, TrialState

_BINS = 32  # colours of the curves: one trace each, however many trials there are
_MOST_POINTS = 40_000  # beyond it a browser gets slow: every n-th epoch is drawn then
_INK, _MUTED, _GRID, _ACCENT, _ALARM = "#1f2933", "#62707f", "#e6eaee", "#d6336c", "#e03131"
_FONT = "Inter, Segoe UI, Helvetica Neue, Arial, sans-serif"
_COLOURS = "Viridis"


def page(figure: Any) -> str:
    """The figure as a page of its own that needs no network."""
    configuration = {"displaylogo": False, "responsive": True, "toImageButtonOptions": {"scale": 2}}
    return str(
        figure.to_html(include_plotlyjs=True, full_html=True, config=configuration, default_height="100vh")
    )


def curves_figure(sweep: SweepRow, trials: Sequence[TrialRow], measurements: Sequence[Measurement]) -> Any:
    """All validation curves on one axis, coloured by learning rate, with the best and the diverged marked."""
    curves = {
        number: [(m.epoch, value) for m in rows if (value := _metric(sweep, m)) is not None]
        for number, rows in groupby(measurements, key=lambda m: m.number)
    }
    momenta = _peak_momenta(measurements)
    shown = [trial for trial in trials if curves.get(trial.number)]
    values = [value for curve in curves.values() for _, value in curve]
    is_log = bool(values) and min(values) > 0
    figure = go.Figure()
    best = best_trial(sweep, shown)
    colours = LogColours.of([_rate(trial) for trial in shown], steps=_BINS)
    hovers = {trial.number: _hover(sweep, trial, momenta.get(trial.number)) for trial in shown}
    thinned = {trial.number: _thin(curves[trial.number], len(values)) for trial in shown}
    for bin_, members in _binned(shown, colours):
        _add_curves(figure, [(thinned[t.number], hovers[t.number]) for t in members], colours.colour(bin_))
    _add_ends(figure, sweep, shown, curves, hovers)
    if best is not None:
        _add_best_curve(figure, curves[best.number], hovers[best.number], best.number)
    if colours.low is not None:
        figure.add_trace(colours.bar("learning rate"))
    _dress(
        figure, f"{sweep.name}: {_metric_name(sweep)} of every trial", _curves_subtitle(sweep, shown, best)
    )
    figure.update_xaxes(title="epoch", rangemode="tozero", tickformat="d")
    figure.update_yaxes(title=f"{_metric_name(sweep)}{' (log scale)' if is_log else ''}")
    if is_log:
        figure.update_yaxes(**decades(values, clip=True))
    if not shown:
        _say_nothing(figure, "No trial has finished an epoch yet.")
    return figure


def scatter_figure(
    sweep: SweepRow, trials: Sequence[TrialRow], measurements: Sequence[Measurement] = ()
) -> Any:
    """Learning rate against momentum, coloured by result. Measurements tell momentum where a schedule sets it."""
    momenta = _peak_momenta(measurements)
    placed = [
        (trial, rate, _momentum(trial, momenta)) for trial in trials if (rate := _rate(trial)) is not None
    ]
    figure = go.Figure()
    axis = momentum_axis([momentum for _, _, momentum in placed])
    valued = [t for t, _, _ in placed if t.value is not None]
    colours = LogColours.of([t.value for t in valued], steps=None, reverse=sweep.goal == "maximize")
    for label, states, marker in _MARKS:
        members = [place for place in placed if place[0].state in states]
        if not members:
            continue
        figure.add_trace(
            go.Scatter(
                x=[rate for _, rate, _ in members],
                y=[axis.place(momentum) for _, _, momentum in members],
                mode="markers",
                name=f"{label} ({len(members)})",
                marker=marker
                | (colours.markers([t.value for t, _, _ in members]) if marker["color"] is None else {}),
                text=[_hover(sweep, trial, momentum) for trial, _, momentum in members],
                hovertemplate="%{text}<extra></extra>",
            )
        )
    best = best_trial(sweep, [trial for trial, _, _ in placed])
    if best is not None:
        rate, momentum = next((rate, m) for trial, rate, m in placed if trial is best)
        _mark_best(figure, rate, axis.place(momentum), best.number)
    if colours.low is not None:
        figure.add_trace(colours.bar(_metric_name(sweep)))
    title = f"{sweep.name}: {_metric_name(sweep)} by learning rate and momentum"
    _dress(figure, title, _scatter_subtitle(sweep, [trial for trial, _, _ in placed], best))
    figure.update_xaxes(title="peak learning rate (log scale)", **decades([rate for _, rate, _ in placed]))
    figure.update_yaxes(title=axis.title, **axis.ticks)
    if not placed:
        _say_nothing(figure, "No trial has a learning rate yet.")
    return figure


_MARKS: tuple[tuple[str, frozenset[TrialState], dict[str, Any]], ...] = (
    (
        "cancelled",
        frozenset({TrialState.cancelled}),
        {"symbol": "line-ew-open", "size": 9, "color": "#9aa5b1"},
    ),
    ("open", OPEN_STATES, {"symbol": "circle-open", "size": 8, "color": "#9aa5b1"}),
    (
        "pruned",
        frozenset({TrialState.pruned}),
        {"symbol": "triangle-down", "size": 8, "color": None, "opacity": 0.75},
    ),
    (
        "finished",
        frozenset({TrialState.finished}),
        {"symbol": "circle", "size": 11, "color": None, "line": {"width": 1, "color": "white"}},
    ),
    (
        "diverged",
        frozenset({TrialState.diverged}),
        {"symbol": "x-thin", "size": 8, "color": _ALARM, "line": {"width": 1.8, "color": _ALARM}},
    ),
    (
        "failed",
        frozenset({TrialState.failed}),
        {"symbol": "square-open", "size": 9, "color": _INK, "line": {"width": 1.8}},
    ),
)


def _metric_name(sweep: SweepRow) -> str:
    return {"val_loss": "validation loss", "train_loss": "training loss"}.get(
        sweep.metric, sweep.metric.replace("val_", "validation ").replace("_", " ")
    )


def _metric(sweep: SweepRow, shown: Measurement) -> float | None:
    own = {"val_loss": shown.val_loss, "train_loss": shown.train_loss}
    value = own.get(sweep.metric, shown.extra.get(sweep.metric))
    return value if value is not None and math.isfinite(value) else None


def _rate(trial: TrialRow) -> float | None:
    rate = trial.peak_lr if trial.peak_lr is not None else trial.lr
    return rate if rate is not None and rate > 0 else None


def _momentum(trial: TrialRow, measured: Mapping[int, float]) -> float:
    """The trial's momentum, or largest beta1; 0 where its optimizer was given none."""
    if trial.momentum is not None:
        return trial.momentum
    betas = trial.setting.get("betas")
    return measured.get(trial.number, betas[0] if isinstance(betas, list | tuple) else 0.0)


def _peak_momenta(measurements: Iterable[Measurement]) -> dict[int, float]:
    peaks: dict[int, float] = {}
    for shown in measurements:
        if shown.momentum is not None:
            peaks[shown.number] = max(shown.momentum, peaks.get(shown.number, shown.momentum))
    return peaks


def _hover(sweep: SweepRow, trial: TrialRow, momentum: float | None) -> str:
    momentum = trial.momentum if trial.momentum is not None else momentum
    lines = [f"<b>trial {trial.number}</b> · {trial.state}", f"{trial.optimizer}, {trial.schedule}"]
    lines.append(f"learning rate {short(_rate(trial))}, momentum {short(momentum)}")
    if trial.value is not None:
        lines.append(f"{_metric_name(sweep)} {short(trial.value)} at epoch {trial.epochs_done}")
    if trial.state is TrialState.diverged and trial.detail and "step" in trial.detail:
        lines.append(f"diverged at update {trial.detail['step']}")
    if trial.cause:
        lines.append(f"cause: {trial.cause}")
    return "<br>".join(lines)


def _thin(curve: list[tuple[int, float]], points: int) -> list[tuple[int, float]]:
    """Every n-th epoch and the last, where all points together are too many to draw."""
    step = max(1, math.ceil(points / _MOST_POINTS))
    return curve if step == 1 else [*curve[:-1:step], curve[-1]]


def _binned(trials: Sequence[TrialRow], colours: LogColours) -> list[tuple[int, list[TrialRow]]]:
    bins: dict[int, list[TrialRow]] = {}
    for trial in trials:
        bins.setdefault(colours.bin(_rate(trial)), []).append(trial)
    return sorted(bins.items())


def _add_curves(figure: Any, curves: Iterable[tuple[list[tuple[int, float]], str]], colour: str) -> None:
    xs: list[int | None] = []
    ys: list[float | None] = []
    texts: list[str | None] = []
    for curve, hover in curves:
        xs += [epoch for epoch, _ in curve] + [None]  # a gap between this curve and the next
        ys += [value for _, value in curve] + [None]
        texts += [hover] * len(curve) + [None]
    figure.add_trace(
        go.Scatter(
            x=xs,
            y=ys,
            text=texts,
            mode="lines",
            line={"color": colour, "width": 1.2},
            opacity=0.6,
            showlegend=False,
            hovertemplate="%{text}<br>epoch %{x}: %{y:.5g}<extra></extra>",
        )
    )


def _add_ends(
    figure: Any,
    sweep: SweepRow,
    trials: Sequence[TrialRow],
    curves: Mapping[int, list[tuple[int, float]]],
    hovers: Mapping[int, str],
) -> None:
    """Where curves end early, and why. One of a single epoch would not be seen otherwise."""
    for label, states, marker in _MARKS:
        is_early = states & {TrialState.diverged, TrialState.failed, TrialState.pruned}
        members = [t for t in trials if t.state in states and (is_early or len(curves[t.number]) == 1)]
        if not members:
            continue
        ends = [curves[t.number][-1] for t in members]
        figure.add_trace(
            go.Scatter(
                x=[epoch for epoch, _ in ends],
                y=[value for _, value in ends],
                mode="markers",
                name=f"{label} ({sum(t.state in states for t in trials)})",
                marker=marker | {"size": 6} | ({"color": _MUTED} if marker["color"] is None else {}),
                text=[hovers[t.number] for t in members],
                hovertemplate="%{text}<extra></extra>",
            )
        )


def _add_best_curve(figure: Any, curve: list[tuple[int, float]], hover: str, number: int) -> None:
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


def _mark_best(figure: Any, x: float, y: float, number: int) -> None:
    figure.add_trace(
        go.Scatter(
            x=[x],
            y=[y],
            mode="markers",
            name=f"best: trial {number}",
            marker={"symbol": "circle-open", "size": 20, "color": _ACCENT, "line": {"width": 3}},
            hoverinfo="skip",
        )
    )


def _counted(trials: Sequence[TrialRow]) -> str:
    counts = {state: sum(trial.state is state for trial in trials) for state in TrialState}
    return ", ".join(f"{count} {state}" for state, count in counts.items() if count)


def _best_told(sweep: SweepRow, best: TrialRow | None) -> str:
    if best is None:
        return "No trial has finished yet."
    return (
        f"Best: trial {best.number} with {_metric_name(sweep)} {short(best.value)} ({best.optimizer}, "
        f"{best.schedule}, learning rate {short(_rate(best))})."
    )


def _curves_subtitle(sweep: SweepRow, trials: Sequence[TrialRow], best: TrialRow | None) -> str:
    return (
        f"One line per trial, coloured by its largest learning rate: {_counted(trials) or 'none yet'}."
        f"<br>{_best_told(sweep, best)}"
    )


def _scatter_subtitle(sweep: SweepRow, trials: Sequence[TrialRow], best: TrialRow | None) -> str:
    goal = "highest" if sweep.goal == "maximize" else "lowest"
    return (
        f"One mark per trial, the {goal} {_metric_name(sweep)} darkest: {_counted(trials) or 'none yet'}."
        f"<br>{_best_told(sweep, best)}"
    )


def _dress(figure: Any, title: str, subtitle: str) -> None:
    figure.update_layout(
        title={
            "text": title,
            "subtitle": {"text": subtitle, "font": {"size": 13, "color": _MUTED}},
            "x": 0.0,
            "xref": "paper",
            "xanchor": "left",
            "font": {"size": 20, "color": _INK},
        },
        template="plotly_white",
        font={"family": _FONT, "size": 13, "color": _INK},
        margin={"l": 80, "r": 30, "t": 120, "b": 90},
        legend={"orientation": "h", "x": 0.0, "y": -0.13, "yanchor": "top", "font": {"size": 12}},
        hoverlabel={"bgcolor": "white", "bordercolor": _GRID, "font": {"color": _INK}, "align": "left"},
    )
    line = {
        "showline": True,
        "linecolor": "#b8c2cc",
        "gridcolor": _GRID,
        "zeroline": False,
        "ticks": "outside",
    }
    figure.update_xaxes(**line, tickcolor="#b8c2cc")
    figure.update_yaxes(**line, tickcolor="#b8c2cc")


def _say_nothing(figure: Any, text: str) -> None:
    figure.update_xaxes(range=[0, 1])
    figure.add_annotation(
        text=text,
        x=0.5,
        y=0.5,
        xref="paper",
        yref="paper",
        showarrow=False,
        font={"size": 16, "color": _MUTED},
    )
