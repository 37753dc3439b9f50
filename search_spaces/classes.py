"""The optimizers and schedules of a sweep file, checked against the catalogue."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from search_spaces.catalogue import Argument, ClassEntry, Kind, OptimizerEntry, ScheduleEntry, Suppression
from search_spaces.effective_rate import why_not_effective
from search_spaces.errors import Findings, nearest, one_of, shorten
from search_spaces.fields import Scope, read_range, shown, wanted_of, word
from search_spaces.nodes import Entry, Listing, Node, Scalar, Table
from search_spaces.ranges import Range, Value, ends
from search_spaces.space import BIAS_LR, OptimizerSpace, ScheduleSpace

_BIAS_LR = Argument(name=BIAS_LR, kinds=(Kind.number, Kind.text), names=("same",))
_CONSTANT = ScheduleEntry(name="constant", arguments={})


@dataclass(frozen=True, slots=True, kw_only=True)
class _Use:
    """A class named in the file, with what stands below its name."""

    name: str
    label: str
    line: int
    entries: tuple[Entry, ...]

    def find(self, key: str) -> Entry | None:
        return next((entry for entry in self.entries if entry.key == key), None)


def read_optimizers(
    node: Node, known: Mapping[str, OptimizerEntry], scope: Scope
) -> tuple[OptimizerSpace, ...] | None:
    """Every optimizer of the file; None where one is not a known class at all."""
    spaces: list[OptimizerSpace] = []
    uses = _uses(node, "optimizer", tuple(known), scope.findings)
    for use in uses:
        if use is not None:
            spaces.append(_optimizer(use, known[use.name], scope))
    return tuple(spaces) if len(spaces) == len(uses) else None


def read_schedules(
    node: Node, known: Mapping[str, ScheduleEntry], scope: Scope, section: str = "schedule"
) -> tuple[ScheduleSpace, ...] | None:
    """Every schedule of the file's ``section``; None where one is not a known class at all."""
    outer = {_CONSTANT.name: _CONSTANT, **known}
    spaces: list[ScheduleSpace] = []
    uses = _uses(node, section, tuple(outer), scope.findings)
    for use in uses:
        if use is not None:
            spaces.append(_schedule(use, outer[use.name], known, scope, section))
    return tuple(spaces) if len(spaces) == len(uses) else None


def check_nesterov(
    optimizers: tuple[OptimizerSpace, ...],
    schedules: tuple[ScheduleSpace, ...],
    known: Mapping[str, OptimizerEntry],
    findings: Findings,
) -> None:
    """Report every optimizer that asks for nesterov where its momentum can never be above 0."""
    if any(may_suppress(schedule, "momentum") for schedule in schedules):
        return
    for optimizer in optimizers:
        nesterov = optimizer.arguments.get("nesterov")
        momentum = optimizer.arguments.get("momentum")
        if "momentum" not in known[optimizer.name].arguments or nesterov is None or not any(ends(nesterov)):
            continue
        field = f"optimizer.{optimizer.label}"
        if momentum is None and f"{field}.momentum" in findings.lines:
            continue  # it is there, but wrong, and reported already
        possible: tuple[Value, ...] = (optimizer.default_momentum,) if momentum is None else ends(momentum)
        if not any(isinstance(value, (int, float)) and value > 0 for value in possible):
            got = "nesterov without momentum"
            wanted = f"a momentum above 0 in {optimizer.name} where nesterov may be true"
            findings.problem(findings.lines[f"{field}.nesterov"], f"{field}.nesterov", got, wanted)


def _uses(node: Node, section: str, known: tuple[str, ...], findings: Findings) -> list[_Use | None]:
    """One for each class listed; None stands for one that is reported as wrong."""
    nodes = node.items if isinstance(node, Listing) else (node,)
    if not nodes:
        what = "optimizer" if section == "optimizer" else "schedule"
        findings.problem(node.line, section, "got an empty list", f"at least one {what}")
        return [None]
    seen: Counter[str] = Counter()
    found: list[_Use | None] = []
    for item in nodes:
        use = _use(item, section, known, findings)
        if use is not None:
            seen[use.name] += 1
            label = use.name if seen[use.name] == 1 else f"{use.name}#{seen[use.name]}"
            use = _Use(name=use.name, label=label, line=use.line, entries=use.entries)
        found.append(use)
    return found


