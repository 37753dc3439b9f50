"""Randomness as a function of (seed, epoch) and nothing else.

Trials with the same seed share initial weights and data order, so that differences between them come
from the setting; and nothing depends on slot, neighbours, worker or time.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor, nn

from workers.tasks.task import Task

_EPOCH_STRIDE = 1_000_003  # prime, so that (seed, epoch) pairs of any realistic size do not meet


def epoch_seed(seed: int, epoch: int) -> int:
    """A generator's seed for ``epoch`` (from 1) of a trial with ``seed``."""
    return (seed * _EPOCH_STRIDE + epoch) % 2**63


@lru_cache(maxsize=32)  # an order of a million examples takes 8 MB
def data_order(seed: int, epoch: int, examples: int) -> Tensor:
    """Order of the training examples in ``epoch`` (from 1) of a trial with ``seed``: (examples,)."""
    generator = torch.Generator().manual_seed(epoch_seed(seed, epoch))
    return torch.randperm(examples, generator=generator)


def initial_model(task: Task, seed: int) -> nn.Module:
    """The task's model as made right after ``torch.manual_seed(seed)``; global state is left as found."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return task.model()
