"""Workers that do nothing, for what a sweep costs besides its training."""

from __future__ import annotations

from collections import deque

from benchmarks.clocks import Clock
from workers.messages import Measured, Orders, Report

UPDATES_AN_EPOCH = 44


class IdlePool:
    """Workers that answer every order at once."""

    def __init__(self, workers: int, epochs: int, clock: Clock) -> None:
        self.workers = workers
        self._epochs = epochs
        self._clock = clock
        self._queue: deque[tuple[int, Orders]] = deque()
        self._held: dict[int, tuple[int, float, float]] = {}  # epochs done, lr, momentum by number

    def send(self, worker: int, orders: Orders) -> None:
        self._queue.append((worker, orders))

    def receive(self, timeout_seconds: float) -> tuple[int, Report] | None:  # noqa: ARG002
        with self._clock.running():
            worker, orders = self._queue.popleft()
            for number in orders.release:
                self._held.pop(number, None)
            for trial in orders.admit:
                arguments = trial.setting.arguments
                self._held[trial.number] = (0, float(str(arguments["lr"])), float(str(arguments["momentum"])))
            outcomes = tuple(self._advance(number) for number in orders.advance if number in self._held)
            return worker, Report(
                lane=orders.lane, round=orders.round, outcomes=outcomes, training_seconds=0.0
            )

    def close(self) -> None:
        """Nothing to end."""

    def _advance(self, number: int) -> Measured:
        done, lr, momentum = self._held.pop(number)
        epoch = done + 1
        if epoch < self._epochs:
            self._held[number] = epoch, lr, momentum
        loss = 0.1 + lr / epoch + 1.0 / (number + 3)
        return Measured(
            number=number,
            epoch=epoch,
            step=UPDATES_AN_EPOCH * epoch,
            lr=lr,
            momentum=momentum,
            peak_lr=lr,
            train_loss=loss,
            grad_norm=loss / 3,
            metrics={"val_loss": loss * 1.1, "val_accuracy": 1.0 / (1.0 + loss)},
        )
