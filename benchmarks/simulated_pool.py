"""A simulated cluster: thousands of workers on a virtual clock, with curves from a formula.

A worker carries out its orders in the order sent. How long that takes, who is slow and who is lost are drawn
from the cluster's seed; what comes out depends on setting, seed and epoch alone. The same calls give the same
answers at the same virtual times.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from heapq import heappop, heappush

from search_spaces.settings import Setting
from workers.messages import Diverged, Measured, Orders, Outcome, Report
from workers.pool import WorkerLost

UPDATES_AN_EPOCH = 44
LARGEST_STABLE_RATE = 8.0  # of lr / (1 - momentum): trials beyond it diverge within three epochs
_TRIAL, _ORDERS, _LOSS, _CURVE = range(4)  # what a draw is for


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """What a cluster is like. Seconds are virtual."""

    workers: int
    slots: int = 1  # rows that a worker trains at once as fast as one; more take proportionally longer
    epoch_seconds: float = 10.0  # median over trials
    spread: float = 0.2  # standard deviation of the logarithm of a trial's epoch time
    latency_seconds: float = 0.02  # mean, of an order's way to its worker and of the report's way back
    straggler_share: float = 0.01  # orders that take ``straggler_factor`` times as long
    straggler_factor: float = 4.0
    loss_seconds: float | None = None  # mean time between losses of a worker, anywhere; None: none is lost
    restart_seconds: float = 30.0  # from a loss to the next pool
    seed: int = 0


@dataclass(slots=True)
class _Training:
    """A trial that a worker holds."""

    lr: float
    momentum: float
    step_size: int  # epochs from one decay to the next; 0: none
    gamma: float
    identity: int  # of setting and seed: which noise its curve has
    epoch_seconds: float
    epochs_done: int = 0
    progress: float = 0.0  # sum over its epochs of lr / (1 - momentum)


@dataclass(slots=True, kw_only=True)
class Cluster:
    """The machines: pools come and go as workers are lost, time goes on."""

    conditions: Conditions
    epochs: int  # of a trial
    runner_clock: Callable[[], float] | None = None  # seconds; None: the runner takes no virtual time
    now: float = 0.0  # virtual seconds
    pools: int = 0  # started so far
    worker_seconds: float = 0.0  # offered by all pools that have been closed
    slot_seconds: float = 0.0  # of rows in training
    epochs_trained: int = 0  # those that are trained again after a loss included

    def start_pool(self) -> SimulatedPool:
        """All workers, holding nothing."""
        if self.pools:
            self.now += self.conditions.restart_seconds
        self.pools += 1
        return SimulatedPool(self)

    @property
    def occupancy(self) -> float:
        """Share of the closed pools' slots in which a row was in training, over time."""
        return self.slot_seconds / (self.worker_seconds * self.conditions.slots)


