"""Response surfaces: a Gaussian process over the settings, and what it leaves of a result. Pure.

Trials near one another come to like results whatever the reason, and a sampler that learns puts trials near
one another in everything at once. Comparing them as if each told something new finds effects where there are
none. Whitened by the covariance of a surface over the other settings, they tell what is new in each: it is
generalised least squares with the covariance of a Gaussian process that has a length of its own on each axis
(Rasmussen and Williams, Gaussian Processes for Machine Learning, 2006, chapters 2 and 5).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.linalg import LinAlgError, cholesky, solve_triangular

Array = np.ndarray[Any, np.dtype[Any]]

STEEPNESSES = (0.0, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
"""Of an axis from 0 to 1: one over the square of the length over which results change; 0: not at all."""
NOISES = (1e-4, 1e-3, 1e-2, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)  # variance, of the surface's own
_FIRST_STEEPNESS, _FIRST_NOISE = 1.0, 0.1
_PASSES = 2  # over all axes
_BETWEEN_OPTIONS = 0.25  # squared distance of two options, on an axis from 0 to 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Surface:
    """A surface over some settings."""

    steepnesses: Mapping[str, float]
    noise: float


def squared_distances(column: Array, is_choice: bool) -> Array:
    """Squared distances of trials along one axis; those that lack it stand at its mean, or for an option."""
    if is_choice:
        return np.asarray(_BETWEEN_OPTIONS * (column[:, None] != column[None, :]))
    there = np.where(np.isnan(column), np.nanmean(column), column)
    return np.asarray((there[:, None] - there[None, :]) ** 2)


def fitted(distances: Mapping[str, Array], scores: Array) -> Surface:
    """The most likely surface, looked for axis by axis; its scale and mean are known in closed form."""
    steepnesses = dict.fromkeys(distances, _FIRST_STEEPNESS)
    noise = _FIRST_NOISE
    whole = _together(distances, steepnesses, len(scores))
    least = _surprise(whole, scores, noise)
    for turn in range(_PASSES):
        for name, own in distances.items():
            rest = whole - steepnesses[name] * own
            place = STEEPNESSES.index(steepnesses[name])
            near = STEEPNESSES if turn == 0 else STEEPNESSES[max(0, place - 1) : place + 2]
            for steepness in near:
                surprise = _surprise(rest + steepness * own, scores, noise)
                if surprise < least - 1e-9:
                    least, steepnesses[name] = surprise, steepness
            whole = rest + steepnesses[name] * own
        noise = min(NOISES, key=lambda one: _surprise(whole, scores, one))
        least = _surprise(whole, scores, noise)
    return Surface(steepnesses=steepnesses, noise=noise)


def without(surface: Surface, name: str, distances: Mapping[str, Array], scores: Array) -> Whitening:
    """Whitening by the surface over all axes but one, with the noise that is most likely then."""
    others = {other: own for other, own in distances.items() if other != name}
    whole = _together(others, surface.steepnesses, len(scores))
    noise = min(NOISES, key=lambda one: _surprise(whole, scores, one))
    return Whitening(_factor(whole, noise))


class Whitening:
    """Takes columns, one number a trial, to what is new in each trial; their common mean is taken out."""

    def __init__(self, factor: Array) -> None:
        self._factor = factor
        self._mean = solve_triangular(factor, np.ones(len(factor)), lower=True)

    def of(self, columns: Array) -> Array:
        """The columns, whitened."""
        new: Array = solve_triangular(self._factor, columns, lower=True)
        common = self._mean @ new / (self._mean @ self._mean)
        return new - (np.outer(self._mean, common) if new.ndim == 2 else self._mean * common)

    def predicted(self, scores: Array) -> Array:
        """Each trial's score by all the others (Rasmussen and Williams, equation 5.12)."""
        inverse = solve_triangular(self._factor, np.eye(len(scores)), lower=True)
        precision = (inverse**2).sum(axis=0)
        return np.asarray(scores - (inverse.T @ self.of(scores)) / precision)


def _together(distances: Mapping[str, Array], steepnesses: Mapping[str, float], trials: int) -> Array:
    whole = np.zeros((trials, trials))
    for name, own in distances.items():
        whole = whole + steepnesses[name] * own
    return whole


def _factor(whole: Array, noise: float) -> Array:
    """Lower Cholesky factor of the covariance. Raises LinAlgError where it has none."""
    covariance = np.exp(-0.5 * whole)
    covariance[np.diag_indices(len(whole))] += noise
    return np.asarray(cholesky(covariance, lower=True, check_finite=False))


def _surprise(whole: Array, scores: Array, noise: float) -> float:
    """Minus the logarithm of the likelihood, but for what is the same for all surfaces."""
    try:
        factor = _factor(whole, noise)
    except LinAlgError:
        return float("inf")
    new = Whitening(factor).of(scores)
    spread = max(float(new @ new) / len(scores), 1e-300)
    return float(0.5 * len(scores) * np.log(spread) + np.log(np.diag(factor)).sum())
