"""The plan: who trains in which round, and how many settings to propose. Pure arithmetic on stored facts.

Rounds count from 1. Two rounds are in flight: the decision after round r sees exactly the reports up to
round r and acts at round r + 2. Epoch e of a trial happens in round ``admitted_round + e - 1``, so an end by
length is known ahead and its place is free in the round after it.

A lane is a set of workers that share rounds: one lane for all of them with ``order: rounds``, a lane a
worker with ``order: arrival``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heappush

ROUNDS_IN_FLIGHT = 2
MOST_ASKED_AHEAD = 8  # rounds


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What a sweep may use."""

    settings: int
    seeds: int  # trials a setting
    epochs: int  # a trial
    concurrency: int  # trials open at once, over all lanes
    lanes: int = 1

    @property
    def asked_ahead(self) -> int:
        """For how many rounds settings are asked ahead of the decision that admits them.

        A proposal does not know what ends meanwhile, so these are few beside a trial's epochs.
        """
        return max(1, min(MOST_ASKED_AHEAD, self.epochs // 5))


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where and when an open trial trains."""

    number: int
    lane: int
    admitted_round: int

    def trains_in(self, round_: int, epochs: int) -> bool:
        """Whether one of its epochs falls into the round."""
        return self.admitted_round <= round_ < self.admitted_round + epochs

    def epoch_in(self, round_: int) -> int:
        """The epoch, from 1, that falls into the round."""
        return round_ - self.admitted_round + 1


def lane_share(budget: Budget, lane: int) -> int:
    """Trials the lane may have open at once; the shares add up to the concurrency."""
    share, rest = divmod(budget.concurrency, budget.lanes)
    return share + (1 if lane < rest else 0)


def free_rows(taken: int, *, lane: int, budget: Budget) -> int:
    """Rows that new trials of ``lane`` may take where ``taken`` are.

    A setting is admitted with all its seeds or not at all; where the seeds outnumber the lane's share, one
    setting at a time.
    """
    share = lane_share(budget, lane)
    if taken == 0 and 0 < share < budget.seeds:
        return budget.seeds
    return max(0, share - taken)


def asked_by_now(free: Sequence[int]) -> int:
    """How many settings to have asked for, where so many will have room in each of the coming rounds.

    All that have room in the first of them, and a share of what is to come, so that the asking is spread
    where many trials end at once.
    """
    rounds = len(free)
    return max(-(-room * (rounds - ahead) // rounds) for ahead, room in enumerate(free))


@dataclass(frozen=True, slots=True)
class Joining:
    """A trial that is to be given to a worker."""

    number: int
    population: Hashable  # equal for trials that can be rows of one population
    family: Hashable  # equal for trials that share a row in their first epoch


def share_out_trials(joining: Sequence[Joining], held: Mapping[int, Sequence[Hashable]]) -> dict[int, int]:
    """The worker of each joining trial, by number.

    ``held``: the population of each row that a worker has. A family goes to one worker and counts as one
    row. Shares stay even; within that, trials of one population come together, because half a population
    costs more than half.
    """
    families: dict[Hashable, list[Joining]] = {}
    for trial in joining:
        families.setdefault(trial.family, []).append(trial)
    loads = {worker: len(populations) for worker, populations in held.items()}
    counts: dict[Hashable, Counter[int]] = {}
    for worker, populations in held.items():
        for population in populations:
            counts.setdefault(population, Counter())[worker] += 1
    quota = -(-(len(families) + sum(loads.values())) // len(loads))
    least = [(load, worker) for worker, load in loads.items()]
    heapify(least)
    fullest: dict[Hashable, list[tuple[int, int, int]]] = {}  # by population: (-rows of it, load, worker)
    chosen: dict[int, int] = {}
    for members in families.values():
        population = members[0].population
        of_population = counts.setdefault(population, Counter())
        if population not in fullest:
            fullest[population] = [(-count, loads[worker], worker) for worker, count in of_population.items()]
            heapify(fullest[population])
        found = _fullest(fullest[population], of_population, loads, quota)
        worker = _least_loaded(least, loads) if found is None else found
        loads[worker] += 1
        of_population[worker] += 1
        heappush(least, (loads[worker], worker))
        heappush(fullest[population], (-of_population[worker], loads[worker], worker))
        chosen |= {trial.number: worker for trial in members}
    return chosen


def _fullest(
    heap: list[tuple[int, int, int]], of_population: Mapping[int, int], loads: Mapping[int, int], quota: int
) -> int | None:
    """The worker with the most rows of the population, of those with room; None where there is none."""
    while heap:
        entry = heap[0]
        worker = entry[2]
        now = (-of_population[worker], loads[worker], worker)
        has_room = loads[worker] < quota
        if entry == now and has_room:
            return worker
        heappop(heap)
        if entry != now and has_room:  # an entry from before others came to it
            heappush(heap, now)
    return None


def _least_loaded(heap: list[tuple[int, int]], loads: Mapping[int, int]) -> int:
    while heap[0][0] != loads[heap[0][1]]:
        heappop(heap)  # an entry from before others came to it; a newer one is there
    return heap[0][1]


def too_many_failed(failed: int, shown: int) -> bool:
    """Whether going on is a waste: of at least five trials that have shown anything more than half failed.

    A trial shows something with its first epoch or with its end, so that a few failures at once are not
    taken for all while others train well.
    """
    return shown >= 5 and 2 * failed > shown