def _use(node: Node, field: str, known: tuple[str, ...], findings: Findings) -> _Use | None:
    """The class that ``node`` names, labelled by its name only."""
    line, name, arguments = node.line, None, None
    if isinstance(node, Table) and len(node.entries) == 1:
        line, name, arguments = node.entries[0].line, node.entries[0].key, node.entries[0].node
    elif isinstance(node, Scalar) and isinstance(node.value, str):
        name = node.value
    if name is None:
        below = isinstance(node, Table) and len(node.entries) > 1
        hint = "indent the arguments below the class; several classes are a list" if below else ""
        wanted = "one class with its arguments, {Class: {argument: value}}"
        findings.problem(line, field, f"got {shown(node)}", wanted, hint)
        return None
    if name not in known:
        got = f"unknown class '{shorten(name)}'"
        findings.problem(line, f"{field}.{shorten(name)}", got, one_of(known), nearest(name, known))
        return None
    entries: tuple[Entry, ...] = ()
    if isinstance(arguments, Table):
        entries = arguments.entries
    elif arguments is not None and not (isinstance(arguments, Scalar) and arguments.value is None):
        wanted = "its arguments, {argument: value}"
        findings.problem(line, f"{field}.{name}", f"got {shown(arguments)}", wanted)
        return None
    return _Use(name=name, label=name, line=line, entries=entries)


def _optimizer(use: _Use, known: OptimizerEntry, scope: Scope) -> OptimizerSpace:
    field = f"optimizer.{use.label}"
    arguments: dict[str, Range] = {}
    scope.findings.lines[field] = use.line
    accepted = {**known.arguments, BIAS_LR: _BIAS_LR}
    for entry in use.entries:
        inner = f"{field}.{shorten(entry.key)}"
        scope.findings.lines[inner] = entry.line
        argument = accepted.get(entry.key)
        if argument is None:
            got = f"unknown argument '{shorten(entry.key)}'"
            hint = _momentum_hint(entry.key, known) or nearest(entry.key, accepted)
            scope.findings.problem(entry.line, inner, got, one_of(accepted), hint)
        else:
            own = replace(scope, not_effective=why_not_effective(entry.key, known))
            if (range_ := read_range(entry.node, inner, argument, own)) is not None:
                arguments[entry.key] = range_
    _require(use, field, known, (), scope)
    momentum = known.arguments.get("momentum")
    default = momentum.default if momentum is not None else None
    return OptimizerSpace(
        name=use.name,
        label=use.label,
        arguments=arguments,
        default_momentum=float(default) if isinstance(default, (int, float)) else 0.0,
    )


def _momentum_hint(name: str, known: OptimizerEntry) -> str:
    """PyTorch's optimizers call the same idea momentum or betas; no spelling brings one to the other."""
    if name == "momentum" and "betas" in known.arguments:
        return f"{known.name}'s own name for it is 'betas', such as betas: {{value: [0.9, 0.999]}}"
    if name == "betas" and "momentum" in known.arguments:
        return f"{known.name}'s own name for it is 'momentum'"
    return ""


def _schedule(
    use: _Use,
    known: ScheduleEntry,
    classes: Mapping[str, ScheduleEntry],
    scope: Scope,
    section: str,
    parent: ScheduleSpace | None = None,
) -> ScheduleSpace:
    field, findings = f"{section}.{use.label}", scope.findings
    findings.lines[field] = use.line
    findings.lines.update({f"{field}.{shorten(entry.key)}": entry.line for entry in use.entries})
    head = ScheduleSpace(
        name=use.name,
        label=use.label,
        every=_every(use, field, known, findings) if parent is None else parent.every,
        watch=_watch(use, field, known, scope) if parent is None else None,
        suppresses=known.suppresses,
    )
    outer = ("every", "watch") if known.watches else ("every",)
    arguments: dict[str, Range | tuple[ScheduleSpace, ...]] = {}
    for entry in _settable(use, field, findings):
        inner = f"{field}.{shorten(entry.key)}"
        argument = known.arguments.get(entry.key)
        if parent is None and entry.key in outer:
            continue
        if argument is None:
            names = tuple(name for name in known.arguments if name != "last_epoch")
            names += outer if parent is None else ()
            own = "the outermost schedule says it" if parent is not None and entry.key in outer else ""
            got = f"unknown argument '{shorten(entry.key)}'"
            findings.problem(entry.line, inner, got, one_of(names), own or nearest(entry.key, names))
        elif Kind.schedules in argument.kinds:
            arguments[entry.key] = tuple(_nested(entry, inner, head, classes, scope))
        elif (range_ := read_range(entry.node, inner, argument, scope)) is not None:
            arguments[entry.key] = range_
    _require(use, field, known, (known.horizon,), scope)
    return ScheduleSpace(
        name=head.name,
        label=head.label,
        arguments=arguments,
        every=head.every,
        watch=head.watch,
        suppresses=head.suppresses,
    )


