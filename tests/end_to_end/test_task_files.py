"""Tasks that users bring as a file: launched from anywhere, resumed, and every way to get one wrong."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest

from tests.end_to_end.command_line import ravine, sweep_file
from tests.unit.task_files_for_tests import GOOD, changed, with_method

SWEEP = """\
task: mine.py:Sides
task_args: {width: {int: [4, 12]}}
metric: {name: val_accuracy, goal: maximize}
epochs: 3
batch_size: 20
optimizer:
  SGD: {lr: {log: [0.01, 0.3]}, momentum: 0.9}
schedule:
  - LambdaLR: {lr_lambda: halve}
trials: 6
sampler: random
"""
INTERRUPTING = changed(
    "import torch\n",
    "import os\nimport signal\nfrom pathlib import Path\nimport torch\n",
    with_method(
        "metrics",
        "marker = Path(__file__).parent / 'interrupt'\n"
        "if marker.exists():\n"
        "    marker.unlink()\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "return {'val_accuracy': (outputs.argmax(dim=1) == targets).float().mean()}",
    ),
)

WRONG: dict[str, tuple[str | None, str, str]] = {
    "no such file": (None, SWEEP, "line 1: task: there is no mine.py in "),
    "no class": (GOOD, SWEEP.replace(":Sides", ""), "is named without a class"),
    "no such class": (GOOD, SWEEP.replace(":Sides", ":Side"), "did you mean 'Sides'?"),
    "a function": (GOOD, SWEEP.replace(":Sides", ":halve"), "'halve' in {file} is no class"),
    "does not import": (
        "import nowhere_zq\n",
        SWEEP,
        "line 1: ModuleNotFoundError: No module named 'nowhere_zq'",
    ),
    "syntax": ("class Sides\n", SWEEP, "line 1: SyntaxError"),
    "exits": ("raise SystemExit(0)\n", SWEEP, "SystemExit: 0, which would end Ravine"),
    "interrupted": (
        "raise KeyboardInterrupt\n",
        SWEEP,
        "{file} cannot be imported: line 1: KeyboardInterrupt",
    ),
    "a missing method": (changed("def data(", "def dataa("), SWEEP, "has no data(); wants a class with"),
    "an unknown argument": (GOOD, SWEEP.replace("width:", "widht:"), "line 2: task_args.widht"),
    "a constructor that refuses": (
        changed("        self.width = width\n", "        raise ValueError('never')\n"),
        SWEEP,
        "is refused: never",
    ),
    "an end that is refused": (
        changed(
            "        self.width = width\n",
            "        if width > 9:\n            raise ValueError('too wide')\n        self.width = width\n",
        ),
        SWEEP,
        "line 2: task_args.width: 12 is refused: too wide",
    ),
    "no model": (with_method("model", "pass"), SWEEP, "{file}:Sides: model() returned nothing (None)"),
    "wrong shape": (
        with_method("model", "return nn.Sequential(nn.Linear(2, 2), nn.Flatten(0))"),
        SWEEP,
        "the model returned shape (40,)",
    ),
    "no scalar": (with_method("loss", "return outputs"), SWEEP, "loss() returned a tensor of shape (20, 2)"),
    "no gradient": (
        with_method("loss", "return outputs.detach().sum()"),
        SWEEP,
        "does not depend on the model's",
    ),
    "exits later": (with_method("loss", "exit(0)"), SWEEP, "SystemExit: 0, which would end Ravine"),
    "empty data": (
        with_method("data", "empty = torch.zeros(0, 2)\nreturn empty, empty[:, 0], empty, empty[:, 0]"),
        SWEEP,
        "the training data is empty",
    ),
    "labels out of range": (
        changed("self.shift).long()\n", "self.shift).long()\n        sides[133] = 2\n"),
        SWEEP,
        "Target 2 is out of bounds., for outputs of shape (20, 2), float32 and targets of shape (20,) from 0 to 2",
    ),
    "batch too large": (
        GOOD,
        SWEEP.replace("batch_size: 20", "batch_size: 201"),
        "line 5: batch_size: the task has 200 training examples: not one whole batch of 201",
    ),
    "a metric it does not yield": (
        GOOD,
        SWEEP.replace("name: val_accuracy", "name: val_acuracy"),
        "line 3: metric.name: got 'val_acuracy'; wants one of train_loss, val_loss, val_accuracy; did you mean",
    ),
    "a watch it does not yield": (
        GOOD,
        SWEEP.replace("LambdaLR: {lr_lambda: halve}", "ReduceLROnPlateau: {watch: f1, mode: max}"),
        "schedule.ReduceLROnPlateau.watch: got 'f1'; wants one of train_loss, val_loss, val_accuracy",
    ),
    "a function it does not have": (GOOD, SWEEP.replace("halve", "half"), "did you mean 'halve'?"),
    "an optimizer it does not have": (
        GOOD,
        SWEEP.replace("SGD", "Lion"),
        "optimizer.Lion: unknown class 'Lion'",
    ),
}


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands are run from a folder that is not the sweep file's."""
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "sweeps").mkdir()
    return tmp_path / "sweeps"


