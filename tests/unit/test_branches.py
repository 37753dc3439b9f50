"""Branches: schedules that are all tried for each proposal."""

from __future__ import annotations

from typing import Any

import pytest

from search_spaces.branches import asking_order, fixed_schedule
from search_spaces.errors import SpaceErrors
from search_spaces.files import LoadedSpace, Overrides, load_space
from search_spaces.ranges import Choice, Numeric, Value
from search_spaces.space import dimensions
from tests.unit.catalogue_for_tests import CATALOGUE

HEAD = """\
task: digits-mlp
metric: {name: val_loss, goal: minimize}
epochs: 20
trials: 64
optimizer: {SGD: {lr: {log: [0.001, 1]}, momentum: [0.0, 0.9]}}
"""


def load(text: str, trials: int | None = None) -> LoadedSpace:
    overrides = Overrides(trials=trials)
    return load_space(HEAD + text, source="s.yaml", stem="s", catalogue=CATALOGUE, overrides=overrides)


def branches(text: str) -> list[dict[str, Any]]:
    return [fixed_schedule(branch).to_plain() for branch in load(f"branches: {text}").space.schedules]


def test_each_value_of_a_list_or_of_a_range_with_points_is_a_branch() -> None:
    assert branches(
        "[constant, {StepLR: {step_size: [3, 10], gamma: {uniform: [0.25, 0.75], points: 3}}}]"
    ) == [
        {"constant": {}},
        *(
            {"StepLR": {"step_size": step_size, "gamma": gamma}}
            for step_size in (3, 10)
            for gamma in (0.25, 0.5, 0.75)
        ),
    ]


def test_a_list_valued_value_is_one_value() -> None:
    text = "{MultiStepLR: {milestones: [{value: [5, 10]}, [15], {tuple: [4, [8, 9]]}], gamma: 0.5}}"
    assert branches(text) == [
        {"MultiStepLR": {"milestones": milestones, "gamma": 0.5}}
        for milestones in ([5, 10], [15], [4, 8], [4, 9])
    ]


def test_the_parts_of_nested_schedules_are_combined_too() -> None:
    text = (
        "{SequentialLR: {milestones: {value: [5]}, "
        "schedulers: [{ConstantLR: {factor: [0.5, 0.1]}}, {ExponentialLR: {gamma: [0.9, 0.8]}}]}}"
    )
    parts = [one["SequentialLR"]["schedulers"] for one in branches(text)]
    assert parts == [
        [{"ConstantLR": {"factor": factor}}, {"ExponentialLR": {"gamma": gamma}}]
        for factor in (0.5, 0.1)
        for gamma in (0.9, 0.8)
    ]


def test_nothing_is_open_in_them_but_which_it_is() -> None:
    space = load("branches: {StepLR: {step_size: [3, 4], gamma: [0.1, 0.2]}}").space
    assert space.branches
    assert list(dimensions(space)) == ["schedule", "SGD.lr", "SGD.momentum"]
    assert space.columns() == ("lr", "momentum", "schedule.step_size", "schedule.gamma")
    assert not load("schedule: {StepLR: {step_size: [3, 4]}}").space.branches


def test_each_has_a_label_and_its_lines() -> None:
    text = (
        "branches:\n"  # line 6
        "  - StepLR: {step_size: [3, 4]}\n"
        "  - constant\n"
        "  - StepLR:\n"
        "      step_size: 5\n"
        "  - SequentialLR:\n"
        "      milestones: {value: [5]}\n"
        "      schedulers:\n"
        "        - ExponentialLR:\n"
        "            gamma: [0.9, 0.8]\n"
        "        - constant: {}\n"
    ).replace("constant: {}", "ConstantLR: {}")
    loaded = load(text)
    labels = [branch.label for branch in loaded.space.schedules]
    assert labels == ["StepLR", "StepLR#2", "constant", "StepLR#3", "SequentialLR", "SequentialLR#2"]
    assert [loaded.line_of(label) for label in labels] == [7, 7, 8, 9, 11, 11]
    assert loaded.line_of("StepLR#3", "step_size") == 10
    assert loaded.line_of("SequentialLR#2.0.ExponentialLR", "gamma") == 15
    assert not any(field.startswith("schedule.") for field in loaded.lines)


def test_notes_say_what_may_surprise() -> None:
    text = "branches: [constant, {StepLR: {step_size: 3}}, {OneCycleLR: {max_lr: 0.1}}]"
    rest, repeats = load(text).notes
    assert rest == "trials: 64 is no multiple of the 3 branches; the last proposal gets only 1 of them"
    assert repeats.startswith("branches.OneCycleLR sets lr and momentum itself")
    assert load(text, trials=66).notes == (repeats,)
    assert load("branches: [constant, {StepLR: {step_size: 3}}]").notes == ()


