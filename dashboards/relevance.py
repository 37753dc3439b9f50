"""Relevance: which settings matter, by a test that claims nothing where there is nothing. Pure.

Results become normal scores of their ranks, and a Gaussian process over the *other* settings takes out of
each what trials near it tell already (:mod:`dashboards.response_surface`). What is left is correlated with
the setting's own axis, straight and bent, or with its options, and compared with the same number where what
is left is dealt out to other trials: a permutation test, as Freedman and Lane (1983) do it for linear models.
Holm's correction (1979) holds the chance of any false claim in a sweep at :data:`LEVEL`; how far so with
samplers that learn was simulated (ARCHITECTURE.md, tests/unit/test_relevance.py).

Why not Optuna's importances: they are shares that sum up to one, of nothing too, without a test; PED-ANOVA
and fANOVA leave out settings that only some trials have.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import TypeVar

import numpy as np

from dashboards.response_surface import Array, Surface, Whitening, fitted, squared_distances, without

LEVEL = 0.05  # chance of any false claim in a sweep; of one that a bound of 95 % is passed
PERMUTATIONS = 999
FEWEST_TRIALS = 10  # that have a setting, to say anything of it
FEWEST_OF_AN_OPTION = 8
MOST_TRIALS = 500  # beyond, every second, third ... is looked at

Key = TypeVar("Key")


@dataclass(frozen=True, slots=True, kw_only=True)
class Dimension:
    """A setting that was varied, in every trial that ended in a result."""

    name: str
    positions: tuple[
        float | None, ...
    ]  # on its axis, 0 to 1, or the option's index; None where a trial lacks it
    is_choice: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Relevance:
    """What the trials say of one setting."""

    trials: int  # that have it
    p: float  # that swapped values explain as much, corrected for all settings of the sweep
    explains: float  # of what the others leave open where the others are good: a share
    explains_at_most: float  # upper bound of that share, 95 %
    fewest_in_a_part: int  # of those trials, in a third of the axis or with one option: where fewest are
    interplay_p: float  # that swapped values explain as much together with another setting, the least of all
    worse: Mapping[int, float]  # by option: that it is no worse than the rest, corrected for all options


def relevances(dimensions: Sequence[Dimension], results: Sequence[float]) -> dict[str, Relevance]:
    """Relevance of each setting that enough trials have and that was varied in them.

    ``results``: lower is better, inf for trials that diverged.
    """
    step = max(1, -(-len(results) // MOST_TRIALS))
    columns = {one.name: _column(one)[::step] for one in dimensions}
    choices = {one.name: one.is_choice for one in dimensions}
    measured = np.asarray(results, dtype=np.float64)[::step]
    surfaces = _Surfaces(columns, choices, measured)
    looks = {
        name: look
        for name in columns
        if (look := _look(name, columns, choices, measured, surfaces)) is not None
    }
    corrected = _holm({name: look.p for name, look in looks.items()})
    worse = _holm({(name, option): p for name, look in looks.items() for option, p in look.worse.items()})
    return {
        name: Relevance(
            trials=look.trials,
            p=corrected[name],
            explains=look.explains,
            explains_at_most=look.explains_at_most,
            fewest_in_a_part=look.fewest_in_a_part,
            interplay_p=look.interplay_p,
            worse={option: worse[name, option] for option in look.worse},
        )
        for name, look in looks.items()
    }


def _look(
    name: str, columns: Mapping[str, Array], choices: Mapping[str, bool], results: Array, surfaces: _Surfaces
) -> Relevance | None:
    """One setting among the trials that have it, uncorrected."""
    rows = ~np.isnan(columns[name])
    own = _basis(columns[name][rows], choices[name])
    if rows.sum() < FEWEST_TRIALS or not own.size or len(np.unique(results[rows])) == 1:
        return None
    seen = surfaces.among(rows)
    white = without(seen.surface, name, seen.distances, seen.scores)
    residual, axis = white.of(seen.scores), white.of(own)
    swaps = _swaps(len(own))
    others = [
        basis
        for other, column in columns.items()
        if other != name and (basis := _basis(column[rows], choices[other])).size
    ]
    pairs = [_products(own if choices[name] else own[:, :1], basis[:, :2]) for basis in others]
    alone = _directions(axis)
    left = [_beside(alone, white.of(pair)) for pair in pairs]
    interplay = [_swapped_p(_beside(alone, residual), pair, swaps) for pair in left]
    predicted = white.predicted(seen.scores)
    good = predicted <= np.median(predicted)
    explains, at_most = _bounded_share(*seen.only(good).left_of(name, own[good]))
    return Relevance(
        trials=len(own),
        p=_swapped_p(residual, axis, swaps),
        explains=explains,
        explains_at_most=at_most,
        fewest_in_a_part=_fewest_in_a_part(columns[name][rows], good, choices[name]),
        interplay_p=min(1.0, min(interplay, default=1.0) * max(1, len(interplay))),
        worse=_worse(columns[name][rows], white, residual, swaps) if choices[name] else {},
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """Some of the trials, and the surface over all settings among them."""

    scores: Array
    distances: Mapping[str, Array]
    surface: Surface

    def only(self, good: Array) -> _Seen:
        """Fewer of them, with the same surface."""
        distances = {name: own[np.ix_(good, good)] for name, own in self.distances.items()}
        return _Seen(scores=self.scores[good], distances=distances, surface=self.surface)

    def left_of(self, name: str, own: Array) -> tuple[Array, Array]:
        """What the other settings leave of the scores, and of a setting's own columns."""
        white = without(self.surface, name, self.distances, self.scores)
        return white.of(self.scores), white.of(own)


