"""A user's images as examples to train and validate on."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from workers.tasks.arguments import existing
from workers.tasks.image_arrays import Labels, Pixels, npz_images
from workers.tasks.image_files import files_by_class, folder_images
from workers.tasks.splitting import split
from workers.tasks.task import Data

_Files = tuple[tuple[str, tuple[Path, ...]], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageExamples:
    """Images made ready: inputs (examples, channels, size, size), targets class numbers."""

    data: Data
    classes: tuple[str, ...]  # in the order of their numbers


def images_of(path: str, *, size: int, split_seed: int, validation_share: float) -> ImageExamples:
    """The images at ``path``; read again only where one has changed. Raises ValueError."""
    place = existing(path, "folder or file")
    if not place.is_dir() and place.suffix.lower() != ".npz":
        raise ValueError(
            f"path: {place} is neither a folder with a subfolder for each class nor an .npz file"
        )
    files: _Files = tuple(files_by_class(place).items()) if place.is_dir() else (("", (place,)),)
    stats = [file.stat() for _, members in files for file in members]
    changed = tuple((stat.st_size, stat.st_mtime_ns) for stat in stats)
    return _images(files, changed, size, split_seed, validation_share)


@lru_cache(maxsize=4)
def _images(
    files: _Files,
    changed: tuple[tuple[int, int], ...],  # noqa: ARG001 - part of the key
    size: int,
    split_seed: int,
    validation_share: float,
) -> ImageExamples:
    if len(files) > 1:
        parts = [folder_images(dict(files), size)]
        classes = tuple(name for name, _ in files)
    else:
        parts = npz_images(files[0][1][0], size)
        classes = tuple(str(number) for number in range(int(parts[0][1].max()) + 1))
    if len(parts) == 1:
        images, labels = parts[0]
        picked = split(
            len(labels), validation_share=validation_share, seed=split_seed, classes=torch.from_numpy(labels)
        )
        parts = [(images[indices.numpy()], labels[indices.numpy()]) for indices in picked]
    return ImageExamples(data=_standardised(*parts), classes=classes)


def _standardised(training: tuple[Pixels, Labels], validation: tuple[Pixels, Labels]) -> Data:
    """Each channel about mean 0 and deviation 1 over the images to train.

    In NumPy, whose sums do not depend on the number of threads.
    """
    images = training[0]
    mean = images.mean(axis=(0, 2, 3), keepdims=True, dtype=np.float64).astype(np.float32)
    deviation = images.std(axis=(0, 2, 3), keepdims=True, dtype=np.float64).astype(np.float32)
    deviation[deviation == 0] = 1
    return Data(
        train_inputs=torch.from_numpy((images - mean) / deviation),
        train_targets=torch.from_numpy(training[1]),
        validation_inputs=torch.from_numpy((validation[0] - mean) / deviation),
        validation_targets=torch.from_numpy(validation[1]),
    )
