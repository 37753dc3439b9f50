"""A CSV or Parquet file into a table, with a sentence for what may be wrong with it."""

from __future__ import annotations

import difflib
import gzip
import re
import warnings
import zlib
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workers.tasks.arguments import first_line

if TYPE_CHECKING:
    import pandas

CSV = (".csv", ".csv.gz", ".tsv", ".tsv.gz")
PARQUET = (".parquet", ".pq")
MOST_NAMES_SHOWN = 20
_SEPARATORS = ",;\t|"
_ALSO_MISSING = ("?",)  # as many tables of the UCI repository write it; beside what pandas takes for missing
_DECIMAL_COMMA = r"[+-]?\d+(,\d+)?"


def read_table(file: Path, target: str) -> pandas.DataFrame:
    """The table in ``file``, its column names as text, with ``target`` among them exactly once.

    Raises ValueError.
    """
    name = file.name.lower()
    if file.is_dir() or not name.endswith(CSV + PARQUET):
        raise ValueError(
            f"path: {file} is not a CSV or Parquet file; its name must end in {', '.join(CSV + PARQUET)}"
        )
    if name.endswith(CSV):
        table, names = _read_csv(file)
    else:
        table = _read_parquet(file)
        names = [str(column) for column in table.columns]
    _require_target(names, target, file)
    if table.empty:
        raise ValueError(f"path: {file} has no rows to learn from; give a file with a header and rows")
    table.columns = [str(column) for column in table.columns]
    return table


def _require_target(names: Sequence[str], target: str, file: Path) -> None:
    if names.count(target) == 1:
        return
    if target in names:
        raise ValueError(f"target: {file} has {names.count(target)} columns '{target}'; rename all but one")
    listed = ", ".join(names[:MOST_NAMES_SHOWN])
    if len(names) > MOST_NAMES_SHOWN:
        listed += f" and {len(names) - MOST_NAMES_SHOWN} more"
    folded = {name.casefold(): name for name in names}
    near = difflib.get_close_matches(target.casefold(), folded, n=1)
    nearest = f", the nearest is '{folded[near[0]]}'" if near else ""
    raise ValueError(f"target: {file} has no column '{target}'{nearest}; its columns are {listed}")


def _read_csv(file: Path) -> tuple[pandas.DataFrame, list[str]]:
    """The table, and its header's names as written: pandas renames the second of two equal ones."""
    import pandas

    how: dict[str, Any] = {"skipinitialspace": True, "low_memory": False, "index_col": False}
    try:
        how["sep"] = _separator(file)
        header = pandas.read_csv(file, **how, header=None, nrows=1, dtype=str, keep_default_na=False)
        with warnings.catch_warnings():
            warnings.simplefilter("error", pandas.errors.ParserWarning)  # of fields without a name
            table = pandas.read_csv(file, **how, na_values=_ALSO_MISSING)
    except pandas.errors.ParserWarning:
        raise ValueError(
            f"path: rows of {file} have more fields than its header; name every column"
        ) from None
    except pandas.errors.EmptyDataError:
        raise ValueError(f"path: {file} is empty; give a file with a header and rows") from None
    except (
        OSError,
        EOFError,
        zlib.error,
        ValueError,
    ) as error:  # ParserError, UnicodeDecodeError: ValueErrors
        raise ValueError(
            f"path: {file} cannot be read as CSV: {first_line(error)}; "
            "give a UTF-8 file with one header line and as many fields in every row"
        ) from None
    names = [str(name).strip() for name in header.iloc[0]]
    table.columns = [str(column).strip() for column in table.columns]
    if how["sep"] == ";":
        table = _without_decimal_commas(table)
    return _without_row_numbers(table, names), names


def _without_decimal_commas(table: pandas.DataFrame) -> pandas.DataFrame:
    """Columns of numbers written ``3,14``, as spreadsheets write them beside semicolons, as numbers."""
    import pandas

    columns = {}
    for position, name in enumerate(table.columns):
        column = table.iloc[:, position]
        written = column.dropna()
        if (
            pandas.api.types.is_string_dtype(column)
            and written.astype(str).str.fullmatch(_DECIMAL_COMMA).all()
        ):
            column = pandas.to_numeric(column.str.replace(",", ".", regex=False))
        columns[position] = column.rename(name)
    return pandas.concat(columns.values(), axis=1)


def _without_row_numbers(table: pandas.DataFrame, names: Sequence[str]) -> pandas.DataFrame:
    """Without a first column that has no name and counts the rows from 0 or 1, as pandas and R write it."""
    first = table.iloc[:, 0].tolist()
    if names[0] == "" and any(first == list(range(start, start + len(first))) for start in (0, 1)):
        return table.iloc[:, 1:]
    return table


def _separator(file: Path) -> str:
    """Of comma, semicolon, tab and bar the one that the header holds most outside quotes; else a comma."""
    name = file.name.lower()
    if name.endswith((".tsv", ".tsv.gz")):
        return "\t"
    with gzip.open(file, "rb") if name.endswith(".gz") else file.open("rb") as lines:
        header = next((line for line in lines if line.strip()), b"").decode("utf-8", errors="replace")
    return max(_SEPARATORS, key=re.sub(r'"[^"]*"', "", header).count)


def _read_parquet(file: Path) -> pandas.DataFrame:
    import pandas
    import pyarrow

    try:
        table = pandas.read_parquet(file)
    except (OSError, ValueError, pyarrow.ArrowException) as error:
        raise ValueError(
            f"path: {file} cannot be read as Parquet: {first_line(error)}; check how it was written"
        ) from None
    for name, column in table.items():
        written = column.dropna() if pandas.api.types.is_object_dtype(column) else ()
        if len(written) and all(isinstance(value, Decimal) for value in written):
            table[name] = table[name].astype("float64")
    return table
