"""How many of a trial's epochs its own row was trained for, and how well a sweep's slots were used."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("trials", sa.Column("epochs_trained", sa.Integer, nullable=False, server_default="0"))
    op.execute("UPDATE trials SET epochs_trained = epochs_done")  # before forks every trial trained by itself
    op.add_column("sweeps", sa.Column("usage", sa.JSON(none_as_null=True)))
