"""Optuna's Gaussian process in a space where some parameters are there only beside others.

GPSampler models what every finished trial has, and draws the rest at random: with one schedule that sets
the learning rate itself, or with two optimizers, that is every learning rate. Here a parameter that only
some trials have is modelled together with those that occur in the same trials, as TPE's ``group`` does.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import AbstractContextManager
from typing import Any

from optuna import Study
from optuna.distributions import BaseDistribution
from optuna.samplers import GPSampler
from optuna.trial import FrozenTrial, TrialState

Narrowed = Callable[[Collection[str]], AbstractContextManager[None]]
"""Inside the ``with`` the study has those trials only that have all parameters of these names."""


class ConditionalGP(GPSampler):
    """Proposes one trial; another needs another sampler."""

    def __init__(self, *, seed: int, startup: int, narrowed: Narrowed) -> None:
        """``startup``: a group is drawn at random until so many trials with it have finished."""
        super().__init__(seed=seed, n_startup_trials=startup, warn_independent_sampling=False)
        self._narrowed = narrowed
        self._modelled: set[str] = set()  # parameters whose group has had its turn
        self._found: dict[str, Any] = {}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """A parameter that some finished trials do not have: its whole group's model is asked for it."""
        if param_name not in self._modelled:
            group = _group(study, param_name)
            self._modelled |= {param_name, *group}
            if group:
                with self._narrowed(group):
                    self._found |= self.sample_relative(study, trial, group)
        if param_name in self._found:
            return self._found[param_name]
        return super().sample_independent(study, trial, param_name, param_distribution)


def _group(study: Study, name: str) -> dict[str, BaseDistribution]:
    """Parameters that finished trials have exactly where they have ``name``; empty where none has it."""
    trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    having = [trial for trial in trials if name in trial.distributions]
    if not having or len(having) == len(trials):
        return {}  # what all have is modelled before anything is asked for
    elsewhere = {
        other for trial in trials if name not in trial.distributions for other in trial.distributions
    }
    return {
        other: distribution
        for other, distribution in sorted(having[0].distributions.items())
        if other not in elsewhere
        and not distribution.single()
        and all(other in trial.distributions for trial in having)
    }
