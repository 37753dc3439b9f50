"""Start points are proposed first, exactly as given, whatever the sampler, also after a kill."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from search_spaces.space import SearchSpace
from search_spaces.starts import StartPoint
from sweeps.proposals import Asked, Proposals
from sweeps.records import SweepState
from sweeps.store import Store, open_store
from tests.unit.sweeps_for_tests import Killed, everything, run, space, stored
from tests.unit.test_proposals_of_branches import Sweep, branched, without_cycles

SAMPLERS = ["tpe", "random", "qmc", "gp", "grid"]


def point(**values: Any) -> StartPoint:
    named = {name.replace("_", ".", 1) if "_" in name else name: value for name, value in values.items()}
    return StartPoint(values=named, told="", origin="")


START = (
    point(SGD_lr=0.1, SGD_momentum=0.1, schedule=1, StepLR_gamma=0.3),
    StartPoint(values={"SGD.lr": 0.2}, told="", origin="", among={"schedule": (1,)}),
    point(SGD_momentum=0.3, SGD_nesterov=1),
)


def started(sampler: str, **changes: Any) -> SearchSpace:
    return space(sampler=sampler, start=START, **changes)


def bare(asked: Asked) -> Any:
    return asked.index, dict(asked.parameters), asked.setting.to_json()


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_points_come_first_in_order_and_exactly(sampler: str) -> None:
    proposals = Proposals(started(sampler))
    one, two, three = (proposals.ask(1)[0].setting for _ in range(3))
    assert (one.arguments["lr"], one.arguments["momentum"]) == (0.1, 0.1)  # 1 - (1 - 0.1) is another float
    assert (one.schedule.name, one.schedule.arguments["gamma"]) == ("StepLR", 0.3)
    assert 1 <= int(str(one.schedule.arguments["step_size"])) <= 4
    assert (two.arguments["lr"], two.schedule.name) == (0.2, "StepLR")
    assert (three.arguments["momentum"], three.arguments["nesterov"]) == (0.3, True)


@pytest.mark.parametrize("sampler", ["random", "qmc"])
def test_what_points_leave_out_differs_with_the_seed(sampler: str) -> None:
    found = {
        Proposals(started(sampler, seed=seed)).ask(1)[0].parameters["StepLR.step_size"] for seed in range(9)
    }
    assert len(found) > 1


def test_an_option_left_open_among_some_is_drawn_by_the_seed() -> None:
    some = StartPoint(values={}, told="", origin="", among={"schedule": (0, 1)})
    drawn = [
        Proposals(space(sampler="tpe", seed=seed, start=(some,))).ask(1)[0].setting.schedule.name
        for seed in range(12)
    ]
    assert set(drawn) == {"constant", "StepLR"}


def test_after_the_points_a_sequence_begins_with_its_first() -> None:
    plain, with_points = Proposals(space(sampler="qmc")), Proposals(started("qmc"))
    for _ in START:
        with_points.ask(1)
    for _ in range(8):
        assert with_points.ask(1)[0].parameters == plain.ask(1)[0].parameters


def test_a_grid_has_every_point_once_beside_the_start_points() -> None:
    on_grid = point(SGD_lr=1.0, SGD_momentum=0.0, SGD_nesterov=0, schedule=0)
    proposals = Proposals(space(sampler="grid", trials=1000, start=(on_grid, START[0])))
    asked = []
    while family := proposals.ask(7):
        asked += family
    identities = [repr(sorted(one.parameters.items())) for one in asked]
    assert len(set(identities)) == len(identities) == 4 * 3 * 2 * 5 + 1  # START[0] is beside the grid
    assert asked[0].setting.arguments == {"lr": 1.0, "momentum": 0.0, "nesterov": False}


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_with_branches_a_point_has_every_branch(sampler: str) -> None:
    start = (point(SGD_lr=0.1, SGD_momentum=0.1), point(SGD_lr=0.3))
    sweep = Sweep(replace(branched(sampler), start=start))
    first, second = sweep.ask(100), sweep.ask(100)
    assert [len(first), len(second)] == [4, 4]
    assert [one.setting.arguments.get("lr") for one in first] == [0.1, None, 0.1, None]
    assert [one.setting.arguments.get("momentum") for one in first] == [0.1, None, 0.1, 0.1]
    assert first[0].setting.beginning == first[2].setting.beginning
    assert {one.setting.arguments["lr"] for one in second if "lr" in one.setting.arguments} == {0.3}
    assert sweep.ask(100)


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("cut", [1, 2, 3])
def test_a_rebuild_within_the_points_goes_on(sampler: str, cut: int) -> None:
    sweep = Sweep(replace(without_cycles(sampler), start=(point(SGD_lr=0.1), point(SGD_momentum=0.1))))
    for _ in range(cut):
        sweep.ask(1)
    rebuilt = sweep.rebuilt()
    for most in (1, 2, 2, 1, 1):
        assert [bare(one) for one in rebuilt.ask(most)] == [bare(one) for one in sweep.proposals.ask(most)]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = open_store(f"sqlite:///{tmp_path / 'ravine.db'}")
    yield opened
    opened.close()


@pytest.mark.parametrize("kind", ["tpe", "asked far ahead", "qmc", "grid", "branches", "arrival"])
def test_a_killed_and_resumed_sweep_equals_the_undisturbed_one(store: Store, kind: str) -> None:
    changes: dict[str, Any] = {"trials": 12, "concurrency": 2}
    some = {
        "tpe": started("tpe", **changes),
        "asked far ahead": started("tpe", epochs=22, **changes),
        "qmc": started("qmc", **changes),
        "grid": started("grid", **changes),
        "branches": replace(
            without_cycles("tpe"), start=(point(SGD_lr=0.1), point(SGD_momentum=0.1)), **changes
        ),
        "arrival": started("random", order="arrival", **changes),
    }[kind]
    undisturbed, disturbed = stored(store, some), stored(store, some)
    run(store, undisturbed, some)
    chance, kills = random.Random(3), 0
    while True:
        left = chance.randint(1, 4)

        def fault() -> None:
            nonlocal left
            left -= 1
            if left == 0:
                raise Killed

        try:
            assert (
                run(store, disturbed, some, fault=fault if kills < 9 else lambda: None) is SweepState.finished
            )
        except Killed:
            kills += 1
            continue
        break
    assert kills > 2
    assert everything(store, disturbed) == everything(store, undisturbed)
    first = store.trials(disturbed)[0].setting
    assert first["lr"] == 0.1
    if kind != "branches":
        assert first["momentum"] == 0.1


def test_check_says_what_comes_first() -> None:
    from io import StringIO

    from rich.console import Console

    from dashboards.preview import print_preview
    from search_spaces.files import load_space
    from workers.torch_catalogue import torch_catalogue

    text = """
