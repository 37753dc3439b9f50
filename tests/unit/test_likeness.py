"""Which settings are trained alike: told from tables, and true of real training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from search_spaces.ranges import Value
from search_spaces.settings import Schedule, Setting
from sweeps.likeness import Likeness
from tests.unit.catalogue_for_tests import CATALOGUE as PYTORCH
from workers.equivalence import TrainedRates
from workers.torch_catalogue import torch_catalogue

EPOCHS = 6


def setting(schedule: Schedule | None = None, **changes: Any) -> Setting:
    arguments: dict[str, Value] = {"lr": 0.1, "momentum": 0.9} | changes.pop("arguments", {})
    schedule = Schedule() if schedule is None else schedule
    return Setting(**{"optimizer": "SGD", "arguments": arguments, "schedule": schedule} | changes)


def scheduled(name: str, every: str = "epoch", watch: str | None = None, **arguments: Any) -> Schedule:
    return Schedule(name=name, arguments=arguments, every=every, watch=watch)


def plateau(**arguments: Any) -> Schedule:
    return scheduled("ReduceLROnPlateau", watch="val_loss", **arguments)


def likeness(epochs: int = EPOCHS) -> Likeness:
    return Likeness(torch_catalogue(), TrainedRates(task="quadratic", epochs=epochs))


def alike(first: Setting, second: Setting) -> bool:
    found = likeness()
    assert found.first_alike(0, first) == 0
    return found.first_alike(1, second) == 0


CONSTANT_AFTER_ALL: Mapping[str, Schedule] = {
    "never steps": scheduled("StepLR", step_size=EPOCHS, gamma=0.1),
    "steps to the same": scheduled("StepLR", step_size=1, gamma=1.0),
    "milestones beyond": scheduled("MultiStepLR", milestones=(EPOCHS, 20), gamma=0.5),
    "a factor of 1": scheduled("ConstantLR", factor=1.0),
    "from 1 to 1": scheduled("LinearLR", start_factor=1.0, end_factor=1.0),
    "a base of 1": scheduled("ExponentialLR", gamma=1.0),
    "a power of 0": scheduled("PolynomialLR", power=0.0, total_iters=EPOCHS + 1),
    "two that do nothing": scheduled(
        "ChainedScheduler",
        schedulers=(scheduled("StepLR", step_size=9), scheduled("ConstantLR", factor=1.0)),
    ),
    "one after another": scheduled(
        "SequentialLR",
        milestones=(3,),
        schedulers=(scheduled("ConstantLR", factor=1.0), scheduled("StepLR", step_size=9)),
    ),
    "too patient": plateau(patience=EPOCHS - 2),
    "at its least rate": plateau(patience=0, min_lr=0.1),
    "less than it bothers about": plateau(patience=0, factor=0.5, eps=1.0),
}


@pytest.mark.parametrize("name", CONSTANT_AFTER_ALL)
def test_a_schedule_that_never_changes_the_rate_is_no_schedule(name: str) -> None:
    schedule = CONSTANT_AFTER_ALL[name]
    assert alike(setting(), setting(schedule))
    assert alike(setting(schedule), setting())
    assert alike(setting(warmup_epochs=1), setting(schedule, warmup_epochs=1))
    assert alike(setting(two_groups=True, bias_lr=0.3), setting(schedule, two_groups=True, bias_lr=0.3)) == (
        name != "at its least rate"
    )


DIFFERENT: Mapping[str, Schedule] = {
    "steps before the last epoch": scheduled("StepLR", step_size=EPOCHS - 1, gamma=0.1),
    "a milestone within": scheduled("MultiStepLR", milestones=(EPOCHS - 1,), gamma=0.1),
    "a factor below 1": scheduled("ConstantLR", factor=0.5),
    "decays": scheduled("ExponentialLR", gamma=1 - 2**-52),
    "may act before the last epoch": plateau(patience=EPOCHS - 3),
    "takes nothing for a best": plateau(patience=EPOCHS - 2, threshold=1.5),
    "takes equals for better": plateau(patience=0, threshold=-0.5),
}


@pytest.mark.parametrize("name", DIFFERENT)
def test_a_schedule_that_may_change_the_rate_is_one(name: str) -> None:
    assert not alike(setting(), setting(DIFFERENT[name]))
    assert not alike(setting(DIFFERENT[name]), setting())


def test_equal_tables_are_the_same_whatever_their_names() -> None:
    step = scheduled("StepLR", step_size=4, gamma=0.1)
    assert alike(setting(step), setting(scheduled("MultiStepLR", milestones=(4,), gamma=0.1)))
    assert not alike(setting(step), setting(scheduled("MultiStepLR", milestones=(3,), gamma=0.1)))
    assert alike(setting(step), setting(scheduled("StepLR", step_size=4)))  # PyTorch's default


def test_plateaus_are_alike_only_where_they_are_the_same() -> None:
    assert alike(setting(plateau(patience=1)), setting(plateau(patience=1)))
    assert alike(setting(plateau(patience=1, factor=0.5)), setting(plateau(factor=0.5, patience=1)))
    assert not alike(setting(plateau(patience=1)), setting(plateau(patience=2)))
    assert alike(setting(plateau(patience=90)), setting(plateau(patience=91)))


EQUAL = [
    ({"momentum": 0.0}, {"momentum": 0.0, "dampening": 0.5}),
    ({"momentum": 0}, {"momentum": 0.0, "nesterov": False}),
    ({"lr": 1, "momentum": 0.9}, {"lr": 1.0, "momentum": 0.9, "weight_decay": 0}),
    ({"momentum": 0.0, "dampening": 0.1}, {"momentum": 0.0, "dampening": 0.9}),
]
UNEQUAL = [
    ({"momentum": 0.5}, {"momentum": 0.5, "dampening": 0.5}),
    ({"momentum": 0.5}, {"momentum": 0.5, "nesterov": True}),
    ({"momentum": 0.0}, {"momentum": 0.0, "weight_decay": 0.1}),
    ({"lr": 0.1}, {"lr": 0.1000001}),
]


@pytest.mark.parametrize(("one", "other"), EQUAL)
def test_what_is_said_of_a_momentum_of_0_is_nothing(one: Any, other: Any) -> None:
    assert alike(setting(arguments=one), setting(arguments=other))
    never = scheduled("StepLR", step_size=99)
    assert alike(setting(arguments=one), setting(never, arguments=other))
    without = Setting(optimizer="SGD", arguments={"lr": 0.1, "dampening": 0.5})
    assert alike(without, setting(arguments={"momentum": 0.0}))


@pytest.mark.parametrize(("one", "other"), UNEQUAL)
def test_what_changes_training_makes_a_difference(one: Any, other: Any) -> None:
    assert not alike(setting(arguments=one), setting(arguments=other))


@pytest.mark.parametrize(
    "changes",
    [
        {"batch_size": 16},
        {"clip_grad_norm": 1.0},
        {"warmup_epochs": 1},
        {"two_groups": True},
        {"two_groups": True, "bias_lr": 0.5},
        {"task_arguments": {"condition": 10.0}},
        {"optimizer": "RMSprop"},
    ],
)
def test_everything_but_the_schedule_has_to_be_equal(changes: Mapping[str, Any]) -> None:
    assert not alike(setting(), setting(**changes))


def test_what_a_schedule_sets_itself_is_told_by_its_rates() -> None:
    def cycle(max_lr: float, **arguments: Any) -> Setting:
        schedule = scheduled("OneCycleLR", every="step", max_lr=max_lr, **arguments)
        return Setting(optimizer="SGD", arguments={}, schedule=schedule)

    assert alike(cycle(0.1), cycle(0.1))
    assert alike(cycle(0.1), cycle(0.1, pct_start=0.3))
    assert not alike(cycle(0.1), cycle(0.2))
    assert not alike(cycle(0.1), cycle(0.1, pct_start=0.4))
    own = Setting(optimizer="SGD", arguments={"momentum": 0.0}, schedule=cycle(0.1).schedule)
    assert not alike(cycle(0.1), own)  # the schedule's momentum is not 0


def test_tables_are_built_only_where_settings_may_be_alike() -> None:
    built: list[Setting] = []

    class Listening(TrainedRates):
        __slots__ = ()

        def throughout(self, setting: Setting) -> Any:
            built.append(setting)
            return super().throughout(setting)

    found = Likeness(torch_catalogue(), Listening(task="quadratic", epochs=EPOCHS))
    for index in range(20):
        step = scheduled("StepLR", step_size=2, gamma=0.5 + index / 100)
        found.first_alike(index, setting(step, arguments={"lr": 0.1 + index / 100}))
    assert built == []
    peaks = [scheduled("OneCycleLR", every="step", max_lr=0.1 + index / 100) for index in range(20)]
    for index, peak in enumerate(peaks):
        found.first_alike(20 + index, Setting(optimizer="SGD", arguments={}, schedule=peak))
    assert built == []
    slow = {"momentum": 0.5}
    for index in range(3):
        waits = setting(plateau(patience=index), arguments=slow)
        assert found.first_alike(40 + index, waits) == 40 + index
    assert len(built) == 3  # each once, the first with the second
    assert found.first_alike(43, setting(plateau(patience=1), arguments=slow)) == 41
    assert len(built) == 3


def test_of_a_thousand_settings_each_is_looked_up_not_compared() -> None:
    found = Likeness(PYTORCH, None)
    gammas = [index % 250 / 1000 for index in range(1000)]
    firsts = [
        found.first_alike(index, setting(scheduled("ExponentialLR", gamma=gamma)))
        for index, gamma in enumerate(gammas)
    ]
    assert firsts == [index % 250 for index in range(1000)]


def test_without_rates_the_same_schedule_is_alike_and_no_other() -> None:
    found = Likeness(PYTORCH, None)
    never = setting(scheduled("StepLR", step_size=99))
    assert [found.first_alike(i, s) for i, s in enumerate((setting(), never, setting(), never))] == [
        0,
        1,
        0,
        1,
    ]
