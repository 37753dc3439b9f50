"""Projection: one sweep's runs in MLflow, brought up to date from the store as often as it is asked."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Protocol

from dashboards.run_content import RunContent, sweep_content, trial_content
from dashboards.tracking import FoundRun, RunChange, Tracking, sweep_tags
from sweeps.pruning_audit import audit_of
from sweeps.records import (
    FINAL_SWEEP_STATES,
    OPEN_STATES,
    Measurement,
    Proposal,
    Publication,
    SweepRow,
    TrialRow,
)

PARENT = -1  # the sweep's own number among its trials
PARTIAL_SECONDS = 15.0  # how old the shown part of an open trial's curve may get
_BATCH = 64  # trials that are written and recorded together: every commit costs a wait for the disk


class Results(Protocol):
    """What publishing needs of the store."""

    def identity(self) -> str:
        """What tells this store from every other."""

    def sweep(self, sweep_id: int) -> SweepRow:
        """The sweep."""

    def trials(self, sweep_id: int) -> list[TrialRow]:
        """Its trials by number."""

    def proposals(self, sweep_id: int) -> list[Proposal]:
        """Its proposals by index."""

    def measurements(self, sweep_id: int, *, numbers: Sequence[int] | None = None) -> list[Measurement]:
        """All measurements, or these trials', by number and epoch."""

    def publications(self, sweep_id: int) -> dict[int, Publication]:
        """How far each trial is published."""

    def record_publications(self, rows: Sequence[Publication]) -> None:
        """Remember how far trials are published."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A trial to publish: where, and from which epoch on."""

    trial: TrialRow
    run_id: str | None  # None where it has no run yet
    after_epoch: int


