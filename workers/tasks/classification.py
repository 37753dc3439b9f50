"""Loss and metrics of every task that chooses among classes."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy


class Classification:
    """Cross-entropy to train; cross-entropy and the share of right answers to judge by.

    Outputs are logits (..., classes) and targets class numbers (...): one answer per example, or one per
    position of a sequence.
    """

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Mean cross-entropy in nats."""
        return cross_entropy(outputs.flatten(0, -2), targets.flatten())

    def metrics(self, outputs: Tensor, targets: Tensor) -> Mapping[str, Tensor]:
        """``val_loss``: mean cross-entropy in nats; ``val_accuracy``: share of right answers."""
        return {"val_loss": self.loss(outputs, targets), "val_accuracy": accuracy(outputs, targets)}


def accuracy(outputs: Tensor, targets: Tensor) -> Tensor:
    """Share of ``targets`` (...) that ``outputs`` (..., classes) put highest, a scalar.

    In at least float32: a share in bfloat16 would have two digits.
    """
    right = outputs.argmax(dim=-1) == targets
    return right.to(torch.promote_types(outputs.dtype, torch.float32)).mean()