class _Surfaces:
    """The surface for each set of trials that settings are judged among; most share one."""

    def __init__(self, columns: Mapping[str, Array], choices: Mapping[str, bool], results: Array) -> None:
        self._columns = columns
        self._choices = choices
        self._results = results
        self._found: dict[bytes, _Seen] = {}

    def among(self, rows: Array) -> _Seen:
        key = rows.tobytes()
        if key not in self._found:
            scores = _scores(self._results[rows])
            distances = {
                name: squared_distances(column[rows], self._choices[name])
                for name, column in self._columns.items()
                if not np.isnan(column[rows]).all()
            }
            self._found[key] = _Seen(scores=scores, distances=distances, surface=fitted(distances, scores))
        return self._found[key]


def _column(dimension: Dimension) -> Array:
    return np.array([np.nan if one is None else one for one in dimension.positions], dtype=np.float64)


def _scores(results: Array) -> Array:
    """Normal scores of the ranks, equal results with their mean rank; they sum up to 0."""
    _, group, counts = np.unique(results, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts + 1) / 2.0)[group]
    quantile = NormalDist().inv_cdf
    scores = np.array([quantile((rank + 0.5) / len(results)) for rank in ranks])
    return np.asarray(scores - scores.mean())


def _basis(column: Array, is_choice: bool) -> Array:
    """Columns that span what a setting can do: straight and bent, or one for each option but the first.

    Centred where trials have the setting and 0 elsewhere, so that having it tells nothing.
    """
    present = ~np.isnan(column)
    if is_choice:
        options = np.unique(column[present])[1:]
        columns = [column == option for option in options]
    else:
        axis = 2.0 * np.where(present, column, 0.5) - 1.0
        columns = [axis, 1.5 * axis**2] if present.any() and np.ptp(column[present]) > 0.0 else []
    basis = np.zeros((len(column), len(columns)))
    for index, values in enumerate(columns):
        basis[present, index] = values[present] - np.mean(values[present])
    return basis


def _products(one: Array, other: Array) -> Array:
    product: Array = (one[:, :, None] * other[:, None, :]).reshape(len(one), -1)
    return np.asarray(product - product.mean(axis=0))


def _beside(directions: Array, columns: Array) -> Array:
    """What is left of columns beside orthonormal directions."""
    return np.asarray(columns - directions @ (directions.T @ columns))


def _swaps(trials: int) -> Array:
    """Orders of the trials: always the same ones, so that a sweep is told the same twice."""
    random = np.random.default_rng(0)
    return np.argsort(random.random((PERMUTATIONS, trials)), axis=1)


def _swapped_p(residual: Array, axis: Array, swaps: Array) -> float:
    """How often swapped values explain at least as much; the order at hand is counted among them."""
    directions = _directions(axis)
    found = ((directions.T @ residual) ** 2).sum()
    swapped = ((residual[swaps] @ directions) ** 2).sum(axis=1)
    return float((1 + (swapped >= found * (1.0 - 1e-9)).sum()) / (1 + len(swaps)))


def _worse(column: Array, white: Whitening, residual: Array, swaps: Array) -> dict[int, float]:
    """By option that was tried often enough: how often what is left, dealt out anew, is as bad for it."""
    found = {}
    for option in np.unique(column):
        its = column == option
        if FEWEST_OF_AN_OPTION <= its.sum() < len(column):
            axis = white.of(its.astype(np.float64))
            at_least = (residual[swaps] @ axis >= residual @ axis - 1e-12).sum()
            found[int(option)] = float((1 + at_least) / (1 + len(swaps)))
    return found


def _fewest_in_a_part(column: Array, among: Array, is_choice: bool) -> int:
    parts = column if is_choice else np.minimum(np.floor(np.clip(column, 0.0, 1.0) * 3.0), 2.0)
    wanted = np.unique(column) if is_choice else np.arange(3.0)
    return int(min((parts[among] == part).sum() for part in wanted))


def _directions(axis: Array) -> Array:
    """Orthonormal columns that span the same."""
    left, singular, _ = np.linalg.svd(axis, full_matrices=False)
    return np.asarray(left[:, singular > 1e-8 * max(1.0, float(singular.max(initial=0.0)))])


def _bounded_share(residual: Array, axis: Array) -> tuple[float, float]:
    """The share of the residual's spread along ``axis``, and its upper bound of 95 %.

    The bound is the largest share at which so little would be seen with a chance of :data:`LEVEL`, by the
    noncentral chi-squared distribution of ``trials x share``. Less than chance alone shows on average counts
    as that: luck is no evidence.
    """
    from scipy.optimize import brentq
    from scipy.stats import ncx2

    directions = _directions(axis)
    count, total = len(residual), float((residual**2).sum())
    if total == 0.0 or not directions.shape[1] or count <= directions.shape[1] + 1:
        return 0.0, 1.0
    share = float(((directions.T @ residual) ** 2).sum()) / total
    freedom = directions.shape[1]
    seen = max(count * share, float(freedom))

    def too_likely(noncentrality: float) -> float:
        return float(ncx2.cdf(seen, freedom, noncentrality)) - LEVEL

    bound = brentq(too_likely, 0.0, seen + 10.0 * np.sqrt(seen + freedom) + 50.0)
    return share, min(1.0, float(bound) / count)


def _holm(values: Mapping[Key, float]) -> dict[Key, float]:
    corrected: dict[Key, float] = {}
    largest = 0.0
    for index, (name, p) in enumerate(sorted(values.items(), key=lambda item: item[1])):
        largest = max(largest, min(1.0, p * (len(values) - index)))
        corrected[name] = largest
    return corrected
