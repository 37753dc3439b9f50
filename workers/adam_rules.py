"""torch.optim.Adam, AdamW and NAdam over rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from workers.update_terms import (
    Coefficients,
    Columns,
    EpochColumns,
    RowNumbers,
    StartsAtZero,
    arguments_of,
    kept,
    learning_rates,
    momenta,
    sign_and_decay,
    sign_and_decay_columns,
    sign_and_decay_parts,
    switches_of,
    update_numbers,
    written_down,
)

_NADAM_DECAY_BASE = 0.96  # torch.optim's constant, from Dozat 2016


class AdamRule(StartsAtZero):
    """torch.optim.Adam and AdamW (Kingma and Ba 2014; Loshchilov and Hutter 2017), amsgrad too."""

    state = ("exp_avg", "exp_avg_sq", "max_exp_avg_sq")

    def __init__(self, *, weight_decay: float, decoupled: bool) -> None:
        """``weight_decay`` is the class's default; ``decoupled``: decay the weights, not the gradient."""
        self._weight_decay = weight_decay
        self._decoupled = decoupled

    def coefficients(self, rows: Sequence[RowNumbers], like: Tensor) -> Coefficients:
        """Columns of betas, bias corrections (float64 before rounding), decay and step size."""
        lr, beta1, beta2 = learning_rates(rows), momenta(rows), _second_betas(rows)
        updates = update_numbers(rows, len(lr))
        amsgrad = switches_of(rows, "amsgrad")
        columns = _moment_columns(rows, weight_decay=self._weight_decay, decoupled=self._decoupled) | {
            "root_correction": np.sqrt(1.0 - beta2**updates),
            "step_size": -lr / (1.0 - beta1**updates),
            "amsgrad": amsgrad,
        }
        parts = _moment_parts(columns) | {"amsgrad": bool(amsgrad.any()), "no_amsgrad": not amsgrad.all()}
        return written_down(columns, parts, like, ({},) * len(rows))

    def apply(
        self,
        weights: Tensor,
        gradients: Tensor,
        state: Mapping[str, Tensor],
        now: Mapping[str, Tensor],
        parts: frozenset[str],
    ) -> None:
        """As torch.optim's single-tensor Adam, operation by operation."""
        mean, square = _moments(weights, gradients, state, now, parts)
        if "amsgrad" in parts:
            largest = state["max_exp_avg_sq"]
            torch.maximum(largest, square, out=largest)
            if "no_amsgrad" in parts:  # a square is never below the 0.0 of what is not kept
                square = torch.maximum(kept(largest, now["amsgrad"]), square)
            else:
                square = largest
        denominator = square.sqrt().div_(now["root_correction"]).add_(now["eps"])
        weights.addcmul_(mean / denominator, now["step_size"])


class NAdamRule(StartsAtZero):
    """torch.optim.NAdam (Dozat 2016): Nesterov momentum in Adam, with mu_t rising towards beta1.

    ``mu_t = beta1 (1 - 0.96^(t momentum_decay) / 2)``; the step of the gradient is ``lr (1 - mu_t)`` over
    ``1 - mu_1 ... mu_t``, that of its mean ``lr mu_(t+1)`` over ``1 - mu_1 ... mu_(t+1)``.
    """

    state = ("exp_avg", "exp_avg_sq")

    def coefficients(self, rows: Sequence[RowNumbers], like: Tensor) -> Coefficients:
        """Columns of betas, correction, decay and the two step sizes; remembers the product of all mu."""
        lr, beta1, beta2 = learning_rates(rows), momenta(rows), _second_betas(rows)
        updates = update_numbers(rows, len(lr))
        momentum_decay = arguments_of(rows, "momentum_decay", 4e-3)
        mu = beta1 * (1.0 - 0.5 * _NADAM_DECAY_BASE ** (updates * momentum_decay))
        mu_next = beta1 * (1.0 - 0.5 * _NADAM_DECAY_BASE ** ((updates + 1.0) * momentum_decay))
        product = _running_product(np.array([row.memory.get("mu_product", 1.0) for row in rows]), mu)
        columns = _moment_columns(rows, weight_decay=0.0, decoupled=False) | {
            "correction": 1.0 - beta2**updates,
            "gradient_step": -lr * (1.0 - mu) / (1.0 - product),
            "mean_step": -lr * mu_next / (1.0 - product * mu_next),
        }
        memories = tuple({"mu_product": float(last)} for last in product[-1])
        return written_down(columns, _moment_parts(columns), like, memories)

    def apply(
        self,
        weights: Tensor,
        gradients: Tensor,
        state: Mapping[str, Tensor],
        now: Mapping[str, Tensor],
        parts: frozenset[str],
    ) -> None:
        """As torch.optim's single-tensor NAdam, operation by operation."""
        mean, square = _moments(weights, gradients, state, now, parts)
        denominator = (square / now["correction"]).sqrt_().add_(now["eps"])
        weights.addcmul_(gradients.div_(denominator), now["gradient_step"])
        weights.addcmul_(torch.div(mean, denominator, out=denominator), now["mean_step"])


def _second_betas(rows: Sequence[RowNumbers]) -> Columns:
    return np.array([float(row.arguments.get("betas", (0.9, 0.999))[1]) for row in rows])


def _moment_columns(rows: Sequence[RowNumbers], *, weight_decay: float, decoupled: bool) -> EpochColumns:
    """Columns that the whole family has; ``weight_decay`` and ``decoupled``: what the class itself says."""
    lr, beta2 = learning_rates(rows), _second_betas(rows)
    decay = arguments_of(rows, "weight_decay", weight_decay)
    decouples = switches_of(rows, "decoupled_weight_decay", decoupled)
    return {
        **sign_and_decay_columns(rows, np.where(decouples, 0.0, decay)),
        "shrink": np.where(decouples, 1.0 - lr * decay, 1.0),
        "one_minus_beta1": 1.0 - momenta(rows),
        "beta2": beta2,
        "one_minus_beta2": 1.0 - beta2,
        "eps": arguments_of(rows, "eps", 1e-8),
    }


def _moment_parts(columns: EpochColumns) -> dict[str, bool]:
    return sign_and_decay_parts(columns) | {"shrink": bool((columns["shrink"] != 1.0).any())}


def _moments(
    weights: Tensor,
    gradients: Tensor,
    state: Mapping[str, Tensor],
    now: Mapping[str, Tensor],
    parts: frozenset[str],
) -> tuple[Tensor, Tensor]:
    """Decay, then the running means of the gradient and of its square, in place."""
    sign_and_decay(weights, gradients, now, parts)
    if "shrink" in parts:
        weights.mul_(now["shrink"])
    mean, square = state["exp_avg"], state["exp_avg_sq"]
    mean.lerp_(gradients, now["one_minus_beta1"])
    square.mul_(now["beta2"]).addcmul_(gradients * now["one_minus_beta2"], gradients)
    return mean, square


def _running_product(before: Columns, factors: Columns) -> Columns:
    """``before`` times the factors up to each update, (updates, rows), rounded after every product.

    torch.optim keeps this product in a tensor of float32, or of float64 where that is the default dtype,
    whatever the dtype of the weights.
    """
    kept = np.float64 if torch.get_default_dtype() == torch.float64 else np.float32
    together = np.concatenate([before[None], factors]).astype(kept)
    return np.multiply.accumulate(together, axis=0)[1:].astype(np.float64)