task: quadratic
metric: {name: val_loss, goal: minimize}
epochs: 2
trials: 20
optimizer: {SGD: {lr: {log: [1e-3, 1.0]}, momentum: {log1m: [0.0, 0.9]}}}
start: [{lr: 0.2}]
"""
    space_ = load_space(text, source="s", stem="s", catalogue=torch_catalogue()).space
    written = StringIO()
    print_preview(Console(file=written, width=140), space_)
    lines = written.getvalue().splitlines()
    first = lines.index("proposed first, what they leave out chosen by tpe:")
    assert lines[first + 1 : first + 4] == [
        "  {lr: 0.2} (line 7)",
        "  {lr: 0.001} (PyTorch's own default)",
        "  {lr: 0.1, momentum: 0.9} (the usual first try of SGD)",
    ]


def test_a_point_that_was_asked_ahead_comes_back_exactly() -> None:
    """It is made again from what is stored, momentum's distance to 1."""
    proposals, resumed = Proposals(started("tpe")), Proposals(started("tpe"))
    for _ in START:
        (asked,) = proposals.ask(1)
        again = resumed.again(asked.index, asked.parameters, asked.attributes)
        assert again.setting == asked.setting
        elsewhere = {**asked.parameters, "SGD.momentum": 0.5}  # as of a launch whose points were others
        assert resumed.again(asked.index, elsewhere, {}).setting.arguments["momentum"] == 0.5
