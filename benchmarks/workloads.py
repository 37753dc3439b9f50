"""The workloads that every system trains here, from the one that flatters rows to those that do not.

A plain loop spends most of a digits-mlp update on Python and dispatch, which rows share; an update of
mlp-784 is nearly all matrix products, of which rows save nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from search_spaces.ranges import Value


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """One task at one batch size, trained for as many epochs as give every system seconds to train."""

    name: str
    task: str  # registered name, or /absolute/path/to/file.py:Name
    task_arguments: Mapping[str, Value] = field(default_factory=dict)
    batch_size: int
    epochs: int


WORKLOADS: Mapping[str, Workload] = {
    workload.name: workload
    for workload in (
        Workload(name="digits-mlp", task="digits-mlp", batch_size=32, epochs=20),
        Workload(
            name="digits-cnn",
            task="digits-cnn",
            task_arguments={"batch_norm": True},
            batch_size=32,
            epochs=4,
        ),
        Workload(
            name="mlp-784",
            task=f"{Path(__file__).with_name('synthetic_images.py').resolve()}:SyntheticImages",
            batch_size=128,
            epochs=2,
        ),
        Workload(name="chars", task="chars", batch_size=16, epochs=1),
    )
}
MAIN = "digits-mlp"
OTHERS = tuple(name for name in WORKLOADS if name != MAIN)
