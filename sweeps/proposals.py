"""Proposals: which setting to try next. Optuna is met in :mod:`sweeps.study` and beside it.

Optuna keeps its study in memory and is never trusted to remember: the study is rebuilt from the store,
and every ask gets a fresh sampler whose seed is a function of the sweep's seed and the setting's index.
So a rebuilt study proposes what the lost one would have proposed. Points at random, of a Sobol sequence or
of a grid depend on no study; they are put into it for a pruner's sake. Start points come before all of these,
and what they leave out is asked of the sampler, or drawn at random where points are designed.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

import optuna

from search_spaces.branches import asking_order
from search_spaces.earlier import EarlierSetting, earlier_within
from search_spaces.grid import GridPoint, grid_settings
from search_spaces.ranges import Choice, Numeric, Value
from search_spaces.samplers import is_own, learns
from search_spaces.settings import Setting
from search_spaces.space import SearchSpace, dimensions
from sweeps.bounded_history import BoundedHistory
from sweeps.parameters import distribution_of, parameter_of, suggest, value_of
from sweeps.rungs import OWN_ATTRIBUTES, Reached, rungs_of
from sweeps.starting import Starts
from sweeps.study import Earlier, Study

Pick = Callable[[str, Numeric | Choice], Any]
"""Optuna's parameter for a named range."""


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

    def __init__(
        self,
        space: SearchSpace,
        history: BoundedHistory | None = None,
        earlier: Sequence[EarlierSetting] = (),
    ) -> None:
        """Nothing proposed yet; ``history`` bounds what samplers see of a long sweep.

        ``earlier``: settings of another sweep, of which samplers are told those that lie within the space.
        Raises ValueError where the pruner refuses its arguments, SamplerRefused for a sampler that is none.
        """
        self._space = space
        self._ranges = dimensions(space)
        self._axes = [name for name in self._ranges if name != "schedule" or not space.branches]
        self._distributions = {name: distribution_of(range_) for name, range_ in self._ranges.items()}
        self._study = Study(
            space, history, [self._told_earlier(one) for one in earlier_within(space, earlier)]
        )
        self._rungs = rungs_of(space)
        self._sign = 1.0 if space.metric.goal == "minimize" else -1.0
        self._asked = 0
        self._order = asking_order(space.schedules) if space.branches else ()
        self._first: Mapping[str, Any] = {}  # parameters of the first branch of the proposal asked for last
        self._sobol: Any = None
        self._grid = grid_settings(space)  # taken from as points are asked for
        self._next_point: GridPoint | None = None  # taken from it already
        self._proposed: set[str] = set()  # points of the grid that were stored before, or are start points
        self._starts = Starts(space)
        # Pruners, and samplers of the user's own, keep what they decided in Optuna's attributes.
        self.keeps_attributes = space.pruner.name != "none" or is_own(space.sampler)

    def rebuild(self, history: list[Told]) -> None:
        """Put the study back to where it was, from stored proposals in their order."""
        if self._space.sampler == "grid":
            self._proposed = {_identity(told.parameters) for told in history}
        for told in history:
            self._add(told)
            if self._rungs is not None:
                losses = {} if told.end else {at: self._sign * value for at, value in told.reports.items()}
                self._rungs.restore(told.index, told.attributes, losses)
            if told.end is not None:
                self._study.end(told.index, told.end)
        if self._order and self._asked % len(self._order):
            self._first = history[self._asked - self._asked % len(self._order)].parameters

    def ask(self, most: int) -> tuple[Asked, ...]:
        """The next family, at most ``most`` settings of it: they agree in everything but their schedule.

        And what a schedule sets itself. The next ask goes on with the rest of a family that ``most`` cuts.
        Empty when a grid has no more points.
        """
        if most < 1:
            return ()
        if self._space.sampler == "grid" and self._asked >= self._starts.settings:
            return self._grid_points(most)
        if not self._order:
            return (self._new(self._asked),)
        count = len(self._order)
        place = self._asked % count
        found = []
        if place == 0:
            found.append(self._new(self._asked // count, schedule=self._order[0]))
            self._first = found[0].parameters
        for branch in self._order[max(place, 1) : place + most]:
            found.append(self._branch(branch))
        return tuple(found)

    @property
    def exhausted(self) -> bool:
        """Whether a grid has no more points to be asked for."""
        if self._space.sampler != "grid" or self._asked < self._starts.settings:
            return False
        return self._upcoming() is None

    def again(self, index: int, parameters: Mapping[str, Any], attributes: Mapping[str, Any]) -> Asked:
        """A stored proposal as it was asked for."""
        _, setting = self._drawn(lambda name, _: parameters[name], self._starts.of_setting(index))
        return Asked(index=index, parameters=parameters, attributes=attributes, setting=setting)

    def report(self, index: int, epoch: int, value: float) -> None:
        """The setting's metric at the end of ``epoch``."""
        self._study.report(index, epoch, value)
        if self._rungs is not None:
            self._rungs.hear(index, epoch, self._sign * value)

    def judge(self, reached: Callable[[], Sequence[Reached]]) -> None:
        """Judge settings that come to a rung together, before they are reported one by one."""
        if self._rungs is not None:
            self._rungs.judge(reached())

    def should_prune(self, index: int) -> bool:
        """Whether the pruner gives the setting up, after its last report."""
        if self._rungs is not None:
            return self._rungs.gives_up(index)
        return self._study.should_prune(index)

    def end(self, index: int, how: str) -> None:
        """The setting ended: ``finished`` (with its last report as value), ``pruned`` or ``failed``."""
        self._study.end(index, how, seed_of(self._space.seed, index))
        if self._rungs is not None:
            self._rungs.end(index)

    def repeat(self, index: int, of: int, how: str) -> None:
        """The setting has shown what another has, which has ended, and ends so too."""
        for epoch, value in self._study.reports(of).items():
            self._study.report(index, epoch, value)
        if self._rungs is not None:
            self._rungs.repeat(index)
        self.end(index, how)

    def attributes(self, index: int) -> dict[str, Any]:
        """What is stored with the setting: Optuna's system attributes, and our own rungs."""
        own = {} if self._rungs is None else self._rungs.attributes(index)
        return {**self._study.attributes(index), **own}

    @property
    def optuna_study(self) -> optuna.Study:
        """Optuna's study, to be read."""
        return self._study.optuna_study

    def _new(self, point: int, schedule: int | None = None) -> Asked:
        """The sampler's next setting, or ``point`` of its sequence; with ``schedule`` where one is given."""
        given = dict(self._starts.of_setting(self._asked))
        if schedule is not None:
            given["schedule"] = schedule
        if learns(self._space.sampler):
            return self._sampled(given)
        of_sequence = self._space.sampler == "qmc" and point >= self._starts.proposals
        fraction = self._sobol_point(point - self._starts.proposals) if of_sequence else self._at_random()
        on_grid = self._space.sampler == "grid"

        def pick(name: str, range_: Numeric | Choice) -> Any:
            if name in given:
                return parameter_of(range_, given[name])
            if on_grid:
                return parameter_of(range_, 0 if isinstance(range_, Choice) else range_.grid()[0])
            return parameter_of(range_, range_.at(fraction(name)))

        return self._put_in(*self._drawn(pick, given))

    def _sampled(self, given: Mapping[str, Value]) -> Asked:
        index = self._asked
        fixed = {name: parameter_of(self._ranges[name], value) for name, value in given.items()}
        parameters, setting = self._study.ask(
            seed_of(self._space.seed, index),
            fixed,
            lambda trial: self._drawn(lambda name, _: suggest(trial, name, self._distributions[name]), given),
        )
        self._asked += 1
        return Asked(index=index, parameters=parameters, attributes=self.attributes(index), setting=setting)

    def _branch(self, schedule: int) -> Asked:
        """The proposal that was asked for last, with another of its schedules."""
        parameters = {**self._first, "schedule": schedule}
        given = self._starts.of_setting(self._asked)
        return self._put_in(*self._drawn(lambda name, _: parameters[name], given))

    def _put_in(self, parameters: dict[str, Any], setting: Setting) -> Asked:
        """A setting that was chosen here, told to the study."""
        told = Told(index=self._asked, parameters=parameters, attributes={})
        if self._space.sampler == "grid":
            self._proposed.add(_identity(parameters))
        self._add(told)
        return Asked(index=told.index, parameters=parameters, attributes={}, setting=setting)

    def _at_random(self) -> Callable[[str], float]:
        """Where in each range the next setting is, from 0 to 1: a new number at each call."""
        numbers = Random(seed_of(self._space.seed, self._asked))  # noqa: S311 - nothing secret
        return lambda _: numbers.random()

    def _sobol_point(self, number: int) -> Callable[[str], float]:
        """Where in each range point ``number`` of one scrambled Sobol sequence over the whole space is."""
        if self._sobol is None:
            from scipy.stats.qmc import Sobol  # most of a second, and only for this sampler

            self._sobol = Sobol(max(1, len(self._axes)), scramble=True, rng=seed_of(self._space.seed, 0))
        if number > self._sobol.num_generated:
            self._sobol.fast_forward(number - self._sobol.num_generated)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about balance, which a sequence taken one by one has
            point = dict(zip(self._axes, self._sobol.random(1)[0].tolist(), strict=False))
        return point.__getitem__

    def _grid_points(self, most: int) -> tuple[Asked, ...]:
        """Points that have not been proposed yet, as long as they differ in their schedule only."""
        found: list[Asked] = []
        family: int | None = None
        while len(found) < most and (point := self._upcoming()) is not None:
            if found and point.family != family:
                break
            self._next_point = None
            found.append(self._put_in(self._parameters_at(point), point.setting))
            family = point.family
        return tuple(found)

    def _upcoming(self) -> GridPoint | None:
        """The next point of the grid that has not been proposed yet, which is not taken by that."""
        while self._next_point is None and (point := next(self._grid, None)) is not None:
            if _identity(self._parameters_at(point)) not in self._proposed:
                self._next_point = point
        return self._next_point

    def _parameters_at(self, point: GridPoint) -> dict[str, Any]:
        return {name: parameter_of(self._ranges[name], value) for name, value in point.values.items()}

    def _drawn(self, pick: Pick, given: Mapping[str, Value]) -> tuple[dict[str, Any], Setting]:
        """The setting whose parameters are picked, and these.

        What was ``given`` comes out as it is, where Optuna's coordinate of it was picked: momentum's, its
        distance to 1, would give it back rounded.
        """
        parameters: dict[str, Any] = {}

        def choose(name: str, range_: Numeric | Choice) -> Value:
            parameters[name] = parameter = pick(name, range_)
            if name in given and parameter == parameter_of(range_, given[name]):
                return given[name]
            return value_of(range_, parameter)

        setting = self._space.draw(choose)
        return parameters, setting

    def _told_earlier(self, earlier: EarlierSetting) -> Earlier:
        return Earlier(
            parameters={
                name: parameter_of(self._ranges[name], value) for name, value in earlier.values.items()
            },
            distributions={name: self._distributions[name] for name in earlier.values},
            finished=earlier.finished,
            epoch=earlier.epoch,
            value=earlier.value,
        )

    def _add(self, told: Told) -> None:
        self._study.add(
            told.parameters,
            {name: self._distributions[name] for name in told.parameters},
            reports=told.reports,
            attributes={name: value for name, value in told.attributes.items() if name not in OWN_ATTRIBUTES},
        )
        self._asked += 1


def seed_of(sweep_seed: int, index: int) -> int:
    """Seed of the sampler that proposes setting ``index``: 32 bits of a SHA-256."""
    digest = hashlib.sha256(f"ravine proposal {sweep_seed} {index}".encode()).digest()
    return int.from_bytes(digest[:4], "big")


def _identity(parameters: Mapping[str, Any]) -> str:
    """Equal for equal parameters, whatever their order."""
    return repr(sorted(parameters.items()))
