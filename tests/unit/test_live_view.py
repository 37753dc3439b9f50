"""What a person sees while a sweep runs."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from dashboards.live_view import View, describe, duration, short
from sweeps.records import TrialState
from sweeps.watching import Snapshot


def snapshot(epochs_done: int) -> Snapshot:
    counts = dict.fromkeys(TrialState, 0) | {TrialState.running: 3, TrialState.pruned: 2}
    return Snapshot(
        counts=counts,
        trials_expected=10,
        epochs_done=epochs_done,
        epochs_expected=100,
        best=None,
        rounds_done=1,
        training_seconds=1.0,
    )


def test_plain_lines_where_no_terminal_reads() -> None:
    clock = iter([0.0, 10.0, 11.0, 20.0])
    out = io.StringIO()
    with View(Console(file=out, width=200), "val_loss", clock=lambda: next(clock)) as view:
        view.round_closed(snapshot(10))
        view.round_closed(snapshot(12))  # too soon after the last line
        view.round_closed(snapshot(60))
    first, last = out.getvalue().splitlines()
    assert first == " 10%  10/100 epochs  3 running, 2 pruned"
    assert last == " 60%  60/100 epochs  3 running, 2 pruned  5 epochs/s, 8 s left"


def test_a_panel_on_a_terminal() -> None:
    out = io.StringIO()
    with View(Console(file=out, width=120, force_terminal=True), "val_loss") as view:
        view.round_closed(snapshot(10))
        view.round_closed(snapshot(40))
    assert "40/100 epochs" in out.getvalue()


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.4, "0 s"), (59.4, "59 s"), (185, "3 min 5 s"), (7800, "2 h 10 min")]
)
def test_durations(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_settings_in_a_line() -> None:
    setting = {
        "optimizer": "SGD",
        "schedule": "StepLR",
        "lr": 0.0213456,
        "nesterov": True,
        "schedule.gamma": 0.25,
        "schedule.every": "epoch",
        "warmup.epochs": 0,
        "batch_size": 32,
    }
    assert describe(setting) == "SGD lr=0.02135 nesterov=true, StepLR gamma=0.25"
    assert short([0.9, None]) == "[0.9, ]"
