"""The ledger: what the runner knows of its sweep, folded from stored facts and extended by each decision.

Reports go in, a :class:`~sweeps.records.RoundRecord` comes out. The ledger writes nothing and sends nothing.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from search_spaces.catalogue import Catalogue
from search_spaces.earlier import EarlierSetting
from search_spaces.samplers import is_own
from search_spaces.settings import Beginning, Setting
from search_spaces.space import SearchSpace
from sweeps.cooldowns import epoch_costs
from sweeps.ends import ENDLESS, Ending, Ends, TimeLeft
from sweeps.entries import (
    Ended,
    OpenTrial,
    SettingEntry,
    break_off,
    measure,
    new_trials,
    step_at_end,
    to_measurement,
    to_open,
    to_progress,
)
from sweeps.equivalents import Copied, Equivalents
from sweeps.families import Families, Prefixes, epochs_of_rows
from sweeps.leaders import Leaders
from sweeps.likeness import Rates
from sweeps.plan import ROUNDS_IN_FLIGHT, Budget, Place, free_rows, lane_share
from sweeps.proposal_queue import ProposalQueue
from sweeps.proposals import Asked, Proposals
from sweeps.reaching import reached_together
from sweeps.records import (
    OPEN_STATES,
    Measurement,
    NewTrial,
    Proposal,
    RoundRecord,
    TrialProgress,
    TrialRow,
    TrialState,
)
from sweeps.settings_history import settings_of, stored_ends, told
from workers.messages import Diverged, Failed, Measured, Outcome


class Ledger:
    """State of one running sweep."""

    def __init__(
        self,
        space: SearchSpace,
        catalogue: Catalogue,
        *,
        lanes: int = 1,
        prefixes: Prefixes | None = None,
        rates: Rates | None = None,
        earlier: Sequence[EarlierSetting] = (),
    ) -> None:
        """An empty sweep whose trials share rows as ``prefixes`` says, or none.

        Settings whose ``rates`` agree to the end are trained once; where None, those that are the same are.
        Its sampler is told of ``earlier`` settings of another sweep.
        Raises ValueError where the pruner refuses its arguments, TerminatorUnavailable.
        """
        self._space = space
        self._catalogue = catalogue
        self.budget = Budget(
            settings=space.trials,
            seeds=len(space.seeds),
            epochs=space.epochs,
            concurrency=space.concurrency,
            lanes=lanes,
        )
        self._proposals = Proposals(space, earlier=earlier)
        # Pruners, and samplers of the user's own, keep what they decided in Optuna's attributes.
        self._keeps_attributes = space.pruner.name != "none" or is_own(space.sampler)
        acting = frozenset(name for name, entry in catalogue.schedules.items() if entry.watches)
        self._families = Families(prefixes, space.epochs, acting, epoch_costs(space))
        self._ends = Ends(space)
        self._settings: dict[int, SettingEntry] = {}  # of open trials, by index
        self._equivalents = Equivalents(catalogue, rates)
        self._queue = ProposalQueue(space, self.budget, self._proposals, self._equivalents)
        self.leaders = Leaders(space.confirm, space.seeds, space.metric.goal)
        self.open: dict[int, OpenTrial] = {}
        self._of_lane: dict[int, dict[int, OpenTrial]] = {}  # the open ones, by lane
        self._open_epochs = 0  # done by open trials
        self.open_and_shown = 0  # open trials that have done an epoch
        self.counts: dict[TrialState, int] = dict.fromkeys(TrialState, 0)
        self.epochs_done = 0
        self.epochs_trained = 0  # those that trials shared on one row counted once
        self.best: OpenTrial | None = None
        self.rounds_done = 0

    def restore(
        self,
        *,
        rounds_done: int,
        proposals: Sequence[Proposal],
        trials: Sequence[TrialRow],
        measurements: Sequence[Measurement],
        ending: Mapping[str, Any] | None = None,
    ) -> None:
        """Fold stored facts: the same rows always give the same ledger."""
        self.rounds_done = rounds_done
        values: dict[int, dict[int, float]] = {}
        steps: dict[int, int] = {}
        for measurement in measurements:
            values.setdefault(measurement.number, {})[measurement.epoch] = self._metric_of(measurement)
            steps[measurement.number] = measurement.step
        for trial in trials:
            self._restore_trial(trial, steps.get(trial.number, 0))
        searched = [trial for trial in trials if not self.leaders.confirms(trial)]
        settings = settings_of(proposals, searched, values, self.budget.epochs)
        self._proposals.rebuild([told(proposal, settings[proposal.index]) for proposal in proposals])
        self._restore_equivalents(proposals, settings, stored_ends(searched, settings, steps))
        self._ends.restore(ending, settings)
        of_open = {trial.row.setting_index for trial in self.open.values()}
        self._settings = {index: settings[index] for index in sorted(of_open)}
        self._join_families()

    def _restore_equivalents(
        self, proposals: Sequence[Proposal], settings: Sequence[SettingEntry], ended: Mapping[int, Ended]
    ) -> None:
        """Tell which settings wait for an equivalent one and which are only asked ahead."""
        asked = [self._proposals.again(one.index, one.parameters, one.attributes) for one in proposals]
        self._equivalents.restore([one.setting for one in asked], ended)
        without_trials = [one for one in asked if not settings[one.index].numbers]
        self._queue.restore(len(asked) - len(without_trials), without_trials)

    def spread_over_lanes(self) -> None:
        """Give open trials to the lanes anew, as if each lane's next round were its first.

        For ``order: arrival``: a resumed sweep may have other workers than the interrupted one had. Trials
        that were admitted together stay together.
        """
        together: dict[Place, list[int]] = {}
        for number, trial in self.open.items():
            together.setdefault(replace(trial.place, number=0), []).append(number)
        for position, numbers in enumerate(together.values()):
            for number in numbers:
                trial = self.open[number]
                lane, admitted = position % self.budget.lanes, 1 - trial.epochs_done
                trial.place = Place(number=number, lane=lane, admitted_round=admitted)
        self._families = self._families.empty()
        self._of_lane = {}
        self._join_families()

    def _join_families(self) -> None:
        admitted: dict[Place, list[OpenTrial]] = {}
        for trial in self.open.values():
            admitted.setdefault(replace(trial.place, number=0), []).append(trial)
            self._of_lane.setdefault(trial.place.lane, {})[trial.row.number] = trial
        for trials in admitted.values():
            self._families.join(trials)

    def first_record(self, first_rounds: Mapping[int, int], *, time: TimeLeft = ENDLESS) -> RoundRecord:
        """What to store before the first rounds, by lane, of lanes that have nothing to do yet.

        No report precedes the rounds that are sent at once, so their settings are proposed together.
        """
        self._ends.time = time
        trials: list[NewTrial] = []
        copied = Copied()
        for ahead in range(ROUNDS_IN_FLIGHT):
            for lane, first_round in first_rounds.items():
                trials += self._propose(lane, first_round + ahead, copied)
        record = RoundRecord(
            rounds_done=self.rounds_done,
            proposals=self._queue.to_store(),
            trials=tuple(trials),
            ending=self._ends.to_plain(),
        )
        return copied.added_to(record)

    def close_round(
        self,
        lane: int,
        round_: int,
        outcomes: Sequence[Outcome],
        *,
        started: Sequence[int],
        now_ms: int,
        time: TimeLeft = ENDLESS,
    ) -> RoundRecord:
        """Take in the outcomes of a lane's round and decide for the round two later.

        Outcomes of trials that have ended meanwhile are dropped: measurements beyond a deciding epoch.
        """
        self._ends.time = time
        self.rounds_done += 1
        trained = epochs_of_rows(outcomes, self.open)
        measurements: list[Measurement] = []
        progress: dict[int, TrialProgress] = {}
        touched: set[int] = set()
        for outcome in sorted(outcomes, key=lambda outcome: outcome.number):
            trial = self.open.get(outcome.number)
            if trial is None:
                continue
            if not self.leaders.confirms(trial.row):
                touched.add(trial.row.setting_index)
            if isinstance(outcome, Measured):
                measurements.append(to_measurement(outcome, now_ms))
                progress[outcome.number] = self._measured(trial, outcome, trained.get(outcome.number, 0))
            else:
                progress[outcome.number] = self._broke(trial, outcome)
        keeps = self._keeps_attributes
        before = {index: self._proposals.attributes(index) for index in touched} if keeps else {}
        heard = [self._settings[index] for index in sorted(touched)]
        self._proposals.judge(lambda: reached_together(heard, outcomes, self._space))
        changed: dict[int, dict[str, Any]] = {}
        for index in sorted(touched):
            setting = self._settings[index]
            for ended in self._hear(setting, progress):
                progress[ended.number] = ended
            if keeps and (after := self._proposals.attributes(index)) != before[index]:
                changed[index] = after
            if not any(number in self.open for number in setting.numbers):
                del self._settings[index]
                self._equivalents.end(index, setting.ended())
        copied = Copied()
        self._settle(lane, round_ + ROUNDS_IN_FLIGHT, copied)
        self._ends.decide()
        trials = self._propose(lane, round_ + ROUNDS_IN_FLIGHT, copied)
        record = RoundRecord(
            rounds_done=self.rounds_done,
            ending=self._ends.to_plain(),
            started=tuple(started),
            measurements=tuple(measurements),
            progress=tuple(progress[number] for number in sorted(progress)),
            proposals=self._queue.to_store(),
            attributes=changed,
            trials=tuple(trials),
        )
        return copied.added_to(record)

    @property
    def complete(self) -> bool:
        """Whether nothing is open, nothing more will be proposed, and nothing is to be confirmed."""
        return not self.open and not self.proposes_more and not self.leaders.wanted()

    @property
    def proposes_more(self) -> bool:
        """Whether there are settings still to be proposed, as far as budgets admit them."""
        return self._queue.has_more and self._ends.decided is None

    def ending(self, time: TimeLeft) -> Ending | None:
        """Why a sweep that is over was ended before all was trained; None where it was not."""
        self._ends.time = time
        left = self.proposes_more or bool(self.open) or bool(self.leaders.wanted())
        return self._ends.ending(cancelled=len(self.open)) if left else self._ends.decided

    @property
    def searching(self) -> bool:
        """Whether there are trials of the search, open or to come; its leaders are known only afterwards."""
        return self.proposes_more or len(self.open) > self.leaders.open_count

    @property
    def trials_expected(self) -> int:
        """Trials the sweep will have had when it ends."""
        confirming = self.leaders.expected(searching=self.searching)
        ended = self._ends.decided is not None
        settings = self._queue.settings_taken if ended else self._queue.settings_expected
        return settings * self.budget.seeds + confirming

    @property
    def epochs_expected(self) -> int:
        """Epochs of all trials if every open and coming one trains to its full length, within the budget."""
        ended = sum(self.counts.values()) - len(self.open)
        coming = self.trials_expected - ended
        expected = self.epochs_done - self._open_epochs + coming * self.budget.epochs
        limit = self._space.budget.epochs
        return expected if limit is None else min(expected, self.epochs_done + limit - self.epochs_trained)

    def of_lane(self, lane: int) -> Mapping[int, OpenTrial]:
        """The lane's open trials by number."""
        return self._of_lane.get(lane, {})

    def offered(self, lane: int, round_: int) -> int:
        """How many rows the lane's trials may take in a round that settings have been proposed for.

        Those that are there, where no more settings come.
        """
        rows = self.rows(lane, round_)
        return max(rows, lane_share(self.budget, lane)) if self.proposes_more else rows

    def rows(self, lane: int, round_: int) -> int:
        """How many rows the lane's open trials take in the round, those that share one counted once."""
        return self._families.rows(self.open, lane=lane, round_=round_)

    def row_at_start(self, number: int) -> Hashable:
        """Equal for open trials that share a row in their first epoch, and only for them."""
        return self._families.row_at_start(self.open[number])

    def _restore_trial(self, trial: TrialRow, step: int) -> None:
        self.counts[trial.state] += 1
        self.leaders.begin(trial)
        self.epochs_done += trial.epochs_done
        self.epochs_trained += trial.epochs_trained
        entry = to_open(trial, step)
        if trial.state in OPEN_STATES:
            self.open[trial.number] = entry
            self._open_epochs += trial.epochs_done
            self.open_and_shown += trial.epochs_done > 0
        else:
            self._heard_end(entry, trial.state)

    def _measured(self, trial: OpenTrial, outcome: Measured, trained: int) -> TrialProgress:
        value = self._value_of(outcome)
        measure(trial, outcome, value, trained=trained)
        self.epochs_trained += trained
        if not self.leaders.confirms(trial.row):
            values = self._settings[trial.row.setting_index].values
            values.setdefault(outcome.epoch, {})[outcome.number] = value
        self.epochs_done += 1
        self._open_epochs += 1
        self.open_and_shown += outcome.epoch == 1
        if outcome.epoch < self.budget.epochs:
            return to_progress(trial, TrialState.running)
        return self._end(trial, TrialState.finished)

    def _broke(self, trial: OpenTrial, outcome: Diverged | Failed) -> TrialProgress:
        state, cause, detail = break_off(trial, outcome)
        return self._end(trial, state, cause=cause, detail=detail)

    def _hear(self, setting: SettingEntry, progress: Mapping[int, TrialProgress]) -> list[TrialProgress]:
        """Tell Optuna what happened to a setting; its open trials end together where it is pruned."""
        if setting.end is not None:
            return []
        states = {progress[number].state for number in setting.numbers if number in progress}
        if TrialState.diverged in states or TrialState.failed in states:
            self._end_setting(setting, "pruned" if TrialState.diverged in states else "failed")
            return []
        while (mean := setting.mean(setting.heard + 1)) is not None:
            setting.heard = epoch = setting.heard + 1
            del setting.values[epoch]
            self._proposals.report(setting.index, epoch, mean)
            if epoch == self.budget.epochs:
                self._end_setting(setting, "finished", mean)
            elif self._proposals.should_prune(setting.index):
                self._end_setting(setting, "pruned")
                numbers = [number for number in setting.numbers if number in self.open]
                return [self._end(self.open[number], TrialState.pruned) for number in numbers]
        return []

    def _end_setting(self, setting: SettingEntry, how: str, value: float | None = None) -> None:
        setting.end = how
        self._ends.setting_ended(setting, how, value)
        self._proposals.end(setting.index, how)

    def _end(
        self,
        trial: OpenTrial,
        state: TrialState,
        *,
        cause: str | None = None,
        detail: Mapping[str, Any] | None = None,
    ) -> TrialProgress:
        del self.open[trial.row.number]
        del self._of_lane[trial.place.lane][trial.row.number]
        self._open_epochs -= trial.epochs_done
        self.open_and_shown -= trial.epochs_done > 0
        self._families.leave(trial)
        self.counts[TrialState.running] -= 1
        self.counts[state] += 1
        self._heard_end(trial, state)
        progress = to_progress(trial, state, cause=cause, detail=detail)
        if not self.leaders.confirms(trial.row):
            end = progress, step_at_end(trial.step, detail)
            self._settings[trial.row.setting_index].ends[trial.row.number] = end
        return progress

    def mark_started(self, numbers: Sequence[int]) -> None:
        """Orders for these waiting trials have been sent; the record being written says so."""
        self.counts[TrialState.waiting] -= len(numbers)
        self.counts[TrialState.running] += len(numbers)

    def ask_ahead(self, lane: int, round_: int) -> None:
        """Ask, while workers train, for settings that will have room in the round and soon after."""
        self._ends.look()
        rounds = range(round_, round_ + self._queue.rounds_ahead)
        if rounds and self.proposes_more:
            fit = self._room(self._epochs_coming())
            free = [self._free_rows(lane, ahead) // self.budget.seeds for ahead in rounds]
            self._queue.ask_ahead(free if fit is None else [min(room, fit) for room in free])

    def _propose(self, lane: int, round_: int, copied: Copied) -> list[NewTrial]:
        """Trials for the rows that are free in the round, a family at a time.

        A setting that waits for another takes no row. It counts as one all the same as long as the lane has
        open trials, so that a sampler is not asked on and on before it has heard of those.
        """
        self._end_search_without_room()
        joining: list[OpenTrial] = []
        beside: dict[int, Beginning] = {}  # of the settings of these trials, where trials share rows
        free, coming = self._free_rows(lane, round_), self._epochs_coming()
        unasked, seeds = free, self.budget.seeds
        while free >= seeds and self.proposes_more and (fit := self._room(coming)) != 0:
            if unasked < seeds and self.of_lane(lane):
                break
            most = self.budget.settings if self._families.share_rows else free // seeds
            waiting = self._equivalents.waiting
            trained: list[Setting] = []
            for asked in self._queue.take(most if fit is None else min(most, fit)):
                if self._equivalents.take_in(asked, beside):
                    joining += self._begin(asked, lane, round_)
                    trained.append(asked.setting)
                    if self._families.share_rows:
                        beside[asked.index] = asked.setting.beginning
            self._settle(lane, round_, copied)
            taken = self._families.rows_at_start(trained) * seeds
            free -= taken
            unasked -= taken + (self._equivalents.waiting - waiting) * seeds
            if coming is not None:
                coming += self._families.epochs_at_most(trained) * seeds
        joining += self._confirming_trials(lane, round_)
        self._families.join(joining)
        return [trial.row for trial in joining]

    def _settle(self, lane: int, round_: int, copied: Copied) -> None:
        """Store copies of trials that have ended as their equivalents; train what waited for failed ones."""
        copies, to_train = self._equivalents.settle()
        for asked in to_train:
            self._queue.put_back(asked)
        for copy in copies:
            rows = self._new_trials(copy.asked, lane, round_)
            progress = copy.progress([row.number for row in rows])
            self._proposals.repeat(copy.asked.index, copy.of, copy.ended.how)
            if self._keeps_attributes:
                copied.attributes[copy.asked.index] = self._proposals.attributes(copy.asked.index)
            entry = SettingEntry(index=copy.asked.index, parameters=copy.asked.parameters)
            self._ends.setting_ended(entry, copy.ended.how, copy.ended.value)
            for row, one in zip(rows, progress, strict=True):
                self.leaders.begin(row)
                self.leaders.end(row, one.state, one.value, repeats=True)
                self.counts[one.state] += 1
                self.epochs_done += one.epochs_done
            copied.add(rows, progress)

    def confirming_record(self, first_rounds: Mapping[int, int]) -> RoundRecord | None:
        """What to store for lanes without anything to do, by lane; None where nothing is to be confirmed."""
        if self.searching or not self.leaders.wanted():
            return None
        return self.first_record(first_rounds, time=self._ends.time)

    def _confirming_trials(self, lane: int, round_: int) -> list[OpenTrial]:
        """The next of the race for rows that are free in the round, shared out evenly among the lanes."""
        if self.searching or not (wanted := len(self.leaders.wanted())):
            return []
        if not self._ends.time.suffices_for(self.budget.epochs):
            self.leaders.given_up = True
            return []
        even = -(-(wanted + self.leaders.open_count) // self.budget.lanes)
        most = min(self._free_rows(lane, round_), even - len(self.of_lane(lane)))
        rows = self.leaders.new_trials(most, lane=lane, round_=round_)
        return [self._admit(row, Setting.from_json(row.setting)) for row in rows]

    def _epochs_coming(self) -> int | None:
        """At most how many epochs the open trials still train; None where nobody counts them."""
        return None if self._space.budget.epochs is None else self._families.epochs_coming(self.open)

    def _room(self, coming: int | None) -> int | None:
        """How many more settings budgets admit where so many epochs are coming; None: any number."""
        return self._ends.room(trained=self.epochs_trained, coming=coming or 0)

    def _end_search_without_room(self) -> None:
        """Where no trial of the search is open and budgets admit no other, the search has ended for good."""
        if self.proposes_more and len(self.open) == self.leaders.open_count and self._room(0) == 0:
            self._ends.end_by_budget(trained=self.epochs_trained)

    def _free_rows(self, lane: int, round_: int) -> int:
        return free_rows(self.rows(lane, round_), lane=lane, budget=self.budget)

    def _new_trials(self, asked: Asked, lane: int, round_: int) -> list[NewTrial]:
        first = Place(number=asked.index * self.budget.seeds, lane=lane, admitted_round=round_)
        return new_trials(self._space, self._catalogue, asked.index, asked.setting, first)

    def _begin(self, asked: Asked, lane: int, round_: int) -> list[OpenTrial]:
        """Open the trials of a setting that is to be trained."""
        setting = SettingEntry(index=asked.index, parameters=asked.parameters)
        self._settings[asked.index] = setting
        found = []
        for row in self._new_trials(asked, lane, round_):
            setting.numbers.append(row.number)
            self.leaders.begin(row)
            found.append(self._admit(row, asked.setting))
        return found

    def _admit(self, row: NewTrial, setting: Setting) -> OpenTrial:
        place = Place(number=row.number, lane=row.lane, admitted_round=row.admitted_round)
        trial = OpenTrial(row=row, setting=setting, place=place)
        self.open[row.number] = trial
        self._of_lane.setdefault(row.lane, {})[row.number] = trial
        self.counts[TrialState.waiting] += 1
        return trial

    def _metric_of(self, measurement: Measurement) -> float:
        name = self._space.metric.name
        if name in ("val_loss", "train_loss"):
            return float(getattr(measurement, name))
        return measurement.extra[name]

    def _value_of(self, outcome: Measured) -> float:
        name = self._space.metric.name
        return outcome.train_loss if name == "train_loss" else outcome.metrics[name]

    def _heard_end(self, trial: OpenTrial, state: TrialState) -> None:
        """Those that confirm are no candidates for the best trial: their settings' first ones are."""
        if state is TrialState.finished and not self.leaders.confirms(trial.row):
            self._compare_with_best(trial)
        self.leaders.end(trial.row, state, trial.value, repeats=trial.repeats)

    def _compare_with_best(self, trial: OpenTrial) -> None:
        assert trial.value is not None  # noqa: S101 - finished trials have one
        sign = 1.0 if self._space.metric.goal == "minimize" else -1.0
        key = (sign * trial.value, trial.row.number)
        if (
            self.best is None
            or self.best.value is None
            or key < (sign * self.best.value, self.best.row.number)
        ):
            self.best = trial
