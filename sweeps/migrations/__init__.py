"""Migrations: the store's revisions, in order; the newest is named here so that it need not be looked up."""

HEAD = "0004"
"""The revision that this version of the program writes and reads."""
