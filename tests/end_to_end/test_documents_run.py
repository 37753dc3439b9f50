"""The files that the documents show are written down and launched as they stand there."""

from __future__ import annotations

import re
from pathlib import Path

from tests.end_to_end.command_line import ravine

DOCS = Path(__file__).parents[2] / "docs"


def files_of(document: str) -> dict[str, str]:
    """Blocks of code whose first line is a comment with a file's name."""
    blocks = re.findall(r"```(?:python|yaml)\n(# (\S+)\n.*?)```", (DOCS / document).read_text(), re.DOTALL)
    return {name: text for text, name in blocks}


def test_your_own_task(tmp_path: Path) -> None:
    files = files_of("your-own-task.md")
    assert set(files) == {"spirals.py", "spirals.yaml"}
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    home = tmp_path / "home"
    ran = ravine("launch", tmp_path / "spirals.yaml", "--ray", "none", "--json", "--trials", "6", home=home)
    assert ran.code == 0, ran.stderr
    # One trial at a time may well be faster alone; any other reason would be about the model.
    assert "not stacked" not in ran.stderr or "that is faster here" in ran.stderr
    found = ran.result
    assert found["trials"]["finished"] + found["trials"]["diverged"] == 6
    assert found["best"]["value"] < 0.4
