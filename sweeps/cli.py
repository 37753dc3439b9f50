"""The command line: the wiring of everything. People read stderr, stdout carries data.

Heavy libraries are imported by the commands that need them, so that ``ravine --help`` answers at once.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from enum import IntEnum
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ParamSpec

import typer
from rich.console import Console

from sweeps.errors import RavineError, StoreOutdated, StoreUnavailable
from sweeps.home import Home, resolve_home
from workers.process_environment import prepare

if TYPE_CHECKING:
    from sweeps.store import Store
    from workers.ray_runtime import RayRuntime

Arguments = ParamSpec("Arguments")

app = typer.Typer(
    name="ravine",
    help="Sweep momentum, learning rate and learning-rate decay: many trials at once, nothing lost.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
WIDE = 10_000  # columns, where no terminal limits them
people = Console(stderr=True, width=None if sys.stderr.isatty() else WIDE, markup=False, emoji=False)


class Exit(IntEnum):
    """What a command's exit code says."""

    finished = 0
    bad_input = 2
    interrupted = 3
    failed = 4


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


def _told_once(command: Callable[Arguments, None]) -> Callable[Arguments, None]:
    """Turn errors that people can act on into one sentence and exit code 2."""

    @wraps(command)
    def wrapped(*args: Arguments.args, **kwargs: Arguments.kwargs) -> None:
        from search_spaces.errors import SpaceErrors

        try:
            command(*args, **kwargs)
        except (RavineError, SpaceErrors) as error:
            people.print(f"ravine: {error}", highlight=False, markup=False, soft_wrap=True)
            raise typer.Exit(Exit.bad_input) from error
        except BrokenPipeError:
            # The reader of our stdout has gone (| head): nothing is left to say.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

    return wrapped


def _home(home: Path | None, database: str | None = None, tracking: str | None = None) -> Home:
    return resolve_home(
        home=home, database=database, tracking=tracking, environment=os.environ, working_directory=Path.cwd()
    )


@contextmanager
def _store(home: Home, *, read_only: bool) -> Iterator[Store]:
    from sweeps.store import open_store

    store = open_store(home.database, read_only=read_only)
    try:
        yield store
    finally:
        store.close()


def _find(home: Home, sweep: str) -> None:
    """Raise UnknownSweep or StoreUnavailable before anything is opened for writing, and so made."""
    with suppress(StoreOutdated), _store(home, read_only=True) as store:  # what is there may be migrated
        store.find_sweep(sweep)


@app.command()
@_told_once
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
    places = _home(home, database, tracking)
    read_text(file)
    with _begun_runtime(ray, workers) as runtime:
        from search_spaces.files import Overrides
        from sweeps.sweep_files import create_sweep, read_sweep_file, warm_start_of

        read = read_sweep_file(file, Overrides(trials=trials, epochs=epochs, seed=seed))
        for note in read.loaded.notes:
            people.print(f"note: {note}", highlight=False, markup=False, soft_wrap=True)
        if read.loaded.space.warm_start is not None:
            _find(places, read.loaded.space.warm_start)
        with _store(places, read_only=False) as store:
            sweep_id = create_sweep(store, read, warm_start_of(store, read))
            space = read.loaded.space
            _run(store, places, sweep_id, space, workers=workers, ray=ray, runtime=runtime, json=json)


@app.command()
@_told_once
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

    places = _home(home, database, tracking)
    _find(places, sweep)
    with _store(places, read_only=False) as store:
        row = store.find_sweep(sweep)
        if row.state is SweepState.finished:
            from dashboards.publishing import Publisher

            _drain(Publisher.start(places, row.id), row.id)
            _report(store, row.id, seconds=0.0, json=json)
            return
        check_cluster(ray)
        with _begun_runtime(ray, workers) as runtime:
            space = stored_space(row)
            _run(store, places, row.id, space, workers=workers, ray=ray, runtime=runtime, json=json)


@contextmanager
def _begun_runtime(ray: str, workers: int | None) -> Iterator[RayRuntime | None]:
    """A local Ray runtime that starts while the sweep file is read; nothing of it is left at the end."""
    if ray != "local":
        yield None
        return
    from sweeps.processes import available_cores
    from workers.ray_runtime import RayRuntime

    runtime = RayRuntime(None, workers=workers or available_cores())
    runtime.await_loading()  # two imports at once take longer than one after the other
    try:
        yield runtime
    finally:
        runtime.close()


