"""The ledger: what the runner knows of its sweep, folded from stored facts and extended by each decision.

Reports go in, a :class:`~sweeps.records.RoundRecord` comes out. The ledger writes nothing and sends nothing.
It hears what trials have shown and ends them; who joins next is a matter of its ``admissions``, and which
trials are open, with what is counted of all of them, of its ``open_trials``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from search_spaces.catalogue import Catalogue
from search_spaces.earlier import EarlierSetting
from search_spaces.grid import settings_at_most
from search_spaces.space import SearchSpace
from sweeps.admissions import Admissions
from sweeps.ends import ENDLESS, TimeLeft
from sweeps.entries import SettingEntry, to_measurement
from sweeps.families import Prefixes, epochs_of_rows, rows_of_open
from sweeps.likeness import Rates
from sweeps.open_trials import OpenTrials
from sweeps.plan import ROUNDS_IN_FLIGHT, Budget
from sweeps.proposals import Proposals
from sweeps.reaching import reached_together
from sweeps.records import Measurement, Proposal, RoundRecord, TrialProgress, TrialRow, TrialState
from sweeps.settings_history import metric_values, settings_of, stored_ends, told
from workers.messages import Measured, Outcome


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
        budget = Budget(
            settings=settings_at_most(space),
            seeds=len(space.seeds),
            epochs=space.epochs,
            concurrency=space.concurrency,
            lanes=lanes,
        )
        self._proposals = Proposals(space, earlier=earlier)
        self.open_trials = OpenTrials(space, catalogue, budget, prefixes)
        self.admissions = Admissions(
            space,
            catalogue,
            budget,
            proposals=self._proposals,
            open_trials=self.open_trials,
            rates=rates,
        )

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
        open_trials = self.open_trials
        open_trials.tally.rounds_done = rounds_done
        steps = {measurement.number: measurement.step for measurement in measurements}
        open_trials.restore(trials, steps)
        searched = [trial for trial in trials if not open_trials.leaders.confirms(trial)]
        values = metric_values(measurements, self._space.metric.name)
        settings = settings_of(proposals, searched, values, self._space.epochs)
        self._proposals.rebuild([told(proposal, settings[proposal.index]) for proposal in proposals])
        self.admissions.restore(proposals, settings, stored_ends(searched, settings, steps), ending)
        of_open = {trial.row.setting_index for trial in open_trials.by_number.values()}
        open_trials.settings = {index: settings[index] for index in sorted(of_open)}

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
        ``started``: trials that orders have been sent for since the last record.
        """
        trials = self.open_trials
        trials.tally.rounds_done += 1
        outcomes = rows_of_open(outcomes, trials.by_number)
        trained = epochs_of_rows(outcomes)
        measurements: list[Measurement] = []
        progress: dict[int, TrialProgress] = {}
        touched: set[int] = set()  # settings of the search
        for outcome in outcomes:
            number = outcome.number
            trial = trials.by_number[number]
            if not trials.leaders.confirms(trial.row):
                touched.add(trial.row.setting_index)
            if isinstance(outcome, Measured):
                measurements.append(to_measurement(outcome, now_ms))
                progress[number] = trials.measure(trial, outcome, trained=trained.get(number, 0))
            else:
                progress[number] = trials.break_off(trial, outcome)
        changed = self._tell(touched, outcomes, progress)
        record = RoundRecord(
            rounds_done=trials.tally.rounds_done,
            started=tuple(started),
            measurements=tuple(measurements),
            progress=tuple(progress[number] for number in sorted(progress)),
            attributes=changed,
        )
        return self.admissions.decide(record, lane, round_ + ROUNDS_IN_FLIGHT, time=time)

    def _tell(
        self, touched: Iterable[int], outcomes: Sequence[Outcome], progress: dict[int, TrialProgress]
    ) -> dict[int, Mapping[str, Any]]:
        """Tell Optuna what happened to settings: the attributes that have changed with it, by setting.

        Trials that end because their setting is pruned are put into ``progress``.
        """
        open_trials, proposals = self.open_trials, self._proposals
        settings = [open_trials.settings[index] for index in sorted(touched)]
        keeps = proposals.keeps_attributes
        before = {setting.index: proposals.attributes(setting.index) for setting in settings} if keeps else {}
        proposals.judge(lambda: reached_together(settings, outcomes, self._space))
        changed: dict[int, Mapping[str, Any]] = {}
        for setting in settings:
            index = setting.index
            self._hear(setting, progress)
            if keeps and (after := proposals.attributes(index)) != before[index]:
                changed[index] = after
            if not any(number in open_trials.by_number for number in setting.numbers):
                del open_trials.settings[index]
                self.admissions.all_trials_ended(setting)
        return changed

    def _hear(self, setting: SettingEntry, progress: dict[int, TrialProgress]) -> None:
        """Tell Optuna what happened to a setting; its open trials end together where it is pruned."""
        if setting.end is not None:
            return
        states = {progress[number].state for number in setting.numbers if number in progress}
        if TrialState.diverged in states or TrialState.failed in states:
            self._end_setting(setting, "pruned" if TrialState.diverged in states else "failed")
            return
        while (mean := setting.mean(setting.heard + 1)) is not None:
            setting.heard = epoch = setting.heard + 1
            del setting.values[epoch]
            self._proposals.report(setting.index, epoch, mean)
            if epoch == self._space.epochs:
                self._end_setting(setting, "finished", mean)
            elif self._proposals.should_prune(setting.index):
                self._end_setting(setting, "pruned")
                for number in setting.numbers:
                    if (trial := self.open_trials.by_number.get(number)) is not None:
                        progress[number] = self.open_trials.end(trial, TrialState.pruned)
                return

    def _end_setting(self, setting: SettingEntry, how: str, value: float | None = None) -> None:
        setting.end = how
        self.admissions.setting_ended(setting, how, value)
        self._proposals.end(setting.index, how)
