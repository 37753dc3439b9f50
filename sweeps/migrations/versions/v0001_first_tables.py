"""The first tables."""

from __future__ import annotations

from uuid import uuid4

import sqlalchemy as sa
from alembic import op

from sweeps.tables import ExactDouble

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

SWEEP_STATES = "'waiting', 'running', 'finished', 'stopped', 'failed'"
TRIAL_STATES = "'waiting', 'running', 'finished', 'pruned', 'diverged', 'failed', 'cancelled'"

TRIAL_RESULTS = """
CREATE VIEW trial_results AS
SELECT trials.sweep_id, sweeps.name AS sweep, trials.number, trials.state, trials.seed, trials.optimizer,
    trials.schedule, trials.value, trials.epochs_done, trials.lr, trials.momentum, trials.weight_decay,
    trials.nesterov, trials.peak_lr, trials.final_lr
FROM trials JOIN sweeps ON sweeps.id = trials.sweep_id
"""


def upgrade() -> None:
    _create_sweeps()
    _create_trials()
    _create_measurements()
    _create_what_hangs_on_sweeps()
    op.execute(TRIAL_RESULTS)
    identity = op.create_table(
        "store_identity",
        sa.Column("id", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("uuid", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_store_identity"),
        sa.CheckConstraint("id = 1", name=op.f("ck_store_identity_one_row")),
    )
    op.bulk_insert(identity, [{"id": 1, "uuid": uuid4().hex}])


def _json() -> sa.JSON:
    return sa.JSON(none_as_null=True)


def _sweep_id(table: str) -> sa.Column[int]:
    to_sweeps = sa.ForeignKey("sweeps.id", name=f"fk_{table}_sweeps", ondelete="CASCADE")
    return sa.Column("sweep_id", sa.Integer, to_sweeps, nullable=False)


def _create_sweeps() -> None:
    op.create_table(
        "sweeps",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("task", sa.Text, nullable=False),
        sa.Column("metric", sa.Text, nullable=False),
        sa.Column("goal", sa.Text, nullable=False),
        sa.Column("seed", sa.BigInteger, nullable=False),
        sa.Column("epochs", sa.Integer, nullable=False),
        sa.Column("trials", sa.Integer, nullable=False),
        sa.Column("spec", _json(), nullable=False),
        sa.Column("columns", _json(), nullable=False),
        sa.Column("created_at", sa.Text, nullable=False),
        sa.Column("started_at", sa.Text),
        sa.Column("ended_at", sa.Text),
        sa.Column("error", sa.Text),
        sa.Column("rounds_done", sa.Integer, nullable=False),
        sa.Column("plan", _json()),
        sa.Column("lease_epoch", sa.Integer, nullable=False, server_default="0"),
        sa.Column("lease_until", sa.Double),
        sa.Column("lease_seconds", sa.Double),
        sa.Column("owner_host", sa.Text),
        sa.Column("owner_pid", sa.BigInteger),
        sa.Column("owner_started", sa.Double),
        sa.PrimaryKeyConstraint("id", name="pk_sweeps"),
        sa.CheckConstraint(f"state IN ({SWEEP_STATES})", name=op.f("ck_sweeps_state")),
        sa.CheckConstraint("goal IN ('minimize', 'maximize')", name=op.f("ck_sweeps_goal")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_sweeps_name", "sweeps", ["name"])


def _create_trials() -> None:
    op.create_table(
        "trials",
        sa.Column("id", sa.Integer, nullable=False),
        _sweep_id("trials"),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("setting_index", sa.Integer, nullable=False),
        sa.Column("seed", sa.BigInteger, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("cause", sa.Text),
        sa.Column("detail", _json()),
        sa.Column("admitted_round", sa.Integer, nullable=False),
        sa.Column("lane", sa.Integer, nullable=False),
        sa.Column("optimizer", sa.Text, nullable=False),
        sa.Column("schedule", sa.Text, nullable=False),
        sa.Column("setting", _json(), nullable=False),
        sa.Column("lr", ExactDouble),
        sa.Column("momentum", ExactDouble),
        sa.Column("weight_decay", ExactDouble),
        sa.Column("nesterov", sa.Boolean),
        sa.Column("value", ExactDouble),
        sa.Column("epochs_done", sa.Integer, nullable=False),
        sa.Column("peak_lr", ExactDouble),
        sa.Column("final_lr", ExactDouble),
        sa.Column("parent_number", sa.Integer),
        sa.Column("fork_step", sa.BigInteger),
        sa.PrimaryKeyConstraint("id", name="pk_trials"),
        sa.UniqueConstraint("sweep_id", "number", name="uq_trials_sweep_id_number"),
        sa.CheckConstraint(f"state IN ({TRIAL_STATES})", name=op.f("ck_trials_state")),
        sqlite_autoincrement=True,
    )


def _create_measurements() -> None:
    op.create_table(
        "measurements",
        sa.Column("sweep_id", sa.Integer, nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("epoch", sa.Integer, nullable=False),
        sa.Column("step", sa.BigInteger, nullable=False),
        sa.Column("lr", ExactDouble, nullable=False),
        sa.Column("momentum", ExactDouble),
        sa.Column("train_loss", ExactDouble, nullable=False),
        sa.Column("val_loss", ExactDouble, nullable=False),
        sa.Column("grad_norm", ExactDouble),
        sa.Column("extra", _json(), nullable=False),
        sa.Column("ts_ms", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("sweep_id", "number", "epoch", name="pk_measurements"),
        sa.ForeignKeyConstraint(
            ["sweep_id", "number"],
            ["trials.sweep_id", "trials.number"],
            name="fk_measurements_trials",
            ondelete="CASCADE",
        ),
        sa.CheckConstraint("epoch >= 1", name=op.f("ck_measurements_epoch")),
    )


def _create_what_hangs_on_sweeps() -> None:
    op.create_table(
        "proposals",
        _sweep_id("proposals"),
        sa.Column("index", sa.Integer, nullable=False),
        sa.Column("parameters", _json(), nullable=False),
        sa.Column("attributes", _json(), nullable=False),
        sa.PrimaryKeyConstraint("sweep_id", "index", name="pk_proposals"),
    )
    op.create_table(
        "requests",
        sa.Column("id", sa.Integer, nullable=False),
        _sweep_id("requests"),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("created_at", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_requests"),
        sa.CheckConstraint("kind IN ('stop')", name=op.f("ck_requests_kind")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_requests_sweep_id", "requests", ["sweep_id"])
    op.create_table(
        "publications",
        _sweep_id("publications"),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("run_id", sa.Text, nullable=False),
        sa.Column("epochs", sa.Integer, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("sweep_id", "number", name="pk_publications"),
    )
