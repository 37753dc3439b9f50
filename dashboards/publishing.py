"""Publishing as the command line sees it: a process beside the sweep that can be started, drained and killed.

MLflow is loaded in that process only.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import unquote

from sweeps.home import Home

if TYPE_CHECKING:
    from sweeps.watching import Observer, Snapshot

DRAIN_SECONDS = 300.0
_SQLITE = "sqlite:///"


class Publisher:
    """The publishing process of one sweep."""

    def __init__(self, process: subprocess.Popen[str], errors: IO[str]) -> None:
        """``errors`` is the file that takes the process's stderr."""
        self._process = process
        self._errors = errors
        self.note: str | None = None  # what people should know of the way to MLflow, once it is drained

    @staticmethod
    def start(home: Home, sweep_id: int, *, follow: bool = True) -> Publisher:
        """Start publishing; with ``follow`` until the sweep has ended and everything is published.

        The database's URL travels in the environment: a command line is visible to every user.
        """
        errors = tempfile.TemporaryFile(mode="w+", encoding="utf-8")  # noqa: SIM115 - lives as long as the process
        # -P: a file of the working directory must not pass for a library.
        command = [sys.executable, "-P", "-m", "dashboards.publish", "--sweep", str(sweep_id)]
        command += ["--artifacts", str(home.artifacts)] + ["--follow"] * follow
        environment = {**os.environ, "RAVINE_DATABASE": home.database, "MLFLOW_TRACKING_URI": home.tracking}
        process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.PIPE if follow else subprocess.DEVNULL,  # its end is that of the sweep
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            start_new_session=True,  # Ctrl-C is for the runner; publishing ends when the sweep does
        )
        return Publisher(process, errors)

    def ring(self) -> None:
        """Say that the sweep has ended, so that the last pass begins; returns at once."""
        if self._process.stdin is not None:
            self._process.stdin.close()
            self._process.stdin = None  # or draining would close it again

    def drain(self) -> str | None:
        """Wait until everything is published; a sentence where that failed, else None."""
        try:
            output, _ = self._process.communicate(timeout=DRAIN_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            return f"publishing took longer than {DRAIN_SECONDS:.0f} s"
        result = _result(output)
        self.note = result.get("note")
        if self._process.returncode == 0 and result.get("complete"):
            return None
        self._errors.seek(0)
        lines = [line for line in self._errors.read().splitlines() if line.strip()]
        return lines[-1] if lines else f"the publishing process ended with code {self._process.returncode}"

    def kill(self) -> None:
        """End publishing at once; what is missing is published the next time."""
        self._process.kill()
        self._process.wait()


class LatePublisher:
    """Publishing that begins with the first stored round: before it there is nothing to be shown."""

    def __init__(self, home: Home, sweep_id: int, observer: Observer) -> None:
        """``observer`` hears everything that this one is told."""
        self._home = home
        self._sweep_id = sweep_id
        self._observer = observer
        self._publisher: Publisher | None = None

    def round_closed(self, snapshot: Snapshot) -> None:
        """A round's transaction is stored."""
        if self._publisher is None:
            self._publisher = Publisher.start(self._home, self._sweep_id)
        self._observer.round_closed(snapshot)

    def sweep_ended(self) -> None:
        """The last pass begins, while workers end."""
        if self._publisher is not None:
            self._publisher.ring()
        self._observer.sweep_ended()

    def said(self, sentence: str) -> None:
        """Something worth a line happened."""
        self._observer.said(sentence)

    def drain(self) -> str | None:
        """Wait until everything is published; a sentence where that failed, else None."""
        if self._publisher is None:
            self._publisher = Publisher.start(self._home, self._sweep_id)
        return self._publisher.drain()

    @property
    def note(self) -> str | None:
        """What people should know of the way to MLflow, once it is drained."""
        return self._publisher.note if self._publisher is not None else None

    def kill(self) -> None:
        """End publishing at once; what is missing is published the next time."""
        if self._publisher is not None:
            self._publisher.kill()


def delete_published(home: Home, store_identity: str, sweep_id: int) -> str | None:
    """Mark a deleted sweep's MLflow runs deleted; a sentence where that failed, else None."""
    if home.tracking.startswith(_SQLITE) and not Path(unquote(home.tracking.removeprefix(_SQLITE))).exists():
        return None  # nothing was ever published
    from dashboards.tracking import TrackingUnavailable, delete_runs

    try:
        delete_runs(store_identity, sweep_id, home.tracking)
    except TrackingUnavailable as error:
        return str(error)
    return None


def _result(output: str) -> dict[str, Any]:
    lines = output.strip().splitlines()
    found: dict[str, Any] = json.loads(lines[-1]) if lines else {}
    return found
