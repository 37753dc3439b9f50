"""A user's table as examples to train and validate on."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from workers.tasks.arguments import existing
from workers.tasks.columns import features_of, moments_of
from workers.tasks.splitting import split
from workers.tasks.table_files import read_table
from workers.tasks.task import Data

if TYPE_CHECKING:
    import pandas

MOST_WHOLE_NUMBER_CLASSES = 20  # distinct whole numbers that ``kind: auto`` still takes for classes
MOST_CLASSES = 1000
FEWEST_ROWS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Examples:
    """A table made ready."""

    data: Data
    classes: tuple[str, ...]  # in the order of their numbers; empty for a quantity
    validation_variance: float  # of the standardised validation targets about their mean; 1 for classes


def examples_of(path: str, target: str, kind: str, *, split_seed: int, validation_share: float) -> Examples:
    """The table at ``path``; read again only where the file has changed. Raises ValueError."""
    file = existing(path, "file")
    stat = file.stat()
    return _examples(file, (stat.st_mtime_ns, stat.st_size), target, kind, split_seed, validation_share)


@lru_cache(maxsize=8)
def _examples(
    file: Path,
    changed: tuple[int, int],  # noqa: ARG001 - part of the key
    target: str,
    kind: str,
    split_seed: int,
    validation_share: float,
) -> Examples:
    table = read_table(file, target)
    known = table[table[target].notna()]
    if known.empty:
        raise ValueError(f"target: column '{target}' of {file} is empty in every row; name another column")
    if len(known) < FEWEST_ROWS:
        raise ValueError(
            f"path: {file} has too few rows with a target ({len(known)}); at least {FEWEST_ROWS} are needed"
        )
    if known.shape[1] == 1:
        raise ValueError(f"path: {file} has no column beside the target '{target}' to learn from")
    answers = known[target]
    if kind != "classify" and moments_of(answers) is not None:
        raise ValueError(
            f"target: column '{target}' holds dates; write the number to predict, such as days, into a "
            "column of its own"
        )
    classify = kind == "classify" or (kind == "auto" and _looks_like_classes(answers))
    targets, classes = _class_numbers(answers) if classify else (_quantity(answers), ())
    numbers = torch.from_numpy(targets)
    training, validation = split(
        len(known),
        validation_share=validation_share,
        seed=split_seed,
        classes=numbers if classify else None,
    )
    features = torch.from_numpy(features_of(known.drop(columns=target), training.numpy()))
    if not classify:
        mean, deviation = _moments(targets[training.numpy()], target)
        numbers = torch.from_numpy(((targets - mean) / deviation).astype(np.float32))
    data = Data(
        train_inputs=features[training],
        train_targets=numbers[training],
        validation_inputs=features[validation],
        validation_targets=numbers[validation],
    )
    variance = 1.0 if classify else float(np.var(data.validation_targets.numpy(), dtype=np.float64))
    # Equal validation targets leave R squared without a scale: the training rows' is taken.
    return Examples(data=data, classes=classes, validation_variance=variance or 1.0)


def _looks_like_classes(answers: pandas.Series) -> bool:
    """Text and truth values do; whole numbers where they are few and each is seen twice on average."""
    import pandas

    if not pandas.api.types.is_numeric_dtype(answers) or pandas.api.types.is_bool_dtype(answers):
        return True
    distinct = answers.unique()
    few = len(distinct) <= min(MOST_WHOLE_NUMBER_CLASSES, len(answers) / 2)
    return few and all(float(value).is_integer() for value in distinct)


def _class_numbers(answers: pandas.Series) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Class numbers (rows,) in the order of the classes' values, and the classes."""
    import pandas

    numeric = pandas.api.types.is_numeric_dtype(answers)
    numbers, classes = pandas.factorize(answers if numeric else answers.astype(str), sort=True)
    if len(classes) < 2:
        raise ValueError(
            f"target: column '{answers.name}' holds '{classes[0]}' in every row; name another column"
        )
    if np.bincount(numbers).max() < 2:
        raise ValueError(
            f"target: column '{answers.name}' holds another class in every row; name another column"
        )
    if len(classes) > MOST_CLASSES:
        raise ValueError(
            f"target: column '{answers.name}' holds {len(classes)} classes, and at most {MOST_CLASSES} can "
            "be told apart; use kind: regress or another column"
        )
    return np.array(numbers, dtype=np.int64), tuple(str(value) for value in classes)


def _quantity(answers: pandas.Series) -> NDArray[np.float64]:
    """The column as finite numbers (rows,)."""
    import pandas

    read = pandas.to_numeric(answers.astype(object), errors="coerce")
    numbers = np.array(read.astype("float64").to_numpy(na_value=np.nan), dtype=np.float64)
    unread = np.isnan(numbers)
    if unread.any():
        raise ValueError(
            f"target: column '{answers.name}' holds '{answers[unread].iloc[0]}', which is no number; use "
            "kind: classify or another column"
        )
    if np.isinf(numbers).any():
        raise ValueError(
            f"target: column '{answers.name}' holds an infinite number; write a finite one, or nothing"
        )
    return numbers


def _moments(numbers: NDArray[np.float64], target: str) -> tuple[float, float]:
    """Mean and standard deviation."""
    if numbers.min() == numbers.max():
        raise ValueError(
            f"target: column '{target}' is {numbers[0]:g} in every training row; name another column"
        )
    with np.errstate(over="ignore"):
        mean, deviation = float(numbers.mean()), float(numbers.std())
    if not 0 < deviation < np.inf:
        raise ValueError(f"target: the numbers of column '{target}' are too large or too close; scale them")
    return mean, deviation
