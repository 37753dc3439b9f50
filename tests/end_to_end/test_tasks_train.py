"""Every task that comes with it learns something sensible in a small sweep through the command line."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits

from tests.end_to_end.command_line import ravine, sweep_file

pytestmark = [pytest.mark.slow, pytest.mark.ray, pytest.mark.xdist_group("ray")]


def breast_cancer(folder: Path) -> None:
    table = load_breast_cancer(as_frame=True).frame
    table["target"] = table["target"].map({0: "malignant", 1: "benign"})
    table.to_csv(folder / "tumours.csv", index=False)


def diabetes(folder: Path) -> None:
    load_diabetes(as_frame=True).frame.to_parquet(folder / "diabetes.parquet")


def digits_as_pictures(folder: Path) -> None:
    pixels, labels = load_digits(return_X_y=True)
    for index, (picture, label) in enumerate(zip(pixels.reshape(-1, 8, 8), labels, strict=True)):
        place = folder / "digits" / str(label)
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray((picture * 15).astype(np.uint8)).save(place / f"{index}.png")


def digits_as_arrays(folder: Path) -> None:
    pixels, labels = load_digits(return_X_y=True)
    np.savez(folder / "digits.npz", images=pixels.reshape(-1, 8, 8), labels=labels)


def nothing(_: Path) -> None:
    """The task brings its data."""


PICTURES = "{path: digits, size: 8, width: 4, crop: 1, flip: false}"
ARRAYS = "{path: digits.npz, size: 8, width: 4, crop: 1, flip: false}"
SGD = "optimizer: {SGD: {lr: {log: [0.01, 0.1]}, momentum: 0.9}}"
ADAMW = "optimizer: {AdamW: {lr: {log: [3e-3, 2e-2]}}}"
ONE_CYCLE = "optimizer: {SGD: {momentum: 0.9}}\nschedule: {OneCycleLR: {max_lr: {log: [0.05, 0.3]}}}"

CASES: dict[str, tuple[str, str, str, str, float, Callable[[Path], None]]] = {
    # task, task_args, metric, what is tried, what the best of eight reaches at least, the user's data
    "digits-cnn": ("digits-cnn", "{batch_norm: true}", "val_accuracy", SGD, 0.95, nothing),
    "mnist1d": ("mnist1d", "{}", "val_accuracy", ADAMW, 0.5, nothing),  # a linear model: 0.32
    "chars": (
        "chars",
        "{characters: 16384, width: 16}",
        "val_loss",
        ADAMW,
        2.9,
        nothing,
    ),  # letters alone: 3.1
    "classes": ("table", "{path: tumours.csv, target: target}", "val_score", SGD, 0.95, breast_cancer),
    "numbers": ("table", "{path: diabetes.parquet, target: target}", "val_score", SGD, 0.35, diabetes),
    "pictures": ("images", PICTURES, "val_accuracy", ONE_CYCLE, 0.85, digits_as_pictures),
    "arrays": ("images", ARRAYS, "val_accuracy", ONE_CYCLE, 0.85, digits_as_arrays),
}


@pytest.mark.parametrize("case", CASES)
def test_a_small_sweep_learns(tmp_path: Path, ray_runtime: None, case: str) -> None:
    task, arguments, metric, tried, reached, write_data = CASES[case]
    write_data(tmp_path)
    goal = "minimize" if metric == "val_loss" else "maximize"
    text = (
        f"task: {task}\ntask_args: {arguments}\nmetric: {{name: {metric}, goal: {goal}}}\nepochs: 4\n"
        f"{tried}\ntrials: 8\nconcurrency: 8\nsampler: qmc\n"
    )
    home = tmp_path / "home"
    # Two workers of one thread each: threads that share small tensors wait for each other.
    ran = ravine("launch", sweep_file(tmp_path, text), "--workers", 2, "--json", home=home)
    assert ran.code == 0, ran.stderr
    assert ran.result["trials"]["finished"] == 8
    best = ran.result["best"]["value"]
    assert best < reached if goal == "minimize" else best > reached
    curves = list(csv.DictReader(io.StringIO(ravine("curves", 1, "--format", "csv", home=home).stdout)))
    assert len(curves) == 8 * 4
    assert all(float(row["train_loss"]) > 0 and row[metric] for row in curves)
