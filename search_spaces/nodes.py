"""YAML or JSON text as plain nodes that know their line. The only room that knows PyYAML.

Nothing is ever constructed from a tag, an alias or a date: a node is a mapping, a list, or a number,
truth value, null or text by the rules of YAML 1.2 (``1e-4`` is a number, ``yes`` and ``1:30`` are text).
"""

from __future__ import annotations

import json
import re
import sys
from dataclasses import dataclass

import yaml

from search_spaces.errors import Findings, shorten

LARGEST_TEXT = 1024 * 1024  # bytes
DEEPEST = 32
MOST_NODES = 20_000

_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_LONGEST_INTEGER = 4000  # digits; int() refuses much longer ones by itself


@dataclass(frozen=True, slots=True, kw_only=True)
class Scalar:
    """A number, truth value, null or text. Not yet judged: a number may be infinite."""

    line: int
    text: str  # as written
    value: bool | int | float | str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """A list."""

    line: int
    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A key of a mapping with what stands behind it."""

    line: int
    key: str
    node: Node


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A mapping; its keys are distinct."""

    line: int
    entries: tuple[Entry, ...]

    def find(self, key: str) -> Entry | None:
        """Entry of that key, if there is one."""
        return next((entry for entry in self.entries if entry.key == key), None)


Node = Scalar | Listing | Table


class _Loader(yaml.SafeLoader):
    """PyYAML's own, in pure Python, with YAML 1.2's idea of what is not text."""

    yaml_implicit_resolvers = {}  # noqa: RUF012 - PyYAML's own attribute, not shared with the parent


