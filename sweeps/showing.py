"""Commands that only read: the sweeps there are, what one has found, and what a sweep file would do.

A room of the wiring at the very top, as the command line is: it may import dashboards.
"""

from __future__ import annotations

from typing import Annotated

import typer

from sweeps.options import (
    DatabaseOption,
    EpochsOption,
    FileArgument,
    HomeOption,
    JsonOption,
    SeedOption,
    SweepArgument,
    TrialsOption,
    home_named,
    named_by,
    opened_store,
    read_file,
    refuse_unknown_format,
)
from sweeps.terminal import data_console, people, print_data, say, say_notes


def list_sweeps(home: HomeOption = None, database: DatabaseOption = None) -> None:
    """Show the sweeps there are. E.g. ravine list."""
    from dashboards.summary import sweeps_table

    with opened_store(home_named(home, database), read_only=True) as store:
        print_data(sweeps_table(store.sweeps(), store.trial_counts_by_sweep()))


def show(sweep: SweepArgument, home: HomeOption = None, database: DatabaseOption = None) -> None:
    """Show how a SWEEP stands: state, counts, best, where it runs. E.g. ravine show 3."""
    from dashboards.summary import sweep_table
    from sweeps.pruning_audit import audit_of
    from sweeps.verdict import best_trials, trials_to_judge, verdict_of

    with opened_store(home_named(home, database), read_only=True) as store:
        row = store.find_sweep(sweep)
        counts = store.trial_counts(row.id)
        asked, trained = store.epochs_total(row.id), store.epochs_trained_total(row.id)
        found = trials_to_judge(store, row, 1)
        verdict = verdict_of(row, found)
        best = best_trials(row, found, verdict, 1)
        print_data(sweep_table(row, counts, asked, trained, best, verdict, audit_of(store, row)))


def trials(
    sweep: SweepArgument,
    format: Annotated[str, typer.Option("--format", help="table, csv or json")] = "table",
    home: HomeOption = None,
    database: DatabaseOption = None,
) -> None:
    """Print the trials of a SWEEP. E.g. ravine trials 3 --format csv > trials.csv."""
    from dashboards.summary import trials_table
    from sweeps.exports import as_csv, as_json, trial_columns, trial_values

    refuse_unknown_format(format, ("table", "csv", "json"))
    with opened_store(home_named(home, database), read_only=True) as store:
        row = store.find_sweep(sweep)
        found = store.trials(row.id)
    if format == "table":
        print_data(trials_table(row, found))
    else:
        rows = [trial_values(row, trial) for trial in found]
        typer.echo(as_csv(trial_columns(row), rows) if format == "csv" else as_json(rows), nl=False)


def curves(
    sweep: SweepArgument,
    format: Annotated[str, typer.Option("--format", help="csv or json")] = "csv",
    home: HomeOption = None,
    database: DatabaseOption = None,
) -> None:
    """Print every epoch of every trial of a SWEEP. E.g. ravine curves 3 > curves.csv."""
    from sweeps.exports import as_csv, as_json, curve_columns, curve_values

    refuse_unknown_format(format, ("csv", "json"))
    with opened_store(home_named(home, database), read_only=True) as store:
        row = store.find_sweep(sweep)
        measurements = store.measurements(row.id)
    columns = curve_columns(row, measurements)
    rows = [curve_values(measurement, columns) for measurement in measurements]
    typer.echo(as_csv(columns, rows) if format == "csv" else as_json(rows), nl=False)


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

    with opened_store(home_named(home, database), read_only=True) as store:
        row = store.find_sweep(sweep)
        trials = trials_to_judge(store, row, count)
    verdict = verdict_of(row, trials)
    found = best_trials(row, trials, verdict, count)
    if json:
        told = [trial_values(row, trial) | verdict_values(verdict, trial.setting_index) for trial in found]
        typer.echo(as_json(told), nl=False)
    elif found:
        print_data(best_table(row, found, verdict))
    console = people if json else data_console()
    for line in verdict_lines(row, verdict):
        console.print(line, highlight=False, soft_wrap=True)
    if not found:
        people.print(f"no trial of sweep {row.id} has finished yet", highlight=False)


def narrow(sweep: SweepArgument, home: HomeOption = None, database: DatabaseOption = None) -> None:
    """Print the sweep file to try after a SWEEP, with reasons. E.g. ravine narrow 3 > next.yaml."""
    from dashboards.next_file import changes_table, next_file

    with opened_store(home_named(home, database), read_only=True) as store:
        found = next_file(store, store.find_sweep(sweep))
    people.print(changes_table(found.changes))
    say_notes(found.notes)
    typer.echo(found.text, nl=False)


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
    from sweeps.sweep_files import warm_start_of

    read = read_file(file, trials, epochs, seed)
    if read.loaded.space.warm_start is not None:
        with named_by("warm_start"), opened_store(home_named(home, database), read_only=True) as store:
            warm = warm_start_of(store, read)
        if warm is not None:
            say(f"note: {warm.told}")
    print_preview(data_console(), read.loaded.space)


def tasks() -> None:
    """Show the tasks that a sweep file may name."""
    from dashboards.summary import tasks_table
    from workers.torch_catalogue import torch_catalogue

    print_data(tasks_table(torch_catalogue()))
