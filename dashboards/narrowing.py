"""Narrowing: what to do with each range of a sweep for the next one. Pure; after Google's tuning playbook.

(github.com/google-research/tuning_playbook: explore before you exploit, see whether the best points lie at a
bound, fix what does not matter, keep what interacts.) A range is narrowed or widened only where its setting
was shown to matter, and fixed only where it was shown not to; in between nothing is claimed and it stays.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dashboards.relevance import FEWEST_TRIALS, LEVEL, Dimension, Relevance

GOOD_SHARE = 0.2  # of the trials that have a setting, the best
FEWEST_GOOD = 8
MARGIN = 0.1  # of the axis, on either side of the good trials
EDGE = 0.1  # of the axis: what is at a bound
CROWDED = 0.01  # chance that so many good trials are at a bound where all places are alike
FLAT = 0.1  # share of what is left open that a setting explains at most, to be fixed
FEWEST_IN_A_PART = 8
DIVERGING = 1 / 3  # share of the trials at a bound that speaks against going beyond
FEWEST_DIVERGED = 3
FEWEST_BEYOND = 5  # trials beyond an edge of divergence


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """Settings that ended: what they came to and where they stood."""

    results: tuple[float, ...]  # lower is better; inf where it diverged
    dimensions: Mapping[str, Dimension]  # positions in the order of the results


@dataclass(frozen=True, slots=True, kw_only=True)
class Stay:
    """Nothing is changed."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Fix:
    """The setting does not matter and is fixed."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """The part of the axis that is left, and the bound that is moved out."""

    low: float
    high: float
    widen_low: bool
    widen_high: bool
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Drop:
    """Options that are given up; the others stay."""

    options: frozenset[int]
    reason: str


Decision = Stay | Fix | Part | Drop


def decide(
    name: str,
    ended: Ended,
    relevance: Relevance | None,
    *,
    at_bounds: tuple[float, float],
    may_fix: bool,
    beside: Sequence[float] = (),
) -> Decision:
    """What to do with a setting.

    ``at_bounds``: the share of a setting's draws that fall at its lower and its upper bound, which is
    :data:`EDGE` but for whole numbers. ``may_fix``: whether it may be fixed where it does not matter.
    ``beside``: positions that a narrower range has to hold beside those of the good trials.
    """
    dimension = ended.dimensions[name]
    if relevance is None:
        count = sum(position is not None for position in dimension.positions)
        return Stay(reason=f"{_trials(count)} with it: at least {FEWEST_TRIALS} are wanted to say anything")
    if dimension.is_choice and (drop := _options(dimension, ended, relevance)) is not None:
        return drop
    if may_fix and shows_no_effect(relevance):
        return Fix(
            reason="does not matter: where the others are good it explains "
            f"{_percent(relevance.explains)} of what they leave open, at most "
            f"{_percent(relevance.explains_at_most)} (95 % bound), all over its range "
            f"({relevance.trials} trials)"
        )
    if relevance.p > LEVEL or dimension.is_choice:
        return Stay(reason=_undecided(relevance))
    return _part(dimension, ended, relevance, at_bounds, beside)


def good_trials(results: Sequence[float]) -> list[int]:
    """Indices of the best :data:`GOOD_SHARE` of trials that did not diverge, at least :data:`FEWEST_GOOD`."""
    finite = sorted((result, index) for index, result in enumerate(results) if math.isfinite(result))
    count = max(FEWEST_GOOD, math.ceil(GOOD_SHARE * len(finite)))
    return [index for _, index in finite[:count]]


def shows_no_effect(relevance: Relevance) -> bool:
    """Whether the trials show that a setting does not matter, alone or with another: see :data:`FLAT`."""
    return (
        relevance.p > LEVEL
        and relevance.interplay_p > LEVEL
        and relevance.explains_at_most <= FLAT
        and relevance.fewest_in_a_part >= FEWEST_IN_A_PART
    )


def _options(dimension: Dimension, ended: Ended, relevance: Relevance) -> Drop | None:
    """The options that never win: none of their trials is good, by more than chance, others being equal."""
    had = [index for index, position in enumerate(dimension.positions) if position is not None]
    good = {had[place] for place in good_trials([ended.results[index] for index in had])}
    tried = {option: [i for i in had if dimension.positions[i] == option] for option in relevance.worse}
    lost = {}
    for option, trials in tried.items():
        none_good = math.comb(len(had) - len(trials), len(good)) / math.comb(len(had), len(good))
        chance = min(1.0, len(tried) * none_good)
        if not good & set(trials) and chance <= LEVEL and relevance.worse[option] <= LEVEL:
            lost[option] = len(trials)
    if not lost:
        return None
    counts = " and ".join(_trials(count) for count in lost.values())
    return Drop(
        options=frozenset(lost),
        reason=f"none of {counts} with it is among the best {len(good)}, and the other settings do not "
        f"explain that (p {max(relevance.worse[option] for option in lost):.2g})",
    )


def _part(
    dimension: Dimension,
    ended: Ended,
    relevance: Relevance,
    at_bounds: tuple[float, float],
    beside: Sequence[float],
) -> Part | Stay:
    pairs = [
        (position, result)
        for position, result in zip(dimension.positions, ended.results, strict=True)
        if position is not None
    ]
    tried = [position for position, _ in pairs]
    good = [tried[index] for index in good_trials([result for _, result in pairs])]
    if not good:
        return Stay(reason="every trial with it diverged")
    low, high = _around([*good, *beside], tried)
    least, most = _crowd(good, low_end=True), _crowd(good, low_end=False)
    said = [f"the best {len(good)} of {_trials(len(pairs))} are within the new range"]
    widen_low = _is_crowded(least, len(good), at_bounds[0])
    widen_high = _is_crowded(most, len(good), at_bounds[1])
    if widen_low and (told := _diverging(pairs, low_end=True)):
        widen_low, said = False, [*said, f"{least} of them at the lower bound, but {told}"]
    if widen_high and (told := _diverging(pairs, low_end=False)):
        widen_high, said = False, [*said, f"{most} of them at the upper bound, but {told}"]
    if widen_low:
        said.append(f"{least} of them at the lower bound")
    if widen_high:
        said.append(f"{most} of them at the upper bound")
    edge = _edge_of_divergence(pairs, max([*good, *beside]))
    if edge is not None and edge[0] < high and not widen_high:
        high = edge[0]
        said.append(f"{edge[1]} of {edge[2]} diverged above")
    return Part(
        low=0.0 if widen_low else low,
        high=1.0 if widen_high else high,
        widen_low=widen_low,
        widen_high=widen_high,
        reason=f"matters (p {relevance.p:.2g}): {'; '.join(said)}",
    )


def _around(good: Sequence[float], tried: Sequence[float]) -> tuple[float, float]:
    """From good trial to good trial, with a margin, and at least to the next trial on either side."""
    below = [position for position in tried if position < min(good)]
    above = [position for position in tried if position > max(good)]
    low = min(min(good) - MARGIN, max(below, default=0.0))
    high = max(max(good) + MARGIN, min(above, default=1.0))
    return max(low, 0.0), min(high, 1.0)


def _crowd(good: Sequence[float], *, low_end: bool) -> int:
    return sum(position <= EDGE if low_end else position >= 1.0 - EDGE for position in good)


def _is_crowded(at_bound: int, good: int, share: float) -> bool:
    """Whether so many good trials at a bound are more than chance, were all places alike (binomial)."""
    chance = sum(
        math.comb(good, count) * share**count * (1.0 - share) ** (good - count)
        for count in range(at_bound, good + 1)
    )
    return at_bound > 0 and chance <= CROWDED


def _diverging(pairs: Sequence[tuple[float, float]], *, low_end: bool) -> str:
    """What speaks against going beyond a bound; empty where nothing does."""
    there = [
        result for position, result in pairs if (position <= EDGE if low_end else position >= 1.0 - EDGE)
    ]
    diverged = sum(math.isinf(result) for result in there)
    if diverged >= FEWEST_DIVERGED and diverged >= DIVERGING * len(there):
        return f"{diverged} of {_trials(len(there))} there diverged"
    return ""


def _edge_of_divergence(
    pairs: Sequence[tuple[float, float]], last_good: float
) -> tuple[float, int, int] | None:
    """The lowest position beyond the good trials above which most diverged; how many, and of how many."""
    for position, _ in sorted(pairs):
        above = [result for other, result in pairs if other >= position]
        if position <= last_good or len(above) < FEWEST_BEYOND:
            continue
        diverged = sum(math.isinf(result) for result in above)
        if 2 * diverged > len(above):
            return position, diverged, len(above)
    return None


def _undecided(relevance: Relevance) -> str:
    """Why nothing is changed."""
    if relevance.p > LEVEL and relevance.explains_at_most <= FLAT:
        alone = f"by itself it explains {_percent(relevance.explains_at_most)} at most"
        if relevance.interplay_p <= LEVEL:
            return f"{alone}, but more together with another setting (p {relevance.interplay_p:.2g})"
        return f"{alone}, but a part of its range was hardly tried where the others are good"
    if relevance.p <= LEVEL:
        return f"matters (p {relevance.p:.2g}), but none of its options is ruled out yet"
    return (
        f"{_trials(relevance.trials)} show neither that it matters (p {relevance.p:.2g}) nor that it does "
        f"not (it explains {_percent(relevance.explains_at_most)} at most)"
    )


def _percent(share: float) -> str:
    return f"{100.0 * share:.2g} %" if share < 0.1 else f"{100.0 * share:.0f} %"


def _trials(count: int) -> str:
    return "1 trial" if count == 1 else f"{count} trials"
