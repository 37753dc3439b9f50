"""The store's schema, one alembic revision a change."""
