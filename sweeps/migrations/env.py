"""How alembic runs our revisions: on the caller's connection, inside the caller's transaction."""

from alembic import context

from sweeps.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
with context.begin_transaction():
    context.run_migrations()
