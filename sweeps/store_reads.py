"""Reads: what the store tells the runner, the command line and the dashboards."""

from __future__ import annotations

import difflib
import gc
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, func, select

from sweeps import store_rows
from sweeps.errors import UnknownSweep, UnknownTrial
from sweeps.leases import DatabaseNow
from sweeps.records import (
    FINAL_SWEEP_STATES,
    Measurement,
    Proposal,
    Publication,
    SweepRow,
    TrialRow,
    TrialState,
)
from sweeps.store_transactions import Database
from sweeps.tables import measurements, proposals, publications, requests, store_identity, sweeps, trials

_GREATEST_ID = 2**31 - 1
_NUMBERS_AT_ONCE = 1000  # both databases limit how many values a statement may have
_MEASUREMENTS = select(*(measurements.c[name] for name in store_rows.MEASUREMENT_COLUMNS))


class StoreReader:
    """The store's answers, each from one view of the database.

    Every method raises :class:`StoreUnavailable` where the database cannot be reached or read.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    @property
    def url_for_display(self) -> str:
        """The store's URL without its password."""
        return self._database.display

    @property
    def description(self) -> str:
        """The database, its version and how it keeps what is committed, in words."""
        return self._database.description

    def identity(self) -> str:
        """32 hexadecimal digits made with the store; a copy or a backup has the same."""
        return str(self._rows(select(store_identity.c.uuid))[0].uuid)

    def find_sweep(self, reference: str) -> SweepRow:
        """The sweep with this id (all digits), else the newest with this name.

        Raises:
            UnknownSweep: none; the message names the nearest names.
        """
        if reference.isascii() and reference.isdigit():
            return self.sweep(int(reference))
        found = self._sweeps(sweeps.c.name == reference)
        if not found:
            names = {row.name for row in self._rows(select(sweeps.c.name))}
            raise UnknownSweep(reference, tuple(difflib.get_close_matches(reference, sorted(names))))
        return found[-1]

    def sweep(self, sweep_id: int) -> SweepRow:
        """The sweep with this id.

        Raises:
            UnknownSweep: there is none.
        """
        found = self._sweeps(sweeps.c.id == sweep_id) if sweep_id <= _GREATEST_ID else []
        if not found:
            raise UnknownSweep(str(sweep_id))
        return found[0]

    def sweeps(self) -> list[SweepRow]:
        """All sweeps by id."""
        return self._sweeps()

    def trial_counts(self, sweep_id: int) -> dict[TrialState, int]:
        """How many trials the sweep has in each state, zeros included."""
        query = select(trials.c.state, func.count().label("trials")).where(trials.c.sweep_id == sweep_id)
        return _counts({row.state: row.trials for row in self._rows(query.group_by(trials.c.state))})

    def trial_counts_by_sweep(self) -> dict[int, dict[TrialState, int]]:
        """:meth:`trial_counts` of every sweep, also of those without trials."""
        query = (
            select(sweeps.c.id, trials.c.state, func.count(trials.c.id).label("trials"))
            .outerjoin_from(sweeps, trials)
            .group_by(sweeps.c.id, trials.c.state)
            .order_by(sweeps.c.id)
        )
        found: dict[int, dict[str, int]] = {}
        for row in self._rows(query):
            found.setdefault(row.id, {})[row.state] = row.trials
        return {sweep_id: _counts(counts) for sweep_id, counts in found.items()}

    def trials(self, sweep_id: int) -> list[TrialRow]:
        """The sweep's trials by number."""
        query = select(trials).where(trials.c.sweep_id == sweep_id).order_by(trials.c.number)
        return [store_rows.trial_row(row) for row in self._rows(query)]

    def trial(self, sweep_id: int, number: int) -> TrialRow:
        """One trial.

        Raises:
            UnknownTrial: the sweep has none of this number.
        """
        query = select(trials).where(trials.c.sweep_id == sweep_id, trials.c.number == number)
        found = self._rows(query)
        if not found:
            raise UnknownTrial(sweep_id, number)
        return store_rows.trial_row(found[0])

    def best_trials(self, sweep_id: int, count: int) -> list[TrialRow]:
        """At most ``count`` finished trials, best first by the sweep's goal, equal ones by number.

        Raises:
            UnknownSweep: there is none.
        """
        value = trials.c.value
        best_first = value.desc() if self.sweep(sweep_id).goal == "maximize" else value.asc()
        query = (
            select(trials)
            .where(trials.c.sweep_id == sweep_id, trials.c.state == TrialState.finished, value.is_not(None))
            .order_by(best_first, trials.c.number)
            .limit(count)
        )
        return [store_rows.trial_row(row) for row in self._rows(query)]

    def measurements(self, sweep_id: int, *, numbers: Sequence[int] | None = None) -> list[Measurement]:
        """The sweep's measurements, or these trials', by number and epoch."""
        query = _MEASUREMENTS.where(measurements.c.sweep_id == sweep_id)
        wanted = None if numbers is None else set(numbers)
        if wanted is not None and len(wanted) <= _NUMBERS_AT_ONCE:
            query = query.where(measurements.c.number.in_(wanted))
            wanted = None
        query = query.order_by(measurements.c.number, measurements.c.epoch)
        with _collector_at_rest():
            found = [store_rows.measurement(row) for row in self._rows(query)]
        return found if wanted is None else [item for item in found if item.number in wanted]

    def epochs_total(self, sweep_id: int) -> int:
        """How many epochs the sweep's trials have done together."""
        query = select(func.coalesce(func.sum(trials.c.epochs_done), 0).label("epochs"))
        return int(self._rows(query.where(trials.c.sweep_id == sweep_id))[0].epochs)

    def epochs_trained_total(self, sweep_id: int) -> int:
        """How many epochs rows were trained for: one that several rode on counts once; cooldowns count."""
        query = select(func.coalesce(func.sum(trials.c.epochs_trained), 0).label("epochs"))
        return int(self._rows(query.where(trials.c.sweep_id == sweep_id))[0].epochs)

    def proposals(self, sweep_id: int) -> list[Proposal]:
        """The sweep's proposals by index."""
        query = select(proposals).where(proposals.c.sweep_id == sweep_id).order_by(proposals.c["index"])
        return [
            Proposal(index=row._mapping["index"], parameters=row.parameters, attributes=row.attributes)
            for row in self._rows(query)
        ]

    def stop_requested(self, sweep_id: int) -> bool:
        """Whether someone asked for the sweep's end and it has not ended yet."""
        query = (
            select(requests.c.id)
            .join_from(requests, sweeps)
            .where(requests.c.sweep_id == sweep_id, requests.c.kind == "stop")
            .where(sweeps.c.state.not_in(FINAL_SWEEP_STATES))
            .limit(1)
        )
        return bool(self._rows(query))

    def publications(self, sweep_id: int) -> dict[int, Publication]:
        """How far each trial of the sweep is published, by number; -1 is the sweep itself."""
        query = (
            select(publications).where(publications.c.sweep_id == sweep_id).order_by(publications.c.number)
        )
        return {row.number: store_rows.publication(row) for row in self._rows(query)}

    def close(self) -> None:
        """Close every connection."""
        self._database.close()

    def _sweeps(self, *conditions: ColumnElement[bool]) -> list[SweepRow]:
        query = select(sweeps, DatabaseNow().label("now")).where(*conditions).order_by(sweeps.c.id)
        return [store_rows.sweep_row(row) for row in self._rows(query)]

    def _rows(self, query: Select[Any]) -> Sequence[Row[Any]]:
        def fetch(connection: Connection) -> Sequence[Row[Any]]:
            return connection.execute(query).all()

        return self._database.read(fetch)


@contextmanager
def _collector_at_rest() -> Iterator[None]:
    """Keep Python's cycle collector from running over rows that are all kept: a third of the reading time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _counts(found: Mapping[str, int]) -> dict[TrialState, int]:
    return {state: found.get(state, 0) for state in TrialState}
