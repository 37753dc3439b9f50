"""The Ray pool: one actor a worker, on a local runtime of our own or on a cluster."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from functools import cached_property
from typing import Any

from workers.messages import Note, Orders, Report, WorkerSetup
from workers.pool import PoolUnavailable, WorkerLost, log_notes
from workers.range_question import RangeQuestion
from workers.rate_curves import RateFinding
from workers.ray_runtime import RayRuntime
from workers.speed import SpeedQuestion, Speeds

LONGEST_CLOSING_SECONDS = 5.0  # for loops of users' own to end


class RayWorkers:
    """Actors on a Ray runtime, asked for before it is known what they will train."""

    def __init__(self, runtime: RayRuntime) -> None:
        """None yet."""
        self._runtime = runtime
        self._actors: list[Any] = []
        self._options: dict[str, Any] = {}
        self._starting: threading.Thread | None = None

    @property
    def ray(self) -> Any:
        """The module ``ray``, connected. Raises PoolUnavailable."""
        return self._runtime.connected()

    def start_soon(self, device: str, threads: int, workers: int) -> None:
        """As :meth:`start`, once the runtime is there; returns at once."""
        self._starting = threading.Thread(target=self._start_quietly, args=(device, threads, workers))
        self._starting.start()

    def start(self, device: str, threads: int, workers: int) -> None:
        """Have ``workers`` actors of ``threads`` each, which load torch at once. Raises PoolUnavailable."""
        # On this machine we say how many there are; Ray would let one wait for processors that it has not.
        processors = 0 if self._runtime.is_local else threads
        options: dict[str, Any] = {"num_cpus": processors, "max_restarts": 0, "max_task_retries": 0}
        if device == "cuda":
            options["num_gpus"] = 1
        if options != self._options:
            self._kill(self._actors)
            self._actors, self._options = [], options
        self._kill(self._actors[workers:])
        self._actors = self._actors[:workers]
        actor_class = self.ray.remote(**options)(RavineWorker)
        self._actors += [actor_class.remote() for _ in range(workers - len(self._actors))]

    def ready(self, setup: WorkerSetup, workers: int) -> list[Any]:
        """``workers`` actors that work by ``setup``. Raises PoolUnavailable."""
        self._await_start()
        self.start(setup.device, setup.threads, workers)
        for actor in self._actors:
            actor.begin.remote(setup)
        return list(self._actors)

    def measure(self, question: SpeedQuestion) -> Speeds | None:
        """How fast trials train where the first worker is. Raises Ray's error where the task fails."""
        found: Speeds | None = self.ray.get(self._actors[0].measure.remote(question))
        return found

    def range_test(self, question: RangeQuestion) -> tuple[RateFinding, ...]:
        """A range test where the first worker is. Raises Ray's error where the task fails."""
        found: tuple[RateFinding, ...] = self.ray.get(self._actors[0].range_test.remote(question))
        return found

    def close(self) -> None:
        """End the actors, and the runtime where it is ours."""
        self._await_start()
        if self._actors:
            self._kill(self._actors)
            self._actors = []
        self._runtime.close()

    def _start_quietly(self, device: str, threads: int, workers: int) -> None:
        with suppress(PoolUnavailable):  # told to whoever needs the actors
            self.start(device, threads, workers)

    def _await_start(self) -> None:
        if self._starting is not None:
            self._starting.join()
            self._starting = None

    def _kill(self, actors: Sequence[Any]) -> None:
        for actor in actors:
            self.ray.kill(actor, no_restart=True)


