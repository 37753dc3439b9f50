"""Samplers as users write them: each keeps what it has learned in another place of Optuna's study."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from optuna import Study
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.trial import FrozenTrial, TrialState


def at(distribution: BaseDistribution, fraction: float) -> Any:
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices[int(fraction * len(distribution.choices))]
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    value = distribution.low + fraction * (distribution.high - distribution.low)
    return round(value) if isinstance(distribution, IntDistribution) else value


class Bare(BaseSampler):
    """No seed: proposes by the number of the trial."""

    def __init__(self, start: float = 0.0) -> None:
        self.start = start

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return {}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return {}

    def fraction(self, study: Study, trial: FrozenTrial) -> float:
        return self.start + trial.number * 0.37

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return at(param_distribution, self.fraction(study, trial) % 1.0)


class InTrials(Bare):
    """Walks on from what the best trial's system attributes say, as CMA-ES does."""

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        done = [one for one in study.get_trials(deepcopy=False) if one.state == TrialState.COMPLETE]
        best = min(done, key=lambda one: (one.value, one.number), default=None)
        walked = (
            0.0 if best is None else best.system_attrs.get("walk", (0.5, 0))[0]
        )  # other branches have none
        place = (0.0, trial.number) if best is None else (walked + 0.1, best.number)
        study._storage.set_trial_system_attr(trial._trial_id, "walk", place)

    def fraction(self, study: Study, trial: FrozenTrial) -> float:
        attributes = study._storage.get_trial(trial._trial_id).system_attrs
        place = attributes["walk"]
        return float(place[0]) + 0.01 * int(place[1])


class InStudy(Bare):
    """Counts what it was asked for in the study's own attributes."""

    def fraction(self, study: Study, trial: FrozenTrial) -> float:
        asked = [*study.user_attrs.get("asked", ()), trial.number]
        study.set_user_attr("asked", asked[-5:])
        study.set_user_attr("times", study.user_attrs.get("times", 0) + 1)
        return 0.13 * float(study.user_attrs["times"])


class AtEnds(RandomSampler):
    """Sums up what trials end with, in the study and in the trial; with a seed."""

    def after_trial(
        self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        ended = study.user_attrs.get("ended", 0.0) + (values[0] if values else 1.0)
        study.set_user_attr("ended", ended)
        study._storage.set_trial_system_attr(trial._trial_id, "ended", (state.name, ended))

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        if param_name != "SGD.lr":
            return super().sample_independent(study, trial, param_name, param_distribution)
        told = sum(one.system_attrs.get("ended", ("", 0.0))[1] for one in study.get_trials(deepcopy=False))
        return at(param_distribution, (study.user_attrs.get("ended", 0.0) + told) % 1.0)


class Handed(RandomSampler):
    """Takes a seed by handing on what it is given."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)


class Raising(Bare):
    def sample_independent(self, *arguments: Any) -> Any:
        raise KeyError("x")


class Outside(Bare):
    def fraction(self, study: Study, trial: FrozenTrial) -> float:
        return 0.0

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return 7.5 if param_name == "SGD.lr" else at(param_distribution, 0.0)


class Unstorable(Bare):
    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        study.set_user_attr("seen", {1, 2})


class Late(Bare):
    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        if trial.number >= 15:
            raise RuntimeError("fifteen are enough")


class Unfinished(BaseSampler):
    """Leaves out what a sampler must have."""


class Leaving(Bare):
    def __init__(self) -> None:
        raise SystemExit(3)


NO_CLASS = 3
