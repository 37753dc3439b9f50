"""The benchmarks of speed: that timings are put together right, and misses told as misses."""

from __future__ import annotations

import json
import math
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks import gates, measuring, results_page, speed
from benchmarks.decay_study import BOUND, read
from benchmarks.figures import FIGURES, Found, chosen
from benchmarks.machine import Between
from benchmarks.measuring import Rate, Workload, target_found
from benchmarks.pinned_pair import Done, processor_seconds, wall_seconds
from benchmarks.series import Series, in_turns, number, ratios
from benchmarks.time_to_target import reached

QUIET = Between(
    seconds=1.0, busy=0.5, steal=0.0, load_before=0.1, load_after=2.0, others_before=0.0, others_after=0.02
)


def test_medians_ranges_and_ratios() -> None:
    assert Series((3.0, 1.0, 2.0)).told() == "2 (1 to 3, 3 repeats)"
    assert Series((1234.5,)).told() == "1,234 (one repeat)"
    assert number(0.012345) == "0.0123"
    assert ratios([8.0, 9.0], [2.0, 3.0]).values == (4.0, 3.0)  # each with its neighbour in time
    assert ratios([60.0], [10.0, 20.0, 30.0]).values == (6.0, 3.0, 2.0)
    assert ratios([10.0, 20.0, 30.0], [10.0]).values == (1.0, 2.0, 3.0)
    with pytest.raises(ValueError, match="each side"):
        ratios([], [1.0])


def test_systems_take_turns() -> None:
    seen: list[str] = []
    found = in_turns({"a": lambda: seen.append("a"), "b": lambda: seen.append("b")}, 2, lambda _: None)
    assert seen == ["a", "b", "a", "b"]
    assert {name: len(values) for name, values in found.items()} == {"a": 2, "b": 2}


def done(began: float, ended: float, processor: float, steps: int) -> Done:
    return Done(result={"trial_steps": steps}, began=began, ended=ended, processor_seconds=processor)


def test_a_rate_counts_from_the_first_beginning_to_the_last_end() -> None:
    both = done(0.0, 3.0, 2.0, 700), done(1.0, 5.0, 2.0, 300)
    assert (wall_seconds(both), processor_seconds(both)) == (5.0, 4.0)
    assert Rate.of(both) == Rate(200.0, 500.0)


def test_a_workloads_ratio_is_its_best_width_to_the_hand_loop() -> None:
    timed = Workload(plan={"execution": "stacked", "width": 32, "convolutions": "grouped"}, way="fused")
    timed.rates = {
        "hand loop": [Rate(100, 100), Rate(200, 200)],
        "Ravine, 16 rows": [Rate(500, 500), Rate(500, 500)],
        "Ravine, 32 rows": [Rate(600, 1000), Rate(1000, 1000)],
    }
    assert timed.ours() == "Ravine, 32 rows"
    assert timed.ratio().values == (6.0, 5.0)
    assert "ratio by processor time 6.67" in timed.detail()[-1]


def test_the_table_prints_misses_as_misses() -> None:
    found = [
        Found(key="digits", series=Series((4.9, 5.0, 4.0)), machine=QUIET),
        Found(key="limit", series=Series((0.45,)), machine=replace(QUIET, others_before=0.5)),
        Found(key="others", part="chars", series=Series((1.3,))),
        Found(key="trials-256", series=None, problem="the rival fell over"),
        Found(key="target", series=Series((9.0,)), counts=False),
    ]
    first, *rows = results_page.table(found)
    assert first.split() == ["figure", "must", "aim", "got"]
    assert rows[0].split()[-9:] == ["5x", "8x", "4.9x", "(4x", "to", "5x,", "3", "repeats)", "MISSED"]
    assert rows[1].endswith("must, machine busy")
    assert "45 % (one repeat)" in rows[1]
    assert "hand loop in 2 processes: chars" in rows[2]
    assert rows[2].endswith("  aim")
    assert rows[3].split()[-6:] == ["the", "rival", "fell", "over", "not", "measured"]
    assert rows[4].endswith("quick: must")


def test_the_page_says_what_falls_short_and_why(tmp_path: Path) -> None:
    facts = {
        "processor": "P", "cores": 2, "memory_gib": 1, "system": "S", "python": "3", "vectors": "V",
        "libraries": {"torch": "2"},
    }  # fmt: skip
    found = [
        Found(key="digits", series=Series((9.0,)), detail=("a", "b"), machine=QUIET),
        Found(key="others", part="chars", series=Series((0.5,))),
        Found(key="target", series=None, problem="Ravine | missed"),
    ]
    part = results_page.page_part(facts, found, ("P1 80",), "2030-01-02")
    assert "Measured on 2030-01-02, on P (2 cores, V)" in part
    assert "| 5x | 8x | 9x (one repeat) | aim |" in part
    assert "- **digits**: a; b. (load 0.1 before" in part
    short = part[part.index("### What falls short") :]
    assert "**digits**" not in short
    assert f"- **others, chars** (MISSED): {FIGURES['others'].bounded_by}." in short
    assert "- **target** (not measured): Ravine | missed." in short
    page = tmp_path / "page.md"
    page.write_text(f"before\n{results_page.BEGIN}\nold\n{results_page.END}\nafter\n")
    results_page.write(page, part)
    results_page.write(page, part)  # what it wrote is what it replaces
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert text.count(part) == 1
    assert "old" not in text
    page.write_text("no place")
    with pytest.raises(results_page.PageHasNoPlace, match="lacks the lines"):
        results_page.write(page, part)


