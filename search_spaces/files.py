"""Sweep files: YAML or JSON text in, a checked :class:`SearchSpace` or every mistake at once out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from search_spaces.branches import note_of_repeats, note_of_trials, read_branches
from search_spaces.catalogue import Catalogue
from search_spaces.classes import check_nesterov, read_optimizers, read_schedules
from search_spaces.confirm_field import read_confirm
from search_spaces.default_starts import default_starts
from search_spaces.effective_rate import check_effective_rates
from search_spaces.end_fields import check_terminator, read_budget, read_terminator
from search_spaces.errors import Findings
from search_spaces.fields import (
    LARGEST_WHOLE,
    Scope,
    refuse_unknown,
    shown,
    wanted_whole,
    whole,
    word,
)
from search_spaces.nodes import Scalar, Table, read_nodes
from search_spaces.parts import (
    WANTED_METRIC,
    read_clip_grad_norm,
    read_metric,
    read_name,
    read_pruner,
    read_seeds,
    read_warmup,
)
from search_spaces.range_test_fields import read_range_test
from search_spaces.sampler_field import read_sampler
from search_spaces.space import OptimizerSpace, ScheduleSpace, SearchSpace
from search_spaces.start_fields import read_start
from search_spaces.task_code import TaskCode
from search_spaces.task_fields import read_task_fields
from search_spaces.warm_start_field import read_warm_start

REQUIRED = ("task", "metric", "epochs", "optimizer", "trials")
FIELDS = (
    "name",
    "task",
    "task_args",
    "metric",
    "epochs",
    "batch_size",
    "clip_grad_norm",
    "optimizer",
    "schedule",
    "branches",
    "warmup",
    "seed",
    "seeds",
    "trials",
    "concurrency",
    "sampler",
    "start",
    "pruner",
    "budget",
    "terminator",
    "warm_start",
    "order",
    "execution",
    "device",
    "precision",
    "forks",
    "confirm",
    "range_test",
)

_BOUNDS = {
    "trials": (1, 1_000_000),
    "epochs": (1, 1_000_000),
    "concurrency": (1, 100_000),
    "seed": (0, LARGEST_WHOLE),
}
_WANTED = {
    "task": "the name of a task",
    "metric": WANTED_METRIC,
    "epochs": wanted_whole(_BOUNDS["epochs"]),
    "optimizer": "one class with its arguments, or a list of them",
    "trials": wanted_whole(_BOUNDS["trials"]),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Overrides:
    """What the command line says instead of the file."""

    trials: int | None = None
    epochs: int | None = None
    seed: int | None = None

    def of(self, field: str) -> int | None:
        """Value for ``field``, if it has one here."""
        return {"trials": self.trials, "epochs": self.epochs, "seed": self.seed}.get(field)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedSpace:
    """A sweep file that is right, with what a later check needs to point into it.

    ``lines`` has the line of each field by its dotted name: ``epochs``, ``metric.name``,
    ``task_args.condition``, ``optimizer.SGD``, ``optimizer.SGD#2.lr``, ``schedule.StepLR.gamma`` and, for
    the parts of a SequentialLR, ``schedule.SequentialLR.0.StepLR.gamma``; of a branch,
    ``branches.StepLR#2.gamma``: the labels are those of the space.
    """

    space: SearchSpace
    metrics: tuple[str, ...]  # that the task measures beside train_loss, as far as is known
    lines: Mapping[str, int]
    notes: tuple[str, ...] = ()  # for people: what was accepted and has no effect

    def line_of(self, label: str, argument: str | None = None) -> int:
        """Line of an argument of the optimizer or schedule labelled so, or ``task`` and a task argument.

        The nearest line above it where the file does not name it; 1 where there is none.
        """
        path = (label if argument is None else f"{label}.{argument}").partition("[")[0]
        task = path.replace("task.", "task_args.", 1) if path.startswith("task.") else path
        for dotted in (task, f"optimizer.{path}", f"schedule.{path}", f"branches.{path}"):
            if dotted in self.lines:
                return self.lines[dotted]
        above = path.rpartition(".")[0]
        return self.line_of(above) if above else 1


def load_space(
    text: str,
    *,
    source: str,
    stem: str,
    catalogue: Catalogue,
    overrides: Overrides = Overrides(),
    code: TaskCode | None = None,
) -> LoadedSpace:
    """The search space that ``text`` describes, with ``overrides`` in place of the file's own values.

    ``source`` is the file's name for messages, ``stem`` the sweep's name where the file gives none.
    ``code`` says that the text may name a task by its file, which is then run: never for a text that
    somebody else may have sent. Raises SpaceErrors with every mistake of the file at once.
    """
    findings = Findings()
    root = read_nodes(text, findings)
    if isinstance(root, Table):
        space, metrics = _read(root, stem, catalogue, overrides, code, findings)
        findings.raise_if_any(source)
        notes = (*findings.notes, *_notes_of_branches(space))
        return LoadedSpace(space=space, metrics=metrics, lines=findings.lines, notes=notes)
    if root is not None:
        got = "an empty file" if isinstance(root, Scalar) and root.value is None else f"got {shown(root)}"
        findings.problem(root.line, "file", got, f"a sweep: {', '.join(REQUIRED)} ...")
    findings.raise_if_any(source)
    raise AssertionError("no nodes and no problem")


def _read(
    root: Table,
    stem: str,
    catalogue: Catalogue,
    overrides: Overrides,
    code: TaskCode | None,
    findings: Findings,
) -> tuple[SearchSpace, tuple[str, ...]]:
    """Read every field, so that all mistakes are found; what is wrong has a stand-in in the result.

    Returns the task's metrics beside the space.
    """
    findings.lines.update({entry.key: entry.line for entry in root.entries})
    refuse_unknown(root.entries, "", "field", FIELDS, findings)
    for name in REQUIRED:
        if root.find(name) is None and overrides.of(name) is None:
            findings.problem(root.line, name, "missing", _WANTED[name])
    sampler = read_sampler(root, code, findings)
    task = read_task_fields(root, catalogue, code, findings, grid=sampler.name == "grid")
    scope = Scope(
        findings=findings,
        metrics=task.metrics,
        functions=None if task.entry is None else task.entry.functions,
        grid=sampler.name == "grid",
    )
    trials = _whole(root, "trials", overrides, findings) or 1
    epochs = _whole(root, "epochs", overrides, findings)
    seeds = read_seeds(root, findings)
    confirm = read_confirm(root, findings)
    optimizers, schedules = _classes(root, task.catalogue, scope)
    space = SearchSpace(
        name=read_name(root, stem, findings),
        task="" if task.entry is None else task.entry.name,
        task_arguments=task.arguments,
        metric=read_metric(root, scope),
        epochs=epochs or 1,
        optimizers=optimizers,
        trials=trials,
        schedules=schedules,
        branches=root.find("branches") is not None,
        batch_size=task.batch_size,
        clip_grad_norm=read_clip_grad_norm(root, scope),
        warmup_epochs=read_warmup(root, epochs, findings),
        seed=_whole(root, "seed", overrides, findings) or 0,
        seeds=seeds,
        concurrency=_whole(root, "concurrency", overrides, findings) or max(1, min(64, trials // 8)),
        sampler=sampler.name,
        sampler_arguments=sampler.arguments,
        pruner=read_pruner(root, findings),
        budget=read_budget(root, epochs, len(seeds), confirm, findings),
        terminator=read_terminator(root, findings),
        warm_start=read_warm_start(root, sampler.name, findings),
        order=_word(root, "order", ("rounds", "arrival"), "rounds", findings),
        execution=_word(root, "execution", ("auto", "stacked", "solo"), "auto", findings),
        device=_word(root, "device", ("auto", "cpu", "cuda"), "auto", findings),
        precision=_word(root, "precision", ("auto", "float32", "tf32", "bf16"), "auto", findings),
        forks=_switch(root, "forks", True, findings),
        confirm=confirm,
        range_test=read_range_test(root, findings),
    )
    findings.notes += check_terminator(space, findings.lines.get("terminator"), findings)
    return _with_start(space, root, findings), (task.metrics or ())[1:]


def _with_start(space: SearchSpace, root: Table, findings: Findings) -> SearchSpace:
    """The space with its start points: the file's, then PyTorch's defaults unless the file has none."""
    own = read_start(root, space, findings)
    return replace(space, start=(*(own or ()), *(() if own == () else default_starts(space, own or ()))))


def _whole(root: Table, field: str, overrides: Overrides, findings: Findings) -> int | None:
    override, bounds = overrides.of(field), _BOUNDS[field]
    if override is None:
        entry = root.find(field)
        return None if entry is None else whole(entry.node, field, bounds, findings)
    if bounds[0] <= override <= bounds[1]:
        return override
    findings.problem(None, f"--{field}", f"got {override}", wanted_whole(bounds))
    return None


def _word(root: Table, field: str, known: tuple[str, ...], default: str, findings: Findings) -> str:
    entry = root.find(field)
    return default if entry is None else word(entry.node, field, known, findings) or default


def _switch(root: Table, field: str, default: bool, findings: Findings) -> bool:
    entry = root.find(field)
    if entry is None:
        return default
    value = entry.node.value if isinstance(entry.node, Scalar) else None
    if not isinstance(value, bool):
        findings.problem(entry.line, field, f"got {shown(entry.node)}", "true or false")
        return default
    return value


def _classes(
    root: Table, catalogue: Catalogue, scope: Scope
) -> tuple[tuple[OptimizerSpace, ...], tuple[ScheduleSpace, ...]]:
    optimizer = root.find("optimizer")
    optimizers: tuple[OptimizerSpace, ...] | None = None
    if optimizer is not None:
        optimizers = read_optimizers(optimizer.node, catalogue.optimizers, scope)
    schedules = _schedules(root, catalogue, scope)
    if optimizers is not None and schedules is not None:
        check_nesterov(optimizers, schedules, catalogue.optimizers, scope.findings)
        check_effective_rates(optimizers, schedules, scope.findings)
    return optimizers or (), schedules or ()


def _schedules(root: Table, catalogue: Catalogue, scope: Scope) -> tuple[ScheduleSpace, ...] | None:
    """What ``schedule`` or ``branches`` says; a constant one where neither is there."""
    schedule, branches = root.find("schedule"), root.find("branches")
    if schedule is not None and branches is not None:
        one, other = sorted((schedule, branches), key=lambda entry: entry.line)
        got = f"got {other.key} beside {one.key} (line {one.line})"
        hint = "schedule is one of several, chosen for each setting; branches are all tried for each proposal"
        scope.findings.problem(other.line, other.key, got, "schedule or branches, not both", hint)
    found: tuple[ScheduleSpace, ...] | None = (ScheduleSpace(name="constant", label="constant"),)
    if schedule is not None:
        found = read_schedules(schedule.node, catalogue.schedules, scope)
    if branches is not None:
        found = read_branches(branches, catalogue.schedules, scope)
    return found


def _notes_of_branches(space: SearchSpace) -> list[str]:
    """What to say of branches that is no mistake."""
    if not space.branches or not space.schedules:
        return []
    repeats = note_of_repeats(space.schedules, space.optimizers)
    if space.sampler == "grid":
        return repeats  # its points say how many settings there are, and each is proposed once
    rest = note_of_trials(space.trials, len(space.schedules))
    return repeats if rest is None else [rest, *repeats]
