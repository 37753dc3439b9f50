"""The next sweep's file: its text with every reason as a comment, checked before anyone sees it."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from rich.table import Table

from dashboards.next_sweep import Change, NextSweep, next_sweep
from dashboards.relevance import FEWEST_TRIALS
from search_spaces.catalogue import Catalogue
from search_spaces.errors import SpaceErrors
from search_spaces.file_comments import comments_by_field
from search_spaces.files import LoadedSpace, Overrides
from search_spaces.parts import LONGEST_NAME
from search_spaces.samplers import learns
from search_spaces.writing import HEAD, write_space
from sweeps.errors import BadInput
from sweeps.range_test import searched_space
from sweeps.records import FINAL_SWEEP_STATES, OPEN_STATES, SweepRow, TrialRow, TrialState
from sweeps.store import Store
from sweeps.sweep_files import space_of, task_file_problem
from sweeps.verdict import best_trial, search_trials

OURS = "narrow: "
"""Begins our comments, so that the next narrowing replaces them and keeps everybody else's."""
_LINE = 96  # characters of a comment


@dataclass(frozen=True, slots=True, kw_only=True)
class NextFile:
    """The text of the next sweep's file, and what people are told beside it."""

    text: str
    changes: tuple[Change, ...]
    notes: tuple[str, ...]


def next_file(store: Store, sweep: SweepRow) -> NextFile:
    """The file of the sweep after ``sweep``.

    Raises BadInput where fewer than :data:`FEWEST_TRIALS` settings have finished, or none that was tried
    varies: then there is nothing to go by. Raises SpaceErrors where the stored file is not good any more.
    """
    from workers.torch_catalogue import torch_catalogue

    overrides = Overrides(**sweep.spec["overrides"])
    loaded = space_of(sweep, sweep.spec["source"], f"sweep {sweep.id}", overrides)
    everything, proposals, catalogue = store.trials(sweep.id), store.proposals(sweep.id), torch_catalogue()
    trials = search_trials(sweep, everything)  # leaders with more seeds than others would not compare
    best = best_trial(sweep, everything)
    searched = searched_space(loaded.space, sweep.plan)
    kept: dict[str, str] = {}  # dimensions that cannot be changed, and why
    while True:
        found = next_sweep(searched, trials, proposals, catalogue, keep=frozenset(kept))
        _refuse_too_few(sweep, found, "proposals" if loaded.space.branches else "settings")
        text = _written(sweep, loaded, found, kept, trials, best, catalogue)
        try:
            space_of(sweep, text, f"the sweep after {sweep.id}", Overrides())
        except SpaceErrors as errors:
            refused = _refused(errors, found.changes)
            if not refused:
                raise
            kept |= refused
            continue
        return NextFile(text=text, changes=found.changes, notes=_notes(sweep, found, kept, trials))


def next_name(name: str) -> str:
    """``digits`` becomes ``digits-2``, which becomes ``digits-3``."""
    numbered = re.fullmatch(r"(.*)-(\d{1,6})", name)
    stem, number = (numbered[1], int(numbered[2])) if numbered else (name, 1)
    ending = f"-{number + 1}"
    return stem[: LONGEST_NAME - len(ending)] + ending


def changes_table(changes: Sequence[Change]) -> Table:
    """What becomes of each setting, a line each."""
    table = Table(box=None, pad_edge=False)
    for name in ("setting", "before", "after", "why"):
        table.add_column(name, overflow="fold")
    for change in changes:
        after = "stays" if change.after == change.before else change.after
        table.add_row(change.name, change.before, after, change.reason)
    return table


def _refuse_too_few(sweep: SweepRow, found: NextSweep, what: str) -> None:
    """``what``: is counted; of a proposal with branches only the best one."""
    if found.finished >= FEWEST_TRIALS:
        return
    diverged = found.ended - found.finished
    if found.ended >= FEWEST_TRIALS and not found.finished:
        raise BadInput(
            f"All {diverged} {what} of sweep {sweep.id} that ended diverged: nothing says what works. "
            "Search lower learning rates."
        )
    told = f" ({diverged} diverged)" if diverged else ""
    raise BadInput(
        f"Sweep {sweep.id} has {found.finished} finished {what}{told}; at least {FEWEST_TRIALS} are wanted "
        "to say anything of its ranges. Nothing is written."
    )


