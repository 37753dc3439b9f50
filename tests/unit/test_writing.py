"""A space that is written reads back to an equal one, and so does what people said beside it."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from search_spaces import writing
from search_spaces.catalogue import Argument, Kind
from search_spaces.confirming import Confirm
from search_spaces.errors import SpaceErrors
from search_spaces.file_comments import comments_by_field
from search_spaces.files import LoadedSpace, load_space
from search_spaces.limits import Limits, Terminator
from search_spaces.range_test import RangeTest
from search_spaces.ranges import Choice, Fixed, Integer, Log, LogOneMinus, Range, Tuple, Uniform
from search_spaces.space import Metric, OptimizerSpace, Pruner, ScheduleSpace, SearchSpace
from search_spaces.writing import write_space
from tests.unit.catalogue_for_tests import CATALOGUE as PYTORCH

FUNCTIONS = ("halve_each_epoch",)
CATALOGUE = dataclasses.replace(
    PYTORCH,
    tasks={name: dataclasses.replace(task, functions=FUNCTIONS) for name, task in PYTORCH.tasks.items()},
)

FINITE = st.floats(allow_nan=False, allow_infinity=False)
POSITIVE = st.floats(min_value=1e-300, allow_infinity=False)
WHOLE = st.integers(-(2**62), 2**62)
TEXT = st.sampled_from(
    ["on", "off", "no", "null", "1e-4", "12", "~", "", "a: b", "# x", "é", "- x", "min", "'"]
)
PLAIN = st.none() | st.booleans() | WHOLE | FINITE | TEXT
VALUE = st.recursive(PLAIN, lambda inner: st.lists(inner, max_size=3).map(tuple), max_leaves=4)
POINTS = st.none() | st.integers(1, 9)
RANGE_TESTED = st.builds(
    RangeTest,
    momenta=st.none()
    | st.lists(st.floats(0.0, 1.0, exclude_max=True), min_size=1, max_size=3, unique=True).map(tuple),
    updates=st.integers(40, 1000),
    seeds=st.none() | st.lists(st.integers(0, 2**40), min_size=1, max_size=3, unique=True).map(tuple),
)
CONFIRMED = st.builds(
    Confirm, top=st.integers(2, 100), seeds=st.integers(2, 1000), error_rate=st.floats(0.001, 0.5)
)
NAMED = st.sampled_from(["3", "a: b", "on", "digits 1e3"])
LIMITED = st.builds(
    Limits,
    epochs=st.none() | st.integers(100_000_000, 2**62),
    wall_seconds=st.none() | POSITIVE,
    device_hours=st.none() | POSITIVE,
)
TERMINATED = st.just(Terminator()) | st.builds(
    Terminator, name=st.just("no_improvement"), settings=st.integers(1, 999), by=st.floats(0.0, 0.99)
)


def load(text: str) -> LoadedSpace:
    return load_space(text, source="s.yaml", stem="stem", catalogue=CATALOGUE)


def ordered(kind: Any, numbers: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.builds(
        lambda pair, points: kind(low=min(pair), high=max(pair), points=points),
        st.tuples(numbers, numbers),
        POINTS,
    )


REAL = (
    ordered(Uniform, FINITE)
    | ordered(Log, POSITIVE)
    | ordered(LogOneMinus, st.floats(max_value=1 - 1e-9, allow_infinity=False))
)
WHOLES = ordered(Integer, WHOLE) | ordered(Integer, st.integers(1, 2**62)).map(
    lambda range_: dataclasses.replace(range_, log=True)
)
ANY = st.recursive(
    VALUE.map(lambda value: Fixed(value=value)) | REAL | WHOLES,
    lambda inner: st.lists(inner, min_size=1, max_size=3).map(lambda items: Tuple(items=tuple(items))),
    max_leaves=4,
)


def of_argument(argument: Argument) -> st.SearchStrategy[Range]:
    """A range that the argument takes."""
    kinds = {
        Kind.number: REAL | FINITE.map(lambda value: Fixed(value=value)),
        Kind.integer: WHOLES | WHOLE.map(lambda value: Fixed(value=value)),
        Kind.boolean: st.booleans().map(lambda value: Fixed(value=value)),
        Kind.text: st.sampled_from(argument.names or ("off",)).map(lambda value: Fixed(value=value)),
        Kind.listing: st.lists(VALUE, max_size=3).map(lambda items: Fixed(value=tuple(items)))
        | st.lists(ANY, min_size=1, max_size=2).map(lambda items: Tuple(items=tuple(items))),
        Kind.function: st.just(Fixed(value="halve_each_epoch")),
    }
    single = st.one_of(*(kinds[kind] for kind in argument.kinds))
    return single | st.lists(single, min_size=1, max_size=3).map(lambda some: Choice(options=tuple(some)))


@st.composite
def optimizers(draw: st.DrawFn) -> tuple[OptimizerSpace, ...]:
    found: list[OptimizerSpace] = []
    for name in draw(st.lists(st.sampled_from(sorted(CATALOGUE.optimizers)), min_size=1, max_size=3)):
        known = CATALOGUE.optimizers[name].arguments
        named = draw(st.lists(st.sampled_from(sorted(set(known) - {"nesterov"})), unique=True, max_size=4))
        listed = sum(space.name == name for space in found) + 1
        momentum = known["momentum"].default if "momentum" in known else 0
        found.append(
            OptimizerSpace(
                name=name,
                label=name if listed == 1 else f"{name}#{listed}",
                arguments={one: draw(of_argument(known[one])) for one in named},
                default_momentum=float(momentum) if isinstance(momentum, (int, float)) else 0.0,
            )
        )
    return tuple(found)


@st.composite
def schedules(draw: st.DrawFn, parent: ScheduleSpace | None = None, place: int = 0) -> ScheduleSpace:
    names = sorted(name for name, entry in CATALOGUE.schedules.items() if parent is None or not entry.watches)
    name = draw(st.sampled_from(names))
    entry = CATALOGUE.schedules[name]
    assume(parent is None or not parent.label.count(".") or not entry.arguments.get("schedulers"))
    label = name if parent is None else f"{parent.label}.{place}.{name}"
    every = (
        parent.every
        if parent is not None
        else entry.every
        if entry.watches
        else draw(st.sampled_from(["epoch", "step", *(["fraction"] if entry.fractional else [])]))
    )
    head = ScheduleSpace(name=name, label=label, every=every, suppresses=entry.suppresses)
    found: dict[str, Any] = {}
    for argument in entry.arguments.values():
        if argument.name in ("last_epoch", entry.horizon) or not (argument.required or draw(st.booleans())):
            continue
        if Kind.schedules in argument.kinds:
            count = draw(st.integers(1, 2))
            found[argument.name] = tuple(draw(schedules(head, index)) for index in range(count))
        else:
            found[argument.name] = draw(of_argument(argument))
    return dataclasses.replace(head, arguments=found, watch="val_loss" if entry.watches else None)


@st.composite
def spaces(draw: st.DrawFn) -> SearchSpace:
    listed = draw(st.lists(schedules(), max_size=3))
    trials = draw(st.integers(1, 1000))
    labelled: list[ScheduleSpace] = []
    for one in listed:
        count = sum(space.name == one.name for space in labelled) + 1
        assume(count == 1 or not any(isinstance(value, tuple) for value in one.arguments.values()))
        labelled.append(one if count == 1 else dataclasses.replace(one, label=f"{one.name}#{count}"))
    task = draw(st.sampled_from(["digits-mlp", "quadratic"]))
    sampler = draw(st.sampled_from(["tpe", "random", "qmc", "gp"]))
    condition = draw(of_argument(CATALOGUE.tasks["quadratic"].arguments["condition"]))
    return SearchSpace(
        name=draw(st.sampled_from(["on", "a sweep", "x: y", "1e3", "Größe", "plain-1", "it's", '"', "# no"])),
        task=task,
        task_arguments={"condition": condition} if task == "quadratic" else {},
        metric=Metric(name="val_loss", goal=draw(st.sampled_from(["minimize", "maximize"]))),
        epochs=draw(st.integers(5, 100)),
        optimizers=draw(optimizers()),
        schedules=tuple(labelled) or (ScheduleSpace(name="constant", label="constant"),),
        trials=trials,
        batch_size=draw(st.sampled_from([Fixed(value=32), Integer(low=8, high=64, log=True, points=2)])),
        clip_grad_norm=draw(st.sampled_from([Fixed(value=None), Fixed(value=1e-5), Log(low=1e-6, high=1.0)])),
        warmup_epochs=draw(st.integers(0, 4)),
        seed=draw(st.integers(0, 2**62)),
        seeds=tuple(draw(st.lists(st.integers(0, 99), min_size=1, max_size=3, unique=True))),
        concurrency=draw(st.just(max(1, min(64, trials // 8))) | st.integers(1, 999)),
        sampler=sampler,
        pruner=draw(
            st.sampled_from(
                [
                    Pruner(),
                    Pruner(name="asha"),
                    Pruner(name="median", arguments={"n_startup_trials": 3, "x": 1e-7}),
                ]
            )
        ),
        order=draw(st.sampled_from(["rounds", "arrival"])),
        execution=draw(st.sampled_from(["auto", "solo"])),
        device=draw(st.sampled_from(["auto", "cpu"])),
        precision=draw(st.sampled_from(["auto", "tf32"])),
        forks=draw(st.booleans()),
        confirm=draw(st.none() | CONFIRMED),
        range_test=draw(st.none() | RANGE_TESTED),
        budget=draw(LIMITED),
        terminator=draw(TERMINATED),
        warm_start=draw(st.none() | NAMED) if sampler in ("tpe", "gp") else None,
    )


@settings(max_examples=80, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(spaces())
def test_what_is_written_reads_back_to_an_equal_space(space: SearchSpace) -> None:
    assert load(write_space(space, CATALOGUE)).space == space


@settings(max_examples=30, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(spaces())
def test_readers_of_yaml_1_1_see_the_same_numbers_and_names(space: SearchSpace) -> None:
    text = write_space(space, CATALOGUE)
    plain = yaml.safe_load(text)
    assert plain["name"] == space.name
    assert plain["epochs"] == space.epochs
    if space.clip_grad_norm == Fixed(value=1e-5):
        assert plain["clip_grad_norm"] == 1e-5


def test_every_field_of_a_search_space_is_written() -> None:
    assert {field.name for field in dataclasses.fields(SearchSpace)} == writing.WRITTEN


BRANCHES = """\
# Which decay?
# A question.

