"""torch.optim.SGD over rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from torch import Tensor

from workers.update_terms import (
    Coefficients,
    EpochColumns,
    RowNumbers,
    StartsAtZero,
    arguments_of,
    learning_rates,
    momenta,
    momentum_columns,
    momentum_parts,
    moved,
    sign_and_decay,
    sign_and_decay_columns,
    sign_and_decay_parts,
    switches_of,
    written_down,
)


class SGDRule(StartsAtZero):
    """torch.optim.SGD: momentum, dampening, nesterov, weight decay, maximize.

    With v the momentum buffer and g the gradient plus ``weight_decay * w``: where m = 0, ``w -= lr * g``
    and v stays; else ``v = m v + (1 - dampening) g`` (the first time ``v = g``, that is, without
    dampening, v being zero), then ``w -= lr * v``, or with nesterov ``w -= lr * (g + m v)``.
    """

    state = ("momentum_buffer",)

    def coefficients(self, rows: Sequence[RowNumbers], like: Tensor) -> Coefficients:
        """Columns of rates and of which branch each row takes; remembers whether momentum has started."""
        momentum = momenta(rows)
        moving = momentum != 0.0
        before = np.array([row.memory.get("momentum_started", 0.0) for row in rows]) > 0.0
        started = before | (np.cumsum(moving, axis=0) - moving > 0)
        take = np.where(started, 1.0 - arguments_of(rows, "dampening", 0.0), 1.0)
        columns: EpochColumns = {
            "lr": -learning_rates(rows),
            **sign_and_decay_columns(rows, arguments_of(rows, "weight_decay", 0.0)),
            **momentum_columns(momentum, take, switches_of(rows, "nesterov")),
        }
        parts = sign_and_decay_parts(columns) | momentum_parts(columns)
        after = before | moving.any(axis=0)
        return written_down(columns, parts, like, tuple({"momentum_started": float(one)} for one in after))

    def apply(
        self,
        weights: Tensor,
        gradients: Tensor,
        state: Mapping[str, Tensor],
        now: Mapping[str, Tensor],
        parts: frozenset[str],
    ) -> None:
        """As torch.optim's single-tensor SGD, operation by operation."""
        sign_and_decay(weights, gradients, now, parts)
        weights.addcmul_(moved(gradients, state["momentum_buffer"], now, parts), now["lr"])