def _run(
    store: Store,
    places: Home,
    sweep_id: int,
    space: Any,
    *,
    workers: int | None,
    ray: str,
    runtime: RayRuntime | None,
    json: bool,
) -> None:
    """Run a stored sweep with a live view and a publisher beside it; exits with the sweep's code."""
    from time import monotonic

    from dashboards.live_view import View
    from dashboards.publishing import LatePublisher
    from dashboards.verdict_words import confirming_words
    from sweeps.errors import LeaseLost
    from sweeps.launching import run_stored_sweep
    from sweeps.records import SweepState
    from sweeps.replay import ReplayMismatch
    from sweeps.signals import StopSignals
    from workers.pool import PoolUnavailable

    began = monotonic()
    row = store.sweep(sweep_id)
    where = places.database_for_display(Path.cwd()) or store.url_for_display
    then = "" if space.confirm is None else f", then {confirming_words(space.confirm)}"
    people.print(
        f"sweep {sweep_id} ({row.name}): {space.trials} settings x {len(space.seeds)} seeds x {space.epochs} "
        f"epochs of {space.task}, {space.concurrency} at a time{then}; stored in {where}",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )
    if "warm_start" in row.spec:
        told = row.spec["warm_start"]["told"]
        people.print(f"note: {told}", highlight=False, markup=False, soft_wrap=True)
    if ray == "none" and workers not in (None, 1):
        people.print("note: --workers is for Ray; --ray none trains in this process alone", highlight=False)
    with StopSignals() as signals, View(people, space.metric.name) as view:
        publisher = LatePublisher(places, sweep_id, view)
        try:
            state = run_stored_sweep(
                store,
                row,
                space,
                workers=workers,
                ray=ray,
                speeds=places.speeds,
                observer=publisher,
                interrupted=signals.received,
                runtime=runtime,
            )
        except (LeaseLost, PoolUnavailable, ReplayMismatch) as error:
            view.said(f"ravine: {error}")
            state = SweepState.waiting
        except KeyboardInterrupt:  # a second Ctrl-C, or a task's own code
            state = SweepState.waiting
        except StoreUnavailable as error:
            publisher.kill()
            view.said(f"ravine: {error}; what was stored stays, go on with: ravine resume {sweep_id}")
            raise typer.Exit(Exit.interrupted) from error
        except BaseException:
            publisher.kill()
            raise
    if state is SweepState.waiting:
        publisher.kill()
        _report(store, sweep_id, seconds=monotonic() - began, json=json)
        people.print(f"interrupted; go on with: ravine resume {sweep_id}", highlight=False)
        raise typer.Exit(Exit.interrupted)
    _drain(publisher, sweep_id)
    _report(store, sweep_id, seconds=monotonic() - began, json=json)
    if state is SweepState.failed:
        raise typer.Exit(Exit.failed)


def _drain(publisher: Any, sweep_id: int) -> None:
    """Wait until MLflow is up to date; say so where it is not."""
    try:
        problem = publisher.drain()
    except KeyboardInterrupt:
        publisher.kill()
        problem = "publishing was interrupted"
    if publisher.note:
        people.print(f"note: {publisher.note}", highlight=False, markup=False, soft_wrap=True)
    if problem:
        people.print(
            f"warning: MLflow is not up to date: {problem}; later: ravine publish {sweep_id}",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )


def _report(store: Store, sweep_id: int, *, seconds: float, json: bool) -> None:
    from dashboards.summary import print_summary
    from dashboards.verdict_words import verdict_values
    from sweeps.exports import sweep_result
    from sweeps.pruning_audit import audit_of
    from sweeps.verdict import best_trials, verdict_of

    row = store.sweep(sweep_id)
    trials = store.trials(sweep_id)
    verdict = verdict_of(row, trials)
    best = best_trials(row, trials, verdict, 5)
    print_summary(people, row, trials, best, seconds, verdict, audit_of(store, row))
    if json:
        import json as text

        first = best[0] if best else None
        told = {} if first is None else verdict_values(verdict, first.setting_index)
        result = sweep_result(row, store.trial_counts(sweep_id), first, seconds, told_of_best=told)
        typer.echo(text.dumps(result))


@app.command(name="list")
@_told_once
def list_sweeps(home: HomeOption = None, database: DatabaseOption = None) -> None:
    """Show the sweeps there are. E.g. ravine list."""
    from dashboards.summary import sweeps_table

    with _store(_home(home, database), read_only=True) as store:
        _print_data(sweeps_table(store.sweeps(), store.trial_counts_by_sweep()))


