"""SIGINT and SIGTERM as a question that the runner asks between reports."""

from __future__ import annotations

import signal
from types import FrameType
from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopSignals:
    """While the ``with`` block runs, the two signals are remembered instead of ending the process.

    A second one ends it as usual: somebody does not want to wait.
    """

    def __init__(self) -> None:
        """Nothing received yet."""
        self._received = False
        self._before: dict[int, Any] = {}

    def received(self) -> bool:
        """Whether one of the signals has come."""
        return self._received

    def __enter__(self) -> StopSignals:
        for number in _SIGNALS:
            self._before[number] = signal.signal(number, self._remember)
        return self

    def __exit__(self, *_: object) -> None:
        self._restore()

    def _remember(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 - the signal API
        self._received = True
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}
