"""Options and arguments that commands share, and what they name: a home, its store, a sweep, a file."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sweeps.errors import BadInput, RavineError, StoreOutdated, StoreUnavailable, UnknownSweep
from sweeps.home import Home, resolve_home
from sweeps.terminal import say_notes

if TYPE_CHECKING:
    from sweeps.store import Store
    from sweeps.sweep_files import SweepFile

HomeOption = Annotated[
    Path | None, typer.Option("--home", help="Folder of the stores. Default: $RAVINE_HOME, else .ravine")
]
DatabaseOption = Annotated[
    str | None, typer.Option("--database", help="sqlite:/// or postgresql:// URL. Default: HOME/ravine.db")
]
TrackingOption = Annotated[
    str | None, typer.Option("--tracking", help="MLflow tracking URI. Default: HOME/mlflow.db")
]
WorkersOption = Annotated[
    int | None, typer.Option("--workers", min=1, help="Workers. Default: one a GPU or core")
]
RayOption = Annotated[
    str, typer.Option("--ray", help="local, none (train in this process), or a cluster's address")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as one JSON object on stdout")]
SweepArgument = Annotated[
    str, typer.Argument(metavar="SWEEP", help="A sweep's id or name (the newest of a name)")
]
FileArgument = Annotated[Path, typer.Argument(metavar="FILE", help="A sweep file, YAML or JSON")]
TrialsOption = Annotated[int | None, typer.Option("--trials", help="Settings to try, instead of the file's")]
EpochsOption = Annotated[
    int | None, typer.Option("--epochs", help="Epochs of a trial, instead of the file's")
]
SeedOption = Annotated[int | None, typer.Option("--seed", help="Seed of the search, instead of the file's")]


def home_named(home: Path | None, database: str | None = None, tracking: str | None = None) -> Home:
    """The home that these options name, from here and with this process's environment."""
    return resolve_home(
        home=home, database=database, tracking=tracking, environment=os.environ, working_directory=Path.cwd()
    )


@contextmanager
def opened_store(home: Home, *, read_only: bool) -> Iterator[Store]:
    """The home's store, closed afterwards. Raises StoreUnavailable."""
    from sweeps.store import open_store

    store = open_store(home.database, read_only=read_only)
    try:
        yield store
    finally:
        store.close()


def refuse_unknown(home: Home, sweep: str) -> None:
    """Raise UnknownSweep or StoreUnavailable before anything is opened for writing, and so made."""
    with suppress(StoreOutdated), opened_store(home, read_only=True) as store:  # which may be migrated
        store.find_sweep(sweep)


@contextmanager
def named_by(field: str) -> Iterator[None]:
    """Say of a sweep that cannot be found which field of a file names it. Raises BadInput."""
    try:
        yield
    except (UnknownSweep, StoreUnavailable) as error:
        raise BadInput(f"{field}: {error}") from error


def refuse_unknown_format(given: str, known: tuple[str, ...]) -> None:
    """Raise RavineError unless ``--format`` is one of those ``known``."""
    if given not in known:
        raise RavineError(f"--format {given}: wants one of {', '.join(known)}")


def read_file(file: Path, trials: int | None, epochs: int | None, seed: int | None) -> SweepFile:
    """A sweep file as the options change it; what is worth knowing of it is said."""
    from search_spaces.files import Overrides
    from sweeps.sweep_files import read_sweep_file

    read = read_sweep_file(file, Overrides(trials=trials, epochs=epochs, seed=seed))
    say_notes(read.loaded.notes)
    return read
