"""Publish: the process that keeps MLflow up to date with the store, out of training's way.

``python -m dashboards.publish --database URL --sweep ID --tracking URI --artifacts DIR [--follow]``. The two
addresses may hold passwords and are better given as ``$RAVINE_DATABASE`` and ``$MLFLOW_TRACKING_URI``.
"""

from __future__ import annotations

import argparse
import fcntl
import gc
import json
import os
import select
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dashboards import tracking
from dashboards.errors import PublisherBusy, TrackingUnavailable
from dashboards.projection import PARTIAL_SECONDS, Projection, Results
from sweeps.errors import RavineError, StoreUnavailable
from sweeps.records import FINAL_SWEEP_STATES, Measurement, SweepRow, SweepState, TrialRow

_POLL_SECONDS = 1.0  # and longer where a pass takes long: a pause is at least
_PAUSES_A_PASS = 20.0  # times as long as the pass before it
_PATIENCE_SECONDS = 60.0  # for MLflow to come back once the sweep has ended
_START_SECONDS = 600.0  # for the sweep's runner to begin
_LOCK_SECONDS = 60.0
_NICENESS = 10


def main(arguments: Sequence[str] | None = None) -> int:
    """Publish as the command line says; 0 once MLflow shows all that is stored, else 1."""
    wanted = _parser().parse_args(arguments)
    os.nice(_NICENESS)
    began = time.monotonic()
    result: dict[str, Any] = {"published": 0, "complete": False, "note": None}
    try:
        for published in _publish(wanted, lambda note: result.update(note=note)):
            result["published"] += published
        result["complete"] = True
    except RavineError as error:
        print(f"publish: {error}", file=sys.stderr)  # noqa: T201
    except KeyboardInterrupt:
        print(f"publish: interrupted; `ravine publish {wanted.sweep}` goes on", file=sys.stderr)  # noqa: T201
    print(json.dumps({**result, "seconds": round(time.monotonic() - began, 3)}), flush=True)  # noqa: T201
    return 0 if result["complete"] else 1


def follow(
    projection: Projection,
    *,
    is_orphan: Callable[[], bool],
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
    patience_seconds: float = _PATIENCE_SECONDS,
) -> Iterator[int]:
    """Publish until nobody runs the sweep, then everything; yields how many runs each pass changed.

    MLflow may come and go meanwhile. A sweep that nobody runs yet is waited for, unless ``is_orphan``:
    whoever started this process, to run the sweep beside it, is gone.

    Raises:
        TrackingUnavailable, StoreUnavailable: gone for ``patience_seconds`` after the sweep's end.
    """
    last_start, last_chance = clock() + _START_SECONDS, None
    was_run, pause = False, _POLL_SECONDS
    while True:
        goes_on, began = False, clock()
        try:
            sweep = projection.sweep()
            is_run = sweep.state is SweepState.running and sweep.owner is not None
            was_run = was_run or is_run or sweep.state in FINAL_SWEEP_STATES
            goes_on = is_run or not (was_run or is_orphan() or clock() > last_start)
            yield projection.publish(everything=not goes_on)
            if not goes_on:
                return
            last_chance = None
            pause = min(max(_POLL_SECONDS, _PAUSES_A_PASS * (clock() - began)), PARTIAL_SECONDS)
        except (TrackingUnavailable, StoreUnavailable):
            projection.start_over()
            if not goes_on:
                last_chance = last_chance or clock() + patience_seconds
                if clock() >= last_chance:
                    raise
            pause = min(2 * pause, PARTIAL_SECONDS)
        sleep(pause)


