"""Which examples train and which validate: a function of the seed, the share and the classes only."""

from __future__ import annotations

import torch
from torch import Tensor


def split(
    examples: int, *, validation_share: float, seed: int, classes: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Indices to train on and to validate on, both ascending, together every example once.

    With ``classes`` (examples,), the class number of each, every class gives its own share, rounded, and
    keeps at least one example to train on; a class of one example is trained on and never validated.
    Raises ValueError where none has two.
    """
    groups = torch.zeros(examples, dtype=torch.int64) if classes is None else classes
    order = torch.randperm(examples, generator=torch.Generator().manual_seed(seed))
    shuffled = groups[order]
    held_out = torch.zeros(examples, dtype=torch.bool)
    sizes = torch.bincount(groups).tolist()
    for group, size in enumerate(sizes):
        count = min(round(validation_share * size), size - 1)
        if count > 0:
            held_out[order[shuffled == group][:count]] = True
    if not held_out.any() and max(sizes, default=0) >= 2:
        largest = sizes.index(max(sizes))
        held_out[order[shuffled == largest][0]] = True
    if not held_out.any():
        raise ValueError(
            "path: every class has a single example; one to train on and another to validate are needed"
        )
    return torch.nonzero(~held_out).flatten(), torch.nonzero(held_out).flatten()
