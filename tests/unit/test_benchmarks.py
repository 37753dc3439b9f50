"""The benchmarks of speed: that they compare the same trials, count right, and tell misses as misses."""

from __future__ import annotations

import json
import math
import sqlite3
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import gates, main_job, measuring, results_page, speed
from benchmarks.decay_study import BOUND, read, sweep_file
from benchmarks.figures import FIGURES, Found, chosen
from benchmarks.frozen_trials import COUNT, digest, frozen_trials, half
from benchmarks.hand_loop import FUSED, WAYS, PlainTrial, load, train_half
from benchmarks.machine import Between
from benchmarks.measuring import Rate, Workload, target_found
from benchmarks.pinned_pair import Done, JobFailed, PinnedPair, processor_seconds, wall_seconds
from benchmarks.products import Product, operations_of, products_of
from benchmarks.ravine_side import train_half as train_rows
from benchmarks.series import Series, in_turns, number, ratios
from benchmarks.time_to_target import RandomParameters, reached
from benchmarks.whole_process import run
from benchmarks.workloads import MAIN, WORKLOADS
from search_spaces.files import load_space
from search_spaces.settings import Schedule, Setting
from sweeps.sweep_files import checked_space
from tests.unit.catalogue_for_tests import CATALOGUE
from workers.messages import Admission, Measured
from workers.recipe import Recipe
from workers.solo import SoloTrial

QUIET = Between(
    seconds=1.0, busy=0.5, steal=0.0, load_before=0.1, load_after=2.0, others_before=0.0, others_after=0.02
)


def test_the_list_is_frozen() -> None:
    assert digest() == "a84f1f2e0828936f625b307d6451e03148b6ce9bcac111ac3337552bcc6187ba"


@pytest.mark.parametrize("name", WORKLOADS)
def test_every_workload_has_the_list_at_its_own_length(name: str) -> None:
    workload = WORKLOADS[name]
    trials = frozen_trials(workload)
    assert len({trial.seed for trial in trials}) == len(trials) == COUNT
    assert {trial.setting.batch_size for trial in trials} == {workload.batch_size}
    main = frozen_trials(WORKLOADS[MAIN])
    assert [trial.setting.arguments for trial in trials] == [trial.setting.arguments for trial in main]
    for trial in trials:
        lengths = [trial.setting.schedule.arguments.get(name) for name in ("T_max", "total_iters")]
        assert {length for length in lengths if length is not None} <= {workload.epochs}


def test_two_processes_share_it_evenly_and_more_seeds_are_other_trials() -> None:
    trials = frozen_trials(WORKLOADS[MAIN], seeds=2)
    assert trials[COUNT].setting == trials[0].setting
    assert trials[COUNT].seed != trials[0].seed
    parts = [half(trials, part) for part in (0, 1)]
    assert [len(part) for part in parts] == [COUNT, COUNT]
    assert sorted(trial.seed for part in parts for trial in part) == list(range(2 * COUNT))
    assert [trial.number for trial in parts[1]] == list(range(COUNT))


