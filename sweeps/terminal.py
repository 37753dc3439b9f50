"""What commands say, and where: people read stderr, stdout carries data, the exit code says how it went."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from enum import IntEnum
from functools import wraps
from typing import Any, ParamSpec

import typer
from rich.console import Console

from sweeps.errors import RavineError

Arguments = ParamSpec("Arguments")

WIDE = 10_000  # columns, where no terminal limits them
people = Console(stderr=True, width=None if sys.stderr.isatty() else WIDE, markup=False, emoji=False)


class Exit(IntEnum):
    """What a command's exit code says."""

    finished = 0
    bad_input = 2
    interrupted = 3
    failed = 4


def say(sentence: str) -> None:
    """Tell people a sentence, however long, as a line of its own."""
    people.print(sentence, highlight=False, soft_wrap=True)


def say_notes(notes: Iterable[str]) -> None:
    """Tell people what is worth knowing and keeps nothing from going on."""
    for note in notes:
        say(f"note: {note}")


def data_console() -> Console:
    """Stdout; as wide as it takes where no terminal reads it."""
    return Console(width=None if sys.stdout.isatty() else WIDE, highlight=False, markup=False, emoji=False)


def print_data(renderable: Any) -> None:
    """Print a table, or whatever else Rich can draw, on stdout."""
    data_console().print(renderable)


def told_once(command: Callable[Arguments, None]) -> Callable[Arguments, None]:
    """Turn errors that people can act on into one sentence and exit code 2."""

    @wraps(command)
    def wrapped(*args: Arguments.args, **kwargs: Arguments.kwargs) -> None:
        from search_spaces.errors import SpaceErrors

        try:
            command(*args, **kwargs)
        except (RavineError, SpaceErrors) as error:
            say(f"ravine: {error}")
            raise typer.Exit(Exit.bad_input) from error
        except BrokenPipeError:
            # The reader of our stdout has gone (| head): nothing is left to say.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

    return wrapped
