"""Why a sweep ended before all its settings were tried, and what that is decided from."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("sweeps", sa.Column("ending", sa.JSON(none_as_null=True)))
