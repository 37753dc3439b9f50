"""An .npz of images and labels as pixels, with a sentence for what may be wrong with it."""

from __future__ import annotations

import tokenize
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import interpolate

from workers.tasks.arguments import first_line

MOST_CLASSES = 10_000
WHOLE = ("images", "labels")
SPLIT = (
    ("x_train", "y_train", "x_test", "y_test"),  # as in Keras's files
    ("train_images", "train_labels", "val_images", "val_labels"),  # as in MedMNIST's
)
_CHANNELS = (1, 3, 4)

Pixels = NDArray[np.float32]
Labels = NDArray[np.int64]


def npz_images(file: Path, size: int) -> list[tuple[Pixels, Labels]]:
    """Images (examples, channels, size, size) and labels: all, or those to train and those to validate.

    Raises ValueError.
    """
    arrays = _arrays(file)
    names = next((names for names in (WHOLE, *SPLIT) if all(name in arrays for name in names)), None)
    if names is None:
        wanted = " or ".join(", ".join(names) for names in (WHOLE, *SPLIT))
        raise ValueError(
            f"path: {file} holds the arrays {', '.join(arrays) or '(none)'}; it must hold {wanted}"
        )
    pairs = list(zip(names[::2], names[1::2], strict=True))
    parts = [
        (_pixels(arrays[images], f"{images} of {file}", size), _labels(arrays, images, labels, file))
        for images, labels in pairs
    ]
    (training, training_labels), (validation, validation_labels) = parts[0], parts[-1]
    if len(np.unique(training_labels)) < 2:
        raise ValueError(
            f"path: {pairs[0][1]} of {file} holds a single class; at least two are needed to tell apart"
        )
    if validation_labels.max() > training_labels.max():
        raise ValueError(
            f"path: {pairs[-1][1]} of {file} holds the label {validation_labels.max()}, and {pairs[0][1]} "
            f"only up to {training_labels.max()}; a class to validate must be one to train"
        )
    if training.shape[1] != validation.shape[1]:
        raise ValueError(
            f"path: {pairs[0][0]} and {pairs[-1][0]} of {file} differ in their channels; give both the same"
        )
    return parts


def _arrays(file: Path) -> dict[str, NDArray[Any]]:
    try:
        with np.load(file, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    # AttributeError and TypeError: of an .npy, which is no archive; NotImplementedError: a compression that
    # zipfile lacks; SyntaxError and TokenError: of a broken header, which NumPy reads as Python.
    except (
        OSError, ValueError, EOFError, AttributeError, TypeError, NotImplementedError, KeyError, SyntaxError,
        tokenize.TokenError, zlib.error, zipfile.BadZipFile,
    ) as error:  # fmt: skip
        raise ValueError(
            f"path: {file} cannot be read as an .npz of plain arrays: {first_line(error)}; write it with "
            "numpy.savez"
        ) from None


def _labels(arrays: Mapping[str, NDArray[Any]], images: str, labels: str, file: Path) -> Labels:
    """Class numbers (examples,)."""
    count, numbers = len(arrays[images]), arrays[labels]
    if numbers.shape == (count, 1):
        numbers = numbers[:, 0]
    if numbers.shape != (count,):
        raise ValueError(
            f"path: {labels} of {file} has the shape {numbers.shape}, and {images} holds {count} images; "
            "give one label for each"
        )
    if numbers.dtype.kind not in "biuf":
        raise ValueError(f"path: {labels} of {file} holds {numbers.dtype}; number the classes from 0")
    wrong = numbers[(numbers != np.floor(numbers)) | (numbers < 0) | (numbers >= MOST_CLASSES)]
    if wrong.size:
        raise ValueError(
            f"path: {labels} of {file} holds {wrong[0]}; labels must be whole numbers from 0 to below "
            f"{MOST_CLASSES}"
        )
    return numbers.astype(np.int64)


def _pixels(array: NDArray[Any], named: str, size: int) -> Pixels:
    """(examples, height, width), with channels last or first, as (examples, channels, size, size)."""
    shape = array.shape
    if array.ndim == 3:
        array = array[:, None]
    elif array.ndim == 4 and shape[3] in _CHANNELS:
        array = array.transpose(0, 3, 1, 2)
    elif array.ndim != 4 or shape[1] not in _CHANNELS:
        raise ValueError(
            f"path: {named} has the shape {shape}; it must be (images, height, width), with 1, 3 or 4 "
            "channels last or second"
        )
    if 0 in array.shape:
        raise ValueError(f"path: {named} holds no images; give at least two")
    if array.dtype.kind not in "biuf":
        raise ValueError(f"path: {named} holds {array.dtype}; give pixels as numbers")
    with np.errstate(over="ignore"):
        pixels = np.ascontiguousarray(array, dtype=np.float32)
    if not np.isfinite(pixels).all():
        raise ValueError(f"path: {named} holds values that are no finite numbers; give pixels")
    if pixels.shape[2:] == (size, size):
        return pixels
    resized = interpolate(
        torch.from_numpy(pixels), size=(size, size), mode="bilinear", antialias=True, align_corners=False
    )
    return np.asarray(resized.numpy())
