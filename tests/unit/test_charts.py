"""Figures: what is in them, also where there is little to show."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dashboards.chart_axes import Colours, decades, epoch_axis, momentum_axis
from dashboards.charts import curves_figure, page, scatter_figure
from sweeps.records import Lease, TrialState
from sweeps.store import Store, open_store
from tests.unit import published_sweeps as made_up


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(f"sqlite:///{tmp_path / 'ravine.db'}")


def rows(store: Store, lease: Lease) -> tuple[Any, Any, Any]:
    sweep_id = lease.sweep_id
    return store.sweep(sweep_id), store.trials(sweep_id), store.measurements(sweep_id)


def lines(figure: Any) -> list[Any]:
    return [trace for trace in figure.data if trace.mode == "lines"]


def named(figure: Any) -> dict[str, Any]:
    return {trace.name: trace for trace in figure.data if trace.name}


def test_hundreds_of_curves_are_few_traces_and_all_their_points(store: Store) -> None:
    lease = made_up.start_sweep(store)
    made_up.add_trials(store, lease, dict.fromkeys(range(200), (TrialState.finished, 4)))
    figure = curves_figure(*rows(store, lease))
    assert len(figure.data) <= 40
    drawn = sorted(y for trace in lines(figure) for y in trace.y if y is not None)
    assert drawn == sorted(row.val_loss for row in store.measurements(lease.sweep_id))
    gaps = sum(y is None for trace in lines(figure) for y in trace.y)
    assert gaps == 200  # or one trial's end would be joined with the next one's start


def test_curves_say_what_a_line_is(store: Store) -> None:
    lease = made_up.start_sweep(store)
    made_up.add_trials(store, lease, {0: (TrialState.finished, 2), 3: (TrialState.finished, 2)})
    figure = curves_figure(*rows(store, lease))
    texts = {text for trace in lines(figure) for text in trace.text if text}
    one_cycle = next(text for text in texts if "trial 3" in text)
    for told in ("finished", "SGD", "OneCycleLR", "learning rate 0.0", "momentum 0.9"):
        assert told in one_cycle
    assert figure.layout.yaxis.type == "log"


def test_the_best_curve_and_early_ends_are_marked(store: Store) -> None:
    lease = made_up.start_sweep(store)
    states = {0: TrialState.finished, 1: TrialState.pruned, 2: TrialState.diverged, 5: TrialState.failed}
    made_up.add_trials(store, lease, {number: (state, 3) for number, state in states.items()})
    traces = named(curves_figure(*rows(store, lease)))
    assert set(traces) == {"best: trial 0", "pruned", "diverged", "failed"}
    assert traces["diverged"].x == (3,)


def test_what_grows_is_drawn_on_a_plain_axis(store: Store) -> None:
    lease = made_up.start_sweep(store, metric="val_accuracy", goal="maximize")
    made_up.add_trials(store, lease, {0: (TrialState.finished, 3), 1: (TrialState.finished, 3)})
    figure = curves_figure(*rows(store, lease))
    assert figure.layout.yaxis.type is None
    assert max(y for trace in lines(figure) for y in trace.y if y is not None) <= 1.0


def test_the_scatter_has_a_mark_for_every_trial_in_its_states_shape(store: Store) -> None:
    lease = made_up.start_sweep(store)
    states = [TrialState.finished, TrialState.pruned, TrialState.diverged, TrialState.failed]
    made_up.add_trials(store, lease, {number: (states[number % 4], 3) for number in range(12)})
    traces = named(scatter_figure(*rows(store, lease)))
    assert len(traces) == 5  # the best one has a ring around its mark
    assert len({traces[f"{state} (3)"].marker.symbol for state in states}) == 4
    assert traces["diverged (3)"].marker.symbol.startswith("x")
    assert len(traces["finished (3)"].marker.color) == 3


def test_momentum_is_the_settings_or_beta1_or_what_the_schedule_made_of_it(store: Store) -> None:
    lease = made_up.start_sweep(store)
    made_up.add_trials(store, lease, dict.fromkeys((0, 3, 4), (TrialState.finished, 2)))
    sweep, trials, measurements = rows(store, lease)
    axis = momentum_axis([0.0])
    with_measurements = named(scatter_figure(sweep, trials, measurements))["finished (3)"]
    assert with_measurements.y == tuple(
        axis.place(value) for value in (trials[0].momentum, 0.9, trials[2].setting["betas"][0])
    )
    without = named(scatter_figure(sweep, trials))["finished (3)"]
    assert without.y[1] == 0.0


@pytest.mark.parametrize("states", [{}, {0: (TrialState.waiting, 0)}, {3: (TrialState.diverged, 0)}])
def test_a_sweep_without_a_finished_trial_is_drawn(store: Store, states: dict[int, Any]) -> None:
    lease = made_up.start_sweep(store)
    if states:
        made_up.add_trials(store, lease, states)
    for figure in (curves_figure(*rows(store, lease)), scatter_figure(*rows(store, lease))):
        assert "No trial has finished yet" in figure.layout.title.subtitle.text
        assert "<html>" in page(figure)


def test_a_single_trial_of_a_single_epoch_is_drawn(store: Store) -> None:
    lease = made_up.start_sweep(store)
    made_up.add_trials(store, lease, {0: (TrialState.finished, 1)})
    curves, scatter = curves_figure(*rows(store, lease)), scatter_figure(*rows(store, lease))
    low, high = curves.layout.yaxis.range
    assert high - low > 0.5
    assert named(scatter)["best: trial 0"].x == named(scatter)["finished (1)"].x


def test_a_page_needs_no_network(store: Store) -> None:
    lease = made_up.start_sweep(store)
    made_up.add_trials(store, lease, {0: (TrialState.finished, 3)})
    text = page(scatter_figure(*rows(store, lease)))
    assert 'src="http' not in text
    assert "cdn.plot.ly/plotly" not in text


def test_a_sweeps_name_cannot_bring_markup_along(store: Store) -> None:
    lease = made_up.start_sweep(store, name="<a href='https://evil.example'>x</a></script>")
    made_up.add_trials(store, lease, {0: (TrialState.finished, 3)})
    figure = curves_figure(*rows(store, lease))
    assert "<a" not in figure.layout.title.text
    assert "evil.example'>x</a></script>" not in page(figure)


def test_one_exploding_curve_does_not_flatten_the_others() -> None:
    assert decades([1.0, 0.1, *([0.5] * 40), 1e30], clip=True)["range"][1] < 1.0
    assert decades([1.0, 0.1, 1e30])["range"][1] > 29.0


def test_ticks_are_round_and_inside() -> None:
    axis = decades([0.003, 0.9])
    assert axis["ticktext"] == ["0.005", "0.01", "0.02", "0.05", "0.1", "0.2", "0.5", "1"]
    assert [epoch_axis(last)["dtick"] for last in (1, 12, 20, 90, 300)] == [1, 1, 2, 10, 50]


def test_the_best_is_dark_whatever_the_goal() -> None:
    least_is_best = Colours.of([0.1, 0.2, 1.0], is_log=True).scale
    most_is_best = Colours.of([0.1, 0.2, 1.0], is_log=True, dark_is_high=True).scale
    assert least_is_best[0][1] == most_is_best[-1][1] == "rgb(68, 1, 84)"


def test_colours_are_binned_by_the_logarithm() -> None:
    colours = Colours.of([0.001, 1.0], is_log=True)
    assert [colours.bin(value, 6) for value in (None, 0.001, 0.02, 0.05, 1.0)] == [-1, 0, 2, 3, 5]


def test_a_trial_without_a_learning_rate_above_zero_has_no_place(store: Store) -> None:
    lease = made_up.start_sweep(store)
    made_up.add_trials(store, lease, {0: (TrialState.finished, 2), 1: (TrialState.finished, 2)})
    sweep, trials, measurements = rows(store, lease)
    frozen = [replace(trials[0], lr=0.0, peak_lr=0.0), trials[1]]
    assert len(named(scatter_figure(sweep, frozen, measurements))["finished (1)"].x) == 1
