"""A sweep file that names its task by a file: where it is looked for, and what the file may then say."""

from __future__ import annotations

from pathlib import Path

import pytest

from search_spaces.errors import SpaceErrors
from search_spaces.files import LoadedSpace, load_space
from search_spaces.ranges import Choice, Fixed
from search_spaces.settings import Schedule, Setting
from search_spaces.task_code import NOT_FROM_HERE, TaskRefused
from sweeps.entries import typed_columns
from tests.unit.task_files_for_tests import GOOD, changed, task_file_in, with_method
from workers.local_code import LocalCode
from workers.rehearsal import rehearse
from workers.torch_catalogue import catalogue_for, torch_catalogue

SWEEP = """\
task: mine.py:Sides
task_args: {width: 6}
metric: {name: val_accuracy, goal: maximize}
epochs: 3
optimizer:
  SGD: {lr: 0.1}
schedule:
  ReduceLROnPlateau: {watch: val_accuracy, mode: max}
trials: 2
"""
LION = '''
class Lion(torch.optim.Optimizer):
    """Sign of an average of gradients (Chen et al. 2023)."""
    def __init__(self, weights, lr: float = 1e-4, betas: tuple[float, float] = (0.9, 0.99), weight_decay: float = 0.0):
        super().__init__(weights, dict(lr=lr, betas=betas, weight_decay=weight_decay))
    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    p.sub_(group["lr"] * p.grad.sign())


class Sides:
    optimizers = {"Lion": Lion}
    functions = {"third": lambda epoch: 3.0 ** -epoch}
'''


def places(folder: Path, working: Path) -> LocalCode:
    return LocalCode({"the sweep file's folder": folder, "the working directory": working})


def read(text: str, code: LocalCode | None) -> LoadedSpace:
    return load_space(text, source="s.yaml", stem="s", catalogue=torch_catalogue(), code=code)


def problems(text: str, code: LocalCode | None) -> list[str]:
    with pytest.raises(SpaceErrors) as caught:
        read(text, code)
    return [str(problem) for problem in caught.value.problems]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "sweeps").mkdir()
    (tmp_path / "work").mkdir()
    return tmp_path


def test_the_sweep_files_folder_comes_first_then_the_working_directory(folder: Path) -> None:
    code = places(folder / "sweeps", folder / "work")
    reference = task_file_in(folder / "work")
    assert read(SWEEP, code).space.task == reference
    assert code.paths == {"mine.py": str(folder / "work" / "mine.py")}
    reference = task_file_in(folder / "sweeps")
    assert read(SWEEP, places(folder / "sweeps", folder / "work")).space.task == reference
    assert read(
        SWEEP.replace("mine.py", "../work/mine.py"), places(folder / "sweeps", folder)
    ).space.task == (f"{folder / 'work' / 'mine.py'}:Sides")
    assert (
        read(SWEEP.replace("mine.py", reference.rpartition(":")[0]), places(folder, folder)).space.task
        == reference
    )


def test_a_path_found_before_is_not_looked_for_again(folder: Path) -> None:
    task_file_in(folder / "sweeps")
    reference = task_file_in(folder / "work")
    code = LocalCode({}, known={"mine.py": str(folder / "work" / "mine.py")})
    assert read(SWEEP, code).space.task == reference


def test_a_missing_file_names_both_places(folder: Path) -> None:
    (told,) = problems(SWEEP, places(folder / "sweeps", folder / "work"))
    assert told.startswith(
        f"line 1: task: there is no mine.py in {folder / 'sweeps'} (the sweep file's folder) or "
        f"{folder / 'work'} (the working directory); wants path/to/file.py:Name"
    )


def test_a_link_keeps_its_name_and_its_folder_is_the_real_one(folder: Path) -> None:
    (folder / "link").symlink_to(folder / "work")
    (folder / "work" / "table.csv").symlink_to(folder / "work" / "4f2a")
    (folder / "work" / "4f2a").write_text("")
    assert places(folder, folder).absolute("link/table.csv") == str(folder / "work" / "table.csv")
    with pytest.raises(TaskRefused, match="there is no /nowhere/at/all; wants a file or folder"):
        places(folder, folder).absolute("/nowhere/at/all")
    assert places(folder, folder).absolute("~") == str(Path.home())


def test_without_leave_no_file_is_touched(folder: Path) -> None:
    marker = folder / "ran"
    reference = task_file_in(folder, f"open({str(marker)!r}, 'w').close()\n{GOOD}")
    for text in (SWEEP, SWEEP.replace("mine.py:Sides", reference)):
        (told,) = problems(text, None)
        assert NOT_FROM_HERE in told
        assert told.startswith("line 1: task: ")
    assert not marker.exists()


