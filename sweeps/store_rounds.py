"""Rounds: how everything that one decision changes is written inside one transaction."""

from __future__ import annotations

import struct
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from sqlalchemy import Connection, Integer, bindparam, select, tuple_, update

from sweeps import store_columns, store_rows
from sweeps.errors import IllegalTransition, MeasurementConflict, StoreConflict
from sweeps.records import (
    TRIAL_TRANSITIONS,
    Measurement,
    RoundRecord,
    TrialProgress,
    TrialState,
)
from sweeps.store_bulk import BulkInsert, BulkUpdate, Columns
from sweeps.tables import measurements, proposals, sweeps, trials

_COMPARED_AT_ONCE = 1000
_PROPOSALS = BulkInsert(proposals, [column.name for column in proposals.c])
_TRIALS = BulkInsert(trials, store_columns.NEW_TRIAL)
_MEASUREMENTS = BulkInsert(measurements, [column.name for column in measurements.c], unless_stored=True)

# Built once: building a statement takes longer than executing it.
_COUNT = (
    update(sweeps)
    .where(sweeps.c.id == bindparam("of_sweep"), sweeps.c.rounds_done <= bindparam("rounds"))
    .values(rounds_done=bindparam("rounds"))
)
_COPIED = [column for column in measurements.c if column.name != "number"]
_COPY = measurements.insert().from_select(
    ["number", *(column.name for column in _COPIED)],
    select(bindparam("copy", type_=Integer), *_COPIED).where(
        measurements.c.sweep_id == bindparam("of_sweep"), measurements.c.number == bindparam("original")
    ),
)
_COUNT_WITH_USAGE = _COUNT.values(usage=bindparam("used"))
_END = update(sweeps).where(sweeps.c.id == bindparam("of_sweep")).values(ending=bindparam("how"))


def write_round(connection: Connection, sweep_id: int, record: RoundRecord) -> None:
    """Write the record; the caller holds the sweep's lease in this transaction.

    Raises:
        StoreConflict, MeasurementConflict, IllegalTransition, ValueError: see :meth:`Store.commit_round`.
    """
    _count_rounds(connection, sweep_id, record)
    if record.proposals:
        _PROPOSALS.execute(connection, store_columns.proposal_columns(sweep_id, record.proposals))
    if record.attributes:
        _replace_attributes(connection, sweep_id, record.attributes)
    if record.trials:
        _TRIALS.execute(connection, store_columns.trial_columns(sweep_id, record.trials))
    if record.started:
        _refuse_repeated("started", record.started)
        _move(connection, sweep_id, TrialState.running, {"number": record.started})
    if record.measurements:
        _write_measurements(connection, sweep_id, record.measurements)
    if record.copies:
        _copy_measurements(connection, sweep_id, record.copies)
    if record.progress:
        _write_progress(connection, sweep_id, record.progress)


def _count_rounds(connection: Connection, sweep_id: int, record: RoundRecord) -> None:
    given: dict[str, Any] = {"of_sweep": sweep_id, "rounds": record.rounds_done}
    if record.usage is None:
        counted = connection.execute(_COUNT, given)
    else:
        counted = connection.execute(_COUNT_WITH_USAGE, given | {"used": dict(record.usage)})
    if record.ending is not None:
        connection.execute(_END, {"of_sweep": sweep_id, "how": dict(record.ending)})
    if counted.rowcount != 1:
        stored = connection.execute(select(sweeps.c.rounds_done).where(sweeps.c.id == sweep_id)).scalar()
        raise StoreConflict(
            f"Sweep {sweep_id} has {stored} rounds stored and cannot go back to {record.rounds_done}."
        )


def _replace_attributes(
    connection: Connection, sweep_id: int, attributes: Mapping[int, Mapping[str, Any]]
) -> None:
    replaced = connection.execute(
        update(proposals)
        .where(proposals.c.sweep_id == sweep_id, proposals.c["index"] == bindparam("which"))
        .values(attributes=bindparam("changed")),
        [{"which": index, "changed": changed} for index, changed in attributes.items()],
    )
    if replaced.rowcount != len(attributes):
        raise StoreConflict(f"Sweep {sweep_id} has no proposal for some of {sorted(attributes)}.")


