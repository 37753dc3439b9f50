"""The regret bound: Optuna's terminator, asked now and then while workers train.

A Gaussian process over the ranges that all settings have bounds how much better than the best setting any
other may be (Makarova et al. 2022, https://proceedings.mlr.press/v188/makarova22a.html). What that is small
against there comes from a cross-validation's spread; here it is a share of the best value.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from search_spaces.space import SearchSpace, dimensions
from sweeps.entries import SettingEntry
from sweeps.errors import RavineError
from sweeps.parameters import distribution_of
from sweeps.terminators import EndedSetting

MOST_MODELLED = 200  # of the best settings; the bound is fitted to the better half of them


class TerminatorUnavailable(RavineError):
    """The installed Optuna has no terminator."""


class RegretBound:
    """Enough where the bound on what is still to be gained is below a share of the best value."""

    def __init__(self, space: SearchSpace) -> None:
        """Nothing has finished yet. Raises TerminatorUnavailable."""
        _evaluator(0)
        self._terminator = space.terminator
        self._seed = space.seed % 2**32
        self._sign = 1.0 if space.metric.goal == "minimize" else -1.0
        self._distributions = {name: distribution_of(range_) for name, range_ in dimensions(space).items()}
        self._finished: dict[int, tuple[Mapping[str, Any], float]] = {}
        self._looked_at = 0  # finished settings at the last look that was decided upon
        self._seen: tuple[int, float] | None = None  # a look that has not been decided upon: settings, bound

    def restore(self, kept: Mapping[str, Any], ended: Sequence[EndedSetting]) -> None:
        """Go on from the last look that was decided upon."""
        self._looked_at = kept.get("looked_at", 0)
        for setting, value in ended:
            self.ended(setting, str(setting.end), value)

    def ended(self, setting: SettingEntry, how: str, value: float | None) -> None:
        """Remember a setting that finished."""
        if how == "finished" and value is not None:
            self._finished[setting.index] = setting.parameters, value

    def look(self) -> None:
        """Bound what is still to be gained, where enough settings have finished since the last look."""
        count = len(self._finished)
        due = max(self._terminator.settings, self._looked_at + self._terminator.every)
        if count >= due and self._seen is None:
            self._seen = count, self._bound()

    def decide(self) -> str | None:
        """What the last look says."""
        if self._seen is None:
            return None
        (count, bound), self._seen = self._seen, None
        self._looked_at = count
        best = min(self._sign * value for _, value in self._finished.values())
        least = self._terminator.by * abs(best)
        if bound >= least:
            return None
        return (
            f"after {count:,} finished settings Optuna's bound on what is still to be gained is {bound:.3g}, "
            f"below {self._terminator.by:.3g} of the best value {self._sign * best:.6g}"
        )

    def to_plain(self) -> dict[str, Any]:
        """When it looked last."""
        return {"looked_at": self._looked_at} if self._looked_at else {}

    def _bound(self) -> float:
        from optuna.study import StudyDirection
        from optuna.trial import create_trial

        ranked = sorted((self._sign * value, index) for index, (_, value) in self._finished.items())
        trials = []
        for index in sorted(index for _, index in ranked[:MOST_MODELLED]):
            parameters, value = self._finished[index]
            distributions = {name: self._distributions[name] for name in parameters}
            trials.append(create_trial(params=dict(parameters), distributions=distributions, value=value))
        direction = StudyDirection.MINIMIZE if self._sign > 0 else StudyDirection.MAXIMIZE
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about being experimental
            return float(_evaluator(self._seed).evaluate(trials, direction))


def _evaluator(seed: int) -> Any:
    """Optuna's own; its module is to leave Optuna with version 6."""
    try:
        from optuna.terminator import RegretBoundEvaluator
    except ImportError as error:
        raise TerminatorUnavailable(
            "terminator optuna: the installed Optuna has no optuna.terminator any more; use no_improvement, "
            "or an Optuna before version 6"
        ) from error
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return RegretBoundEvaluator(seed=seed)
