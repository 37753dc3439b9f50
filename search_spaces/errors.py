"""What can be wrong with a sweep file, told all at once."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass, field

MOST_TOLD = 100  # problems in one message; a file of 20,000 mistakes has one cause


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake in a sweep file."""

    line: int | None  # None where the mistake is not in the file: a missing file name, a command-line option
    field: str  # dotted: optimizer.SGD.lr; or the option, such as --trials
    got: str  # phrase: "got -1", "unknown argument 'momentun'", "missing"
    wanted: str  # phrase: "a whole number from 1 to 1000000"
    hint: str = ""  # the nearest known name, or what to write instead

    def __str__(self) -> str:
        place = f"line {self.line}: " if self.line is not None else ""
        hint = f"; {self.hint}" if self.hint else ""
        return f"{place}{self.field}: {self.got}; wants {self.wanted}{hint}"


class SpaceErrors(Exception):
    """Everything that is wrong with one sweep file, in the order of its lines."""

    def __init__(self, source: str, problems: tuple[Problem, ...]) -> None:
        super().__init__(source, problems)
        self.source = source
        self.problems = problems

    def __str__(self) -> str:
        count = "1 problem" if len(self.problems) == 1 else f"{len(self.problems)} problems"
        told = [f"  {problem}" for problem in self.problems[:MOST_TOLD]]
        if len(self.problems) > MOST_TOLD:
            told.append(f"  ... and {len(self.problems) - MOST_TOLD} more")
        return "\n".join([f"{self.source}: {count}", *told])


@dataclass(slots=True)
class Findings:
    """What reading a file brings to light on the way: problems, notes, and where each field stands."""

    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    lines: dict[str, int] = field(default_factory=dict)  # by dotted field

    def problem(self, line: int | None, field: str, got: str, wanted: str, hint: str = "") -> None:
        """Remember a mistake and read on."""
        self.problems.append(Problem(line, field, got, wanted, hint))

    def raise_if_any(self, source: str) -> None:
        """Raise SpaceErrors with all problems so far, by line; those outside the file come last."""
        if self.problems:
            by_line = sorted(self.problems, key=lambda problem: (problem.line is None, problem.line or 0))
            raise SpaceErrors(source, tuple(by_line))


def nearest(name: str, known: Iterable[str]) -> str:
    """Return ``did you mean 'x'?`` with the nearest known name; empty where none is near."""
    by_lower = {candidate.lower(): candidate for candidate in known}
    found = difflib.get_close_matches(name.lower()[:100], by_lower, n=1)
    return f"did you mean '{by_lower[found[0]]}'?" if found else ""


def one_of(names: Iterable[str]) -> str:
    """Return ``one of a, b, c``; the name alone where there is but one."""
    listed = list(names)
    return listed[0] if len(listed) == 1 else f"one of {', '.join(listed)}" if listed else "nothing here"


def shorten(text: str, limit: int = 60) -> str:
    """Text fit for one line of a message: no line breaks or control characters, not too long."""
    plain = text if text.isprintable() else text.encode("unicode_escape").decode("ascii")
    return plain if len(plain) <= limit else f"{plain[: limit - 3]}..."


def counted(count: int, noun: str) -> str:
    """``1 seed``, ``2 seeds``."""
    return f"{count} {noun}{'' if count == 1 else 's'}"
