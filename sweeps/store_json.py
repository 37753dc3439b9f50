"""JSON as the store writes it: exact, and valid for both databases where a number is not finite."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

_NOT_FINITE = "$float"
"""Neither database's JSON knows NaN and the infinities: they are written ``{"$float": "inf"}``."""

# A curve has tens of thousands of small objects; `json.loads` looks for spaces around each for longer than it
# parses.
_decoder: Any = json.JSONDecoder()  # typeshed does not know `scan_once`
_scan: Callable[[str, int], tuple[Any, int]] = _decoder.scan_once


# `json.dumps` makes one of these at each call, which takes longer than a small object does.
_make_encoder: Any = json.encoder.c_make_encoder  # type: ignore[attr-defined]  # nor this
_text = json.encoder.encode_basestring_ascii


def _refuse(value: object) -> NoReturn:
    raise TypeError(f"{type(value).__name__} is no JSON")


# In order: what circles are found with, what writes other types and text, indentation, both separators,
# whether keys are sorted, whether keys that are no text are left out, whether NaN is written.
_pieces = _make_encoder(None, _refuse, _text, None, ":", ",", False, False, False)


def encode(value: Any) -> str:
    """The value as JSON text of one line; every finite number reads back with the same bits."""
    try:
        return "".join(_pieces(value, 0))
    except (TypeError, ValueError):
        return json.dumps(_plain(value), allow_nan=False, separators=(",", ":"))


def decode(text: str | bytes) -> Any:
    """The inverse of :func:`encode`; tuples come back as lists."""
    if isinstance(text, bytes):
        text = text.decode()
    if _NOT_FINITE in text:
        return json.loads(text, object_hook=_number)
    try:
        return _scan(text, 0)[0]
    except StopIteration:
        return json.loads(text)  # spaces before the value: not of our making


def _plain(value: Any) -> Any:
    """A copy made of dicts, lists and finite numbers."""
    if isinstance(value, float) and not math.isfinite(value):
        return {_NOT_FINITE: repr(value)}
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def _number(item: dict[str, Any]) -> Any:
    return float(item[_NOT_FINITE]) if item.get(_NOT_FINITE) in ("nan", "inf", "-inf") else item
