"""The end of a sweep, told to a person: the five best, how momentum and learning rate mattered, what next."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from rich.console import Console
from rich.table import Table
from rich.text import Text

from dashboards.audit_words import audit_lines
from dashboards.convergence import best_band
from dashboards.live_view import describe, describe_schedule, duration, short
from dashboards.usage_words import WIDTH_KEYS, epochs_words, idle_words, slots_words, width_words
from dashboards.verdict_words import verdict_columns, verdict_lines
from search_spaces.catalogue import Argument, Catalogue
from sweeps.pruning_audit import PruningAudit
from sweeps.range_test_words import range_test_words
from sweeps.records import SweepRow, SweepState, TrialRow, TrialState
from sweeps.verdict import Verdict, search_trials


def print_summary(
    console: Console,
    sweep: SweepRow,
    trials: Sequence[TrialRow],
    best: Sequence[TrialRow],
    seconds: float,
    verdict: Verdict | None = None,
    audit: PruningAudit | None = None,
) -> None:
    """Print the summary of an ended or interrupted sweep."""
    counts = {state: sum(trial.state is state for trial in trials) for state in TrialState}
    told = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
    console.print(
        f"\nsweep {sweep.id} ({sweep.name}) {sweep.state} after {duration(seconds)}: {told}",
        highlight=False,
        soft_wrap=True,
    )
    if sweep.ended_early:
        console.print(f"ended early: {sweep.ended_early}", highlight=False, markup=False, soft_wrap=True)
    console.print(used_line(sweep, trials), highlight=False, soft_wrap=True)
    if best:
        console.print(best_table(sweep, best, verdict))
    for sentence in verdict_lines(sweep, verdict) if verdict is not None else ():
        console.print(sentence, highlight=False, markup=False, soft_wrap=True)
    searched = search_trials(sweep, trials)
    for name, label in (("lr", "learning rate"), ("momentum", "momentum")):
        line = how_it_mattered(sweep, searched, name, label)
        if line:
            console.print(line, highlight=False, soft_wrap=True)
    for sentence in audit_lines(audit, sweep.metric) if audit is not None else ():
        console.print(sentence, highlight=False, markup=False, soft_wrap=True)
    if sweep.error:
        console.print(sweep.error, highlight=False, markup=False, soft_wrap=True)
    failures = [trial for trial in trials if trial.state is TrialState.failed and trial.detail]
    if failures and failures[0].detail is not None:
        console.print(
            f"first failure, trial {failures[0].number}: {failures[0].detail['message']}",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )
        for line in own_lines(failures[0].detail.get("traceback", ""), sweep.task):
            console.print(line, highlight=False, markup=False, soft_wrap=True)
    console.print(f"next: {' | '.join(next_commands(sweep))}", highlight=False, soft_wrap=True, markup=False)


def used_line(sweep: SweepRow, trials: Sequence[TrialRow]) -> str:
    """What the sweep trained, and how well its slots and workers were used, in one line."""
    asked, trained = sum(trial.epochs_done for trial in trials), sum(t.epochs_trained for t in trials)
    slots, idle = slots_words(sweep.usage), idle_words(sweep.usage)
    told = [f"epochs: {epochs_words(asked, trained)}"]
    told += [f"slots: {slots}"] if slots else []
    told += [f"workers: {idle}"] if idle else []
    return "; ".join(told)


def own_lines(traceback: str, task: str) -> list[str]:
    """The lines of a traceback from the first one in the task's own file on; none for a registered task."""
    path = task.rpartition(":")[0]
    lines = traceback.splitlines()
    first = next((index for index, line in enumerate(lines) if path and f'File "{path}"' in line), len(lines))
    return lines[first:-1]  # the last one is the message


def best_table(sweep: SweepRow, best: Sequence[TrialRow], verdict: Verdict | None) -> Table:
    """The best trials, best first, with what is known of their settings where they have several seeds."""
    table = trials_table(sweep, best, verdict)
    table.title = f"best by {sweep.metric} ({sweep.goal})"
    return table


