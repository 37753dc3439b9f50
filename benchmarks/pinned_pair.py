"""Two processes, one a core, that do the same job at the same time.

They stay for all repeats, so that libraries are loaded and memory is warm; between jobs they wait on a pipe
and take no time from others.
"""

from __future__ import annotations

import multiprocessing
import os
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from time import monotonic, process_time
from types import TracebackType
from typing import Any

ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")


class JobFailed(RuntimeError):
    """A job raised in its process; the text is that process's traceback."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """What a job returned in one process, and when it ran."""

    result: Any
    began: float  # of the clock that all processes share
    ended: float
    processor_seconds: float


class PinnedPair:
    """Two processes, each on a core of its own where there are two."""

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        """``environment``: of the processes, beside one thread each."""
        self._environment = {**ONE_THREAD, **(environment or {})}
        self._processes: list[Any] = []
        self._pipes: list[Connection] = []

    def __enter__(self) -> PinnedPair:
        context = multiprocessing.get_context("spawn")
        cores = sorted(os.sched_getaffinity(0))
        for part in range(2):
            ours, theirs = context.Pipe()
            arguments = (theirs, cores[part % len(cores)], self._environment)
            process = context.Process(target=_serve, args=arguments, daemon=True)
            process.start()
            theirs.close()
            self._processes.append(process)
            self._pipes.append(ours)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for pipe in self._pipes:
            pipe.close()
        for process in self._processes:
            process.join(timeout=5)
            if process.is_alive():
                process.kill()

    def both(self, job: Callable[..., Any], *arguments: Any) -> tuple[Done, Done]:
        """``job(part, *arguments)`` in both at once, ``part`` 0 and 1. Raises JobFailed."""
        first, second = self._run((0, 1), job, arguments)
        return first, second

    def one(self, job: Callable[..., Any], *arguments: Any) -> Done:
        """The same in the first alone."""
        (done,) = self._run((0,), job, arguments)
        return done

    def _run(self, parts: Sequence[int], job: Callable[..., Any], arguments: Sequence[Any]) -> list[Done]:
        for part in parts:
            self._pipes[part].send((job, (part, *arguments)))
        answers = []
        for part in parts:
            try:
                answers.append(self._pipes[part].recv())
            except EOFError:
                raise JobFailed(f"process {part} ended before its job did") from None
        for answer in answers:
            if isinstance(answer, str):
                raise JobFailed(answer)
        return answers


def wall_seconds(done: Sequence[Done]) -> float:
    """From the first one's beginning to the last one's end."""
    return max(one.ended for one in done) - min(one.began for one in done)


def processor_seconds(done: Sequence[Done]) -> float:
    """Of all together. Below the number of processes times the wall time where others used the cores."""
    return sum(one.processor_seconds for one in done)


def _serve(pipe: Connection, core: int, environment: Mapping[str, str]) -> None:
    os.sched_setaffinity(0, {core})
    os.environ.update(environment)  # before torch is loaded, which reads it then
    import torch

    torch.set_num_threads(1)
    while True:
        try:
            job, arguments = pipe.recv()
        except EOFError:
            return
        began, processor = monotonic(), process_time()
        try:
            result = job(*arguments)
        except Exception:  # noqa: BLE001 - the edge of this process: it goes back as text
            pipe.send(traceback.format_exc())
            continue
        pipe.send(
            Done(
                result=result,
                began=began,
                ended=monotonic(),
                processor_seconds=process_time() - processor,
            )
        )
