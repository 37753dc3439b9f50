"""The study: Optuna's, of one sweep, in memory. A setting's index is the number of its trial there."""

from __future__ import annotations

import copy
import datetime
import warnings
from collections.abc import Callable, Collection, Container, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, TypeVar

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, PartialFixedSampler, TPESampler
from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial
from optuna.trial import TrialState as OptunaState

from search_spaces.samplers import is_own, learns
from search_spaces.space import SearchSpace
from sweeps.bounded_history import BoundedHistory, rank_of
from sweeps.conditional_gp import ConditionalGP
from sweeps.own_sampler import OwnSampler
from sweeps.pruning import make_pruner
from sweeps.study_state import StudyState

optuna.logging.set_verbosity(optuna.logging.ERROR)

STARTUP_PROPOSALS = 10  # at random, before a sampler learns: Optuna's own default
Drawn = TypeVar("Drawn")
_TOLD = {"finished": OptunaState.COMPLETE, "pruned": OptunaState.PRUNED, "failed": OptunaState.FAIL}


class Study:
    """Optuna's study, which learns of settings in the order of their index.

    Where neither the sampler nor the pruner ever asks it, nothing is kept.
    """

    def __init__(
        self, space: SearchSpace, history: BoundedHistory | None = None, earlier: Sequence[Earlier] = ()
    ) -> None:
        """An empty study for ``space``, whose sampler is shown ``earlier`` settings beside its own.

        They are no trials of the study: neither a number nor a pruner knows of them. Raises ValueError where
        the pruner refuses its arguments, SamplerRefused for a sampler that is none.
        """
        self._storage = _Storage()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            self._study = optuna.create_study(
                storage=self._storage,
                study_name=f"ravine-{space.seed}",  # Hyperband hashes the name into its brackets
                direction=optuna.study.StudyDirection[space.metric.goal.upper()],
                pruner=make_pruner(space.pruner, space.epochs),
            )
        self._study_id = self._storage.get_study_id_from_name(self._study.study_name)
        self._prunes = space.pruner.name not in ("none", "decay_fair")  # which asks no study
        self._keeps = self._prunes or learns(space.sampler)
        self._sampler = space.sampler
        self._own = OwnSampler.of(space) if is_own(space.sampler) else None
        self._state = StudyState(self._storage, self._study_id)  # of an own sampler
        self._sign = 1.0 if space.metric.goal == "minimize" else -1.0
        self._startup = STARTUP_PROPOSALS * (len(space.schedules) if space.branches else 1)
        self._ids: list[int] = []
        self._last: dict[int, tuple[int, float]] = {}  # last report of open settings: epoch and value
        self._open: dict[int, None] = {}
        self._history = BoundedHistory() if history is None else history
        self._earlier: dict[int, FrozenTrial] = {}  # by a negative index, the last one being -1
        for position, one in enumerate(earlier):
            index = position - len(earlier)
            # Optuna's search for what all trials have, which most samplers begin with, stops at a number
            # below -1. TPE has none, and goes by numbers where older trials are to weigh less.
            number = index if space.sampler == "tpe" else -1
            self._earlier[index] = _earlier_trial(number, one)
            last = None if one.value is None or one.epoch is None else (one.epoch, one.value)
            self._history.end(index, rank_of(last, finished=one.finished, sign=self._sign))

    def ask(self, seed: int, fixed: Mapping[str, Any], draw: Callable[[optuna.Trial], Drawn]) -> Drawn:
        """Let a fresh sampler choose the next setting as ``draw`` asks for it; the ``fixed`` are given.

        Raises SamplerFailed where that is a user's own, and raises or proposes what is no setting.
        """
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what this project relies on of TPE is experimental
            if self._own is not None:
                return self._ask_own(self._own, seed, fixed, draw)
            with self._storage.showing(self._shown()):
                return self._asked(self._fresh(seed), fixed, draw)

    def _ask_own(
        self, own: OwnSampler, seed: int, fixed: Mapping[str, Any], draw: Callable[[optuna.Trial], Drawn]
    ) -> Drawn:
        """As :meth:`ask`, of a sampler of the user's own, which sees all trials."""
        index = len(self._ids)
        sampler = own.fresh(seed)
        everything = [*self._earlier.values(), *self._storage.get_all_trials(self._study_id, deepcopy=False)]
        shown = self._storage.showing(everything) if self._earlier else nullcontext()
        with own.at_work(f"at setting {index}"), shown:
            drawn = self._asked(sampler, fixed, draw)
            own.check(self._storage.get_trial(self._ids[index]), index)
            self._state.note(self._ids[index])
        return drawn

    def _asked(
        self, sampler: BaseSampler, fixed: Mapping[str, Any], draw: Callable[[optuna.Trial], Drawn]
    ) -> Drawn:
        self._study.sampler = PartialFixedSampler(dict(fixed), sampler) if fixed else sampler
        trial = self._study.ask()
        drawn = draw(trial)
        self._admit(self._storage.get_trial_id_from_study_id_trial_number(self._study_id, trial.number))
        return drawn

    def add(
        self,
        parameters: Mapping[str, Any],
        distributions: Mapping[str, BaseDistribution],
        *,
        reports: Mapping[int, float] | None = None,
        attributes: Mapping[str, Any] | None = None,
    ) -> None:
        """Put in a setting that was not asked for here, as it stands."""
        if not self._keeps:
            return
        reports = {} if reports is None else reports
        if self._own is not None and attributes is not None:
            self._state.restore(attributes)
        index = self._admit(
            self._storage.create_new_trial(
                self._study_id,
                _OwnTrial(
                    number=-1,  # the storage gives both numbers
                    trial_id=-1,
                    state=OptunaState.RUNNING,
                    value=None,
                    datetime_start=datetime.datetime.now(),
                    datetime_complete=None,
                    params=dict(parameters),
                    distributions=dict(distributions),
                    user_attrs={},
                    system_attrs={} if attributes is None else dict(attributes),
                    intermediate_values=dict(reports) if self._prunes else {},
                ),
            )
        )
        if reports:
            last = max(reports)
            self._last[index] = last, reports[last]

    def report(self, index: int, epoch: int, value: float) -> None:
        """The setting's metric at the end of ``epoch``; epochs ascend."""
        if self._prunes:
            self._storage.set_trial_intermediate_value(self._ids[index], epoch, value)
        if self._keeps:
            self._last[index] = epoch, value

    def reports(self, index: int) -> dict[int, float]:
        """What an ended setting has reported, by epoch: all that is kept of it."""
        return dict(self._storage.get_trial(self._ids[index]).intermediate_values) if self._keeps else {}

    def should_prune(self, index: int) -> bool:
        """Whether the pruner gives the setting up, after its last report."""
        if not self._prunes:
            return False
        return bool(self._study.pruner.prune(self._study, self._storage.get_trial(self._ids[index])))

    def end(self, index: int, how: str, seed: int | None = None) -> None:
        """The setting ended: ``finished`` (with its last report as value), ``pruned`` or ``failed``.

        ``seed``: of the sampler of a user's own that is told, which is none where it has been told before.
        Raises SamplerFailed.
        """
        if not self._keeps:
            return
        state, last = _TOLD[how], self._last.pop(index, None)
        if last is not None and not self._prunes:
            # Nobody asks for the earlier ones, and one by one they cost more than all the rest.
            self._storage.set_trial_intermediate_value(self._ids[index], *last)
        values = None
        if how == "finished":
            if last is None:
                raise ValueError(f"setting {index} cannot have finished: it has reported nothing")
            values = [last[1]]
        if self._own is not None and self._own.hears_ends and seed is not None:
            sampler, trial_id = self._own.fresh(seed), self._ids[index]
            with self._own.at_work(f"at the end of setting {index}"):
                sampler.after_trial(self._study, self._storage.get_trial(trial_id), state, values)
                self._state.note(trial_id)
        self._storage.set_trial_state_values(self._ids[index], state, values)
        del self._open[index]
        if how != "failed":
            self._history.end(index, rank_of(last, finished=how == "finished", sign=self._sign))

    @property
    def optuna_study(self) -> optuna.Study:
        """Optuna's own, to be read."""
        return self._study

    def attributes(self, index: int) -> dict[str, Any]:
        """Optuna's system attributes of the setting."""
        return dict(self._storage.get_trial(self._ids[index]).system_attrs) if self._keeps else {}

    def _fresh(self, seed: int) -> BaseSampler:
        if self._sampler == "gp":
            return ConditionalGP(seed=seed, startup=self._startup, narrowed=self._storage.narrowed)
        return TPESampler(
            seed=seed, n_startup_trials=self._startup, multivariate=True, group=True, constant_liar=True
        )

    def _admit(self, trial_id: int) -> int:
        index = len(self._ids)
        self._ids.append(trial_id)
        self._open[index] = None
        return index

    def _shown(self) -> list[FrozenTrial]:
        indices = sorted([*self._history.shown(), *self._open])
        return [
            self._earlier[index] if index < 0 else self._storage.get_trial(self._ids[index])
            for index in indices
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Earlier:
    """A setting of another sweep, in Optuna's coordinates."""

    parameters: Mapping[str, Any]
    distributions: Mapping[str, BaseDistribution]
    finished: bool  # else pruned
    epoch: int | None  # the last one with a value
    value: float | None


class _OwnTrial(FrozenTrial):
    """A trial that nobody else holds, so that the storage keeps it without a copy."""

    def __deepcopy__(self, memo: dict[int, Any]) -> _OwnTrial:
        return self


class _Storage(InMemoryStorage):
    """Optuna's storage in memory, which can show only some of its trials for a while."""

    def __init__(self) -> None:
        super().__init__()
        self._shown: list[FrozenTrial] | None = None

    @contextmanager
    def showing(self, trials: list[FrozenTrial]) -> Iterator[None]:
        """Of the trials so far only these are there, inside the ``with``."""
        self._shown = trials
        try:
            yield
        finally:
            self._shown = None

    @contextmanager
    def narrowed(self, names: Collection[str]) -> Iterator[None]:
        """Of the trials that are shown only those that have all parameters of these names."""
        before = self._shown
        if before is None:
            raise ValueError("nothing is shown that could be narrowed")
        self._shown = [trial for trial in before if all(name in trial.params for name in names)]
        try:
            yield
        finally:
            self._shown = before

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[OptunaState] | None = None
    ) -> list[FrozenTrial]:
        """As Optuna's own, of the trials that are shown."""
        if self._shown is None:
            return list(super().get_all_trials(study_id, deepcopy, states))
        found = [trial for trial in self._shown if states is None or trial.state in states]
        return copy.deepcopy(found) if deepcopy else found


def _earlier_trial(number: int, earlier: Earlier) -> FrozenTrial:
    """What a sampler is shown of it; a pruned one is ranked by its last value, as those of the study are."""
    now = datetime.datetime.now()
    last: dict[int, float] = {}
    if earlier.value is not None and earlier.epoch is not None:
        last = {earlier.epoch: earlier.value}
    return _OwnTrial(
        number=number,
        trial_id=number,
        state=OptunaState.COMPLETE if earlier.finished else OptunaState.PRUNED,
        value=earlier.value if earlier.finished else None,
        datetime_start=now,
        datetime_complete=now,
        params=dict(earlier.parameters),
        distributions=dict(earlier.distributions),
        user_attrs={},
        system_attrs={},
        intermediate_values=last,
    )
