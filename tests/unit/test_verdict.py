"""Which setting is best, and whether that is told to be real: from stored trials to sentences."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from typing import Any

import pytest
from rich.console import Console
from scipy import stats

from dashboards.run_content import sweep_content
from dashboards.summary import best_table, print_summary, sweep_table, trials_table
from dashboards.verdict_words import verdict_lines, verdict_values
from search_spaces.confirming import Confirm
from sweeps.confirmation import tails
from sweeps.records import SweepRow, SweepState, TrialRow, TrialState
from sweeps.verdict import Basis, Place, best_trial, best_trials, search_trials, trials_to_judge, verdict_of
from tests.unit.published_sweeps import new_trial

Outcome = float | TrialState


def sweep(state: SweepState = SweepState.finished, **changes: Any) -> SweepRow:
    values: dict[str, Any] = {
        "name": "made up",
        "task": "digits-mlp",
        "metric": "val_loss",
        "goal": "minimize",
        "seed": 0,
        "epochs": 3,
        "trials": 9,
        "spec": {"sampler": "tpe", "pruner": "none", "concurrency": 2, "seeds": [0]},
        "columns": ("lr", "momentum"),
        "id": 1,
        "rounds_done": 9,
        "plan": None,
        "owner": None,
        "lease_epoch": 1,
        "created_at": "2026-01-01T00:00:00.000Z",
        "started_at": "2026-01-01T00:00:00.000Z",
        "ended_at": None,
        "error": None,
    }
    return SweepRow(state=state, **(values | changes))


def confirmed(state: SweepState = SweepState.finished, *, seeds: int = 4, **changes: Any) -> SweepRow:
    confirm = {"top": 3, "seeds": seeds, "error_rate": 0.05}
    spec = {"sampler": "tpe", "pruner": "none", "concurrency": 2, "seeds": [0], "confirm": confirm}
    return sweep(state, spec=spec, **changes)


def trials(*of_seeds: Mapping[int, Mapping[int, Outcome]] | Mapping[int, Outcome]) -> list[TrialRow]:
    """Trials by number, one mapping a seed, in order: the value of each setting, or how it ended."""
    found: list[TrialRow] = []
    for seed, outcomes in enumerate(of_seeds):
        for setting, outcome in outcomes.items():
            state = outcome if isinstance(outcome, TrialState) else TrialState.finished
            assert not isinstance(outcome, Mapping)
            new = new_trial(setting)
            values = {name: getattr(new, name) for name in new.__slots__}
            values |= {"number": len(found), "setting_index": setting, "seed": seed}
            found.append(
                TrialRow(
                    **values,
                    sweep_id=1,
                    state=state,
                    attempt=0,
                    cause=None,
                    detail=None,
                    value=None if isinstance(outcome, TrialState) else outcome,
                    epochs_done=3,
                    peak_lr=0.1,
                    final_lr=0.1,
                )
            )
    return found


SEARCH = {0: 0.5, 1: 0.3, 2: 0.4, 3: TrialState.diverged, 4: 0.45, 5: 0.9}


def test_one_seed_cannot_tell_and_says_what_could() -> None:
    row, found = sweep(), trials(SEARCH)
    verdict = verdict_of(row, found)
    assert verdict.basis is Basis.one_seed
    assert verdict_lines(row, verdict) == [
        "one seed cannot tell whether setting 1 is really better than setting 2; confirm: {top: 5, seeds: 5} "
        "in the sweep file trains the best again with fresh seeds, which can"
    ]
    assert [trial.number for trial in best_trials(row, found, verdict, 3)] == [1, 2, 4]
    assert verdict_lines(row, verdict_of(row, found[:1])) == []
    assert verdict_lines(row, verdict_of(row, [])) == []


def test_several_seeds_of_the_search_are_compared_in_pairs() -> None:
    row = sweep(spec={"seeds": [0, 1, 2]})
    shared = (0.0, 0.3, -0.2)  # what a seed does to every setting
    found = trials(
        *(
            {0: 0.5 + s, 1: 0.3 + s + n, 2: 0.9 + s, 3: 0.1 + s}
            for s, n in zip(shared, (0.0, 0.01, 0.0), strict=True)
        )
    )
    found = [trial for trial in found if (trial.setting_index, trial.seed) != (3, 2)]
    verdict = verdict_of(row, found)
    assert [one.setting for one in verdict.standings] == [1, 0, 2], "setting 3 lacks a seed"
    assert verdict.separated
    lead = verdict.standings[1].lead
    assert lead is not None
    low, high = stats.t.interval(0.95, 2, loc=0.2 - 0.01 / 3, scale=stats.sem([0.2, 0.19, 0.2]))
    assert (lead.mean, lead.low, lead.high) == pytest.approx((0.2 - 0.01 / 3, low, high))
    first, caution = verdict_lines(row, verdict)
    assert first == (
        "setting 1 is better than setting 0 by 0.1967 (95 % interval 0.1823 to 0.211, 3 shared seeds): "
        "the difference is real"
    )
    assert "flatter what it chose" in caution
    best = best_trials(row, found, verdict, 1)[0]
    assert best.value == min(trial.value for trial in found if trial.value is not None), "of any setting"


def test_seeds_that_cannot_tell_say_that_settings_are_tied() -> None:
    row = sweep(spec={"seeds": [0, 1]})
    verdict = verdict_of(row, trials({0: 0.5, 1: 0.3, 2: 0.9}, {0: 0.3, 1: 0.4, 2: 0.7}))
    assert not verdict.separated
    assert verdict_lines(row, verdict)[0].startswith(
        "settings 1, 0 and 2 are tied: setting 1 is ahead of 0"[:36]
    )


REAL = ({0: 0.41, 1: 0.52, 2: 0.61}, {0: 0.42, 1: 0.55, 2: 0.66}, {0: 0.40, 1: 0.50, 2: 0.61})


def named(row: SweepRow, found: list[TrialRow]) -> list[int]:
    return [trial.number for trial in best_trials(row, found, verdict_of(row, found), 9)]


def test_a_confirmed_best_is_the_one_with_the_best_mean_over_fresh_seeds() -> None:
    row, search = confirmed(seeds=3), {0: 0.5, 1: 0.3, 2: 0.4, 4: 0.6}
    found = trials(search, *REAL)
    verdict = verdict_of(row, found)
    assert verdict.basis is Basis.fresh_seeds
    assert [(one.setting, one.place) for one in verdict.standings] == [
        (0, Place.best),
        (1, Place.worse),
        (2, Place.worse),
    ]
    assert named(row, found) == [0, 1, 2, 3]
    assert best_trial(row, found) == found[0]
    assert [trial.number for trial in search_trials(row, found)] == [0, 1, 2, 3]
    lead = verdict.standings[1].lead
    assert lead is not None
    reach = stats.t.isf(tails(3, 3, 3, 0.05).separates, 2) * stats.sem([0.11, 0.13, 0.10])
    assert (lead.low, lead.high) == pytest.approx((lead.mean - reach, lead.mean + reach))
    first, rest, method = verdict_lines(row, verdict)
    assert first.startswith("setting 0 is better than setting 1 by 0.1133 (95 % interval 0.0")
    assert first.endswith(", 3 shared seeds): the difference is real")
    assert rest.startswith("worse than setting 0: setting 2 by 0.21")
    assert "in 5 % of sweeps at most" in method


def test_more_is_better_where_the_goal_says_so() -> None:
    row, found = confirmed(seeds=3, goal="maximize"), trials({0: 0.5, 1: 0.3, 2: 0.4, 4: 0.1}, *REAL)
    verdict = verdict_of(row, found)
    assert [one.setting for one in verdict.standings] == [2, 1, 0]
    assert verdict.standings[0].mean is not None
    assert verdict.standings[0].mean.mean == pytest.approx(1.88 / 3)
    assert verdict.standings[0].mean.low < 0.62 < verdict.standings[0].mean.high
    assert verdict_lines(row, verdict)[0].startswith("setting 2 is better than setting 1 by 0.1033 (95 % int")


def test_what_is_tied_is_called_so() -> None:
    row = confirmed(seeds=2)
    found = trials({0: 0.5, 1: 0.3, 2: 0.4}, {0: 0.5, 1: 0.4, 2: 0.45}, {0: 0.4, 1: 0.45, 2: 0.52})
    verdict = verdict_of(row, found)
    assert verdict_lines(row, verdict)[0].startswith(
        "settings 1, 0 and 2 are tied after 2 fresh seeds each: setting 1 is ahead of setting 0 by 0.025 (95 %"
    )
    assert all(one.place is Place.tied for one in verdict.standings[1:])
    lead = verdict.standings[1].lead
    assert lead is not None
    reach = stats.t.isf(tails(2, 2, 3, 0.05).drops, 1) * stats.sem([0.1, -0.05])
    assert (lead.low, lead.high) == pytest.approx((lead.mean - reach, lead.mean + reach))
    assert lead.low < 0 < lead.high


def test_a_race_that_is_not_over_says_how_far_it_is() -> None:
    found = trials({0: 0.5, 1: 0.3, 2: 0.4}, {0: 0.5, 1: 0.4, 2: 0.45}, {0: 0.4, 1: 0.45, 2: 0.52})
    running = confirmed(SweepState.running)
    first = verdict_lines(running, verdict_of(running, found))[0]
    assert first.startswith("settings 1, 0 and 2 are not told apart after 2 of 4 fresh seeds: ")
    stopped = confirmed(SweepState.stopped)
    assert verdict_lines(stopped, verdict_of(stopped, found))[0] == f"{first}, and the sweep has ended"
    begun = [*found[:5], *trials({}, {}, {9: TrialState.cancelled})]
    early = verdict_of(stopped, begun)
    assert early.basis is Basis.one_seed
    assert verdict_lines(stopped, early)[-1].startswith("not confirmed: the sweep ended before")
    assert verdict_lines(running, early)[-1].startswith("not confirmed yet")
    assert [trial.number for trial in best_trials(running, begun, early, 9)] == [1, 2, 0]


def test_trials_that_diverged_or_were_cancelled() -> None:
    row = confirmed(seeds=2)
    bad = TrialState.diverged
    search = {0: 0.5, 1: 0.3, 2: 0.4}
    verdict = verdict_of(row, trials(search, {0: 0.5, 1: bad, 2: 0.4}, {0: 0.50001, 1: 0.1, 2: 0.40001}))
    assert verdict.separated
    assert [one.setting for one in verdict.standings] == [2, 0, 1]
    assert verdict_lines(row, verdict)[1] == "worse than setting 2: setting 1, which diverged with seed 1"
    only = verdict_of(row, trials(search, {0: bad, 1: bad, 2: 0.4}, {0: 0.5, 1: 0.1, 2: 0.41}))
    assert verdict_lines(row, only)[0] == "setting 2 is better than setting 1, which diverged with seed 1"
    nobody = verdict_of(row, trials(search, {0: bad, 1: bad, 2: bad}, {0: 0.5, 1: 0.1, 2: 0.4}))
    assert verdict_lines(row, nobody)[0] == (
        "settings 1, 2 and 0 are tied: each of them diverged with a fresh seed"
    )
    cancelled = TrialState.cancelled
    looked = verdict_of(row, trials(search, {0: 0.5, 1: 0.4, 2: 0.3}, dict.fromkeys(search, cancelled)))
    assert looked.basis is Basis.one_seed


def test_few_settings_are_not_confirmed() -> None:
    row = confirmed()
    assert verdict_lines(row, verdict_of(row, trials({0: 0.5, 1: TrialState.pruned}))) == [
        "nothing is confirmed: fewer than two settings finished with all their seeds"
    ]


def test_many_tied_settings_are_counted() -> None:
    row = sweep(spec={"seeds": [0, 1]})
    found = trials(dict.fromkeys(range(30), 0.5), {n: 0.5 + n / 10 for n in range(30)})
    assert verdict_lines(row, verdict_of(row, found))[0].startswith(
        "settings 0, 1, 2, 3 and 26 more are tied: "
    )


def told(renderable: Any) -> str:
    written = io.StringIO()
    Console(file=written, width=200).print(renderable)
    return written.getvalue()


def test_the_tables_show_means_of_settings() -> None:
    row, found = confirmed(seeds=3), trials({0: 0.5, 1: 0.3, 2: 0.4, 4: 0.6}, *REAL)
    verdict = verdict_of(row, found)
    lines = told(best_table(row, best_trials(row, found, verdict, 4), verdict)).splitlines()
    title, header, *rows = (" ".join(line.split()) for line in lines)
    assert title == "best by val_loss (minimize)"
    assert "val_loss mean over fresh seeds 95 % interval fresh seeds verdict" in header
    assert "0.5 0.41 0.38516 to 0.43484 3 best" in rows[0]
    assert "0.3 0.52333 0.46082 to 0.58585 3 worse" in rows[1]
    assert "0.4 0.62667 0.55496 to 0.69838 3 worse" in rows[2]
    assert "worse" not in rows[3]
    assert "verdict" in told(sweep_table(row, {}, 1, 1, found[:1], verdict))
    summary = io.StringIO()
    print_summary(Console(file=summary, width=200), row, found, found[:1], 1.0, verdict)
    assert "the difference is real" in summary.getvalue()
    assert " setting " in told(trials_table(row, found)).splitlines()[0]
    assert " setting " not in told(trials_table(row, found[:3])).splitlines()[0]


def test_how_settings_mattered_is_told_by_the_search_alone() -> None:
    """A leader that is trained again would count for several settings."""
    row = confirmed(seeds=2)
    search: dict[int, Outcome] = {number: 0.1 + number / 100 for number in range(20)}
    found = trials(search, *({0: 0.1, 1: 0.11, 2: 0.12} for _ in range(2)))
    written = [io.StringIO(), io.StringIO()]
    for text, some in zip(written, (found, found[:20]), strict=True):
        print_summary(Console(file=text, width=200), row, some, found[:1], 1.0)
    lines = [[line for line in text.getvalue().splitlines() if ": best from" in line] for text in written]
    assert lines[0] == lines[1]
    assert len(lines[0]) == 2


def test_json_of_a_setting() -> None:
    row, found = confirmed(seeds=3), trials({0: 0.5, 1: 0.3, 2: 0.4, 4: 0.6}, *REAL)
    values = verdict_values(verdict_of(row, found), 1)
    assert json.loads(json.dumps(values)) == values
    assert (values["setting_number"], values["place"], values["seeds_finished"]) == (1, "worse", 3)
    assert values["behind_best_low"] > 0
    assert values["mean_low"] < values["mean"] < values["mean_high"]
    nothing = verdict_values(verdict_of(row, found), 4)
    assert nothing["mean"] is None
    assert nothing["place"] is None


def test_mlflow_names_the_same_best_trial() -> None:
    row, found = confirmed(seeds=3), trials({0: 0.5, 1: 0.3, 2: 0.4, 4: 0.6}, *REAL)
    assert sweep_content(row, found).tags["ravine.best_trial"] == "0"
    assert sweep_content(sweep(), found[:4]).tags["ravine.best_trial"] == "1"


class _Reader:
    """A store that says what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[Any] = []

    def best_trials(self, sweep_id: int, count: int) -> list[TrialRow]:
        self.asked.append(count)
        return []

    def trials(self, sweep_id: int) -> list[TrialRow]:
        self.asked.append("all")
        return []


def test_no_more_is_read_than_it_takes() -> None:
    reader: Any = _Reader()
    for row in (sweep(), sweep(spec={"seeds": [0, 1]}), confirmed(), sweep(spec={})):
        trials_to_judge(reader, row, 1)
    assert reader.asked == [2, "all", "all", "all"]


def test_what_is_stored_is_what_is_read() -> None:
    assert Confirm(**confirmed().spec["confirm"]) == Confirm(top=3, seeds=4)
