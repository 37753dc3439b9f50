"""Population: many trials trained at once as the rows of stacked tensors.

Each row has its own learning rate, momentum, schedule, epoch and data position. A row's bits depend on
its own setting and seed only: not on its slot, the width, its neighbours or when it was admitted. Widths
below :data:`MINIMUM_WIDTH` are padded, because batched products of one matrix take another path.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from workers.anatomy import anatomy_of
from workers.epoch_training import EpochTraining, RowEpoch, TrainedRows
from workers.messages import Admission, Diverged, Measured
from workers.optimization import Horizon
from workers.outcomes import EpochNumbers, judge
from workers.recipe import Recipe
from workers.schedule_table import SchedulePath, schedule_path
from workers.stacked_model import StackedModel, padded
from workers.update_rules import UPDATE_RULES
from workers.vector_tails import with_tails

MINIMUM_WIDTH = 4


@dataclass(slots=True, kw_only=True)
class _Row:
    """One trial in its slot."""

    trial: Admission
    path: SchedulePath
    memories: tuple[Mapping[str, float], ...]  # what the rule carries on, by parameter group
    epochs_done: int = 0
    first_loss: float = 0.0


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
        self._updates = recipe.data.updates_per_epoch(batch_size)
        self._width = max(width, MINIMUM_WIDTH)
        anatomy = anatomy_of(recipe, batch_size, two_groups=two_groups)
        self._tails = anatomy.tails
        self._model = StackedModel(recipe, anatomy, MINIMUM_WIDTH)
        self._training = EpochTraining(recipe, self._model, anatomy, self._rule, batch_size=batch_size)
        self._groups = 2 if two_groups else 1
        self._state = {name: torch.zeros_like(self._model.rows.weights) for name in self._rule.state}
        self._rows: list[_Row | None] = [None] * MINIMUM_WIDTH
        self._slot_of: dict[int, int] = {}

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
        self._rows[slot] = _Row(trial=trial, path=path, memories=({},) * self._groups)
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
        epochs = [_epoch_of(row) for row in rows]
        trained = self._train(slots, epochs)
        outcomes: list[Measured | Diverged] = []
        for index, (row, epoch) in enumerate(zip(rows, epochs, strict=True)):
            row.memories = trained.memories[index]
            losses, (lr, momentum) = trained.losses[index], epoch.rates[0]
            if row.epochs_done == 0:
                row.first_loss = losses[0]
            numbers_of_epoch = EpochNumbers(
                number=row.trial.number,
                epoch=epoch.epoch,
                updates_before=row.epochs_done * self._updates,
                first_loss=row.first_loss,
                losses=losses,
                grad_norms=trained.grad_norms[index],
                lr=lr,
                momentum=momentum,
                metrics={name: values[index] for name, values in trained.metrics.items()},
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

    def _train(self, slots: list[int], epochs: list[RowEpoch]) -> TrainedRows:
        """One epoch over the rows in ``slots``.

        Trains on a gathered copy unless every slot is in use, so that empty slots cost nothing. Copies of
        the first row are put behind where there are too few, or the last would have vector tails.
        """
        padding = with_tails(len(slots), self._tails, MINIMUM_WIDTH) - len(slots)
        everyone = padding == 0 and len(slots) == len(self._rows)
        picked = torch.tensor(slots + slots[:1] * padding, device=self._recipe.device)
        live = self._model.rows if everyone else self._model.rows.picked(picked)
        state = self._state if everyone else {name: buffer[picked] for name, buffer in self._state.items()}
        trained = self._training.train(live, state, epochs + epochs[:1] * padding)
        if not everyone:
            kept = picked[: len(slots)]
            self._model.rows.put(kept, live)
            for name, buffer in self._state.items():
                buffer[kept] = state[name][: len(slots)]
        return trained


def _epoch_of(row: _Row) -> RowEpoch:
    """The epoch that the row trains next."""
    return RowEpoch(
        seed=row.trial.seed,
        epoch=row.epochs_done + 1,
        arguments=row.trial.setting.arguments,
        clip_grad_norm=row.trial.setting.clip_grad_norm,
        rates=row.path.group_rates(row.epochs_done + 1),
        memories=row.memories,
    )
