"""Confirmation: a race of a sweep's leaders over fresh seeds, until the best is separated or all are tied.

The search chose its leaders because their values were good, so those values flatter them (the winner's
curse). The race looks at fresh seeds only. It is a pure function of their results.

After each seed, from the second on, the leader with the best mean is compared with every other one by paired
t tests. That a leader which is no worse than another is called worse, anywhere in the race, happens with a
probability of at most ``error_rate``. Three things would make it happen more often than in a single test:

- *Looking again after each seed.* Each look spends a share of the error rate, and the shares add up to 1 (Lan
  and DeMets, 1983): cumulatively (n / N)^3 after n of N seeds, because two or three seeds tell little. The
  sum is a bound whatever looks have in common, and intervals of these levels hold at all looks together
  (repeated confidence intervals, Jennison and Turnbull, 1989).
- *Comparing the one that happens to be best.* It is separated where it beats every other leader in a
  two-sided test. Nothing more is to be paid for several leaders (Hung and Fithian, Rank verification for
  exponential families, 2019): most dangerous are two equal ones far ahead of the rest, which are as two.
- *Dropping leaders one by one.* A leader drops out early where the best beats it at that level divided by the
  number of pairs of leaders (Bonferroni).

Each pair has its own variance: leaders may be noisy to different degrees. The tests are exact for normally
distributed differences; ``tests/unit/test_confirmation.py`` simulates others. What breaks them is a leader
whose results are both far noisier than another's and lopsided.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from sweeps.paired_differences import advantage

FIRST_LOOK = 2  # seeds: one has no variance
SPENDING_POWER = 3

Results = Mapping[int, Mapping[int, float]]
"""By setting, then seed: the loss of a confirming trial that has ended; inf diverged, nan failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Race:
    """How the race stands."""

    standing: tuple[int, ...]  # all leaders, best first: those in the race, then by how far behind
    left: tuple[int, ...]  # those in the race, best first; one alone is separated from all others
    seeds: int  # that all of ``left`` have been trained with, at the last look
    dropped: Mapping[int, int]  # after how many seeds the others dropped out
    over: bool
    wanted: tuple[tuple[int, int], ...] = ()  # (setting, seed) to be trained for the next look, if not over

    @property
    def separated(self) -> bool:
        """Whether the best is known to be better than every other leader."""
        return self.over and len(self.left) == 1 < len(self.standing)


def run_race(leaders: Sequence[int], seeds: Sequence[int], results: Results, error_rate: float) -> Race:
    """The race of ``leaders``, settings in the search's order, over at least two fresh ``seeds``.

    A leader that diverges with any seed is worse than one that does not, and drops out at once; where every
    leader that is left has diverged, the race is over and they are tied. A failed trial tells nothing. With
    fewer than two leaders there is nothing to compare: it is over at once.
    """
    left, dropped = list(leaders), dict[int, int]()
    looked, wanted = 0, tuple[tuple[int, int], ...]()
    if len(left) < 2:
        return Race(standing=tuple(left), left=tuple(left), seeds=0, dropped={}, over=True)
    for look in range(FIRST_LOOK, len(seeds) + 1):
        wanted = tuple(
            (setting, seed)
            for seed in seeds[:look]
            for setting in left
            if seed not in results.get(setting, {})
        )
        if wanted:
            break
        seen = {setting: {seed: results[setting][seed] for seed in seeds[:look]} for setting in left}
        left.sort(key=lambda setting: rank(seen[setting]))
        looked = look
        beaten = _beaten(left, seen, tails(look, len(seeds), len(leaders), error_rate))
        dropped |= dict.fromkeys(beaten, look)
        left = [setting for setting in left if setting not in beaten]
        if len(left) == 1 or diverged(seen[left[0]]):
            break
    over = not wanted
    behind = {
        setting: _behind(results[left[0]], {seed: results[setting][seed] for seed in seeds[:look]})
        for setting, look in dropped.items()
    }
    return Race(
        standing=(*left, *sorted(behind, key=lambda setting: behind[setting])),
        left=tuple(left),
        seeds=looked,
        dropped=dropped,
        over=over,
        wanted=wanted,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Tails:
    """Probabilities beyond each end of a difference's interval, at one look."""

    separates: float  # where the best beats every other leader so, it is separated
    drops: float  # where it beats one so, that one drops out


def tails(look: int, looks: int, leaders: int, error_rate: float) -> Tails:
    """What the look after ``look`` seeds, of at most ``looks``, may spend of the error rate."""
    before = 0 if look == FIRST_LOOK else look - 1
    share = (look / looks) ** SPENDING_POWER - (before / looks) ** SPENDING_POWER
    return Tails(separates=share * error_rate / 2, drops=share * error_rate / 2 / math.comb(leaders, 2))


def _beaten(left: Sequence[int], seen: Results, tails_: Tails) -> frozenset[int]:
    """Who drops out; ``left`` is sorted, best first."""
    best, *others = left
    if diverged(seen[best]):
        return frozenset()
    unstable = {setting for setting in others if diverged(seen[setting])}
    others = [setting for setting in others if setting not in unstable]
    if all(_beats(seen[best], seen[setting], tails_.separates) for setting in others):
        return frozenset((*unstable, *others))
    lost = {setting for setting in others if _beats(seen[best], seen[setting], tails_.drops)}
    return frozenset(unstable | lost)


def _beats(better: Mapping[int, float], worse: Mapping[int, float], tail: float) -> bool:
    found = advantage(better, worse, tail)
    return found is not None and found.is_positive


def _behind(best: Mapping[int, float], dropped: Mapping[int, float]) -> tuple[int, float]:
    """How often one that dropped out diverged, then how far it is behind the best over the seeds it had."""
    found = advantage(best, dropped, tail=0.5)
    return rank(dropped)[0], math.inf if found is None else found.mean


def rank(values: Mapping[int, float]) -> tuple[int, float]:
    """Smaller is better: how often it diverged, then the mean over seeds with a value (none: infinite)."""
    finite = [value for value in values.values() if math.isfinite(value)]
    return sum(value == math.inf for value in values.values()), fmean(finite) if finite else math.inf


def diverged(values: Mapping[int, float]) -> bool:
    """Whether it did with any seed."""
    return math.inf in values.values()
