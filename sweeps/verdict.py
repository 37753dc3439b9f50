"""The verdict: which setting of a sweep is best, and whether its difference from the others is real.

A pure function of the sweep's row and its trials. Where leaders were confirmed, fresh seeds decide; else the
search's own seeds, where there are several of them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from search_spaces.confirming import Confirm
from sweeps.confirmation import rank, tails
from sweeps.leaders import Leaders
from sweeps.paired_differences import Estimate, advantage, estimate
from sweeps.records import OPEN_STATES, SweepRow, TrialRow, TrialState
from sweeps.store_reads import StoreReader

SEARCH_TAIL = 0.025  # of a difference over the search's own seeds


class Basis(StrEnum):
    """What a verdict rests on."""

    fresh_seeds = "fresh_seeds"
    search_seeds = "search_seeds"
    one_seed = "one_seed"


class Place(StrEnum):
    """How a setting compares with the best."""

    best = "best"
    tied = "tied"  # its difference from the best may be chance
    worse = "worse"


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """One setting among those that are compared."""

    setting: int  # its index among the sweep's settings
    trial: TrialRow  # the best of its trials of the search, by which it is named
    place: Place
    mean: Estimate | None  # of the metric over its seeds, with an interval of 95 %; None without any value
    lead: Estimate | None  # of the best setting over it, positive where that is better, over shared seeds
    diverged_seeds: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The settings that are compared, best first, and what is known of them."""

    basis: Basis
    standings: tuple[Standing, ...]
    over: bool  # whether nothing more comes
    confirm: Confirm | None
    seeds: int = 0  # that those not worse have been compared over

    @property
    def separated(self) -> bool:
        """Whether the best one is really better than all others."""
        others = self.standings[1:]
        return self.over and bool(others) and all(one.place is Place.worse for one in others)

    def of(self, setting: int) -> Standing | None:
        """What is known of the setting, if it is among those compared."""
        return next((one for one in self.standings if one.setting == setting), None)


def search_trials(sweep: SweepRow, trials: Iterable[TrialRow]) -> list[TrialRow]:
    """The trials that searched: without those that trained a leader again to confirm it."""
    if _confirm(sweep) is None:
        return list(trials)
    seeds = frozenset(sweep.spec["seeds"])
    return [trial for trial in trials if trial.seed in seeds]


def best_trials(sweep: SweepRow, trials: Sequence[TrialRow], verdict: Verdict, count: int) -> list[TrialRow]:
    """At most ``count`` finished trials of the search, best first.

    Confirmed settings come first, in their standing, each with its best trial; all else by its value, equal
    ones by number.
    """
    ranked = sorted(_finished(search_trials(sweep, trials)), key=lambda trial: _loss_and_number(sweep, trial))
    if verdict.basis is not Basis.fresh_seeds:
        return ranked[:count]
    named = [standing.trial for standing in verdict.standings]
    first = {trial.number for trial in named}
    return [*named, *(trial for trial in ranked if trial.number not in first)][:count]


def best_trial(sweep: SweepRow, trials: Sequence[TrialRow]) -> TrialRow | None:
    """The first of :func:`best_trials`; None where none has finished."""
    if _confirm(sweep) is not None:
        return next(iter(best_trials(sweep, trials, verdict_of(sweep, trials), 1)), None)
    return min(_finished(trials), key=lambda trial: _loss_and_number(sweep, trial), default=None)


def trials_to_judge(store: StoreReader, sweep: SweepRow, count: int) -> list[TrialRow]:
    """As many of a sweep's trials as it takes to tell its verdict and its ``count`` best ones.

    The best two are enough where every setting has one trial.
    """
    if _confirm(sweep) is None and len(sweep.spec.get("seeds", ())) == 1:
        return store.best_trials(sweep.id, max(count, 2))
    return store.trials(sweep.id)


def verdict_of(sweep: SweepRow, trials: Sequence[TrialRow]) -> Verdict:
    """What the trials say of the sweep's settings so far."""
    confirm = _confirm(sweep)
    if confirm is not None:
        found = _confirmed(sweep, trials, confirm)
        if found is not None:
            return found
    return _searched(sweep, search_trials(sweep, trials), confirm)


