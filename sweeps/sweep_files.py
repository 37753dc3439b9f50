"""Sweep files: from a file, or the text of a stored sweep, to a checked search space; and into the store."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from search_spaces.errors import Problem, SpaceErrors
from search_spaces.files import LoadedSpace, Overrides, load_space
from search_spaces.samplers import is_own
from search_spaces.space import SearchSpace
from search_spaces.task_code import TaskCode, names_a_file
from sweeps.errors import BadInput
from sweeps.file_text import read_text
from sweeps.records import NewSweep, SweepRow
from sweeps.store import Store
from sweeps.store_reads import StoreReader
from sweeps.warm_start import PLACE, WarmStart, warm_start


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepFile:
    """A sweep file that has been read and checked."""

    text: str
    stem: str
    overrides: Overrides
    loaded: LoadedSpace
    paths: Mapping[str, str]  # absolute, of the files that it names, by how it writes them
    task_file: Mapping[str, str] | None  # SHA-256 by path, where the task is a user's file
    sampler_file: Mapping[str, str]  # likewise of the sampler


def read_sweep_file(path: Path, overrides: Overrides) -> SweepFile:
    """A sweep file and its checked search space. Raises BadInput and SpaceErrors, all problems at once.

    For the command line only: the file may name a task by a file of Python, which is then run.
    """
    text = read_text(path)
    from workers.local_code import LocalCode

    code = LocalCode({"the sweep file's folder": path.absolute().parent, "the working directory": Path.cwd()})
    loaded = checked_space(text, path.name, path.stem, overrides, code)
    task = loaded.space.task
    return SweepFile(
        text=text,
        stem=path.stem,
        overrides=overrides,
        loaded=loaded,
        paths=code.paths,
        task_file=code.digests(task) if names_a_file(task) else None,
        sampler_file=_digests_of_sampler(loaded.space.sampler),
    )


def _digests_of_sampler(sampler: str) -> Mapping[str, str]:
    if not is_own(sampler):
        return {}
    from sweeps.own_sampler import digests_of

    return digests_of(sampler)


def checked_space(
    text: str, source: str, stem: str, overrides: Overrides, code: TaskCode | None
) -> LoadedSpace:
    """A sweep file's text as a search space that PyTorch has rehearsed. Raises SpaceErrors.

    ``code`` None: the text may have come from anywhere, and may name registered tasks only. What a task's
    own code prints meanwhile goes to stderr: stdout carries data.
    """
    with redirect_stdout(sys.stderr):
        return _checked_space(text, source, stem, overrides, code)


def _checked_space(
    text: str, source: str, stem: str, overrides: Overrides, code: TaskCode | None
) -> LoadedSpace:
    from sweeps.pruner_problems import pruner_problems
    from workers.rehearsal import rehearse
    from workers.torch_catalogue import torch_catalogue

    loaded = load_space(
        text, source=source, stem=stem, catalogue=torch_catalogue(), overrides=overrides, code=code
    )
    problems = [
        Problem(
            line=loaded.line_of(refusal.label, refusal.argument),
            field=refusal.label if refusal.argument is None else f"{refusal.label}.{refusal.argument}",
            got=f"{refusal.got} is refused: {refusal.reason}",
            wanted="what can be trained",
        )
        for refusal in rehearse(loaded.space)
    ]
    problems += pruner_problems(loaded)
    if is_own(loaded.space.sampler):
        from sweeps.sampler_rehearsal import rehearse_sampler

        tried = rehearse_sampler(loaded.space)
        loaded = replace(loaded, notes=(*loaded.notes, *tried.notes))
        if tried.got:
            line = loaded.line_of("sampler", None)
            problems.append(Problem(line, "sampler", tried.got, tried.wanted, tried.hint))
    if problems:
        raise SpaceErrors(source, tuple(problems))
    return loaded


def create_sweep(store: Store, file: SweepFile, warm: WarmStart | None = None) -> int:
    """Store a new sweep, waiting to be run, with what it takes over from an earlier one; returns its id."""
    space = file.loaded.space
    spec: dict[str, Any] = {
        "source": file.text,
        "stem": file.stem,
        "overrides": asdict(file.overrides),
        "sampler": space.sampler,
        "pruner": space.pruner.name,
        "concurrency": space.concurrency,
        "metrics": list(file.loaded.metrics),
    }
    if file.paths or is_own(space.sampler):
        spec["paths"] = dict(file.paths)  # that they are there says that the file may name code
    if is_own(space.sampler):
        spec["sampler_arguments"] = dict(space.sampler_arguments)
        spec["sampler_file"] = dict(file.sampler_file)
    if file.task_file is not None:
        spec["task_file"] = dict(file.task_file)
    if warm is not None:
        spec[PLACE] = warm.to_plain()
    return store.create_sweep(new_sweep(space, spec))


def warm_start_of(store: StoreReader, file: SweepFile) -> WarmStart | None:
    """What the file's sweep takes over from the one that it names, if any. Raises UnknownSweep, BadInput."""
    from workers.torch_catalogue import catalogue_for

    space = file.loaded.space
    return warm_start(store, space, catalogue_for(space.task), file.task_file)


