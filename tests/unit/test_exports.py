"""CSV and JSON to the letter."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from sweeps.exports import as_csv, as_json, cell


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, ""),
        (True, "true"),
        (False, "false"),
        (0.1, "0.1"),
        (1e-05, "1e-05"),
        (1 / 3, "0.3333333333333333"),
        (math.nan, "nan"),
        (math.inf, "inf"),
        (-math.inf, "-inf"),
        (7, "7"),
        ("StepLR", "StepLR"),
        ([0.9, 0.999], "[0.9, 0.999]"),
    ],
)
def test_cells(value: Any, expected: str) -> None:
    assert cell(value) == expected


def test_csv_has_a_header_and_quotes_where_it_must() -> None:
    text = as_csv(("number", "betas"), [{"number": 0, "betas": [0.9, 0.99]}, {"number": 1, "betas": None}])
    assert text == 'number,betas\n0,"[0.9, 0.99]"\n1,\n'


def test_json_says_what_json_cannot() -> None:
    assert json.loads(as_json([{"a": math.inf, "b": 0.5, "c": None}])) == [{"a": "inf", "b": 0.5, "c": None}]