@pytest.mark.parametrize(
    ("task", "schedule"),
    [
        ("digits-mlp", Schedule(name="StepLR", arguments={"step_size": 1, "gamma": 0.3})),
        ("digits-mlp", Schedule(name="WSD", arguments={"decay_start": 1, "decay_length": 2})),
        ("digits-mlp", Schedule(name="ReduceLROnPlateau", arguments={"factor": 0.1, "patience": 0})),
        ("digits-mlp", Schedule(name="OneCycleLR", arguments={"max_lr": 0.05}, every="step")),
        ("digits-cnn", Schedule(name="MultiStepLR", arguments={"milestones": (1, 2), "gamma": 0.5})),
        ("mlp-784", Schedule(name="CosineAnnealingLR", arguments={"T_max": 2})),
    ],
    ids=lambda given: given if isinstance(given, str) else given.name,
)
def test_the_hand_loop_trains_what_solo_trains(task: str, schedule: Schedule) -> None:
    """In float32, over epochs in which rounding has not grown yet; in all of its ways."""
    workload = WORKLOADS[task]
    learning = {} if schedule.name == "OneCycleLR" else {"lr": 0.02, "momentum": 0.8}
    setting = Setting(
        optimizer="SGD",
        arguments={**learning, "weight_decay": 1e-3},
        schedule=schedule,
        batch_size=workload.batch_size,
        task_arguments=workload.task_arguments,
    )
    made, data = load(workload)
    epochs = 2 if task == "mlp-784" else 3
    recipe = Recipe(task=made, data=data, epochs=epochs, metric="val_loss")
    reference = SoloTrial(recipe, Admission(number=0, seed=5, setting=setting))
    trials = [PlainTrial(made, data, setting, seed=5, epochs=epochs, way=way) for way in WAYS.values()]
    for _ in range(epochs):
        expected = reference.advance()
        assert isinstance(expected, Measured)
        for trial in trials:
            found = trial.train_epoch()
            assert found["train_loss"] == pytest.approx(expected.train_loss, rel=1e-4)
            assert found["val_loss"] == pytest.approx(expected.metrics["val_loss"], rel=1e-4)
            assert found["val_accuracy"] == pytest.approx(expected.metrics["val_accuracy"], abs=0.006)
            assert not trial.has_diverged(found)


def test_the_hand_loop_tells_divergence() -> None:
    made, data = load(WORKLOADS[MAIN])
    setting = Setting(optimizer="SGD", arguments={"lr": 1e6}, batch_size=32)
    trial = PlainTrial(made, data, setting, seed=0, epochs=1, way=WAYS[FUSED])
    assert trial.has_diverged(trial.train_epoch())
    assert main_job.judged(trial, {"train_loss": math.nan, "val_loss": 1.0}) == main_job.LOST
    gentle = replace(setting, arguments={"lr": 0.01})
    trial = PlainTrial(made, data, gentle, seed=0, epochs=1, way=WAYS[FUSED])
    first = trial.train_epoch()["train_loss"]
    assert not trial.has_diverged({"train_loss": 900 * first, "val_loss": 1.0})
    assert trial.has_diverged({"train_loss": 1200 * first, "val_loss": 1.0})


def test_both_sides_count_the_same_trial_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(WORKLOADS, MAIN, replace(WORKLOADS[MAIN], epochs=2))  # type: ignore[arg-type]
    plan = {"execution": "stacked", "convolutions": "grouped", "width": 4}
    hand = train_half(0, MAIN, FUSED, 6)
    rows = train_rows(0, MAIN, plan, 4, 1, 6)  # six trials in four places: two come later
    assert hand["trial_steps"] == rows["trial_steps"] == 6 * 2 * 44
    assert hand["seconds"] > 0
    assert rows["seconds"] > 0


@pytest.mark.parametrize(
    ("name", "by_hand"),
    [
        # Forward and weight gradients of each layer, and input gradients of all but the first.
        (MAIN, 2 * 32 * (2 * (64 * 64 + 64 * 64 + 64 * 10) + 64 * 64 + 64 * 10)),
        ("mlp-784", 2 * 128 * (2 * (784 * 256 + 256 * 10) + 256 * 10)),
        (  # 3x3 kernels on 64 and 16 positions of each picture, then 64 features to 10
            "digits-cnn",
            2 * 32 * (2 * 64 * 9 * 8 + 3 * 16 * 8 * 9 * 16 + 3 * 64 * 10),
        ),
        (  # per block: 12 * 32 * 32 weights; attention 2 products forward, 4 backward; then the head
            "chars",
            2 * 512 * 3 * (2 * 12 * 32 * 32 + 32 * 96) + 2 * 2 * 6 * (16 * 4) * 32 * 8 * 32,
        ),
    ],
)
def test_operations_are_those_counted_by_hand(name: str, by_hand: int) -> None:
    assert operations_of(products_of(name)) == by_hand


