"""How well a sweep used what it had, as people read it."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from dashboards.summary import print_summary, sweep_table
from dashboards.usage_words import epochs_words, idle_words, slots_words, width_words
from sweeps.records import SweepRow, TrialRow
from sweeps.store import open_store
from tests.unit import published_sweeps as made_up

USAGE = {"slot_occupancy": 0.9642, "slot_lag_share": 0.031, "device_idle_share": 0.0449, "slots_used": 7.0}
PLAN = {"execution": "stacked", "device": "cpu", "width": 16, "speeds": {"4": 1013.2, "16": 3082.8}}


@pytest.mark.parametrize(
    ("asked", "trained", "words"),
    [
        (192, 192, "192 trained"),
        (0, 0, "0 trained"),
        (2880, 768, "2,880 asked for, 768 trained: what trials have in common was trained once (3.75x)"),
        (2880, 3010, "2,880 asked for, 3,010 trained, those of cooldowns among them"),
    ],
)
def test_epochs(asked: int, trained: int, words: str) -> None:
    assert epochs_words(asked, trained) == words


def test_slots_and_workers() -> None:
    told = "96.4 % occupied while settings were left to try; 3.1 % waited for a trial's end to be heard of"
    assert slots_words(USAGE) == told
    assert slots_words({"slot_occupancy": 1.0}) == "100.0 % occupied while settings were left to try"
    assert idle_words(USAGE) == "idle 4.5 % of the time since their first orders"
    for unknown in (None, {}, {"worker_seconds": 0.0}):
        assert (slots_words(unknown), idle_words(unknown)) == (None, None)


@pytest.mark.parametrize(
    ("plan", "words"),
    [
        (PLAN, "16 trials at once in each worker; measured, in trial-steps/s: 4: 1,013, 16: 3,083"),
        (
            PLAN | {"execution": "solo", "solo_speed": 4070.4},
            "one trial at a time in each worker; measured, in trial-steps/s: alone: 4,070, 4: 1,013, 16: 3,083",
        ),
        ({"execution": "stacked", "width": 8}, "8 trials at once in each worker"),
        ({"execution": "stacked"}, None),
        ({"execution": "loop"}, "one trial at a time in each worker"),
    ],
)
def test_width(plan: dict[str, object], words: str | None) -> None:
    assert width_words(plan) == words


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> tuple[SweepRow, list[TrialRow]]:
    folder: Path = tmp_path_factory.mktemp("store")
    store = open_store(f"sqlite:///{folder / 'ravine.db'}")
    sweep_id = made_up.finished_sweep(store, trials=3, epochs=4)
    spec = {"sampler": "tpe", "pruner": "none", "concurrency": 2}
    return replace(store.sweep(sweep_id), spec=spec, usage=USAGE, plan=PLAN), store.trials(sweep_id)


def printed(console: Console) -> str:
    file = console.file
    assert isinstance(file, io.StringIO)
    return "\n".join(line.rstrip() for line in file.getvalue().splitlines())


def wide_console() -> Console:
    return Console(file=io.StringIO(), width=1_000, markup=False, emoji=False)


def test_show_tells_it_and_leaves_out_what_nobody_knows(ended: tuple[SweepRow, list[TrialRow]]) -> None:
    console = wide_console()
    console.print(sweep_table(ended[0], {}, 12, 4, []))
    shown = printed(console)
    assert (
        "\nepochs      12 asked for, 4 trained: what trials have in common was trained once (3.00x)" in shown
    )
    assert "\nslots       96.4 % occupied" in shown
    assert "\nworkers     idle 4.5 %" in shown
    assert "\nwidth       16 trials at once in each worker; measured, in trial-steps/s: 4: 1,013" in shown
    assert "\ntrained as  execution stacked, device cpu\n" in shown + "\n"
    console = wide_console()
    console.print(sweep_table(replace(ended[0], usage=None, plan=None), {}, 12, 12, []))
    assert not {line.split()[0] for line in printed(console).splitlines()} & {"slots", "workers", "width"}


def test_the_closing_summary_tells_it_in_one_line(ended: tuple[SweepRow, list[TrialRow]]) -> None:
    sweep, trials = ended
    console = wide_console()
    print_summary(console, sweep, trials, trials[:1], 5.0)
    epochs = sum(trial.epochs_done for trial in trials)
    line = printed(console).splitlines()[2]
    assert line.startswith(f"epochs: {epochs} trained; slots: 96.4 % occupied")
    assert line.endswith("workers: idle 4.5 % of the time since their first orders")
    shared = [replace(trial, epochs_trained=1) for trial in trials]
    console = wide_console()
    print_summary(console, replace(sweep, usage=None), shared, [], 5.0)
    line = printed(console).splitlines()[2]
    assert line.startswith(f"epochs: {epochs} asked for, 3 trained")
    assert "slots" not in line
