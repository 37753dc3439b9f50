"""The rehearsal of a task alone: made, and where it is a user's own probed, at the ends of its arguments."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from search_spaces.ranges import Range, Value
from search_spaces.settings import Setting
from search_spaces.space import Metric, OptimizerSpace, SearchSpace
from search_spaces.task_code import TaskProblem, TaskRefused, TriedTask, names_a_file
from workers.messages import TaskArguments
from workers.probe import BatchRefused, probe
from workers.tasks.registry import make_task, task_class
from workers.tasks.task_file import split_reference
from workers.tasks.user_errors import USER_ERRORS, told
from workers.variants import variants_of

MOST_PROBES = 100  # of a task; each may load its data


def rehearse_task(reference: str, arguments: Mapping[str, Range], batch_size: Range) -> TriedTask:
    """Probe a user's task at the ends of its arguments and of the batch size.

    Returns the metrics that it yields every time, in the order of the first time; none of a training loop,
    which is made and not run. What is wrong already at the first ends is told alone.
    """
    problems: dict[tuple[str, str], TaskProblem] = {}
    metrics: tuple[str, ...] | None = None
    settings = _settings(reference, arguments, batch_size)
    first = settings[0]
    for setting in settings:
        moved = {
            name: value
            for name, value in setting.task_arguments.items()
            if value != first.task_arguments[name]
        }
        found = _probed(reference, setting, moved)
        if isinstance(found, TaskProblem):
            problems.setdefault((found.label, found.got), found)
            if setting is first and found.label != "batch_size":
                break
        else:
            metrics = found if metrics is None else tuple(name for name in metrics if name in found)
    return TriedTask(metrics=metrics or (), problems=tuple(problems.values()))


def _settings(reference: str, arguments: Mapping[str, Range], batch_size: Range) -> list[Setting]:
    """Distinct settings to probe, those of equal task arguments together: their data is loaded once."""
    space = SearchSpace(
        name="",
        task=reference,
        metric=Metric(name="val_loss", goal="minimize"),
        epochs=1,
        trials=1,
        optimizers=(OptimizerSpace(name="SGD", label="SGD", arguments={}),),
        task_arguments=arguments,
        batch_size=batch_size,
    )
    by_arguments: dict[str, dict[int, Setting]] = {}
    for variant in variants_of(space):
        setting = variant.setting
        together = by_arguments.setdefault(repr(sorted(setting.task_arguments.items())), {})
        together.setdefault(setting.batch_size, setting)
    return [setting for together in by_arguments.values() for setting in together.values()][:MOST_PROBES]


def _probed(reference: str, setting: Setting, moved: Mapping[str, Value]) -> tuple[str, ...] | TaskProblem:
    """The metrics' names, or what is wrong with the task at this setting.

    ``moved``: the arguments that differ from the first setting tried.
    """
    given = setting.task_arguments
    refused = refused_arguments(reference, given)
    if refused is not None:
        return TaskProblem(
            label="task_args",
            argument=refused.argument,
            got=f"{refused.got} is refused: {refused.said}",
            wanted="what the task can be made with",
        )
    if task_class(reference).loop:
        return ()  # only training it would show more
    try:
        return probe(reference, as_arguments(given), setting.batch_size)
    except BatchRefused as error:
        return TaskProblem(label="batch_size", argument=None, got=error.got, wanted=error.wanted)
    except TaskRefused as error:
        blamed = next(iter(moved), None)
        with_ = ", ".join(f"{name}={value}" for name, value in moved.items())
        got = error.got if reference in error.got else f"{reference}: {error.got}"
        return TaskProblem(
            label="task" if blamed is None else "task_args",
            argument=blamed,
            got=f"{got} (with {with_})" if with_ else got,
            wanted=error.wanted,
            hint=error.hint,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusedArguments:
    """Task arguments that the task's constructor refuses."""

    argument: str | None  # the one to blame, if there is one
    got: str  # its value, or all of them
    said: str  # by the constructor


def refused_arguments(reference: str, given: Mapping[str, Value]) -> RefusedArguments | None:
    """What the task's constructor says against these arguments; None where it takes them."""
    error = _constructor_error(reference, given)
    if error is None:
        return None
    words = " ".join(str(error).split())
    expected = isinstance(error, (TypeError, ValueError)) and words
    named, colon, rest = words.partition(": ")
    if expected and colon and named in given:  # our own tasks say which argument is to blame
        return RefusedArguments(argument=named, got=str(given[named]), said=rest)
    blamed = culprit(given, lambda kept: _constructor_error(reference, kept) is None)
    return RefusedArguments(
        argument=blamed,
        got=str(dict(given) if blamed is None else given[blamed]),
        said=words if expected else told(error, split_reference(reference)[0]),
    )


def _constructor_error(reference: str, given: Mapping[str, Value]) -> BaseException | None:
    """A user's constructor may raise anything; ours raise TypeError and ValueError where they refuse."""
    refusals = USER_ERRORS if names_a_file(reference) else (TypeError, ValueError)
    try:
        make_task(reference, as_arguments(given))
    except refusals as error:
        return error
    return None


def culprit(arguments: Mapping[str, Any], accepts: Callable[[dict[str, Any]], bool]) -> str | None:
    """The one argument without which the rest is accepted, if there is one."""
    return next((name for name in arguments if accepts(dict(_without(arguments, name)))), None)


def _without(arguments: Mapping[str, Any], left_out: str) -> Iterator[tuple[str, Any]]:
    return ((name, value) for name, value in arguments.items() if name != left_out)


def as_arguments(given: Mapping[str, Value]) -> TaskArguments:
    """Task arguments as messages carry them."""
    return tuple(sorted(given.items()))
