"""A sampler of the user's own: made anew for each proposal, kept across kills, refused where it is none."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from search_spaces.errors import SpaceErrors
from search_spaces.files import Overrides
from search_spaces.sampler_field import NOT_FROM_HERE
from search_spaces.space import SearchSpace
from search_spaces.starts import StartPoint
from search_spaces.writing import write_space
from sweeps.errors import BadInput, SamplerFailed
from sweeps.own_sampler import OwnSampler
from sweeps.proposals import Proposals
from sweeps.records import SweepState, TrialState
from sweeps.sampler_rehearsal import rehearse_sampler
from sweeps.store import Store, open_store
from sweeps.sweep_files import checked_space, create_sweep, read_sweep_file, stored_space
from tests.unit.sweeps_for_tests import Killed, everything, run, space, stored
from tests.unit.test_proposals_of_branches import branched
from workers.torch_catalogue import torch_catalogue

HERE = "tests.unit.samplers_for_tests"
KEEPING = [
    f"{HERE}:Bare",
    f"{HERE}:InTrials",
    f"{HERE}:InStudy",
    f"{HERE}:AtEnds",
    "optuna.samplers:NSGAIISampler",
    "optuna.samplers:QMCSampler",
    "optuna.samplers:TPESampler",
    "optuna.samplers:CmaEsSampler",
]


def own(sampler: str, **changes: Any) -> SearchSpace:
    if sampler.endswith("CmaEsSampler"):
        pytest.importorskip("cmaes")
    return space(sampler=sampler, **changes)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = open_store(f"sqlite:///{tmp_path / 'ravine.db'}")
    yield opened
    opened.close()


@pytest.mark.parametrize("sampler", KEEPING)
@pytest.mark.parametrize("kind", ["plain", "pruned, asked ahead", "branches"])
def test_a_killed_and_resumed_sweep_equals_the_undisturbed_one(store: Store, sampler: str, kind: str) -> None:
    changes: dict[str, Any] = {"trials": 22, "concurrency": 3}
    some = own(sampler, **changes)
    if kind == "pruned, asked ahead":
        some = own(sampler, pruner="asha", epochs=11, **changes)
    elif kind == "branches":
        start = (StartPoint(values={"SGD.lr": 0.1}),)
        some = replace(branched("tpe", **changes), sampler=sampler, start=start)
        some = replace(some, schedules=some.schedules[1:3])
    undisturbed, disturbed = stored(store, some), stored(store, some)
    assert run(store, undisturbed, some) is SweepState.finished
    chance, kills = random.Random(3), 0
    while True:
        left = chance.randint(1, 9)

        def fault() -> None:
            nonlocal left
            left -= 1
            if left == 0:
                raise Killed

        try:
            state = run(store, disturbed, some, fault=fault if kills < 9 else lambda: None)
        except Killed:
            kills += 1
            continue
        break
    assert state is SweepState.finished
    assert kills > 3
    assert everything(store, disturbed) == everything(store, undisturbed)


def test_what_samplers_keep_is_used() -> None:
    """Else the test above would say nothing."""
    proposals = Proposals(own(f"{HERE}:InStudy"))
    for index in range(3):
        (asked,) = proposals.ask(1)
        kept = asked.attributes["ravine:study"]
        assert kept["user"]["times"] > index
    attributes = Proposals(own(f"{HERE}:InTrials")).ask(1)[0].attributes
    assert attributes["walk"] == [0.0, 0]  # as JSON has it
    proposals = Proposals(own(f"{HERE}:AtEnds"))
    proposals.ask(1)
    proposals.report(0, 6, 0.25)
    proposals.end(0, "finished")
    assert proposals.attributes(0)["ended"] == ["COMPLETE", 0.25]
    proposals.ask(1)
    proposals.repeat(1, 0, "finished")
    assert proposals.attributes(1)["ended"] == ["COMPLETE", 0.5]


@pytest.mark.parametrize("name", ["AtEnds", "Handed"])
def test_each_proposal_has_a_seed_of_its_own(name: str) -> None:
    proposals = [Proposals(own(f"{HERE}:{name}", seed=seed)) for seed in (0, 0, 1)]
    first, again, other = ([one.ask(1)[0].parameters for _ in range(4)] for one in proposals)
    assert first == again
    assert first != other
    assert len({one["SGD.momentum"] for one in first}) == 4


def test_a_sampler_sees_every_trial_and_no_more() -> None:
    proposals = Proposals(own("optuna.samplers:RandomSampler"))
    for index in range(5):
        proposals.ask(1)
        assert len(proposals.optuna_study.trials) == index + 1


def test_arguments_are_the_files() -> None:
    some = own(f"{HERE}:Bare", sampler_arguments={"start": 0.5})
    nesterov = Proposals(some).ask(1)[0].parameters["SGD.nesterov"]
    assert nesterov == 1
    assert Proposals(own(f"{HERE}:Bare")).ask(1)[0].parameters["SGD.nesterov"] == 0


@pytest.mark.parametrize(
    ("sampler", "said"),
    [
        (f"{HERE}:Raising", "Raising raised at setting 0: KeyError: 'x'"),
        (f"{HERE}:Outside", "proposed SGD.lr = 7.5 for setting 0, outside of 0.001 to 1.0"),
        (f"{HERE}:Unstorable", "raised at setting 0: TypeError: Object of type set is not JSON serializable"),
        (f"{HERE}:Leaving", "raised as it was made with no arguments: SystemExit: 3"),
        (f"{HERE}:Unfinished", "is not a whole sampler: it has no infer_relative_search_space, sample_ind"),
        (f"{HERE}:NO_CLASS", "'NO_CLASS' in tests.unit.samplers_for_tests is no sampler: it is no class"),
        (f"{HERE}:at", "is no sampler: it is no class"),
        (f"{HERE}:Stduy", f"module {HERE} has no 'Stduy'"),
        (f"{HERE}:InStudi", f"module {HERE} has no 'InStudi'"),
        ("pathlib:Path", "'Path' in pathlib is no sampler: it is another class"),
        ("nowhere_at_all.samplers:Mine", "there is no module nowhere_at_all that can be imported"),
    ],
)
def test_what_is_wrong_with_a_sampler_is_told_before_anything_is_stored(sampler: str, said: str) -> None:
    assert said in rehearse_sampler(own(sampler)).got


def test_one_without_a_seed_is_told_of() -> None:
    (note,) = rehearse_sampler(own(f"{HERE}:Bare")).notes
    assert "takes no seed: another launch will not propose the same" in note
    assert rehearse_sampler(own(f"{HERE}:Handed")).notes == ()
    assert OwnSampler("optuna.samplers:TPESampler", {}).takes_seed


def test_a_sampler_that_fails_later_fails_the_sweep(store: Store) -> None:
    some = own(f"{HERE}:Late")
    assert rehearse_sampler(some).got == ""
    sweep = stored(store, some)
    assert run(store, sweep, some) is SweepState.failed
    assert store.sweep(sweep).error == (
        f"The sampler {HERE}:Late raised at setting 15: RuntimeError: fifteen are enough"
    )
    states = {trial.state for trial in store.trials(sweep)}
    assert TrialState.waiting not in states
    assert TrialState.running not in states


SWEEP = """\
task: quadratic
metric: {name: val_loss, goal: minimize}
epochs: 2
trials: 6
optimizer: {SGD: {lr: {log: [1e-3, 1.0]}, momentum: {log1m: [0.0, 0.9]}}}
"""
MINE = """\
from optuna.samplers import RandomSampler
import beside

