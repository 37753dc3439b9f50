"""Epoch training: every update of one epoch for rows of stacked tensors, and their metrics after it.

The rows' values are changed in place; what is read from the device is read once, at the epoch's end.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from search_spaces.ranges import Value
from workers.anatomy import Anatomy
from workers.batches import Batches
from workers.keyed_randomness import update_keys
from workers.recipe import Recipe
from workers.row_layout import plain_formulas
from workers.row_program import Step
from workers.row_programs import RowPrograms
from workers.row_updates import RowUpdates
from workers.schedule_table import GroupRates
from workers.stacked_model import Rows, StackedModel
from workers.update_terms import Coefficients, RowNumbers, UpdateRule

UPDATES_BEFORE_TRACING = 100
"""Updates of a population before tracing pays: it costs about as much as it saves in so many."""

_NORM_EPSILON = 1e-6  # of torch.nn.utils.clip_grad_norm_


@dataclass(frozen=True, slots=True, kw_only=True)
class RowEpoch:
    """What decides how one row trains in one epoch, beside its weights."""

    seed: int
    epoch: int  # from 1
    arguments: Mapping[str, Value]  # of the optimizer
    clip_grad_norm: float | None
    rates: tuple[GroupRates, ...]  # by parameter group
    memories: tuple[Mapping[str, float], ...]  # what the update rule carries on, by parameter group


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainedRows:
    """What rows showed in one epoch, in their order."""

    losses: list[list[float]]  # (rows, updates)
    grad_norms: list[list[float]]  # (rows, updates)
    metrics: Mapping[str, list[float]]  # (rows,) by name
    memories: list[tuple[Mapping[str, float], ...]]  # for each row's next epoch


class EpochTraining:
    """The updates of rows that share task, batch size, optimizer class and parameter groups.

    Losses, gradients and metrics are computed by programs (:mod:`workers.row_programs`) once enough updates
    have been made for that to pay, and before by the functions that programs are made of; no bit depends on
    which of the two it was.
    """

    def __init__(
        self,
        recipe: Recipe,
        model: StackedModel,
        anatomy: Anatomy,
        rule: UpdateRule,
        *,
        batch_size: int,
        trace_after: int | None = None,
    ) -> None:
        """Rows of ``model`` that are updated by ``rule``; ``trace_after``: updates made without a program."""
        self._recipe = recipe
        self._model = model
        self._rule = rule
        self._batch_size = batch_size
        self._updates = recipe.data.updates_per_epoch(batch_size)
        everything = slice(0, anatomy.size)
        weights, others = slice(0, anatomy.weights), slice(anatomy.weights, anatomy.size)
        self._groups = (weights, others) if anatomy.two_groups else (everything,)
        self._untraced_updates = UPDATES_BEFORE_TRACING if trace_after is None else trace_after
        self._programs = RowPrograms(model.losses_and_gradients, "losses and gradients")
        self._evaluations = RowPrograms(model.metric_values, "metrics")

    @property
    def path(self) -> str:
        """How updates are made now: traced, as a list of PyTorch's operations, or by vmap."""
        return "vmap" if self._untraced_updates > 0 or self._programs.why_not is not None else "traced"

    def train(
        self, live: Rows, state: Mapping[str, Tensor], rows: Sequence[RowEpoch], *, measures: bool = True
    ) -> TrainedRows:
        """One epoch of ``rows``, whose weights are ``live`` and whose optimizer's state is ``state``.

        Without ``measures`` there are no metrics.
        """
        with plain_formulas():
            losses, norms, memories = self._updates_of_epoch(live, state, rows)
            metrics = self._evaluate(live) if measures else {}
        self._untraced_updates -= self._updates
        return TrainedRows(
            losses=losses.T.tolist(), grad_norms=norms.T.tolist(), metrics=metrics, memories=memories
        )

    def _updates_of_epoch(
        self, live: Rows, state: Mapping[str, Tensor], rows: Sequence[RowEpoch]
    ) -> tuple[Tensor, Tensor, list[tuple[Mapping[str, float], ...]]]:
        """Every update of one epoch, in place: losses and gradient norms, (updates, rows) each."""
        weights = live.weights
        coefficients = self._coefficients(rows, weights)
        gradients = torch.empty_like(weights)
        places = [(row.seed, row.epoch) for row in rows]
        batches = Batches(self._recipe, places, updates=self._updates, batch_size=self._batch_size)
        keys = self._keys(rows)
        key = None if keys is None else torch.empty_like(keys[0])
        most = _most_norms(rows, weights)
        losses = torch.empty(self._updates, len(rows), dtype=weights.dtype, device=weights.device)
        norms = torch.empty_like(losses)
        updates = RowUpdates(self._rule, coefficients, self._groups, weights, gradients, state)
        row_losses = torch.empty_like(losses[0])
        self._model.begin_training()
        batches.load(0)
        if key is not None and keys is not None:
            key.copy_(keys[0])
        inputs = self._model.update_inputs(
            self._model.views(weights), live.buffers, batches.inputs, batches.targets, key
        )
        steps = self._steps(inputs, [row_losses, *self._model.views(gradients).values()])
        for update in range(self._updates):
            batches.load(update)
            if key is not None and keys is not None:
                key.copy_(keys[update])
            for step in steps:
                step()
            losses[update] = row_losses
            torch.linalg.vector_norm(gradients, dim=1, out=norms[update])
            if most is not None:
                gradients.mul_(_clipping(norms[update], most))
            updates.step()
        memories = list(zip(*(found.memories for found in coefficients), strict=True))
        return losses, norms, memories

    def _steps(self, inputs: Sequence[Tensor], destinations: Sequence[Tensor]) -> list[Step]:
        """What is to be called for the losses and gradients of ``inputs`` to be in ``destinations``."""
        steps = None
        if self._untraced_updates <= 0:
            steps = self._programs.steps(inputs, destinations)
        if steps is not None:
            return steps
        function = self._model.losses_and_gradients
        return [lambda: torch._foreach_copy_(list(destinations), function(*inputs))]

    @torch.no_grad()
    def _evaluate(self, live: Rows) -> dict[str, list[float]]:
        """Means over the validation examples, (rows,) by metric name."""
        self._model.begin_evaluation()
        parameters, count = self._model.views(live.weights), len(live.weights)
        sums: dict[str, Tensor] = {}
        for inputs, targets, share in self._recipe.validation_parts():
            # Expanded rather than shared: a product with one shared operand is folded over the rows.
            given = self._model.update_inputs(
                parameters,
                live.buffers,
                inputs.expand(count, *inputs.shape),
                targets.expand(count, *targets.shape),
                None,
            )
            values = self._evaluations.results(given) if self._untraced_updates <= 0 else None
            if values is None:
                values = self._model.metric_values(*given)
            for name, value in zip(self._model.metric_names, values, strict=True):
                part = value.to(torch.float64) * share
                sums[name] = sums[name] + part if name in sums else part
        return {name: value.tolist() for name, value in sums.items()}

    def _coefficients(self, rows: Sequence[RowEpoch], like: Tensor) -> list[Coefficients]:
        """Each parameter group's coefficients of the epoch."""
        return [
            self._rule.coefficients(
                [
                    RowNumbers(
                        arguments={**row.arguments, **({"weight_decay": 0.0} if group else {})},
                        lr=row.rates[group][0],
                        momentum=row.rates[group][1],
                        updates_before=(row.epoch - 1) * self._updates,
                        memory=row.memories[group],
                    )
                    for row in rows
                ],
                like,
            )
            for group in range(len(self._groups))
        ]

    def _keys(self, rows: Sequence[RowEpoch]) -> Tensor | None:
        """Keys of the epoch's random masks, (updates, rows); None where nothing is random."""
        if not self._model.needs_keys:
            return None
        columns = [update_keys(row.seed, (row.epoch - 1) * self._updates + 1, self._updates) for row in rows]
        return torch.from_numpy(np.stack(columns, axis=1)).to(self._recipe.device)


def _most_norms(rows: Sequence[RowEpoch], like: Tensor) -> Tensor | None:
    """The norm that each row is clipped to, (rows,), infinite where it is not; None if no row is."""
    wanted = [row.clip_grad_norm for row in rows]
    if all(norm is None for norm in wanted):
        return None
    return like.new_tensor([float("inf") if norm is None else norm for norm in wanted])


def _clipping(norms: Tensor, most: Tensor) -> Tensor:
    """Factors (rows, 1) as torch.nn.utils.clip_grad_norm_ has them; 1 where a row is not clipped."""
    factors = (most / (norms + _NORM_EPSILON)).clamp(max=1.0)
    return torch.where(most.isinf(), torch.ones_like(factors), factors).unsqueeze(1)
