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
    """The rows' batches of one epoch, one after the other in the same place."""

    def __init__(self, recipe: Recipe, places: Sequence[Place], *, updates: int, batch_size: int) -> None:
        """One row a place. Data in the host's memory are copied to the device batch by batch."""
        data, rows = recipe.data, len(places)
        self._sources = data.train_inputs, data.train_targets
        self._indices: Sequence[Tensor] = ()  # of each update, (rows * batch,), into the training data
        if data.full_batch_updates is not None:
            given = [examples.to(recipe.device) for examples in self._sources]
            self.inputs, self.targets = (examples.expand(rows, *examples.shape) for examples in given)
            return
        examples, used = len(data.train_inputs), updates * batch_size
        orders = [data_order(seed, epoch, examples)[:used] for seed, epoch in places]
        indices = torch.stack(orders).view(rows, updates, batch_size).transpose(0, 1)
        self._indices = indices.reshape(updates, -1).to(data.train_inputs.device).unbind(0)
        self.inputs, self.targets = (
            source.new_empty((rows, batch_size, *source.shape[1:]), device=recipe.device)
            for source in self._sources
        )
        """Of the update that was loaded last, on the device: (rows, batch, ...) each."""

    def load(self, update: int) -> None:
        """Put the batches of ``update`` (from 0) into :attr:`inputs` and :attr:`targets`."""
        if not self._indices:
            return
        for source, batch in zip(self._sources, (self.inputs, self.targets), strict=True):
            if source.device == batch.device:
                torch.index_select(source, 0, self._indices[update], out=batch.view(-1, *source.shape[1:]))
                continue
            # Pinned memory lets the copy run while the update before it is still computing.
            chosen = source.index_select(0, self._indices[update]).pin_memory()
            batch.copy_(chosen.view(batch.shape), non_blocking=True)
