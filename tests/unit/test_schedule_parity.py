"""Every schedule class over drawn arguments: the whole path equals a plain torch loop's, number for number."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.optim import Optimizer, lr_scheduler

from search_spaces.catalogue import Catalogue
from search_spaces.files import load_space
from search_spaces.settings import Schedule, Setting
from search_spaces.space import SearchSpace
from tests.unit.plain_schedules import FUNCTIONS, Case, Point, plain_path, plain_plateau
from tests.unit.schedules_for_tests import ARGUMENTS, cases, schedules, trainings
from workers.optimization import Horizon, ScheduleRefused, schedule_class
from workers.rehearsal import rehearse
from workers.schedule_table import SchedulePath, schedule_path
from workers.torch_catalogue import torch_catalogue

CLASSES = [name for name in (*lr_scheduler.__all__, "WSD") if name != "LRScheduler"]
METRICS = ("train_loss", "val_loss", "val_accuracy")
drawn = settings(max_examples=40, derandomize=True, deadline=None, database=None)


def path_of(case: Case) -> SchedulePath:
    horizon = Horizon(
        epochs=case.epochs, updates_per_epoch=case.updates, warmup_epochs=case.setting.warmup_epochs
    )
    return schedule_path(case.setting, horizon, FUNCTIONS)


def points(path: SchedulePath, epoch: int) -> list[Point]:
    """Rates of each update of ``epoch``, as the plain loop has them: the one place that knows a path's shape."""
    columns = [
        zip(lr.tolist(), [None] * len(lr) if momentum is None else momentum.tolist(), strict=True)
        for lr, momentum in path.group_rates(epoch)
    ]
    return list(zip(*columns, strict=True))


def whole_path(case: Case) -> list[Point] | None:
    """The path of ``case``; None where it is refused."""
    try:
        path = path_of(case)
    except ScheduleRefused:
        return None
    return [point for epoch in range(1, case.epochs + 1) for point in points(path, epoch)]


@pytest.mark.parametrize("name", CLASSES)
def test_every_argument_of_every_class_is_drawn(name: str) -> None:
    """So that a class or argument which a newer PyTorch adds shows here first."""
    parameters = set(inspect.signature(schedule_class(name)).parameters)
    assert set(ARGUMENTS[name]) == parameters - {"optimizer", "last_epoch"}


@pytest.mark.parametrize("name", [name for name in CLASSES if name != "ReduceLROnPlateau"])
def test_the_whole_path_equals_a_plain_loops(name: str) -> None:
    """Equal to the last bit; what PyTorch refuses, on the way as at construction, is refused and no more."""
    compared = 0

    @drawn
    @given(cases(name))
    def compare(case: Case) -> None:
        nonlocal compared
        expected = plain_path(case)
        assert whole_path(case) == expected
        compared += expected is not None

    compare()
    assert compared >= 12, f"only {compared} of 40 cases were trained: the draws are too wild"


def momentum_brought(arguments: dict[str, Any]) -> Setting:
    return Setting(
        optimizer="SGD",
        arguments={"nesterov": True},
        schedule=Schedule(name="OneCycleLR", arguments={"max_lr": 0.1, **arguments}, every="step"),
    )


def momentum_that_starts_later(optimizer: str) -> Setting:
    cycle = {"base_lr": 0.1, "max_lr": 0.3, "step_size_up": 3, "base_momentum": 0.9, "max_momentum": 0.0}
    schedule = Schedule(name="CyclicLR", arguments=cycle, every="step")
    return Setting(optimizer=optimizer, arguments={}, schedule=schedule)


def plain_sgd(every: str, name: str, **arguments: Any) -> Setting:
    schedule = Schedule(name=name, arguments=arguments, every=every)
    return Setting(optimizer="SGD", arguments={"lr": 0.1, "momentum": 0.9}, schedule=schedule)


