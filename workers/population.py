"""Population: many trials trained at once as the rows of stacked tensors.

Each row has its own learning rate, momentum, schedule, epoch and data position. A row's bits depend on
its own setting and seed only: not on its slot, the width, its neighbours or when it was admitted. Widths
below :data:`MINIMUM_WIDTH` are padded, because batched products of one matrix take another path.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from workers.anatomy import anatomy_of
from workers.batches import Batches
from workers.keyed_randomness import update_keys
from workers.messages import Admission, Diverged, Measured
from workers.optimization import Horizon
from workers.outcomes import EpochNumbers, judge
from workers.recipe import Recipe
from workers.row_layout import plain_formulas
from workers.schedule_table import GroupRates, SchedulePath, schedule_path
from workers.stacked_model import Rows, StackedModel, padded, refuse_strangers
from workers.update_rules import UPDATE_RULES, Coefficients, RowNumbers
from workers.vector_tails import with_tails

MINIMUM_WIDTH = 4
_NORM_EPSILON = 1e-6  # of torch.nn.utils.clip_grad_norm_


@dataclass(slots=True, kw_only=True)
class _Row:
    """One trial in its slot."""

    trial: Admission
    path: SchedulePath
    epochs_done: int = 0
    first_loss: float = 0.0
    memories: list[Mapping[str, float]] = field(default_factory=list)  # what the rule carries on, by group


class Population:
    """Slots for trials that share task, batch size, optimizer class and parameter groups."""

    def __init__(
        self, recipe: Recipe, *, optimizer: str, batch_size: int, width: int, two_groups: bool = False
    ) -> None:
        """At most ``width`` slots, but :data:`MINIMUM_WIDTH` at least; they are made as trials come.

        Raises ValueError where the model cannot be trained so, and whatever the task's own code raises.
        """
        self._recipe = recipe
        self._rule = UPDATE_RULES[optimizer]
        self._batch_size = batch_size
        self._updates = recipe.data.updates_per_epoch(batch_size)
        self._width = max(width, MINIMUM_WIDTH)
        anatomy = anatomy_of(recipe, batch_size, two_groups=two_groups)
        self._tails = anatomy.tails
        self._model = StackedModel(recipe, anatomy, MINIMUM_WIDTH)
        everything = slice(0, anatomy.size)
        weights, others = slice(0, anatomy.weights), slice(anatomy.weights, anatomy.size)
        self._groups = (weights, others) if two_groups else (everything,)
        self._state = {name: torch.zeros_like(self._model.rows.weights) for name in self._rule.state}
        self._rows: list[_Row | None] = [None] * MINIMUM_WIDTH
        self._slot_of: dict[int, int] = {}
        self._has_trained = False

    @property
    def free_slots(self) -> int:
        """Slots that hold no trial."""
        return self._width - len(self._slot_of)

    @property
    def is_empty(self) -> bool:
        """Whether no slot holds a trial."""
        return not self._slot_of

    def admit(self, trial: Admission, slot: int | None = None) -> None:
        """Put ``trial`` into ``slot`` (any free one if None) with its initial weights and empty state."""
        slot = self._free_slot() if slot is None else slot
        while slot >= len(self._rows):
            self._grow()
        horizon = Horizon(
            epochs=self._recipe.epochs,
            updates_per_epoch=self._updates,
            warmup_epochs=trial.setting.warmup_epochs,
        )
        path = schedule_path(trial.setting, horizon, self._recipe.functions)
        self._model.start(slot, trial.seed)
        for name, buffer in self._state.items():
            buffer[slot] = self._rule.initial(name, trial.setting.arguments)
        self._rows[slot] = _Row(trial=trial, path=path, memories=[{} for _ in self._groups])
        self._slot_of[trial.number] = slot

    def release(self, number: int) -> None:
        """Free the slot of trial ``number``."""
        slot = self._slot_of.pop(number)
        self._rows[slot] = None
        self._model.clear(slot)
        for buffer in self._state.values():
            buffer[slot] = 0

    def holds(self, number: int) -> bool:
        """Whether trial ``number`` has a slot here."""
        return number in self._slot_of

    def weights(self, number: int) -> dict[str, Tensor]:
        """A copy of the weights of trial ``number``, and of the buffers that training changes, by name."""
        return self._model.state_of(self._slot_of[number])

    def advance(self, numbers: Sequence[int]) -> list[Measured | Diverged]:
        """Train one epoch of each trial in ``numbers`` that is here; diverged and complete ones leave."""
        slots = sorted(self._slot_of[number] for number in numbers if number in self._slot_of)
        rows = [row for slot in slots if (row := self._rows[slot]) is not None]
        if not rows:
            return []
        rates = [row.path.group_rates(row.epochs_done + 1) for row in rows]
        losses, norms, metrics = self._train(slots, rows, rates)
        outcomes: list[Measured | Diverged] = []
        for index, (row, ((lr, momentum), *_)) in enumerate(zip(rows, rates, strict=True)):
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
            outcomes.append(self._close_epoch(row, judge(numbers_of_epoch, self._recipe.metric)))
        return outcomes

    def _free_slot(self) -> int:
        return self._rows.index(None) if None in self._rows else len(self._rows)

    def _grow(self) -> None:
        """Twice the slots: populations may be many and small, and full width for each too much memory."""
        slots = min(2 * len(self._rows), self._width)
        self._rows += [None] * (slots - len(self._rows))
        self._model.grow(slots)
        self._state = {name: padded(buffer, slots) for name, buffer in self._state.items()}

    def _close_epoch(self, row: _Row, outcome: Measured | Diverged) -> Measured | Diverged:
        row.epochs_done += 1
        if isinstance(outcome, Measured):
            row.path.observe({"train_loss": outcome.train_loss, **outcome.metrics})
        if isinstance(outcome, Diverged) or row.epochs_done == self._recipe.epochs:
            self.release(row.trial.number)
        return outcome

    def _train(
        self, slots: list[int], rows: list[_Row], rates: list[tuple[GroupRates, ...]]
    ) -> tuple[list[list[float]], list[list[float]], dict[str, list[float]]]:
        """One epoch over the rows in ``slots``: losses and gradient norms (rows, updates), metrics (rows,).

        Trains on a gathered copy unless every slot is in use, so that empty slots cost nothing. Copies of
        the first row are put behind where there are too few, or the last would have vector tails.
        """
        padding = with_tails(len(slots), self._tails, MINIMUM_WIDTH) - len(slots)
        everyone = padding == 0 and len(slots) == len(self._rows)
        picked = torch.tensor(slots + slots[:1] * padding, device=self._recipe.device)
        rows, rates = rows + rows[:1] * padding, rates + rates[:1] * padding
        live = self._model.rows if everyone else self._model.rows.picked(picked)
        state = self._state if everyone else {name: buffer[picked] for name, buffer in self._state.items()}
        with plain_formulas():
            losses, norms = self._updates_of_epoch(live, state, rows, rates)
            metrics = self._model.evaluate(live)
        if not everyone:
            kept = picked[: len(slots)]
            self._model.rows.put(kept, live)
            for name, buffer in self._state.items():
                buffer[kept] = state[name][: len(slots)]
        return losses.T.tolist(), norms.T.tolist(), metrics

    def _updates_of_epoch(
        self,
        live: Rows,
        state: Mapping[str, Tensor],
        rows: list[_Row],
        rates: list[tuple[GroupRates, ...]],
    ) -> tuple[Tensor, Tensor]:
        """Every update of one epoch, in place: losses and gradient norms, (updates, rows) each."""
        weights = live.weights
        coefficients = self._coefficients(rows, rates, weights)
        gradients = torch.empty_like(weights)
        gradient_views = list(self._model.views(gradients).values())
        leaves = {name: view.requires_grad_() for name, view in self._model.views(weights).items()}
        places = [(row.trial.seed, row.epochs_done + 1) for row in rows]
        batches = Batches(self._recipe, places, updates=self._updates, batch_size=self._batch_size)
        keys = self._keys(rows)
        most = self._most_norms(rows, weights)
        losses = torch.empty(self._updates, len(rows), dtype=weights.dtype, device=weights.device)
        norms = torch.empty_like(losses)
        slices = [
            (
                weights[:, group],
                gradients[:, group],
                {name: tensor[:, group] for name, tensor in state.items()},
            )
            for group in self._groups
        ]
        self._model.begin_training()
        for update in range(self._updates):
            inputs, targets = batches(update)
            key = None if keys is None else keys[update]
            row_losses = self._model.losses(leaves, live.buffers, inputs, targets, key)
            if not self._has_trained:
                refuse_strangers(row_losses, leaves.values())
                self._has_trained = True
            # The sum of the rows' mean losses: each row's gradient is its own, whatever the width.
            found = torch.autograd.grad(row_losses.sum(), tuple(leaves.values()))
            torch._foreach_copy_(gradient_views, list(found))
            losses[update] = row_losses.detach()
            torch.linalg.vector_norm(gradients, dim=1, out=norms[update])
            if most is not None:
                gradients.mul_(_clipping(norms[update], most))
            for (part, gradient, buffers), now in zip(slices, coefficients, strict=True):
                self._rule.apply(part, gradient, buffers, now.at(update), now.parts)
        return losses, norms

    def _coefficients(
        self, rows: list[_Row], rates: list[tuple[GroupRates, ...]], like: Tensor
    ) -> list[Coefficients]:
        """Each parameter group's coefficients of the epoch; the rows' memories move on."""
        found = []
        for group in range(len(self._groups)):
            numbers = [
                RowNumbers(
                    arguments={**row.trial.setting.arguments, **({"weight_decay": 0.0} if group else {})},
                    lr=rates_of_row[group][0],
                    momentum=rates_of_row[group][1],
                    updates_before=row.epochs_done * self._updates,
                    memory=row.memories[group],
                )
                for row, rates_of_row in zip(rows, rates, strict=True)
            ]
            found.append(self._rule.coefficients(numbers, like))
            for row, memory in zip(rows, found[-1].memories, strict=True):
                row.memories[group] = memory
        return found

    def _keys(self, rows: list[_Row]) -> Tensor | None:
        """Keys of the epoch's random masks, (updates, rows); None where nothing is random."""
        if not self._model.needs_keys:
            return None
        columns = [
            update_keys(row.trial.seed, row.epochs_done * self._updates + 1, self._updates) for row in rows
        ]
        return torch.from_numpy(np.stack(columns, axis=1)).to(self._recipe.device)

    @staticmethod
    def _most_norms(rows: list[_Row], like: Tensor) -> Tensor | None:
        """The norm that each row is clipped to, (rows,), infinite where it is not; None if no row is."""
        wanted = [row.trial.setting.clip_grad_norm for row in rows]
        if all(norm is None for norm in wanted):
            return None
        return like.new_tensor([float("inf") if norm is None else norm for norm in wanted])


def _clipping(norms: Tensor, most: Tensor) -> Tensor:
    """Factors (rows, 1) as torch.nn.utils.clip_grad_norm_ has them; 1 where a row is not clipped."""
    factors = (most / (norms + _NORM_EPSILON)).clamp(max=1.0)
    return torch.where(most.isinf(), torch.ones_like(factors), factors).unsqueeze(1)
