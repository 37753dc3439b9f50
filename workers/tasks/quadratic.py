"""quadratic: a ravine whose best momentum and edge of stability are known in closed form.

f(w) = 1/2 sum of lambda_i w_i^2. Gradient descent with momentum m converges where
``lr * lambda_max < 2 + 2 m``; the fastest setting is Polyak's (1964):
``m = ((sqrt(k) - 1) / (sqrt(k) + 1))^2``, ``lr = ((1 + sqrt(m))^2) / lambda_max`` for condition number k.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from workers.tasks.task import Data

DIMENSIONS = 20
UPDATES_PER_EPOCH = 25


class Quadratic:
    """f(w) = 1/2 sum of lambda_i w_i^2 over 20 lambdas from 1/condition to 1, full gradient, float64."""

    def __init__(self, condition: float = 100.0) -> None:
        if not condition >= 1.0:
            raise ValueError(f"condition must be at least 1, got {condition}")
        self.condition = float(condition)

    def model(self) -> nn.Module:
        """The point w, at all ones."""
        return _Bowl()

    def data(self) -> Data:
        """One example: the lambdas, to train and to validate; 25 updates an epoch."""
        exponents = torch.linspace(-1.0, 0.0, DIMENSIONS, dtype=torch.float64)
        lambdas = (self.condition**exponents).unsqueeze(0)
        nothing = torch.zeros(1, dtype=torch.int64)
        return Data(
            train_inputs=lambdas,
            train_targets=nothing,
            validation_inputs=lambdas,
            validation_targets=nothing,
            full_batch_updates=UPDATES_PER_EPOCH,
        )

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:  # noqa: ARG002 - nothing to compare with
        """f(w)."""
        return outputs.mean()

    def metrics(self, outputs: Tensor, targets: Tensor) -> Mapping[str, Tensor]:
        """f(w) again: there is no noise to generalise over."""
        return {"val_loss": self.loss(outputs, targets)}


class _Bowl(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.ones(DIMENSIONS, dtype=torch.float64))

    def forward(self, lambdas: Tensor) -> Tensor:
        return 0.5 * (lambdas * self.w**2).sum(dim=-1)
