"""Proposals: which setting to try next. Optuna is met only here and in :mod:`sweeps.pruning`.

Optuna keeps its study in memory and is never trusted to remember: the study is rebuilt from the store,
and every ask gets a fresh sampler whose seed is a function of the sweep's seed and the setting's index.
So a rebuilt study proposes what the lost one would have proposed.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.samplers import BaseSampler, GPSampler, RandomSampler, TPESampler
from optuna.trial import TrialState as OptunaState
from optuna.trial import create_trial

from search_spaces.grid import grid_settings
from search_spaces.ranges import Choice, Integer, Log, LogOneMinus, Numeric, Value
from search_spaces.settings import Setting
from search_spaces.space import SearchSpace, dimensions
from sweeps.pruning import make_pruner

optuna.logging.set_verbosity(optuna.logging.ERROR)
_TOLD = {"finished": OptunaState.COMPLETE, "pruned": OptunaState.PRUNED, "failed": OptunaState.FAIL}


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A new proposal."""

    index: int
    parameters: Mapping[str, Any]  # in Optuna's coordinates, by the range's name
    attributes: Mapping[str, Any]  # Optuna's system attributes
    setting: Setting


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """Everything Optuna knew of one setting, to rebuild its study."""

    index: int
    parameters: Mapping[str, Any]
    attributes: Mapping[str, Any]
    reports: Mapping[int, float] = field(default_factory=dict)  # value by epoch
    end: str | None = None  # finished | pruned | failed; None while it is open


class Proposals:
    """The study of one sweep: ask, report, prune, end. Settings are named by their index."""

    def __init__(self, space: SearchSpace) -> None:
        """An empty study for ``space``. Raises ValueError where the pruner refuses its arguments."""
        self._space = space
        self._storage = optuna.storages.InMemoryStorage()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            self._study = optuna.create_study(
                storage=self._storage,
                study_name=f"ravine-{space.seed}",  # Hyperband hashes the name into its brackets
                direction=optuna.study.StudyDirection[space.metric.goal.upper()],
                pruner=make_pruner(space.pruner, space.epochs),
            )
        self._study_id = self._storage.get_study_id_from_name(self._study.study_name)
        self._asked = 0
        self._grid = grid_settings(space)  # taken from as points are asked for
        self._next_point: tuple[dict[str, Value], Setting] | None = None  # taken from it already
        self._proposed: frozenset[str] = frozenset()  # points of the grid that were stored before
        self._ids: list[int] = []

    def rebuild(self, history: list[Told]) -> None:
        """Put the study back to where it was, from stored proposals in their order."""
        distributions = {name: _distribution(range_) for name, range_ in dimensions(self._space).items()}
        if self._space.sampler == "grid":
            self._proposed = frozenset(_identity(told.parameters) for told in history)
        for told in history:
            self._add(told, {name: distributions[name] for name in told.parameters})
            self._asked += 1
            if told.end is not None:
                self.end(told.index, told.end)

    def ask(self, most: int) -> tuple[Asked, ...]:
        """The next family, at most ``most`` settings of it: they agree in everything but their schedule.

        Empty when a grid has no more points.
        """
        if self._space.sampler == "grid":
            return self._grid_points(most)
        if self._space.sampler == "qmc":
            return (self._enumerated(*self._sobol_point(self._asked)),) if most else ()
        return (self._sampled(),) if most else ()

    def report(self, index: int, epoch: int, value: float) -> None:
        """The setting's metric at the end of ``epoch``."""
        self._storage.set_trial_intermediate_value(self._ids[index], epoch, value)

    def should_prune(self, index: int) -> bool:
        """Whether the pruner gives the setting up, after its last report."""
        return bool(self._study.pruner.prune(self._study, self._storage.get_trial(self._ids[index])))

    def end(self, index: int, how: str) -> None:
        """The setting ended: ``finished`` (with its last report as value), ``pruned`` or ``failed``."""
        state = _TOLD[how]
        reports = self._storage.get_trial(self._ids[index]).intermediate_values
        values = [reports[max(reports)]] if state is OptunaState.COMPLETE else None
        self._study.tell(index, values, state=state)

    def attributes(self, index: int) -> dict[str, Any]:
        """Optuna's system attributes of the setting, as stored with it."""
        return dict(self._storage.get_trial(self._ids[index]).system_attrs)

    def _sampled(self) -> Asked:
        index = self._asked
        parameters: dict[str, Any] = {}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the options of TPE that this project relies on are experimental
            self._study.sampler = _sampler(self._space.sampler, seed_of(self._space.seed, index))
            trial = self._study.ask()

            def choose(name: str, range_: Numeric | Choice) -> Value:
                parameters[name] = _suggest(trial, name, range_)
                return _value(range_, parameters[name])

            setting = self._space.draw(choose)
        self._ids.append(self._storage.get_trial_id_from_study_id_trial_number(self._study_id, trial.number))
        self._asked += 1
        return Asked(index=index, parameters=parameters, attributes=self.attributes(index), setting=setting)

    def _enumerated(self, parameters: dict[str, Any], setting: Setting) -> Asked:
        index = self._asked
        ranges = dimensions(self._space)
        told = Told(index=index, parameters=parameters, attributes={})
        self._add(told, {name: _distribution(ranges[name]) for name in parameters})
        self._asked += 1
        return Asked(index=index, parameters=parameters, attributes={}, setting=setting)

    def _sobol_point(self, index: int) -> tuple[dict[str, Any], Setting]:
        """Point ``index`` of one scrambled Sobol sequence over every axis of the space."""
        from scipy.stats.qmc import Sobol  # most of a second, and only for this sampler

        axes = dimensions(self._space)
        sequence = Sobol(max(1, len(axes)), scramble=True, rng=seed_of(self._space.seed, 0))
        if index:
            sequence.fast_forward(index)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about balance, which a sequence taken one by one has
            point = dict(zip(axes, sequence.random(1)[0].tolist(), strict=False))
        return self._at(lambda name, range_: range_.at(point[name]))

    def _grid_points(self, most: int) -> tuple[Asked, ...]:
        """Points that have not been proposed yet, as long as they differ in their schedule only."""
        found: list[Asked] = []
        while len(found) < most:
            point = self._next_point or next(self._grid, None)
            self._next_point = None
            if point is None:
                break
            values, setting = point
            if found and setting.beginning != found[0].setting.beginning:
                self._next_point = point
                break
            parameters, setting = self._at(lambda name, _, values=values: values[name])
            if _identity(parameters) not in self._proposed:
                found.append(self._enumerated(parameters, setting))
        return tuple(found)

    def _at(self, pick: Any) -> tuple[dict[str, Any], Setting]:
        parameters: dict[str, Any] = {}

        def choose(name: str, range_: Numeric | Choice) -> Value:
            value: Value = pick(name, range_)
            parameters[name] = _parameter(range_, value)
            return value

        setting = self._space.draw(choose)
        return parameters, setting

    def _add(self, told: Told, distributions: dict[str, BaseDistribution]) -> None:
        trial = create_trial(
            state=OptunaState.RUNNING,
            params=dict(told.parameters),
            distributions=distributions,
            intermediate_values=dict(told.reports),
            system_attrs=dict(told.attributes),
        )
        self._ids.append(self._storage.create_new_trial(self._study_id, template_trial=trial))


