"""What a user's own code raises, told in one sentence that points into it."""

from __future__ import annotations

import traceback
from pathlib import Path

USER_ERRORS = (Exception, KeyboardInterrupt, SystemExit)
"""What is caught around a user's code: it must not end us with an exit code of its own."""

LONGEST_MESSAGE = 300  # characters of an exception's own words
_OURS = Path(__file__).parents[1]


def told(error: BaseException, path: str) -> str:
    """``line 12: KeyError: 'x'``: the deepest line of the user's file, or of its folder, and the error."""
    place = _place(error, path)
    return f"{place}: {named(error)}" if place else named(error)


def named(error: BaseException) -> str:
    """``KeyError: 'x'``, on one line and not too long."""
    words = " ".join(str(error).split())
    if isinstance(error, SystemExit):
        words = f"{words}, which would end Ravine; raise a ValueError where something is wrong"
    elif len(words) > LONGEST_MESSAGE:
        words = f"{words[:LONGEST_MESSAGE]}..."
    return f"{type(error).__name__}: {words}" if words else type(error).__name__


def _place(error: BaseException, path: str) -> str:
    frames = [(frame.f_code.co_filename, line) for frame, line in traceback.walk_tb(error.__traceback__)]
    if isinstance(error, SyntaxError) and error.filename is not None:
        frames.append((error.filename, error.lineno or 1))
    for file, line in reversed(frames):
        if file == path:
            return f"line {line}"
        found = Path(file)
        if found.is_relative_to(Path(path).parent) and not (
            found.is_relative_to(_OURS) or "site-packages" in found.parts
        ):
            return f"{found.name}, line {line}"
    return ""
