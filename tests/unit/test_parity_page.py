"""docs/parity.md lists what there is, as it trains."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.unit.parity_comparison import TOLERANCE
from tests.unit.parity_draws import optimizer_classes, schedule_classes
from tests.unit.parity_float32 import float32_differences
from workers.update_rules import UPDATE_RULES

PAGE = (Path(__file__).parents[2] / "docs" / "parity.md").read_text()


def rows(title: str) -> dict[str, list[str]]:
    """Cells behind the class of each row of the section's table."""
    (section,) = re.findall(rf"^## {title}\n(.*?)(?=^## )", PAGE, re.DOTALL | re.MULTILINE)
    return {
        name: cells.split(" | ")
        for name, cells in re.findall(r"^\| `(\w+)` \| (.*) \|$", section, re.MULTILINE)
    }


def test_every_schedule_stands_on_the_page_as_stacked() -> None:
    assert {name: trains for name, (trains, *_) in rows("Schedules").items()} == dict.fromkeys(
        schedule_classes(), "stacked"
    )


def test_every_optimizer_stands_on_the_page_as_it_trains() -> None:
    assert {name: trains for name, (trains, *_) in rows("Optimizers").items()} == {
        name: "stacked" if name in UPDATE_RULES else "solo" for name in optimizer_classes()
    }


@pytest.mark.parametrize("title", ["Schedules", "Optimizers"])
def test_what_the_page_says_of_them(title: str) -> None:
    for name, (trains, _, cases, diverged, rates, weights, _) in rows(title).items():
        assert int(cases) >= 24, name
        assert int(diverged) < int(cases) / 2, name
        assert rates == "0", name
        assert weights == "0" if trains == "solo" else 0 < float(weights) <= 10 * TOLERANCE, name


def test_float32_losses_stay_together() -> None:
    """The page's line on precision, measured again."""
    assert 0.0 < max(float32_differences()) < 1e-4
