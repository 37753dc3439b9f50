"""Tracking: the one file that talks to MLflow, and what its errors mean."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from dashboards.errors import TrackingUnavailable as TrackingUnavailable
from dashboards.run_content import RunContent
from dashboards.tracking_database import check_database, make_database
from sweeps.errors import RavineError

_WANTED = "Give sqlite:////path/to/mlflow.db, postgresql://user@host/database or http(s)://host:port."
_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_ENABLE_ASYNC_LOGGING": "false",  # the queue swallows errors and loses points at exit
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_LOGGING_LEVEL": "CRITICAL",  # its errors are raised as well, and told once
}
_LIMITS = {  # MLflow's own: 120 s a request and seven retries, about four minutes before an error
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundRun:
    """A run that MLflow has already."""

    run_id: str
    start_ms: int
    status: str
    tags: Mapping[str, str]

    @property
    def has_ended(self) -> bool:
        """Whether its status, which is written last, says that it is whole."""
        return self.status in ("FINISHED", "FAILED", "KILLED")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunChange:
    """What a run is to be brought to."""

    run_id: str | None  # None: it is to be made
    content: RunContent  # its points are those that MLflow lacks
    tags: Mapping[str, str]


def quiet_environment() -> dict[str, str]:
    """Environment in which MLflow keeps to itself: no telemetry, no chatter, no minutes of retries."""
    limits = {name: os.environ.get(name, value) for name, value in _LIMITS.items()}
    return {**_ENVIRONMENT, **limits}


def connect(uri: str, artifacts: Path | None = None) -> Tracking:
    """MLflow at a database's or a server's URI.

    A SQLite file is made where there is none. ``artifacts`` is where new experiments of a database keep
    their files; a server decides that itself.

    Raises:
        TrackingUnavailable: the URI is none of these, or nothing usable is there.
    """
    os.environ.update(quiet_environment())
    is_server, display = _read(uri)
    with translated(display):
        database = None if is_server else make_url(uri)
        if database is not None and database.get_backend_name() == "sqlite":
            path = Path(database.database or "").absolute()
            check_database(path, display)
            if not path.exists():
                make_database(path, artifacts)
            uri = f"sqlite:///{quote(str(path))}"
        if database is None:
            client = _client(uri)
            return Tracking(lambda: client, display, None, is_server=True)
        return _connect_database(uri, display, artifacts)


def _connect_database(uri: str, display: str, artifacts: Path | None) -> Tracking:
    from dashboards.tracking_rows import TrackingRows, why_not

    if why_not(uri) is None:
        return TrackingRows(uri, lambda: _client(uri), display, artifacts)
    client = _client(uri)  # which makes tables where there are none, or refuses the database
    problem = why_not(uri)
    if problem is None:
        return TrackingRows(uri, lambda: client, display, artifacts)
    note = f"{problem}: runs go through MLflow's client, which takes longer"
    return Tracking(lambda: client, display, artifacts, is_server=False, note=note)


def _client(uri: str) -> Any:
    from mlflow import MlflowClient  # a second or two

    return MlflowClient(tracking_uri=uri)


class Tracking:
    """MLflow's runs. Every method raises :class:`TrackingUnavailable`, after which it may have been done."""

    def __init__(
        self,
        client: Callable[[], Any],
        display: str,
        artifacts: Path | None,
        is_server: bool,
        note: str | None = None,
    ) -> None:
        """``client`` makes or gives MLflow's; ``note``: what people should know of the way that was taken."""
        self._make_client = client
        self._artifacts = artifacts
        self.display = display
        self.is_server = is_server  # requests are then sent again when a reply is lost, by MLflow's client
        self.note = note

    @cached_property
    def _client(self) -> Any:
        return self._make_client()

    def experiment(self, name: str) -> str:
        """The id of the experiment of this name, made where there is none, whoever else makes it now."""
        from mlflow.exceptions import MlflowException

        with translated(self.display):
            found = self._client.get_experiment_by_name(name)
            if found is None:
                try:
                    return str(self._client.create_experiment(name, artifact_location=self._location(name)))
                except MlflowException as error:
                    if error.error_code != "RESOURCE_ALREADY_EXISTS":
                        raise
                found = self._client.get_experiment_by_name(name)
            if found.lifecycle_stage == "deleted":
                self._client.restore_experiment(found.experiment_id)
            return str(found.experiment_id)

    def experiments(self) -> list[str]:
        """The ids of all experiments."""
        with translated(self.display):
            return [str(found.experiment_id) for found in _pages(self._client.search_experiments)]

    def find_runs(self, experiments: Sequence[str], tags: Mapping[str, str]) -> list[FoundRun]:
        """The runs, but deleted ones, that have all these tags."""
        wanted = " AND ".join(f"tags.`{name}` = '{value}'" for name, value in tags.items())
        with translated(self.display):
            runs = _pages(
                self._client.search_runs,
                experiment_ids=list(experiments),
                filter_string=wanted,
                order_by=["attributes.start_time ASC"],
            )
            return [
                FoundRun(
                    run_id=run.info.run_id,
                    start_ms=run.info.start_time,
                    status=run.info.status,
                    tags=dict(run.data.tags),
                )
                for run in runs
            ]

    def write(self, experiment: str, changes: Sequence[RunChange]) -> list[str]:
        """Make runs, or bring them up to date, each with its status last; their ids, in this order."""
        return [self._write(experiment, change) for change in changes]

    def _write(self, experiment: str, change: RunChange) -> str:
        from mlflow.entities import Metric, Param, RunTag

        run_id, content, tags = change.run_id, change.content, dict(change.tags)
        with translated(self.display):
            if run_id is None:
                made = self._client.create_run(
                    experiment, start_time=content.start_ms, tags=tags, run_name=content.name
                )
                run_id, tags = str(made.info.run_id), {}
            self._client.log_batch(
                run_id,
                metrics=[Metric(point.key, point.value, point.ts_ms, point.step) for point in content.points],
                params=[Param(key, value) for key, value in content.params.items()],
                tags=[RunTag(key, value) for key, value in tags.items()],
            )
            if content.end_ms is not None:
                self._client.set_terminated(run_id, content.status, content.end_ms)
            elif change.run_id is not None:
                self._client.update_run(run_id, status=content.status)
        return run_id

    def log_text(self, run_id: str, text: str, path: str) -> None:
        """Hang a file on the run, in place of one of the same name."""
        with translated(self.display):
            self._client.log_text(run_id, text, path)

    def delete_run(self, run_id: str) -> None:
        """Mark a run as deleted."""
        with translated(self.display):
            self._client.delete_run(run_id)

    def _location(self, name: str) -> str | None:
        if self._artifacts is None:
            return None
        folder = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip(".-") or "task"
        return (self._artifacts.absolute() / folder).as_uri()