@app.command()
@_told_once
def show(sweep: SweepArgument, home: HomeOption = None, database: DatabaseOption = None) -> None:
    """Show how a SWEEP stands: state, counts, best, where it runs. E.g. ravine show 3."""
    from dashboards.summary import sweep_table
    from sweeps.pruning_audit import audit_of
    from sweeps.verdict import best_trials, trials_to_judge, verdict_of

    with _store(_home(home, database), read_only=True) as store:
        row = store.find_sweep(sweep)
        counts = store.trial_counts(row.id)
        asked, trained = store.epochs_total(row.id), store.epochs_trained_total(row.id)
        found = trials_to_judge(store, row, 1)
        verdict = verdict_of(row, found)
        best = best_trials(row, found, verdict, 1)
        _print_data(sweep_table(row, counts, asked, trained, best, verdict, audit_of(store, row)))


@app.command()
@_told_once
def trials(
    sweep: SweepArgument,
    format: Annotated[str, typer.Option("--format", help="table, csv or json")] = "table",
    home: HomeOption = None,
    database: DatabaseOption = None,
) -> None:
    """Print the trials of a SWEEP. E.g. ravine trials 3 --format csv > trials.csv."""
    from dashboards.summary import trials_table
    from sweeps.exports import as_csv, as_json, trial_columns, trial_values

    _check_format(format, ("table", "csv", "json"))
    with _store(_home(home, database), read_only=True) as store:
        row = store.find_sweep(sweep)
        found = store.trials(row.id)
    if format == "table":
        _print_data(trials_table(row, found))
    else:
        rows = [trial_values(row, trial) for trial in found]
        typer.echo(as_csv(trial_columns(row), rows) if format == "csv" else as_json(rows), nl=False)


@app.command()
@_told_once
def curves(
    sweep: SweepArgument,
    format: Annotated[str, typer.Option("--format", help="csv or json")] = "csv",
    home: HomeOption = None,
    database: DatabaseOption = None,
) -> None:
    """Print every epoch of every trial of a SWEEP. E.g. ravine curves 3 > curves.csv."""
    from sweeps.exports import as_csv, as_json, curve_columns, curve_values

    _check_format(format, ("csv", "json"))
    with _store(_home(home, database), read_only=True) as store:
        row = store.find_sweep(sweep)
        measurements = store.measurements(row.id)
    columns = curve_columns(row, measurements)
    rows = [curve_values(measurement, columns) for measurement in measurements]
    typer.echo(as_csv(columns, rows) if format == "csv" else as_json(rows), nl=False)


@app.command()
@_told_once
def best(
    sweep: SweepArgument,
    count: Annotated[int, typer.Option("--count", min=1, help="How many")] = 5,
    json: JsonOption = False,
    home: HomeOption = None,
    database: DatabaseOption = None,
) -> None:
    """Print the best settings of a SWEEP, and whether their difference is real. E.g. ravine best 3."""
    from dashboards.summary import best_table
    from dashboards.verdict_words import verdict_lines, verdict_values
    from sweeps.exports import as_json, trial_values
    from sweeps.verdict import best_trials, trials_to_judge, verdict_of

    with _store(_home(home, database), read_only=True) as store:
        row = store.find_sweep(sweep)
        trials = trials_to_judge(store, row, count)
    verdict = verdict_of(row, trials)
    found = best_trials(row, trials, verdict, count)
    if json:
        told = [trial_values(row, trial) | verdict_values(verdict, trial.setting_index) for trial in found]
        typer.echo(as_json(told), nl=False)
    elif found:
        _print_data(best_table(row, found, verdict))
    for line in verdict_lines(row, verdict):
        (people if json else _data_console()).print(line, highlight=False, markup=False, soft_wrap=True)
    if not found:
        people.print(f"no trial of sweep {row.id} has finished yet", highlight=False)


@app.command()
@_told_once
def narrow(sweep: SweepArgument, home: HomeOption = None, database: DatabaseOption = None) -> None:
    """Print the sweep file to try after a SWEEP, with reasons. E.g. ravine narrow 3 > next.yaml."""
    from dashboards.next_file import changes_table, next_file

    with _store(_home(home, database), read_only=True) as store:
        found = next_file(store, store.find_sweep(sweep))
    people.print(changes_table(found.changes))
    for note in found.notes:
        people.print(f"note: {note}", highlight=False, markup=False, soft_wrap=True)
    typer.echo(found.text, nl=False)


