"""Writing: a search space as the text of a sweep file, which reads back to an equal one."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from search_spaces.catalogue import Catalogue
from search_spaces.confirming import Confirm
from search_spaces.default_starts import default_starts
from search_spaces.limits import ARGUMENTS, BUDGETS, Limits, Terminator
from search_spaces.range_test import RangeTest
from search_spaces.space import Metric, OptimizerSpace, Pruner, ScheduleSpace, SearchSpace
from search_spaces.value_text import range_text, value_text, word_text

HEAD = ""
"""Stands for the file as a whole among the comments: what is said before its first field."""

_NO_COMMENTS: Mapping[str, Sequence[str]] = {}
_ALWAYS = frozenset({"name", "task", "metric", "epochs", "trials"})
_PLAINEST = SearchSpace(
    name="", task="", metric=Metric(name="", goal=""), epochs=0, optimizers=(), trials=0, concurrency=1
)
"""Every default of the file format, but for the concurrency, which hangs on the trials."""


def write_space(
    space: SearchSpace,
    catalogue: Catalogue,
    *,
    comments: Mapping[str, Sequence[str]] = _NO_COMMENTS,
    said: Collection[str] = (),
) -> str:
    """YAML of a sweep file that reads back to ``space``.

    ``comments``: lines to stand above a field, by its dotted name as in ``LoadedSpace.lines``, with labels
    of the space (``optimizer.SGD#2.lr``); :data:`HEAD` for the file's own. ``said``: fields of the file to be
    written although they say no more than their default does. Numbers are written so that readers of YAML 1.1
    take them for numbers, too. The ``catalogue`` knows when each schedule steps unless the file says so.
    """
    page = _Page(comments)
    plainest = replace(_PLAINEST, concurrency=max(1, min(64, space.trials // 8)))
    page.comment(HEAD, 0)
    for name, write in _FIELDS.items():
        text = write(space)
        if text is not None and (name in said or name in _ALWAYS or text != write(plainest)):
            for inner in page.comments:
                if inner.startswith(f"{name}."):
                    page.comment(inner, 0)
            page.put(name, f"{name}: {text}", 0)
        elif name == "optimizer":
            page.put(name, "optimizer:", 0)
            _put_optimizers(page, space.optimizers)
        elif name == "schedule" and (space.schedules != _PLAINEST.schedules or name in said):
            section = "branches" if space.branches else "schedule"
            page.put(section, f"{section}:", 0)
            _put_schedules(page, space, catalogue, section)
        elif name == "task_args" and space.task_arguments:
            page.put(name, "task_args:", 0)
            for argument, range_ in space.task_arguments.items():
                page.put(f"{name}.{argument}", f"{word_text(argument)}: {range_text(range_)}", 1)
    return "\n".join(page.lines) + "\n"


@dataclass(slots=True)
class _Page:
    """Lines of the file so far."""

    comments: Mapping[str, Sequence[str]]
    lines: list[str] = field(default_factory=list)

    def comment(self, name: str, depth: int) -> None:
        for said in self.comments.get(name, ()):
            self.lines += [f"{'  ' * depth}# {line}".rstrip() for line in said.splitlines() or [""]]

    def put(self, name: str, text: str, depth: int) -> None:
        self.comment(name, depth)
        self.lines.append("  " * depth + text)


def _put_optimizers(page: _Page, optimizers: tuple[OptimizerSpace, ...]) -> None:
    for optimizer in optimizers:
        name = f"optimizer.{optimizer.label}"
        inner = _put_class(page, name, optimizer.name, not optimizer.arguments, len(optimizers) > 1, 1)
        for argument, range_ in optimizer.arguments.items():
            page.put(f"{name}.{argument}", f"{word_text(argument)}: {range_text(range_)}", inner)


def _put_schedules(page: _Page, space: SearchSpace, catalogue: Catalogue, section: str) -> None:
    listed = len(space.schedules) > 1
    for schedule in space.schedules:
        known = catalogue.schedules.get(schedule.name)
        outer: dict[str, str] = {}
        if schedule.every != ("epoch" if known is None else known.every):
            outer["every"] = schedule.every
        if schedule.watch not in (None, "val_loss"):
            outer["watch"] = str(schedule.watch)
        _put_schedule(page, schedule, section, outer, listed, 1)


def _put_schedule(
    page: _Page, schedule: ScheduleSpace, section: str, outer: Mapping[str, str], listed: bool, depth: int
) -> None:
    name = f"{section}.{schedule.label}"
    inner = _put_class(page, name, schedule.name, not schedule.arguments and not outer, listed, depth)
    for argument, value in schedule.arguments.items():
        if isinstance(value, tuple):
            page.put(f"{name}.{argument}", f"{word_text(argument)}:", inner)
            for part in value:
                _put_schedule(page, part, section, {}, True, inner + 1)
        else:
            page.put(f"{name}.{argument}", f"{word_text(argument)}: {range_text(value)}", inner)
    for argument, word in outer.items():
        page.put(f"{name}.{argument}", f"{argument}: {word_text(word)}", inner)


def _put_class(page: _Page, name: str, class_name: str, bare: bool, listed: bool, depth: int) -> int:
    """The line that names a class; returns how deep its arguments stand."""
    page.put(name, f"{'- ' if listed else ''}{word_text(class_name)}:{' {}' if bare else ''}", depth)
    return depth + 2 if listed else depth + 1


def _pruner(pruner: Pruner) -> str:
    if not pruner.arguments:
        return pruner.name
    arguments = (f"{word_text(name)}: {value_text(value)}" for name, value in pruner.arguments.items())
    return f"{{{pruner.name}: {{{', '.join(arguments)}}}}}"


def _confirm(confirm: Confirm | None) -> str | None:
    if confirm is None:
        return None
    rate = value_text(confirm.error_rate)
    return f"{{top: {confirm.top}, seeds: {confirm.seeds}, error_rate: {rate}}}"


def _range_test(test: RangeTest | None) -> str | None:
    if test is None:
        return None
    momenta = [] if test.momenta is None else [f"momenta: {value_text(test.momenta)}"]
    seeds = [] if test.seeds is None else [f"seeds: {value_text(test.seeds)}"]
    return f"{{{', '.join([*momenta, f'updates: {test.updates}', *seeds])}}}"


def _budget(limits: Limits) -> str | None:
    given = {name: getattr(limits, name) for name in BUDGETS}
    told = [f"{name}: {value_text(value)}" for name, value in given.items() if value is not None]
    return f"{{{', '.join(told)}}}" if told else None


def _terminator(terminator: Terminator) -> str:
    arguments = (f"{name}: {value_text(getattr(terminator, name))}" for name in ARGUMENTS[terminator.name])
    told = ", ".join(arguments)
    return f"{{{terminator.name}: {{{told}}}}}" if told else terminator.name


def _sampler(space: SearchSpace) -> str:
    name = word_text(space.sampler)
    if not space.sampler_arguments:
        return name
    told = (f"{word_text(one)}: {value_text(value)}" for one, value in space.sampler_arguments.items())
    return f"{{{name}: {{{', '.join(told)}}}}}"


def _start(space: SearchSpace) -> str | None:
    """The file's own points; ``[]`` where it has none, and not PyTorch's defaults either."""
    own = [point.told for point in space.start if not point.is_default]
    turned_off = not space.start and default_starts(space, ())
    return f"[{', '.join(own)}]" if own or turned_off else None


def _block(space: SearchSpace) -> None:
    """Stand for a field of several lines."""


_FIELDS: Mapping[str, Callable[[SearchSpace], str | None]] = {
    "name": lambda space: word_text(space.name),
    "task": lambda space: word_text(space.task),
    "task_args": _block,
    "metric": lambda space: f"{{name: {word_text(space.metric.name)}, goal: {space.metric.goal}}}",
    "epochs": lambda space: str(space.epochs),
    "batch_size": lambda space: range_text(space.batch_size),
    "clip_grad_norm": lambda space: range_text(space.clip_grad_norm),
    "optimizer": _block,
    "schedule": _block,
    "warmup": lambda space: f"{{epochs: {space.warmup_epochs}}}",
    "seed": lambda space: str(space.seed),
    "seeds": lambda space: value_text(space.seeds),
    "trials": lambda space: str(space.trials),
    "concurrency": lambda space: str(space.concurrency),
    "sampler": _sampler,
    "start": _start,
    "pruner": lambda space: _pruner(space.pruner),
    "budget": lambda space: _budget(space.budget),
    "terminator": lambda space: _terminator(space.terminator),
    "warm_start": lambda space: None if space.warm_start is None else word_text(space.warm_start),
    "order": lambda space: space.order,
    "execution": lambda space: space.execution,
    "device": lambda space: space.device,
    "precision": lambda space: space.precision,
    "forks": lambda space: value_text(space.forks),
    "confirm": lambda space: _confirm(space.confirm),
    "range_test": lambda space: _range_test(space.range_test),
}
"""How each field of the file is written on one line; None: not on one line."""

WRITTEN = frozenset(
    {
        "name",
        "task",
        "task_arguments",
        "metric",
        "epochs",
        "batch_size",
        "clip_grad_norm",
        "optimizers",
        "schedules",
        "branches",
        "warmup_epochs",
        "seed",
        "seeds",
        "trials",
        "concurrency",
        "sampler",
        "sampler_arguments",
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
    }
)
"""The fields of a search space that are written; a test holds them against those there are."""
