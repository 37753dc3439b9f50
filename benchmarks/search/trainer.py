"""A trainer that replays: it shows a curve as far as was paid for, an epoch at a price of one."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from benchmarks.search.curves import Curves


class BudgetSpent(RuntimeError):
    """A method asked for more epochs than it has left."""


class Trainer:
    """Curves of one task behind a budget."""

    def __init__(self, curves: Curves, budget_epochs: int) -> None:
        """``curves``: of every setting of the pool; ``budget_epochs``: to be trained in all."""
        self._curves = curves
        self._trained: dict[int, int] = {}
        self.budget_epochs = budget_epochs
        self.left_epochs = budget_epochs

    @property
    def settings(self) -> int:
        """How many there are."""
        return len(self._curves)

    @property
    def epochs(self) -> int:
        """Of a whole training."""
        return int(self._curves.shape[1])

    def trained(self, setting: int) -> int:
        """Epochs that the setting has been trained for."""
        return self._trained.get(setting, 0)

    def affords(self, setting: int, epoch: int) -> bool:
        """Whether the setting can be trained up to ``epoch``."""
        return epoch - self.trained(setting) <= self.left_epochs

    def train(self, setting: int, epoch: int) -> NDArray[np.float64]:
        """The setting's curve up to ``epoch``, (epochs,); what was trained before costs nothing again.

        Raises:
            BudgetSpent: there are too few epochs left.
        """
        more = epoch - self.trained(setting)
        if more > self.left_epochs:
            raise BudgetSpent(f"{more} epochs of setting {setting} with {self.left_epochs} left")
        if more > 0:
            self.left_epochs -= more
            self._trained[setting] = epoch
        found: NDArray[np.float64] = self._curves[setting, :epoch]
        return found

    @property
    def finished(self) -> list[int]:
        """Settings that have been trained to the end."""
        return sorted(setting for setting, epochs in self._trained.items() if epochs == self.epochs)

    @property
    def regret(self) -> float:
        """Best final accuracy of all settings less the best of those trained to the end.

        Of none, less the worst of all.
        """
        final = self._curves[:, -1]
        finished = self.finished
        return float(final.max() - (final[finished].max() if finished else final.min()))
