"""How many rows open trials take, those that share one counted once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from search_spaces.settings import Schedule, Setting
from sweeps.entries import OpenTrial
from sweeps.families import Families, Prefix
from sweeps.plan import Place
from sweeps.records import NewTrial
from workers.prefixes import prefixes
from workers.schedule_table import SchedulePath, schedule_path

EPOCHS = 10


def decayed_at(epoch: int | None, lr: float = 0.1) -> Setting:
    """A setting whose rates are those of all others with its ``lr`` up to ``epoch``."""
    arguments = {"milestones": (epoch,), "gamma": 0.1}
    schedule = Schedule() if epoch is None else Schedule(name="MultiStepLR", arguments=arguments)
    return Setting(optimizer="SGD", arguments={"lr": lr, "momentum": 0.9}, schedule=schedule)


def by_schedule(settings: Sequence[Setting]) -> list[Prefix]:
    return prefixes("digits-mlp", EPOCHS, settings)


def opened(
    number: int, setting: Setting, *, seed: int = 0, lane: int = 0, admitted_round: int = 1
) -> OpenTrial:
    row = NewTrial(
        number=number,
        setting_index=number,
        seed=seed,
        admitted_round=admitted_round,
        lane=lane,
        optimizer=setting.optimizer,
        schedule=setting.schedule.name,
        setting=setting.to_json(),
        lr=None,
        momentum=None,
        weight_decay=None,
        nesterov=None,
    )
    place = Place(number=number, lane=lane, admitted_round=admitted_round)
    return OpenTrial(row=row, setting=setting, place=place)


class Sweep:
    """Families with the open trials beside them, as a ledger has them."""

    def __init__(self, *, shares: bool = True) -> None:
        self.families = Families(by_schedule if shares else None, EPOCHS)
        self.open: dict[int, OpenTrial] = {}

    def join(self, *trials: OpenTrial) -> None:
        self.families.join(trials)
        self.open |= {trial.row.number: trial for trial in trials}

    def end(self, number: int) -> None:
        self.families.leave(self.open.pop(number))

    def rows(self, lane: int = 0) -> list[int]:
        """By round, from 1."""
        return [self.families.rows(self.open, lane=lane, round_=round_) for round_ in range(1, 14)]


def test_prefixes_tell_where_schedules_part() -> None:
    found = by_schedule([decayed_at(None), decayed_at(4), decayed_at(8), decayed_at(4)])
    assert found[0] == (0,) * 10
    assert found[1] == (0,) * 4 + (1,) * 6
    assert found[2] == (0,) * 8 + (2,) * 2
    assert found[3] == found[1]


def test_prefixes_of_a_plateau_and_of_other_classes() -> None:
    plateau = Schedule(name="ReduceLROnPlateau", arguments={"patience": 0})
    step = Schedule(name="StepLR", arguments={"step_size": 4, "gamma": 0.1})
    cycle = Schedule(name="OneCycleLR", arguments={"max_lr": 0.1}, every="step")
    numbers = {"lr": 0.1, "momentum": 0.9}
    settings = [decayed_at(4)] + [
        Setting(optimizer="SGD", arguments=numbers, schedule=schedule) for schedule in (plateau, step, cycle)
    ]
    first, watching, stepping, cycling = by_schedule(settings)
    assert first == (0,) * 10
    assert watching == (0,) * 4 + (1,) * 6
    assert stepping == (0,) * 8 + (2,) * 2
    assert cycling == (3,) * 10


def test_no_table_is_written_for_a_schedule_that_starts_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[Setting] = []

    def path(setting: Setting, *rest: Any) -> SchedulePath:
        written.append(setting)
        return schedule_path(setting, *rest)

    monkeypatch.setattr("workers.prefixes.schedule_path", path)
    settings = [decayed_at(4), decayed_at(4, 0.2), decayed_at(8), decayed_at(4, 0.3)]
    assert by_schedule(settings) == [(0,) * 10, (1,) * 10, (0,) * 4 + (2,) * 6, (3,) * 10]
    assert written == [settings[0], settings[2]]


@pytest.mark.parametrize(
    ("case", "settings", "expected"),
    [
        ("single trials", [decayed_at(4, lr) for lr in (0.1, 0.2, 0.3)], [3] * 10 + [0] * 3),
        ("one trunk and a branch", [decayed_at(None), decayed_at(4)], [1] * 4 + [2] * 6 + [0] * 3),
        ("three", [decayed_at(None), decayed_at(4), decayed_at(8)], [1] * 4 + [2] * 4 + [3] * 2 + [0] * 3),
        ("the same twice", [decayed_at(4), decayed_at(4)], [1] * 10 + [0] * 3),
        (
            "two families",
            [decayed_at(e, lr) for lr in (0.1, 0.2) for e in (2, 9)],
            [2, 2] + [4] * 7 + [4] + [0] * 3,
        ),
    ],
)
def test_rows_by_round(case: str, settings: list[Setting], expected: list[int]) -> None:
    sweep = Sweep()
    sweep.join(*(opened(number, setting) for number, setting in enumerate(settings)))
    assert sweep.rows() == expected, case


def test_what_differs_in_seed_round_or_lane_shares_nothing() -> None:
    sweep = Sweep()
    sweep.join(opened(0, decayed_at(4)), opened(1, decayed_at(4), seed=1))
    sweep.join(opened(2, decayed_at(4), admitted_round=3))
    sweep.join(opened(3, decayed_at(4), lane=1))
    assert sweep.rows() == [2, 2, 3, 3, 3, 3, 3, 3, 3, 3, 1, 1, 0]
    assert sweep.rows(lane=1) == [1] * 10 + [0] * 3


def test_only_trials_whose_schedules_begin_alike_share_a_row_at_the_start() -> None:
    sweep = Sweep()
    cycles = [
        Setting(
            optimizer="SGD",
            arguments={"lr": 0.1, "momentum": 0.9},
            schedule=Schedule(name="OneCycleLR", arguments={"max_lr": highest}, every="step"),
        )
        for highest in (0.1, 0.2, 0.1)
    ]
    sweep.join(
        *(opened(n, setting) for n, setting in enumerate([*cycles, decayed_at(4), decayed_at(8)])),
        opened(5, decayed_at(4), seed=1),
    )
    at_start = [sweep.families.row_at_start(trial) for trial in sweep.open.values()]
    assert len(set(at_start)) == 4
    assert (at_start[0], at_start[3]) == (at_start[2], at_start[4])
    sweep.end(0)
    sweep.end(3)
    assert [sweep.families.row_at_start(trial) for trial in sweep.open.values()] == [
        at_start[number] for number in (1, 2, 4, 5)
    ]


def test_trials_that_are_not_stacked_share_nothing() -> None:
    sweep = Sweep(shares=False)
    sweep.join(opened(0, decayed_at(4)), opened(1, decayed_at(4)))
    assert sweep.rows() == [2] * 10 + [0] * 3


def test_a_row_counts_as_long_as_somebody_rides_on_it() -> None:
    sweep = Sweep()
    sweep.join(
        *(
            opened(number, setting)
            for number, setting in enumerate([decayed_at(None), decayed_at(4), decayed_at(4)])
        )
    )
    sweep.end(0)
    assert sweep.rows() == [1] * 10 + [0] * 3
    sweep.end(2)
    assert sweep.rows() == [1] * 10 + [0] * 3
    sweep.end(1)
    assert sweep.rows() == [0] * 13


def test_reports_tell_where_a_plateau_has_dropped() -> None:
    plateau = Schedule(name="ReduceLROnPlateau", arguments={"patience": 0})
    settings = [
        decayed_at(None),
        Setting(optimizer="SGD", arguments={"lr": 0.1, "momentum": 0.9}, schedule=plateau),
    ]
    sweep = Sweep()
    sweep.join(*(opened(number, setting) for number, setting in enumerate(settings)))
    constant, watching = sweep.open[0], sweep.open[1]
    constant.step = watching.step = 44
    watching.parent_number, watching.fork_step = 0, 44
    assert sweep.rows() == [1] * 10 + [0] * 3
    constant.step = watching.step = 88
    assert sweep.rows() == [2] * 10 + [0] * 3


def test_rows_at_the_start_of_a_family() -> None:
    families = Families(by_schedule, EPOCHS)
    assert families.rows_at_start([decayed_at(2), decayed_at(4), decayed_at(None)]) == 1
    early = Schedule(name="WSD", arguments={"decay_start": 5})
    late = Setting(optimizer="SGD", arguments={"lr": 0.1, "momentum": 0.9}, schedule=early)
    assert families.rows_at_start([decayed_at(2), late]) == 1
    cycle = Schedule(name="OneCycleLR", arguments={"max_lr": 0.5}, every="step")
    other = Setting(optimizer="SGD", arguments={"lr": 0.1, "momentum": 0.9}, schedule=cycle)
    assert families.rows_at_start([decayed_at(2), other]) == 2
    assert Families(None, EPOCHS).rows_at_start([decayed_at(2), decayed_at(4)]) == 2
