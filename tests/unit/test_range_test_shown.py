"""A range test as people see it: a figure on the parent run, a tag, a line of `show` and one of `check`."""

from __future__ import annotations

from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from dashboards.publish import figures
from dashboards.range_test_chart import range_test_figures
from dashboards.range_test_preview import range_test_preview
from dashboards.run_content import sweep_content
from dashboards.summary import sweep_table
from sweeps.records import SweepRow
from tests.unit.published_sweeps import open_store, start_sweep
from tests.unit.test_measured_plan import PLAN
from tests.unit.test_sweep_range_test import SPACE, Bench


@pytest.fixture
def sweep(tmp_path: Path) -> SweepRow:
    store = open_store(f"sqlite:///{tmp_path / 'ravine.db'}")
    start_sweep(store, spec={"sampler": "tpe", "pruner": "none", "concurrency": 4})
    return replace(store.sweep(1), plan=Bench(tmp_path / "speeds").plan())


def two_tests(sweep: SweepRow) -> SweepRow:
    assert sweep.plan is not None
    place = sweep.plan["range_test"]
    other = {**place["tests"][0], "optimizer": "SGD#2"}
    return replace(sweep, plan={**sweep.plan, "range_test": {**place, "tests": [*place["tests"], other]}})


def lines(figure: Any, mode: str) -> list[Any]:
    return [trace for trace in figure.data if trace.mode == mode]


def test_the_figure_has_a_line_a_momentum_the_edges_and_what_is_searched(sweep: SweepRow) -> None:
    (figure,) = range_test_figures(sweep).values()
    curves = lines(figure, "lines")
    assert [curve.name for curve in curves] == ["momentum 0", "momentum 0.9", "momentum 0.99"]
    assert list(curves[0].x) == [1e-4, 1.0]
    assert figure.layout.xaxis.type == "log"
    shapes = {shape.type: [] for shape in figure.layout.shapes}
    for shape in figure.layout.shapes:
        shapes[shape.type].append((shape.x0, shape.x1))
    assert shapes == {"line": [(1.284, 1.284), (0.424, 0.424), (0.157, 0.157)], "rect": [(0.0031, 1.3)]}
    diamonds = [mark for mark in lines(figure, "markers") if mark.marker.symbol == "diamond"]
    assert [mark.x[0] for mark in diamonds] == [0.2568, 0.0848, 0.0314]
    held = [mark for mark in lines(figure, "markers") if mark.marker.symbol == "circle-open"]
    assert [list(mark.x) for mark in held] == [[0.1]] * 3  # what was not finite has no place
    assert "lr is searched from 0.0031 to 1.3" in figure.layout.title.subtitle.text


def test_it_hangs_on_the_parent_run(sweep: SweepRow) -> None:
    assert "figures/range_test.html" in figures(sweep, [], [])
    assert set(figures(replace(sweep, plan=None), [], [])) == set(figures(sweep, [], [])) - {
        "figures/range_test.html"
    }
    assert set(range_test_figures(two_tests(sweep))) == {"range_test_SGD", "range_test_SGD_2"}
    assert "lr is searched from 0.0031" in sweep_content(sweep, []).tags["ravine.range_test"]
    assert "ravine.range_test" not in sweep_content(replace(sweep, plan=None), []).tags


def test_show_tells_it(sweep: SweepRow) -> None:
    console = Console(width=400, record=True, file=StringIO())
    console.print(sweep_table(sweep, {}, 0, 0, []))
    told = console.export_text()
    assert "diverges from 1.3 (momentum 0)" in told
    assert "lr is searched from 0.0031 to 1.3 instead of 0.0001 to 10" in told
    assert "findings" not in told


def test_check_tells_that_it_will_be_and_what_it_costs() -> None:
    (sentence,) = range_test_preview(SPACE, PLAN, 0.01)
    assert "lr rises from 0.0001 to 10 in 200 updates at momentum 0, 0.9, 0.99" in sentence
    assert "at most 4,800 updates of one trial, 109 epochs, about 1 s of one core" in sentence
    assert range_test_preview(replace(SPACE, range_test=None), PLAN, 0.01) == ()
    (loop,) = range_test_preview(SPACE, {**PLAN, "execution": "loop"}, None)
    assert "its own training loop" in loop
