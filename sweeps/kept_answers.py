"""Kept answers: what was measured on this machine, one small JSON file a question, in the home."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Generic, TypeVar

Answer = TypeVar("Answer")


class KeptAnswers(Generic[Answer]):
    """Answers by what they depend on. Losing them costs measuring again."""

    def __init__(
        self,
        folder: Path,
        said: Callable[[str], None],
        *,
        name: str,
        to_json: Callable[[Answer], Any],
        from_json: Callable[[Any], Answer],
    ) -> None:
        """``said`` hears about a file that cannot be read or written; ``name``: of what is kept, a plural.

        ``from_json`` raises KeyError, TypeError, AttributeError or ValueError for what is no answer.
        """
        self._folder = folder
        self._said = said
        self._name = name
        self._to_json = to_json
        self._from_json = from_json

    def recall(self, key: Mapping[str, Any]) -> Answer | None:
        """What was measured for ``key``, None where nothing was or it cannot be read."""
        path = self._path(key)
        try:
            kept = json.loads(path.read_text(encoding="utf-8"))
            return self._from_json(kept[self._name]) if kept["key"] == _plain(key) else None
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is damaged"
            self._said(f"{path} cannot be read ({reason}); {self._name} are measured again")
            return None

    def remember(self, key: Mapping[str, Any], answer: Answer) -> None:
        """Keep ``answer`` for the next time, whole or not at all."""
        text = json.dumps({"key": _plain(key), self._name: self._to_json(answer)}, indent=1)
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
            self._said(
                f"{path} cannot be written ({error.strerror}); {self._name} are measured again next time"
            )

    def _path(self, key: Mapping[str, Any]) -> Path:
        text = json.dumps(_plain(key), sort_keys=True)
        return self._folder / f"{hashlib.sha256(text.encode()).hexdigest()[:20]}.json"


def _plain(key: Mapping[str, Any]) -> Any:
    """``key`` as it comes back from a file."""
    return json.loads(json.dumps(key))
