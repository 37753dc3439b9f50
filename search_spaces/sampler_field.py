"""The ``sampler`` field: one of ours by name, or a user's own class of Optuna's kind.

An own one runs code as soon as it is looked at, as a task file does; so whoever reads a sweep file says
whether it may (:mod:`search_spaces.task_code`). Here it is only found: whether the class is a sampler is
for those who know Optuna to say.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from search_spaces.errors import Findings, nearest, one_of, shorten
from search_spaces.fields import plain_value, shown, table
from search_spaces.nodes import Scalar, Table
from search_spaces.ranges import Value
from search_spaces.samplers import SAMPLERS, is_own
from search_spaces.task_code import TaskCode, TaskRefused, names_a_file

WANTED_OWN = "module:Class or path/to/file.py:Class, a subclass of optuna.samplers.BaseSampler"
NOT_FROM_HERE = "a sampler of one's own runs code, and is taken from the command line only"


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplerChoice:
    """What proposes settings."""

    name: str = "tpe"  # of an own one in a file: /absolute/path/to/file.py:Class
    arguments: Mapping[str, Value] = field(default_factory=dict)


def read_sampler(root: Table, code: TaskCode | None, findings: Findings) -> SamplerChoice:
    """The sampler with its arguments, or ``tpe`` where the file has none or has it wrong."""
    entry = root.find("sampler")
    if entry is None:
        return SamplerChoice()
    only = entry.node.entries[0] if isinstance(entry.node, Table) and len(entry.node.entries) == 1 else None
    value = entry.node.value if isinstance(entry.node, Scalar) else None if only is None else only.key
    wanted = one_of(SAMPLERS) if code is None else f"{one_of(SAMPLERS)}, or {WANTED_OWN}"
    if not isinstance(value, str):
        findings.problem(entry.line, "sampler", f"got {shown(entry.node)}", wanted)
        return SamplerChoice()
    if value in SAMPLERS:
        if only is not None:
            hint = "Optuna's own takes its arguments where it is named optuna.samplers:TPESampler"
            got = f"got {shown(only.node)}"
            findings.problem(only.line, f"sampler.{value}", got, "no arguments", hint)
        return SamplerChoice(name=value)
    if not is_own(value) and not names_a_file(value):
        got, hint = f"got '{shorten(value)}'", nearest(value, SAMPLERS)
        findings.problem(entry.line, "sampler", got, wanted, hint)
        return SamplerChoice()
    if code is None:
        findings.problem(entry.line, "sampler", f"got '{shorten(value)}'", wanted, NOT_FROM_HERE)
        return SamplerChoice()
    name = _found(value, entry.line, code, findings)
    wanted = "{argument: value}"
    given = None if only is None else table(only.node, f"sampler.{shorten(value)}", wanted, findings)
    arguments = _arguments(given, findings)
    return SamplerChoice() if name is None else SamplerChoice(name=name, arguments=arguments)


def _found(written: str, line: int, code: TaskCode, findings: Findings) -> str | None:
    """The reference with its file's absolute path; None where there is no such file."""
    path, _, name = written.rpartition(":")
    if not path or not name.isidentifier():
        findings.problem(line, "sampler", f"got '{shorten(written)}'", WANTED_OWN)
        return None
    if not names_a_file(written):
        return written
    try:
        return f"{code.absolute(path)}:{name}"
    except TaskRefused as error:
        findings.problem(line, "sampler", error.got, WANTED_OWN)
        return None


def _arguments(given: Table | None, findings: Findings) -> dict[str, Value]:
    found: dict[str, Value] = {}
    for entry in () if given is None else given.entries:
        field_ = f"sampler.{shorten(entry.key)}"
        if entry.key == "seed":
            hint = "each proposal has a sampler of its own, whose seed follows from the sweep's"
            findings.problem(entry.line, field_, f"got {shown(entry.node)}", "no seed here", hint)
        elif (value := plain_value(entry.node, field_, findings)) is not None:
            found[entry.key] = value.value
    return found
