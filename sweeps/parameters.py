"""Parameters: the values of a space's ranges in Optuna's coordinates, and back."""

from __future__ import annotations

from typing import Any

from optuna import Trial
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from search_spaces.ranges import Choice, Effective, Integer, Log, LogOneMinus, Numeric, Value


def distribution_of(range_: Numeric | Choice) -> BaseDistribution:
    """Optuna's axis of our range. Momentum's is its distance to 1; a choice's is the option's index.

    That of an effective rate is the effective rate: :meth:`SearchSpace.draw` makes a learning rate of it.
    """
    if isinstance(range_, Choice):
        return CategoricalDistribution(tuple(range(len(range_.options))))
    if isinstance(range_, Integer):
        return IntDistribution(range_.low, range_.high, log=range_.log)
    if isinstance(range_, LogOneMinus):
        return FloatDistribution(1.0 - range_.high, 1.0 - range_.low, log=True)
    return FloatDistribution(range_.low, range_.high, log=isinstance(range_, Log | Effective))


def suggest(trial: Trial, name: str, distribution: BaseDistribution) -> Any:
    """Optuna's parameter of that name, chosen by the study's sampler: a plain number."""
    if isinstance(distribution, CategoricalDistribution):
        return int(str(trial.suggest_categorical(name, distribution.choices)))
    if isinstance(distribution, IntDistribution):
        return int(trial.suggest_int(name, distribution.low, distribution.high, log=distribution.log))
    assert isinstance(distribution, FloatDistribution)  # noqa: S101 - there are three kinds
    return float(trial.suggest_float(name, distribution.low, distribution.high, log=distribution.log))


def value_of(range_: Numeric | Choice, parameter: Any) -> Value:
    """Our value of Optuna's parameter."""
    if isinstance(range_, LogOneMinus):
        return range_.from_distance(float(parameter))
    value: Value = parameter
    return value


def parameter_of(range_: Numeric | Choice, value: Any) -> Any:
    """Optuna's parameter of our value; the inverse of :func:`value_of` up to rounding."""
    if isinstance(range_, LogOneMinus):
        return min(max(1.0 - float(value), 1.0 - range_.high), 1.0 - range_.low)
    return value