@contextmanager
def only_publisher(artifacts: Path, identity: str, sweep_id: int, *, wait_seconds: float) -> Iterator[None]:
    """Hold the right to publish a sweep; the system takes it back when the process ends, however it ends.

    Raises:
        PublisherBusy: another process has held it for ``wait_seconds``.
    """
    path = artifacts / f".publishing-{identity}-{sweep_id}"
    try:
        artifacts.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = path.open("a")
    except OSError as error:
        raise TrackingUnavailable(
            f"The artifacts' folder {artifacts} cannot be written: {error.strerror or error}."
        ) from error
    with file:
        deadline = time.monotonic() + wait_seconds
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise PublisherBusy(
                        f"Another process publishes sweep {sweep_id} already; it needs no second one."
                    ) from None
                time.sleep(0.2)
        yield


def figures(
    sweep: SweepRow, trials: Sequence[TrialRow], measurements: Sequence[Measurement]
) -> dict[str, str]:
    """The pages that hang on the parent run: text by path. They need no network."""
    # Loading plotly takes a while, and most passes draw nothing.
    from dashboards.charts import curves_figure, page, scatter_figure
    from dashboards.range_test_chart import range_test_figures

    return {
        "figures/validation_curves.html": page(curves_figure(sweep, trials, measurements)),
        "figures/lr_momentum.html": page(scatter_figure(sweep, trials, measurements)),
        **{f"figures/{name}.html": page(figure) for name, figure in range_test_figures(sweep).items()},
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m dashboards.publish", description=__doc__)
    for option, metavar, variable, meaning in (
        ("--database", "URL", "RAVINE_DATABASE", "the store"),
        ("--tracking", "URI", "MLFLOW_TRACKING_URI", "MLflow's database or server"),
    ):
        default = os.environ.get(variable)
        shown = f"{meaning}; default ${variable}"
        parser.add_argument(option, metavar=metavar, help=shown, default=default, required=not default)
    parser.add_argument("--sweep", required=True, type=int, metavar="ID")
    parser.add_argument("--artifacts", required=True, type=Path, metavar="DIR")
    parser.add_argument("--follow", action="store_true", help="until the sweep no longer runs")
    return parser


def _publish(wanted: argparse.Namespace, noted: Callable[[str], None]) -> Iterator[int]:
    from sweeps.store import open_store

    store = open_store(wanted.database)
    patience = 7 * 24 * 3600.0 if wanted.follow else _LOCK_SECONDS
    with only_publisher(wanted.artifacts, store.identity(), wanted.sweep, wait_seconds=patience):
        yield from passes(store, wanted.sweep, wanted.tracking, wanted.artifacts, wanted.follow, noted)


def passes(
    store: Results, sweep_id: int, uri: str, artifacts: Path, follows: bool, noted: Callable[[str], None]
) -> Iterator[int]:
    """Publish the sweep to MLflow at ``uri``; yields how many runs each pass changed.

    ``noted`` hears what people should know of the way to MLflow.
    """
    parent = os.getppid()

    def connect() -> tracking.Tracking:
        connected = tracking.connect(uri, artifacts)
        if connected.note is not None:
            noted(connected.note)
        # What MLflow's libraries made while loading lives for ever: a tenth of the time went into sifting it.
        gc.collect()
        gc.freeze()
        return connected

    projection = Projection(store, sweep_id, connect, figures=figures)
    if follows:
        yield from follow(projection, is_orphan=lambda: os.getppid() != parent, sleep=Bell().sleep)
    else:
        yield projection.publish(everything=True)


class Bell:
    """Standard input as a bell: whoever started this process closes it as soon as the sweep has ended."""

    def __init__(self, descriptor: int = 0) -> None:
        """``descriptor``: of the file that is going to end."""
        self._descriptor = descriptor
        self._has_rung = False

    def sleep(self, seconds: float) -> None:
        """Wait so long, or until the bell rings; it rings once."""
        if self._has_rung:
            time.sleep(seconds)
            return
        ready, _, _ = select.select([self._descriptor], [], [], seconds)
        self._has_rung = bool(ready) and not os.read(self._descriptor, 1024)


if __name__ == "__main__":
    sys.exit(main())
