"""File text: a sweep file's text, before anything of it is understood. Loads nothing heavy."""

from __future__ import annotations

from pathlib import Path

from search_spaces.nodes import LARGEST_TEXT
from sweeps.errors import BadInput

LONGEST_READ = 64 * LARGEST_TEXT  # enough to say how long a file is that is too long


def read_text(path: Path) -> str:
    """The text of a sweep file. Raises BadInput where there is none."""
    try:
        with path.open("rb") as file:
            content = file.read(LONGEST_READ)
        return content.decode("utf-8")
    except FileNotFoundError as error:
        raise BadInput(f"There is no file {path}. Ready-made ones are in search_spaces/library/.") from error
    except UnicodeDecodeError as error:
        raise BadInput(
            f"{path} is not UTF-8 text (byte {error.start}): a sweep file is YAML or JSON."
        ) from error
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}.") from error
