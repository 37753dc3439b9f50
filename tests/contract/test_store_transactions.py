"""Transactions: tried again when that can help and cannot store twice, and told in a sentence when not."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import Connection, text

from sweeps.errors import StoreConflict, StoreUnavailable
from sweeps.store import Store, open_store
from sweeps.store_transactions import TRIES
from tests.contract.store_values import leased, new_sweep


@pytest.fixture
def waits() -> list[float]:
    return []


@pytest.fixture
def patient(postgresql_url: str, waits: list[float]) -> Store:
    return open_store(postgresql_url, sleep=waits.append, jitter=lambda: 0.5)


def _raising(state: str, times: int, calls: list[int]) -> Callable[[Connection], None]:
    def work(connection: Connection) -> None:
        calls.append(1)
        insert = "INSERT INTO publications SELECT id, 0, 'r', 0, 's' FROM sweeps"
        connection.execute(text(insert))
        if len(calls) <= times:
            connection.execute(text(f"DO $$ BEGIN RAISE EXCEPTION 'x' USING ERRCODE = '{state}'; END $$"))

    return work


@pytest.mark.parametrize("state", ["40001", "40P01", "55P03", "08006", "57P01", "57P03"])
def test_what_may_pass_is_tried_again(patient: Store, waits: list[float], state: str) -> None:
    sweep_id = patient.create_sweep(new_sweep())
    calls: list[int] = []
    patient._database.write(_raising(state, TRIES - 1, calls))
    assert len(calls) == TRIES
    assert waits == [0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0]
    assert len(patient.publications(sweep_id)) == 1
    patient.close()


def test_the_last_try_tells(patient: Store, waits: list[float]) -> None:
    calls: list[int] = []
    with pytest.raises(StoreUnavailable, match="cannot be used: x"):
        patient._database.write(_raising("40001", 99, calls))
    assert (len(calls), len(waits)) == (TRIES, TRIES - 1)
    patient.close()


@pytest.mark.parametrize("state", ["53100", "42501", "57014", "XX000"])
def test_what_will_not_pass_is_told_at_once(patient: Store, waits: list[float], state: str) -> None:
    with pytest.raises(StoreUnavailable):
        patient._database.write(_raising(state, 1, []))
    assert waits == []
    patient.close()


def test_a_lost_connection_is_made_again(patient: Store, waits: list[float]) -> None:
    sweep_id = patient.create_sweep(new_sweep())
    calls: list[int] = []

    def work(connection: Connection) -> int:
        calls.append(1)
        if len(calls) == 1:
            connection.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))
        return connection.execute(text("SELECT count(*) FROM sweeps")).scalar_one()

    assert patient._database.write(work) == 1
    assert len(waits) == 1
    assert patient.sweep(sweep_id)
    patient.close()


def test_a_connection_lost_in_the_commit_is_not_tried_again(patient: Store, waits: list[float]) -> None:
    """Nobody knows whether it was stored: trying again could store it twice."""

    def work(connection: Connection) -> None:
        connection.execute(
            text(
                "CREATE FUNCTION pg_temp.vanish() RETURNS trigger LANGUAGE plpgsql AS "
                "$$ BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END $$"
            )
        )
        connection.execute(text("CREATE TEMPORARY TABLE fleeting (x INTEGER)"))
        connection.execute(
            text(
                "CREATE CONSTRAINT TRIGGER vanish AFTER INSERT ON fleeting DEFERRABLE INITIALLY DEFERRED "
                "FOR EACH ROW EXECUTE FUNCTION pg_temp.vanish()"
            )
        )
        connection.execute(text("INSERT INTO fleeting VALUES (1)"))

    with pytest.raises(StoreUnavailable, match=r"broke during a commit.*is not known"):
        patient._database.write(work)
    assert waits == []
    assert patient.sweeps() == []
    patient.close()


def test_a_server_that_is_gone_is_told_with_what_to_do(patient: Store, waits: list[float]) -> None:
    lease = leased(patient)
    engine = patient._database.engine
    engine.dispose()
    engine.dialect.create_connect_args = lambda _url: ([], {"host": "/nowhere", "dbname": "x"})  # type: ignore[method-assign]
    engine.pool._creator = lambda *_: engine.dialect.connect(host="/nowhere", dbname="x")  # type: ignore[method-assign]
    with pytest.raises(StoreUnavailable, match="Check the URL"):
        patient.set_plan(lease, {})
    patient.close()


def test_values_never_reach_an_error(store: Store) -> None:
    def work(connection: Connection) -> None:
        connection.execute(
            text("INSERT INTO proposals VALUES (999, 0, :secret, :secret)"), {"secret": '"kanarienvogel"'}
        )

    with pytest.raises(StoreConflict) as caught:
        store._database.write(work)
    assert "kanarienvogel" not in f"{caught.value} {caught.value.__cause__}"


def test_a_mistake_of_ours_is_no_outage(store: Store) -> None:
    def work(_connection: Connection) -> None:
        raise KeyError("ours")

    with pytest.raises(KeyError, match="ours"):
        store._database.write(work)


def test_a_locked_file_says_so(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sweeps.engines._BUSY_MILLISECONDS", 100)
    store = open_store(sqlite_url)
    holder = sqlite3.connect(Path(sqlite_url.removeprefix("sqlite:///")), isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    begun = time.monotonic()
    with pytest.raises(StoreUnavailable, match=r"locked.*Another process"):
        store.create_sweep(new_sweep())
    assert time.monotonic() - begun >= 0.1
    assert store.sweeps() == []
    holder.rollback()
    holder.close()
    assert store.create_sweep(new_sweep()) == 1
    store.close()
