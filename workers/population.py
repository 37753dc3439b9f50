"""Population: many trials trained at once as the rows of stacked tensors.

Each row has its own learning rate, momentum, schedule, epoch and data position. A row's bits depend on its
own setting and seed only: not on its slot, the width, its neighbours or when it was admitted. Widths below
:data:`MINIMUM_WIDTH` are padded, because batched products of one matrix take another path.

Trials that start alike and whose schedules agree so far are riders of one row. It is trained once for all of
them; in the epoch in which their rates part, each further group of them gets a copy of the row.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from search_spaces.settings import Beginning
from workers.anatomy import anatomy_of
from workers.epoch_training import EpochTraining, RowEpoch, TrainedRows
from workers.memory import is_out_of_memory, release_cached_memory
from workers.messages import Admission, Diverged, Measured, Note
from workers.optimization import Horizon
from workers.outcomes import EpochNumbers, judge
from workers.recipe import Recipe
from workers.row_bank import Room, RowBank
from workers.row_passes import pass_sizes
from workers.schedule_table import GroupRates, RateBits, SchedulePath, rate_bits, schedule_path
from workers.stacked_model import Rows, StackedModel
from workers.update_rules import UPDATE_RULES
from workers.vector_tails import with_tails

MINIMUM_WIDTH = 4
_ELSEWHERE = "not all rows have room beside those that train; some rest {}, which is slower"
_PLACES = {"host": "in the host's memory", "disk": "on disk"}


@dataclass(frozen=True, slots=True)
class _Rider:
    """One trial on a row."""

    trial: Admission
    path: SchedulePath


@dataclass(slots=True, kw_only=True)
class _Row:
    """Trials that have trained alike so far, in one slot."""

    riders: list[_Rider]  # by number
    memories: tuple[Mapping[str, float], ...]  # what the rule carries on, by parameter group
    epochs_done: int = 0
    first_loss: float = 0.0


@dataclass(frozen=True, slots=True)
class _Turn:
    """A row and the epoch that it trains next."""

    slot: int
    row: _Row
    epoch: RowEpoch


class Population:
    """Trials that share task, batch size, optimizer class and parameter groups."""

    def __init__(
        self,
        recipe: Recipe,
        *,
        optimizer: str,
        batch_size: int,
        width: int,
        two_groups: bool = False,
        forks: bool = True,
        room: Room | None = None,
        trace_after: int | None = None,
    ) -> None:
        """Trains about ``width`` rows at once, :data:`MINIMUM_WIDTH` at least; ``room``: for those at rest.

        Without ``forks`` every trial has a row of its own from its start. ``trace_after``: updates that are
        made without a program, if not as many as are worth it.

        Raises ValueError where the model cannot be trained so, and whatever the task's own code raises.
        """
        self._recipe = recipe
        self._rule = UPDATE_RULES[optimizer]
        self._updates = recipe.data.updates_per_epoch(batch_size)
        self._width = max(width, MINIMUM_WIDTH)
        self._most: int | None = None  # rows at once, where more did not fit into memory
        anatomy = anatomy_of(recipe, batch_size, two_groups=two_groups)
        self._tails = anatomy.tails
        self._model = StackedModel(recipe, anatomy)
        self._training = EpochTraining(
            recipe, self._model, anatomy, self._rule, batch_size=batch_size, trace_after=trace_after
        )
        self._no_memories: tuple[Mapping[str, float], ...] = ({},) * (2 if two_groups else 1)
        self._forks = forks
        self._room = room
        self._bank: RowBank | None = None  # made for the first row
        self._notes: list[Note] = []
        self._rows: list[_Row | None] = []
        self._slot_of: dict[int, int] = {}
        self._joinable: dict[tuple[int, Beginning], int] = {}  # slots of rows that have not trained yet

    @property
    def is_empty(self) -> bool:
        """Whether no trial is here."""
        return not self._slot_of

    @property
    def width(self) -> int:
        """About how many rows are trained at once; it halves where the memory is too small for them."""
        return self._width

    def admit(self, trial: Admission, slot: int | None = None) -> None:
        """Take ``trial`` in with its initial weights and empty state.

        It rides on the row of a trial that starts alike and has not trained yet; ``slot`` gives it that
        free slot instead.
        """
        horizon = Horizon(
            epochs=self._recipe.epochs,
            updates_per_epoch=self._updates,
            warmup_epochs=trial.setting.warmup_epochs,
        )
        rider = _Rider(trial, schedule_path(trial.setting, horizon, self._recipe.functions))
        start = (trial.seed, trial.setting.beginning)
        shared = self._joinable.get(start) if slot is None and self._forks else None
        row = None if shared is None else self._rows[shared]
        if shared is not None and row is not None:
            row.riders = sorted([*row.riders, rider], key=lambda one: one.trial.number)
            self._slot_of[trial.number] = shared
            return
        tensors = self._initial_tensors(trial)
        slot = self._free_slot(trial.number, tensors, slot)
        self._bank_for(tensors).put([slot], tensors)
        self._rows[slot] = _Row(riders=[rider], memories=self._no_memories)
        self._slot_of[trial.number] = slot
        self._joinable[start] = slot

    def release(self, number: int) -> None:
        """Let trial ``number`` go; the row stays as long as others ride on it."""
        slot = self._slot_of.pop(number)
        row = self._rows[slot]
        assert row is not None and self._bank is not None  # noqa: S101, PT018 - a slot with a trial has both
        row.riders = [rider for rider in row.riders if rider.trial.number != number]
        if not row.riders:
            self._rows[slot] = None
            self._bank.clear(slot)
            self._joinable = {start: other for start, other in self._joinable.items() if other != slot}

    def holds(self, number: int) -> bool:
        """Whether trial ``number`` is here."""
        return number in self._slot_of

    def weights(self, number: int) -> dict[str, Tensor]:
        """A copy of the weights of trial ``number``, and of the buffers that training changes, by name."""
        assert self._bank is not None  # noqa: S101 - a trial that is here has a row
        return self._model.by_name(_rows_of(self._bank.gather([self._slot_of[number]])))

    def advance(self, numbers: Collection[int]) -> list[Measured | Diverged]:
        """Train one epoch of each trial in ``numbers`` that is here; diverged and complete ones leave."""
        return list(self.advancing(numbers))

    def advancing(self, numbers: Collection[int]) -> Iterator[Measured | Diverged]:
        """As :meth:`advance`, some rows after others, so that an error ends only what was not trained yet."""
        pending = self._turns(frozenset(numbers))
        self._joinable = {}
        while pending:
            count = pass_sizes(len(pending), self._width)[0]
            turns = pending[: count if self._most is None else min(count, self._most)]
            try:
                trained = self._train(turns)
            except (MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error) or len(turns) <= MINIMUM_WIDTH:
                    raise
                # Rows train on copies, so those in the bank are as they were.
                self._width = self._most = max(MINIMUM_WIDTH, len(turns) // 2)
                said = f"{len(turns)} rows do not fit into memory; training {self._width} at a time"
                self._notes.append(Note(number=turns[0].row.riders[0].trial.number, sentence=said))
            else:
                pending = pending[len(turns) :]
                for index, turn in enumerate(turns):
                    yield from self._close_epoch(turn, trained, index)
                continue
            release_cached_memory()  # when the error, which holds on to tensors, is gone

    def take_notes(self) -> tuple[Note, ...]:
        """The notes since the last call."""
        notes, self._notes = tuple(self._notes), []
        return notes

    def _initial_tensors(self, trial: Admission) -> dict[str, Tensor]:
        row = self._model.initial_row(trial.seed)
        arguments = trial.setting.arguments
        state = {
            name: torch.full_like(row.weights, self._rule.initial(name, arguments))
            for name in self._rule.state
        }
        return _tensors_of(row, state)

    def _bank_for(self, tensors: Mapping[str, Tensor]) -> RowBank:
        if self._bank is None:
            self._bank = RowBank(tensors, self._recipe.device, self._room)
        return self._bank

    def _free_slot(self, number: int, tensors: Mapping[str, Tensor], slot: int | None = None) -> int:
        """``slot``, or one that is free, for trial ``number``; where none is, twice as many are made."""
        if slot is None:
            slot = self._rows.index(None) if None in self._rows else len(self._rows)
        while slot >= len(self._rows):
            slots = max(MINIMUM_WIDTH, 2 * len(self._rows))
            place = self._bank_for(tensors).grow(slots)
            if place != "device":
                self._notes.append(Note(number=number, sentence=_ELSEWHERE.format(_PLACES[place])))
            self._rows += [None] * (slots - len(self._rows))
        return slot

    def _turns(self, numbers: frozenset[int]) -> list[_Turn]:
        """What each row trains next; riders whose rates part are given rows of their own."""
        slots = sorted({self._slot_of[number] for number in numbers if number in self._slot_of})
        return [turn for slot in slots for turn in self._branches(slot, numbers)]

    def _branches(self, slot: int, numbers: frozenset[int]) -> list[_Turn]:
        row = self._rows[slot]
        assert row is not None  # noqa: S101 - a trial is in it
        rates_of: dict[RateBits | None, tuple[GroupRates, ...]] = {}
        groups: dict[RateBits | None, list[_Rider]] = {}
        for rider in row.riders:
            if rider.trial.number not in numbers:
                groups.setdefault(None, []).append(rider)
                continue
            rates = rider.path.group_rates(row.epochs_done + 1)
            key = rate_bits(rates)
            rates_of[key] = rates
            groups.setdefault(key, []).append(rider)
        turns = []
        for index, (bits, riders) in enumerate(groups.items()):
            place, own = self._copy_of(slot, row, riders) if index else (slot, row)
            own.riders = riders
            if bits is not None:
                turns.append(_Turn(place, own, _epoch_of(own, rates_of[bits])))
        return turns

    def _copy_of(self, slot: int, row: _Row, riders: Sequence[_Rider]) -> tuple[int, _Row]:
        """A copy of the row in a slot of its own, for some of its riders."""
        assert self._bank is not None  # noqa: S101 - the row is in it
        tensors = self._bank.gather([slot])
        place = self._free_slot(riders[0].trial.number, tensors)
        self._bank.put([place], tensors)
        copy = replace(row, riders=list(riders))
        self._rows[place] = copy
        self._slot_of |= {rider.trial.number: place for rider in riders}
        return place, copy

    def _close_epoch(self, turn: _Turn, trained: TrainedRows, index: int) -> Iterator[Measured | Diverged]:
        """The outcome of each rider of the row at ``index``."""
        row, (lr, momentum) = turn.row, turn.epoch.rates[0]
        owner = row.riders[0].trial.number
        losses = trained.losses[index]
        if row.epochs_done == 0:
            row.first_loss = losses[0]
        numbers_of_epoch = EpochNumbers(
            number=owner,
            epoch=turn.epoch.epoch,
            updates_before=row.epochs_done * self._updates,
            first_loss=row.first_loss,
            losses=losses,
            grad_norms=trained.grad_norms[index],
            lr=lr,
            momentum=momentum,
            metrics={name: values[index] for name, values in trained.metrics.items()},
        )
        row.memories = trained.memories[index]
        row.epochs_done += 1
        outcome = judge(numbers_of_epoch, self._recipe.metric)
        for rider in tuple(row.riders):
            number = rider.trial.number
            if isinstance(outcome, Measured):
                rider.path.observe({"train_loss": outcome.train_loss, **outcome.metrics})
                yield outcome if number == owner else replace(outcome, number=number, rides_on=owner)
            else:
                yield replace(outcome, number=number)
            if isinstance(outcome, Diverged) or row.epochs_done == self._recipe.epochs:
                self.release(number)

    def _train(self, turns: Sequence[_Turn]) -> TrainedRows:
        """One epoch of some rows, on copies that are put back once it has gone well.

        Copies of the first row are put behind where there are too few, or the last would have vector tails.
        """
        assert self._bank is not None  # noqa: S101 - there are rows
        slots, epochs = [turn.slot for turn in turns], [turn.epoch for turn in turns]
        padding = with_tails(len(slots), self._tails, MINIMUM_WIDTH) - len(slots)
        tensors = self._bank.gather(slots + slots[:1] * padding)
        state = {name: tensors[f"state.{name}"] for name in self._rule.state}
        live = _rows_of(tensors)
        trained = self._training.train(live, state, epochs + epochs[:1] * padding)
        self._bank.put(slots, _tensors_of(live, state))
        return trained


def _tensors_of(rows: Rows, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rows and their optimizer's state as a bank keeps them."""
    return {
        "weights": rows.weights.detach(),
        **{f"buffer.{name}": buffer for name, buffer in rows.buffers.items()},
        **{f"state.{name}": buffer for name, buffer in state.items()},
    }


def _rows_of(tensors: Mapping[str, Tensor]) -> Rows:
    """The rows among what a bank gives."""
    buffers = {
        name.removeprefix("buffer."): tensor for name, tensor in tensors.items() if name.startswith("buffer.")
    }
    return Rows(tensors["weights"], buffers)


def _epoch_of(row: _Row, rates: tuple[GroupRates, ...]) -> RowEpoch:
    trial = row.riders[0].trial
    return RowEpoch(
        seed=trial.seed,
        epoch=row.epochs_done + 1,
        arguments=trial.setting.arguments,
        clip_grad_norm=trial.setting.clip_grad_norm,
        rates=rates,
        memories=row.memories,
    )