def test_the_documents_page_has_its_place() -> None:
    text = (Path(__file__).parents[2] / "docs" / "benchmarks.md").read_text()
    assert text.count(results_page.BEGIN) == text.count(results_page.END) == 1
    assert text.index(results_page.BEGIN) < text.index(results_page.END)


def test_a_study_that_misses_counts_as_infinite() -> None:
    found = target_found(0.1, [5.0, math.inf, 4.0], [50.0, 30.0, math.inf], counts=True)
    assert found.series == Series((10.0,))
    assert "missed" in found.detail[1]
    assert target_found(0.1, [math.inf, math.inf, 4.0], [1.0, 2.0, 3.0], counts=True).series is None
    rival = target_found(0.1, [1.0, 2.0, 3.0], [math.inf, math.inf, 3.0], counts=True)
    assert (rival.series, rival.problem is None) == (None, False)


def test_a_target_is_reached_when_it_is_stored(tmp_path: Path) -> None:
    database = tmp_path / "ravine.db"
    connection = sqlite3.connect(database)
    connection.execute("CREATE TABLE measurements (val_loss REAL, ts_ms INTEGER)")
    rows = [(0.5, 11_000), (0.2, 14_000), (0.1, 13_000), (0.1, 16_000)]
    connection.executemany("INSERT INTO measurements VALUES (?, ?)", rows)
    connection.commit()
    connection.close()
    assert reached(database, 0.2, 10_000) == 3.0
    assert reached(database, 0.5, 10_000) == 1.0  # as good is good enough
    assert math.isinf(reached(database, 0.01, 10_000))


def test_what_the_decay_study_has_stored_is_counted(tmp_path: Path) -> None:
    database = tmp_path / "ravine.db"
    connection = sqlite3.connect(database)
    connection.execute("CREATE TABLE trials (number, epochs_done, epochs_trained, value)")
    connection.executemany("INSERT INTO trials VALUES (?, ?, ?, ?)", [(1, 20, 4, 0.2), (0, 20, 20, 0.1)])
    connection.execute("CREATE TABLE measurements (ts_ms)")
    connection.executemany("INSERT INTO measurements VALUES (?)", [(1000,), (3500,)])
    connection.commit()
    connection.close()
    found = read(database, 9.0, 12.0)
    assert (found.epochs_asked, found.epochs_trained, found.values) == (40, 24, (0.1, 0.2))
    assert (found.seconds, found.core_seconds, found.training_seconds) == (9.0, 12.0, 2.5)


def test_figures_are_the_tables_eight_rows() -> None:
    assert [(one.must, one.aim) for one in FIGURES.values()] == [
        (5, 8), (0.4, 0.6), (0.95, 1.3), (8, 15), (10, 20), (8, 15), (3.5, BOUND), (2.5, 3.3),
    ]  # fmt: skip
    assert chosen(["limit", "digits"]) == ("digits", "limit")
    with pytest.raises(ValueError, match="no figure is called fast"):
        chosen(["fast"])


def test_gates_are_tests_that_there_are() -> None:
    root = Path(__file__).parents[2]
    for tests in gates.GATES.values():
        for test in tests:
            file, _, name = test.partition("::")
            text = (root / file).read_text()
            assert not name or f"def {name}(" in text, test


def test_a_gate_that_does_not_hold_leaves_no_figure(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = gates.Gate(name="bits", passed=False, said="a row has other bits")
    monkeypatch.setattr(speed, "run_gate", lambda name: replace(broken, name=name, passed=name != "bits"))
    monkeypatch.setattr(speed.Run, "_calibrate", lambda self: pytest.fail("it went on"))
    assert speed.main(["--json", str(tmp_path / "found.json")]) == 1
    assert "a parity gate does not hold" in capsys.readouterr().err
    stored = json.loads((tmp_path / "found.json").read_text())
    assert [gate["passed"] for gate in stored["gates"]].count(False) == 1
    assert stored["figures"] == []


def test_it_goes_on_after_a_rival_fails_and_keeps_what_it_has(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(speed, "run_gate", lambda name: gates.Gate(name=name, passed=True, said="1 passed"))
    monkeypatch.setattr(speed.Run, "_calibrate", lambda self: None)
    monkeypatch.setattr("benchmarks.machine._LOOK_SECONDS", 0.01)

    def fails(*_: Any, **__: Any) -> Found:
        raise RuntimeError("the rival\nfell over")

    monkeypatch.setattr(measuring, "launches", fails)
    monkeypatch.setattr(
        measuring, "to_target", lambda studies, **_: Found(key="target", series=Series((10.0,)))
    )
    file = tmp_path / "found.json"
    assert speed.main(["--only", "trials-256", "target", "--json", str(file)]) == 0
    first, second = json.loads(file.read_text())["figures"]
    assert (first["figure"], first["values"]) == ("trials-256", None)
    assert first["problem"] == "not measured: RuntimeError: the rival fell over"
    assert (second["figure"], second["median"], second["verdict"]) == ("target", 10.0, "must")
    assert "not measured: RuntimeError: the rival fell over" in capsys.readouterr().out
    assert speed.main(["--only", "fast"]) == 2
