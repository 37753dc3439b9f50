"""Cooldown rates: learning rates and momentum of a copy whose learning rate falls to zero."""

from __future__ import annotations

import numpy as np

from workers.optimization import Rates
from workers.schedule_table import GroupRates


def falling(rate: float, updates: int) -> Rates:
    """From ``rate`` in equal steps towards zero, which the update after the last would have: (updates,).

    That is ``rate * (1 - u / updates)`` at update u from 0: what WSD in its linear shape gives, step by step.
    """
    rates: Rates = rate * (1.0 - np.arange(updates, dtype=np.float64) / updates)
    return rates


def cooldown_rates(rates: tuple[GroupRates, ...], epochs: int) -> list[tuple[GroupRates, ...]]:
    """The rates of each of a cooldown's ``epochs`` by parameter group, after an epoch that had ``rates``.

    Momentum stays as it was at that epoch's last update.
    """
    updates = len(rates[0][0])
    falls = [falling(float(lr[-1]), epochs * updates) for lr, _ in rates]
    held = [None if momentum is None else np.full(updates, momentum[-1]) for _, momentum in rates]
    return [
        tuple(
            (fall[ahead * updates : (ahead + 1) * updates], momentum)
            for fall, momentum in zip(falls, held, strict=True)
        )
        for ahead in range(epochs)
    ]
