"""Batches: each row's own examples for every update of an epoch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from workers.randomness import data_order
from workers.recipe import Recipe

Place = tuple[int, int]
"""A trial's seed and the epoch (from 1) that it is in: what decides the order of its examples."""


class Batches:
    """The rows' batches of one epoch by update: inputs and targets, (rows, batch, ...) each."""

    def __init__(self, recipe: Recipe, places: Sequence[Place], *, updates: int, batch_size: int) -> None:
        """One row a place. Data in the host's memory are copied to the device batch by batch."""
        self._data = recipe.data
        self._device = recipe.device
        self._rows = len(places)
        self._indices: Tensor | None = None  # (updates, rows, batch) into the training data
        if recipe.data.full_batch_updates is None:
            examples, used = len(recipe.data.train_inputs), updates * batch_size
            orders = [data_order(seed, epoch, examples)[:used] for seed, epoch in places]
            indices = torch.stack(orders).view(self._rows, updates, batch_size).transpose(0, 1)
            self._indices = indices.to(recipe.data.train_inputs.device)

    def __call__(self, update: int) -> tuple[Tensor, Tensor]:
        """The batches of ``update`` (from 0), on the device."""
        inputs, targets = self._data.train_inputs, self._data.train_targets
        if self._indices is None:
            return self._everything(inputs), self._everything(targets)
        indices = self._indices[update]
        return self._on_device(inputs[indices]), self._on_device(targets[indices])

    def _everything(self, examples: Tensor) -> Tensor:
        return self._on_device(examples).expand(self._rows, *examples.shape)

    def _on_device(self, examples: Tensor) -> Tensor:
        if examples.device == self._device:
            return examples
        # Pinned memory lets the copy run while the update before it is still computing.
        return examples.pin_memory().to(self._device, non_blocking=True)
