"""Task files: a file of Python that a user brings, and the task class in it.

A task is then called by its reference, ``/absolute/path/to/file.py:Name``, in every process alike. The
file is run once a process, as a module of a name of its own.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType

from search_spaces.errors import nearest, one_of
from search_spaces.task_code import TaskRefused, names_a_file
from workers.tasks.user_errors import USER_ERRORS, told

WANTED_REFERENCE = "path/to/file.py:Name, where Name is a class with model(), data() and loss()"
INSTALLED = ("site-packages", "dist-packages")
"""Folders of what is no user's own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskFile:
    """A task file that has been run."""

    path: str
    module: ModuleType
    digests: Mapping[str, str]  # SHA-256 by path: of the file, and of what it imported from its folder

    def classes(self) -> tuple[str, ...]:
        """Names of the classes that the file defines itself."""
        return tuple(
            name
            for name, value in vars(self.module).items()
            if inspect.isclass(value) and value.__module__ == self.module.__name__
        )


def split_reference(reference: str) -> tuple[str, str]:
    """File and class name of ``file.py:Name``; the name is empty where the reference has none."""
    if not names_a_file(reference) or reference.endswith(".py"):
        return reference, ""
    path, _, name = reference.rpartition(":")
    return path, name


def digest_of(path: str) -> str:
    """SHA-256 of a file's bytes, in hexadecimal. Raises OSError."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


@cache
def task_file(path: str) -> TaskFile:
    """Run the file at the absolute ``path``, unless this process has run it before. Raises TaskRefused."""
    name = f"ravine_task_{hashlib.sha256(path.encode()).hexdigest()[:12]}_{Path(path).stem}"
    folder = str(Path(path).parent)
    try:
        source = Path(path).read_bytes()
    except OSError as error:
        raise TaskRefused(
            f"the task file {path} cannot be read: {error.strerror or error}", WANTED_REFERENCE
        ) from error
    loader = _SourceLoader(name, path, source)
    spec = importlib.util.spec_from_loader(name, loader)
    if spec is None:
        raise AssertionError(f"no module specification for {path}")
    module = importlib.util.module_from_spec(spec)
    before = dict(sys.modules)
    sys.modules[name] = module  # dataclasses and annotations look their module up while it runs
    try:
        with _importable(folder):
            loader.exec_module(module)
    except USER_ERRORS as error:
        del sys.modules[name]
        raise TaskRefused(
            f"{path} cannot be imported: {told(error, path)}", "a file that Python runs from top to bottom"
        ) from error
    digests = {path: hashlib.sha256(source).hexdigest()}
    digests |= {sibling: digest_of(sibling) for sibling in _siblings(folder, before)}
    return TaskFile(path=path, module=module, digests=digests)


def class_named(file: TaskFile, name: str) -> type[object]:
    """The class of the file called ``name``. Raises TaskRefused, with the nearest names."""
    classes = file.classes()
    wanted = f"{one_of(classes)} of that file" if classes else WANTED_REFERENCE
    if not name:
        raise TaskRefused(f"{file.path} is named without a class", "path/to/file.py:Name", _such_as(classes))
    found = getattr(file.module, name, None)
    if found is None:
        raise TaskRefused(f"{file.path} has no '{name}'", wanted, nearest(name, classes))
    if not inspect.isclass(found):
        raise TaskRefused(f"'{name}' in {file.path} is no class: {type(found).__name__}", wanted)
    return found


def _such_as(classes: tuple[str, ...]) -> str:
    return f"it has {', '.join(classes)}" if classes else "it defines no class"


class _SourceLoader(SourceFileLoader):
    """Runs exactly the bytes whose digest is kept: no bytecode is read or written beside the file."""

    def __init__(self, name: str, path: str, source: bytes) -> None:
        super().__init__(name, path)
        self._source = source

    def get_code(self, fullname: str) -> CodeType:  # noqa: ARG002 - the loader protocol
        code: CodeType = self.source_to_code(self._source, self.path)
        return code


@contextmanager
def _importable(folder: str) -> Iterator[None]:
    """Modules in ``folder`` win, as for a script, while the file runs; afterwards they are found last.

    So an import inside a method still finds them, and none of them hides a library from us.
    """
    importlib.invalidate_caches()
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        sys.path.remove(folder)
        if folder not in sys.path:
            sys.path.append(folder)


def _siblings(folder: str, before: Mapping[str, ModuleType]) -> Iterator[str]:
    """Files in ``folder`` whose modules have been imported since ``before``."""
    for name, module in sorted(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if (
            module is before.get(name)
            or file is None
            or not file.endswith(".py")
            or name.startswith("ravine_task_")
        ):
            continue
        path = Path(file).absolute()
        if path.is_relative_to(folder) and not set(INSTALLED) & set(path.parts):
            yield str(path)
