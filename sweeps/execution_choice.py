"""The choice of stacked or solo, and of the width, by measured speeds: pure arithmetic."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from workers.row_passes import pass_sizes
from workers.speed import CLEARLY, Speeds


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """What a sweep would be shared out to."""

    workers: int
    rows: int  # open trials of the worker that has most


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """How trials are to train."""

    execution: str  # stacked | solo
    width: int  # rows trained at once, where stacked
    why_solo: str | None = None


def choose(speeds: Speeds, *, stacked: Share, solo: Share, least: int) -> Choice:
    """The faster of stacked and solo, each shared out in its own way, and the best width.

    Solo only where all its workers together are :data:`workers.speed.CLEARLY` faster: the two differ in
    their bits, and what is nearly as fast must not depend on noise. ``least``: narrowest width allowed.
    """
    width = best_width(speeds.stacked, stacked.rows, least)
    together = stacked.workers * stacked.rows / seconds_of_step(speeds.stacked, stacked.rows, width)
    if speeds.solo is None or solo.workers * speeds.solo <= CLEARLY * together:
        return Choice(execution="stacked", width=width)
    alone = solo.workers * speeds.solo
    return Choice(
        execution="solo",
        width=width,
        why_solo=f"that is faster here: {alone:,.0f} trial-steps/s solo, {together:,.0f} stacked (measured)",
    )


def best_width(stacked: Mapping[int, float], rows: int, least: int) -> int:
    """The width at which one step of ``rows`` trials is done soonest; of equal ones the narrowest passes."""
    widest = max(stacked)
    allowed = {least, min(max(rows, least), max(widest, least))}
    allowed |= {width for width in stacked if least <= width < rows}
    return min(
        allowed,
        key=lambda width: (seconds_of_step(stacked, rows, width), pass_sizes(rows, width)[0], -width),
    )


def seconds_of_step(stacked: Mapping[int, float], rows: int, width: int) -> float:
    """Seconds of one step of ``rows`` trials, trained about ``width`` at a time."""
    return sum(_seconds_of_pass(stacked, passed) for passed in pass_sizes(rows, width))


def _seconds_of_pass(stacked: Mapping[int, float], rows: int) -> float:
    """Between two measured widths along the line that joins them; fewer than the least are padded to it."""
    widths = sorted(stacked)
    if rows <= widths[0]:
        return widths[0] / stacked[widths[0]]
    if rows >= widths[-1]:
        return rows / stacked[widths[-1]]
    above = next(width for width in widths if width >= rows)
    below = widths[widths.index(above) - 1]
    share = (rows - below) / (above - below)
    return (1 - share) * below / stacked[below] + share * above / stacked[above]


def told_of_width(plan: Mapping[str, object], speeds: Speeds, *, remembered: bool) -> str:
    """The line for people: the width, or solo, and the speeds that speak for it."""
    shown = ", ".join(f"{width}: {speed:,.0f}" for width, speed in speeds.stacked.items())
    solo = "" if speeds.solo is None else f"; solo {speeds.solo:,.0f}"
    ways = "" if speeds.compared is None else f"; convolutions {speeds.convolutions}"
    found = "remembered" if remembered else "measured"
    how = f"width {plan['width']}" if plan["execution"] == "stacked" else "solo"
    return f"{how} ({found}: {shown} trial-steps/s{solo}{ways})"


def even_share(concurrency: int, workers: int) -> Share:
    """``concurrency`` open trials over ``workers``."""
    return Share(workers=workers, rows=math.ceil(concurrency / workers))
