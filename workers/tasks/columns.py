"""A table's columns as numbers: what the task ``table`` learns from.

Everything that is learned about a column (medians, means, deviations, categories) is learned from the
training rows only.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pandas

RARE = 0.01  # a category of a smaller share of the training rows joins the rare ones
MOST_CATEGORIES = 50  # of one column; the rarest beyond them join the rare ones
MISSING = "(missing)"

_DAY = 86_400.0
_CYCLES = (365.2425, 7.0, 1.0)  # a year, a week and a day, in days
_Numbers = NDArray[np.float64]


def features_of(inputs: pandas.DataFrame, training: NDArray[np.int64]) -> NDArray[np.float32]:
    """What the columns say of each row: (rows, features).

    Numbers, dates and lengths of time have mean 0 and deviation 1 over the ``training`` rows, with the
    median where they are missing or infinite, and a feature of zeros and ones that marks it; so has every
    frequent category. What does not vary over the training rows is left out. Raises ValueError where
    nothing is left, or a number is too large to be scaled.
    """
    numbers: list[_Numbers] = []
    names: list[str] = []
    texts = []
    for position, name in enumerate(inputs.columns):
        found = list(_numbers(inputs.iloc[:, position]))
        known = [values for values in found if np.isfinite(values[training]).any()]
        numbers += known
        names += [name] * len(known)
        if not found:
            texts.append(_text(inputs.iloc[:, position]))
    blocks = [np.zeros((len(inputs), 0))]
    if numbers:
        blocks += _scaled_and_marked(np.column_stack(numbers), names, training)
    if texts:
        blocks.append(_encoded(np.column_stack(texts), training))
    features = np.concatenate(blocks, axis=1)
    varying = features[:, np.ptp(features[training], axis=0) > 0]
    if not varying.shape[1]:
        raise ValueError(
            "path: every column beside the target is empty or the same in every row; add one that varies"
        )
    return np.asarray(varying, dtype=np.float32)


def moments_of(column: pandas.Series) -> pandas.Series | None:
    """The column as moments in UTC where it holds dates, or text that starts like 2024-12-31."""
    import pandas

    if pandas.api.types.is_datetime64_any_dtype(column):
        return pandas.to_datetime(column, utc=True)
    written = column.dropna()
    if pandas.api.types.is_numeric_dtype(column) or written.empty:
        return None
    if not written.astype(str).str.match(r"\d{4}-\d{2}-\d{2}").all():
        return None
    try:
        return pandas.to_datetime(column.astype(object), utc=True, format="ISO8601")
    except (TypeError, ValueError):
        return None


def _numbers(column: pandas.Series) -> Iterator[_Numbers]:
    """What the column says in numbers, (rows,) each, NaN where it says nothing; none of a text column."""
    import pandas

    if pandas.api.types.is_numeric_dtype(column):
        values = column.astype("float64").to_numpy(dtype=np.float64, na_value=np.nan)
        yield np.where(np.isfinite(values), values, np.nan)
    elif pandas.api.types.is_timedelta64_dtype(column):
        yield column.dt.total_seconds().to_numpy(dtype=np.float64, na_value=np.nan)
    elif (moments := moments_of(column)) is not None:
        yield from _date_parts(moments)


def _date_parts(moments: pandas.Series) -> Iterator[_Numbers]:
    """Days since 1970, and where each moment stands in the year, the week and the day."""
    import pandas

    seconds = (moments - pandas.Timestamp(0, tz="UTC")).dt.total_seconds()
    days = seconds.to_numpy(dtype=np.float64, na_value=np.nan) / _DAY
    yield days
    for length in _CYCLES:
        angle = 2 * np.pi * (days % length) / length
        yield np.sin(angle)
        yield np.cos(angle)


def _text(column: pandas.Series) -> NDArray[np.object_]:
    text = column.astype(object).where(column.notna(), MISSING).astype(str)
    return np.asarray(text.to_numpy(dtype=object))


def _scaled_and_marked(values: _Numbers, names: Sequence[str], training: NDArray[np.int64]) -> list[_Numbers]:
    """``values`` (rows, columns) filled and scaled, and marks where they were missing."""
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    pipeline = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
    with np.errstate(over="ignore", invalid="ignore"):
        scaled = pipeline.fit(values[training]).transform(values)
        fits = np.isfinite(scaled.astype(np.float32))
    if not fits.all():
        bad = int(np.argmin(fits.all(axis=0)))
        largest = np.nanmax(np.abs(values[:, bad]))
        raise ValueError(
            f"path: column '{names[bad]}' holds numbers too far apart to be scaled, up to {largest:g}; take "
            "their logarithm or leave the column out"
        )
    return [scaled, np.isnan(values).astype(np.float64)]


def _encoded(texts: NDArray[np.object_], training: NDArray[np.int64]) -> _Numbers:
    """For each column of ``texts``: a feature for every frequent category, and one for all rare ones."""
    from sklearn.preprocessing import OneHotEncoder

    encoder = OneHotEncoder(
        min_frequency=RARE,
        max_categories=MOST_CATEGORIES,
        handle_unknown="infrequent_if_exist",
        sparse_output=False,
    )
    return np.asarray(encoder.fit(texts[training]).transform(texts), dtype=np.float64)
