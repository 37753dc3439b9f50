"""Running a stored sweep for people who watch: a live view and a publisher beside it, then its result.

A room of the wiring at the very top, as the command line is: it may import dashboards. Heavy libraries are
imported where they are needed, so that what needs none of them answers at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from sweeps.errors import LeaseLost, StoreUnavailable
from sweeps.home import Home
from sweeps.terminal import Exit, people, say

if TYPE_CHECKING:
    from dashboards.live_view import View
    from dashboards.publishing import LatePublisher, Publisher
    from search_spaces.space import SearchSpace
    from sweeps.records import SweepRow, SweepState
    from sweeps.store import Store
    from workers.ray_runtime import RayRuntime


@contextmanager
def begun_runtime(ray: str, workers: int | None) -> Iterator[RayRuntime | None]:
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


def run_watched(
    store: Store,
    places: Home,
    sweep_id: int,
    space: SearchSpace,
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
    from sweeps.launching import run_stored_sweep
    from sweeps.records import SweepState
    from sweeps.signals import StopSignals

    began = monotonic()
    row = store.sweep(sweep_id)
    _announce(store, places, row, space)
    if ray == "none" and workers not in (None, 1):
        people.print("note: --workers is for Ray; --ray none trains in this process alone", highlight=False)
    with StopSignals() as signals, View(people, space.metric.name) as view:
        publisher = LatePublisher(places, sweep_id, view)
        run = partial(
            run_stored_sweep,
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
        state = _state_after(run, publisher, view, sweep_id)
    if state is SweepState.waiting:
        publisher.kill()
    else:
        drain(publisher, sweep_id)
    report(store, sweep_id, seconds=monotonic() - began, json=json)
    if state is SweepState.waiting:
        people.print(f"interrupted; go on with: ravine resume {sweep_id}", highlight=False)
        raise typer.Exit(Exit.interrupted)
    if state is SweepState.failed:
        raise typer.Exit(Exit.failed)


def _announce(store: Store, places: Home, row: SweepRow, space: SearchSpace) -> None:
    """Say what is about to be trained, and where it is stored."""
    from dashboards.verdict_words import confirming_words
    from search_spaces.errors import counted
    from search_spaces.grid import settings_at_most

    where = places.database_for_display(Path.cwd()) or store.url_for_display
    settings = settings_at_most(space)
    then = "" if space.confirm is None else f", then {confirming_words(space.confirm, settings)}"
    each = f"{counted(len(space.seeds), 'seed')} x {counted(space.epochs, 'epoch')}"
    say(
        f"sweep {row.id} ({row.name}): {counted(settings, 'setting')} x {each} of {space.task}, "
        f"{space.concurrency} at a time{then}; stored in {where}"
    )
    if "warm_start" in row.spec:
        say(f"note: {row.spec['warm_start']['told']}")


def _state_after(
    run: Callable[[], SweepState], publisher: LatePublisher, view: View, sweep_id: int
) -> SweepState:
    """How the sweep stands after a run of it; an error after which nothing is reported ends the publisher."""
    from sweeps.records import SweepState
    from sweeps.replay import ReplayMismatch
    from workers.pool import PoolUnavailable

    try:
        return run()
    except (LeaseLost, PoolUnavailable, ReplayMismatch) as error:
        view.said(f"ravine: {error}")
        return SweepState.waiting
    except KeyboardInterrupt:  # a second Ctrl-C, or a task's own code
        return SweepState.waiting
    except StoreUnavailable as error:
        publisher.kill()
        view.said(f"ravine: {error}; what was stored stays, go on with: ravine resume {sweep_id}")
        raise typer.Exit(Exit.interrupted) from error
    except BaseException:
        publisher.kill()
        raise


def drain(publisher: Publisher | LatePublisher, sweep_id: int) -> None:
    """Wait until MLflow is up to date; say so where it is not."""
    try:
        problem = publisher.drain()
    except KeyboardInterrupt:
        publisher.kill()
        problem = "publishing was interrupted"
    if publisher.note:
        say(f"note: {publisher.note}")
    if problem:
        say(f"warning: MLflow is not up to date: {problem}; later: ravine publish {sweep_id}")


def report(store: Store, sweep_id: int, *, seconds: float, json: bool) -> None:
    """Show how a sweep has ended or stands, after ``seconds`` of running; as JSON on stdout too if asked."""
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
