"""The command line: the wiring of everything. People read stderr, stdout carries data.

Heavy libraries are imported by the commands that need them, so that ``ravine --help`` answers at once.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable
from typing import Annotated

import typer

from sweeps.errors import StoreUnavailable
from sweeps.options import (
    DatabaseOption,
    EpochsOption,
    FileArgument,
    HomeOption,
    JsonOption,
    RayOption,
    SeedOption,
    SweepArgument,
    TrackingOption,
    TrialsOption,
    WorkersOption,
    home_named,
    named_by,
    opened_store,
    read_file,
    refuse_unknown,
)
from sweeps.running import begun_runtime, drain, report, run_watched
from sweeps.showing import best, check, curves, list_sweeps, narrow, show, tasks, trials
from sweeps.terminal import people, say, told_once
from workers.process_environment import prepare


def launch(
    file: FileArgument,
    trials: TrialsOption = None,
    epochs: EpochsOption = None,
    seed: SeedOption = None,
    workers: WorkersOption = None,
    home: HomeOption = None,
    database: DatabaseOption = None,
    tracking: TrackingOption = None,
    ray: RayOption = "local",
    json: JsonOption = False,
) -> None:
    """Train a new sweep from FILE. E.g. ravine launch search_spaces/library/momentum.yaml --trials 64."""
    from sweeps.clusters import check_cluster
    from sweeps.file_text import read_text

    check_cluster(ray)
    places = home_named(home, database, tracking)
    read_text(file)
    with begun_runtime(ray, workers) as runtime:
        from sweeps.sweep_files import create_sweep, warm_start_of

        read = read_file(file, trials, epochs, seed)
        space = read.loaded.space
        if space.warm_start is not None:
            with named_by("warm_start"):
                refuse_unknown(places, space.warm_start)
        with opened_store(places, read_only=False) as store:
            sweep_id = create_sweep(store, read, warm_start_of(store, read))
            run_watched(store, places, sweep_id, space, workers=workers, ray=ray, runtime=runtime, json=json)


def resume(
    sweep: SweepArgument,
    workers: WorkersOption = None,
    home: HomeOption = None,
    database: DatabaseOption = None,
    tracking: TrackingOption = None,
    ray: RayOption = "local",
    json: JsonOption = False,
) -> None:
    """Go on with an interrupted SWEEP; of a finished one, publish what is missing. E.g. ravine resume 3."""
    from sweeps.clusters import check_cluster
    from sweeps.records import SweepState
    from sweeps.sweep_files import stored_space

    places = home_named(home, database, tracking)
    refuse_unknown(places, sweep)
    with opened_store(places, read_only=False) as store:
        row = store.find_sweep(sweep)
        if row.state is SweepState.finished:
            from dashboards.publishing import Publisher

            drain(Publisher.start(places, row.id), row.id)
            report(store, row.id, seconds=0.0, json=json)
            return
        check_cluster(ray)
        with begun_runtime(ray, workers) as runtime:
            space = stored_space(row)
            run_watched(store, places, row.id, space, workers=workers, ray=ray, runtime=runtime, json=json)


def stop(sweep: SweepArgument, home: HomeOption = None, database: DatabaseOption = None) -> None:
    """End a SWEEP for good: its open trials are cancelled. E.g. ravine stop 3."""
    from sweeps.stopping import stop_sweep

    places = home_named(home, database)
    refuse_unknown(places, sweep)
    with opened_store(places, read_only=False) as store:
        row = store.find_sweep(sweep)
        state = stop_sweep(store, row)
    people.print(f"sweep {row.id} ({row.name}) is {state}", highlight=False)


def delete(
    sweep: SweepArgument,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask")] = False,
    home: HomeOption = None,
    database: DatabaseOption = None,
    tracking: TrackingOption = None,
) -> None:
    """Delete a SWEEP with all its results, from the store and from MLflow. Asks first on a terminal."""
    from dashboards.publishing import delete_published
    from sweeps.processes import is_dead

    places = home_named(home, database, tracking)
    refuse_unknown(places, sweep)
    with opened_store(places, read_only=False) as store:
        row = store.find_sweep(sweep)
        if not yes and sys.stdin.isatty():
            typer.confirm(f"Delete sweep {row.id} ({row.name}) and all its results?", abort=True, err=True)
        store.delete_sweep(row.id, is_dead)
        problem = delete_published(places, store.identity(), row.id)
    if problem:
        people.print(f"warning: its MLflow runs remain: {problem}", highlight=False)
    people.print(f"sweep {row.id} ({row.name}) is deleted", highlight=False)


def publish(
    sweep: SweepArgument,
    home: HomeOption = None,
    database: DatabaseOption = None,
    tracking: TrackingOption = None,
) -> None:
    """Bring MLflow up to date with a SWEEP. E.g. ravine publish 3."""
    from dashboards.publishing import Publisher

    places = home_named(home, database, tracking)
    with opened_store(places, read_only=True) as store:
        row = store.find_sweep(sweep)
    publisher = Publisher.start(places, row.id, follow=False)
    problem = publisher.drain()
    if publisher.note:
        say(f"note: {publisher.note}")
    if problem:
        raise StoreUnavailable(f"MLflow is not up to date: {problem}")
    people.print(f"MLflow has all of sweep {row.id} ({row.name})", highlight=False)


def dashboard(
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="Port on 127.0.0.1")] = 5000,
    home: HomeOption = None,
) -> None:
    """Serve MLflow over the home's results on 127.0.0.1 until Ctrl-C. E.g. ravine dashboard --port 5001."""
    from dashboards.server import serve_dashboard

    places = home_named(home)
    raise typer.Exit(serve_dashboard(places.folder, port))


COMMANDS: dict[str, Callable[..., None]] = {
    "launch": launch,
    "resume": resume,
    "list": list_sweeps,
    "show": show,
    "trials": trials,
    "curves": curves,
    "best": best,
    "narrow": narrow,
    "check": check,
    "tasks": tasks,
    "stop": stop,
    "delete": delete,
    "publish": publish,
    "dashboard": dashboard,
}
app = typer.Typer(
    name="ravine",
    help="Sweep momentum, learning rate and learning-rate decay: many trials at once, nothing lost.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
for name, command in COMMANDS.items():
    app.command(name=name)(told_once(command))


def main() -> None:
    """Entry point of the ``ravine`` command."""
    prepare(os.environ)
    try:
        app()
    finally:
        gc.freeze()  # what libraries made lives until the process ends; sifting it then takes half a second
