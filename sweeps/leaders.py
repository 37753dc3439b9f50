"""Leaders: the best settings of a sweep whose search is over, and which of their trials come next.

What is decided is a function of ended trials, whenever it is asked.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import fields
from statistics import fmean

from search_spaces.confirming import Confirm, fresh_seeds
from sweeps.confirmation import Race, run_race
from sweeps.records import NewTrial, TrialState

_COPIED = [one.name for one in fields(NewTrial)]


class Leaders:
    """A running sweep's finished settings, and the race of the best of them over fresh seeds."""

    def __init__(self, confirm: Confirm | None, seeds: Sequence[int], goal: str) -> None:
        """No trials yet; with ``confirm`` None nothing is ever confirmed.

        ``seeds``: of the search; ``goal``: minimize or maximize.
        """
        self._confirm = confirm
        self._seeds = tuple(seeds)
        self.fresh_seeds = () if confirm is None else fresh_seeds(seeds, confirm.seeds)
        self._sign = 1.0 if goal == "minimize" else -1.0
        self._found: dict[int, dict[int, float]] = {}  # by the search: by setting, then seed
        self._rows: dict[int, NewTrial] = {}  # a trial of each of these settings
        self._own: set[int] = set()  # of them, those of which a trial repeats no other
        self.results: dict[int, dict[int, float]] = {}  # of confirming trials, as the race takes them
        self._open: dict[int, tuple[int, int]] = {}  # (setting, seed) of open confirming trials by number
        self._next_number = 0
        self._race: Race | None = None  # as far as results go; None: to be worked out
        self.given_up = False  # whether nothing more is confirmed, as when no time is left

    def confirms(self, trial: NewTrial) -> bool:
        """Whether the trial is one of a leader with a fresh seed."""
        return trial.seed in self.fresh_seeds

    @property
    def open_count(self) -> int:
        """Confirming trials that are open."""
        return len(self._open)

    def begin(self, trial: NewTrial) -> None:
        """A trial, of the search or the race, is stored or about to be."""
        self._next_number = max(self._next_number, trial.number + 1)
        if self.confirms(trial):
            self._open[trial.number] = (trial.setting_index, trial.seed)

    def end(self, trial: NewTrial, state: TrialState, value: float | None, *, repeats: bool = False) -> None:
        """A trial that had begun has ended; ``repeats``: all its epochs are those of another's row."""
        if self._confirm is None:
            return
        finished = state is TrialState.finished and value is not None
        loss = self._sign * value if finished and value is not None else math.nan
        if self._open.pop(trial.number, None) is not None:
            of_setting = self.results.setdefault(trial.setting_index, {})
            of_setting[trial.seed] = math.inf if state is TrialState.diverged else loss
            self._race = None
        elif finished:
            self._found.setdefault(trial.setting_index, {})[trial.seed] = loss
            self._rows.setdefault(trial.setting_index, trial)
            if not repeats:
                self._own.add(trial.setting_index)

    def wanted(self) -> list[tuple[int, int]]:
        """(setting, seed) of the trials that are to begin now, in their order. The search must be over."""
        if self._confirm is None or self.given_up:
            return []
        begun = set(self._open.values())
        return [place for place in self.race.wanted if place not in begun]

    def new_trials(self, most: int, *, lane: int, round_: int) -> list[NewTrial]:
        """The next of them to be stored, at most ``most``, and begun."""
        begun = []
        for setting, seed in self.wanted()[: max(0, most)]:
            copied = {name: getattr(self._rows[setting], name) for name in _COPIED}
            place = {"number": self._next_number, "seed": seed, "lane": lane, "admitted_round": round_}
            begun.append(NewTrial(**{**copied, **place}))
            self.begin(begun[-1])
        return begun

    def expected(self, *, searching: bool) -> int:
        """Confirming trials that there will have been at the end, at most."""
        if self._confirm is None:
            return 0
        done = len(self._open) + sum(len(seeds) for seeds in self.results.values())
        if self.given_up:
            return done
        if searching:
            return self._confirm.top * self._confirm.seeds
        race = self.race
        if race.over:
            return done
        dropped = sum(race.dropped.values())
        return dropped + len(race.left) * len(self.fresh_seeds)

    @property
    def race(self) -> Race:
        """How the race stands, where there is one. The search must be over."""
        if self._race is None:
            assert self._confirm is not None  # noqa: S101 - or nobody asks
            own = {setting: self._found[setting] for setting in self._found if setting in self._own}
            leaders = leaders_of(own, self._rows, seeds=len(self._seeds), top=self._confirm.top)
            self._race = run_race(leaders, self.fresh_seeds, self.results, self._confirm.error_rate)
        return self._race


def leaders_of(
    losses: Mapping[int, Mapping[int, float]], rows: Mapping[int, NewTrial], *, seeds: int, top: int
) -> tuple[int, ...]:
    """The ``top`` settings with the best mean, best first, of those that finished with all ``seeds``.

    Of settings that are the same only the first can be one. ``losses``: by setting, then seed.
    """
    whole = [setting for setting, found in losses.items() if len(found) == seeds]
    ranked = sorted(whole, key=lambda setting: (fmean(losses[setting].values()), setting))
    found: dict[str, int] = {}
    for setting in ranked:
        found.setdefault(json.dumps(dict(rows[setting].setting), sort_keys=True), setting)
        if len(found) == top:
            break
    return tuple(found.values())
