"""The live view of a running sweep: a panel on a terminal, plain lines elsewhere. Always on stderr."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from time import monotonic
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from sweeps.records import TrialState
from sweeps.watching import Snapshot

PLAIN_LINE_SECONDS = 5.0
_SHOWN = (
    TrialState.running,
    TrialState.finished,
    TrialState.pruned,
    TrialState.diverged,
    TrialState.failed,
)


class View:
    """Shows progress in trial-epochs, speed, time left, the best setting so far and counts by state."""

    def __init__(self, console: Console, metric: str, *, clock: Callable[[], float] = monotonic) -> None:
        """``metric``: name of what trials are judged by."""
        self._console = console
        self._metric = metric
        self._clock = clock
        self._began = clock()
        self._first: tuple[float, int] | None = None  # when the first round closed, and its epochs
        self._last_line = float("-inf")
        self._live: Live | None = None

    def __enter__(self) -> View:
        if self._console.is_terminal:
            self._live = Live(console=self._console, refresh_per_second=8, transient=True)
            self._live.start()
            self._live.update(Text("starting the workers ..."))
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def round_closed(self, snapshot: Snapshot) -> None:
        """Show where the sweep stands."""
        now = self._clock()
        if self._first is None:
            self._first = (now, snapshot.epochs_done)
        if self._live is not None:
            self._live.update(self._panel(snapshot, now))
        elif now - self._last_line >= PLAIN_LINE_SECONDS:
            self._last_line = now
            self.said(self._line(snapshot, now))

    def sweep_ended(self) -> None:
        """The panel stays as the last round left it, until it is closed."""

    def said(self, sentence: str) -> None:
        """Print a line above the panel."""
        self._console.print(sentence, highlight=False, soft_wrap=True, markup=False)

    def _line(self, snapshot: Snapshot, now: float) -> str:
        counts = ", ".join(f"{snapshot.counts[state]} {state}" for state in _SHOWN if snapshot.counts[state])
        share = snapshot.epochs_done / max(1, snapshot.epochs_expected)
        line = f"{share:4.0%}  {snapshot.epochs_done}/{snapshot.epochs_expected} epochs  {counts}"
        if self._speed(snapshot, now):
            line += f"  {self._speed(snapshot, now):.0f} epochs/s, {self._time_left(snapshot, now)} left"
        if snapshot.best is not None:
            line += f"  best {self._metric} {snapshot.best.value:.5g} (trial {snapshot.best.row.number})"
        return line

    def _panel(self, snapshot: Snapshot, now: float) -> Group:
        top = Table.grid(padding=(0, 2))
        top.add_row(
            ProgressBar(total=max(1, snapshot.epochs_expected), completed=snapshot.epochs_done, width=40),
            f"{snapshot.epochs_done}/{snapshot.epochs_expected} epochs",
            f"{self._speed(snapshot, now):.0f} epochs/s",
            f"{self._time_left(snapshot, now)} left",
        )
        counts = Text("  ".join(f"{snapshot.counts[state]} {state}" for state in _SHOWN))
        best = Text("no trial has finished yet", style="dim")
        if snapshot.best is not None:
            best = Text(
                f"best {self._metric} {snapshot.best.value:.5g}, trial {snapshot.best.row.number}: "
                f"{describe(snapshot.best.row.setting)}"
            )
        return Group(top, counts, best)

    def _speed(self, snapshot: Snapshot, now: float) -> float:
        """Trial-epochs a second since the first round closed."""
        if self._first is None or now <= self._first[0]:
            return 0.0
        return (snapshot.epochs_done - self._first[1]) / (now - self._first[0])

    def _time_left(self, snapshot: Snapshot, now: float) -> str:
        speed = self._speed(snapshot, now)
        if speed <= 0:
            return "?"
        left = (snapshot.epochs_expected - snapshot.epochs_done) / speed
        return duration(max(0.0, min(left, snapshot.seconds_left)))


def describe(setting: Mapping[str, Any]) -> str:
    """A setting in one line: ``SGD lr=0.021 momentum=0.93, StepLR step_size=7 gamma=0.31``."""
    own = {"optimizer", "schedule", "batch_size", "warmup.epochs"}
    optimizer = [
        f"{name}={short(value)}"
        for name, value in setting.items()
        if name not in own and not name.startswith("schedule.")
    ]
    return f"{' '.join([setting['optimizer'], *optimizer])}, {describe_schedule(setting)}"


def describe_schedule(setting: Mapping[str, Any]) -> str:
    """A setting's schedule in one line: ``StepLR step_size=7 gamma=0.31``."""
    arguments = [
        f"{name.removeprefix('schedule.')}={short(value)}"
        for name, value in setting.items()
        if name.startswith("schedule.") and name != "schedule.every"
    ]
    return " ".join([str(setting["schedule"]), *arguments])


def short(value: Any) -> str:
    """A value for people: four significant digits, words as they are."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(short(item) for item in value) + "]"
    return str(value)


def duration(seconds: float) -> str:
    """``42 s``, ``3 min 5 s``, ``2 h 10 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
