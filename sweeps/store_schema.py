"""The schema's revision: brought up to date on opening, by one process at a time."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, inspect, text

from sweeps import migrations, tables
from sweeps.errors import StoreOutdated, StoreUnavailable
from sweeps.store_transactions import Database

_ADVISORY_LOCK = 0x726176696E65  # any number that no other program on the server uses; "ravine" in ASCII


def bring_up_to_date(database: Database) -> None:
    """Create the tables or migrate them to this version's revision; where nothing is to do, only look.

    Raises:
        StoreUnavailable: a newer version or another program made the database, or it was opened for reading
            only and has no tables or older ones.
    """
    revision = database.read(_revision)
    if revision == migrations.HEAD:
        return
    if database.read_only:
        if revision is None:
            raise StoreUnavailable(
                f"There are no sweeps yet in {database.display}. `ravine launch FILE` makes the first."
            )
        raise StoreOutdated(
            f"The store {database.display} is not of this version ({revision}, not {migrations.HEAD}). "
            "`ravine launch` or `ravine resume` of the newer version brings it up to date."
        )
    database.write(lambda connection: _migrate(connection, database.display))


def _revision(connection: Connection) -> str | None:
    """The revision the database is at; None where there are no tables."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    revision: str | None = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return revision


def _migrate(connection: Connection, display: str) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_LOCK})
    revision = _revision(connection)  # again: another process may have migrated while this one waited
    if revision == migrations.HEAD:
        return
    # Only here: alembic takes longer to import than a store at its newest revision takes to open.
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if revision is None:
        _refuse_foreign_tables(connection, display)
    elif revision not in known:
        raise StoreUnavailable(
            f"The store {display} was made by a newer version of Ravine, or by another program: its revision "
            f"is {revision}, and this version knows {migrations.HEAD} and before. Upgrade Ravine, or name "
            "another database."
        )
    command.upgrade(config, migrations.HEAD)


def _refuse_foreign_tables(connection: Connection, display: str) -> None:
    taken = sorted(set(inspect(connection).get_table_names()) & set(tables.metadata.tables))
    if taken:
        raise StoreUnavailable(
            f"The database {display} holds tables of another program under our names ({', '.join(taken)}). "
            "Name a database of Ravine's own."
        )