class Mine(RandomSampler):
    def __init__(self, shift=0, seed=None):
        super().__init__(seed=seed + shift)

class Odd(RandomSampler):
    def sample_independent(self, *arguments):
        return beside.MISSING
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "mine.py").write_text(MINE)
    (tmp_path / "beside.py").write_text("X = 1\n")
    return tmp_path


def in_file(folder: Path, sampler: str) -> Path:
    path = folder / "s.yaml"
    path.write_text(SWEEP + f"sampler: {sampler}\n")
    return path


def problem(path: Path) -> str:
    with pytest.raises(SpaceErrors) as caught:
        read_sweep_file(path, Overrides())
    (found,) = caught.value.problems
    assert (found.line, found.field.partition(".")[0]) == (6, "sampler")
    return str(found)


def test_a_file_of_the_users_goes_with_the_sweep(store: Store, folder: Path) -> None:
    file = read_sweep_file(in_file(folder, "{mine.py:Mine: {shift: 3}}"), Overrides())
    reference = f"{folder / 'mine.py'}:Mine"
    assert (file.loaded.space.sampler, file.loaded.space.sampler_arguments) == (reference, {"shift": 3})
    assert [point.told for point in file.loaded.space.start] == ["{lr: 0.001}"]
    row = store.sweep(create_sweep(store, file))
    assert row.spec["sampler"] == reference
    assert row.spec["sampler_arguments"] == {"shift": 3}
    assert set(row.spec["sampler_file"]) == {str(folder / "mine.py"), str(folder / "beside.py")}
    assert stored_space(row) == file.loaded.space
    written = write_space(file.loaded.space, torch_catalogue())
    (folder / "again.yaml").write_text(written)
    assert read_sweep_file(folder / "again.yaml", Overrides()).loaded.space == file.loaded.space
    (folder / "beside.py").write_text("X = 2\n")
    with pytest.raises(BadInput, match=r"The sampler's file .*beside.py has changed since the launch"):
        stored_space(row)
    (folder / "beside.py").unlink()
    with pytest.raises(BadInput, match=r"The sampler's file .*beside.py cannot be read any more"):
        stored_space(row)


