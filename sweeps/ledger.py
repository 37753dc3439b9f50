"""The ledger: what the runner knows of its sweep, folded from stored facts and extended by each decision.

Reports go in, a :class:`~sweeps.records.RoundRecord` comes out. The ledger writes nothing and sends nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from search_spaces.catalogue import Catalogue
from search_spaces.space import SearchSpace
from sweeps.entries import OpenTrial, SettingEntry, to_measurement, to_progress, typed_columns
from sweeps.plan import ROUNDS_IN_FLIGHT, Budget, Place, settings_to_propose
from sweeps.proposals import Asked, Proposals, Told
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
from workers.messages import Diverged, Failed, Measured, Outcome


class Ledger:
    """State of one running sweep."""

    def __init__(self, space: SearchSpace, catalogue: Catalogue, *, lanes: int = 1) -> None:
        """An empty sweep. Raises ValueError where the pruner refuses its arguments."""
        self._space = space
        self._catalogue = catalogue
        self.budget = Budget(
            settings=space.trials,
            seeds=len(space.seeds),
            epochs=space.epochs,
            concurrency=space.concurrency,
            lanes=lanes,
        )
        self._proposals = Proposals(space)
        self._settings: list[SettingEntry] = []
        self._exhausted = False
        self.open: dict[int, OpenTrial] = {}
        self.counts: dict[TrialState, int] = dict.fromkeys(TrialState, 0)
        self.epochs_done = 0
        self.best: OpenTrial | None = None
        self.rounds_done = 0

    def restore(
        self,
        *,
        rounds_done: int,
        proposals: Sequence[Proposal],
        trials: Sequence[TrialRow],
        measurements: Sequence[Measurement],
    ) -> None:
        """Fold stored facts: the same rows always give the same ledger."""
        self.rounds_done = rounds_done
        values: dict[int, dict[int, float]] = {}
        for measurement in measurements:
            values.setdefault(measurement.number, {})[measurement.epoch] = self._metric_of(measurement)
        self._settings = [SettingEntry(index=proposal.index) for proposal in proposals]
        for trial in trials:
            setting = self._settings[trial.setting_index]
            setting.numbers.append(trial.number)
            for epoch, value in values.get(trial.number, {}).items():
                setting.values.setdefault(epoch, {})[trial.number] = value
            self._restore_trial(trial)
        by_number = {trial.number: trial for trial in trials}
        history = [self._told(proposal, self._settings[proposal.index], by_number) for proposal in proposals]
        self._proposals.rebuild(history)

    def spread_over_lanes(self) -> None:
        """Give open trials to the lanes anew, as if each lane's next round were its first.

        For ``order: arrival``: a resumed sweep may have other workers than the interrupted one had.
        """
        settings = sorted({trial.row.setting_index for trial in self.open.values()})
        lane_of = {index: position % self.budget.lanes for position, index in enumerate(settings)}
        for number, trial in self.open.items():
            place = Place(
                number=number,
                lane=lane_of[trial.row.setting_index],
                admitted_round=1 - trial.epochs_done,
            )
            self.open[number] = replace(trial, place=place)

    def first_record(self, first_rounds: Mapping[int, int]) -> RoundRecord:
        """What to store before the first rounds, by lane, of lanes that have nothing to do yet.

        No report precedes the rounds that are sent at once, so their settings are proposed together.
        """
        proposals: tuple[Proposal, ...] = ()
        trials: tuple[NewTrial, ...] = ()
        for ahead in range(ROUNDS_IN_FLIGHT):
            for lane, first_round in first_rounds.items():
                more_proposals, more_trials = self._propose(lane, first_round + ahead)
                proposals += more_proposals
                trials += more_trials
        return RoundRecord(rounds_done=self.rounds_done, proposals=proposals, trials=trials)

    def close_round(
        self,
        lane: int,
        round_: int,
        outcomes: Sequence[Outcome],
        *,
        started: Sequence[int],
        now_ms: int,
    ) -> RoundRecord:
        """Take in the outcomes of a lane's round and decide for the round two later.

        Outcomes of trials that have ended meanwhile are dropped: measurements beyond a deciding epoch.
        """
        self.rounds_done += 1
        measurements: list[Measurement] = []
        progress: dict[int, TrialProgress] = {}
        touched: set[int] = set()
        for outcome in sorted(outcomes, key=lambda outcome: outcome.number):
            trial = self.open.get(outcome.number)
            if trial is None:
                continue
            touched.add(trial.row.setting_index)
            if isinstance(outcome, Measured):
                measurements.append(to_measurement(outcome, now_ms))
                progress[outcome.number] = self._measured(trial, measurements[-1], outcome.peak_lr)
            else:
                progress[outcome.number] = self._broke(trial, outcome)
        changed: dict[int, dict[str, Any]] = {}
        for index in sorted(touched):
            before = self._proposals.attributes(index)
            for ended in self._hear(self._settings[index], progress):
                progress[ended.number] = ended
            after = self._proposals.attributes(index)
            if after != before:
                changed[index] = after
        proposals, trials = self._propose(lane, round_ + ROUNDS_IN_FLIGHT)
        return RoundRecord(
            rounds_done=self.rounds_done,
            started=tuple(started),
            measurements=tuple(measurements),
            progress=tuple(progress[number] for number in sorted(progress)),
            proposals=proposals,
            attributes=changed,
            trials=trials,
        )

    @property
    def complete(self) -> bool:
        """Whether nothing is open and nothing more will be proposed."""
        return not self.open and (self._exhausted or len(self._settings) >= self.budget.settings)

    @property
    def trials_expected(self) -> int:
        """Trials the sweep will have had when it ends."""
        settings = len(self._settings) if self._exhausted else self.budget.settings
        return settings * self.budget.seeds

    @property
    def epochs_expected(self) -> int:
        """Epochs of all trials if every open and coming one trains to its full length."""
        ended = sum(self.counts.values()) - len(self.open)
        open_epochs = sum(trial.epochs_done for trial in self.open.values())
        coming = self.trials_expected - ended
        return self.epochs_done - open_epochs + coming * self.budget.epochs

    def _restore_trial(self, trial: TrialRow) -> None:
        self.counts[trial.state] += 1
        self.epochs_done += trial.epochs_done
        entry = OpenTrial(
            row=trial,
            place=Place(number=trial.number, lane=trial.lane, admitted_round=trial.admitted_round),
            epochs_done=trial.epochs_done,
            value=trial.value,
            peak_lr=trial.peak_lr,
            final_lr=trial.final_lr,
        )
        if trial.state in OPEN_STATES:
            self.open[trial.number] = entry
        elif trial.state is TrialState.finished:
            self._compare_with_best(entry)

    def _told(self, proposal: Proposal, setting: SettingEntry, trials: Mapping[int, TrialRow]) -> Told:
        """What Optuna had heard of a stored setting, worked out from its trials."""
        setting.end = self._how_it_ended(setting, trials)
        means = {epoch: setting.mean(epoch) for epoch in sorted(setting.values)}
        setting.heard = max((epoch for epoch, mean in means.items() if mean is not None), default=0)
        return Told(
            index=proposal.index,
            parameters=proposal.parameters,
            attributes=proposal.attributes,
            reports={epoch: mean for epoch, mean in means.items() if mean is not None},
            end=setting.end,
        )

    def _how_it_ended(self, setting: SettingEntry, trials: Mapping[int, TrialRow]) -> str | None:
        """What Optuna was told at the setting's end: the first of its trials to break decides."""
        of_setting = [trials[number] for number in setting.numbers]
        broken = [t for t in of_setting if t.state in (TrialState.diverged, TrialState.failed)]
        first = min((trial.epochs_done for trial in broken), default=None)
        if first is not None:
            states = {trial.state for trial in broken if trial.epochs_done == first}
            return "pruned" if TrialState.diverged in states else "failed"
        if any(trial.state is TrialState.pruned for trial in of_setting):
            return "pruned"
        return "finished" if setting.mean(self.budget.epochs) is not None else None

    def _measured(self, trial: OpenTrial, measurement: Measurement, peak_lr: float) -> TrialProgress:
        value = self._metric_of(measurement)
        updated = replace(
            trial,
            epochs_done=measurement.epoch,
            value=value,
            peak_lr=peak_lr if trial.peak_lr is None else max(trial.peak_lr, peak_lr),
            final_lr=measurement.lr,
        )
        number = trial.row.number
        self._settings[trial.row.setting_index].values.setdefault(measurement.epoch, {})[number] = value
        self.epochs_done += 1
        self.open[number] = updated
        if measurement.epoch < self.budget.epochs:
            return to_progress(updated, TrialState.running)
        self._compare_with_best(updated)
        return self._end(updated, TrialState.finished)

    def _broke(self, trial: OpenTrial, outcome: Diverged | Failed) -> TrialProgress:
        if isinstance(outcome, Failed):
            failure = {"message": outcome.message, "traceback": outcome.traceback}
            ended = replace(trial, value=None)
            return self._end(ended, TrialState.failed, cause=outcome.cause, detail=failure)
        ended = replace(
            trial,
            value=None,
            peak_lr=max(outcome.peak_lr, trial.peak_lr or 0.0),
            final_lr=outcome.lr,
        )
        detail: dict[str, Any] = {
            "epoch": outcome.epoch,
            "step": outcome.step,
            "lr": outcome.lr,
            "grad_norm": outcome.grad_norm,
            "reason": outcome.reason,
        }
        return self._end(ended, TrialState.diverged, detail=detail)

    def _hear(self, setting: SettingEntry, progress: Mapping[int, TrialProgress]) -> list[TrialProgress]:
        """Tell Optuna what happened to a setting; its open trials end together where it is pruned."""
        if setting.end is not None:
            return []
        states = {progress[number].state for number in setting.numbers if number in progress}
        if TrialState.diverged in states or TrialState.failed in states:
            self._end_setting(setting, "pruned" if TrialState.diverged in states else "failed")
            return []
        for epoch in sorted(epoch for epoch in setting.values if epoch > setting.heard):
            mean = setting.mean(epoch)
            if mean is None:
                break
            setting.heard = epoch
            self._proposals.report(setting.index, epoch, mean)
            if epoch == self.budget.epochs:
                self._end_setting(setting, "finished")
            elif self._proposals.should_prune(setting.index):
                self._end_setting(setting, "pruned")
                numbers = [number for number in setting.numbers if number in self.open]
                return [self._end(self.open[number], TrialState.pruned) for number in numbers]
        return []

    def _end_setting(self, setting: SettingEntry, how: str) -> None:
        setting.end = how
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
        self.counts[TrialState.running] -= 1
        self.counts[state] += 1
        return to_progress(trial, state, cause=cause, detail=detail)

    def mark_started(self, numbers: Sequence[int]) -> None:
        """Orders for these waiting trials have been sent; the record being written says so."""
        self.counts[TrialState.waiting] -= len(numbers)
        self.counts[TrialState.running] += len(numbers)

    def _propose(self, lane: int, round_: int) -> tuple[tuple[Proposal, ...], tuple[NewTrial, ...]]:
        places = [trial.place for trial in self.open.values()]
        count = settings_to_propose(
            places, lane=lane, round_=round_, proposed=len(self._settings), budget=self.budget
        )
        proposals: list[Proposal] = []
        trials: list[NewTrial] = []
        for _ in range(0 if self._exhausted else count):
            asked = self._proposals.ask()
            if asked is None:
                self._exhausted = True
                break
            proposals.append(
                Proposal(index=asked.index, parameters=asked.parameters, attributes=asked.attributes)
            )
            trials += self._new_trials(asked, lane, round_)
        return tuple(proposals), tuple(trials)

    def _new_trials(self, asked: Asked, lane: int, round_: int) -> list[NewTrial]:
        setting = SettingEntry(index=asked.index)
        self._settings.append(setting)
        typed = typed_columns(self._space, self._catalogue, asked.setting)
        trials = []
        for position, seed in enumerate(self._space.seeds):
            number = asked.index * self.budget.seeds + position
            row = NewTrial(
                number=number,
                setting_index=asked.index,
                seed=seed,
                admitted_round=round_,
                lane=lane,
                optimizer=asked.setting.optimizer,
                schedule=asked.setting.schedule.name,
                setting=asked.setting.to_json(),
                **typed,
            )
            setting.numbers.append(number)
            place = Place(number=number, lane=lane, admitted_round=round_)
            self.open[number] = OpenTrial(row=row, place=place)
            self.counts[TrialState.waiting] += 1
            trials.append(row)
        return trials

    def _metric_of(self, measurement: Measurement) -> float:
        name = self._space.metric.name
        if name in ("val_loss", "train_loss"):
            return float(getattr(measurement, name))
        return measurement.extra[name]

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