def delete_runs(store_identity: str, sweep_id: int, tracking: str) -> int:
    """Mark the runs of a deleted sweep as deleted in MLflow at this URI; how many there were.

    Raises:
        TrackingUnavailable: MLflow cannot be reached.
    """
    connected = connect(tracking)
    found = connected.find_runs(connected.experiments(), sweep_tags(store_identity, sweep_id))
    for run in found:
        connected.delete_run(run.run_id)
    return len(found)


def sweep_tags(identity: str, sweep_id: int) -> dict[str, str]:
    """The tags by which a sweep's runs are found. Two stores may both have a sweep 1."""
    return {"ravine.sweep": str(sweep_id), "ravine.store": identity}


def _pages(search: Any, **arguments: Any) -> Iterator[Any]:
    token = None
    while True:
        page = search(max_results=1000, page_token=token, **arguments)
        yield from page
        token = page.token
        if not token:
            return


def _read(uri: str) -> tuple[bool, str]:
    """Whether the URI is a server's, and how to show it; a password never is."""
    split = urlsplit(uri)
    if split.scheme in ("http", "https") and split.hostname:
        return True, split._replace(netloc=split.netloc.rpartition("@")[2]).geturl()
    try:
        url = make_url(uri)
    except (ArgumentError, ValueError):
        raise TrackingUnavailable(f"The tracking URI cannot be read. {_WANTED}") from None
    display = url.render_as_string(hide_password=True)
    is_memory = url.get_backend_name() == "sqlite" and url.database in (None, "", ":memory:")
    if url.get_backend_name() not in ("sqlite", "postgresql", "mysql") or is_memory:
        raise TrackingUnavailable(f"MLflow's runs cannot be kept in {display}. {_WANTED}")
    return False, display


@contextmanager
def translated(display: str) -> Iterator[None]:
    """Tell MLflow's and its libraries' errors as one sentence of ours, cause kept."""
    try:
        yield
    except RavineError:
        raise
    except (SQLAlchemyError, OSError) as error:
        raise TrackingUnavailable(_sentence(display, error)) from error
    except Exception as error:
        # The exception classes of MLflow are known only once it is loaded, which takes a second or two.
        from mlflow.exceptions import MlflowException

        if isinstance(error, MlflowException):
            raise TrackingUnavailable(_sentence(display, error)) from error
        raise


def _sentence(display: str, error: BaseException) -> str:
    told = " ".join(str(error).split())
    reason = told if len(told) < 300 else f"{told[:300]} ..."
    if "Connection refused" in told or "Max retries exceeded" in told:
        reason = "nothing answers there. Is the server running?"
    return f"MLflow at {display} cannot be brought up to date: {reason}"
