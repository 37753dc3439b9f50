"""A session: one lease and one pool, from the stored facts to the sweep's end or an interruption."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from time import monotonic
from typing import Any

from search_spaces.catalogue import Catalogue
from search_spaces.earlier import EarlierSetting
from search_spaces.space import SearchSpace
from sweeps.assignments import Assignments
from sweeps.ends import plain_ending
from sweeps.errors import LeaseLost
from sweeps.failures import failure_sentence
from sweeps.families import Prefixes
from sweeps.lanes import Lane, merged
from sweeps.lease_keeper import LeaseKeeper
from sweeps.ledger import Ledger
from sweeps.likeness import Rates
from sweeps.plan import ROUNDS_IN_FLIGHT, too_many_failed
from sweeps.records import Lease, Measurement, RoundRecord, SweepState, TrialState
from sweeps.replay import Replay
from sweeps.store import Store
from sweeps.time_spent import TimeSpent
from sweeps.usage import Usage
from sweeps.watching import Observer, snapshot_of
from workers.messages import Measured, Note, Outcome, Report
from workers.pool import Pool

POLL_SECONDS = 0.5
MOST_REPORTS_AT_ONCE = 64  # decided on together: as many share the price of one commit
CATCH_UP_LANE = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepRun:
    """What a session runs, and with what."""

    store: Store
    sweep_id: int
    space: SearchSpace
    catalogue: Catalogue
    plan: Mapping[str, Any]  # the execution plan, stored by the first session
    observer: Observer
    interrupted: Callable[[], bool]  # asked between reports
    now: Callable[[], float]  # seconds since 1970
    clock: Callable[[], float] = monotonic  # seconds, for how well workers are used
    earlier: Sequence[EarlierSetting] = ()  # of another sweep, for the sampler
    prefixes: Prefixes | None = None  # tells which trials share rows; None where they are not stacked
    rates: Rates | None = None  # tells which settings are trained alike; None where only the loop knows


class Session:
    """Drives the rounds of one sweep."""

    def __init__(self, run: SweepRun, lease: Lease, keeper: LeaseKeeper, pool: Pool) -> None:
        """Fold the stored facts of the sweep that ``lease`` gives the right to write."""
        self._run = run
        self._lease = lease
        self._keeper = keeper
        self._pool = pool
        everyone = tuple(range(pool.workers))
        arrival = run.space.order == "arrival"
        groups = [(worker,) for worker in everyone] if arrival else [everyone]
        self._ledger = Ledger(
            run.space,
            run.catalogue,
            lanes=len(groups),
            prefixes=run.prefixes,
            rates=run.rates,
            earlier=run.earlier,
        )
        self._open = self._ledger.open_trials
        self._admissions = self._ledger.admissions
        repeatable = run.plan.get("execution") != "loop"
        self._replay = Replay(run.sweep_id, self._restore(), repeatable=repeatable)
        first = 1 if arrival else self._open.tally.rounds_done + 1
        self._lanes = [
            Lane(number=number, workers=workers, next_round=first) for number, workers in enumerate(groups)
        ]
        leaders = self._open.leaders  # those that confirm are given up by no pruner
        self._assignments = Assignments(
            self._open.by_number, self._open.row_at_start, lambda trial: not leaders.confirms(trial.row)
        )
        self._to_start: list[int] = []
        self._usage = Usage.restored(run.store.sweep(run.sweep_id).usage)
        self._time = TimeSpent(run.space.budget, self._usage, clock=run.clock, workers=pool.workers)
        self._told: set[str] = set()
        self._last_poll = float("-inf")

    def drive(self) -> SweepState:
        """Rounds until the sweep has ended or is to be left waiting. Raises WorkerLost, LeaseLost."""
        busy = {trial.place.lane for trial in self._open.by_number.values()}
        idle = {lane.number: lane.next_round for lane in self._lanes if lane.number not in busy}
        if idle:
            first = self._admissions.first_record(idle, time=self._time.left())
            self._run.store.commit_round(self._lease, first)
        self._send_catch_up()
        self._time.begin()
        for lane in self._lanes:
            self._send_orders(lane)
            self._admissions.ask_ahead(lane.number, lane.next_round + ROUNDS_IN_FLIGHT)
        self._close_reported(self._lanes)
        while not self._admissions.complete and not self._out_of_time:
            asked = self._asked_to_end()
            if asked is not None:
                return self._close(asked)
            if self._failing():
                return self._close(SweepState.failed)
            self._receive()
        return self._close(SweepState.failed if self._failing() else SweepState.finished)

    def _restore(self) -> dict[tuple[int, int], Measurement]:
        """Fold the stored facts; returns measurements of open trials by (trial, epoch), to train again."""
        store, sweep_id = self._run.store, self._run.sweep_id
        measurements = store.measurements(sweep_id)
        self._ledger.restore(
            rounds_done=store.sweep(sweep_id).rounds_done,
            proposals=store.proposals(sweep_id),
            trials=store.trials(sweep_id),
            measurements=measurements,
            ending=store.sweep(sweep_id).ending,
        )
        if self._run.space.order == "arrival":
            self._open.spread_over_lanes()
        return {
            (measurement.number, measurement.epoch): measurement
            for measurement in measurements
            if measurement.number in self._open.by_number
        }

    def _send_catch_up(self) -> None:
        """Order interrupted trials to be trained again up to their last stored epoch.

        Their reports come before any other; each is compared with what is stored, bit for bit.
        """
        behind = {
            number: trial.epochs_done for number, trial in self._open.by_number.items() if trial.epochs_done
        }
        if not behind:
            return
        passes = max(behind.values())
        self._run.observer.said(
            f"training {len(behind)} interrupted trials again, up to {passes} epochs each"
        )
        for lane in self._lanes:
            mine = [number for number in self._open.of_lane(lane.number) if number in behind]
            self._assignments.assign(lane.workers, mine)
        self._to_start += sorted(behind)
        for remaining in range(passes, 0, -1):
            advance = [number for number in sorted(behind) if behind[number] >= remaining]
            joining = frozenset(number for number in advance if behind[number] == remaining)
            for orders in self._assignments.orders(CATCH_UP_LANE, -remaining, advance, joining=joining):
                self._pool.send(*orders)

    def _send_orders(self, lane: Lane) -> None:
        """Send the lane's orders for the rounds that may be in flight and are not."""
        for round_ in range(lane.next_round, lane.next_round + ROUNDS_IN_FLIGHT):
            if not lane.expects(round_):
                self._dispatch(lane, round_)

    def _dispatch(self, lane: Lane, round_: int) -> None:
        """Send the lane's orders for a round, to the workers that have anything to do in it."""
        places = [trial.place for trial in self._open.of_lane(lane.number).values()]
        training = [place.number for place in places if place.trains_in(round_, self._run.space.epochs)]
        joining = frozenset(number for number in training if number not in self._assignments)
        self._assignments.assign(lane.workers, [number for number in training if number in joining])
        self._to_start += sorted(joining)
        awaited = []
        for worker, orders in self._assignments.orders(
            lane.number, round_, training, joining=joining, releases=lane.to_release
        ):
            self._pool.send(worker, orders)
            awaited.append(worker)
        self._assignments.forget(lane.to_release)
        lane.to_release.clear()
        # A round in which nobody trains, between rounds in which somebody does, still has its decision.
        if awaited or places:
            lane.expect(round_, awaited, offered=self._admissions.offered(lane.number, round_))

    def _receive(self) -> None:
        """Take in a report, if one comes soon, and what else is there; close the rounds they complete."""
        reported: list[Lane] = []
        for already in range(MOST_REPORTS_AT_ONCE):
            received = self._pool.receive(0.0 if already else POLL_SECONDS)
            if received is None:
                break
            lane = self._take(*received)
            if lane is not None and lane.reported and lane not in reported:
                reported.append(lane)
            if len(reported) == len(self._lanes):
                break
        self._close_reported(reported)

    def _take(self, worker: int, report: Report) -> Lane | None:
        """Take in a report; the lane that it was for, None where it was of trials trained again."""
        self._usage.training_seconds += report.training_seconds
        self._tell(report.notes)
        if report.lane == CATCH_UP_LANE:
            for outcome in report.outcomes:
                self._take_replayed(outcome)
            return None
        lane = self._lanes[report.lane]
        lane.take(worker, report.round, report.outcomes)
        return lane

    def _tell(self, notes: Iterable[Note]) -> None:
        """Say what workers have to say of trials, the same thing of many trials once."""
        for note in notes:
            if note.sentence not in self._told:
                self._told.add(note.sentence)
                self._run.observer.said(f"note: trial {note.number}: {note.sentence}")

    def _close_reported(self, lanes: Sequence[Lane]) -> None:
        """Close the lanes' rounds, of each in order, as far as all workers have reported."""
        while (reported := [lane for lane in lanes if lane.reported]) and not self._admissions.complete:
            self._close_rounds(reported)

    def _close_rounds(self, lanes: Sequence[Lane]) -> None:
        """Decide on the next round of each lane, store it all, and only then order what was decided."""
        if self._keeper.lost:
            raise LeaseLost(self._run.sweep_id, self._lease.epoch)
        records: list[RoundRecord] = []
        for lane in lanes:
            if records and self._admissions.complete:
                break
            records.append(self._decide(lane))
        woken = [lane for lane in self._lanes if lane.idle and lane not in lanes]
        waking = self._admissions.waking_record({lane.number: lane.next_round for lane in woken})
        all_records = records if waking is None else [*records, waking]
        record = replace(merged(all_records), usage=self._usage.to_plain())
        self._run.store.commit_round(self._lease, record)
        for lane, its_record in zip(lanes, records, strict=False):
            for progress in its_record.progress:
                if progress.state is TrialState.pruned:
                    lane.to_release.append(progress.number)
                elif progress.state is not TrialState.running:
                    self._assignments.forget([progress.number])
            self._send_orders(lane)
            self._admissions.ask_ahead(lane.number, lane.next_round + ROUNDS_IN_FLIGHT)
        for lane in woken if waking is not None else ():
            self._send_orders(lane)
        left = self._time.left().seconds
        self._run.observer.round_closed(snapshot_of(self._ledger, self._usage.training_seconds, left))

    def _decide(self, lane: Lane) -> RoundRecord:
        """Close the lane's next round."""
        self._open.tally.start(len(self._to_start))
        round_, offered, outcomes = lane.close()
        self._count(lane, offered, outcomes)
        record = self._ledger.close_round(
            lane.number,
            round_,
            outcomes,
            started=self._to_start,
            now_ms=int(self._run.now() * 1000),
            time=self._time.left(lane.number),
        )
        self._to_start = []
        return record

    def _count(self, lane: Lane, offered: int, outcomes: Sequence[Outcome]) -> None:
        """Count how well the lane's slots were used in a round that is about to be closed."""
        used = ended = broke = 0
        for outcome in outcomes:
            if outcome.number not in self._open.by_number:
                ended += 1
            elif not isinstance(outcome, Measured):
                used, broke = used + 1, broke + 1
            elif outcome.rides_on is None:
                used += 1
        self._usage.close_round(offered=offered, used=used, lagging=ended + lane.broke)
        lane.broke = broke
        self._time.round_closed(lane.number)

    def _take_replayed(self, outcome: Outcome) -> None:
        """Compare an epoch trained again with what is stored. Raises ReplayMismatch.

        A user's own loop may break there: its trial ends with the next round of its lane.
        """
        sentence = self._replay.compare(outcome)
        if sentence is not None:
            self._run.observer.said(sentence)
        if not isinstance(outcome, Measured):
            self._lanes[self._open.by_number[outcome.number].place.lane].add(outcome)

    def _asked_to_end(self) -> SweepState | None:
        if self._run.interrupted():
            return SweepState.waiting
        if self._keeper.lost:
            raise LeaseLost(self._run.sweep_id, self._lease.epoch)
        if monotonic() - self._last_poll >= POLL_SECONDS:
            self._last_poll = monotonic()
            if self._run.store.stop_requested(self._run.sweep_id):
                return SweepState.stopped
        return None

    @property
    def _out_of_time(self) -> bool:
        """Whether the budget of time is used up, whatever is still open."""
        return self._run.space.budget.any_time and self._time.left().seconds <= 0

    def _failing(self) -> bool:
        """Whether all trials failed, or too many of those that have shown anything."""
        complete, tally = self._admissions.complete, self._open.tally
        failed = tally.counts[TrialState.failed]
        return (complete and 0 < failed == tally.ended) or too_many_failed(failed, tally.shown)

    def _close(self, state: SweepState) -> SweepState:
        """Store how the session ended, and the time since its last round, if that is limited."""
        if self._run.space.budget.any_time:
            self._time.count()
            spent = RoundRecord(rounds_done=self._open.tally.rounds_done, usage=self._usage.to_plain())
            self._run.store.commit_round(self._lease, spent)
        if state is SweepState.waiting:
            self._run.store.interrupt(self._lease)
        elif state is SweepState.failed:
            error = failure_sentence(self._run.store.trials(self._run.sweep_id))
            self._run.store.finish_sweep(self._lease, state, error=error)
        elif state is SweepState.finished:
            ending = self._admissions.ending(self._time.left(0))
            plain = None if ending is None else plain_ending(ending)
            self._run.store.finish_sweep(self._lease, state, ending=plain)
        else:
            self._run.store.finish_sweep(self._lease, state)
        if state is not SweepState.waiting:
            self._run.observer.sweep_ended()
        return state
