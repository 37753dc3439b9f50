"""The Ray pool: one actor a worker, on a local runtime of our own or on a cluster. Ray is met only here."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections import deque
from typing import Any

from workers.messages import Orders, Report, WorkerSetup
from workers.pool import PoolUnavailable, WorkerLost, log_notes
from workers.process_environment import PROCESS_ENVIRONMENT, prepare
from workers.speed import SpeedQuestion, Speeds

LONGEST_CLOSING_SECONDS = 5.0  # for loops of users' own to end
_QUIET = {
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # keep CUDA_VISIBLE_DEVICES as it is for CPU workers
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DEDUP_LOGS": "0",
}


class RayPool:
    """Workers as Ray actors. Ray never restarts or retries one: the runner decides, from the store."""

    def __init__(self, setup: WorkerSetup, workers: int, address: str | None = None) -> None:
        """Start ``workers`` actors. ``address`` None: a local runtime, ended by :meth:`close`.

        A runtime that this process is connected to already is used and left running. Raises
        PoolUnavailable.
        """
        for name, value in _QUIET.items():
            os.environ.setdefault(name, value)
        import ray  # seconds to import, and only needed here

        self._ray = ray
        self._owns_runtime = not ray.is_initialized()
        if self._owns_runtime:
            self._start(setup, workers, address)
        options: dict[str, Any] = {"num_cpus": setup.threads, "max_restarts": 0, "max_task_retries": 0}
        if setup.device == "cuda":
            options["num_gpus"] = 1
        actor_class = ray.remote(**options)(_actor_class())
        self._actors = [actor_class.remote(setup) for _ in range(workers)]
        self._pending: deque[tuple[int, Any]] = deque()
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
        if not self._pending:
            return None
        references = [reference for _, reference in self._pending]
        ready, _ = self._ray.wait(references, num_returns=1, timeout=timeout_seconds)
        if not ready:
            return None
        index = references.index(ready[0])
        worker, reference = self._pending[index]
        del self._pending[index]
        try:
            report: Report = self._ray.get(reference)
        except self._ray.exceptions.RayError as error:
            raise WorkerLost(worker, " ".join(str(error).split())[:300]) from error
        return worker, report

    def measure(self, question: SpeedQuestion) -> Speeds | None:
        """How fast trials train where the first worker is. Raises Ray's error where the task fails."""
        found: Speeds | None = self._ray.get(self._actors[0].measure.remote(question))
        return found

    def close(self) -> None:
        """End the actors, and the runtime where this pool started it."""
        self._pending.clear()
        if self._loops:
            self._close_loops()
        for actor in self._actors:
            self._ray.kill(actor, no_restart=True)
        self._actors = []
        if self._owns_runtime:
            self._ray.shutdown()

    def _close_loops(self) -> None:
        """Let users' own loops end in order, where their workers are not busy training for too long."""
        closing = [actor.close.remote() for actor in self._actors]
        ready, _ = self._ray.wait(closing, num_returns=len(closing), timeout=LONGEST_CLOSING_SECONDS)
        for reference in ready:
            try:
                log_notes(self._ray.get(reference))
            except self._ray.exceptions.RayError:  # a worker that is lost holds no loop any more
                continue

    def _start(self, setup: WorkerSetup, workers: int, address: str | None) -> None:
        common: dict[str, Any] = {
            "logging_level": logging.ERROR,
            "log_to_driver": False,
            "configure_logging": True,
        }
        handler = signal.getsignal(signal.SIGTERM)
        try:
            if address is None:
                prepare(os.environ)  # its processes inherit this one's environment
                self._ray.init(num_cpus=max(1, workers * setup.threads), include_dashboard=False, **common)
            else:
                self._ray.init(address=address, runtime_env={"env_vars": dict(PROCESS_ENVIRONMENT)}, **common)
        except (ConnectionError, OSError, RuntimeError, TimeoutError, ValueError) as error:
            where = "a local Ray runtime" if address is None else f"the Ray cluster at {address}"
            sentence = " ".join(str(error).split())[:300]
            raise PoolUnavailable(
                f"cannot reach {where}: {sentence}; check the address, or train without Ray: --ray none"
            ) from error
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)  # Ray has put its own in place, which ends the process


def _actor_class() -> type[Any]:
    from workers.worker import Worker

    class RavineWorker(Worker):
        """A worker as an actor; torch is loaded in the actor's own process."""

        def process_id(self) -> int:
            """The actor's operating-system process."""
            return os.getpid()

    return RavineWorker