def _write_progress(connection: Connection, sweep_id: int, progress: Sequence[TrialProgress]) -> None:
    _refuse_repeated("progress", [trial.number for trial in progress])
    by_state: dict[TrialState, list[TrialProgress]] = defaultdict(list)
    for trial in progress:
        by_state[trial.state].append(trial)
    for state, trials_ in by_state.items():
        columns = store_columns.progress_columns(trials_)
        _move(connection, sweep_id, state, columns, may_stay=state is TrialState.running)


def _refuse_repeated(place: str, numbers: Sequence[int]) -> None:
    repeated = [number for number, times in Counter(numbers).items() if times > 1]
    if repeated:
        raise ValueError(f"trial {repeated[0]} is more than once in a round's {place}")


def _move(
    connection: Connection, sweep_id: int, state: TrialState, columns: Columns, *, may_stay: bool = False
) -> None:
    """Bring trials to ``state``, each from a state that it may follow, and set what else the columns hold."""
    before = {earlier for earlier, later in TRIAL_TRANSITIONS.items() if state in later}
    if may_stay:
        before.add(state)
    names = tuple(name for name in columns if name != "number")
    left = _moving(state, frozenset(before), names).execute(connection, sweep_id, columns)
    if left:
        raise _illegal(connection, sweep_id, left, before, state)


@cache
def _moving(state: TrialState, before: frozenset[TrialState], names: tuple[str, ...]) -> BulkUpdate:
    constants: dict[str, Any] = {"state": state.value}
    if state is TrialState.waiting:
        constants["attempt"] = trials.c.attempt + 1  # back from running: its worker was lost
    return BulkUpdate(trials, names, sorted(earlier.value for earlier in before), constants)


def _illegal(
    connection: Connection, sweep_id: int, numbers: Sequence[int], before: set[TrialState], state: TrialState
) -> IllegalTransition:
    query = select(trials.c.number, trials.c.state).where(
        trials.c.sweep_id == sweep_id, trials.c.number.in_(numbers)
    )
    states = {row.number: TrialState(row.state) for row in connection.execute(query)}
    culprit = next((number for number in numbers if states.get(number) not in before), numbers[0])
    return IllegalTransition(sweep_id, culprit, states.get(culprit), state)


def _write_measurements(connection: Connection, sweep_id: int, offered: Sequence[Measurement]) -> None:
    columns = store_columns.measurement_columns(sweep_id, offered)
    if _MEASUREMENTS.execute(connection, columns) != len(offered):
        for start in range(0, len(offered), _COMPARED_AT_ONCE):
            _compare(connection, sweep_id, offered[start : start + _COMPARED_AT_ONCE])


def _copy_measurements(connection: Connection, sweep_id: int, copies: Mapping[int, int]) -> None:
    """Give each trial the measurements of another, those of this record among them."""
    connection.execute(
        _COPY, [{"of_sweep": sweep_id, "copy": to, "original": of} for to, of in copies.items()]
    )


def _compare(connection: Connection, sweep_id: int, offered: Sequence[Measurement]) -> None:
    key = tuple_(measurements.c.number, measurements.c.epoch)
    query = select(*(measurements.c[name] for name in store_rows.MEASUREMENT_COLUMNS)).where(
        measurements.c.sweep_id == sweep_id, key.in_([(item.number, item.epoch) for item in offered])
    )
    stored = {(row.number, row.epoch): store_rows.measurement(row) for row in connection.execute(query)}
    for item in offered:
        before = _numbers(stored[item.number, item.epoch])
        now = _numbers(item)
        for name in before.keys() | now.keys():
            if _bits(before.get(name)) != _bits(now.get(name)):
                raise MeasurementConflict(
                    sweep_id=sweep_id,
                    number=item.number,
                    epoch=item.epoch,
                    field=name,
                    stored=before.get(name),
                    offered=now.get(name),
                )


def _numbers(measurement: Measurement) -> dict[str, float | None]:
    """What training again must give again; not the time of day."""
    return {
        "step": measurement.step,
        "lr": measurement.lr,
        "momentum": measurement.momentum,
        "train_loss": measurement.train_loss,
        "val_loss": measurement.val_loss,
        "grad_norm": measurement.grad_norm,
    } | dict(measurement.extra)


def _bits(value: float | None) -> bytes | None:
    """The float's bits; NaN like none at all, as it is stored."""
    return None if value is None or value != value else struct.pack("<d", value)
