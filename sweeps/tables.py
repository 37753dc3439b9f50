"""Tables: the store's columns, keys and checks, and the view for questions asked in SQL."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Double,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
)
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeEngine, UserDefinedType

from sweeps.records import SweepState, TrialState

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(referred_table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    }
)


class _Untyped(UserDefinedType[float]):
    """A SQLite column without a declared type: what is put in comes out."""

    cache_ok = True

    def get_col_spec(self, **_options: Any) -> str:
        return ""


class ExactDouble(TypeDecorator[float]):
    """A float64 that comes back bit for bit; NaN is stored as NULL.

    SQLite stores -0.0 as 0.0 where a column is declared REAL, hence the undeclared type there.
    """

    impl = Double
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[float]:
        """Double, but on SQLite no type at all."""
        return dialect.type_descriptor(_Untyped() if dialect.name == "sqlite" else Double())

    def process_bind_param(self, value: float | None, dialect: Dialect) -> float | None:  # noqa: ARG002
        """Floats only: an undeclared column would keep an integer an integer."""
        return None if value is None or math.isnan(value) else float(value)


# JSON, not JSONB: PostgreSQL then keeps the text as written, so -0.0 and every last digit survive.
_json = JSON(none_as_null=True)


def _one_of(column: str, values: Iterable[str]) -> CheckConstraint:
    listed = ", ".join(f"'{value}'" for value in values)
    return CheckConstraint(f"{column} IN ({listed})", name=column)


sweeps = Table(
    "sweeps",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("task", Text, nullable=False),
    Column("metric", Text, nullable=False),
    Column("goal", Text, nullable=False),
    Column("seed", BigInteger, nullable=False),
    Column("epochs", Integer, nullable=False),
    Column("trials", Integer, nullable=False),
    Column("spec", _json, nullable=False),
    Column("columns", _json, nullable=False),
    Column("created_at", Text, nullable=False),
    Column("started_at", Text),
    Column("ended_at", Text),
    Column("error", Text),
    Column("rounds_done", Integer, nullable=False),
    Column("plan", _json),
    Column("usage", _json),
    Column("ending", _json),
    Column("lease_epoch", Integer, nullable=False, server_default="0"),
    Column("lease_until", Double),  # seconds since 1970 by the database's clock; NULL: free
    Column("lease_seconds", Double),  # by how much each write extends the lease
    Column("owner_host", Text),
    Column("owner_pid", BigInteger),
    Column("owner_started", Double),
    _one_of("state", SweepState),
    _one_of("goal", ("minimize", "maximize")),
    Index(None, "name"),
    sqlite_autoincrement=True,  # or SQLite gives a deleted sweep's id to the next one
)

trials = Table(
    "trials",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("sweep_id", Integer, ForeignKey("sweeps.id", ondelete="CASCADE"), nullable=False),
    Column("number", Integer, nullable=False),
    Column("setting_index", Integer, nullable=False),
    Column("seed", BigInteger, nullable=False),
    Column("state", Text, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("cause", Text),
    Column("detail", _json),
    Column("admitted_round", Integer, nullable=False),
    Column("lane", Integer, nullable=False),
    Column("optimizer", Text, nullable=False),
    Column("schedule", Text, nullable=False),
    Column("setting", _json, nullable=False),
    Column("lr", ExactDouble),
    Column("momentum", ExactDouble),
    Column("weight_decay", ExactDouble),
    Column("nesterov", Boolean),
    Column("value", ExactDouble),
    Column("epochs_done", Integer, nullable=False),
    Column("peak_lr", ExactDouble),
    Column("final_lr", ExactDouble),
    Column("parent_number", Integer),
    Column("fork_step", BigInteger),
    Column("epochs_trained", Integer, nullable=False, server_default="0"),
    UniqueConstraint("sweep_id", "number"),
    _one_of("state", TrialState),
    sqlite_autoincrement=True,
    postgresql_with={"fillfactor": 50},  # each is updated every epoch, best where its page has room
)

measurements = Table(
    "measurements",
    metadata,
    Column("sweep_id", Integer, primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("epoch", Integer, primary_key=True),
    Column("step", BigInteger, nullable=False),
    Column("lr", ExactDouble, nullable=False),
    Column("momentum", ExactDouble),
    Column("train_loss", ExactDouble, nullable=False),
    Column("val_loss", ExactDouble, nullable=False),
    Column("grad_norm", ExactDouble),
    Column("extra", _json, nullable=False),
    Column("ts_ms", BigInteger, nullable=False),
    ForeignKeyConstraint(["sweep_id", "number"], ["trials.sweep_id", "trials.number"], ondelete="CASCADE"),
    CheckConstraint("epoch >= 1", name="epoch"),
)

proposals = Table(
    "proposals",
    metadata,
    Column("sweep_id", Integer, ForeignKey("sweeps.id", ondelete="CASCADE"), primary_key=True),
    Column("index", Integer, primary_key=True),
    Column("parameters", _json, nullable=False),
    Column("attributes", _json, nullable=False),
)

requests = Table(
    "requests",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("sweep_id", Integer, ForeignKey("sweeps.id", ondelete="CASCADE"), nullable=False),
    Column("kind", Text, nullable=False),
    Column("created_at", Text, nullable=False),
    _one_of("kind", ("stop",)),
    Index(None, "sweep_id"),
    sqlite_autoincrement=True,
)

publications = Table(
    "publications",
    metadata,
    Column("sweep_id", Integer, ForeignKey("sweeps.id", ondelete="CASCADE"), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("run_id", Text, nullable=False),
    Column("epochs", Integer, nullable=False),
    Column("state", Text, nullable=False),
)

store_identity = Table(
    "store_identity",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("uuid", Text, nullable=False),
    CheckConstraint("id = 1", name="one_row"),
)

# A collection of its own: migrations compare `metadata` with the database's tables, and this is a view.
trial_results = Table(
    "trial_results",
    MetaData(),
    Column("sweep_id", Integer),
    Column("sweep", Text),
    Column("number", Integer),
    Column("state", Text),
    Column("seed", BigInteger),
    Column("optimizer", Text),
    Column("schedule", Text),
    Column("value", ExactDouble),
    Column("epochs_done", Integer),
    Column("lr", ExactDouble),
    Column("momentum", ExactDouble),
    Column("weight_decay", ExactDouble),
    Column("nesterov", Boolean),
    Column("peak_lr", ExactDouble),
    Column("final_lr", ExactDouble),
)
