"""Chart dress: what all figures look like."""

from __future__ import annotations

from typing import Any

INK, MUTED = "#1f2933", "#62707f"
_LINE, _GRID = "#b8c2cc", "#e6eaee"
_FONT = "Inter, Segoe UI, Helvetica Neue, Arial, sans-serif"


def dress(figure: Any, title: str, subtitle: str) -> None:
    """Give a figure its title, the line under it, fonts, margins, legend and plain axes."""
    figure.update_layout(
        title={
            "text": title,
            "subtitle": {"text": subtitle, "font": {"size": 13, "color": MUTED}},
            "x": 0.0,
            "xref": "paper",
            "xanchor": "left",
            "font": {"size": 20, "color": INK},
        },
        template="plotly_white",
        font={"family": _FONT, "size": 13, "color": INK},
        margin={"l": 80, "r": 30, "t": 120, "b": 110},
        showlegend=True,
        legend={
            "orientation": "h",
            "x": 0.0,
            "yref": "container",
            "y": 0.02,
            "yanchor": "bottom",
            "font": {"size": 12},
        },
        hoverlabel={"bgcolor": "white", "bordercolor": _LINE, "font": {"color": INK}, "align": "left"},
    )
    axis = {"showline": True, "linecolor": _LINE, "gridcolor": _GRID, "zeroline": False}
    figure.update_xaxes(**axis, ticks="outside", tickcolor=_LINE)
    figure.update_yaxes(**axis, ticks="outside", tickcolor=_LINE)
