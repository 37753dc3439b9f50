"""The Ray runtime: a local one of our own, begun in the background, or a cluster's.

Starting one takes seconds, most of them waiting, in which a sweep file can be read and rehearsed. Nothing
heavy is imported here before that.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
from typing import Any

from workers.pool import PoolUnavailable
from workers.process_environment import PROCESS_ENVIRONMENT, prepare

_QUIET = {
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # keep CUDA_VISIBLE_DEVICES as it is for CPU workers
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DEDUP_LOGS": "0",
}
_COMMON: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False, "configure_logging": True}
_REFUSALS = (ConnectionError, OSError, RuntimeError, TimeoutError, ValueError)
MOST_STARTED_AHEAD = 16  # processes for workers that Ray starts before anybody asks for one


class RayRuntime:
    """A connection to Ray, ended by :meth:`close` where it began it."""

    def __init__(self, address: str | None, *, workers: int) -> None:
        """Begin to connect, or with ``address`` None to start a runtime for ``workers``; returns at once.

        A runtime that this process is connected to already is used and left running.
        """
        for name, value in _QUIET.items():
            os.environ.setdefault(name, value)
        self._address = address
        self._workers = workers
        self._error: BaseException | None = None
        self._loaded = threading.Event()
        self._connected = threading.Event()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="ray runtime", daemon=True)
        self._thread.start()

    @property
    def is_local(self) -> bool:
        """Whether it is on this machine, for this program alone."""
        return self._address is None

    def await_loading(self) -> None:
        """Return once Ray's own module is loaded, or cannot be; starting its processes goes on."""
        self._loaded.wait()

    def connected(self) -> Any:
        """The module ``ray``, once it is connected. Raises PoolUnavailable."""
        self._connected.wait()
        if isinstance(self._error, _REFUSALS):
            where = "a local Ray runtime" if self.is_local else f"the Ray cluster at {self._address}"
            sentence = " ".join(str(self._error).split())[:300]
            raise PoolUnavailable(
                f"cannot reach {where}: {sentence}; check the address, or train without Ray: --ray none"
            ) from self._error
        if self._error is not None:
            raise self._error
        if threading.current_thread() is threading.main_thread():
            # Ray has put a handler of its own beneath Python's, which reports a crash and ends the process.
            signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGTERM) or signal.SIG_DFL)
        import ray

        return ray

    def close(self) -> None:
        """Disconnect, and end a local runtime; one that this process found is left."""
        self._closing.set()
        self._thread.join()

    def _serve(self) -> None:
        """Connect, and disconnect when asked to: Linux ends a child with the thread that began it."""
        try:
            began = self._connect()
        except BaseException as error:  # noqa: BLE001 - told to whoever asks for the runtime, in their thread
            self._error = error
            began = False
        self._loaded.set()
        self._connected.set()
        self._closing.wait()
        if began:
            import ray

            ray.shutdown()

    def _connect(self) -> bool:
        """Whether the connection was begun here."""
        import ray

        self._loaded.set()
        if ray.is_initialized():
            return False
        if self.is_local:
            prepare(os.environ)  # its processes inherit this one's environment
            ahead = max(1, min(self._workers, MOST_STARTED_AHEAD))
            # "local": never somebody else's runtime that happens to be on this machine.
            ray.init(address="local", num_cpus=ahead, include_dashboard=False, **_COMMON)
        else:
            environment = {"env_vars": dict(PROCESS_ENVIRONMENT)}
            ray.init(address=self._address, runtime_env=environment, **_COMMON)
        return True
