"""The chart of a learning-rate range test: loss against learning rate. Pure: a test in, a figure out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import plotly.graph_objects as go

from dashboards.chart_axes import decades
from dashboards.chart_dress import dress
from sweeps.range_test_words import momentum_words, range_test_words
from sweeps.records import SweepRow

_COLOURS = ("#1c7ed6", "#e8590c", "#2b8a3e", "#862e9c", "#c2255c", "#5f3dc4", "#0b7285", "#e67700")
_SHADE = "rgba(134, 142, 150, 0.14)"
_HIGHEST = 2.0  # times the loss before training: beyond it a curve leaves the picture

Finding = Mapping[str, Any]


def range_test_figures(sweep: SweepRow) -> dict[str, Any]:
    """A figure by name for each optimizer that was tested; none where the sweep had no test."""
    tests = ((sweep.plan or {}).get("range_test") or {}).get("tests", [])
    alone = len(tests) == 1
    return {
        "range_test" if alone else f"range_test_{test['optimizer'].replace('#', '_')}": range_test_figure(
            sweep, test
        )
        for test in tests
    }


def range_test_figure(sweep: SweepRow, test: Mapping[str, Any]) -> Any:
    """Loss against learning rate, a line for each momentum, with what was found and what is searched."""
    assert sweep.plan is not None  # noqa: S101 - the test stands in it
    figure = go.Figure()
    for index, finding in enumerate(test["findings"]):
        _add_momentum(figure, finding, _COLOURS[index % len(_COLOURS)])
    title = f"{escape(sweep.name)}: learning-rate range test of {escape(test['optimizer'])}"
    dress(figure, title, _subtitle(sweep.plan))
    ends = [test["low"], test["high"]]
    figure.update_xaxes(title="learning rate (log scale)", **decades(ends))
    losses = _losses(test["findings"])
    if losses and min(losses) > 0:
        figure.update_yaxes(title="training loss (log scale)", **decades(losses))
    elif losses:
        figure.update_yaxes(title="training loss", range=[min(losses), max(losses)])
    name, place = f"{test['optimizer']}.lr", sweep.plan["range_test"]
    if name not in place["effective"]:  # those are no learning rates
        low, high = place["searched"].get(name, ends)
        figure.add_vrect(x0=low, x1=high, fillcolor=_SHADE, line_width=0, layer="below")
    return figure


def _add_momentum(figure: Any, finding: Finding, colour: str) -> None:
    name = momentum_words(finding) or "no momentum"
    rise, held = finding["rise"], [point for point in finding["held"] if point[1] is not None]
    figure.add_trace(
        go.Scatter(
            x=[rate for rate, _ in rise],
            y=[loss for _, loss in rise],
            mode="lines",
            name=name,
            line={"color": colour, "width": 2},
            hovertemplate=f"{name}, rising<br>lr %{{x:.3g}}: %{{y:.4g}}<extra></extra>",
        )
    )
    figure.add_trace(
        go.Scatter(
            x=[rate for rate, _ in held],
            y=[loss for _, loss in held],
            mode="markers",
            name=f"{name}, rates held",
            marker={"color": colour, "symbol": "circle-open", "size": 7, "line": {"width": 1.5}},
            hovertemplate=f"{name}, held<br>lr %{{x:.3g}}: ends with %{{y:.4g}}<extra></extra>",
        )
    )
    if finding["steepest"] is not None:
        nearest = min(rise, key=lambda point: abs(math.log(point[0] / finding["steepest"])))
        figure.add_trace(
            go.Scatter(
                x=[finding["steepest"]],
                y=[nearest[1]],
                mode="markers",
                showlegend=False,
                marker={"color": colour, "symbol": "diamond", "size": 11},
                hovertemplate=f"{name}<br>falls fastest at lr %{{x:.3g}}<extra></extra>",
            )
        )
    if finding["edge"] is not None:
        figure.add_vline(x=finding["edge"], line={"color": colour, "width": 1.5, "dash": "dash"})


def _subtitle(plan: Mapping[str, Any]) -> str:
    searched = [sentence for sentence in range_test_words(plan) if " is searched from " in sentence]
    return (
        "Lines: the rate rises during a training. Circles: what rates end with that are held from the start. "
        "Diamonds: steepest descent. Dashed: edge. "
        f"Grey: searched.<br>{escape('; '.join(searched))}"
    )


def _losses(findings: Sequence[Finding]) -> list[float]:
    """What the picture has room for."""
    most = _HIGHEST * max(
        (finding["start"] for finding in findings if finding["start"] is not None), default=1.0
    )
    points = [loss for finding in findings for _, loss in (*finding["rise"], *finding["held"])]
    return [loss for loss in points if loss is not None and loss <= most]
