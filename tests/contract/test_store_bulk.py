"""Bulk statements write what plain ones do: the same random rounds both ways, compared column by column."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from psycopg import sql
from sqlalchemy import Connection, Text, cast, insert, select, update

from sweeps import store_rows
from sweeps.errors import IllegalTransition, MeasurementConflict
from sweeps.records import Measurement, NewTrial, Proposal, RoundRecord, TrialProgress, TrialState
from sweeps.store import Store, open_store
from sweeps.store_bulk import _as_arrays
from sweeps.store_columns import progress_columns
from sweeps.store_rounds import _moving
from sweeps.tables import measurements, proposals, trials
from tests.contract.store_values import leased, measurement, new_trial, progress, with_trials

BOTH = settings(
    max_examples=25,
    deadline=None,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),  # making a failure smaller takes minutes of commits
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)

texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])) | st.sampled_from(
    ["NULL", "None", "{}", "a\nb", "\\N", '"', "'", "%s", ":x", "?", ""]
)
whole = st.integers(0, 2**31 - 1)
long = st.integers(-(2**63), 2**63 - 1)
finite = (
    st.floats(allow_nan=False, allow_infinity=False)
    | st.integers(-(2**40), 2**40)
    | st.floats(allow_nan=False, allow_infinity=False).map(np.float64)
)
norms = st.floats() | st.sampled_from([math.inf, -math.inf, math.nan])
plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
objects = st.dictionaries(texts, plain, max_size=4)


def maybe(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | values


def new_trials(number: int) -> st.SearchStrategy[NewTrial]:
    return st.builds(
        NewTrial,
        number=st.just(number),
        setting_index=whole,
        seed=long,
        admitted_round=whole,
        lane=whole,
        optimizer=texts,
        schedule=texts,
        setting=objects,
        lr=maybe(finite),
        momentum=maybe(finite),
        weight_decay=maybe(finite),
        nesterov=maybe(st.booleans()),
    )


def measured(number: int, epoch: int) -> st.SearchStrategy[Measurement]:
    return st.builds(
        Measurement,
        number=st.just(number),
        epoch=st.just(epoch),
        step=long,
        lr=finite,
        momentum=maybe(finite),
        train_loss=finite,
        val_loss=finite,
        grad_norm=maybe(norms),
        extra=st.dictionaries(texts, finite.map(float), max_size=3),
        ts_ms=long,
    )


def progressed(number: int) -> st.SearchStrategy[TrialProgress]:
    after = [state for state in TrialState if state is not TrialState.waiting]
    return st.builds(
        TrialProgress,
        number=st.just(number),
        state=st.sampled_from([*after, TrialState.waiting]),
        value=maybe(finite),
        epochs_done=whole,
        peak_lr=maybe(finite),
        final_lr=maybe(finite),
        epochs_trained=whole,
        parent_number=maybe(whole),
        fork_step=maybe(long),
        cause=maybe(texts),
        detail=maybe(objects),
    )


@st.composite
def records(draw: st.DrawFn) -> RoundRecord:
    """A round that starts with an empty sweep, and is legal."""
    numbers = range(draw(st.integers(0, 5)))
    started = tuple(number for number in numbers if draw(st.booleans()))
    numbers_and_epochs = [(number, epoch) for number in numbers for epoch in (1, 2) if draw(st.booleans())]
    return RoundRecord(
        rounds_done=1,
        proposals=tuple(
            draw(st.builds(Proposal, index=st.just(index), parameters=objects, attributes=objects))
            for index in numbers
        ),
        trials=tuple(draw(new_trials(number)) for number in numbers),
        started=started,
        measurements=tuple(draw(measured(*key)) for key in numbers_and_epochs),
        progress=tuple(draw(progressed(number)) for number in started if draw(st.booleans())),
    )


def write_plainly(connection: Connection, sweep_id: int, record: RoundRecord) -> None:
    """The obvious version: a statement a row, each value converted by SQLAlchemy."""
    for proposal in record.proposals:
        row = {name: getattr(proposal, name) for name in ("index", "parameters", "attributes")}
        connection.execute(insert(proposals).values(row | {"sweep_id": sweep_id}))
    for trial in record.trials:
        connection.execute(insert(trials).values(store_rows.trial_values(sweep_id, trial)))
    for number in record.started:
        connection.execute(_one(sweep_id, number).values(state=TrialState.running))
    for item in record.measurements:
        connection.execute(insert(measurements).values(store_rows.measurement_values(sweep_id, item)))
    for item in record.progress:
        again = {"attempt": trials.c.attempt + 1} if item.state is TrialState.waiting else {}
        values = store_rows.progress_values(item) | again
        connection.execute(_one(sweep_id, item.number).values(values))


def _one(sweep_id: int, number: int) -> Any:
    return update(trials).where(trials.c.sweep_id == sweep_id, trials.c.number == number)


def everything(store: Store, sweep_id: int) -> list[list[dict[str, str]]]:
    """Every stored value as written: `repr` tells 0.0 from -0.0 and 1 from 1.0, JSON is text."""

    def read(connection: Connection) -> list[list[dict[str, str]]]:
        found = []
        for table, order in ((proposals, "index"), (trials, "number"), (measurements, "number")):
            query = select(
                *(
                    cast(column, Text).label(column.name) if "JSON" in str(column.type) else column
                    for column in table.c
                    if column.name not in ("id", "sweep_id")
                )
            ).where(table.c.sweep_id == sweep_id)
            rows = connection.execute(query.order_by(table.c[order], *table.primary_key.columns))
            found.append([{name: repr(value) for name, value in row._mapping.items()} for row in rows])
        return found

    return store._database.read(read)


@given(record=records())
@BOTH
def test_bulk_and_plain_rounds_are_the_same(store: Store, record: RoundRecord) -> None:
    lease = leased(store)
    store.commit_round(lease, record)
    plainly = leased(store).sweep_id
    store._database.write(lambda connection: write_plainly(connection, plainly, record))
    assert everything(store, lease.sweep_id) == everything(store, plainly)
    store.commit_round(lease, RoundRecord(rounds_done=1, measurements=record.measurements))


@given(record=records(), data=st.data())
@BOTH
def test_a_conflict_among_many_is_named(store: Store, record: RoundRecord, data: st.DataObject) -> None:
    if not record.measurements:
        return
    lease = leased(store)
    store.commit_round(lease, record)
    position = data.draw(st.integers(0, len(record.measurements) - 1))
    old = record.measurements[position]
    other = data.draw(measured(old.number, old.epoch).filter(lambda new: _differs(old, new)))
    changed = (*record.measurements[:position], other, *record.measurements[position + 1 :])
    with pytest.raises(MeasurementConflict) as caught:
        store.commit_round(lease, RoundRecord(rounds_done=2, measurements=changed))
    assert (caught.value.number, caught.value.epoch) == (old.number, old.epoch)


def _differs(old: Measurement, new: Measurement) -> bool:
    names = ("step", "lr", "momentum", "train_loss", "val_loss")
    return any(repr(_float(getattr(old, name))) != repr(_float(getattr(new, name))) for name in names)


def _float(value: Any) -> float | None:
    return None if value is None else float(value)


def test_the_same_measurement_twice_in_a_round_is_stored_once(store: Store) -> None:
    lease = with_trials(store, TrialState.running)
    twice = (measurement(0), measurement(0, ts_ms=5))
    store.commit_round(lease, RoundRecord(rounds_done=1, measurements=twice))
    assert store.measurements(lease.sweep_id) == [measurement(0)]
    differing = (measurement(0, 2), measurement(0, 2, lr=0.5))
    with pytest.raises(MeasurementConflict):
        store.commit_round(lease, RoundRecord(rounds_done=2, measurements=differing))


def test_a_trial_is_once_in_a_round(store: Store) -> None:
    lease = with_trials(store, TrialState.waiting, TrialState.running)
    twice = (progress(1, TrialState.running), progress(1, TrialState.finished))
    with pytest.raises(ValueError, match="trial 1 is more than once in a round's progress"):
        store.commit_round(lease, RoundRecord(rounds_done=1, progress=twice))
    with pytest.raises(ValueError, match="trial 0 is more than once in a round's started"):
        store.commit_round(lease, RoundRecord(rounds_done=1, started=(0, 0)))
    assert [trial.state for trial in store.trials(lease.sweep_id)] == [TrialState.waiting, TrialState.running]


@pytest.mark.parametrize("culprit", [0, 700, 1499])
def test_one_illegal_transition_among_many_is_named(store: Store, culprit: int) -> None:
    states = [TrialState.running] * 1500
    states[culprit] = TrialState.finished
    lease = with_trials(store, *states)
    ended = tuple(progress(number, TrialState.finished) for number in range(1500))
    with pytest.raises(IllegalTransition) as caught:
        store.commit_round(lease, RoundRecord(rounds_done=1, progress=ended))
    assert (caught.value.number, caught.value.before) == (culprit, TrialState.finished)
    assert [trial.state for trial in store.trials(lease.sweep_id)] == states


def test_other_sweeps_are_left_alone(store: Store) -> None:
    other = with_trials(store, TrialState.running, TrialState.running)
    lease = with_trials(store, TrialState.running, TrialState.running)
    ended = (progress(0, TrialState.finished), progress(1, TrialState.running, epochs_done=3))
    store.commit_round(lease, RoundRecord(rounds_done=1, progress=ended, measurements=(measurement(0),)))
    assert {trial.state for trial in store.trials(other.sweep_id)} == {TrialState.running}
    assert {trial.epochs_done for trial in store.trials(other.sweep_id)} == {0}
    assert store.measurements(other.sweep_id) == []


def test_new_trials_wait(store: Store) -> None:
    lease = leased(store)
    store.commit_round(lease, RoundRecord(rounds_done=0, trials=(new_trial(0, setting={}),)))
    (row,) = store.trials(lease.sweep_id)
    assert (row.state, row.attempt, row.epochs_done, row.setting) == (TrialState.waiting, 0, 0, {})


@pytest.mark.parametrize("mode", ["force_custom_plan", "force_generic_plan"])
def test_an_update_looks_each_row_up_by_its_key(postgresql_url: str, mode: str) -> None:
    """Whatever PostgreSQL believes of its tables: a plan that pairs all with all takes seconds a round."""
    count = 300
    store = open_store(postgresql_url)
    lease = with_trials(store, *[TrialState.running] * count)
    columns = progress_columns([progress(number, TrialState.running) for number in range(count)])
    names = tuple(name for name in columns if name != "number")
    bulk = _moving(TrialState.running, frozenset({TrialState.running, TrialState.waiting}), names)
    compiled = bulk._by_column.compile(dialect=store._database.engine.dialect)
    values = compiled.params | _as_arrays(trials, columns) | {"new_sweep_id": lease.sweep_id}
    order = list(dict.fromkeys(re.findall(r"%\((\w+)\)s", str(compiled))))
    statement = re.sub(r"%\((\w+)\)s", lambda found: f"${order.index(found[1]) + 1}", str(compiled))
    types = ", ".join("int" if isinstance(values[name], int) else "text" for name in order)
    given = ", ".join(sql.Literal(values[name]).as_string(None) for name in order)

    def largest(connection: Connection) -> float:
        driver = connection.connection.driver_connection
        assert driver is not None
        driver.execute(f"SET LOCAL plan_cache_mode = {mode}")
        driver.execute(f"PREPARE moving ({types}) AS {statement}")
        ((plan,),) = driver.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) EXECUTE moving ({given})").fetchone()
        driver.execute("DEALLOCATE moving")
        return _most_rows(plan["Plan"])

    most = store._database.write(largest)
    store.close()
    assert count <= most <= 2 * count


def _most_rows(node: dict[str, Any]) -> float:
    """The most rows that any step of the plan went through, in all its repetitions."""
    left_out = sum(value for name, value in node.items() if name.startswith("Rows Removed"))
    rows = (node["Actual Rows"] + left_out) * node["Actual Loops"]
    return max([rows, *(_most_rows(step) for step in node.get("Plans", []))])
