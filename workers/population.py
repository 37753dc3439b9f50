"""Population: many trials trained at once as the rows of stacked tensors.

Each row has its own learning rate, momentum, schedule, epoch and data position. A row's bits depend on its
own setting and seed only: not on its slot, the width, its neighbours or when it was admitted. Widths below
:data:`MINIMUM_WIDTH` are padded, because batched products of one matrix take another path.

Trials that start alike and whose schedules agree so far are riders of one row. It is trained once for all of
them; in the epoch in which their rates part, each further group of them gets a copy of the row.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from search_spaces.settings import Beginning
from workers.anatomy import anatomy_of
from workers.cooldown import Cooled, is_due, with_cooldown
from workers.epoch_training import EpochTraining, TrainedRows
from workers.messages import Admission, Cooldown, Diverged, Measured, Note
from workers.optimization import Horizon
from workers.outcomes import judge
from workers.population_rows import Rider, Row, Trained, Turn, epoch_of, numbers_of, rows_of, tensors_of
from workers.recipe import Recipe
from workers.row_bank import Room, RowBank
from workers.row_cooldowns import cool_down
from workers.row_passes import RowPasses
from workers.schedule_table import GroupRates, RateBits, rate_bits, schedule_path
from workers.stacked_model import Rows, StackedModel
from workers.update_rules import UPDATE_RULES
from workers.vector_tails import with_tails

MINIMUM_WIDTH = 4
_ELSEWHERE = "not all rows have room beside those that train; some rest {}, which is slower"
_PLACES = {"host": "in the host's memory", "disk": "on disk"}


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
        cooldown: Cooldown | None = None,
        trace_after: int | None = None,
    ) -> None:
        """Trains about ``width`` rows at once, :data:`MINIMUM_WIDTH` at least; ``room``: for those at rest.

        ``cooldown``: when copies of rows are cooled down.
        Without ``forks`` every trial has a row of its own from its start. ``trace_after``: updates that are
        made without a program, if not as many as are worth it.

        Raises ValueError where the model cannot be trained so, and whatever the task's own code raises.
        """
        self._recipe = recipe
        self._rule = UPDATE_RULES[optimizer]
        self._updates = recipe.data.updates_per_epoch(batch_size)
        self._passes = RowPasses(width, least=MINIMUM_WIDTH, said=self._say)
        anatomy = anatomy_of(recipe, batch_size, two_groups=two_groups)
        self._tails = anatomy.tails
        self._model = StackedModel(recipe, anatomy)
        self._training = EpochTraining(
            recipe, self._model, anatomy, self._rule, batch_size=batch_size, trace_after=trace_after
        )
        self._no_memories: tuple[Mapping[str, float], ...] = ({},) * (2 if two_groups else 1)
        self._forks = forks
        self._room = room
        self._cooldown = cooldown
        self._bank: RowBank | None = None  # made for the first row
        self._notes: list[Note] = []
        self._rows: list[Row | None] = []
        self._slot_of: dict[int, int] = {}
        self._joinable: dict[tuple[int, Beginning], int] = {}  # slots of rows that have not trained yet

    @property
    def is_empty(self) -> bool:
        """Whether no trial is here."""
        return not self._slot_of

    @property
    def width(self) -> int:
        """About how many rows are trained at once; it halves where the memory is too small for them."""
        return self._passes.width

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
        rider = Rider(trial, schedule_path(trial.setting, horizon, self._recipe.functions))
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
        self._rows[slot] = Row(riders=[rider], memories=self._no_memories)
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
        return self._model.by_name(rows_of(self._bank.gather([self._slot_of[number]])))

    def advance(self, numbers: Collection[int]) -> list[Measured | Diverged]:
        """Train one epoch of each trial in ``numbers`` that is here; diverged and complete ones leave."""
        return list(self.advancing(numbers))

    def advancing(self, numbers: Collection[int]) -> Iterator[Measured | Diverged]:
        """As :meth:`advance`, some rows after others, so that an error ends only what was not trained yet.

        Rows whose copies are cooled down come last.
        """
        turns = self._turns(frozenset(numbers))
        self._joinable = {}
        to_cool: list[Trained] = []
        for taken, trained in self._passes.over(sorted(turns, key=self._is_to_cool), self._train):
            for index, turn in enumerate(taken):
                outcome = self._close_epoch(turn, trained, index)
                if isinstance(outcome, Measured) and self._is_to_cool(turn):
                    to_cool.append(Trained(turn, outcome))
                else:
                    yield from self._told(turn.row, outcome)
        for copied, found in self._passes.over(to_cool, self._cool):
            for one, ended in zip(copied, found, strict=True):
                yield from self._told(one.turn.row, with_cooldown(one.outcome, ended, self._recipe.metric))

    def take_notes(self) -> tuple[Note, ...]:
        """The notes since the last call."""
        notes, self._notes = tuple(self._notes), []
        return notes

    def _say(self, sentence: str) -> None:
        self._notes.append(Note(number=min(self._slot_of), sentence=sentence))

    def _initial_tensors(self, trial: Admission) -> dict[str, Tensor]:
        row = self._model.initial_row(trial.seed)
        arguments = trial.setting.arguments
        state = {
            name: torch.full_like(row.weights, self._rule.initial(name, arguments))
            for name in self._rule.state
        }
        return tensors_of(row, state)

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

    def _turns(self, numbers: frozenset[int]) -> list[Turn]:
        """What each row trains next; riders whose rates part are given rows of their own."""
        slots = sorted({self._slot_of[number] for number in numbers if number in self._slot_of})
        return [turn for slot in slots for turn in self._branches(slot, numbers)]

    def _branches(self, slot: int, numbers: frozenset[int]) -> list[Turn]:
        row = self._rows[slot]
        assert row is not None  # noqa: S101 - a trial is in it
        rates_of: dict[RateBits | None, tuple[GroupRates, ...]] = {}
        groups: dict[RateBits | None, list[Rider]] = {}
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
                turns.append(Turn(place, own, epoch_of(own, rates_of[bits])))
        return turns

    def _copy_of(self, slot: int, row: Row, riders: Sequence[Rider]) -> tuple[int, Row]:
        """A copy of the row in a slot of its own, for some of its riders."""
        assert self._bank is not None  # noqa: S101 - the row is in it
        tensors = self._bank.gather([slot])
        place = self._free_slot(riders[0].trial.number, tensors)
        self._bank.put([place], tensors)
        copy = replace(row, riders=list(riders))
        self._rows[place] = copy
        self._slot_of |= {rider.trial.number: place for rider in riders}
        return place, copy

    def _close_epoch(self, turn: Turn, trained: TrainedRows, index: int) -> Measured | Diverged:
        """The outcome of the row at ``index``, which its riders' schedules hear of."""
        row = turn.row
        numbers = numbers_of(row, turn.epoch, trained, index)
        row.first_loss = numbers.first_loss
        row.memories = trained.memories[index]
        row.epochs_done += 1
        outcome = judge(numbers, self._recipe.metric)
        if isinstance(outcome, Measured):
            for rider in row.riders:
                rider.path.observe({"train_loss": outcome.train_loss, **outcome.metrics})
        return outcome

    def _told(self, row: Row, outcome: Measured | Diverged) -> Iterator[Measured | Diverged]:
        """The outcome of each rider of a row that showed ``outcome``; diverged and complete ones leave."""
        owner = row.owner
        for rider in tuple(row.riders):
            number = rider.trial.number
            if number == owner:
                yield outcome
            elif isinstance(outcome, Measured):
                yield replace(outcome, number=number, rides_on=owner, cooldown_epochs=0)
            else:
                yield replace(outcome, number=number)
            if isinstance(outcome, Diverged) or row.epochs_done == self._recipe.epochs:
                self.release(number)

    def _train(self, turns: Sequence[Turn]) -> TrainedRows:
        """One epoch of some rows, on copies that are put back once it has gone well.

        Copies of the first row are put behind where there are too few, or the last would have vector tails.
        """
        slots, epochs = [turn.slot for turn in turns], [turn.epoch for turn in turns]
        padding = self._padding(len(turns))
        live, state = self._copies_of(slots + slots[:1] * padding)
        trained = self._training.train(live, state, epochs + epochs[:1] * padding)
        assert self._bank is not None  # noqa: S101 - there are rows
        self._bank.put(slots, tensors_of(live, state))
        return trained

    def _cool(self, trained: Sequence[Trained]) -> list[Cooled]:
        """How copies of some rows end, cooled down from the epoch that has just been trained."""
        assert self._cooldown is not None  # noqa: S101 - there is one where rows are to be cooled down
        turns = [one.turn for one in trained]
        turns += turns[:1] * self._padding(len(turns))
        live, state = self._copies_of([turn.slot for turn in turns])
        epochs, metric = self._cooldown.epochs, self._recipe.metric
        return cool_down(self._training, live, state, turns, epochs=epochs, metric=metric)[: len(trained)]

    def _is_to_cool(self, turn: Turn) -> bool:
        """Whether a copy of the row is to be cooled down from the end of its turn."""
        wanted = any(rider.trial.cools for rider in turn.row.riders)
        return wanted and is_due(self._cooldown, turn.epoch.epoch, self._recipe.epochs)

    def _padding(self, rows: int) -> int:
        """Copies of the first row to put behind ``rows`` that are too few, or whose tails would matter."""
        return with_tails(rows, self._tails, MINIMUM_WIDTH) - rows

    def _copies_of(self, slots: Sequence[int]) -> tuple[Rows, dict[str, Tensor]]:
        """Copies of the rows in ``slots``, and of their optimizer's state."""
        assert self._bank is not None  # noqa: S101 - there are rows
        tensors = self._bank.gather(slots)
        return rows_of(tensors), {name: tensors[f"state.{name}"] for name in self._rule.state}