def new_sweep(space: SearchSpace, spec: Mapping[str, Any]) -> NewSweep:
    """The sweep of a space that is about to be stored; ``spec``: what it is to be read from again."""
    return NewSweep(
        name=space.name,
        task=space.task,
        metric=space.metric.name,
        goal=space.metric.goal,
        seed=space.seed,
        epochs=space.epochs,
        trials=space.trials,
        spec={**spec, **told_of_seeds(space)},
        columns=space.columns(),
    )


def told_of_seeds(space: SearchSpace) -> dict[str, Any]:
    """What tells a search's trials from those that confirm: their seeds are among ``seeds``."""
    told: dict[str, Any] = {"seeds": list(space.seeds)}
    if space.confirm is not None:
        told["confirm"] = asdict(space.confirm)
    return told


def stored_space(sweep: SweepRow) -> SearchSpace:
    """The search space of a stored sweep, read from its file's text again.

    Only a sweep that the command line launched may run a task's or sampler's file, those of the launch.
    Raises BadInput where that has changed, and SpaceErrors.
    """
    problem = task_file_problem(sweep.spec)
    if problem is not None:
        raise BadInput(
            f"{problem}, so what sweep {sweep.id} has could not be compared with what is to come. "
            "Put it back as it was to resume, or launch a new sweep with it as it is."
        )
    overrides = Overrides(**sweep.spec["overrides"])
    return space_of(sweep, sweep.spec["source"], f"sweep {sweep.id}", overrides).space


def space_of(sweep: SweepRow, text: str, source: str, overrides: Overrides) -> LoadedSpace:
    """``text`` read as the sweep's own file is: it may name the task file that the sweep was launched with.

    Raises SpaceErrors.
    """
    from workers.local_code import LocalCode

    code = LocalCode({}, known=sweep.spec["paths"]) if "paths" in sweep.spec else None
    return checked_space(text, source, sweep.spec["stem"], overrides, code)


def task_file_problem(spec: Mapping[str, Any]) -> str | None:
    """What has happened since the launch to the file of the task or sampler, or what it imports beside it."""
    return _change_of("task file", spec.get("task_file", {})) or _change_of(
        "sampler's file", spec.get("sampler_file", {})
    )


def _change_of(what: str, digests: Mapping[str, str]) -> str | None:
    from workers.tasks.task_file import digest_of

    for path, digest in digests.items():
        try:
            found = digest_of(path)
        except OSError as error:
            return f"The {what} {path} cannot be read any more ({error.strerror or error})"
        if found != digest:
            return f"The {what} {path} has changed since the launch"
    return None
