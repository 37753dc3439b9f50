"""Families: open trials that began alike, and how many rows they take as their schedules part.

Trials of one seed whose settings differ in the schedule only, admitted together, ride on one row of a
population until their rates differ. How far schedules agree is known before they train; where one acts on
what training shows, the workers' reports tell.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Container, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from search_spaces.settings import Beginning, Setting
from sweeps.entries import OpenTrial
from sweeps.plan import Place
from workers.messages import Measured, Outcome

Prefix = tuple[int, ...]
"""By epoch, the position in its family of the first trial with the same rates in all epochs so far."""

Prefixes = Callable[[Sequence[Setting]], Sequence[Prefix]]
"""The prefix of each of some settings that differ in their schedule only."""


@dataclass(slots=True)
class _Family:
    place: Place  # of each of its trials
    members: dict[int, Prefix] = field(default_factory=dict)  # by number
    alone_at_any_time: set[int] = field(
        default_factory=set
    )  # those whose schedule acts on what training shows


class Families:
    """The open trials of a sweep by who shares rows with whom."""

    def __init__(
        self,
        prefixes: Prefixes | None,
        epochs: int,
        acting: frozenset[str] = frozenset(),
        costs: Sequence[int] | None = None,
    ) -> None:
        """``prefixes`` None: trials share no rows, because they are not stacked.

        ``acting``: schedules that act on what training shows, so that they may leave a row in any epoch.
        ``costs``: epochs that a row is trained for in each of its epochs, more than one with cooldowns.
        """
        self._costs = (1,) * epochs if costs is None else tuple(costs)
        self._prefixes = prefixes
        self._epochs = epochs
        self._acting = acting
        self._single: dict[int, Counter[int]] = {}  # trials of no family by lane, then admitted round
        self._families: dict[int, dict[int, _Family]] = {}  # by lane, then the number of the first trial
        self._first_of: dict[int, int] = {}

    @property
    def share_rows(self) -> bool:
        """Whether any trials do."""
        return self._prefixes is not None

    def empty(self) -> Families:
        """The same without trials."""
        return Families(self._prefixes, self._epochs, self._acting, self._costs)

    def rows_at_start(self, settings: Sequence[Setting]) -> int:
        """How many rows a family of settings takes in its first epoch, for each of its seeds."""
        if self._prefixes is None or len(settings) < 2:
            return len(settings)
        return len({prefix[0] for prefix in self._prefixes(settings)})

    def epochs_at_most(self, settings: Sequence[Setting]) -> int:
        """At most how many epochs rows train for a family of settings, for each of its seeds."""
        if self._prefixes is None:
            return len(settings) * sum(self._costs)
        alike: dict[Beginning, list[Setting]] = {}
        for setting in settings:
            alike.setdefault(setting.beginning, []).append(setting)
        return sum(
            rows_at_most(self._prefixes(members), [self._acts(setting) for setting in members], self._costs)
            for members in alike.values()
        )

    def epochs_coming(self, open_trials: Mapping[int, OpenTrial]) -> int:
        """At most how many epochs rows still train for the open trials, if none is given up."""
        coming = sum(
            sum(self._costs[trial.epochs_done :])
            for number, trial in open_trials.items()
            if number not in self._first_of
        )
        for families in self._families.values():
            for family in families.values():
                done = min(open_trials[number].epochs_done for number in family.members)
                left = [prefix[done:] for prefix in family.members.values()]
                alone = [number in family.alone_at_any_time for number in family.members]
                coming += rows_at_most(left, alone, self._costs[done:])
        return coming

    def _acts(self, setting: Setting) -> bool:
        return setting.schedule.name in self._acting

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
            family.alone_at_any_time |= {t.row.number for t in members if self._acts(t.setting)}
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


def rows_at_most(prefixes: Sequence[Prefix], alone: Sequence[bool], costs: Sequence[int]) -> int:
    """At most how many epochs the rows train that trials with these prefixes take.

    ``costs``: by epoch, how many that is for one row. Trials that may leave a row at any time (``alone``) are
    counted as if they had done so from the start.
    """
    apart = [prefix for prefix, leaves in zip(prefixes, alone, strict=True) if leaves]
    others = [prefix for prefix, leaves in zip(prefixes, alone, strict=True) if not leaves]
    shared = sum(cost * len(set(rows)) for rows, cost in zip(zip(*others, strict=True), costs, strict=False))
    return shared + len(apart) * sum(costs)


def rows_of_open(outcomes: Sequence[Outcome], open_trials: Container[int]) -> list[Outcome]:
    """The outcomes of open trials, on rows that are all an open trial's own.

    A row whose own trial was given up while its riders trained on is that of the first of these, as it is
    for a worker that has heard of it, and for one that trains them again after an interruption.
    """
    measured = {outcome.number: outcome for outcome in outcomes if isinstance(outcome, Measured)}
    heirs: dict[int, int] = {}
    found: list[Outcome] = []
    for outcome in sorted(outcomes, key=lambda outcome: outcome.number):
        if outcome.number not in open_trials:
            continue
        row = outcome.rides_on if isinstance(outcome, Measured) else None
        if row is None or row in open_trials or not isinstance(outcome, Measured):
            found.append(outcome)
        elif row in heirs:
            found.append(replace(outcome, rides_on=heirs[row]))
        else:
            heirs[row] = outcome.number
            cooled = measured[row].cooldown_epochs if row in measured else outcome.cooldown_epochs
            found.append(replace(outcome, rides_on=None, cooldown_epochs=cooled))
    return found


def epochs_of_rows(outcomes: Sequence[Outcome]) -> dict[int, int]:
    """Epochs that a round's rows trained, cooldowns included, by the trial that each is the row of."""
    own = [outcome for outcome in outcomes if isinstance(outcome, Measured) and outcome.rides_on is None]
    return {outcome.number: 1 + outcome.cooldown_epochs for outcome in own}