class SimulatedPool:
    """A :class:`workers.pool.Pool` of a :class:`Cluster`."""

    def __init__(self, cluster: Cluster) -> None:
        """Workers that are free from the cluster's present on."""
        self._cluster = cluster
        self._conditions = cluster.conditions
        self._began = cluster.now
        self._free_from = [cluster.now] * cluster.conditions.workers
        self._reported_at = [cluster.now] * cluster.conditions.workers
        self._orders_sent = [0] * cluster.conditions.workers
        self._held: list[dict[int, _Training]] = [{} for _ in range(cluster.conditions.workers)]
        self._under_way: list[tuple[float, int, int, Report]] = []  # arrival, order of sending, worker
        self._sent = 0
        self._loss = self._next_loss()
        self._runner_since = self._runner_time()

    @property
    def workers(self) -> int:
        """How many there are."""
        return self._conditions.workers

    def send(self, worker: int, orders: Orders) -> None:
        """Queue ``orders``; when their report will arrive is known from now on."""
        outcomes, seconds = self._carry_out(worker, orders)
        key = (self._cluster.pools, worker, self._orders_sent[worker])
        there, back = (self._latency(*key, way) for way in (0, 1))
        if self._draw(_ORDERS, *key, 2) < self._conditions.straggler_share:
            seconds *= self._conditions.straggler_factor
        begins = max(self._cluster.now + there, self._free_from[worker])
        self._free_from[worker] = begins + seconds
        arrives = max(begins + seconds + back, self._reported_at[worker])
        self._reported_at[worker] = arrives
        self._cluster.slot_seconds += min(len(outcomes), self._conditions.slots) * seconds
        self._cluster.epochs_trained += len(outcomes)
        report = Report(lane=orders.lane, round=orders.round, outcomes=outcomes, training_seconds=seconds)
        heappush(self._under_way, (arrives, self._sent, worker, report))
        self._orders_sent[worker] += 1
        self._sent += 1

    def receive(self, timeout_seconds: float) -> tuple[int, Report] | None:
        """The next report, at the virtual time at which it arrives. Raises WorkerLost.

        Raises RuntimeError where it is to be waited for and no orders are under way: none would ever come.
        """
        self._cluster.now += self._runner_time() - self._runner_since
        if not self._under_way:
            if timeout_seconds > 0:
                raise RuntimeError("the runner waits and no orders are under way")
            return None
        until = max(self._cluster.now, min(self._under_way[0][0], self._cluster.now + timeout_seconds))
        if until >= self._loss[0]:
            self._cluster.now = max(self._cluster.now, self._loss[0])
            raise WorkerLost(self._loss[1], "its machine went away")
        self._cluster.now = until
        found = None
        if self._under_way[0][0] <= until:
            _, _, worker, report = heappop(self._under_way)
            found = worker, report
        self._runner_since = self._runner_time()
        return found

    def close(self) -> None:
        """End the workers."""
        self._cluster.worker_seconds += (self._cluster.now - self._began) * self.workers
        self._under_way.clear()

    def _runner_time(self) -> float:
        clock = self._cluster.runner_clock
        return 0.0 if clock is None else clock()

    def _carry_out(self, worker: int, orders: Orders) -> tuple[tuple[Outcome, ...], float]:
        """Release, admit, train: the outcomes, and how long that takes whoever is not slow."""
        held = self._held[worker]
        for number in orders.release:
            held.pop(number, None)
        for trial in orders.admit:
            if trial.number in held:
                raise AssertionError(f"trial {trial.number} was admitted twice")
            held[trial.number] = self._training(trial.setting, trial.seed)
        longest = 0.0
        outcomes: list[Outcome] = []
        for number in orders.advance:
            training = held.get(number)
            if training is None:
                continue
            longest = max(longest, training.epoch_seconds)
            outcome = train_epoch(number, training)
            outcomes.append(outcome)
            if isinstance(outcome, Diverged) or training.epochs_done == self._cluster.epochs:
                del held[number]
        return tuple(outcomes), longest * max(1.0, len(outcomes) / self._conditions.slots)

    def _training(self, setting: Setting, seed: int) -> _Training:
        numbers = dict(setting.arguments) | dict(setting.schedule.arguments)
        identity = zlib.crc32(f"{setting.schedule.name} {sorted(numbers.items())} {seed}".encode())
        lr, momentum, step_size, gamma = (
            float(str(numbers.get(name, default)))
            for name, default in (("lr", 1e-3), ("momentum", 0.0), ("step_size", 0), ("gamma", 1.0))
        )
        length = math.exp(self._conditions.spread * _normal(self._conditions.seed, _TRIAL, identity))
        return _Training(
            lr=lr,
            momentum=momentum,
            step_size=int(step_size),
            gamma=gamma,
            identity=identity,
            epoch_seconds=self._conditions.epoch_seconds * length,
        )

    def _latency(self, *key: int) -> float:
        return -self._conditions.latency_seconds * math.log1p(-self._draw(_ORDERS, *key))

    def _next_loss(self) -> tuple[float, int]:
        """When the next worker is lost, and which."""
        if self._conditions.loss_seconds is None:
            return math.inf, 0
        after = -self._conditions.loss_seconds * math.log1p(-self._draw(_LOSS, self._cluster.pools, 0))
        return self._cluster.now + after, int(self._draw(_LOSS, self._cluster.pools, 1) * self.workers)

    def _draw(self, *key: int) -> float:
        return fraction(self._conditions.seed, *key)


def train_epoch(number: int, training: _Training) -> Measured | Diverged:
    """The next epoch of a trial.

    The loss falls exponentially with the sum of lr / (1 - momentum), down to a floor that is the higher the
    larger that rate still is: so decay pays late, and large rates pay early.
    """
    epoch = training.epochs_done + 1
    decays = (epoch - 1) // training.step_size if training.step_size else 0
    lr = training.lr * training.gamma**decays
    rate = lr / (1.0 - training.momentum)
    noise = fraction(training.identity, _CURVE, epoch)
    if rate > LARGEST_STABLE_RATE and epoch > training.identity % 3:
        return Diverged(
            number=number,
            epoch=epoch,
            step=UPDATES_AN_EPOCH * epoch,
            lr=lr,
            peak_lr=lr,
            grad_norm=None,
            reason="the loss was inf",
        )
    training.epochs_done = epoch
    training.progress += rate
    loss = 2.2 * math.exp(-3.0 * training.progress) + 0.1 * rate / (1.0 + rate) * (0.9 + 0.2 * noise) + 0.05
    return Measured(
        number=number,
        epoch=epoch,
        step=UPDATES_AN_EPOCH * epoch,
        lr=lr,
        momentum=training.momentum,
        peak_lr=lr,
        train_loss=loss,
        grad_norm=loss / 3,
        metrics={"val_loss": loss * 1.1, "val_accuracy": 1.0 / (1.0 + loss)},
    )


def fraction(*key: int) -> float:
    """A number in [0, 1) that is a function of ``key`` alone: SplitMix64 (Steele et al., 2014), a part at a
    time."""
    state = 0
    for part in key:
        state = (state + part + 0x9E3779B97F4A7C15) & 0xFFFFFFFFFFFFFFFF
        state = ((state ^ state >> 30) * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
        state = ((state ^ state >> 27) * 0x94D049BB133111EB) & 0xFFFFFFFFFFFFFFFF
        state ^= state >> 31
    return (state >> 11) * 2.0**-53


def _normal(*key: int) -> float:
    """A standard normal number that is a function of ``key`` alone (Box and Muller)."""
    radius = math.sqrt(-2.0 * math.log1p(-fraction(*key, 0)))
    return radius * math.cos(2.0 * math.pi * fraction(*key, 1))