def _refused(errors: SpaceErrors, changes: Sequence[Change]) -> dict[str, str]:
    """The changes that what is wrong speaks of, else those of the same class, else all; and why each."""
    changed = [change for change in changes if change.after != change.before]
    found = {}
    for problem in errors.problems:
        class_of = problem.field.rpartition(".")[0]
        named = [change for change in changed if problem.field in (change.name, change.field)]
        beside = [change for change in changed if class_of and class_of in change.field]
        for change in named or beside or changed:
            found[change.name] = f"{change.after} was not possible ({problem.got})"
    return found


def _written(
    sweep: SweepRow,
    loaded: LoadedSpace,
    found: NextSweep,
    kept: Mapping[str, str],
    trials: Sequence[TrialRow],
    best: TrialRow | None,
    catalogue: Catalogue,
) -> str:
    """The text, with the comments of the sweep's own file and ours."""
    space = replace(
        found.space,
        name=next_name(sweep.name),
        seed=loaded.space.seed + (found.space.sampler != "grid"),
        range_test=None,
        start=(),
        warm_start=str(sweep.id) if learns(found.space.sampler) else None,
    )
    comments: dict[str, list[str]] = {}
    for field, lines in comments_by_field(sweep.spec["source"], loaded.lines).items():
        comments[field] = [line for line in lines if not line.startswith(OURS.strip())]
    told_of_best = "" if best is None else _best(sweep, best)
    head = (
        f"`ravine narrow {sweep.id}` wrote this after sweep {sweep.id} ({sweep.name}): {_told(found, trials)}"
    )
    comments.setdefault(HEAD, []).extend(_lines(f"{head}; {told_of_best}" if best else head))
    if found.space.sampler != "grid":  # which is the same for all seeds
        comments.setdefault("seed", []).extend(_lines("another seed, so that other settings are tried"))
    for change in found.changes:
        was = "stays" if change.after == change.before else f"was {change.before}"
        about = f"{change.name} " if change.field != f"optimizer.{change.name}" else ""
        comments.setdefault(change.field, []).extend(_lines(f"{about}{was}: {change.reason}"))
    told = f"the sampler is told what sweep {sweep.id} of the same home found out"
    comments.setdefault("warm_start", []).extend(_lines(told))
    if loaded.space.start:
        comments.setdefault("start", []).extend(_lines("the last sweep tried its start points"))
    if loaded.space.range_test is not None:
        told = "range_test is left out: trials have tried these learning rates now"
        comments[HEAD].extend(_lines(told))
    for name, why in kept.items():
        comments[HEAD].extend(_lines(f"{name} stays: {why}"))
    said = {field for field in loaded.lines if "." not in field} - {"range_test", "start", "warm_start"}
    return write_space(space, catalogue, comments=comments, said=said)


def _lines(text: str) -> list[str]:
    return [f"{OURS}{line}" for line in textwrap.wrap(text, _LINE, break_long_words=False)]


def _best(sweep: SweepRow, best: TrialRow) -> str:
    return f"best {sweep.metric} {best.value:.5g} (trial {best.number})"


def _told(found: NextSweep, trials: Sequence[TrialRow]) -> str:
    diverged = found.ended - found.finished
    told = [f"{found.finished} settings finished"]
    told += [f"{diverged} diverged"] if diverged else []
    pruned = _settings(trials, frozenset({TrialState.pruned}))
    told += [f"{pruned} pruned (left out)"] if pruned else []
    return ", ".join(told)


def _notes(
    sweep: SweepRow, found: NextSweep, kept: Mapping[str, str], trials: Sequence[TrialRow]
) -> tuple[str, ...]:
    notes = [f"{name} stays: {why}" for name, why in kept.items()]
    still_open = _settings(trials, OPEN_STATES)
    if sweep.state not in FINAL_SWEEP_STATES:
        notes.append(
            f"sweep {sweep.id} is {sweep.state} and {still_open} settings are still open: so far it says this"
        )
    pruned = _settings(trials, frozenset({TrialState.pruned}))
    if pruned:
        notes.append(
            f"{pruned} pruned settings are left out: what they would have come to is not known, and the "
            f"{found.finished} that finished are those the pruner liked"
        )
    problem = task_file_problem(sweep.spec)
    if problem is not None:
        notes.append(f"{problem}: what this sweep found may not hold for it")
    notes.append(
        f"{found.inside} of the {found.finished} finished settings lie within the new ranges"
        + ("; too few to trust the best of them" if found.inside < FEWEST_TRIALS else "")
    )
    return tuple(notes)


def _settings(trials: Sequence[TrialRow], states: frozenset[TrialState]) -> int:
    return len({trial.setting_index for trial in trials if trial.state in states})
