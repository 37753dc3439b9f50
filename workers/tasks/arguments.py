"""Checks of task arguments that several tasks share: each raises ValueError with one sentence."""

from __future__ import annotations

from pathlib import Path


def at_least(name: str, value: int, lowest: int) -> int:
    """``value`` where it is a whole number of at least ``lowest``."""
    if isinstance(value, bool) or not isinstance(value, int) or value < lowest:
        raise ValueError(f"{name} must be a whole number of at least {lowest}, got {value}")
    return value


def dropout_rate(value: float) -> float:
    """``value`` where it is a probability below 1."""
    if not 0.0 <= value < 1.0:
        raise ValueError(f"dropout must be at least 0 and below 1, got {value}")
    return float(value)


def validation_part(value: float) -> float:
    """``value`` where it is a share strictly between 0 and 1."""
    if not 0.0 < value < 1.0:
        raise ValueError(f"validation_share must lie between 0 and 1, got {value}")
    return float(value)


def existing(path: str, wanted: str) -> Path:
    """The file or folder at ``path``, which may start with ``~``; ``wanted`` is what a message calls it."""
    place = Path(path).expanduser()
    if not place.exists():
        raise ValueError(
            f"path: there is no {wanted} {place.absolute()}; write its full path or one from the sweep "
            "file's folder"
        )
    return place.absolute()


def first_line(error: BaseException) -> str:
    """The first line of what ``error`` says, without the full stop; its class where it says nothing."""
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__