def test_paths_become_absolute_for_the_command_line_only(folder: Path) -> None:
    text = changed(
        "    def __init__(self, width: int = 8, shift: float = 0.0):",
        "    paths = ('where',)\n    def __init__(self, width: int = 8, shift: float = 0.0, where=None):",
    )
    task_file_in(folder / "sweeps", text)
    for name in ("one.csv", "two.csv"):
        (folder / "work" / name).touch()
    code = places(folder / "sweeps", folder / "work")
    asked = SWEEP.replace("width: 6", "width: 6, where: [one.csv, two.csv, null]")
    where = read(asked, code).space.task_arguments["where"]
    assert where == Choice(
        options=(
            Fixed(value=str(folder / "work" / "one.csv")),
            Fixed(value=str(folder / "work" / "two.csv")),
            Fixed(value=None),
        )
    )
    assert code.paths["two.csv"] == str(folder / "work" / "two.csv")
    (told,) = problems(SWEEP.replace("width: 6", "width: 6,\n  where: three.csv"), code)
    assert told.startswith(
        f"line 3: task_args.where: there is no three.csv in {folder / 'sweeps'} (the sweep"
    )


def test_metrics_are_checked_after_the_try_with_line_and_nearest_name(folder: Path) -> None:
    task_file_in(folder)
    text = SWEEP.replace("name: val_accuracy", "name: val_acuracy").replace(
        "watch: val_accuracy", "watch: loss"
    )
    metric, watch, *rest = problems(text.replace("epochs: 3", "epochs: 0"), places(folder, folder))
    assert metric == (
        "line 3: metric.name: got 'val_acuracy'; wants one of train_loss, val_loss, val_accuracy; "
        "did you mean 'val_accuracy'?"
    )
    assert watch.startswith("line 4: epochs")
    assert (
        "line 8: schedule.ReduceLROnPlateau.watch: got 'loss'; wants one of train_loss, val_loss, val_acc"
        in rest[0]
    )


def test_everything_is_told_at_once_beside_what_the_task_gets_wrong(folder: Path) -> None:
    task_file_in(folder, with_method("loss", "return outputs"))
    told = problems(SWEEP.replace("SGD", "SDG").replace("trials: 2", "trials: 0"), places(folder, folder))
    assert [sentence.split(":")[0] for sentence in told] == ["line 1", "line 6", "line 9"]
    assert f"line 1: task: {folder / 'mine.py'}:Sides: loss() returned a tensor of shape (32, 2)" in told[0]


def test_a_task_that_the_file_gets_wrong_is_not_tried(folder: Path) -> None:
    task_file_in(folder, with_method("loss", "return outputs"))
    (told,) = problems(SWEEP.replace("width: 6", "widht: 6"), places(folder, folder))
    assert told.startswith(
        "line 2: task_args.widht: unknown argument 'widht'; wants one of width, shift; did you"
    )


@pytest.mark.parametrize(
    ("task", "words"),
    [
        ("mine.py", "mine.py is named without a class; wants path/to/file.py:Name; it has Sides"),
        ("mine.py:Side", "has no 'Side'; wants Sides of that file; did you mean 'Sides'?"),
        ("mine:Sides", "'mine:Sides' is not a registered task; wants one of "),
        ("digits-mpl", ", or path/to/file.py:Name; did you mean 'digits-mlp'?"),
    ],
)
def test_names_of_tasks(folder: Path, task: str, words: str) -> None:
    task_file_in(folder)
    (told,) = problems(SWEEP.replace("mine.py:Sides", task), places(folder, folder))
    assert words in told


def test_a_class_attribute_that_is_wrong_names_the_file(folder: Path) -> None:
    task_file_in(folder, changed("def __init__", "precision = 'half'\n    def __init__"))
    (told,) = problems(SWEEP, places(folder, folder))
    assert (
        told
        == f"line 1: task: Sides in {folder / 'mine.py'}: precision is 'half'; wants one of float32, tf32, bf16"
    )


def test_a_tasks_own_optimizers_and_functions(folder: Path) -> None:
    reference = task_file_in(folder, changed("class Sides:\n", LION))
    text = SWEEP.replace("SGD: {lr: 0.1}", "Lion: {lr: {log: [1e-4, 1e-2]}, weight_decay: 0.5}").replace(
        "ReduceLROnPlateau: {watch: val_accuracy, mode: max}", "LambdaLR: {lr_lambda: [halve, third]}"
    )
    space = read(text, places(folder, folder)).space
    assert space.optimizers[0].name == "Lion"
    assert rehearse(space) == ()
    entry = catalogue_for(reference).optimizers["Lion"]
    assert (list(entry.arguments), entry.stacked) == (["lr", "betas", "weight_decay"], False)
    setting = Setting(
        optimizer="Lion",
        arguments={"lr": 1e-3, "weight_decay": 0.5},
        schedule=Schedule(name="LambdaLR", arguments={"lr_lambda": "third"}),
    )
    assert typed_columns(space, catalogue_for(reference), setting) == {
        "lr": 1e-3,
        "momentum": None,
        "weight_decay": 0.5,
        "nesterov": None,
    }
    (told,) = problems(text.replace("Lion", "Lyon"), places(folder, folder))
    assert "did you mean 'Lion'?" in told
    (told,) = problems(text.replace("third", "thrid"), places(folder, folder))
    assert "did you mean 'third'?" in told
    assert "Lion" not in torch_catalogue().optimizers
