"""The plan: who trains in which round, and how many settings to propose. Pure arithmetic on stored facts.

Rounds count from 1. Two rounds are in flight: the decision after round r sees exactly the reports up to
round r and acts at round r + 2. Epoch e of a trial happens in round ``admitted_round + e - 1``, so an end by
length is known ahead and its place is free in the round after it.

A lane is a set of workers that share rounds: one lane for all of them with ``order: rounds``, a lane a
worker with ``order: arrival``.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

ROUNDS_IN_FLIGHT = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What a sweep may use."""

    settings: int
    seeds: int  # trials a setting
    epochs: int  # a trial
    concurrency: int  # trials open at once, over all lanes
    lanes: int = 1


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


def share_out_trials(
    joining: Sequence[tuple[int, Hashable]], held: Mapping[int, Sequence[Hashable]]
) -> dict[int, int]:
    """The worker of each joining trial, by number; ``joining`` has each one's number and population.

    ``held``: the populations of the trials that each worker has. Shares stay even; within that, trials of
    one population come together, because half a population costs more than half.
    """
    loads = {worker: list(populations) for worker, populations in held.items()}
    quota = -(-(len(joining) + sum(map(len, loads.values()))) // len(loads))
    chosen: dict[int, int] = {}
    for number, population in joining:
        free = [worker for worker, load in loads.items() if len(load) < quota]
        worker = min(free, key=lambda one: (-loads[one].count(population), len(loads[one]), one))
        loads[worker].append(population)
        chosen[number] = worker
    return chosen


def too_many_failed(failed: int, shown: int) -> bool:
    """Whether going on is a waste: of at least five trials that have shown anything more than half failed.

    A trial shows something with its first epoch or with its end, so that a few failures at once are not
    taken for all while others train well.
    """
    return shown >= 5 and 2 * failed > shown
