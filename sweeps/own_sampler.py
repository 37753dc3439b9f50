"""Own samplers: a class of Optuna's kind that a sweep file names, made anew for each proposal.

An own sampler keeps nothing in itself from one proposal to the next. What it keeps in Optuna's study, which
is how Optuna's samplers share their state between processes (CMA-ES does), is stored with proposals.
"""

from __future__ import annotations

import importlib
import inspect
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial

from search_spaces.errors import nearest
from search_spaces.ranges import Value
from search_spaces.space import SearchSpace
from search_spaces.task_code import TaskRefused, names_a_file
from sweeps.errors import SamplerFailed
from workers.tasks.task_file import INSTALLED, class_named, digest_of, split_reference, task_file
from workers.tasks.user_errors import named, told

OF_A_SAMPLER = (Exception, SystemExit)
"""What is caught around a sampler's own code; an interruption is not its own."""


class SamplerRefused(ValueError):
    """The sweep file's sampler cannot be had; phrases as in a sweep file's problem."""

    def __init__(self, got: str, hint: str = "") -> None:
        super().__init__(got, hint)
        self.got = got
        self.hint = hint


class OwnSampler:
    """A sampler's class with its arguments."""

    def __init__(self, reference: str, arguments: Mapping[str, Value]) -> None:
        """Load the class that ``reference`` names. Raises SamplerRefused."""
        self.reference = reference
        self._class = sampler_class(reference)
        self._arguments = {name: _listed(value) for name, value in arguments.items()}
        self.takes_seed = _takes_seed(self._class)
        self.hears_ends = self._class.after_trial is not BaseSampler.after_trial

    @staticmethod
    def of(space: SearchSpace) -> OwnSampler:
        """The one that the space names. Raises SamplerRefused."""
        return OwnSampler(space.sampler, space.sampler_arguments)

    def fresh(self, seed: int) -> BaseSampler:
        """A sampler that remembers nothing. Raises SamplerFailed."""
        arguments = {**self._arguments, "seed": seed} if self.takes_seed else self._arguments
        with self.at_work(f"as it was made with {self._arguments or 'no arguments'}"):
            return self._class(**arguments)

    @contextmanager
    def at_work(self, doing: str) -> Iterator[None]:
        """Raises SamplerFailed for what the sampler raises inside; what it prints goes to stderr."""
        try:
            with redirect_stdout(sys.stderr), warnings.catch_warnings():
                warnings.simplefilter("ignore", ExperimentalWarning)  # who names a sampler knows which it is
                yield
        except OF_A_SAMPLER as error:
            if isinstance(error, SamplerFailed):
                raise
            raise SamplerFailed(
                f"The sampler {self.reference} raised {doing}: {_told(error, self.reference)}"
            ) from error

    def check(self, trial: FrozenTrial, index: int) -> None:
        """Raises SamplerFailed where a number that the sampler proposed lies outside of its range."""
        for name, range_ in trial.distributions.items():
            if isinstance(range_, CategoricalDistribution):
                continue  # Optuna has looked
            assert isinstance(range_, FloatDistribution | IntDistribution)  # noqa: S101 - there are three kinds
            value = trial.params[name]
            if not range_.low <= value <= range_.high:
                raise SamplerFailed(
                    f"The sampler {self.reference} proposed {name} = {value} for setting {index}, outside of "
                    f"{range_.low} to {range_.high}"
                )


def sampler_class(reference: str) -> type[BaseSampler]:
    """The class. Runs its module or file. Raises SamplerRefused."""
    place, _, name = reference.rpartition(":")
    found = _of_file(place, name) if names_a_file(reference) else _of_module(place, name)
    if not inspect.isclass(found) or not issubclass(found, BaseSampler):
        kind = "it is no class" if not inspect.isclass(found) else "it is another class"
        raise SamplerRefused(f"'{name}' in {place} is no sampler: {kind}")
    if inspect.isabstract(found):
        missing = ", ".join(sorted(found.__abstractmethods__))
        raise SamplerRefused(f"'{name}' in {place} is not a whole sampler: it has no {missing}")
    return found


def digests_of(reference: str) -> dict[str, str]:
    """SHA-256 by path of a sampler's file and what it imported from its folder; of a module its own file.

    None of an installed module, which changes with the environment as Optuna does.
    """
    place, _, _ = reference.rpartition(":")
    if names_a_file(reference):
        return dict(task_file(place).digests)
    file = getattr(sys.modules.get(place), "__file__", None)
    if file is None or set(INSTALLED) & set(Path(file).parts):
        return {}
    return {file: digest_of(file)}


def _of_file(path: str, name: str) -> object:
    try:
        return class_named(task_file(path), name)
    except TaskRefused as error:
        raise SamplerRefused(error.got.replace("the task file ", ""), error.hint) from error


def _of_module(place: str, name: str) -> object:
    try:
        with redirect_stdout(sys.stderr):
            module = importlib.import_module(place)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{place}.".startswith(f"{error.name}."):
            raise SamplerRefused(f"{place} cannot be imported: {named(error)}") from error
        hint = "a file is named by its path, such as samplers.py:Class"
        raise SamplerRefused(f"there is no module {error.name} that can be imported", hint) from error
    except (*OF_A_SAMPLER, KeyboardInterrupt) as error:
        raise SamplerRefused(f"{place} cannot be imported: {named(error)}") from error
    try:
        found: object = getattr(module, name)
    except AttributeError as error:
        near = [one for one, value in vars(module).items() if inspect.isclass(value)]
        raise SamplerRefused(f"module {place} has no '{name}'", nearest(name, near)) from error
    return found


def _told(error: BaseException, reference: str) -> str:
    return told(error, split_reference(reference)[0]) if names_a_file(reference) else named(error)


def _takes_seed(class_: type[BaseSampler]) -> bool:
    """Whether the constructor has ``seed``, also where it hands on what it does not name."""
    for base in class_.__mro__:
        if "__init__" not in vars(base):
            continue
        parameters = inspect.signature(vars(base)["__init__"]).parameters
        if "seed" in parameters:
            return True
        if not any(one.kind is inspect.Parameter.VAR_KEYWORD for one in parameters.values()):
            return False
    return False


def _listed(value: Value) -> Any:
    return [_listed(item) for item in value] if isinstance(value, tuple) else value
