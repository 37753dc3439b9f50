"""Assignments: which worker has which open trial."""

from __future__ import annotations

from collections.abc import Callable, Container, Hashable, Iterable, Mapping, Sequence
from typing import NamedTuple

from search_spaces.settings import PopulationKey
from sweeps.entries import OpenTrial
from sweeps.plan import Joining, share_out_trials
from workers.messages import Admission, Orders


class _Seat(NamedTuple):
    """Where an open trial is; its population and family are kept, because telling them takes a while."""

    worker: int
    population: PopulationKey
    family: Hashable


class Assignments:
    """The workers of a sweep's open trials."""

    def __init__(
        self,
        open_trials: Mapping[int, OpenTrial],
        row_at_start: Callable[[int], Hashable],
        cools: Callable[[OpenTrial], bool] = lambda _: True,
    ) -> None:
        """``open_trials`` by number, as the ledger keeps them.

        ``row_at_start``: equal for trials, by number, that share a row in their first epoch; ``cools``:
        whether copies of a trial may be cooled down.
        """
        self._open = open_trials
        self._cools = cools
        self._row_at_start = row_at_start
        self._seats: dict[int, _Seat] = {}
        self._seats_of: dict[int, dict[int, _Seat]] = {}  # by worker, then number

    def __contains__(self, number: object) -> bool:
        return number in self._seats

    def assign(self, workers: Sequence[int], numbers: Iterable[int]) -> None:
        """Give each trial to one of ``workers``, those that share a row to the same."""
        joining = [
            Joining(number, self._open[number].setting.population, self._row_at_start(number))
            for number in numbers
        ]
        if not joining:
            return
        chosen = share_out_trials(joining, {worker: self._held(worker) for worker in workers})
        for trial in joining:
            population = self._open[trial.number].setting.population
            seat = _Seat(chosen[trial.number], population, trial.family)
            self._seats[trial.number] = seat
            self._seats_of.setdefault(seat.worker, {})[trial.number] = seat

    def by_worker(self, numbers: Iterable[int]) -> dict[int, list[int]]:
        """``numbers`` that have a worker, by worker."""
        found: dict[int, list[int]] = {}
        for number in numbers:
            seat = self._seats.get(number)
            if seat is not None:
                found.setdefault(seat.worker, []).append(number)
        return found

    def forget(self, numbers: Iterable[int]) -> None:
        """Let go of trials that have ended and been released."""
        for number in numbers:
            seat = self._seats.pop(number, None)
            if seat is not None:
                del self._seats_of[seat.worker][number]

    def orders(
        self,
        lane: int,
        round_: int,
        training: Iterable[int],
        *,
        joining: Container[int],
        releases: Iterable[int] = (),
    ) -> list[tuple[int, Orders]]:
        """The workers that have anything to do in a round, and what: those ``joining`` are taken in first."""
        advances, released = self.by_worker(training), self.by_worker(releases)
        return [
            (
                worker,
                Orders(
                    lane=lane,
                    round=round_,
                    release=tuple(released.get(worker, ())),
                    admit=tuple(
                        self._admission(number) for number in advances.get(worker, ()) if number in joining
                    ),
                    advance=tuple(advances.get(worker, ())),
                ),
            )
            for worker in sorted(advances.keys() | released.keys())
        ]

    def _admission(self, number: int) -> Admission:
        """The message that a worker takes the trial in with."""
        trial = self._open[number]
        return Admission(number=number, seed=trial.row.seed, setting=trial.setting, cools=self._cools(trial))

    def _held(self, worker: int) -> list[PopulationKey]:
        """The population of each row that a worker has."""
        rows: dict[Hashable, PopulationKey] = {}
        for number, seat in self._seats_of.get(worker, {}).items():
            trial = self._open.get(number)
            if trial is not None:
                rows[seat.family if trial.rides_on is None else trial.rides_on] = seat.population
        return list(rows.values())