@pytest.mark.parametrize(
    ("setting", "is_trained"),
    [
        (momentum_brought({"max_momentum": 0.5}), True),  # any momentum may be the first
        (momentum_brought({"max_momentum": 0.0}), False),  # nesterov needs one
        (momentum_brought({"total_steps": 34}), False),  # the step after the last update is one too many
        (momentum_brought({"total_steps": 35}), True),
        (momentum_brought({"epochs": 5, "steps_per_epoch": 7}), True),
        (momentum_brought({"epochs": 5}), False),
        (plain_sgd("fraction", "CosineAnnealingWarmRestarts", T_0=2, T_mult=2), True),
        (plain_sgd("step", "CyclicLR", base_lr=0.1, max_lr=0.3, step_size_up=3, scale_fn="halved"), True),
        (plain_sgd("epoch", "LambdaLR", lr_lambda=("wave",)), True),
        (plain_sgd("epoch", "LambdaLR", lr_lambda=("wave", "halved")), False),  # one for each group
        (plain_sgd("epoch", "LambdaLR", lr_lambda="infinite"), False),
        (momentum_that_starts_later("RMSprop"), False),  # its buffer is made at the first update or never
        (momentum_that_starts_later("SGD"), True),
    ],
)
def test_where_paths_once_went_apart(setting: Setting, is_trained: bool) -> None:
    case = Case(setting=setting, epochs=5, updates=7)
    expected = plain_path(case)
    assert (expected is not None) == is_trained
    assert whole_path(case) == expected


_SPECIAL = st.sampled_from([math.nan, math.inf, -math.inf, 0.0, -1.0])
_CURVES = st.one_of(
    st.lists(st.floats(-2.0, 2.0), min_size=14, max_size=14),
    st.floats(0.5, 1.5).map(lambda ratio: [ratio**epoch for epoch in range(14)]),  # falls or rises
    st.sampled_from([1.0, 0.0, -1.0, math.nan, math.inf]).map(lambda value: [value] * 14),  # ties
    st.lists(st.sampled_from([1.0, 1.0 + 1e-4, 1.0 - 1e-4]) | _SPECIAL, min_size=14, max_size=14),
)


@st.composite
def plateaus(draw: st.DrawFn) -> tuple[Case, dict[str, list[float]]]:
    """A training under ReduceLROnPlateau and the curves of its metrics, each by epoch."""
    schedule = draw(schedules("ReduceLROnPlateau", "epoch"))
    watch = draw(st.sampled_from((None, *METRICS)))
    schedule = Schedule(name=schedule.name, arguments=schedule.arguments, watch=watch)
    case = draw(trainings(schedule, st.sampled_from([1, 3, 6, 9, 12])))
    return case, {name: draw(_CURVES) for name in METRICS}


def test_a_live_plateau_equals_pytorchs_epoch_by_epoch() -> None:
    trained = reduced = 0

    @settings(drawn, max_examples=200)
    @given(plateaus())
    def compare(plateau: tuple[Case, dict[str, list[float]]]) -> None:
        nonlocal trained, reduced
        case, curves = plateau
        expected = plain_plateau(case, curves[case.setting.schedule.watch or "val_loss"])
        if expected is None:
            with pytest.raises(ScheduleRefused):
                path_of(case)
            return
        path = path_of(case)
        for epoch in range(1, case.epochs + 1):
            begin = (epoch - 1) * case.updates
            assert points(path, epoch) == expected[begin : begin + case.updates]
            path.observe({name: curve[epoch - 1] for name, curve in curves.items()})
        trained += 1
        reduced += expected[-1] != expected[case.setting.warmup_epochs * case.updates]

    compare()
    assert trained >= 100, f"only {trained} of 200 cases were trained: the draws are too wild"
    assert reduced >= 30, f"the learning rate was reduced in {reduced} of 200 cases only"


class Rooted(lr_scheduler.LRScheduler):
    """A class that PyTorch does not have yet, with every kind of argument that the others have."""

    def __init__(
        self,
        optimizer: Optimizer,
        root: float,
        total_steps: int,
        shape: Literal["open-ended", "ends"] = "ends",
        factor: Callable[[int], float] | None = None,
        last_epoch: int = -1,
    ) -> None:
        if root > 2.0:
            raise ValueError(f"root must be at most 2, got {root}")
        self.root, self.total_steps, self.shape, self.factor = root, total_steps, shape, factor
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        left = 1.0 if self.shape == "open-ended" else 1.0 - self.last_epoch / self.total_steps
        factor = left / (1 + self.last_epoch) ** self.root * (self.factor or float)(1)
        return [base * factor for base in self.base_lrs]


class Rocking(lr_scheduler.LRScheduler):
    """Another, which sets learning rate and momentum itself."""

    def __init__(self, optimizer: Optimizer, highest: float, cycle_momentum: bool = True) -> None:
        self.highest, self.cycle_momentum = highest, cycle_momentum
        super().__init__(optimizer)

    def get_lr(self) -> list[float]:
        if self.cycle_momentum:
            for group in self.optimizer.param_groups:
                group["momentum"] = 0.9 - 0.1 * (self.last_epoch % 2)
        return [self.highest * (1 + self.last_epoch % 2) / 2 for _ in self.base_lrs]


