"""Bulk: many rows in one statement, in the form that each database takes fastest.

A round writes thousands of rows. SQLite takes them as tuples, one after another inside its driver.
PostgreSQL would plan and answer for each, so it takes every column as one array and makes the rows itself.
Statements are built by SQLAlchemy and compiled once; its conversion of each single value is left out, so
columns hold what the drivers take: int, float without NaN, bool, text, JSON as text, or None.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from sqlalchemy import (
    ARRAY,
    JSON,
    BindParameter,
    Column,
    ColumnElement,
    Connection,
    Table,
    Text,
    and_,
    bindparam,
    cast,
    false,
    func,
    literal_column,
    or_,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql import column
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.selectable import FromClause, TableValuedAlias

from sweeps import store_json

_ITSELF: ColumnElement[str] = literal_column("CAST('{}' AS TEXT[])")  # the path from a JSON value to itself

Columns = Mapping[str, Sequence[Any]]
"""Values by the column's name, all of one length."""


class BulkInsert:
    """An insert of rows that hold the named columns."""

    def __init__(self, table: Table, names: Sequence[str], *, unless_stored: bool = False) -> None:
        """``unless_stored``: rows whose key is stored already are left out."""
        self._table = table
        self._names = tuple(names)
        self._unless_stored = unless_stored

    def execute(self, connection: Connection, columns: Columns) -> int:
        """Insert the rows; returns how many were."""
        if connection.dialect.name == "sqlite":
            return _execute_rows(connection, self._by_row, columns)
        result = connection.execute(
            self._by_column,
            _as_arrays(self._table, columns),
            execution_options={"preserve_rowcount": True},
        )
        return result.rowcount

    @cached_property
    def _by_row(self) -> _RowStatement:
        statement = sqlite.insert(self._table).values({name: _value_of(name) for name in self._names})
        return _RowStatement(statement.on_conflict_do_nothing() if self._unless_stored else statement)

    @cached_property
    def _by_column(self) -> postgresql.Insert:
        rows = _rows_of_arrays(self._table, self._names)
        values = select(*(_typed(self._table.c[name], rows) for name in self._names))
        statement = postgresql.insert(self._table).from_select(self._names, values)
        return statement.on_conflict_do_nothing() if self._unless_stored else statement


class BulkUpdate:
    """An update of rows of one sweep by number, of those that are in certain states."""

    def __init__(
        self,
        table: Table,
        names: Sequence[str],
        states: Sequence[str],
        constants: Mapping[str, Any],
    ) -> None:
        """``names``: of the columns that are set; ``constants``: set likewise in all rows."""
        self._table = table
        self._names = tuple(names)
        self._states = tuple(states)
        self._constants = dict(constants)

    def execute(self, connection: Connection, sweep_id: int, columns: Columns) -> list[int]:
        """Update the rows, whose ``number`` is among the columns.

        Returns nothing where all were; else numbers that were not, all as before, those to blame among them.
        """
        numbers = columns["number"]
        if connection.dialect.name == "postgresql":
            given: dict[str, Any] = {**_as_arrays(self._table, columns), _parameter("sweep_id"): sweep_id}
            updated = set(connection.execute(self._by_column, given).scalars())
            return [number for number in numbers if number not in updated]
        # A savepoint, so that the states before the update can be read for the message.
        savepoint = connection.begin_nested()
        of_sweep = {**columns, "sweep_id": [sweep_id] * len(numbers)}
        if _execute_rows(connection, self._by_row, of_sweep) == len(numbers):
            savepoint.commit()
            return []
        savepoint.rollback()
        return list(numbers)

    @cached_property
    def _by_row(self) -> _RowStatement:
        values = {name: _value_of(name) for name in self._names}
        condition = self._is_row(self._table, _value_of("number"))
        return _RowStatement(update(self._table).where(condition).values({**values, **self._constants}))

    @cached_property
    def _by_column(self) -> Any:
        rows = _rows_of_arrays(self._table, ("number", *self._names))
        # First each row's id, by its key. In a plain join the planner, which does not know how many rows a
        # sweep has, may go through all new values for each of them; OFFSET keeps it from making that of this.
        stored = self._table.alias("stored")
        of_row = select(stored.c.id).where(self._is_row(stored, rows.c.number)).scalar_subquery()
        given = select(*rows.c, of_row.label("found_id")).offset(literal_column("0")).subquery("given_rows")
        values = {name: _typed(self._table.c[name], given) for name in self._names}
        statement = update(self._table).where(self._table.c.id == given.c.found_id)
        return statement.values({**values, **self._constants}).returning(self._table.c.number)

    def _is_row(self, rows: FromClause, number: ColumnElement[int]) -> ColumnElement[bool]:
        in_state = or_(false(), *(rows.c.state == state for state in self._states))
        return and_(rows.c.sweep_id == _value_of("sweep_id"), rows.c.number == number, in_state)


class _RowStatement:
    """A statement for one row as the driver's text, with the order of its values."""

    def __init__(self, statement: Any) -> None:
        compiled = statement.compile(dialect=sqlite.dialect())
        assert isinstance(compiled, SQLCompiler)  # noqa: S101 - what statements compile to
        self.text = str(compiled)
        self.names: Sequence[str] = compiled.positiontup or ()
        self.constants: Mapping[str, Any] = compiled.params


def _execute_rows(connection: Connection, statement: _RowStatement, columns: Columns) -> int:
    count = len(next(iter(columns.values())))
    given = {_parameter(name): values for name, values in columns.items()}
    in_order = [given.get(name) or [statement.constants[name]] * count for name in statement.names]
    rows = list(zip(*in_order, strict=True))
    options = {"preserve_rowcount": True}
    return connection.exec_driver_sql(statement.text, rows, execution_options=options).rowcount


def _parameter(name: str) -> str:
    """SQLAlchemy keeps the columns' own names for itself."""
    return f"new_{name}"


def _value_of(name: str) -> BindParameter[Any]:
    return bindparam(_parameter(name))


def _rows_of_arrays(table: Table, names: Sequence[str]) -> TableValuedAlias:
    """``unnest(...)`` of one parameter a column, named like it; text and JSON come as JSON texts."""
    arrays: list[ColumnElement[Any]] = []
    for name in names:
        literal = bindparam(_parameter(name), type_=Text)
        if _is_textual(table.c[name]):
            arrays.append(func.string_to_array(literal, "\n", ""))
        else:
            arrays.append(cast(literal, ARRAY(table.c[name].type)))
    given = func.unnest(*arrays).table_valued(*(column(name) for name in names), name="given")
    return given.render_derived()


def _typed(target: Column[Any], rows: FromClause) -> ColumnElement[Any]:
    given: ColumnElement[Any] = rows.c[target.name]
    if not _is_textual(target):
        return given
    as_json = cast(given, JSON)
    return as_json if isinstance(target.type, JSON) else as_json.op("#>>")(_ITSELF)


def _is_textual(target: Column[Any]) -> bool:
    return isinstance(target.type, JSON | Text)


def _as_arrays(table: Table, columns: Columns) -> dict[str, str]:
    """The columns as PostgreSQL reads arrays; exact, because it reads floats as Python writes them."""
    return {_parameter(name): _as_array(table.c[name], values) for name, values in columns.items()}


def _as_array(target: Column[Any], values: Sequence[Any]) -> str:
    if isinstance(target.type, JSON):
        return "\n".join("" if value is None else value for value in values)  # JSON of one line, never empty
    if isinstance(target.type, Text):
        return "\n".join("" if value is None else store_json.encode(value) for value in values)
    return "{" + repr(list(values))[1:-1].replace("None", "NULL") + "}"
