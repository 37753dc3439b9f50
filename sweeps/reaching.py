"""Reaching a rung: what a round's outcomes say of the settings that have trained up to an epoch together."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence

from search_spaces.space import SearchSpace
from sweeps.cooldowns import cooled_score
from sweeps.entries import SettingEntry
from sweeps.rungs import Reached
from workers.messages import Measured, Outcome

WORST = sys.float_info.max
"""Loss of a trial whose cooldown diverged: finite, because it is stored."""


def reached_together(
    settings: Sequence[SettingEntry], outcomes: Sequence[Outcome], space: SearchSpace
) -> list[Reached]:
    """The settings all of whose seeds have come to their next epoch, with means over the seeds."""
    measured = {outcome.number: outcome for outcome in outcomes if isinstance(outcome, Measured)}
    found = []
    for setting in settings:
        epoch = setting.heard + 1
        mean = setting.mean(epoch)
        if setting.end is not None or mean is None:
            continue
        its_own = [measured[number] for number in setting.numbers if number in measured]
        spent = [outcome.progress.spent for outcome in its_own if outcome.progress is not None]
        annealing = [outcome.progress.annealing for outcome in its_own if outcome.progress is not None]
        sign = 1.0 if space.metric.goal == "minimize" else -1.0
        cooled = _cooled([outcome.metrics for outcome in its_own], space, sign)
        found.append(
            Reached(
                index=setting.index,
                epoch=epoch,
                loss=sign * mean if cooled is None else cooled,
                spent=_mean(spent),
                annealing=_mean(annealing),
                is_annealed=cooled is not None,
            )
        )
    return found


def _mean(values: Sequence[float]) -> float:
    """0 of none: nothing is known of a schedule, which then has all its credit."""
    return math.fsum(values) / len(values) if values else 0.0


def _cooled(shown: Sequence[Mapping[str, float]], space: SearchSpace, sign: float) -> float | None:
    """Mean loss after the cooldowns of a setting's seeds; None where not all had one."""
    values = [cooled_score(metrics, space) for metrics in shown]
    scores = [value for value in values if value is not None]
    if not scores or len(scores) < len(values):
        return None
    return min(WORST, sign * _mean(scores))