class Projection:
    """One sweep's runs in MLflow. Killed at any point, another one goes on from what it finds.

    No transaction of the store is open while MLflow is spoken to. The store's cursor is written after MLflow
    has answered, so what is repeated after a crash is the same points again, which MLflow keeps once.
    """

    def __init__(
        self,
        store: Results,
        sweep_id: int,
        connect: Callable[[], Tracking],
        *,
        figures: Callable[[SweepRow, Sequence[TrialRow], Sequence[Measurement]], dict[str, str]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``figures`` gives the files that hang on the parent run: text by path."""
        self._store = store
        self._sweep_id = sweep_id
        self._connect = connect
        self._figures = figures
        self._clock = clock
        self._identity = store.identity()
        self._tracking: Tracking | None = None
        self._experiment = ""
        self._runs: dict[int, FoundRun] = {}
        self._shown_at: dict[int, float] = {}  # when an open trial was last seen up to date

    def sweep(self) -> SweepRow:
        """The sweep as it stands."""
        return self._store.sweep(self._sweep_id)

    def publish(self, *, everything: bool) -> int:
        """Publish what MLflow lacks; how many runs that changed.

        With ``everything`` open trials, the parent's result and the figures are included; without, ended
        trials and what was not brought up to date for a while.
        """
        sweep = self.sweep()
        trials = self._store.trials(self._sweep_id)
        cursors = self._store.publications(self._sweep_id)
        tracking = self._connected(sweep, cursors)
        changed = self._publish_parent(tracking, sweep, trials)
        due = list(self._due(trials, cursors, everything))
        for start in range(0, len(due), _BATCH):
            changed += self._publish_trials(tracking, sweep, due[start : start + _BATCH])
        if everything:
            changed += self._finish_parent(tracking, sweep, trials, cursors.get(PARENT))
            if changed and tracking.is_server:
                self._reconcile(tracking, self._store.publications(self._sweep_id))
        return changed

    def start_over(self) -> None:
        """Forget what MLflow is believed to have: ask again before anything is made there."""
        self._tracking = None
        self._runs = {}

    def _connected(self, sweep: SweepRow, cursors: dict[int, Publication]) -> Tracking:
        if self._tracking is None:
            tracking = self._connect()
            self._experiment = tracking.experiment(sweep.task)
            self._reconcile(tracking, cursors)
            self._tracking = tracking
        return self._tracking

    def _reconcile(self, tracking: Tracking, cursors: dict[int, Publication]) -> None:
        """Learn which runs there are, and delete doubles: those of a creation whose reply was lost."""

        def number(run: FoundRun) -> int:
            return int(run.tags.get("ravine.trial", PARENT))

        def preference(run: FoundRun) -> tuple[bool, int, str]:
            cursor = cursors.get(number(run))
            return (cursor is None or cursor.run_id != run.run_id, run.start_ms, run.run_id)

        found = tracking.find_runs([self._experiment], sweep_tags(self._identity, self._sweep_id))
        for one, group in groupby(sorted(found, key=number), key=number):
            kept, *doubles = sorted(group, key=preference)
            for double in doubles:
                tracking.delete_run(double.run_id)
            self._runs[one] = kept

    def _due(
        self, trials: Sequence[TrialRow], cursors: dict[int, Publication], everything: bool
    ) -> Iterator[Step]:
        """The trials that MLflow shows otherwise than the store has them."""
        now = self._clock()
        for trial in trials:
            run, cursor = self._runs.get(trial.number), cursors.get(trial.number)
            known = cursor if run and cursor and self._is_whole(run, cursor) else None
            shown = (known.epochs, known.state) if known else None
            if shown == (trial.epochs_done, trial.state) or (not trial.epochs_done and _is_open(trial)):
                continue
            if _is_open(trial) and not everything:
                if now - self._shown_at.setdefault(trial.number, now) < PARTIAL_SECONDS:
                    continue
                self._shown_at[trial.number] = now
            yield Step(
                trial=trial, run_id=run.run_id if run else None, after_epoch=known.epochs if known else 0
            )

    def _is_whole(self, run: FoundRun, cursor: Publication) -> bool:
        """Whether MLflow has what the cursor says: its database may have been replaced by an older one."""
        return (
            cursor.run_id == run.run_id
            and run.tags.get("ravine.epochs") == str(cursor.epochs)
            and run.tags.get("mlflow.parentRunId") == self._runs[PARENT].run_id
            and (cursor.state in OPEN_STATES or run.has_ended)
        )

    def _publish_trials(self, tracking: Tracking, sweep: SweepRow, steps: Sequence[Step]) -> int:
        stored = self._store.measurements(sweep.id, numbers=[step.trial.number for step in steps])
        by_number = {number: list(rows) for number, rows in groupby(stored, key=lambda row: row.number)}
        contents = [
            trial_content(
                sweep, step.trial, by_number.get(step.trial.number, []), after_epoch=step.after_epoch
            )
            for step in steps
        ]
        run_ids = self._write(
            tracking,
            [
                (step.trial.number, step.run_id, content)
                for step, content in zip(steps, contents, strict=True)
            ],
        )
        self._store.record_publications(
            [
                Publication(
                    sweep_id=sweep.id,
                    number=step.trial.number,
                    run_id=run_id,
                    epochs=len(by_number.get(step.trial.number, [])),
                    state=step.trial.state,
                )
                for step, run_id in zip(steps, run_ids, strict=True)
            ]
        )
        return len(steps)

    def _publish_parent(self, tracking: Tracking, sweep: SweepRow, trials: Sequence[TrialRow]) -> int:
        """Make the parent run first, so that its trials are found under it from the beginning."""
        content = sweep_content(sweep, trials)
        parent = self._runs.get(PARENT)
        if parent is not None:
            if content.end_ms is None and parent.tags.get("ravine.state") != sweep.state:
                self._write(tracking, [(PARENT, parent.run_id, content)])
            return 0
        # Its end is said when all else is there: by that it is known to be whole.
        begun = replace(content, status="RUNNING", end_ms=None, points=())
        [run_id] = self._write(tracking, [(PARENT, None, begun)])
        # Of two parents, should there be a double, this is the one that the trials hang on.
        self._store.record_publications([_parent_at(sweep, run_id, epochs=0, state="created")])
        return 1

    def _finish_parent(
        self, tracking: Tracking, sweep: SweepRow, trials: Sequence[TrialRow], cursor: Publication | None
    ) -> int:
        run_id = self._runs[PARENT].run_id
        epochs = sum(trial.epochs_done for trial in trials)
        reached = _parent_at(sweep, run_id, epochs=epochs, state=sweep.state)
        is_open = sweep.state not in FINAL_SWEEP_STATES
        if cursor == reached and (is_open or self._runs[PARENT].has_ended):
            return 0
        measurements = self._store.measurements(sweep.id)
        for path, text in self._figures(sweep, trials, measurements).items():
            tracking.log_text(run_id, text, path)
        content = sweep_content(sweep, trials, measurements, audit_of(self._store, sweep))
        self._write(tracking, [(PARENT, run_id, content)])
        self._store.record_publications([reached])
        return 1

    def _write(self, tracking: Tracking, wanted: Sequence[tuple[int, str | None, RunContent]]) -> list[str]:
        """Bring runs to their contents: (number, the run's id or None, content); their ids."""
        changes = [
            RunChange(run_id=run_id, content=content, tags=self._tags(number, content))
            for number, run_id, content in wanted
        ]
        run_ids = tracking.write(self._experiment, changes)
        for (number, _, content), change, run_id in zip(wanted, changes, run_ids, strict=True):
            self._runs[number] = FoundRun(
                run_id=run_id, start_ms=content.start_ms, status=content.status, tags=change.tags
            )
        return run_ids

    def _tags(self, number: int, content: RunContent) -> dict[str, str]:
        parent = {} if number == PARENT else {"mlflow.parentRunId": self._runs[PARENT].run_id}
        return {**content.tags, **parent, **sweep_tags(self._identity, self._sweep_id)}


def _parent_at(sweep: SweepRow, run_id: str, *, epochs: int, state: str) -> Publication:
    return Publication(sweep_id=sweep.id, number=PARENT, run_id=run_id, epochs=epochs, state=state)


def _is_open(trial: TrialRow) -> bool:
    return trial.state in OPEN_STATES
