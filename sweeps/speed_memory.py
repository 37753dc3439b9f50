"""Speed memory: the speeds that were measured on this machine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from sweeps.kept_answers import KeptAnswers
from workers.speed import Speeds


class SpeedMemory(KeptAnswers[Speeds]):
    """Measured speeds by what they depend on."""

    def __init__(self, folder: Path, said: Callable[[str], None]) -> None:
        """``said`` hears about a file that cannot be read or written."""
        super().__init__(folder, said, name="speeds", to_json=Speeds.to_json, from_json=Speeds.from_json)
