"""Results as a table for a terminal, and as the measured part of docs/benchmarks.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.figures import FIGURES, Found

BEGIN = "<!-- measured: python -m benchmarks.speed --write writes from here -->"
END = "<!-- measured: to here -->"


class PageHasNoPlace(ValueError):
    """A page lacks the two comments between which results go."""


def table(found: Sequence[Found]) -> list[str]:
    """Lines for a terminal."""
    rows = [("figure", "must", "aim", "got", "")]
    for one in found:
        figure = FIGURES[one.key]
        name = figure.told if not one.part else f"{figure.told}: {one.part}"
        rows.append((name, figure.shown(figure.must), figure.shown(figure.aim), one.got(), _verdict(one)))
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    return [
        "  ".join([*(text.ljust(width) for text, width in zip(row, widths, strict=False)), row[4]]).rstrip()
        for row in rows
    ]


def page_part(facts: Mapping[str, Any], found: Sequence[Found], calibration: Sequence[str], day: str) -> str:
    """The measured part in Markdown: machine, table, what figures are made of, what was missed and why."""
    lines = [f"Measured on {day}, on {_machine_told(facts)}.", ""]
    lines += [f"- {line}" for line in calibration]
    lines += ["", "| figure | must | aim | got | |", "|---|--:|--:|--:|---|"]
    for one in found:
        figure = FIGURES[one.key]
        name = figure.told if not one.part else f"{figure.told}: {one.part}"
        shown = (name, figure.shown(figure.must), figure.shown(figure.aim), one.got(), _verdict(one))
        lines.append("| " + " | ".join(" ".join(cell.split()).replace("|", "/") for cell in shown) + " |")
    lines += ["", "### What the figures are made of", ""]
    for one in found:
        title = one.key if not one.part else f"{one.key}, {one.part}"
        lines += [f"- **{title}**: " + "; ".join(" ".join(line.split()) for line in one.detail) + "."]
        if one.machine is not None:
            lines[-1] += f" ({one.machine.told()}; {one.machine.seconds:.0f} s.)"
    missed = [one for one in found if one.series is None or one.series.median < FIGURES[one.key].aim]
    if missed:
        lines += ["", "### What falls short, and why", ""]
        for one in missed:
            title = one.key if not one.part else f"{one.key}, {one.part}"
            lines.append(f"- **{title}** ({_verdict(one)}): {one.problem or FIGURES[one.key].bounded_by}.")
    return "\n".join(lines)


def write(page: Path, part: str) -> None:
    """Put the part between the page's two comments. Raises PageHasNoPlace where it lacks them."""
    text = page.read_text(encoding="utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise PageHasNoPlace(f"{page} has no place for results: it lacks the lines {BEGIN} and {END}")
    page.write_text(f"{before}{BEGIN}\n\n{part}\n\n{END}{after}", encoding="utf-8")


def _verdict(one: Found) -> str:
    return f"{one.verdict()}, machine busy" if one.was_disturbed() else one.verdict()


def _machine_told(facts: Mapping[str, Any]) -> str:
    libraries = ", ".join(f"{name} {version}" for name, version in facts["libraries"].items())
    return (
        f"{facts['processor']} ({facts['cores']} cores, {facts['vectors']}), {facts['memory_gib']} GiB, "
        f"{facts['system']}, Python {facts['python']}, {libraries}"
    )
