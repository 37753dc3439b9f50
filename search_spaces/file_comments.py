"""Comments of a sweep file by the field that they speak of, so that they can be written again."""

from __future__ import annotations

from collections.abc import Mapping

from search_spaces.nodes import comment_lines
from search_spaces.writing import HEAD


def comments_by_field(text: str, lines: Mapping[str, int]) -> dict[str, tuple[str, ...]]:
    """Comments of ``text`` by dotted field, from ``lines``, where each field stands (``LoadedSpace.lines``).

    A comment behind a field speaks of it, one on a line of its own of the next field; what is said before the
    first field, or after the last, is the file's own (:data:`search_spaces.writing.HEAD`).
    """
    on_line: dict[int, str] = {}  # the outermost field that begins on a line
    for name, line in lines.items():
        if line not in on_line or name.count(".") < on_line[line].count("."):
            on_line[line] = name
    first = min(on_line, default=1)
    source = text.splitlines()
    found: dict[str, list[str]] = {}
    for number, comment in comment_lines(text).items():
        alone = source[number - 1].lstrip().startswith("#")
        if alone:
            begins = [line for line in on_line if line > number]
            name = on_line[min(begins)] if begins and number > first else HEAD
        else:
            name = on_line[max(line for line in on_line if line <= number)]
        found.setdefault(name, []).append(comment)
    return {name: tuple(said) for name, said in found.items()}
