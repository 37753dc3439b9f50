"""The open trials of a sweep: admitted, measured, ended; by lane, and by the rows that they take.

Each of these is counted, and told to those that ask for it: families, leaders, the trial's setting.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from search_spaces.catalogue import Catalogue
from search_spaces.settings import Setting
from search_spaces.space import SearchSpace
from sweeps.cooldowns import epoch_costs
from sweeps.entries import OpenTrial, SettingEntry, break_off, measure, step_at_end, to_open, to_progress
from sweeps.families import Families, Prefixes
from sweeps.leaders import Leaders
from sweeps.plan import Budget, Place, free_rows
from sweeps.records import OPEN_STATES, NewTrial, TrialProgress, TrialRow, TrialState
from sweeps.tally import Tally
from workers.messages import Diverged, Failed, Measured


class OpenTrials:
    """The trials of one running sweep: the open ones, and what is remembered of those that have ended."""

    def __init__(
        self, space: SearchSpace, catalogue: Catalogue, budget: Budget, prefixes: Prefixes | None
    ) -> None:
        """No trials yet, which will share rows as ``prefixes`` says, or none."""
        acting = frozenset(name for name, entry in catalogue.schedules.items() if entry.watches)
        self._metric = space.metric.name
        self._budget = budget
        self.families = Families(prefixes, space.epochs, acting, epoch_costs(space))
        self.leaders = Leaders(space.confirm, space.seeds, space.metric.goal)
        self.tally = Tally(space.metric.goal)
        self.by_number: dict[int, OpenTrial] = {}
        self.settings: dict[int, SettingEntry] = {}  # that have open trials of the search, by index
        self._of_lane: dict[int, dict[int, OpenTrial]] = {}

    def restore(self, trials: Sequence[TrialRow], steps: Mapping[int, int]) -> None:
        """Take in stored trials; ``steps``: updates made in their stored epochs, by number."""
        for trial in trials:
            self.tally.restore(trial)
            self.leaders.begin(trial)
            entry = to_open(trial, steps.get(trial.number, 0))
            if trial.state in OPEN_STATES:
                self.by_number[trial.number] = entry
            else:
                self._remember(entry, trial.state)
        self._join_again()

    def spread_over_lanes(self) -> None:
        """Give open trials to the lanes anew, as if each lane's next round were its first.

        For ``order: arrival``: a resumed sweep may have other workers than the interrupted one had. Trials
        that were admitted together stay together.
        """
        together: dict[Place, list[int]] = {}
        for number, trial in self.by_number.items():
            together.setdefault(replace(trial.place, number=0), []).append(number)
        for position, numbers in enumerate(together.values()):
            for number in numbers:
                trial = self.by_number[number]
                lane, admitted = position % self._budget.lanes, 1 - trial.epochs_done
                trial.place = Place(number=number, lane=lane, admitted_round=admitted)
        self.families = self.families.empty()
        self._of_lane = {}
        self._join_again()

    def _join_again(self) -> None:
        admitted: dict[Place, list[OpenTrial]] = {}
        for trial in self.by_number.values():
            admitted.setdefault(replace(trial.place, number=0), []).append(trial)
            self._of_lane.setdefault(trial.place.lane, {})[trial.row.number] = trial
        for trials in admitted.values():
            self.families.join(trials)

    @property
    def searching(self) -> bool:
        """Whether any of them is of the search."""
        return len(self.by_number) > self.leaders.open_count

    def of_lane(self, lane: int) -> Mapping[int, OpenTrial]:
        """The lane's open trials by number."""
        return self._of_lane.get(lane, {})

    def rows(self, lane: int, round_: int) -> int:
        """How many rows the lane's open trials take in the round, those that share one counted once."""
        return self.families.rows(self.by_number, lane=lane, round_=round_)

    def free_rows(self, lane: int, round_: int) -> int:
        """How many rows new trials of the lane may take in the round."""
        return free_rows(self.rows(lane, round_), lane=lane, budget=self._budget)

    def row_at_start(self, number: int) -> Hashable:
        """Equal for open trials that share a row in their first epoch, and only for them."""
        return self.families.row_at_start(self.by_number[number])

    def epochs_coming(self) -> int:
        """At most how many epochs are still trained for them."""
        return self.families.epochs_coming(self.by_number)

    def begin(self, entry: SettingEntry, setting: Setting, rows: Sequence[NewTrial]) -> list[OpenTrial]:
        """Open the trials of a setting of the search, before :meth:`join`."""
        self.settings[entry.index] = entry
        for row in rows:
            entry.numbers.append(row.number)
            self.leaders.begin(row)
        return [self._admit(row, setting) for row in rows]

    def begin_confirming(self, most: int, lane: int, round_: int) -> list[OpenTrial]:
        """Open the next trials of the leaders' race, at most ``most``, before :meth:`join`."""
        rows = self.leaders.new_trials(most, lane=lane, round_=round_)
        return [self._admit(row, Setting.from_json(row.setting)) for row in rows]

    def join(self, trials: Sequence[OpenTrial]) -> None:
        """All trials that were opened for one round of one lane: who of them shares rows."""
        self.families.join(trials)

    def add_copy(self, row: NewTrial, progress: TrialProgress) -> None:
        """A trial that is stored whole, as another one ended, and is never open."""
        self.leaders.begin(row)
        self.leaders.end(row, progress.state, progress.value, repeats=True)
        self.tally.copy(progress)

    def measure(self, trial: OpenTrial, outcome: Measured, *, trained: int) -> TrialProgress:
        """A trial has done an epoch, for which ``trained`` epochs of rows are counted, or its last."""
        value = outcome.train_loss if self._metric == "train_loss" else outcome.metrics[self._metric]
        measure(trial, outcome, value, trained=trained)
        if not self.leaders.confirms(trial.row):
            values = self.settings[trial.row.setting_index].values
            values.setdefault(outcome.epoch, {})[outcome.number] = value
        self.tally.measure(outcome.epoch, trained=trained)
        if outcome.epoch < self._budget.epochs:
            return to_progress(trial, TrialState.running)
        return self.end(trial, TrialState.finished)

    def break_off(self, trial: OpenTrial, outcome: Diverged | Failed) -> TrialProgress:
        """A trial has diverged or failed."""
        state, cause, detail = break_off(trial, outcome)
        return self.end(trial, state, cause=cause, detail=detail)

    def end(
        self,
        trial: OpenTrial,
        state: TrialState,
        *,
        cause: str | None = None,
        detail: Mapping[str, Any] | None = None,
    ) -> TrialProgress:
        """A trial ends; ``cause`` and ``detail`` are stored."""
        del self.by_number[trial.row.number]
        del self._of_lane[trial.place.lane][trial.row.number]
        self.families.leave(trial)
        self.tally.end(trial, state)
        self._remember(trial, state)
        progress = to_progress(trial, state, cause=cause, detail=detail)
        if not self.leaders.confirms(trial.row):
            end = progress, step_at_end(trial.step, detail)
            self.settings[trial.row.setting_index].ends[trial.row.number] = end
        return progress

    def _admit(self, row: NewTrial, setting: Setting) -> OpenTrial:
        place = Place(number=row.number, lane=row.lane, admitted_round=row.admitted_round)
        trial = OpenTrial(row=row, setting=setting, place=place)
        self.by_number[row.number] = trial
        self._of_lane.setdefault(row.lane, {})[row.number] = trial
        self.tally.admit()
        return trial

    def _remember(self, trial: OpenTrial, state: TrialState) -> None:
        """Those that confirm are no candidates for the best trial: their settings' first ones are."""
        if state is TrialState.finished and not self.leaders.confirms(trial.row):
            self.tally.compare(trial)
        self.leaders.end(trial.row, state, trial.value, repeats=trial.repeats)
