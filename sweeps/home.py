"""Where things are: the home folder, the store's URL and MLflow's, worked out once at the entry point."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote


@dataclass(frozen=True, slots=True, kw_only=True)
class Home:
    """Resolved places of one invocation."""

    folder: Path
    database: str  # SQLAlchemy URL of the store
    tracking: str  # MLflow's tracking URI

    def database_for_display(self, working_directory: Path) -> str | None:
        """The store's file relative to where the person stands; None where it is another one or elsewhere."""
        file = self.folder / "ravine.db"
        if self.database != _file_url(file) or not file.is_relative_to(working_directory):
            return None
        return str(file.relative_to(working_directory))

    @property
    def artifacts(self) -> Path:
        """Folder of MLflow's artifacts."""
        return self.folder / "artifacts"

    @property
    def speeds(self) -> Path:
        """Folder of what was measured on this machine."""
        return self.folder / "speeds"


def resolve_home(
    *,
    home: Path | None,
    database: str | None,
    tracking: str | None,
    environment: Mapping[str, str],
    working_directory: Path,
) -> Home:
    """``--home``, else ``$RAVINE_HOME``, else ``.ravine/`` here; URLs default to files in it."""
    named = home or (Path(environment["RAVINE_HOME"]) if environment.get("RAVINE_HOME") else None)
    folder = (working_directory / (named or ".ravine")).absolute()
    return Home(
        folder=folder,
        database=database or environment.get("RAVINE_DATABASE") or _file_url(folder / "ravine.db"),
        tracking=tracking or environment.get("MLFLOW_TRACKING_URI") or _file_url(folder / "mlflow.db"),
    )


def _file_url(path: Path) -> str:
    """SQLAlchemy reads a SQLite path as part of a URL: ``%`` and ``?`` have to be quoted."""
    return f"sqlite:///{quote(str(path))}"