def test_a_product_counts_multiplications_and_additions() -> None:
    product = Product(batch=2, m=3, k=4, n=5)
    assert (product.operations, product.numbers) == (240, 2 * (12 + 20 + 15))


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


def test_rivals_search_the_librarys_own_space() -> None:
    text = main_job.FILE.read_text()
    space = load_space(text, source="file", stem="file", catalogue=CATALOGUE).space
    assert space.task == main_job.TASK
    drawn = RandomParameters(1)
    for _ in range(200):
        ours, asked = _spied(drawn)

        theirs = space.draw(_in_order(space, asked))
        assert theirs.to_json() == ours.to_json()


def _spied(drawn: RandomParameters) -> tuple[Setting, dict[str, Any]]:
    """A setting and what was suggested for it, by name."""
    asked: dict[str, Any] = {}

    class Spy:
        def __getattr__(self, kind: str) -> Any:
            def suggest(name: str, *given: Any, **more: Any) -> Any:
                asked[name] = getattr(drawn, kind)(name, *given, **more)
                bounds[name] = (*given, *more.values())
                return asked[name]

            return suggest

    bounds: dict[str, Any] = {}
    setting = main_job.suggested(Spy())
    again = main_job.suggested(main_job.GivenParameters(asked))
    assert again == setting
    asked["bounds"] = bounds
    return setting, asked


def _in_order(space: Any, asked: dict[str, Any]) -> Any:
    """Answers Ravine's own questions of the file with what rivals drew, and compares the ranges."""
    bounds = asked["bounds"]

    def choose(name: str, range_: Any) -> Any:
        short = name.rpartition(".")[2]
        if short == "schedule":
            assert [one.name for one in space.schedules] == list(main_job.SCHEDULES)
            return list(main_job.SCHEDULES).index(asked["schedule"])
        if short == "nesterov":
            return [option.value for option in range_.options].index(asked["nesterov"])
        if short == "momentum":
            low, high, log = bounds["1-momentum"]
            assert (1.0 - range_.high, 1.0 - range_.low, log) == (
                pytest.approx(low),
                pytest.approx(high),
                True,
            )
            return range_.from_distance(asked["1-momentum"])
        low, high, *log = bounds[short]
        assert (range_.low, range_.high) == (low, high)
        assert (type(range_).__name__ == "Log") == bool(log and log[0])
        return asked[short]

    return choose


@pytest.mark.parametrize("forks", [True, False])
@pytest.mark.parametrize("task", speed.DECAY_TASKS)
def test_the_decay_study_is_a_sweep_file(task: str, forks: bool) -> None:
    from workers.local_code import LocalCode

    code = LocalCode({"here": Path.cwd()})
    from search_spaces.files import Overrides

    space = checked_space(sweep_file(task, forks=forks), "file", "file", Overrides(), code).space
    assert (len(space.schedules), space.trials, space.epochs) == (12, 144, 20)
    assert space.branches
    assert space.forks is forks
    assert pytest.approx(3.75) == BOUND


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


def test_a_process_is_measured_with_its_children() -> None:
    child = "import time\nwhile time.process_time() < 1.5: pass"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}]); print('done')"
    ran = run([sys.executable, "-c", parent])
    assert (ran.code, ran.output, ran.said) == (0, "done\n", "")
    assert 0.5 < ran.core_seconds < 3.0
    assert ran.seconds > 1.5
    assert run([sys.executable, "-c", "import sys; sys.exit(3)"]).code == 3


def test_a_pair_works_at_once_and_tells_what_broke() -> None:
    with PinnedPair() as pair:
        first, second = pair.both(divmod, 7)
        assert (first.result, second.result) == ((0, 0), (0, 1))
        assert first.ended >= first.began
        with pytest.raises(JobFailed, match="ZeroDivisionError"):
            pair.one(divmod, 0)
        assert pair.one(torch.tensor).result == torch.tensor(0)  # and goes on
