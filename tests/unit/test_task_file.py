"""Task files: found, run once, read off, and told apart from what is no task."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from search_spaces.task_code import TaskRefused, names_a_file
from tests.unit.task_files_for_tests import GOOD, changed, task_file_in
from workers.tasks.registry import make_task, task_class, task_data, training_size
from workers.tasks.task_file import split_reference, task_file


def test_a_task_class_is_read_off_its_file(tmp_path: Path) -> None:
    reference = task_file_in(tmp_path)
    found = task_class(reference)
    assert (found.name, found.summary) == (reference, "Points of the plane by their side of a line.")
    assert found.functions["halve"](2) == 0.25
    assert (dict(found.optimizers), found.paths, found.precision, found.metrics) == ({}, (), "float32", ())


def test_class_attributes_say_more(tmp_path: Path) -> None:
    text = changed(
        "    def __init__(self, width: int = 8, shift: float = 0.0):",
        "    summary = 'Two  words'\n"
        "    functions = {'third': lambda epoch: 3.0 ** -epoch}\n"
        "    optimizers = {'Lion': Lion}\n"
        "    precision = 'bf16'\n"
        "    paths = 'where'\n"
        "    def __init__(self, width: int = 8, shift: float = 0.0, where: str = '.', **rest):",
        changed("class Sides:", "class Lion(torch.optim.SGD):\n    pass\n\n\nclass Sides:"),
    )
    found = task_class(task_file_in(tmp_path, text))
    assert found.summary == "Two words"
    assert found.functions["third"](1) == pytest.approx(1 / 3)
    assert issubclass(found.optimizers["Lion"], torch.optim.SGD)
    assert (found.precision, found.paths) == ("bf16", ("where",))


def test_a_file_is_run_once_under_a_name_of_its_own(tmp_path: Path) -> None:
    folder = tmp_path / "a folder"
    folder.mkdir()
    text = f"from pathlib import Path\n{GOOD}\nif __name__ == '__main__':\n    raise AssertionError\n"
    text += "with (Path(__file__).parent / 'runs').open('a') as file:\n    file.write('run ')\n"
    reference = task_file_in(folder, text)
    for width in (3, 4):
        make_task(reference, (("width", width),))
    assert (folder / "runs").read_text() == "run "
    module = task_file(str(folder / "mine.py")).module
    assert sys.modules[module.__name__] is module
    assert "mine" not in sys.modules
    assert not (folder / "__pycache__").exists()


def test_two_files_of_one_name_are_two(tmp_path: Path) -> None:
    references = []
    for name, width in (("one", 5), ("two", 6)):
        (tmp_path / name).mkdir()
        references.append(task_file_in(tmp_path / name, changed("width: int = 8", f"width: int = {width}")))
    assert [make_task(reference, ()).model()[0].out_features for reference in references] == [5, 6]  # type: ignore[index]


def test_modules_beside_the_file_can_be_imported_then_and_later(tmp_path: Path) -> None:
    (tmp_path / "beside_early_zq.py").write_text("WIDTH = 7\n")
    (tmp_path / "beside_late_zq.py").write_text("WIDTH = 9\n")
    # The name of an installed module: beside the file it wins while the file runs, and only then.
    (tmp_path / "wave.py").write_text("WIDTH = 1\n")
    text = "from beside_early_zq import WIDTH\nimport wave\nassert wave.WIDTH == 1\n" + changed(
        "    def model(self):\n",
        "    def model(self):\n        import beside_late_zq\n        assert beside_late_zq.WIDTH == 9\n"
        "        self.width = WIDTH\n",
    )
    before = list(sys.path)
    try:
        reference = task_file_in(tmp_path, text)
        assert make_task(reference, ()).model()[0].out_features == 7  # type: ignore[index]
        assert sys.path == [*before, str(tmp_path)]
        digests = task_file(str(tmp_path / "mine.py")).digests
        assert set(digests) == {str(tmp_path / name) for name in ("mine.py", "beside_early_zq.py", "wave.py")}
        assert digests[str(tmp_path / "mine.py")] == hashlib.sha256(text.encode()).hexdigest()
    finally:
        sys.path[:] = before
        sys.modules.pop("wave", None)


def test_another_process_finds_the_same_task(tmp_path: Path) -> None:
    reference = task_file_in(tmp_path)
    program = (
        "from workers.tasks.registry import task_data, training_size; import sys; reference = sys.argv[1]; "
        "print(training_size(reference, ()).examples, float(task_data(reference, ()).train_inputs.sum()))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program, reference],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
        env={**os.environ, "PYTHONHASHSEED": "7"},
    )
    assert ran.stdout.split() == ["200", str(float(task_data(reference, ()).train_inputs.sum()))]
    assert training_size(reference, ()).examples == 200


def test_equal_data_are_one_and_go_when_nobody_uses_them(tmp_path: Path) -> None:
    reference = task_file_in(tmp_path)
    one, other, third = (
        task_data(reference, arguments) for arguments in ((("width", 3),), (("width", 4),), (("shift", 0.5),))
    )
    assert one is other
    assert one is not third


def test_whole_and_real_arguments_are_not_mixed_up(tmp_path: Path) -> None:
    reference = task_file_in(
        tmp_path, changed("self.width = width", "self.width = width if type(width) is int else 99")
    )
    widths = [make_task(reference, (("width", width),)).model()[0].out_features for width in (1, 1.0, True)]  # type: ignore[index]
    assert widths == [1, 99, 99]


@pytest.mark.parametrize(
    ("written", "is_file", "parts"),
    [
        ("digits-mlp", False, ("digits-mlp", "")),
        ("mine.py:Task", True, ("mine.py", "Task")),
        ("/a/b c/mine.py:Task", True, ("/a/b c/mine.py", "Task")),
        ("mine.py", True, ("mine.py", "")),
        ("mine.py:", True, ("mine.py", "")),
        ("python:Task", False, ("python:Task", "")),
    ],
)
def test_references(written: str, is_file: bool, parts: tuple[str, str]) -> None:
    assert names_a_file(written) is is_file
    assert split_reference(written) == parts


IMPORTS: dict[str, tuple[str, str]] = {
    "no such module": ("import nowhere_zq\n", "line 1: ModuleNotFoundError: No module named 'nowhere_zq'"),
    "a syntax error": ("x = 1\ndef f(:\n    pass\n", "line 2: SyntaxError"),
    "bad indentation": ("x = 1\n  y = 2\n", "line 2: IndentationError"),
    "an error inside a call": ("def f():\n    return {}['key']\n\nf()\n", "line 2: KeyError: 'key'"),
    "an error in a library": ("import torch\n\ntorch.zeros(2) @ torch.zeros(3)\n", "line 3: RuntimeError"),
    "exit": ("import sys\nsys.exit(7)\n", "line 2: SystemExit: 7, which would end Ravine"),
    "interrupt": ("raise KeyboardInterrupt\n", "line 1: KeyboardInterrupt"),
    "no text": ("\x00", "null bytes"),
    "several lines": ("raise ValueError('a\\nb')\n", "ValueError: a b"),
}


@pytest.mark.parametrize("kind", IMPORTS)
def test_a_file_that_does_not_import(kind: str, tmp_path: Path) -> None:
    text, words = IMPORTS[kind]
    before = set(sys.modules)
    with pytest.raises(TaskRefused) as caught:
        task_class(task_file_in(tmp_path, text))
    assert words in str(caught.value)
    assert str(tmp_path / "mine.py") in str(caught.value)
    assert "\n" not in str(caught.value)
    assert {name for name in set(sys.modules) - before if "ravine_task" in name} == set()


def test_an_error_in_a_module_beside_the_file_names_that_module(tmp_path: Path) -> None:
    (tmp_path / "broken_zq.py").write_text("\n1 / 0\n")
    with pytest.raises(TaskRefused, match=r"broken_zq\.py, line 2: ZeroDivisionError"):
        task_class(task_file_in(tmp_path, "import broken_zq\n"))


def test_a_class_may_come_from_a_module_beside_the_file(tmp_path: Path) -> None:
    (tmp_path / "elsewhere_zq.py").write_text(GOOD)
    assert make_task(task_file_in(tmp_path, "from elsewhere_zq import Sides\n"), ()).data()


CLASSES: dict[str, tuple[str, str, str]] = {
    "no such name": (GOOD, "Side", "has no 'Side'; wants Sides of that file; did you mean 'Sides'?"),
    "no name": (GOOD, "", "is named without a class; wants path/to/file.py:Name; it has Sides"),
    "a function": (GOOD, "halve", "'halve' in {path} is no class: function; wants Sides of that file"),
    "an object": (GOOD + "task = Sides()\n", "task", "is no class: Sides"),
    "no class at all": ("x = 1\n", "Sides", "has no 'Sides'; wants path/to/file.py:Name"),
    "a missing method": (changed("def loss(", "def losss("), "Sides", "has no loss(); wants"),
    "missing methods": (
        changed("def loss(", "def losss(", changed("def data(", "def get_data(")),
        "Sides",
        "has no data() and no loss(); wants",
    ),
    "nearest method": (changed("def loss(", "def losss("), "Sides", "did you mean 'losss'?"),
    "a model": (
        "from torch import nn\nclass Sides(nn.Module):\n    pass\n",
        "Sides",
        "is a model, not a task",
    ),
    "functions": (changed("def __init__", "functions = [1]\n    def __init__"), "Sides", "functions is [1]"),
    "a function that is none": (
        changed("def __init__", "functions = {'f': 1}\n    def __init__"),
        "Sides",
        "functions['f'] is 1",
    ),
    "optimizers": (
        changed("def __init__", "optimizers = {'Mine': int}\n    def __init__"),
        "Sides",
        "optimizers['Mine'] is <class 'int'>; wants a subclass of torch.optim.Optimizer",
    ),
    "an optimizer named as PyTorch's": (
        changed("def __init__", "optimizers = {'SGD': torch.optim.SGD}\n    def __init__"),
        "Sides",
        "names one 'SGD', as PyTorch does",
    ),
    "an optimizer with an argument of a column's name": (
        "import torch\nclass Mine(torch.optim.SGD):\n    def __init__(self, params, seed=1): pass\n"
        + changed("def __init__", "optimizers = {'Mine': Mine}\n    def __init__"),
        "Sides",
        "has an argument 'seed', which is a column of the results",
    ),
    "paths": (
        changed("def __init__", "paths = ('widht',)\n    def __init__"),
        "Sides",
        "paths names 'widht', which the constructor does not take; wants one of width, shift; did you mean",
    ),
    "precision": (
        changed("def __init__", "precision = 'bf61'\n    def __init__"),
        "Sides",
        "precision is 'bf61'; wants one of float32, tf32, bf16; did you mean 'bf16'?",
    ),
}


@pytest.mark.parametrize("kind", CLASSES)
def test_what_is_no_task(kind: str, tmp_path: Path) -> None:
    text, name, words = CLASSES[kind]
    reference = task_file_in(tmp_path, text)
    with pytest.raises(TaskRefused) as caught:
        task_class(reference.replace("Sides", name))
    assert words.format(path=tmp_path / "mine.py") in str(caught.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(TaskRefused, match="cannot be read: No such file"):
        task_class(f"{tmp_path / 'mine.py'}:Sides")
