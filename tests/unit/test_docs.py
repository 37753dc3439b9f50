"""The documents say what the code does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from typer.main import get_command

from search_spaces.files import load_space
from sweeps.cli import app
from workers.rehearsal import rehearse
from workers.torch_catalogue import torch_catalogue

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
COMMANDS = get_command(app).commands  # type: ignore[attr-defined]
LIBRARY = sorted((ROOT / "search_spaces" / "library").glob("*.yaml"))


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_has_help_and_stands_in_the_readme(name: str) -> None:
    assert COMMANDS[name].help
    assert f"ravine {name}" in README


def test_every_command_of_the_readme_exists() -> None:
    named = set(re.findall(r"\bravine ([a-z]+)\b", re.sub(r"`ravine`", "", README)))
    assert named <= set(COMMANDS)
    options = {option for command in COMMANDS.values() for p in command.params for option in p.opts}
    assert set(re.findall(r"(?<![\w-])--[a-z]+", README)) <= options


def test_every_make_target_of_the_readme_exists() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in set(re.findall(r"(?:`|\$ )make ([a-z]+)", README)):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
    ci = (ROOT / ".ci" / "run").read_text()
    assert re.findall(r"^make (\w+)", ci, re.MULTILINE) == ["check", "test"]


def test_every_link_of_the_documents_leads_somewhere() -> None:
    documents = [
        ROOT / "README.md",
        ROOT / "ARCHITECTURE.md",
        ROOT / "CHANGELOG.md",
        ROOT / "docs" / "search.md",
    ]
    for document in documents:
        for link in re.findall(r"\]\(([^)#]+)\)", document.read_text()):
            if "://" not in link:
                assert (document.parent / link).exists(), f"{document}: {link}"


def test_every_room_stands_in_the_architecture() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text()
    for layer in ("search_spaces", "workers", "sweeps", "dashboards"):
        for file in (ROOT / layer).glob("*.py"):
            room = file.stem
            if room.startswith("__"):
                continue
            assert f"`{room}`" in text or (room.startswith("store") and "`store*`" in text), f"{layer}/{room}"


@pytest.mark.parametrize("path", LIBRARY, ids=lambda path: path.name)
def test_ready_made_files_are_good(path: Path) -> None:
    loaded = load_space(path.read_text(), source=path.name, stem=path.stem, catalogue=torch_catalogue())
    assert rehearse(loaded.space) == ()
    assert loaded.notes == ()


def test_the_sweep_files_of_the_readme_are_good() -> None:
    whole, branches = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)
    with_branches = re.sub(r"^schedule:.*\n(?:  - .*\n)+", branches, whole, flags=re.MULTILINE)
    for text, schedules in ((whole, 5), (with_branches, 9)):
        loaded = load_space(text, source="README.md", stem="readme", catalogue=torch_catalogue())
        assert rehearse(loaded.space) == ()
        assert len(loaded.space.schedules) == schedules


BASE = {
    "task": "digits-mlp",
    "metric": {"name": "val_loss", "goal": "minimize"},
    "epochs": 20,
    "optimizer": {"SGD": {"lr": {"log": [1e-4, 1.0]}, "momentum": {"log1m": [0.0, 0.99]}}},
    "schedule": [{"ConstantLR": {"factor": 1.0}}, {"StepLR": {"step_size": 5, "gamma": 0.1}}],
    "trials": 64,
}
PIECES = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / "search.md").read_text(), re.DOTALL)


@pytest.mark.parametrize("piece", PIECES)
def test_every_piece_of_a_sweep_file_in_the_page_about_search_is_good(piece: str) -> None:
    left = {name: value for name, value in BASE.items() if name not in yaml.safe_load(piece)}
    text = piece + yaml.safe_dump(left)
    loaded = load_space(text, source="search.md", stem="piece", catalogue=torch_catalogue())
    assert rehearse(loaded.space) == ()


def test_the_main_job_is_the_one_promised() -> None:
    path = ROOT / "search_spaces" / "library" / "digits-momentum-and-decay.yaml"
    space = load_space(path.read_text(), source=path.name, stem=path.stem, catalogue=torch_catalogue()).space
    assert (space.trials, space.epochs, space.task) == (256, 20, "digits-mlp")
    assert len(LIBRARY) >= 4
