"""A folder of images with a subfolder for each class as pixels, with a sentence for what may be wrong."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from workers.tasks.arguments import first_line

if TYPE_CHECKING:
    from PIL.Image import Image

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")


def files_by_class(folder: Path) -> dict[str, tuple[Path, ...]]:
    """Image files of each subfolder, both in the order of their names; hidden ones are passed over.

    Raises ValueError where a subfolder has no images, or there are fewer than two.
    """
    files: dict[str, tuple[Path, ...]] = {}
    for subfolder in _visible(folder):
        if not subfolder.is_dir():
            continue
        members = tuple(
            entry
            for entry in _visible(subfolder)
            if entry.name.lower().endswith(SUFFIXES) and entry.is_file()
        )
        if not members:
            raise ValueError(
                f"path: {subfolder} holds no images ({', '.join(SUFFIXES)}); every subfolder of path is a "
                "class"
            )
        files[subfolder.name] = members
    if len(files) < 2:
        found = f"only the class '{next(iter(files))}'" if files else "no subfolders"
        raise ValueError(
            f"path: {folder} holds {found}; put the images of each class into a subfolder of its own, two or "
            "more"
        )
    return files


def folder_images(
    files: Mapping[str, Sequence[Path]], size: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Images (examples, channels, size, size) in [0, 1], stretched where they are not square, and labels.

    One channel where every pixel of all images is grey, three where they are opaque, else red, green,
    blue and opacity. Raises ValueError.
    """
    loaded = np.stack([_image(file, size) for members in files.values() for file in members])
    labels = np.repeat(np.arange(len(files)), [len(members) for members in files.values()])
    opaque = bool((loaded[..., 3] == 255).all())
    grey = bool((loaded[..., :1] == loaded[..., 1:3]).all())
    channels = (1 if grey else 3) if opaque else 4
    pixels = np.ascontiguousarray(loaded[..., :channels].transpose(0, 3, 1, 2), dtype=np.float32)
    return pixels / np.float32(255), labels.astype(np.int64)


def _visible(folder: Path) -> list[Path]:
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise ValueError(f"path: {folder} cannot be read: {error.strerror}; allow reading it") from None
    return [entry for entry in entries if not entry.name.startswith(".")]


def _image(file: Path, size: int) -> NDArray[np.uint8]:
    """The first picture of ``file`` as it is to be seen: (size, size, 4) red, green, blue, opacity."""
    from PIL import Image, ImageOps

    try:
        with Image.open(file) as image:
            upright = ImageOps.exif_transpose(_eight_bits(image)).convert("RGBA")
            return np.asarray(upright.resize((size, size), Image.Resampling.BILINEAR))
    # Beside OSError, its UnidentifiedImageError and ValueError, Pillow's readers raise these for bad bytes.
    except (
        OSError, ValueError, SyntaxError, EOFError, IndexError, KeyError, TypeError, struct.error,
        OverflowError, ZeroDivisionError, Image.DecompressionBombError,
    ) as error:  # fmt: skip
        raise ValueError(
            f"path: {file} cannot be read as an image: {first_line(error)}; repair or remove it"
        ) from None


def _eight_bits(image: Image) -> Image:
    """``image``, its grey scaled where it has sixteen bits, which Pillow's own conversion would clip."""
    from PIL import Image

    if image.mode == "F":
        raise ValueError("its pixels are floating-point numbers, without a largest one")
    if image.mode != "I" and not image.mode.startswith("I;16"):
        return image
    values = np.asarray(image, dtype=np.float64).clip(0, 65_535)
    scaled = Image.fromarray((values / 257).round().astype(np.uint8))
    scaled.info.update({key: image.info[key] for key in ("exif",) if key in image.info})
    return scaled