@pytest.mark.parametrize("kind", WRONG)
def test_a_bad_task_changes_nothing(kind: str, folder: Path, tmp_path: Path) -> None:
    text, sweep, words = WRONG[kind]
    if text is not None:
        (folder / "mine.py").write_text(text)
    home = tmp_path / "home"
    ran = ravine("launch", sweep_file(folder, sweep), "--ray", "none", home=home)
    assert ran.code == 2, ran.stderr
    assert "Traceback" not in ran.stderr
    assert ran.stdout == ""
    assert not home.exists()
    assert words.format(file=folder / "mine.py") in ran.stderr, ran.stderr
    assert {path.name for path in folder.iterdir()} <= {"mine.py", "small.yaml"}


def test_both_places_are_named(folder: Path, tmp_path: Path) -> None:
    told = ravine("check", sweep_file(folder, SWEEP)).stderr
    assert f"{folder} (the sweep file's folder) or {tmp_path / 'elsewhere'} (the working directory)" in told


def test_a_good_task_is_launched_from_anywhere_and_resumed_from_elsewhere(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "mine.py").write_text(f"print('loaded')\n{INTERRUPTING}")
    file = sweep_file(folder, SWEEP)
    assert ravine("check", file).code == 0
    undisturbed = ravine("launch", file, "--ray", "none", "--json", home=tmp_path / "undisturbed")
    assert undisturbed.code == 0, undisturbed.stderr
    assert undisturbed.result["trials"]["finished"] == 6
    assert undisturbed.result["best"]["value"] > 0.8
    (folder / "interrupt").touch()
    # The try before a launch must not be what is interrupted: the marker is there for the training only.
    home = tmp_path / "home"
    monkeypatch.setattr("workers.task_rehearsal.probe", lambda *_: ("val_loss", "val_accuracy"))
    assert ravine("launch", file, "--ray", "none", home=home).code == 3
    monkeypatch.undo()
    assert not (folder / "interrupt").exists()
    monkeypatch.chdir(tmp_path)
    file.unlink()
    ran = ravine("resume", 1, "--ray", "none", home=home)
    assert ran.code == 0, ran.stderr
    curves = [ravine("curves", 1, home=tmp_path / name).stdout for name in ("undisturbed", "home")]
    assert curves[0] == curves[1]
    assert curves[0].splitlines()[0].endswith(",train_loss,val_loss,val_accuracy")
    spec = json.loads(sqlite3.connect(home / "ravine.db").execute("SELECT spec FROM sweeps").fetchone()[0])
    assert spec["paths"] == {"mine.py": str(folder / "mine.py")}
    assert list(spec["task_file"]) == [str(folder / "mine.py")]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda file: file.write_text(GOOD + "\n"), "has changed since the launch"),
        (lambda file: file.unlink(), "cannot be read any more (No such file or directory)"),
        (lambda file: (file.parent / "beside_zx.py").write_text("WIDTH = 3\n"), "beside_zx.py has changed"),
    ],
)
def test_a_changed_task_is_not_resumed(change: object, words: str, folder: Path, tmp_path: Path) -> None:
    assert callable(change)
    (folder / "beside_zx.py").write_text("WIDTH = 2\n")
    (folder / "mine.py").write_text(
        f"import sys\nsys.modules.pop('beside_zx', None)\nimport beside_zx\n{INTERRUPTING}"
    )
    home = tmp_path / "home"
    file = sweep_file(folder, SWEEP)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("workers.task_rehearsal.probe", lambda *_: ("val_loss", "val_accuracy"))
        (folder / "interrupt").touch()
        assert ravine("launch", file, "--ray", "none", home=home).code == 3
    before = ravine("curves", 1, home=home).stdout
    change(folder / "mine.py")
    ran = ravine("resume", 1, "--ray", "none", home=home)
    assert ran.code == 2
    assert words in ran.stderr
    assert "could not be compared" in ran.stderr
    assert "Traceback" not in ran.stderr
    assert ravine("curves", 1, home=home).stdout == before
    assert "waiting" in ravine("show", 1, home=home).stdout