def _confirmed(sweep: SweepRow, trials: Sequence[TrialRow], confirm: Confirm) -> Verdict | None:
    """By the race over fresh seeds; None where none of its looks has been taken."""
    leaders = Leaders(confirm, sweep.spec["seeds"], sweep.goal)
    begun = False
    for trial in trials:
        leaders.begin(trial)
        begun = begun or leaders.confirms(trial)
        if trial.state not in OPEN_STATES and trial.state is not TrialState.cancelled:
            leaders.end(trial, trial.state, trial.value, repeats=trial.repeats)
    if not begun or not (race := leaders.race).seeds:
        return None
    best = race.standing[0]
    named = _named(sweep, search_trials(sweep, trials))
    standings = []
    for setting in race.standing:
        look = race.dropped.get(setting, race.seeds)
        level = tails(look, len(leaders.fresh_seeds), len(race.standing), confirm.error_rate)
        last_word = race.separated and look == race.seeds
        values = {seed: leaders.results[setting][seed] for seed in leaders.fresh_seeds[:look]}
        lead = advantage(leaders.results[best], values, level.separates if last_word else level.drops)
        place = Place.worse if setting in race.dropped else Place.tied
        standings.append(_standing(sweep, named[setting], values, None if setting == best else lead, place))
    return Verdict(
        basis=Basis.fresh_seeds,
        standings=_with_best(standings),
        over=race.over,
        confirm=confirm,
        seeds=race.seeds,
    )


def _searched(sweep: SweepRow, trials: Sequence[TrialRow], confirm: Confirm | None) -> Verdict:
    """By the search's own seeds: the settings that finished with all of them, and repeat no other."""
    own = {trial.setting_index for trial in _finished(trials) if not trial.repeats}
    seeds = _search_seeds(sweep, trials)
    losses: dict[int, dict[int, float]] = {}
    for trial in _finished(trials):
        losses.setdefault(trial.setting_index, {})[trial.seed] = _loss(sweep, trial)
    ranked = sorted(
        (setting for setting, found in losses.items() if len(found) == len(seeds) and setting in own),
        key=lambda setting: (rank(losses[setting]), setting),
    )
    named = _named(sweep, trials)
    standings = []
    for setting in ranked:
        lead = None if setting == ranked[0] else advantage(losses[ranked[0]], losses[setting], SEARCH_TAIL)
        place = Place.worse if lead is not None and lead.is_positive else Place.tied
        standings.append(_standing(sweep, named[setting], losses[setting], lead, place))
    return Verdict(
        basis=Basis.one_seed if len(seeds) == 1 else Basis.search_seeds,
        standings=_with_best(standings),
        over=True,
        confirm=confirm,
        seeds=len(seeds),
    )


def _standing(
    sweep: SweepRow, trial: TrialRow, losses: Mapping[int, float], lead: Estimate | None, place: Place
) -> Standing:
    values = [_sign(sweep) * loss for loss in losses.values() if math.isfinite(loss)]
    return Standing(
        setting=trial.setting_index,
        trial=trial,
        place=place,
        mean=estimate(values) if values else None,
        lead=lead,
        diverged_seeds=tuple(seed for seed, loss in losses.items() if loss == math.inf),
    )


def _with_best(standings: Sequence[Standing]) -> tuple[Standing, ...]:
    return tuple(replace(one, place=Place.best) if one is standings[0] else one for one in standings)


def _named(sweep: SweepRow, trials: Sequence[TrialRow]) -> dict[int, TrialRow]:
    """The best finished trial of each setting."""
    found: dict[int, TrialRow] = {}
    for trial in sorted(_finished(trials), key=lambda trial: _loss_and_number(sweep, trial)):
        found.setdefault(trial.setting_index, trial)
    return found


def _finished(trials: Iterable[TrialRow]) -> list[TrialRow]:
    return [trial for trial in trials if trial.state is TrialState.finished and trial.value is not None]


def _search_seeds(sweep: SweepRow, trials: Iterable[TrialRow]) -> frozenset[int]:
    """Those that each setting was trained with; of sweeps stored without them, what their trials had."""
    return frozenset(sweep.spec.get("seeds") or {trial.seed for trial in trials} or {0})


def _confirm(sweep: SweepRow) -> Confirm | None:
    told = sweep.spec.get("confirm")
    return None if told is None else Confirm(**told)


def _sign(sweep: SweepRow) -> float:
    return -1.0 if sweep.goal == "maximize" else 1.0


def _loss(sweep: SweepRow, trial: TrialRow) -> float:
    assert trial.value is not None  # noqa: S101 - finished trials have one
    return _sign(sweep) * trial.value


def _loss_and_number(sweep: SweepRow, trial: TrialRow) -> tuple[float, int]:
    return _loss(sweep, trial), trial.number