def seed_of(sweep_seed: int, index: int) -> int:
    """Seed of the sampler that proposes setting ``index``: 32 bits of a SHA-256."""
    digest = hashlib.sha256(f"ravine proposal {sweep_seed} {index}".encode()).digest()
    return int.from_bytes(digest[:4], "big")


def _sampler(name: str, seed: int) -> BaseSampler:
    if name == "random":
        return RandomSampler(seed=seed)
    if name == "gp":
        return GPSampler(seed=seed)
    return TPESampler(seed=seed, multivariate=True, group=True, constant_liar=True)


def _distribution(range_: Numeric | Choice) -> BaseDistribution:
    if isinstance(range_, Choice):
        return CategoricalDistribution(tuple(range(len(range_.options))))
    if isinstance(range_, Integer):
        return IntDistribution(range_.low, range_.high, log=range_.log)
    if isinstance(range_, LogOneMinus):
        return FloatDistribution(1.0 - range_.high, 1.0 - range_.low, log=True)
    return FloatDistribution(range_.low, range_.high, log=isinstance(range_, Log))


def _suggest(trial: optuna.Trial, name: str, range_: Numeric | Choice) -> Any:
    distribution = _distribution(range_)
    if isinstance(distribution, CategoricalDistribution):
        return trial.suggest_categorical(name, distribution.choices)
    if isinstance(distribution, IntDistribution):
        return trial.suggest_int(name, distribution.low, distribution.high, log=distribution.log)
    assert isinstance(distribution, FloatDistribution)  # noqa: S101 - the three kinds that _distribution makes
    return trial.suggest_float(name, distribution.low, distribution.high, log=distribution.log)


def _value(range_: Numeric | Choice, parameter: Any) -> Value:
    """Our value of Optuna's parameter."""
    if isinstance(range_, LogOneMinus):
        return range_.from_distance(float(parameter))
    value: Value = parameter
    return value


def _identity(parameters: Mapping[str, Any]) -> str:
    """Equal for equal parameters, whatever their order."""
    return repr(sorted(parameters.items()))


def _parameter(range_: Numeric | Choice, value: Any) -> Any:
    """Optuna's parameter of our value; the inverse of :func:`_value` up to rounding."""
    if isinstance(range_, LogOneMinus):
        return min(max(1.0 - float(value), 1.0 - range_.high), 1.0 - range_.low)
    return value
