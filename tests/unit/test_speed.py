"""Measuring speeds: what is tried, what counts, and when it is enough. The clock is moved by hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from workers.speed import Speeds, Try, measure, widths_up_to

UPDATES = 10


@dataclass
class MadeUp:
    """Benches whose seconds of a pass are a formula, and a clock that they move."""

    seconds_of_pass: Callable[[int], float] = lambda width: 0.001 + 0.0001 * width
    seconds_alone: float = 0.001
    unfolded: float | None = None  # times as fast as grouped; None: nothing convolves
    fits: int = 10**6  # rows
    room: int = 10**6  # rows after which there is none for twice as many
    warm_up: float = 1e-6  # seconds more
    slow_tries: Mapping[int, float] = field(
        default_factory=dict
    )  # seconds more of a width's second and fourth try
    error: Exception | None = None
    now: float = 100.0
    tried: list[tuple[str, int]] = field(default_factory=list)

    @property
    def convolves(self) -> bool:
        return self.unfolded is not None

    def clock(self) -> float:
        return self.now

    def solo(self) -> Try:
        return self._attempts("solo", 1, self.seconds_alone)

    def rows(self, convolutions: str, width: int) -> Try:
        faster = self.unfolded if convolutions == "unfolded" else 1.0
        assert faster is not None
        return self._attempts(convolutions, width, self.seconds_of_pass(width) / faster)

    def has_room(self) -> bool:
        return not self.tried or self.tried[-1][1] < self.room

    def _attempts(self, name: str, width: int, seconds: float) -> Try:
        self.tried.append((name, width))
        count = 0

        def attempt() -> int:
            nonlocal count
            count += 1
            if self.error is not None:
                raise self.error
            if width > self.fits:
                raise MemoryError
            more = self.warm_up if count == 1 else self.slow_tries.get(width, 0.0) if count in (2, 4) else 0.0
            self.now += UPDATES * seconds + more
            return UPDATES * width

        return attempt


def measured(benches: MadeUp, *, most: int = 32, **options: Any) -> Speeds:
    return measure(benches, least=4, most=most, clock=benches.clock, **options)


def widths(speeds: Speeds) -> list[int]:
    return list(speeds.stacked)


def test_speeds_are_trial_steps_a_second() -> None:
    found = measured(MadeUp())
    assert found.stacked == pytest.approx({w: w / (0.001 + 0.0001 * w) for w in (4, 8, 16, 32)})
    assert found.solo == pytest.approx(1000)
    assert (found.convolutions, found.compared, found.stopped) == ("grouped", None, None)


def test_warming_up_does_not_count_nor_does_what_slows_a_try_down() -> None:
    calm = measured(MadeUp())
    disturbed = measured(MadeUp(warm_up=0.05, slow_tries={8: 0.03, 1: 0.03}))
    ways = measured(MadeUp(warm_up=0.05, slow_tries={16: 0.03}, unfolded=1.3)).compared
    assert ways == pytest.approx({"grouped": 16 / 0.0026, "unfolded": 1.3 * 16 / 0.0026})
    assert disturbed.stacked == pytest.approx(calm.stacked)
    assert disturbed.solo == pytest.approx(calm.solo)
    assert disturbed.seconds > calm.seconds + 0.2


@pytest.mark.parametrize(
    ("most", "wanted"), [(1, [4]), (4, [4]), (5, [4, 5]), (20, [4, 8, 16, 20]), (32, [4, 8, 16, 32])]
)
def test_no_wider_than_is_needed_and_no_narrower_than_bits_allow(most: int, wanted: list[int]) -> None:
    assert list(widths_up_to(most, 4)) == wanted
    assert widths(measured(MadeUp(), most=most)) == wanted


def test_wider_is_given_up_after_two_slower_ones_in_a_row() -> None:
    def bumpy(width: int) -> float:
        return width / {4: 100, 8: 90, 16: 120, 32: 110, 64: 119}.get(width, 1000)

    found = measured(MadeUp(bumpy), most=256, budget_seconds=1e9)
    assert widths(found) == [4, 8, 16, 32, 64]
    assert found.stopped == "slower"
    assert found.covers(1000)


@pytest.mark.parametrize(("benches", "tried"), [(MadeUp(fits=15), [4, 8, 16]), (MadeUp(room=8), [4, 8])])
def test_a_width_that_memory_will_not_do_for_ends_it(benches: MadeUp, tried: list[int]) -> None:
    found = measured(benches)
    assert widths(found) == [4, 8]
    assert found.stopped == "memory"
    assert [width for name, width in benches.tried if name == "grouped"] == tried


def test_too_little_memory_for_the_least_is_an_error() -> None:
    with pytest.raises(MemoryError):
        measured(MadeUp(fits=3))


def test_what_takes_long_is_tried_narrow_only() -> None:
    found = measured(MadeUp(lambda width: 0.01 * width))
    assert widths(found) == [4, 8]
    assert found.stopped == "time"
    assert found.solo is not None
    assert found.seconds < 2.5
    assert widths(measured(MadeUp(lambda width: 10.0 * width))) == [4]


def test_where_stacking_is_pinned_nothing_else_is_tried() -> None:
    benches = MadeUp(unfolded=2.0)
    found = measured(benches, pinned=True)
    assert (found.solo, found.convolutions, found.compared) == (None, "grouped", None)
    assert {name for name, _ in benches.tried} == {"grouped"}


@pytest.mark.parametrize(("unfolded", "way"), [(0.5, "grouped"), (1.05, "grouped"), (1.3, "unfolded")])
def test_convolutions_are_unfolded_where_that_is_clearly_faster(unfolded: float, way: str) -> None:
    benches = MadeUp(unfolded=unfolded)
    found = measured(benches)
    assert found.convolutions == way
    assert found.compared is not None
    assert found.compared["unfolded"] == pytest.approx(unfolded * found.compared["grouped"])
    assert found.stacked[16] == pytest.approx(found.compared[way])
    assert [name for name, width in benches.tried if width in (8, 32)] == [way, way]


@pytest.mark.parametrize(
    ("most", "slow", "width"), [(64, 1, 16), (8, 1, 8), (5, 1, 4), (64, 30, 8), (64, 1000, 4)]
)
def test_they_are_compared_at_a_width_that_tells_them_apart(most: int, slow: float, width: int) -> None:
    benches = MadeUp(lambda rows: slow * (0.0001 + 0.00001 * rows), unfolded=0.5)
    measured(benches, most=most)
    assert [rows for name, rows in benches.tried if name == "unfolded"] == [width]


def test_wider_is_added_to_what_is_known() -> None:
    before = measured(MadeUp(unfolded=1.3), most=8)
    assert not before.covers(9)
    benches = MadeUp(unfolded=1.3)
    found = measured(benches, most=32, known=before)
    assert benches.tried == [("unfolded", 16), ("unfolded", 32)]
    assert found.stacked == pytest.approx(measured(MadeUp(unfolded=1.3)).stacked)
    assert (found.solo, found.compared) == (before.solo, before.compared)
    assert found.covers(32)
    assert found.seconds > before.seconds


def test_what_the_task_raises_goes_through() -> None:
    with pytest.raises(RuntimeError, match="mine"):
        measured(MadeUp(error=RuntimeError("mine")))


def test_speeds_come_back_from_json() -> None:
    found = measured(MadeUp(unfolded=1.3, room=8))
    assert Speeds.from_json(found.to_json()) == found
    pinned = measured(MadeUp(), pinned=True)
    assert Speeds.from_json(pinned.to_json()) == pinned


@pytest.mark.parametrize(
    "changes",
    [
        {"stacked": {}},
        {"stacked": {"4": 0.0}},
        {"stacked": {"four": 1.0}},
        {"stacked": None},
        {"convolutions": "winograd"},
        {"solo": []},
        {"solo": -1.0},
        {"solo": float("nan")},
    ],
)
def test_what_is_no_speeds_is_refused(changes: dict[str, Any]) -> None:
    plain = measured(MadeUp()).to_json()
    assert Speeds.from_json(plain)
    with pytest.raises((ValueError, TypeError, AttributeError)):
        Speeds.from_json({**plain, **changes})


def test_speeds_are_values() -> None:
    found = measured(MadeUp())
    assert replace(found) == found
