"""Ended settings: what was chosen for them, where that stands on its axes, and what it came to. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from dashboards.relevance import Dimension
from search_spaces.axes import position_of
from search_spaces.ranges import Choice, Numeric, Value
from search_spaces.space import SearchSpace, dimensions
from sweeps.records import Proposal, TrialRow, TrialState

Told = Mapping[str, Value]
"""What was chosen for a setting, by dimension; an option by its index."""


def ended_settings(
    space: SearchSpace, trials: Sequence[TrialRow], proposals: Sequence[Proposal]
) -> list[tuple[Told, float]]:
    """Settings that ended with a result or diverged: what was chosen for them, and the result.

    Lower is better; with several seeds the mean of the finished trials, inf where one diverged. Pruned trials
    would have come to something else, so their settings are left out. With branches a proposal is one
    setting, and its result that of its best branch.
    """
    from sweeps.parameters import value_of

    sign = 1.0 if space.metric.goal == "minimize" else -1.0
    by_setting: dict[int, list[TrialRow]] = {}
    for trial in trials:
        by_setting.setdefault(trial.setting_index, []).append(trial)
    ranges = dimensions(space)
    found: dict[object, tuple[Told, float]] = {}
    nothing: tuple[Told, float] = ({}, math.inf)
    for proposal in proposals:
        result = _result(by_setting.get(proposal.index, ()), sign)
        if result is None:
            continue
        told = {
            name: value_of(ranges[name], parameter)
            for name, parameter in proposal.parameters.items()
            if name in ranges
        }
        key: object = proposal.index
        if space.branches:
            told.pop("schedule", None)
            grid = space.sampler == "grid"
            key = tuple(sorted(told.items())) if grid else proposal.index // len(space.schedules)
        before = found.get(key, nothing)
        found[key] = ({**before[0], **told}, min(before[1], result))
    return list(found.values())


def _result(trials: Sequence[TrialRow], sign: float) -> float | None:
    if any(trial.state is TrialState.diverged for trial in trials):
        return math.inf
    values = [trial.value for trial in trials if trial.state is TrialState.finished]
    known = [value for value in values if value is not None]
    if not known or any(trial.state is TrialState.pruned for trial in trials):
        return None
    return sign * sum(known) / len(known)


def dimension_of(name: str, range_: Numeric | Choice, settings: Sequence[tuple[Told, float]]) -> Dimension:
    """Positions of one dimension in all settings."""
    values = [told.get(name) for told, _ in settings]
    return Dimension(
        name=name,
        positions=tuple(None if value is None else _position(range_, value) for value in values),
        is_choice=isinstance(range_, Choice),
    )


def _position(range_: Numeric | Choice, value: Value) -> float:
    number = float(str(value))
    return number if isinstance(range_, Choice) else position_of(range_, number)