@pytest.fixture
def newer_pytorch(monkeypatch: pytest.MonkeyPatch) -> Iterator[Catalogue]:
    """The catalogue of a PyTorch that has both classes."""
    for kind in (Rooted, Rocking):
        monkeypatch.setattr(lr_scheduler, kind.__name__, kind, raising=False)
    torch_catalogue.cache_clear()
    yield torch_catalogue()
    monkeypatch.undo()
    torch_catalogue.cache_clear()


def space_with(schedule: str, catalogue: Catalogue) -> SearchSpace:
    """The quadratic's 25 updates an epoch over 4 epochs of which 1 warms up."""
    text = (
        "{task: quadratic, metric: {name: val_loss, goal: minimize}, epochs: 4, warmup: {epochs: 1}, trials: 1,"
        f" optimizer: {{SGD: {{lr: 0.4, momentum: 0.5, nesterov: true}}}}, schedule: {{{schedule}}}}}"
    )
    return load_space(text, source="newer.yaml", stem="newer", catalogue=catalogue).space


def first_of(space: SearchSpace) -> Setting:
    return space.draw(lambda _, range_: range_.at(0.0))


def rates_and_momenta(setting: Setting) -> tuple[list[float], list[float]]:
    """At the last update of each epoch, or of each of the first three updates after the warm-up."""
    case = Case(setting=setting, epochs=4, updates=25)
    path = whole_path(case)
    assert path is not None
    picked = path[24::25] if setting.schedule.every == "epoch" else path[25:28]
    return [point[0][0] for point in picked], [point[0][1] for point in picked]


def test_a_class_that_pytorch_adds_goes_the_whole_way_unchanged(newer_pytorch: Catalogue) -> None:
    space = space_with("Rooted: {root: {uniform: [0.5, 2]}, shape: [ends, open-ended]}", newer_pytorch)
    assert rehearse(space) == ()
    setting = space.draw(lambda _, range_: 0 if hasattr(range_, "options") else range_.at(0.0))
    assert rates_and_momenta(setting) == (
        [0.4, 0.4, 0.4 * ((1 - 1 / 3) / 2**0.5), 0.4 * ((1 - 2 / 3) / 3**0.5)],
        [0.5] * 4,
    )


def test_what_such_a_class_refuses_is_refused_in_its_own_words(newer_pytorch: Catalogue) -> None:
    space = space_with("Rooted: {root: {uniform: [0.5, 3]}}", newer_pytorch)
    (refusal,) = rehearse(space)
    assert (refusal.label, refusal.argument, refusal.got) == ("Rooted", "root", "3.0")
    assert refusal.reason == "root must be at most 2, got 3.0"


def test_the_tasks_functions_reach_such_a_class_by_name(newer_pytorch: Catalogue) -> None:
    arguments: dict[str, Any] = {"root": 0.0, "shape": "open-ended", "factor": "halved"}
    setting = Setting(
        optimizer="SGD", arguments={"lr": 0.4}, schedule=Schedule(name="Rooted", arguments=arguments)
    )
    assert rates_and_momenta(setting) == ([0.2] * 4, [0.0] * 4)
    unknown = Schedule(name="Rooted", arguments={**arguments, "factor": "doubled"})
    with pytest.raises(ScheduleRefused, match="the task has no function 'doubled'"):
        path_of(Case(setting=Setting(optimizer="SGD", arguments={}, schedule=unknown), epochs=4, updates=25))


def test_such_a_class_may_set_rate_and_momentum_itself(newer_pytorch: Catalogue) -> None:
    """Then it steps once per update, and what it sets is not sampled: nesterov rests on its first momentum."""
    space = space_with("Rocking: {highest: {log: [0.8, 1]}}", newer_pytorch)
    assert rehearse(space) == ()
    setting = first_of(space)
    assert setting.arguments == {"nesterov": True}
    assert rates_and_momenta(setting) == ([0.4, 0.8, 0.4], [0.9, 0.8, 0.9])
    steady = first_of(
        space_with("Rocking: {highest: 0.8, cycle_momentum: false, every: epoch}", newer_pytorch)
    )
    assert rates_and_momenta(steady) == ([0.4, 0.4, 0.8, 0.4], [0.5] * 4)
