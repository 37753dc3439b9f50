"""Budget words: what a sweep may use, beside what it would cost at most, in words for people."""

from __future__ import annotations

from collections.abc import Iterator

from dashboards.live_view import duration
from search_spaces.errors import counted
from search_spaces.limits import SECONDS_PER_HOUR
from search_spaces.space import SearchSpace
from sweeps.ends import epochs_of_a_setting, epochs_to_confirm


def budget_lines(
    space: SearchSpace, *, epochs: int, epoch_seconds: float | None, workers: int
) -> Iterator[str]:
    """A line for each limit, and one for the terminator.

    ``epochs``: what all settings train at most, rows that trials share counted once; ``epoch_seconds``: what
    one takes a worker, None where that is not measured; ``workers``: how many there would be here.
    """
    limits = space.budget
    if limits.epochs is not None:
        each, kept = epochs_of_a_setting(space), epochs_to_confirm(space)
        more = "" if space.pruner.name == "none" else ", more where some are pruned"
        settings = counted((limits.epochs - kept) // each, "setting")
        beside = f" beside the {kept:,} that are kept for confirming" if kept else ""
        yield _line(
            f"{limits.epochs:,} trained epochs",
            f"{epochs:,}",
            suffices=limits.epochs >= epochs,
            else_=f"at least {settings} of {each} epochs{beside}{more}",
        )
    device_seconds = None if epoch_seconds is None else epochs * epoch_seconds
    for budget, seconds, rows in (
        ("wall time", limits.wall_seconds, workers),
        ("devices", None if limits.device_hours is None else limits.device_hours * SECONDS_PER_HOUR, 1),
    ):
        if seconds is None:
            continue
        told = f"{duration(seconds)} of {budget}"
        if device_seconds is None:
            yield f"budget: {told}; how long an epoch takes is not tried"
            continue
        needed = device_seconds / rows
        part = f"about {min(1.0, seconds / needed):.0%} of the settings".replace("%", " %")
        yield _line(told, f"about {duration(needed)}", suffices=seconds >= needed, else_=part)
    yield from _terminator(space)


def _line(budget: str, at_most: str, *, suffices: bool, else_: str) -> str:
    if suffices:
        return f"budget: {budget} suffice for all settings, which take {at_most} at most"
    return f"budget: {budget}; all settings would take {at_most} at most, so it admits {else_}"


def _terminator(space: SearchSpace) -> Iterator[str]:
    terminator = space.terminator
    share = f"{100 * terminator.by:g} %"
    if terminator.name == "no_improvement":
        yield (
            f"terminator: ends it sooner where none of the last {terminator.settings:,} ended settings was "
            f"better than the best before by more than {share} of it"
        )
    if terminator.name == "optuna":
        yield (
            f"terminator: ends it sooner where Optuna's bound on what is still to be gained is below {share} "
            f"of the best value; asked after {terminator.settings:,} finished settings and every "
            f"{terminator.every:,} from then on"
        )