def test_the_first_asked_needs_most() -> None:
    text = "[{OneCycleLR: {max_lr: 0.1}}, {OneCycleLR: {max_lr: 0.1, cycle_momentum: false}}, constant]"
    assert asking_order(load(f"branches: {text}").space.schedules) == (2, 0, 1)
    without = text.replace(", constant", "")
    assert asking_order(load(f"branches: {without}").space.schedules) == (1, 0)


def test_a_schedule_with_something_open_is_no_branch() -> None:
    (open_one,) = load("schedule: {StepLR: {step_size: {int: [3, 9]}}}").space.schedules
    with pytest.raises(ValueError, match=r"leaves StepLR\.step_size open"):
        fixed_schedule(open_one)


def test_each_is_rehearsed_with_each_optimizer() -> None:
    from sweeps.sweep_files import checked_space

    text = HEAD.replace("optimizer: {SGD", "optimizer: [Adam, {SGD").replace("]}}\n", "]}}]\n")
    text += "branches:\n  - constant\n  - StepLR: {step_size: 3, gamma: [0.5, 0.1]}\n"
    with pytest.raises(SpaceErrors, match="line 8: StepLR#4"):
        checked_space(text.replace("step_size: 3", "step_size: [3, 0]"), "s.yaml", "s", Overrides(), None)
    loaded = checked_space(text, "s.yaml", "s", Overrides(), None)
    from workers.variants import variants_of

    tried = {(one.optimizer_label, one.schedule_label) for one in variants_of(loaded.space)}
    assert tried == {
        (optimizer, schedule)
        for optimizer in ("Adam", "SGD")
        for schedule in ("constant", "StepLR", "StepLR#2")
    }


def test_a_preview_tells_how_many_each_proposal_has() -> None:
    from io import StringIO

    from rich.console import Console

    from dashboards.preview import print_preview

    text = "branches: [constant, {StepLR: {step_size: [3, 10], gamma: 0.5}}]"
    written = StringIO()
    print_preview(Console(file=written, width=140), load(text, trials=7).space)
    said = written.getvalue()
    assert "3 branches for each proposal: 2 proposals, and 1 of the branches of one more" in said
    assert "47 of a proposal's 60 epochs are trained" in said  # 20, and the last 17 and 10 of the others
    assert "StepLR step_size=3 gamma=0.5" in said
    assert "StepLR step_size=10 gamma=0.5" in said


def test_a_preview_counts_what_confirming_may_cost() -> None:
    from io import StringIO

    from rich.console import Console

    from dashboards.preview import print_preview

    for trials, epochs in ((7, 4 * 6 * 20), (3, 3 * 6 * 20)):
        written = StringIO()
        print_preview(
            Console(file=written, width=140), load("confirm: {top: 4, seeds: 6}", trials=trials).space
        )
        said = written.getvalue()
        assert (
            f"then at most {epochs} epochs more: the best {min(4, trials)} are trained again with up to 6 fresh"
            in said
        )


def test_a_preview_draws_a_screenful() -> None:
    from io import StringIO

    from rich.console import Console

    from dashboards.preview import MOST_DRAWN, print_preview

    gamma = f"{{uniform: [0.1, 0.9], points: {MOST_DRAWN + 5}}}"
    written = StringIO()
    space = load(f"branches: {{StepLR: {{step_size: 3, gamma: {gamma}}}}}").space
    print_preview(Console(file=written, width=140), space)
    drawn = [line for line in written.getvalue().splitlines() if line.startswith("StepLR step_size=3")]
    assert len(drawn) == MOST_DRAWN
    assert "... and 5 more schedules" in written.getvalue()


def test_trials_share_rows_unless_the_file_says_no() -> None:
    assert load("").space.forks
    assert load("forks: true").space.forks
    assert not load("forks: false").space.forks


def test_numbers_of_a_branch_are_null_only_where_it_sets_them_itself() -> None:
    from sweeps.entries import typed_columns

    first = "{SequentialLR: {milestones: {value: [5]}, schedulers: [{OneCycleLR: {max_lr: 1}}]}}"
    second = first.replace("{OneCycleLR: {max_lr: 1}}", "{ConstantLR: {}}, {ExponentialLR: {gamma: 0.9}}")
    space = load(f"branches: [{first}, {second}]").space
    values = []
    for branch in (0, 1):

        def choose(name: str, range_: Numeric | Choice, branch: int = branch) -> Value:
            return branch if name == "schedule" else range_.at(1.0)

        typed = typed_columns(space, CATALOGUE, space.draw(choose))
        values.append((typed["lr"], typed["momentum"]))
    assert values == [(None, None), (1.0, 0.9)]