_TAG = "tag:yaml.org,2002:"
_Loader.add_implicit_resolver(f"{_TAG}null", re.compile(r"^(~|null|Null|NULL|)$"), [*"~nN", ""])
_Loader.add_implicit_resolver(
    f"{_TAG}bool", re.compile(r"^(true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)
_Loader.add_implicit_resolver(f"{_TAG}int", re.compile(r"^[-+]?[0-9]+$"), list("-+0123456789"))
_Loader.add_implicit_resolver(
    f"{_TAG}float",
    re.compile(
        r"""^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$
           |^[-+]?\.(inf|Inf|INF)$
           |^\.(nan|NaN|NAN)$""",
        re.VERBOSE,
    ),
    list("-+.0123456789"),
)


def read_nodes(text: str, findings: Findings) -> Node | None:
    """Nodes of the one document in ``text``; None where ``findings`` tells why there is none.

    Duplicate keys are a problem too, but reading goes on with the first.
    """
    if not _is_readable(text, findings):
        return None
    text = _without_json_tabs(text)
    before = len(findings.problems)
    try:
        _check_events(text, findings)
        if len(findings.problems) > before:
            return None
        root = yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        said = " ".join(part for part in (error.context, error.problem) if part)
        _not_yaml(findings, None if mark is None else mark.line + 1, said)
        return None
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        # PyYAML lets chr() and int() speak for themselves where an escape or a version is absurd.
        _not_yaml(findings, None, str(error))
        return None
    if root is None:
        findings.problem(1, "file", "an empty file", "a sweep: task, metric, epochs, optimizer, trials")
        return None
    return _node(root, "", root.start_mark.line + 1, findings)


def comment_lines(text: str) -> dict[int, str]:
    """What stands behind a ``#`` in a text that :func:`read_nodes` has read, by its line, from 1."""
    ends: dict[int, int] = {}  # of a line, where the last thing on it that is no comment ends
    for token in yaml.scan(_without_json_tabs(text), Loader=_Loader):
        for line in range(token.start_mark.line, token.end_mark.line):
            ends[line] = sys.maxsize
        ends[token.end_mark.line] = max(ends.get(token.end_mark.line, 0), token.end_mark.column)
    found = {}
    for index, content in enumerate(text.splitlines()):
        end = ends.get(index, 0)
        rest = content[end:]
        if rest.lstrip().startswith("#") and (end == 0 or rest[0].isspace()):
            found[index + 1] = rest.lstrip().removeprefix("#").strip()
    return found


def _not_yaml(findings: Findings, line: int | None, said: str) -> None:
    tab = "indent with spaces, not tabs" if r"'\t'" in said else ""
    findings.problem(line, "file", f"not YAML ({shorten(said, 200)})", "YAML or JSON", tab)


def _is_readable(text: str, findings: Findings) -> bool:
    size = len(text.encode("utf-8", "surrogatepass"))
    if size > LARGEST_TEXT:
        findings.problem(None, "file", f"{size:,} bytes", f"at most {LARGEST_TEXT:,} bytes (1 MiB)")
        return False
    if found := _UNPRINTABLE.search(text):
        line = text.count("\n", 0, found.start()) + 1
        character = f"the unprintable character U+{ord(found.group()):04X}"
        findings.problem(line, "file", character, "plain text (UTF-8)")
        return False
    return True


def _without_json_tabs(text: str) -> str:
    """JSON may be indented with tabs, YAML not; inside JSON's strings no tab can stand."""
    if "\t" not in text:
        return text
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return text
    return text.replace("\t", " ")


def _check_events(text: str, findings: Findings) -> None:
    """Refuse what could blow up or mean something else, before anything is built; never recursive."""
    depth = documents = nodes = 0
    for event in yaml.parse(text, Loader=_Loader):
        line = event.start_mark.line + 1 if event.start_mark else None
        if isinstance(event, yaml.DocumentStartEvent):
            documents += 1
            if documents > 1:
                findings.problem(line, "file", "a second document after '---'", "one document")
                return
        elif isinstance(event, yaml.AliasEvent):
            got = f"the alias *{shorten(str(event.anchor))}"
            findings.problem(line, "file", got, "the values themselves, written out again")
        elif isinstance(event, (yaml.CollectionStartEvent, yaml.ScalarEvent)):
            nodes += 1
            if event.tag is not None:
                findings.problem(line, "file", f"the tag {shorten(event.tag)}", "plain values without tags")
            if nodes > MOST_NODES:
                findings.problem(line, "file", f"more than {MOST_NODES:,} values", f"at most {MOST_NODES:,}")
                return
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > DEEPEST:
                findings.problem(line, "file", f"more than {DEEPEST} levels", f"at most {DEEPEST} levels")
                return
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def _node(node: yaml.Node, path: str, line: int, findings: Findings) -> Node:
    if isinstance(node, yaml.ScalarNode):
        return Scalar(line=line, text=node.value, value=_value(node.tag.removeprefix(_TAG), node.value))
    if isinstance(node, yaml.SequenceNode):
        items = (
            _node(item, f"{path}[{index}]", item.start_mark.line + 1, findings)
            for index, item in enumerate(node.value)
        )
        return Listing(line=line, items=tuple(items))
    assert isinstance(node, yaml.MappingNode)  # noqa: S101 - PyYAML has no fourth kind
    entries: dict[str, Entry] = {}
    for key_node, value_node in node.value:
        key_line = key_node.start_mark.line + 1
        if not isinstance(key_node, yaml.ScalarNode):
            findings.problem(key_line, path or "file", "a list or mapping as a key", "a name as a key")
            continue
        key = _joined_surrogates(key_node.value)
        inner = f"{path}.{shorten(key)}" if path else shorten(key)
        if key in entries:
            got = f"given again (first on line {entries[key].line})"
            findings.problem(key_line, inner, got, "each key once")
            continue
        # A value that begins on a later line is still said to be where its key is: there one looks for it.
        entries[key] = Entry(line=key_line, key=key, node=_node(value_node, inner, key_line, findings))
    return Table(line=line, entries=tuple(entries.values()))


def _value(kind: str, text: str) -> bool | int | float | str | None:
    if kind == "null":
        return None
    if kind == "bool":
        return text.lower() == "true"
    if kind == "int":
        return int(text) if len(text) <= _LONGEST_INTEGER else float("inf")
    if kind == "float":
        return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
    return _joined_surrogates(text)


def _joined_surrogates(text: str) -> str:
    r"""JSON writes characters beyond U+FFFF as two escapes (\ud83d\ude00), which YAML keeps apart."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
