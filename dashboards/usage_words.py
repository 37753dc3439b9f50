"""Usage words: how well a sweep used what it had, in words for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

WIDTH_KEYS = frozenset({"width", "speeds", "solo_speed"})  # of an execution plan, told by :func:`width_words`


def epochs_words(asked: int, trained: int) -> str:
    """``192 trained``, or how many were asked for and how many trained.

    Fewer where trials shared some, more where copies of them were cooled down.
    """
    if trained == asked or trained <= 0:
        return f"{asked:,} trained"
    if trained > asked:
        return f"{asked:,} asked for, {trained:,} trained, those of cooldowns among them"
    return (
        f"{asked:,} asked for, {trained:,} trained: what trials have in common was trained once "
        f"({asked / trained:.2f}x)"
    )


def slots_words(usage: Mapping[str, float] | None) -> str | None:
    """How full the slots were while there was something to fill them with; None where that is unknown."""
    occupied = (usage or {}).get("slot_occupancy")
    if usage is None or occupied is None:
        return None
    lagging = usage.get("slot_lag_share", 0.0)
    told = f"{_percent(occupied)} occupied while settings were left to try"
    return f"{told}; {_percent(lagging)} waited for a trial's end to be heard of" if lagging else told


def idle_words(usage: Mapping[str, float] | None) -> str | None:
    """How long the workers did nothing; None where that is unknown."""
    idle = (usage or {}).get("device_idle_share")
    return None if idle is None else f"idle {_percent(idle)} of the time since their first orders"


def width_words(plan: Mapping[str, Any]) -> str | None:
    """How many trials a worker trains at once, and the speeds that speak for it; None where none is known."""
    stacked = plan.get("execution") == "stacked"
    if stacked and "width" not in plan:
        return None
    told = (
        f"{plan['width']} trials at once in each worker" if stacked else "one trial at a time in each worker"
    )
    speeds = [f"{width}: {speed:,.0f}" for width, speed in plan.get("speeds", {}).items()]
    if "solo_speed" in plan:
        speeds.insert(0, f"alone: {plan['solo_speed']:,.0f}")
    return f"{told}; measured, in trial-steps/s: {', '.join(speeds)}" if speeds else told


def _percent(share: float) -> str:
    return f"{share:.1%}".replace("%", " %")