class RavineWorker:
    """A worker as an actor; torch is loaded in the actor's own process."""

    def __init__(self) -> None:
        """Load what every worker needs."""
        import workers.worker  # noqa: F401 - takes a second or two

        self._setup: WorkerSetup | None = None

    def begin(self, setup: WorkerSetup) -> None:
        """Work by ``setup`` from the first orders on."""
        self._setup = setup

    @cached_property
    def _worker(self) -> Any:
        """Made by the first orders, whose report tells where that fails."""
        from workers.worker import Worker

        assert self._setup is not None  # noqa: S101 - begin comes before any orders
        return Worker(self._setup)

    def carry_out(self, orders: Orders) -> Report:
        """See :meth:`workers.worker.Worker.carry_out`."""
        report: Report = self._worker.carry_out(orders)
        return report

    def close(self) -> tuple[Note, ...]:
        """See :meth:`workers.worker.Worker.close`."""
        notes: tuple[Note, ...] = self._worker.close()
        return notes

    def measure(self, question: SpeedQuestion) -> Speeds | None:
        """See :func:`workers.speed_benches.speeds_of`."""
        from workers.speed_benches import speeds_of

        return speeds_of(question)

    def range_test(self, question: RangeQuestion) -> tuple[RateFinding, ...]:
        """See :func:`workers.range_test.range_test`."""
        from workers.range_test import range_test

        return range_test(question, lambda: False)

    def process_id(self) -> int:
        """The actor's operating-system process."""
        return os.getpid()


class RayPool:
    """Workers as Ray actors. Ray never restarts or retries one: the runner decides, from the store."""

    def __init__(
        self,
        setup: WorkerSetup,
        workers: int,
        address: str | None = None,
        *,
        started: RayWorkers | None = None,
    ) -> None:
        """``workers`` actors, of those that have been ``started`` and as many more as that takes.

        ``address`` None: on a local runtime, ended by :meth:`close`. Raises PoolUnavailable.
        """
        self._workers = RayWorkers(RayRuntime(address, workers=workers)) if started is None else started
        self._ray = self._workers.ray
        self._actors = self._workers.ready(setup, workers)
        self._pending: list[tuple[int, Any]] = []
        self._ready: deque[tuple[int, Any]] = deque()
        self._loops = setup.execution == "loop"

    @property
    def workers(self) -> int:
        """How many there are."""
        return len(self._actors)

    def send(self, worker: int, orders: Orders) -> None:
        """Queue ``orders`` with the actor, which carries them out in the order sent."""
        self._pending.append((worker, self._actors[worker].carry_out.remote(orders)))

    def receive(self, timeout_seconds: float) -> tuple[int, Report] | None:
        """The oldest report that is ready, waiting up to ``timeout_seconds`` for one. Raises WorkerLost."""
        if not self._ready:
            self._find_ready(timeout_seconds)
        if not self._ready:
            return None
        worker, reference = self._ready.popleft()
        try:
            report: Report = self._ray.get(reference)
        except self._ray.exceptions.RayError as error:
            cause = getattr(error, "cause", None) or error  # what a worker raised, without Ray's traceback
            raise WorkerLost(worker, " ".join(str(cause).split())[:300]) from error
        return worker, report

    def _find_ready(self, timeout_seconds: float) -> None:
        """Find all reports that are ready, in the order of their orders, once one of them is.

        All at once: to look for one among those of thousands of workers costs as much as to look for all.
        """
        references = [reference for _, reference in self._pending]
        if not references or not self._ray.wait(references, num_returns=1, timeout=timeout_seconds)[0]:
            return
        found = set(self._ray.wait(references, num_returns=len(references), timeout=0)[0])
        self._ready.extend(pair for pair in self._pending if pair[1] in found)
        self._pending = [pair for pair in self._pending if pair[1] not in found]

    def measure(self, question: SpeedQuestion) -> Speeds | None:
        """How fast trials train where the first worker is. Raises Ray's error where the task fails."""
        return self._workers.measure(question)

    def range_test(self, question: RangeQuestion) -> tuple[RateFinding, ...]:
        """A range test where the first worker is. Raises Ray's error where the task fails."""
        return self._workers.range_test(question)

    def close(self) -> None:
        """End the actors, and the runtime where it is ours."""
        self._pending.clear()
        self._ready.clear()
        if self._loops:
            self._close_loops()
        self._actors = []
        self._workers.close()

    def _close_loops(self) -> None:
        """Let users' own loops end in order, where their workers are not busy training for too long."""
        closing = [actor.close.remote() for actor in self._actors]
        ready, _ = self._ray.wait(closing, num_returns=len(closing), timeout=LONGEST_CLOSING_SECONDS)
        for reference in ready:
            try:
                log_notes(self._ray.get(reference))
            except self._ray.exceptions.RayError:  # a worker that is lost holds no loop any more
                continue
