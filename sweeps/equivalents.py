"""Equivalents: settings that are trained as an earlier one is, and so are not trained again.

Such a setting is a trial of its own for each seed. While the earlier one is open it waits without trials;
once that has ended it is stored as a copy of it. Where the earlier one failed, the next of them is trained.
All this follows from which settings were proposed and how they ended, so a resumed sweep has the same.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from search_spaces.catalogue import Catalogue
from search_spaces.settings import Beginning, Setting
from sweeps.entries import Ended
from sweeps.likeness import Likeness, Rates
from sweeps.proposals import Asked
from sweeps.records import NewTrial, RoundRecord, TrialProgress

_NOTHING: Mapping[int, Beginning] = {}


@dataclass(frozen=True, slots=True)
class Copy:
    """A setting that is to be stored as another one ended."""

    asked: Asked
    of: int
    ended: Ended

    def progress(self, numbers: Sequence[int]) -> list[TrialProgress]:
        """How its trials, ``numbers`` by seed, ended: as the others, none of whose epochs they trained."""
        return [
            replace(progress, number=number, epochs_trained=0, parent_number=progress.number, fork_step=step)
            for number, (progress, step) in zip(numbers, self.ended.trials, strict=True)
        ]


@dataclass(slots=True)
class Copied:
    """Trials that a decision stores as copies."""

    trials: list[NewTrial] = field(default_factory=list)
    progress: list[TrialProgress] = field(default_factory=list)
    attributes: dict[int, Mapping[str, Any]] = field(default_factory=dict)  # Optuna's, by setting

    def add(self, trials: Sequence[NewTrial], progress: Sequence[TrialProgress]) -> None:
        """Trials of one setting, and how they ended."""
        self.trials += trials
        self.progress += progress

    def added_to(self, record: RoundRecord) -> RoundRecord:
        """The record with them: they begin, have the others' measurements, and end in one transaction."""
        if not self.trials:
            return record
        progress = sorted((*record.progress, *self.progress), key=lambda one: one.number)
        of = {one.number: one.parent_number for one in self.progress if one.parent_number is not None}
        return replace(
            record,
            trials=(*record.trials, *self.trials),
            started=(*record.started, *of),
            progress=tuple(progress),
            copies={number: of[number] for number in sorted(of)},
            attributes={**record.attributes, **self.attributes},
        )


class Equivalents:
    """The settings of a sweep by which of them are trained alike."""

    def __init__(
        self,
        catalogue: Catalogue,
        rates: Rates | None,
        *,
        to_the_end: Callable[[int], bool] = lambda _: False,
    ) -> None:
        """No settings yet; ``rates`` as :class:`~sweeps.likeness.Likeness` takes them.

        ``to_the_end``: whether a setting, by index, is one that no pruner gives up.
        """
        self._likeness = Likeness(catalogue, rates)
        self._to_the_end = to_the_end
        self._known = 0  # settings, from index 0 on
        self._first_of: dict[int, int] = {}  # of those that are like an earlier one
        self._alike: dict[int, list[int]] = {}  # by the first, where there are more
        self._ended: dict[int, Ended] = {}  # of settings that were trained
        self._waiting: dict[int, dict[int, Asked]] = {}  # by the first that they are like, then by index
        self._count = 0  # of those that wait
        self._due: list[int] = []  # settings with a new end, which others may wait for

    @property
    def waiting(self) -> int:
        """How many settings wait for another's end."""
        return self._count

    def waiting_in_vain(self, open_settings: Container[int]) -> int:
        """How many of them wait for what is not open, and is to be trained only if more is proposed."""
        return sum(
            self._trained(index) not in open_settings
            for waiting in self._waiting.values()
            for index in waiting
        )

    def restore(self, settings: Sequence[Setting], ended: Mapping[int, Ended]) -> None:
        """Go on from stored settings, in their order, and the ends of those that have been trained."""
        for index, setting in enumerate(settings):
            self._file(index, setting)
        self._ended.update(ended)

    def know(self, asked: Asked) -> None:
        """Take a setting into account, in the order of their indices, before any after it is taken in."""
        if asked.index >= self._known:
            self._file(asked.index, asked.setting)

    def take_in(self, asked: Asked, beside: Mapping[int, Beginning] = _NOTHING) -> bool:
        """Whether a setting is to be trained; where not, it is kept until the one that it is like has ended.

        ``beside``: beginnings of settings, by index, that it would share a row with where it has the same:
        then it is trained too, for nothing.
        """
        self.know(asked)
        trained = self._trained(asked.index)
        if trained == asked.index or beside.get(trained) == asked.setting.beginning:
            return True
        self._waiting.setdefault(self._first_of[asked.index], {})[asked.index] = asked
        self._count += 1
        self._due.append(trained)
        return False

    def end(self, index: int, ended: Ended) -> None:
        """A setting has ended that was trained."""
        self._ended[index] = ended
        self._due.append(index)

    def settle(self) -> tuple[list[Copy], list[Asked]]:
        """Settings whose wait is over, in order: to be stored as copies, and to be trained after all."""
        copies: list[Copy] = []
        to_train: list[Asked] = []
        if not self._count:
            self._due.clear()
            return copies, to_train
        firsts = sorted({self._first_of.get(index, index) for index in self._due})
        self._due.clear()
        for first in firsts:
            waiting = self._waiting.get(first)
            if not waiting:
                continue
            for index, asked in list(waiting.items()):
                trained = self._trained(index)
                if trained == index:
                    to_train.append(asked)
                elif (ended := self._ended.get(trained)) is not None:
                    copies.append(Copy(asked, trained, ended))
                else:
                    continue
                del waiting[index]
                self._count -= 1
        return sorted(copies, key=lambda copy: copy.asked.index), to_train

    def _file(self, index: int, setting: Setting) -> None:
        """Take in the next setting."""
        self._known = index + 1
        first = self._likeness.first_alike(index, setting)
        if first != index:
            self._first_of[index] = first
            self._alike.setdefault(first, [first]).append(index)

    def _trained(self, index: int) -> int:
        """Of the settings like this one, the one that is trained for it: the first that has not failed.

        One that is never given up is not like one that was.
        """
        alike = self._alike.get(self._first_of.get(index, index))
        if alike is None:
            return index
        trained = self._first_not_failed(alike, index)
        if trained in self._ended and self._ended[trained].given_up and self._to_the_end(index):
            return self._first_not_failed([one for one in alike if self._to_the_end(one)], index)
        return trained

    def _first_not_failed(self, alike: Sequence[int], otherwise: int) -> int:
        return next(
            (one for one in alike if one not in self._ended or not self._ended[one].failed), otherwise
        )
