"""torch.optim.RMSprop and Adagrad over rows: steps divided by the root of the gradients' squares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from workers.update_terms import (
    Coefficients,
    EpochColumns,
    RowNumbers,
    StartsAtZero,
    arguments_of,
    kept,
    learning_rates,
    momenta,
    momentum_columns,
    momentum_parts,
    moved,
    sign_and_decay,
    sign_and_decay_columns,
    sign_and_decay_parts,
    switches_of,
    update_numbers,
    written_down,
)


class RMSpropRule(StartsAtZero):
    """torch.optim.RMSprop (Hinton 2012; centered: Graves 2013), with momentum.

    Where m = 0 the momentum buffer stays as it is, as in torch.optim. Where momentum is 0 at a trial's
    first update and above 0 later, torch.optim raises KeyError for want of a buffer; here it starts at zero.
    """

    state = ("square_avg", "grad_avg", "momentum_buffer")

    def coefficients(self, rows: Sequence[RowNumbers], like: Tensor) -> Coefficients:
        """Columns of rates and of which branches each row takes."""
        momentum = momenta(rows)
        alpha = arguments_of(rows, "alpha", 0.99)
        centered = switches_of(rows, "centered")
        columns: EpochColumns = {
            "lr": -learning_rates(rows),
            **sign_and_decay_columns(rows, arguments_of(rows, "weight_decay", 0.0)),
            "alpha": alpha,
            "one_minus_alpha": 1.0 - alpha,
            "eps": arguments_of(rows, "eps", 1e-8),
            "centered": centered,
            **momentum_columns(momentum, 1.0, np.zeros(len(rows), dtype=np.bool_)),
        }
        parts = {
            **sign_and_decay_parts(columns),
            **momentum_parts(columns),
            "centered": bool(centered.any()),
            "uncentered": not centered.all(),
        }
        return written_down(columns, parts, like, ({},) * len(rows))

    def apply(
        self,
        weights: Tensor,
        gradients: Tensor,
        state: Mapping[str, Tensor],
        now: Mapping[str, Tensor],
        parts: frozenset[str],
    ) -> None:
        """As torch.optim's single-tensor RMSprop, operation by operation."""
        sign_and_decay(weights, gradients, now, parts)
        square = state["square_avg"]
        square.mul_(now["alpha"]).addcmul_(gradients * now["one_minus_alpha"], gradients)
        if "centered" in parts:
            mean = state["grad_avg"]
            mean.lerp_(gradients, now["one_minus_alpha"])
            center = kept(mean, now["centered"]) if "uncentered" in parts else mean
            denominator = square.addcmul(center, center, value=-1).sqrt_().add_(now["eps"])
        else:
            denominator = square.sqrt().add_(now["eps"])
        direction = moved(gradients.div_(denominator), state["momentum_buffer"], now, parts)
        weights.addcmul_(direction, now["lr"])


class AdagradRule:
    """torch.optim.Adagrad (Duchi, Hazan and Singer 2011)."""

    state = ("sum",)

    def initial(self, name: str, arguments: Mapping[str, Any]) -> float:  # noqa: ARG002 - the only buffer
        """Where the sum of squares starts."""
        return float(arguments.get("initial_accumulator_value", 0.0))

    def coefficients(self, rows: Sequence[RowNumbers], like: Tensor) -> Coefficients:
        """Columns of decay, eps and step size."""
        lr = learning_rates(rows)
        updates = update_numbers(rows, len(lr))
        columns: EpochColumns = {
            **sign_and_decay_columns(rows, arguments_of(rows, "weight_decay", 0.0)),
            "eps": arguments_of(rows, "eps", 1e-10),
            "step_size": -lr / (1.0 + (updates - 1.0) * arguments_of(rows, "lr_decay", 0.0)),
        }
        return written_down(columns, sign_and_decay_parts(columns), like, ({},) * len(rows))

    def apply(
        self,
        weights: Tensor,
        gradients: Tensor,
        state: Mapping[str, Tensor],
        now: Mapping[str, Tensor],
        parts: frozenset[str],
    ) -> None:
        """As torch.optim's single-tensor Adagrad, operation by operation."""
        sign_and_decay(weights, gradients, now, parts)
        total = state["sum"]
        total.addcmul_(gradients, gradients)
        denominator = total.sqrt().add_(now["eps"])
        weights.addcmul_(gradients.div_(denominator), now["step_size"])
