"""Admissions: which trials join a sweep, and when: settings to try, copies of others, confirming trials.

Asked at each decision, once what has ended is known. What it stores goes into that decision's record.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from search_spaces.catalogue import Catalogue
from search_spaces.settings import Beginning, Setting
from search_spaces.space import SearchSpace
from sweeps.ends import ENDLESS, Ending, Ends, TimeLeft
from sweeps.entries import Ended, OpenTrial, SettingEntry, new_trials
from sweeps.equivalents import Copied, Equivalents
from sweeps.likeness import Rates
from sweeps.open_trials import OpenTrials
from sweeps.plan import ROUNDS_IN_FLIGHT, Budget, Place, lane_share
from sweeps.proposal_queue import ProposalQueue
from sweeps.proposals import Asked, Proposals
from sweeps.records import NewTrial, Proposal, RoundRecord
from sweeps.rungs import control_group


class Admissions:
    """What is still to come in one running sweep, and whom its free rows are given to."""

    def __init__(
        self,
        space: SearchSpace,
        catalogue: Catalogue,
        budget: Budget,
        *,
        proposals: Proposals,
        open_trials: OpenTrials,
        rates: Rates | None,
    ) -> None:
        """Nothing admitted yet; ``rates`` as :class:`~sweeps.equivalents.Equivalents` takes them.

        Raises TerminatorUnavailable.
        """
        self._space = space
        self._catalogue = catalogue
        self._budget = budget
        self._proposals = proposals
        self._open = open_trials
        self._leaders = open_trials.leaders
        self._ends = Ends(space)
        self._is_control = control_group(space)
        self._equivalents = Equivalents(catalogue, rates, to_the_end=self._is_control)
        self._queue = ProposalQueue(space, budget, proposals, self._equivalents)

    def restore(
        self,
        proposals: Sequence[Proposal],
        settings: Sequence[SettingEntry],
        ended: Mapping[int, Ended],
        ending: Mapping[str, Any] | None,
    ) -> None:
        """Go on from stored proposals: which wait for an equivalent one, and which are only asked ahead.

        ``settings``: the entry of each; ``ended``: of those whose trials all have; ``ending``: as stored.
        """
        asked = [self._proposals.again(one.index, one.parameters, one.attributes) for one in proposals]
        self._equivalents.restore([one.setting for one in asked], ended)
        without_trials = [one for one in asked if not settings[one.index].numbers]
        self._queue.restore(len(asked) - len(without_trials), without_trials)
        self._ends.restore(ending, settings)

    def first_record(self, first_rounds: Mapping[int, int], *, time: TimeLeft = ENDLESS) -> RoundRecord:
        """What to store before the first rounds, by lane, of lanes that have nothing to do yet.

        No report precedes the rounds that are sent at once, so their settings are proposed together.
        """
        self._ends.time = time
        copied = Copied()
        joining: list[OpenTrial] = []
        for ahead in range(ROUNDS_IN_FLIGHT):
            for lane, first_round in first_rounds.items():
                joining += self._propose(lane, first_round + ahead, copied)
        return self._added_to(RoundRecord(rounds_done=self._open.tally.rounds_done), joining, copied)

    def waking_record(self, first_rounds: Mapping[int, int]) -> RoundRecord | None:
        """What to store for lanes without anything to do, by lane; None where there is nothing for them.

        Leaders to be confirmed, or settings that were put off until others ended.
        """
        confirms = not self._searching and bool(self._leaders.wanted())
        if not confirms and not (self._ends.decided is not None and self._queue.put_off):
            return None
        return self.first_record(first_rounds, time=self._ends.time)

    def decide(self, record: RoundRecord, lane: int, round_: int, *, time: TimeLeft) -> RoundRecord:
        """The record of a round that has been heard, with who joins the lane in a later one."""
        self._ends.time = time
        copied = Copied()
        self._settle(lane, round_, copied)
        if self._queue.has_others:  # else nothing would end early
            self._ends.decide()
        return self._added_to(record, self._propose(lane, round_, copied), copied)

    def ask_ahead(self, lane: int, round_: int) -> None:
        """Ask, while workers train, for settings that will have room in the round and soon after."""
        self._ends.look()
        rounds = range(round_, round_ + self._queue.rounds_ahead)
        if rounds and self._proposes_more and self._ends.decided is None:
            fit = self._room(self._epochs_coming())
            free = [self._open.free_rows(lane, ahead) // self._budget.seeds for ahead in rounds]
            self._queue.ask_ahead(free if fit is None else [min(room, fit) for room in free])

    def setting_ended(self, setting: SettingEntry, how: str, value: float | None) -> None:
        """A setting ended: ``finished`` with a value, ``pruned`` or ``failed``, as Optuna was told."""
        self._ends.setting_ended(setting, how, value)

    def all_trials_ended(self, setting: SettingEntry) -> None:
        """No trial of a setting is open any more: what is like it waits no longer."""
        self._equivalents.end(setting.index, setting.ended())

    @property
    def complete(self) -> bool:
        """Whether nothing is open, nothing more will be proposed, and nothing is to be confirmed."""
        return not self._open.by_number and not self._proposes_more and not self._leaders.wanted()

    def ending(self, time: TimeLeft) -> Ending | None:
        """Why a sweep that is over was ended before all was trained; None where it was not."""
        self._ends.time = time
        if self.complete:
            return self._ends.decided
        return self._ends.ending(cancelled=len(self._open.by_number))

    def offered(self, lane: int, round_: int) -> int:
        """How many rows the lane's trials may take in a round that settings have been proposed for.

        Those that are there, where no more settings come.
        """
        rows = self._open.rows(lane, round_)
        return max(rows, lane_share(self._budget, lane)) if self._proposes_more else rows

    @property
    def trials_expected(self) -> int:
        """Trials the sweep will have had when it ends."""
        confirming = self._leaders.expected(searching=self._searching)
        settings = self._queue.settings_expected
        if self._ends.decided is not None:
            put_off = self._queue.put_off
            in_vain = self._equivalents.waiting_in_vain({*self._open.settings, *put_off})
            settings = self._queue.settings_taken - in_vain + len(put_off)
        return settings * self._budget.seeds + confirming

    @property
    def epochs_expected(self) -> int:
        """Epochs of all trials if every open and coming one trains to its full length, within the budget."""
        return self._open.tally.epochs_expected(
            self.trials_expected, epochs=self._budget.epochs, limit=self._space.budget.epochs
        )

    @property
    def _proposes_more(self) -> bool:
        """Whether there are settings still to be proposed, as far as budgets admit them.

        When the search has ended, those of the control group that were put off.
        """
        return self._queue.has_more if self._ends.decided is None else bool(self._queue.put_off)

    @property
    def _searching(self) -> bool:
        """Whether there are trials of the search, open or to come; its leaders are known only afterwards."""
        return self._proposes_more or self._open.searching

    def _added_to(self, record: RoundRecord, joining: Sequence[OpenTrial], copied: Copied) -> RoundRecord:
        added = replace(
            record,
            proposals=self._queue.to_store(),
            trials=tuple(trial.row for trial in joining),
            ending=self._ends.to_plain(),
        )
        return copied.added_to(added)

    def _propose(self, lane: int, round_: int, copied: Copied) -> list[OpenTrial]:
        """Open trials for the rows that are free in the round, a family at a time.

        A setting that waits for another takes no row. It counts as one all the same as long as the lane has
        open trials, so that a sampler is not asked on and on before it has heard of those.
        """
        self._end_search_without_room()
        families, seeds = self._open.families, self._budget.seeds
        joining: list[OpenTrial] = []
        beside: dict[int, Beginning] = {}  # of the settings of these trials, where trials share rows
        free, coming = self._open.free_rows(lane, round_), self._epochs_coming()
        unasked = free
        while free >= seeds and self._proposes_more and not (unasked < seeds and self._open.of_lane(lane)):
            waiting = self._equivalents.waiting
            family = self._take(self._budget.settings if families.share_rows else free // seeds, coming)
            if family is None:
                break
            trained: list[Setting] = []
            for asked in family:
                if self._equivalents.take_in(asked, beside):
                    entry = SettingEntry(index=asked.index, parameters=asked.parameters)
                    joining += self._open.begin(entry, asked.setting, self._new_trials(asked, lane, round_))
                    trained.append(asked.setting)
                    if families.share_rows:
                        beside[asked.index] = asked.setting.beginning
            self._settle(lane, round_, copied)
            taken = families.rows_at_start(trained) * seeds
            free -= taken
            unasked -= taken + (self._equivalents.waiting - waiting) * seeds
            if coming is not None:
                coming += families.epochs_at_most(trained) * seeds
        joining += self._confirming_trials(lane, round_)
        self._open.join(joining)
        return joining

    def _take(self, most: int, coming: int | None) -> tuple[Asked, ...] | None:
        """The next family of at most ``most`` settings; None where budgets admit none at present.

        When the search has ended, those of the control group that were put off.
        """
        if self._ends.decided is not None:
            room = self._room_for_all(coming)
            return None if room == 0 else self._queue.take_put_off(most if room is None else min(most, room))
        room = self._room(coming)
        return None if room == 0 else self._queue.take(most if room is None else min(most, room))

    def _settle(self, lane: int, round_: int, copied: Copied) -> None:
        """Store copies of trials that have ended as their equivalents; train what waited for failed ones."""
        copies, to_train = self._equivalents.settle()
        for asked in to_train:
            self._queue.put_back(asked)
        for copy in copies:
            index, ended = copy.asked.index, copy.ended
            rows = self._new_trials(copy.asked, lane, round_)
            progress = copy.progress([row.number for row in rows])
            self._proposals.repeat(index, copy.of, ended.how)
            if self._proposals.keeps_attributes:
                copied.attributes[index] = self._proposals.attributes(index)
            entry = SettingEntry(index=index, parameters=copy.asked.parameters)
            self._ends.setting_ended(entry, ended.how, ended.value)
            for row, one in zip(rows, progress, strict=True):
                self._open.add_copy(row, one)
            copied.add(rows, progress)

    def _confirming_trials(self, lane: int, round_: int) -> list[OpenTrial]:
        """The next of the race for rows that are free in the round, shared out evenly among the lanes."""
        if self._searching or not (wanted := len(self._leaders.wanted())):
            return []
        if not self._ends.time.suffices_for(self._budget.epochs):
            self._leaders.given_up = True
            return []
        even = -(-(wanted + self._leaders.open_count) // self._budget.lanes)
        most = min(self._open.free_rows(lane, round_), even - len(self._open.of_lane(lane)))
        return self._open.begin_confirming(most, lane, round_)

    def _epochs_coming(self) -> int | None:
        """At most how many epochs the open trials still train; None where nobody counts them."""
        return None if self._space.budget.epochs is None else self._open.epochs_coming()

    def _room(self, coming: int | None) -> int | None:
        """How many more settings budgets admit; None: any number. ``coming``: epochs of open trials.

        As long as there are others, room is kept for those that were put off.
        """
        room = self._room_for_all(coming)
        if room is None or not self._queue.has_others:
            return room
        return max(0, room - len(self._queue.put_off))

    def _room_for_all(self, coming: int | None) -> int | None:
        """As :meth:`_room`, with what is kept."""
        return self._ends.room(trained=self._open.tally.epochs_trained, coming=coming or 0)

    def _end_search_without_room(self) -> None:
        """Where no trial of the search is open and budgets admit no other, the search has ended for good."""
        if not self._proposes_more or self._open.searching or self._room(0) != 0:
            return
        left = self._room_for_all(0) or 0
        if self._ends.decided is None:
            put_off = min(left, len(self._queue.put_off))
            self._ends.end_by_budget(trained=self._open.tally.epochs_trained, put_off=put_off)
        if not left:
            self._queue.forget_put_off()

    def _new_trials(self, asked: Asked, lane: int, round_: int) -> list[NewTrial]:
        first = Place(number=asked.index * self._budget.seeds, lane=lane, admitted_round=round_)
        return new_trials(self._space, self._catalogue, asked.index, asked.setting, first)
