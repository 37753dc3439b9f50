"""Running the command line in this process, as tests do, and in one of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from sweeps.cli import app

SMALL = """\
name: small
task: digits-mlp
metric: {name: val_loss, goal: minimize}
epochs: 4
batch_size: 128
optimizer:
  SGD:
    lr: {log: [1e-3, 30.0]}
    momentum: {log1m: [0.0, 0.99]}
    nesterov: [false, true]
    weight_decay: 0.0005
schedule:
  - ConstantLR: {factor: 1.0}
  - StepLR: {step_size: {int: [1, 3]}, gamma: {uniform: [0.05, 0.9]}}
  - ReduceLROnPlateau: {factor: 0.1, patience: {int: [0, 2]}}
  - OneCycleLR: {max_lr: {log: [0.01, 2.0]}}
trials: 24
concurrency: 8
pruner: {asha: {min_resource: 1, reduction_factor: 2}}
"""


@dataclass(frozen=True)
class Ran:
    """What a command left behind."""

    code: int
    stdout: str
    stderr: str

    @property
    def result(self) -> dict[str, Any]:
        """The object on stdout's last line."""
        found: dict[str, Any] = json.loads(self.stdout.splitlines()[-1])
        return found


def ravine(*arguments: object, home: Path | None = None) -> Ran:
    """Run a command in this process."""
    given = [str(argument) for argument in arguments]
    ran = CliRunner().invoke(app, given + (["--home", str(home)] if home else []))
    if ran.exception is not None and not isinstance(ran.exception, SystemExit):
        raise ran.exception
    return Ran(ran.exit_code, ran.stdout, ran.stderr)


def start(*arguments: object, home: Path) -> subprocess.Popen[str]:
    """Start a command in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "sweeps", *map(str, arguments), "--home", str(home)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def sweep_file(folder: Path, text: str = SMALL, name: str = "small.yaml") -> Path:
    """Write a sweep file."""
    path = folder / name
    path.write_text(text)
    return path
