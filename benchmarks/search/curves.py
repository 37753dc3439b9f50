"""Curves: trained before, of many settings on several tasks, to replay a search on."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Curves = NDArray[np.float64]
"""An accuracy after each epoch, (settings, epochs)."""


class BadCurves(ValueError):
    """A file of curves is not as :func:`load` wants it, in a sentence."""


@dataclass(frozen=True, slots=True)
class Pool:
    """Settings whose whole curves are known, by task."""

    tasks: tuple[str, ...]
    accuracy: NDArray[np.float64]  # (repeats, tasks, settings, epochs), in [0, 1], epoch 1 first
    settings: tuple[Mapping[str, Any], ...]

    @property
    def epochs(self) -> int:
        """Of a whole training."""
        return int(self.accuracy.shape[-1])

    def of_task(self, task: str, repeat: int) -> Curves:
        """The curves of every setting on one task."""
        found: Curves = self.accuracy[repeat, self.tasks.index(task)]
        return found


def load(data: Path, configs: Path) -> Pool:
    """A pool from an npz with ``acc`` and ``tasks``, and a JSON object of settings by number.

    Raises:
        BadCurves: a file cannot be read, or is not of that layout.
    """
    try:
        with np.load(data, allow_pickle=False) as arrays:
            accuracy, tasks = np.asarray(arrays["acc"], dtype=np.float64), [str(t) for t in arrays["tasks"]]
        listed = json.loads(configs.read_text(encoding="utf-8"))
    except (OSError, ValueError, KeyError) as error:
        raise BadCurves(f"{data} and {configs} are no curves and their settings: {error}") from error
    if not isinstance(listed, Mapping):
        raise BadCurves(f"{configs} wants an object of settings by number")
    return Pool(tuple(tasks), _checked(accuracy, tasks, len(listed), data), _in_order(listed, configs))


def _checked(
    accuracy: NDArray[np.float64], tasks: Sequence[str], settings: int, data: Path
) -> NDArray[np.float64]:
    if accuracy.ndim != 4 or accuracy.shape[1:3] != (len(tasks), settings) or not accuracy.size:
        raise BadCurves(
            f"{data}: acc has the shape {accuracy.shape}; wants (repeats, {len(tasks)} tasks, "
            f"{settings} settings, epochs)"
        )
    if not np.isfinite(accuracy).all():
        raise BadCurves(f"{data}: acc has gaps or infinite values")
    return accuracy


def _in_order(listed: Mapping[str, Any], configs: Path) -> tuple[Mapping[str, Any], ...]:
    numbers = [str(number) for number in range(len(listed))]
    missing = [number for number in numbers if number not in listed]
    if missing:
        raise BadCurves(f"{configs} has no setting {missing[0]}; wants 0 to {len(listed) - 1}")
    return tuple(listed[number] for number in numbers)
