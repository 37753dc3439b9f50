"""Speed memory: what was measured on this machine, one small JSON file a question, in the home."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from workers.speed import Speeds


class SpeedMemory:
    """Measured speeds by what they depend on. Losing it costs measuring again."""

    def __init__(self, folder: Path, said: Callable[[str], None]) -> None:
        """``said`` hears about a file that cannot be read or written."""
        self._folder = folder
        self._said = said

    def recall(self, key: Mapping[str, Any]) -> Speeds | None:
        """What was measured for ``key``, None where nothing was or it cannot be read."""
        path = self._path(key)
        try:
            kept = json.loads(path.read_text(encoding="utf-8"))
            return Speeds.from_json(kept["speeds"]) if kept["key"] == _plain(key) else None
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is damaged"
            self._said(f"{path} cannot be read ({reason}); speeds are measured again")
            return None

    def remember(self, key: Mapping[str, Any], speeds: Speeds) -> None:
        """Keep ``speeds`` for the next time, whole or not at all."""
        text = json.dumps({"key": _plain(key), "speeds": speeds.to_json()}, indent=1)
        path, written = self._path(key), None
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(
                "w", encoding="utf-8", dir=self._folder, prefix="writing-", delete=False
            ) as file:
                written = file.name
                file.write(text)
            Path(written).replace(path)
        except OSError as error:
            if written is not None:
                Path(written).unlink(missing_ok=True)
            self._said(f"{path} cannot be written ({error.strerror}); speeds are measured again next time")

    def _path(self, key: Mapping[str, Any]) -> Path:
        text = json.dumps(_plain(key), sort_keys=True)
        return self._folder / f"{hashlib.sha256(text.encode()).hexdigest()[:20]}.json"


def _plain(key: Mapping[str, Any]) -> Any:
    """``key`` as it comes back from a file."""
    return json.loads(json.dumps(key))