def trials_table(sweep: SweepRow, trials: Sequence[TrialRow], verdict: Verdict | None = None) -> Table:
    """Trials, a line each: what they came to, the settings that vary, and each schedule in one cell.

    The setting's number is shown where it is not the trial's.
    """
    columns: dict[str, Callable[[TrialRow], str]] = {"trial": lambda trial: str(trial.number)}
    if any(trial.setting_index != trial.number for trial in trials):
        columns["setting"] = lambda trial: str(trial.setting_index)
    told: dict[str, Callable[[TrialRow], str]] = {
        "state": lambda trial: str(trial.state),
        "seed": lambda trial: str(trial.seed),
        "epochs": lambda trial: str(trial.epochs_done),
        "optimizer": lambda trial: trial.optimizer,
    }
    columns |= {name: tell for name, tell in told.items() if len({tell(trial) for trial in trials}) > 1}
    columns[sweep.metric] = lambda trial: "" if trial.value is None else f"{trial.value:.5g}"
    columns |= verdict_columns(verdict) if verdict is not None else {}
    for name in sweep.columns:
        if name.startswith("schedule."):
            continue
        if len({short(trial.setting.get(name)) for trial in trials}) > 1:
            columns[name] = partial(_setting_cell, name=name)
    columns["schedule"] = lambda trial: describe_schedule(trial.setting)
    table = Table(title_justify="left", box=None, pad_edge=False)
    for name in columns:
        left = name in ("state", "optimizer", "schedule", "verdict")
        table.add_column(name, justify="left" if left else "right", no_wrap=name != "schedule")
    for trial in trials:
        table.add_row(*(tell(trial) for tell in columns.values()))
    return table


def how_it_mattered(sweep: SweepRow, trials: Sequence[TrialRow], name: str, label: str) -> str | None:
    """One line on one setting: the band with the best median, against all other finished trials."""
    finished = [
        (float(value), trial.value)
        for trial in trials
        if trial.state is TrialState.finished and trial.value is not None
        if (value := trial.setting.get(name)) is not None
    ]
    band = best_band([value for value, _ in finished], [result for _, result in finished], goal=sweep.goal)
    if band is None:
        return None
    return (
        f"{label}: best from {short(band.low)} to {short(band.high)}: median {sweep.metric} "
        f"{band.median_inside:.4g} there ({band.trials} trials), {band.median_outside:.4g} elsewhere"
    )


def next_commands(sweep: SweepRow) -> list[str]:
    """What a person may want to type now."""
    if sweep.state in (SweepState.waiting, SweepState.running):
        return [f"ravine resume {sweep.id}", f"ravine show {sweep.id}", f"ravine stop {sweep.id}"]
    return [
        f"ravine trials {sweep.id}",
        f"ravine curves {sweep.id} --format csv > curves.csv",
        "ravine dashboard",
    ]


def sweeps_table(sweeps: Sequence[SweepRow], counts: Mapping[int, Mapping[TrialState, int]]) -> Table:
    """All sweeps, a line each."""
    table = Table(box=None, pad_edge=False)
    for name in (
        "id",
        "name",
        "state",
        "task",
        "settings",
        "finished",
        "pruned",
        "diverged",
        "failed",
        "open",
    ):
        table.add_column(name, justify="left" if name in ("name", "state", "task") else "right", no_wrap=True)
    table.add_column("created (UTC)", no_wrap=True)
    if any(sweep.ended_early for sweep in sweeps):
        table.add_column("ended early by", no_wrap=True)
    for sweep in sweeps:
        of_sweep = counts.get(sweep.id, {})
        ended = [of_sweep.get(TrialState(name), 0) for name in ("finished", "pruned", "diverged", "failed")]
        still_open = of_sweep.get(TrialState.waiting, 0) + of_sweep.get(TrialState.running, 0)
        table.add_row(
            str(sweep.id),
            sweep.name,
            str(sweep.state),
            sweep.task,
            str(sweep.trials),
            *(str(count) for count in ended),
            str(still_open),
            sweep.created_at[:19].replace("T", " "),
            *([str((sweep.ending or {})["by"])] if sweep.ended_early else []),
        )
    return table