task: digits-mlp   # real digits
metric:
  name: val_loss
  goal: minimize   # not maximize
epochs: 20
seed: 0            # of the search
# what trains
optimizer:
  - SGD:
      # the most important one
      lr: {log: [1e-4, 1.0]}  # wide: '#' and "#" are text here
      momentum: 0.9
  - Adam: {lr: 1e-3}
branches:
  - ConstantLR: {factor: 1.0}
  - StepLR: {step_size: [8, 12], gamma: 0.1}   # both
  - SequentialLR: {schedulers: [ConstantLR: {factor: 0.5}, ExponentialLR: {gamma: 0.9}], milestones: {value: [5]}}
trials: 64
# the end
"""


def test_branches_are_written_one_by_one() -> None:
    loaded = load(BRANCHES)
    assert load(write_space(loaded.space, CATALOGUE)).space == loaded.space


def test_what_people_said_stands_where_they_said_it() -> None:
    loaded = load(BRANCHES)
    comments = comments_by_field(BRANCHES, loaded.lines)
    assert comments == {
        writing.HEAD: ("Which decay?", "A question.", "the end"),
        "task": ("real digits",),
        "metric.goal": ("not maximize",),
        "seed": ("of the search",),
        "optimizer": ("what trains",),
        "optimizer.SGD.lr": ("the most important one", """wide: '#' and "#" are text here"""),
        "branches.StepLR": ("both",),
    }
    said = {name for name in loaded.lines if "." not in name}
    text = write_space(loaded.space, CATALOGUE, comments=comments, said=said)
    again = load(text)
    assert again.space == loaded.space
    kept = {"metric" if name == "metric.goal" else name: said for name, said in comments.items()}
    assert comments_by_field(text, again.lines) == kept
    assert "  # of the search" not in text
    assert "# of the search\nseed: 0\n" in text


@pytest.mark.parametrize(
    "text", ["a: '# no'", 'a: "x # no"', "a: x#no", "a: [1, '#']", 'a: "x\n  # no"', "a: >\n  # no\n"]
)
def test_a_number_sign_in_text_is_no_comment(text: str) -> None:
    assert comments_by_field(text, {"a": 1}) == {}


def test_comments_cannot_break_out_of_their_line() -> None:
    loaded = load(BRANCHES)
    text = write_space(loaded.space, CATALOGUE, comments={"trials": ("one\ntrials: 3\n\nfour",)})
    assert load(text).space == loaded.space
    with pytest.raises(SpaceErrors):
        load(text.replace("# trials: 3", "trials: 3"))