def _settable(use: _Use, field: str, findings: Findings) -> Iterator[Entry]:
    """All but PyTorch's clock and what PyTorch dropped."""
    for entry in use.entries:
        if entry.key == "last_epoch":
            got, hint = f"got {shown(entry.node)}", "Ravine keeps the clock"
            findings.problem(entry.line, f"{field}.last_epoch", got, "last_epoch left out", hint)
        elif entry.key == "verbose":
            findings.notes.append(f"line {entry.line}: {use.name}: verbose ignored: PyTorch dropped it")
        else:
            yield entry


def _every(use: _Use, field: str, known: ScheduleEntry, findings: Findings) -> str:
    entry = use.find("every")
    if entry is None:
        return known.every
    words = ("epoch",) if known.watches else ("epoch", "step")
    if known.fractional:
        words = (*words, "fraction")
    return word(entry.node, f"{field}.every", words, findings) or known.every


def _watch(use: _Use, field: str, known: ScheduleEntry, scope: Scope) -> str | None:
    if not known.watches:
        return None
    entry = use.find("watch")
    if entry is None:
        if scope.metrics is not None and "val_loss" not in scope.metrics:
            got, wanted = "missing, and the task has no val_loss", one_of(scope.metrics)
            scope.findings.problem(use.line, f"{field}.watch", got, wanted)
        return "val_loss"
    watch = word(entry.node, f"{field}.watch", scope.metrics, scope.findings)
    if watch not in (None, "val_loss") and use.find("mode") is None:
        hint = f"it says whether a lower (min) or a higher (max) {watch} is better"
        scope.findings.problem(entry.line, f"{field}.mode", "missing", "min or max beside watch", hint)
    return watch


def _nested(
    entry: Entry, field: str, parent: ScheduleSpace, classes: Mapping[str, ScheduleEntry], scope: Scope
) -> Iterator[ScheduleSpace]:
    """The parts of a SequentialLR or ChainedScheduler."""
    findings = scope.findings
    if not isinstance(entry.node, Listing) or not entry.node.items:
        wanted = "a list of schedules, such as [{StepLR: {step_size: 10}}]"
        hint = "what stands here is never a range"
        findings.problem(entry.line, field, f"got {shown(entry.node)}", wanted, hint)
        return
    for index, node in enumerate(entry.node.items):
        use = _use(node, f"{field}[{index}]", tuple(classes), findings)
        if use is None:
            continue
        known = classes[use.name]
        if known.watches:
            got = f"{use.name} inside {parent.name}, which PyTorch refuses"
            findings.problem(use.line, f"{field}[{index}]", got, "schedules that watch no metric")
            continue
        label = f"{parent.label}.{index}.{use.name}"
        part = _Use(name=use.name, label=label, line=use.line, entries=use.entries)
        yield _schedule(part, known, classes, scope, field.partition(".")[0], parent)


def _require(use: _Use, field: str, known: ClassEntry, filled: tuple[str | None, ...], scope: Scope) -> None:
    for name in known.required():
        if name not in filled and use.find(name) is None:
            wanted = wanted_of(known.arguments[name], scope)
            scope.findings.problem(use.line, f"{field}.{name}", "missing", wanted)


def may_suppress(schedule: ScheduleSpace, setting: str) -> bool:
    """Whether the schedule, as it may be drawn, sets the optimizer's ``setting`` itself."""
    parts = (part for value in schedule.arguments.values() if isinstance(value, tuple) for part in value)
    own = (rule for rule in schedule.suppresses if rule.setting == setting)
    return any(_may_apply(rule, schedule) for rule in own) or any(
        may_suppress(part, setting) for part in parts
    )


def _may_apply(rule: Suppression, schedule: ScheduleSpace) -> bool:
    if rule.unless_false is None:
        return True
    switch = schedule.arguments.get(rule.unless_false)
    if switch is None or isinstance(switch, tuple):
        return rule.default
    return any(bool(value) for value in ends(switch))