def sweep_table(
    sweep: SweepRow,
    counts: Mapping[TrialState, int],
    epochs_asked: int,
    epochs_trained: int,
    best: Sequence[TrialRow],
    verdict: Verdict | None = None,
    audit: PruningAudit | None = None,
) -> Table:
    """One sweep, a fact a line. ``epochs_asked``: those of its trials; ``epochs_trained``: those of rows."""
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    facts: dict[str, str] = {
        "sweep": f"{sweep.id} ({sweep.name})",
        "state": str(sweep.state),
        "task": f"{sweep.task}, {sweep.goal} {sweep.metric}",
        "search": f"{sweep.trials} settings by {sweep.spec['sampler']}, pruner {sweep.spec['pruner']}, "
        f"{sweep.spec['concurrency']} trials at a time, seed {sweep.seed}",
        "trials": ", ".join(f"{count} {state}" for state, count in counts.items() if count) or "none yet",
        "epochs": f"{epochs_words(epochs_asked, epochs_trained)}; at most {sweep.epochs} a trial, "
        f"{sweep.rounds_done} rounds stored",
        "slots": slots_words(sweep.usage) or "",
        "workers": idle_words(sweep.usage) or "",
        "created": sweep.created_at,
        "started": sweep.started_at or "",
        "ended": sweep.ended_at or "",
    }
    if "warm_start" in sweep.spec:
        facts["began with"] = sweep.spec["warm_start"]["told"]
    if sweep.ended_early:
        facts["ended early" if sweep.ended_at else "proposes no more"] = sweep.ended_early
    if sweep.plan:
        facts["width"] = width_words(sweep.plan) or ""
        facts["range test"] = "\n".join(range_test_words(sweep.plan)).removeprefix("range test: ")
        told = WIDTH_KEYS | {"range_test"}
        plain = {name: value for name, value in sweep.plan.items() if name not in told}
        facts["trained as"] = ", ".join(f"{name} {value}" for name, value in plain.items())
    if sweep.owner is not None:
        facts["run by"] = f"process {sweep.owner.pid} on {sweep.owner.host}"
    if sweep.error:
        facts["error"] = sweep.error
    for trial in best[:1]:
        facts["best"] = f"{sweep.metric} {trial.value}, trial {trial.number}: {describe(trial.setting)}"
    if verdict is not None and (lines := verdict_lines(sweep, verdict)):
        facts["verdict"] = lines[0]
    if audit is not None:
        facts["pruning audit"] = "\n".join(audit_lines(audit, sweep.metric)).removeprefix("pruning audit: ")
    for name, fact in facts.items():
        if fact:
            table.add_row(name, Text(fact))
    return table


def _setting_cell(trial: TrialRow, name: str) -> str:
    return short(trial.setting.get(name))


def tasks_table(catalogue: Catalogue) -> Table:
    """The registered tasks with their arguments and metrics."""
    table = Table(box=None, pad_edge=False)
    for name in ("task", "what it is", "metrics", "task_args"):
        table.add_column(name)
    for task in catalogue.tasks.values():
        arguments = ", ".join(_argument(argument) for argument in task.arguments.values())
        table.add_row(task.name, task.summary, ", ".join(("train_loss", *task.metrics)), arguments)
    return table


def _argument(argument: Argument) -> str:
    """As a sweep file would say it."""
    if argument.required:
        return f"{argument.name} (required)"
    default = str(argument.default).lower() if isinstance(argument.default, bool) else argument.default
    return f"{argument.name}: {default}"
