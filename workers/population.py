"""Population: many trials trained at once as the rows of stacked tensors.

Each row has its own learning rate, momentum, schedule, epoch and data position. A row's bits depend on
its own setting and seed only: not on its slot, the width, its neighbours or when it was admitted. Widths
below :data:`MINIMUM_WIDTH` are padded, because batched products of one matrix take another path.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.func import functional_call, vmap

from workers.messages import Admission, Diverged, Measured
from workers.optimization import Horizon, Rates
from workers.outcomes import EpochNumbers, judge
from workers.randomness import data_order, initial_model
from workers.schedule_table import SchedulePath, schedule_path
from workers.tasks.registry import task_class
from workers.tasks.task import Data, Task
from workers.update_rules import UPDATE_RULES, RowNumbers

MINIMUM_WIDTH = 4
EVALUATION_EXAMPLES = 4096
"""Validation examples evaluated at once; fixed, because the split decides the order of a mean's sum."""


@dataclass(slots=True, kw_only=True)
class _Row:
    """One trial in its slot."""

    trial: Admission
    path: SchedulePath
    epochs_done: int = 0
    first_loss: float = 0.0
    memory: Mapping[str, float] = field(default_factory=dict)  # what the update rule carries on


class Population:
    """Slots for trials that share task, batch size and optimizer class."""

    def __init__(
        self,
        *,
        task_name: str,
        task: Task,
        data: Data,
        optimizer: str,
        batch_size: int,
        epochs: int,
        metric: str,
        width: int,
    ) -> None:
        """``data`` is on the device to train on; ``width`` slots, at least :data:`MINIMUM_WIDTH`."""
        self._task = task
        self._functions = task_class(task_name).functions
        self._data = data
        self._device = data.train_inputs.device
        self._rule = UPDATE_RULES[optimizer]
        self._batch_size = batch_size
        self._epochs = epochs
        self._updates = data.updates_per_epoch(batch_size)
        self._metric = metric
        self._skeleton = initial_model(task, 0).to(self._device)
        if next(self._skeleton.buffers(), None) is not None:
            raise ValueError(f"task {task_name!r}: its model has buffers, which are not stacked yet")
        self._shapes = {name: parameter.shape for name, parameter in self._skeleton.named_parameters()}
        first = next(self._skeleton.parameters())
        size = sum(shape.numel() for shape in self._shapes.values())
        slots = max(width, MINIMUM_WIDTH)
        self._weights = torch.zeros(slots, size, dtype=first.dtype, device=self._device)
        self._state = {name: torch.zeros_like(self._weights) for name in self._rule.state}
        self._rows: list[_Row | None] = [None] * slots
        self._slot_of: dict[int, int] = {}
        self._losses = vmap(self._loss_of_row)
        self._metrics = vmap(self._metrics_of_row)

    @property
    def free_slots(self) -> int:
        """Slots that hold no trial."""
        return len(self._rows) - len(self._slot_of)

    @property
    def is_empty(self) -> bool:
        """Whether no slot holds a trial."""
        return not self._slot_of

    def admit(self, trial: Admission, slot: int | None = None) -> None:
        """Put ``trial`` into ``slot`` (any free one if None) with its initial weights and empty state."""
        slot = self._rows.index(None) if slot is None else slot
        horizon = Horizon(
            epochs=self._epochs,
            updates_per_epoch=self._updates,
            warmup_epochs=trial.setting.warmup_epochs,
        )
        path = schedule_path(trial.setting, horizon, self._functions)
        model = initial_model(self._task, trial.seed)
        flat = torch.cat([parameter.detach().reshape(-1) for parameter in model.parameters()])
        self._weights[slot] = flat.to(self._device)
        for name, buffer in self._state.items():
            buffer[slot] = self._rule.initial(name, trial.setting.arguments)
        self._rows[slot] = _Row(trial=trial, path=path)
        self._slot_of[trial.number] = slot

    def release(self, number: int) -> None:
        """Free the slot of trial ``number``."""
        slot = self._slot_of.pop(number)
        self._rows[slot] = None
        self._weights[slot] = 0
        for buffer in self._state.values():
            buffer[slot] = 0

    def holds(self, number: int) -> bool:
        """Whether trial ``number`` has a slot here."""
        return number in self._slot_of

    def weights(self, number: int) -> dict[str, Tensor]:
        """A copy of the weights of trial ``number`` by parameter name."""
        row = self._weights[self._slot_of[number]]
        parts = torch.split(row, [shape.numel() for shape in self._shapes.values()])
        shapes = self._shapes.items()
        return {name: part.view(shape).clone() for (name, shape), part in zip(shapes, parts, strict=True)}

    def advance(self, numbers: Sequence[int]) -> list[Measured | Diverged]:
        """Train one epoch of each trial in ``numbers`` that is here; diverged and complete ones leave."""
        slots = sorted(self._slot_of[number] for number in numbers if number in self._slot_of)
        rows = [row for slot in slots if (row := self._rows[slot]) is not None]
        if not rows:
            return []
        rates = [row.path.rates(row.epochs_done + 1) for row in rows]
        losses, norms, metrics = self._train(slots, rows, rates)
        outcomes: list[Measured | Diverged] = []
        for index, (row, (lr, momentum)) in enumerate(zip(rows, rates, strict=True)):
            row_losses = losses[index]
            if row.epochs_done == 0:
                row.first_loss = row_losses[0]
            numbers_of_epoch = EpochNumbers(
                number=row.trial.number,
                epoch=row.epochs_done + 1,
                updates_before=row.epochs_done * self._updates,
                first_loss=row.first_loss,
                losses=row_losses,
                grad_norms=norms[index],
                lr=lr,
                momentum=momentum,
                metrics={name: values[index] for name, values in metrics.items()},
            )
            outcomes.append(self._close_epoch(row, judge(numbers_of_epoch, self._metric)))
        return outcomes

    def _close_epoch(self, row: _Row, outcome: Measured | Diverged) -> Measured | Diverged:
        row.epochs_done += 1
        if isinstance(outcome, Measured):
            row.path.observe({"train_loss": outcome.train_loss, **outcome.metrics})
        if isinstance(outcome, Diverged) or row.epochs_done == self._epochs:
            self.release(row.trial.number)
        return outcome

    def _train(
        self, slots: list[int], rows: list[_Row], rates: list[tuple[Rates, Rates | None]]
    ) -> tuple[list[list[float]], list[list[float]], dict[str, list[float]]]:
        """One epoch over the rows in ``slots``: losses and gradient norms (rows, updates), metrics (rows,).

        Trains on a gathered copy unless every slot is in use, so that empty slots cost nothing.
        """
        padding = max(0, MINIMUM_WIDTH - len(slots))
        everyone = len(slots) == len(self._rows)
        picked = torch.tensor(slots + slots[:1] * padding, device=self._device)
        rows, rates = rows + rows[:1] * padding, rates + rates[:1] * padding
        weights = self._weights if everyone else self._weights[picked]
        state = self._state if everyone else {name: buffer[picked] for name, buffer in self._state.items()}
        losses, norms = self._updates_of_epoch(weights, state, rows, rates)
        metrics = self._evaluate(weights)
        if not everyone:
            kept = picked[: len(slots)]
            self._weights[kept] = weights[: len(slots)]
            for name, buffer in self._state.items():
                buffer[kept] = state[name][: len(slots)]
        return losses.T.tolist(), norms.T.tolist(), metrics

    def _updates_of_epoch(
        self,
        weights: Tensor,
        state: Mapping[str, Tensor],
        rows: list[_Row],
        rates: list[tuple[Rates, Rates | None]],
    ) -> tuple[Tensor, Tensor]:
        """Every update of one epoch, in place: losses and gradient norms, (updates, rows) each."""
        coefficients = self._rule.coefficients(
            [
                RowNumbers(
                    arguments=row.trial.setting.arguments,
                    lr=lr,
                    momentum=momentum,
                    updates_before=row.epochs_done * self._updates,
                    memory=row.memory,
                )
                for row, (lr, momentum) in zip(rows, rates, strict=True)
            ],
            weights,
        )
        gradients = torch.empty_like(weights)
        gradient_views = self._views(gradients)
        leaves = {name: view.requires_grad_() for name, view in self._views(weights).items()}
        batches = self._batches(rows)
        losses = torch.empty(self._updates, len(rows), dtype=weights.dtype, device=self._device)
        norms = torch.empty_like(losses)
        for update in range(self._updates):
            inputs, targets = batches(update)
            row_losses = self._losses(leaves, inputs, targets)
            # The sum of the rows' mean losses: each row's gradient is its own, whatever the width.
            found = torch.autograd.grad(row_losses.sum(), tuple(leaves.values()))
            torch._foreach_copy_(list(gradient_views.values()), list(found))
            losses[update] = row_losses.detach()
            torch.linalg.vector_norm(gradients, dim=1, out=norms[update])
            self._rule.apply(weights, gradients, state, coefficients.at(update), coefficients.parts)
        for row, memory in zip(rows, coefficients.memories, strict=True):
            row.memory = memory
        return losses, norms

    def _batches(self, rows: list[_Row]) -> _Batches:
        if self._data.full_batch_updates is not None:
            return _Batches(self._data, None, len(rows))
        examples = len(self._data.train_inputs)
        used = self._updates * self._batch_size
        orders = [data_order(row.trial.seed, row.epochs_done + 1, examples)[:used] for row in rows]
        indices = torch.stack(orders).view(len(rows), self._updates, self._batch_size)
        return _Batches(self._data, indices.transpose(0, 1).to(self._device), len(rows))

    @torch.no_grad()
    def _evaluate(self, weights: Tensor) -> dict[str, list[float]]:
        """Means over the validation examples, (rows,) by metric name."""
        parameters = self._views(weights)
        inputs, targets = self._data.validation_inputs, self._data.validation_targets
        sums: dict[str, Tensor] = {}
        for part_inputs, part_targets in zip(
            torch.split(inputs, EVALUATION_EXAMPLES), torch.split(targets, EVALUATION_EXAMPLES), strict=True
        ):
            # Expanded rather than shared: a product with one shared operand is folded over the rows.
            found = self._metrics(
                parameters,
                part_inputs.expand(len(weights), *part_inputs.shape),
                part_targets.expand(len(weights), *part_targets.shape),
            )
            for name, value in found.items():
                share = value.to(torch.float64) * (len(part_inputs) / len(inputs))
                sums[name] = sums[name] + share if name in sums else share
        return {name: value.tolist() for name, value in sums.items()}

    def _views(self, flat: Tensor) -> dict[str, Tensor]:
        """Views of a (rows, parameters) buffer by parameter name: (rows, *shape) each."""
        parts = torch.split(flat.detach(), [shape.numel() for shape in self._shapes.values()], dim=1)
        shapes = self._shapes.items()
        return {name: part.view(len(flat), *shape) for (name, shape), part in zip(shapes, parts, strict=True)}

    def _loss_of_row(self, parameters: dict[str, Tensor], inputs: Tensor, targets: Tensor) -> Tensor:
        return self._task.loss(functional_call(self._skeleton, parameters, (inputs,)), targets)

    def _metrics_of_row(
        self, parameters: dict[str, Tensor], inputs: Tensor, targets: Tensor
    ) -> Mapping[str, Tensor]:
        return self._task.metrics(functional_call(self._skeleton, parameters, (inputs,)), targets)


class _Batches:
    """The rows' batches by update: inputs and targets, (rows, batch, ...) each."""

    def __init__(self, data: Data, indices: Tensor | None, rows: int) -> None:
        """``indices``: (updates, rows, batch) into the training data; None for full batches."""
        self._data = data
        self._indices = indices
        self._rows = rows

    def __call__(self, update: int) -> tuple[Tensor, Tensor]:
        inputs, targets = self._data.train_inputs, self._data.train_targets
        if self._indices is None:
            rows = self._rows
            return inputs.expand(rows, *inputs.shape), targets.expand(rows, *targets.shape)
        indices = self._indices[update]
        return inputs[indices], targets[indices]
