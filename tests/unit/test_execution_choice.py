"""Stacked or solo, and how wide: tables of speeds and what they speak for."""

from __future__ import annotations

from typing import Any

import pytest

from sweeps.execution_choice import Share, best_width, choose, even_share, seconds_of_step, told_of_width
from workers.speed import Speeds

RISING = {4: 4000.0, 8: 6000.0, 16: 8000.0, 32: 9000.0}
PEAKED = {4: 800.0, 8: 1300.0, 16: 1900.0, 32: 1500.0, 64: 1300.0}
FLAT = {4: 100.0, 8: 100.0, 16: 100.0}


@pytest.mark.parametrize(
    ("stacked", "rows", "width"),
    [
        (RISING, 32, 32),
        (RISING, 20, 20),  # one pass of all, between two that were measured
        (RISING, 1, 4),
        (RISING, 4, 4),
        (RISING, 100, 32),  # wider was not measured
        (PEAKED, 64, 16),
        (PEAKED, 32, 16),
        (PEAKED, 16, 16),
        (PEAKED, 10, 10),
        (FLAT, 16, 4),  # of equal ones the narrowest
        ({4: 100.0}, 64, 4),
    ],
)
def test_the_width_with_the_most_trial_steps_a_second(
    stacked: dict[int, float], rows: int, width: int
) -> None:
    assert best_width(stacked, rows, 4) == width


@pytest.mark.parametrize(("least", "width"), [(4, 4), (8, 8), (12, 12), (32, 32)])
def test_never_narrower_than_bits_allow(least: int, width: int) -> None:
    falling = {4: 100.0, 8: 90.0, 16: 80.0}
    assert best_width(falling, 16, least) == width


def test_a_step_is_as_long_as_its_passes() -> None:
    assert seconds_of_step(RISING, 32, 16) == pytest.approx(2 * 16 / 8000)
    assert seconds_of_step(RISING, 20, 16) == pytest.approx(seconds_of_step(RISING, 20, 20))
    assert seconds_of_step(RISING, 24, 16) == pytest.approx(2 * (8 / 6000 + 16 / 8000) / 2)
    assert seconds_of_step(RISING, 2, 8) == pytest.approx(4 / 4000)  # padded to four rows
    assert seconds_of_step(RISING, 12, 12) == pytest.approx((8 / 6000 + 16 / 8000) / 2)
    assert seconds_of_step(RISING, 64, 64) == pytest.approx(64 / 9000)


@pytest.mark.parametrize(
    ("stacked", "solo", "shares", "execution"),
    [
        (RISING, 2000.0, ((2, 16), (2, 16)), "stacked"),
        (FLAT, 108.0, ((2, 16), (2, 16)), "stacked"),  # not clearly
        (FLAT, 112.0, ((2, 16), (2, 16)), "solo"),
        (RISING, 2000.0, ((1, 1), (1, 1)), "solo"),  # a lone row is padded to four
        (RISING, 2000.0, ((1, 3), (1, 3)), "stacked"),
        (RISING, 2000.0, ((2, 4), (8, 1)), "solo"),  # more workers, since solo trials want no rows
        (RISING, None, ((1, 1), (1, 1)), "stacked"),  # not asked
    ],
)
def test_solo_where_it_is_clearly_faster(
    stacked: dict[int, float],
    solo: float | None,
    shares: tuple[tuple[int, int], tuple[int, int]],
    execution: str,
) -> None:
    either, alone = (Share(workers=workers, rows=rows) for workers, rows in shares)
    choice = choose(Speeds(stacked=stacked, solo=solo, seconds=1.0), stacked=either, solo=alone, least=4)
    assert choice.execution == execution
    assert (choice.why_solo is None) == (execution == "stacked")


def test_why_solo_names_both_speeds() -> None:
    share = Share(workers=2, rows=16)
    choice = choose(Speeds(stacked=FLAT, solo=1500.0, seconds=1.0), stacked=share, solo=share, least=4)
    assert choice.why_solo is not None
    assert "3,000 trial-steps/s solo, 200 stacked" in choice.why_solo


@pytest.mark.parametrize(("concurrency", "workers", "rows"), [(32, 2, 16), (33, 2, 17), (1, 1, 1)])
def test_shares(concurrency: int, workers: int, rows: int) -> None:
    assert even_share(concurrency, workers) == Share(workers=workers, rows=rows)


@pytest.mark.parametrize(
    ("plan", "speeds", "remembered", "line"),
    [
        (
            {"execution": "stacked", "width": 32},
            Speeds(stacked={8: 9800.4, 32: 13400.0}, solo=2600.0, seconds=1.0),
            False,
            "width 32 (measured: 8: 9,800, 32: 13,400 trial-steps/s; solo 2,600)",
        ),
        (
            {"execution": "solo", "width": 4},
            Speeds(
                stacked={4: 90.0},
                solo=120.0,
                convolutions="unfolded",
                compared={"grouped": 60.0, "unfolded": 90.0},
                seconds=1.0,
            ),
            True,
            "solo (remembered: 4: 90 trial-steps/s; solo 120; convolutions unfolded)",
        ),
        (
            {"execution": "stacked", "width": 4},
            Speeds(stacked={4: 90.0}, solo=None, seconds=1.0),
            True,
            "width 4 (remembered: 4: 90 trial-steps/s)",
        ),
    ],
)
def test_one_line_for_people(plan: dict[str, Any], speeds: Speeds, remembered: bool, line: str) -> None:
    assert told_of_width(plan, speeds, remembered=remembered) == line
