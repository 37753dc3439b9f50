"""Families: open trials that began alike, and how many rows they take as their schedules part.

Trials of one seed whose settings differ in the schedule only, admitted together, ride on one row of a
population until their rates differ. How far schedules agree is known before they train; where one acts on
what training shows, the workers' reports tell.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
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
        self._single: dict[int, Counter[int]] = {}  # trials of no family by lane, then admitted round
        self._families: dict[int, dict[int, _Family]] = {}  # by lane, then the number of the first trial
        self._first_of: dict[int, int] = {}

    @property
    def share_rows(self) -> bool:
        """Whether any trials do."""
        return self._prefixes is not None

    def empty(self) -> Families:
        """The same without trials."""
        return Families(self._prefixes, self._epochs)

    def rows_at_start(self, settings: Sequence[Setting]) -> int:
        """How many rows a family of settings takes in its first epoch, for each of its seeds."""
        if self._prefixes is None or len(settings) < 2:
            return len(settings)
        return len({prefix[0] for prefix in self._prefixes(settings)})

    def join(self, trials: Sequence[OpenTrial]) -> None:
        """Take in trials that are admitted to one lane in one round."""
        alike: dict[Hashable, list[OpenTrial]] = {}
        for trial in trials:
            key = trial.row.number if self._prefixes is None else (trial.row.seed, trial.setting.beginning)
            alike.setdefault(key, []).append(trial)
        for members in alike.values():
            place = members[0].place
            if self._prefixes is None or len(members) == 1:
                self._single.setdefault(place.lane, Counter())[place.admitted_round] += 1
                continue
            numbers = [trial.row.number for trial in members]
            prefixes = self._prefixes([trial.setting for trial in members])
            family = _Family(place, dict(zip(numbers, prefixes, strict=True)))
            self._families.setdefault(place.lane, {})[numbers[0]] = family
            self._first_of |= dict.fromkeys(numbers, numbers[0])

    def row_at_start(self, trial: OpenTrial) -> Hashable:
        """Equal for open trials that share a row in their first epoch, and only for them."""
        number = trial.row.number
        first = self._first_of.get(number)
        if first is None:
            return number, 0
        return first, self._families[trial.place.lane][first].members[number][0]

    def leave(self, trial: OpenTrial) -> None:
        """Forget a trial that has ended."""
        place = trial.place
        first = self._first_of.pop(trial.row.number, None)
        if first is None:
            self._single[place.lane][place.admitted_round] -= 1
            return
        families = self._families[place.lane]
        del families[first].members[trial.row.number]
        if not families[first].members:
            del families[first]

    def rows(self, open_trials: Mapping[int, OpenTrial], *, lane: int, round_: int) -> int:
        """How many rows the lane's open trials take in the round, as far as is known."""
        single = self._single.setdefault(lane, Counter())
        for past in [admitted for admitted, count in single.items() if not count]:
            del single[past]
        taken = sum(
            count for admitted, count in single.items() if admitted <= round_ < admitted + self._epochs
        )
        for family in self._families.get(lane, {}).values():
            if family.place.trains_in(round_, self._epochs):
                epoch = family.place.epoch_in(round_)
                taken += len(
                    {
                        (open_trials[number].rides_on, prefix[epoch - 1])
                        for number, prefix in family.members.items()
                    }
                )
        return taken
