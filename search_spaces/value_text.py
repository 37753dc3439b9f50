"""Single values and ranges as the text of a sweep file, on one line."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from search_spaces.ranges import (
    Choice,
    Effective,
    Fixed,
    Integer,
    Log,
    LogOneMinus,
    Numeric,
    Range,
    Tuple,
    Uniform,
    Value,
)

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]*")
_NOT_TEXT = frozenset({"null", "true", "false", "yes", "no", "on", "off", "y", "n"})
_AXES: Mapping[type[Numeric], str] = {
    Uniform: "uniform",
    Log: "log",
    LogOneMinus: "log1m",
    Effective: "effective",
}


def range_text(range_: Range) -> str:
    """A range as it stands in a sweep file, on one line."""
    if isinstance(range_, Fixed):
        listed = isinstance(range_.value, tuple)
        return f"{{value: {value_text(range_.value)}}}" if listed else value_text(range_.value)
    if isinstance(range_, Choice):
        return f"[{', '.join(range_text(option) for option in range_.options)}]"
    if isinstance(range_, Tuple):
        return f"{{tuple: [{', '.join(range_text(item) for item in range_.items)}]}}"
    points = "" if range_.points is None else f", points: {range_.points}"
    return f"{{{_axis(range_)}: [{value_text(range_.low)}, {value_text(range_.high)}]{points}}}"


def value_text(value: Value) -> str:
    """A plain value as it stands in a sweep file."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return _float_text(value)
    if isinstance(value, tuple):
        return f"[{', '.join(value_text(item) for item in value)}]"
    return word_text(value) if isinstance(value, str) else str(value)


def word_text(text: str) -> str:
    """Text as it stands in a sweep file: in quotes where a reader of YAML 1.1 or 1.2 needs them."""
    if _PLAIN.fullmatch(text) and text.lower() not in _NOT_TEXT:
        return text
    return json.dumps(text, ensure_ascii=not text.isprintable())


def _float_text(value: float) -> str:
    """The shortest digits that give the same number; YAML 1.1 takes 1e-05 for text, 1.0e-05 for a number."""
    mantissa, exponent, power = repr(value).partition("e")
    return f"{mantissa}{exponent}{power}" if "." in mantissa or not exponent else f"{mantissa}.0e{power}"


def _axis(range_: Numeric) -> str:
    if isinstance(range_, Integer):
        return "int_log" if range_.log else "int"
    return _AXES[type(range_)]
