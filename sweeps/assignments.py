"""Assignments: which worker has which open trial."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence

from search_spaces.settings import PopulationKey
from sweeps.entries import OpenTrial
from sweeps.plan import Joining, share_out_trials
from workers.messages import Admission


class Assignments:
    """The workers of a sweep's open trials."""

    def __init__(self, open_trials: Mapping[int, OpenTrial], *, shares_rows: bool) -> None:
        """``open_trials`` by number, as the ledger keeps them; ``shares_rows``: whether families do."""
        self._open = open_trials
        self._shares_rows = shares_rows
        self._worker_of: dict[int, int] = {}

    def __contains__(self, number: object) -> bool:
        return number in self._worker_of

    def assign(self, workers: Sequence[int], numbers: Iterable[int]) -> None:
        """Give each trial to one of ``workers``, those of a family to the same."""
        joining = [
            Joining(number, self._open[number].setting.population, self._family(number)) for number in numbers
        ]
        if joining:
            self._worker_of |= share_out_trials(joining, self._held(workers))

    def by_worker(self, numbers: Iterable[int]) -> dict[int, list[int]]:
        """``numbers`` that have a worker, by worker."""
        found: dict[int, list[int]] = {}
        for number in numbers:
            worker = self._worker_of.get(number)
            if worker is not None:
                found.setdefault(worker, []).append(number)
        return found

    def forget(self, numbers: Iterable[int]) -> None:
        """Let go of trials that have ended and been released."""
        for number in numbers:
            self._worker_of.pop(number, None)

    def admission(self, number: int) -> Admission:
        """The message that a worker takes the trial in with."""
        trial = self._open[number]
        return Admission(number=number, seed=trial.row.seed, setting=trial.setting)

    def _held(self, workers: Sequence[int]) -> dict[int, list[PopulationKey]]:
        """The population of each row that a worker has."""
        rows: dict[int, dict[Hashable, PopulationKey]] = {worker: {} for worker in workers}
        for number, trial in self._open.items():
            worker = self._worker_of.get(number)
            if worker in rows:
                rows[worker][self._row(number)] = trial.setting.population
        return {worker: list(held.values()) for worker, held in rows.items()}

    def _row(self, number: int) -> Hashable:
        """Equal for trials that share a row: by what they have shown, at first by how they begin."""
        rides_on = self._open[number].rides_on
        return self._family(number) if rides_on is None else rides_on

    def _family(self, number: int) -> Hashable:
        """Equal for trials that share a row as long as their schedules agree."""
        trial = self._open[number]
        if not self._shares_rows:
            return number
        return trial.place.admitted_round, trial.row.seed, trial.setting.beginning