def test_what_only_training_shows_ends_the_sweep_with_the_users_own_line(
    folder: Path, tmp_path: Path
) -> None:
    text = changed(
        "        return nn.functional.cross_entropy(outputs, targets)\n",
        "        type(self).asked = getattr(type(self), 'asked', 0) + 1\n"
        "        if self.asked > 60:\n"
        "            raise RuntimeError(f'asked {self.asked} times')\n"
        "        return nn.functional.cross_entropy(outputs, targets)\n",
    )
    (folder / "mine.py").write_text(text)
    line = 1 + next(index for index, row in enumerate(text.splitlines()) if "raise RuntimeError" in row)
    home = tmp_path / "home"
    sweep = SWEEP.replace("trials: 6", "trials: 60\nconcurrency: 5\nexecution: solo").replace(
        "epochs: 3", "epochs: 30"
    )
    ran = ravine("launch", sweep_file(folder, sweep), "--ray", "none", "--json", home=home)
    assert ran.code == 4, ran.stderr
    assert ran.result["state"] == "failed"
    assert ran.result["trials"]["failed"] >= 5
    assert ran.result["trials"]["finished"] == 0
    assert sum(ran.result["trials"].values()) < 20
    assert "trials failed the same way: RuntimeError: asked" in ran.stderr
    assert f'File "{folder / "mine.py"}", line {line}, in loss' in ran.stderr
    database = sqlite3.connect(home / "ravine.db")
    (error,) = database.execute("SELECT error FROM sweeps").fetchone()
    assert error.startswith("the first ")
    assert "trials failed the same way: RuntimeError: asked" in error
    cause, detail = database.execute("SELECT cause, detail FROM trials WHERE state = 'failed'").fetchone()
    assert cause == "user_error"
    assert f'File "{folder / "mine.py"}", line {line}, in loss' in json.loads(detail)["traceback"]
    assert "RuntimeError: asked" in json.loads(detail)["message"]
    assert error in " ".join(ravine("show", 1, home=home).stdout.split())


def test_a_task_that_exits_in_training_does_not_end_the_process(folder: Path, tmp_path: Path) -> None:
    text = changed(
        "        return nn.functional.cross_entropy(outputs, targets)\n",
        "        type(self).asked = getattr(type(self), 'asked', 0) + 1\n"
        "        if self.asked > 60:\n"
        "            raise SystemExit(0)\n"
        "        return nn.functional.cross_entropy(outputs, targets)\n",
    )
    (folder / "mine.py").write_text(text)
    ran = ravine("launch", sweep_file(folder, SWEEP), "--ray", "none", home=tmp_path / "home")
    assert ran.code == 4
    assert "SystemExit" in ran.stderr


def test_a_task_that_interrupts_itself_leaves_the_sweep_resumable(folder: Path, tmp_path: Path) -> None:
    text = changed(
        "        return nn.functional.cross_entropy(outputs, targets)\n",
        "        type(self).asked = getattr(type(self), 'asked', 0) + 1\n"
        "        if self.asked == 60:\n"
        "            raise KeyboardInterrupt\n"
        "        return nn.functional.cross_entropy(outputs, targets)\n",
    )
    (folder / "mine.py").write_text(text)
    ran = ravine("launch", sweep_file(folder, SWEEP), "--ray", "none", home=tmp_path / "home")
    assert ran.code == 3
    assert "ravine resume 1" in ran.stderr
    ran = ravine("resume", 1, "--ray", "none", "--json", home=tmp_path / "home")
    assert ran.code == 0
    assert ran.result["trials"]["finished"] == 6


TABLE = """\
task: table
task_args: {path: points.csv, target: side}
metric: {name: val_score, goal: maximize}
epochs: 2
optimizer:
  SGD: {lr: 0.1}
trials: 1
"""


def test_a_table_beside_the_sweep_file(folder: Path, tmp_path: Path) -> None:
    file = sweep_file(folder, TABLE)
    told = ravine("check", file).stderr
    assert f"line 2: task_args.path: there is no points.csv in {folder} (the sweep file's folder) or" in told
    rows = "\n".join(f"{i % 7},{i % 5},{'left' if (i % 7) > (i % 5) else 'right'}" for i in range(200))
    (folder / "points.csv").write_text(f"x,y,side\n{rows}\n")
    ran = ravine("launch", file, "--ray", "none", "--json", home=tmp_path / "home")
    assert ran.code == 0, ran.stderr
    assert ran.result["best"]["setting"]["task.path"] == str(folder / "points.csv")
    wrong = ravine("launch", sweep_file(folder, TABLE.replace("side}", "sides}")), home=tmp_path / "other")
    assert wrong.code == 2
    assert "has no column 'sides'" in wrong.stderr
    assert not (tmp_path / "other").exists()


@pytest.mark.ray
@pytest.mark.xdist_group("ray")
def test_a_task_file_trains_in_ray_workers_with_the_same_bits(
    folder: Path, tmp_path: Path, ray_runtime: None
) -> None:
    (folder / "beside_zy.py").write_text("from torch.nn.functional import cross_entropy as imported_late\n")
    text = with_method("loss", "from beside_zy import imported_late\nreturn imported_late(outputs, targets)")
    (folder / "mine.py").write_text(text)
    for name, ray in (("local", ["--workers", 2]), ("here", ["--ray", "none"])):
        ran = ravine("launch", sweep_file(folder, SWEEP), *ray, home=tmp_path / name)
        assert ran.code == 0, ran.stderr
    curves = [ravine("curves", 1, home=tmp_path / name).stdout for name in ("local", "here")]
    assert curves[0] == curves[1]
