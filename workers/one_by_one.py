"""One by one: trials that train each for itself, behind a population's verbs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Generic, Protocol, TypeVar

from workers.messages import Admission, Diverged, Measured, Note


class SingleTrial(Protocol):
    """A trial that trains by itself."""

    epochs_done: int

    def advance(self) -> Measured | Diverged:
        """Train one epoch."""
        ...


Trial = TypeVar("Trial", bound=SingleTrial)


class OneByOne(Generic[Trial]):
    """The trials of one worker that are no rows of a population."""

    def __init__(self, start: Callable[[Admission], Trial], epochs: int) -> None:
        """``start`` makes a trial; each trains ``epochs`` epochs at most."""
        self._start = start
        self._epochs = epochs
        self._trials: dict[int, Trial] = {}
        self._notes: list[Note] = []

    @property
    def is_empty(self) -> bool:
        """Whether no trial is here."""
        return not self._trials

    def admit(self, trial: Admission) -> None:
        """Take ``trial`` in."""
        self._trials[trial.number] = self._start(trial)

    def release(self, number: int) -> None:
        """Let trial ``number`` go."""
        del self._trials[number]

    def holds(self, number: int) -> bool:
        """Whether trial ``number`` is here."""
        return number in self._trials

    def take_notes(self) -> tuple[Note, ...]:
        """The notes since the last call."""
        notes = tuple(self._notes)
        self._notes.clear()
        return notes

    def advance(self, numbers: Sequence[int]) -> list[Measured | Diverged]:
        """Train one epoch of each trial in ``numbers`` that is here; diverged and complete ones leave."""
        return list(self.advancing(numbers))

    def advancing(self, numbers: Sequence[int]) -> Iterator[Measured | Diverged]:
        """As :meth:`advance`, one after another."""
        for number in sorted(numbers):
            trial = self._trials.get(number)
            if trial is None:
                continue
            outcome = trial.advance()
            yield outcome
            if isinstance(outcome, Diverged) or trial.epochs_done == self._epochs:
                self.release(number)