def test_an_installed_one_is_found_again(store: Store, folder: Path) -> None:
    file = read_sweep_file(in_file(folder, "optuna.samplers:RandomSampler"), Overrides())
    row = store.sweep(create_sweep(store, file))
    assert row.spec["sampler_file"] == {}
    assert stored_space(row) == file.loaded.space


@pytest.mark.parametrize(
    ("sampler", "said"),
    [
        ("mine.py:Mein", "mine.py has no 'Mein'; wants module:Class or path"),
        ("mine.py:Mein", "did you mean 'Mine'?"),
        ("mine.py", "got 'mine.py'; wants module:Class or path/to/file.py:Class"),
        ("theirs.py:Mine", "there is no theirs.py in "),
        ("mine.py:Odd", "raised at setting 0: line 10: AttributeError"),
        ("mine.py:Odd", "wants a sampler that proposes settings of this file"),
        ("{mine.py:Mine: {shft: 3}}", "unexpected keyword argument 'shft'"),
        ("{mine.py:Mine: {seed: 3}}", "sampler.seed: got 3; wants no seed here"),
        ("{mine.py:Mine: 3}", "got 3; wants {argument: value}"),
        ("{tpe: {seed: 3}}", "sampler.tpe: got the mapping {seed}; wants no arguments"),
        ("tp", "wants one of tpe, random, qmc, grid, gp, or module:Class"),
        ("3", "got 3; wants one of tpe"),
    ],
)
def test_what_a_file_says_wrongly_is_told(folder: Path, sampler: str, said: str) -> None:
    assert said in problem(in_file(folder, sampler))


@pytest.mark.parametrize("sampler", ["optuna.samplers:RandomSampler", "/etc/mine.py:Mine", "mine.py:Mine"])
def test_text_from_anywhere_may_name_ours_only(sampler: str) -> None:
    with pytest.raises(SpaceErrors) as caught:
        checked_space(SWEEP + f"sampler: {sampler}\n", "s", "s", Overrides(), None)
    (found,) = caught.value.problems
    assert found.wanted == "one of tpe, random, qmc, grid, gp"
    assert found.hint == NOT_FROM_HERE


def test_a_failure_is_a_ravine_error() -> None:
    with pytest.raises(SamplerFailed):
        Proposals(own(f"{HERE}:Raising")).ask(1)
