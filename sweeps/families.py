"""Families: open trials that began alike, and how many rows they take as their schedules part.

Trials of one seed whose settings differ in the schedule only, admitted together, ride on one row of a
population until their rates differ. How far schedules agree is known before they train; where one acts on
what training shows, the workers' reports tell.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from search_spaces.settings import Setting
from sweeps.entries import OpenTrial
from sweeps.plan import Place

Prefix = tuple[int, ...]
"""By epoch, the position in its family of the first trial with the same rates in all epochs so far."""

Prefixes = Callable[[Sequence[Setting]], Sequence[Prefix]]
"""The prefix of each of some settings that differ in their schedule only."""


@dataclass(slots=True)
class _Family:
    place: Place  # of each of its trials
    members: dict[int, Prefix] = field(default_factory=dict)  # by number


class Families:
    """The open trials of a sweep by who shares rows with whom."""

    def __init__(self, prefixes: Prefixes | None, epochs: int) -> None:
        """``prefixes`` None: trials share no rows, because they are not stacked."""
        self._prefixes = prefixes
        self._epochs = epochs
        self._single: Counter[tuple[int, int]] = Counter()  # trials of no family by lane and admitted round
        self._families: dict[int, _Family] = {}  # by the number of the first trial
        self._family_of: dict[int, int] = {}

    def empty(self) -> Families:
        """The same without trials."""
        return Families(self._prefixes, self._epochs)

    def rows_at_start(self, settings: Sequence[Setting]) -> int:
        """How many rows a family of settings takes in its first epoch, for each of its seeds."""
        if self._prefixes is None or len(settings) < 2:
            return len(settings)
        return len({prefix[0] for prefix in self._prefixes(settings)})

    def join(self, trials: Sequence[tuple[OpenTrial, Setting]]) -> None:
        """Take in trials that are admitted to one lane in one round."""
        alike: dict[object, list[tuple[OpenTrial, Setting]]] = {}
        for trial, setting in trials:
            key = trial.row.number if self._prefixes is None else (trial.row.seed, setting.beginning)
            alike.setdefault(key, []).append((trial, setting))
        for members in alike.values():
            place = members[0][0].place
            if self._prefixes is None or len(members) == 1:
                self._single[place.lane, place.admitted_round] += 1
                continue
            numbers = [trial.row.number for trial, _ in members]
            prefixes = self._prefixes([setting for _, setting in members])
            self._families[numbers[0]] = _Family(place, dict(zip(numbers, prefixes, strict=True)))
            self._family_of |= dict.fromkeys(numbers, numbers[0])

    def leave(self, trial: OpenTrial) -> None:
        """Forget a trial that has ended."""
        first = self._family_of.pop(trial.row.number, None)
        if first is None:
            key = trial.place.lane, trial.place.admitted_round
            self._single[key] -= 1
            if not self._single[key]:
                del self._single[key]
            return
        del self._families[first].members[trial.row.number]
        if not self._families[first].members:
            del self._families[first]

    def rows(self, open_trials: Mapping[int, OpenTrial], *, lane: int, round_: int) -> int:
        """How many rows the lane's open trials take in the round, as far as is known."""
        taken = sum(
            count
            for (of_lane, admitted), count in self._single.items()
            if of_lane == lane and admitted <= round_ < admitted + self._epochs
        )
        for family in self._families.values():
            if family.place.lane == lane and family.place.trains_in(round_, self._epochs):
                epoch = family.place.epoch_in(round_)
                taken += len(
                    {
                        (open_trials[number].rides_on, prefix[epoch - 1])
                        for number, prefix in family.members.items()
                    }
                )
        return taken