@app.command()
@_told_once
def check(
    file: FileArgument,
    trials: TrialsOption = None,
    epochs: EpochsOption = None,
    seed: SeedOption = None,
    home: HomeOption = None,
    database: DatabaseOption = None,
) -> None:
    """Check FILE without training: what it would cost, and a picture of its schedules."""
    from dashboards.preview import print_preview
    from search_spaces.files import Overrides
    from sweeps.sweep_files import read_sweep_file, warm_start_of

    read = read_sweep_file(file, Overrides(trials=trials, epochs=epochs, seed=seed))
    for note in read.loaded.notes:
        people.print(f"note: {note}", highlight=False, markup=False, soft_wrap=True)
    if read.loaded.space.warm_start is not None:
        with _store(_home(home, database), read_only=True) as store:
            warm = warm_start_of(store, read)
        if warm is not None:
            people.print(f"note: {warm.told}", highlight=False, markup=False, soft_wrap=True)
    print_preview(_data_console(), read.loaded.space)


@app.command()
@_told_once
def tasks() -> None:
    """Show the tasks that a sweep file may name."""
    from dashboards.summary import tasks_table
    from workers.torch_catalogue import torch_catalogue

    _print_data(tasks_table(torch_catalogue()))


@app.command()
@_told_once
def stop(sweep: SweepArgument, home: HomeOption = None, database: DatabaseOption = None) -> None:
    """End a SWEEP for good: its open trials are cancelled. E.g. ravine stop 3."""
    from sweeps.stopping import stop_sweep

    places = _home(home, database)
    _find(places, sweep)
    with _store(places, read_only=False) as store:
        row = store.find_sweep(sweep)
        state = stop_sweep(store, row)
    people.print(f"sweep {row.id} ({row.name}) is {state}", highlight=False)


@app.command()
@_told_once
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

    places = _home(home, database, tracking)
    _find(places, sweep)
    with _store(places, read_only=False) as store:
        row = store.find_sweep(sweep)
        if not yes and sys.stdin.isatty():
            typer.confirm(f"Delete sweep {row.id} ({row.name}) and all its results?", abort=True, err=True)
        store.delete_sweep(row.id, is_dead)
        problem = delete_published(places, store.identity(), row.id)
    if problem:
        people.print(f"warning: its MLflow runs remain: {problem}", highlight=False, markup=False)
    people.print(f"sweep {row.id} ({row.name}) is deleted", highlight=False)


@app.command()
@_told_once
def publish(
    sweep: SweepArgument,
    home: HomeOption = None,
    database: DatabaseOption = None,
    tracking: TrackingOption = None,
) -> None:
    """Bring MLflow up to date with a SWEEP. E.g. ravine publish 3."""
    from dashboards.publishing import Publisher

    places = _home(home, database, tracking)
    with _store(places, read_only=True) as store:
        row = store.find_sweep(sweep)
    publisher = Publisher.start(places, row.id, follow=False)
    problem = publisher.drain()
    if publisher.note:
        people.print(f"note: {publisher.note}", highlight=False, markup=False, soft_wrap=True)
    if problem:
        raise StoreUnavailable(f"MLflow is not up to date: {problem}")
    people.print(f"MLflow has all of sweep {row.id} ({row.name})", highlight=False)


@app.command()
@_told_once
def dashboard(
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="Port on 127.0.0.1")] = 5000,
    home: HomeOption = None,
) -> None:
    """Serve MLflow over the home's results on 127.0.0.1 until Ctrl-C. E.g. ravine dashboard --port 5001."""
    from dashboards.server import serve_dashboard

    places = _home(home)
    raise typer.Exit(serve_dashboard(places.folder, port))


def _check_format(given: str, known: tuple[str, ...]) -> None:
    if given not in known:
        raise RavineError(f"--format {given}: wants one of {', '.join(known)}")


def _data_console() -> Console:
    """Stdout; as wide as it takes where no terminal reads it."""
    return Console(width=None if sys.stdout.isatty() else WIDE, highlight=False, markup=False, emoji=False)


def _print_data(renderable: Any) -> None:
    _data_console().print(renderable)


def main() -> None:
    """Entry point of the ``ravine`` command."""
    prepare(os.environ)
    try:
        app()
    finally:
        gc.freeze()  # what libraries made lives until the process ends; sifting it then takes half a second
