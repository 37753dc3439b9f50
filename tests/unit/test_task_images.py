"""images: what a user's pictures become, keyed flips and crops, and a sentence for what is wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from workers.tasks.images import Images

RANDOM = np.random.default_rng(0)


def colour(index: int) -> Image.Image:
    return Image.fromarray(RANDOM.integers(0, 256, (12 + index, 16, 3), dtype=np.uint8))


def grey(index: int) -> Image.Image:
    return Image.fromarray(RANDOM.integers(0, 256, (12 + index, 16), dtype=np.uint8))


def folder_of(path: Path, make: Callable[[int], Image.Image], suffix: str = ".png", classes: int = 2) -> str:
    for number in range(classes):
        (path / f"class {number}").mkdir(parents=True, exist_ok=True)
        for index in range(5):
            make(index).save(path / f"class {number}" / f"{index}{suffix}")
    return str(path)


def arrays(path: Path, **given: object) -> str:
    np.savez(path / "images.npz", **given)  # type: ignore[arg-type]
    return str(path / "images.npz")


PIXELS = RANDOM.integers(0, 256, (20, 8, 8), dtype=np.uint8)
LABELS = np.arange(20) % 4


@pytest.mark.parametrize(
    ("channels", "make", "suffix"),
    [
        (3, colour, ".png"),
        (3, colour, ".jpg"),
        (3, colour, ".webp"),
        (3, lambda index: colour(index).quantize(16), ".gif"),
        (3, lambda index: colour(index).convert("CMYK"), ".jpg"),
        (3, lambda index: colour(index) if index % 2 else grey(index), ".png"),
        (3, lambda index: colour(index).convert("RGBA"), ".png"),  # opaque
        (4, lambda index: grey(index) if index else _see_through(), ".png"),
        (1, grey, ".png"),
        (1, grey, ".jpg"),
        (1, lambda index: grey(index).convert("RGB"), ".bmp"),
        (1, lambda index: grey(index).convert("1"), ".tiff"),
        (1, lambda index: Image.fromarray(np.asarray(grey(index)).astype(np.uint16) * 257), ".png"),
    ],
)
def test_a_folder_of_any_kind_of_images_is_read(
    tmp_path: Path, channels: int, make: Callable[[int], Image.Image], suffix: str
) -> None:
    task = Images(folder_of(tmp_path, make, suffix), size=8, width=1)
    data = task.data()
    assert data.train_inputs.shape == (8, channels, 8, 8)
    assert data.validation_targets.tolist() == [0, 1]
    assert task.images.classes == ("class 0", "class 1")
    torch.testing.assert_close(
        data.train_inputs.mean(dim=(0, 2, 3)), torch.zeros(channels), rtol=0, atol=1e-5
    )
    assert task.model()(data.train_inputs).shape == (8, 2)


def _see_through() -> Image.Image:
    return Image.fromarray(RANDOM.integers(0, 256, (12, 16, 4), dtype=np.uint8))


def test_sixteen_bits_of_grey_are_scaled_not_clipped(tmp_path: Path) -> None:
    shades = np.asarray(grey(0))
    eight = folder_of(tmp_path / "8", lambda index: Image.fromarray(np.roll(shades, index)))
    finer = (shades.astype(np.int64) * 257 - 100).clip(0).astype(np.uint16)  # rounds to the same shade
    sixteen = folder_of(tmp_path / "16", lambda index: Image.fromarray(np.roll(finer, index)))
    one, other = (Images(path, size=8, width=1).data() for path in (eight, sixteen))
    assert torch.equal(one.train_inputs, other.train_inputs)


def test_a_photograph_is_turned_upright(tmp_path: Path) -> None:
    picture = colour(0)
    upright = folder_of(tmp_path / "upright", lambda index: picture.rotate(90 * (index % 2)))
    sideways = tmp_path / "sideways"
    for number in range(2):
        (sideways / f"class {number}").mkdir(parents=True)
        for index in range(5):
            turned = picture.rotate(90 * (index % 2)).transpose(Image.Transpose.ROTATE_90)
            exif = Image.Exif()
            exif[0x0112] = 6  # to be turned by 270 degrees counter-clockwise
            turned.save(sideways / f"class {number}" / f"{index}.png", exif=exif)
    one, other = (Images(str(path), size=8, width=1).data() for path in (upright, sideways))
    assert torch.equal(one.train_inputs, other.train_inputs)


def test_hidden_files_and_other_files_are_passed_over(tmp_path: Path) -> None:
    path = folder_of(tmp_path, colour)
    (tmp_path / ".thumbnails").mkdir()
    (tmp_path / "notes.txt").write_text("not a class")
    (tmp_path / "class 0" / "notes.txt").write_text("not an image")
    (tmp_path / "class 0" / "._0.png").write_bytes(b"not an image")
    assert len(Images(path, size=8, width=1).data().train_inputs) == 8


@pytest.mark.parametrize(
    "given",
    [
        {"images": PIXELS, "labels": LABELS},
        {"images": PIXELS[..., None], "labels": LABELS[:, None]},
        {"images": PIXELS[:, None] / 255, "labels": LABELS.astype(float)},
    ],
)
def test_arrays_may_lie_in_any_order(tmp_path: Path, given: dict[str, np.ndarray]) -> None:  # type: ignore[type-arg]
    plain = Images(arrays(tmp_path, images=PIXELS, labels=LABELS), size=8, width=1).data()
    data = Images(arrays(tmp_path, **given), size=8, width=1).data()
    torch.testing.assert_close(data.train_inputs, plain.train_inputs, rtol=0, atol=1e-5)
    assert torch.equal(data.train_targets, plain.train_targets)
    assert data.train_inputs.shape == (16, 1, 8, 8)


def test_colours_may_lie_last_or_second(tmp_path: Path) -> None:
    colours = RANDOM.integers(0, 256, (20, 8, 8, 3), dtype=np.uint8)
    last = Images(arrays(tmp_path, images=colours, labels=LABELS), size=8, width=1).data()
    second = Images(
        arrays(tmp_path, images=colours.transpose(0, 3, 1, 2), labels=LABELS), size=8, width=1
    ).data()
    assert last.train_inputs.shape == (16, 3, 8, 8)
    assert torch.equal(last.train_inputs, second.train_inputs)


@pytest.mark.parametrize(
    "names",
    [
        ("x_train", "y_train", "x_test", "y_test"),
        ("train_images", "train_labels", "val_images", "val_labels"),
    ],
)
def test_a_file_may_say_what_validates(tmp_path: Path, names: tuple[str, ...]) -> None:
    parts = dict(zip(names, (PIXELS, LABELS, PIXELS[:4], LABELS[:4]), strict=True))
    data = Images(arrays(tmp_path, **parts), size=8, width=1).data()
    assert torch.equal(data.train_targets, torch.from_numpy(LABELS))
    assert torch.equal(data.validation_inputs, data.train_inputs[:4])


def test_images_are_resized(tmp_path: Path) -> None:
    wide = np.repeat(np.repeat(PIXELS, 2, axis=1), 4, axis=2)
    one = Images(arrays(tmp_path, images=PIXELS, labels=LABELS), size=8, width=1).data()
    other = Images(arrays(tmp_path, images=wide, labels=LABELS), size=8, width=1).data()
    assert other.train_inputs.shape == one.train_inputs.shape
    assert (
        torch.corrcoef(torch.stack([one.train_inputs.flatten(), other.train_inputs.flatten()]))[0, 1] > 0.95
    )


def test_a_changed_folder_is_read_again(tmp_path: Path) -> None:
    path = folder_of(tmp_path, colour)
    first = Images(path, size=8, width=1).data()
    assert Images(path, size=8, width=2).data() is first
    grey(0).save(tmp_path / "class 0" / "0.png")
    assert not torch.equal(Images(path, size=8, width=1).data().train_inputs, first.train_inputs)
    (tmp_path / "class 0").rename(tmp_path / "class 9")
    assert Images(path, size=8, width=1).images.classes == ("class 1", "class 9")


def draws(mirror: float, down: float, across: float) -> Callable[[int], torch.Tensor]:
    return lambda count: torch.tensor([[mirror, down, across]])[:, :count]


@pytest.fixture
def task(tmp_path: Path) -> Images:
    return Images(arrays(tmp_path, images=PIXELS, labels=LABELS), size=8, width=1, crop=2)


PICTURE = torch.arange(1.0, 65.0).view(1, 1, 8, 8)


def test_a_draw_of_one_half_changes_nothing(task: Images) -> None:
    assert torch.equal(task.augment(PICTURE, draws(0.5, 0.5, 0.5)), PICTURE)


def test_flips_and_crops_are_functions_of_the_draws(task: Images) -> None:
    assert torch.equal(task.augment(PICTURE, draws(0.49, 0.5, 0.5)), PICTURE.flip(-1))
    moved = task.augment(PICTURE, draws(0.9, 0.0, 0.5))  # two pixels down
    assert torch.equal(moved[..., 2:, :], PICTURE[..., :-2, :])
    assert (moved[..., :2, :] == 0).all()
    moved = task.augment(PICTURE, draws(0.9, 0.5, 0.999))  # two pixels to the left
    assert torch.equal(moved[..., :-2], PICTURE[..., 2:])
    assert (moved[..., -2:] == 0).all()


def test_every_shift_is_equally_likely(task: Images) -> None:
    uniform = (torch.arange(500) + 0.5) / 500
    batch = PICTURE.expand(500, 1, 8, 8)
    stacked = torch.stack([torch.full((500,), 0.9), uniform, torch.full((500,), 0.5)], dim=1)
    moved = task.augment(batch, lambda count: stacked[:, :count])
    corner = (moved[:, 0, :, 0] == PICTURE[0, 0, 0, 0]).sum(dim=0)  # where the upper left pixel has gone
    assert corner.tolist() == [100, 100, 100, 0, 0, 0, 0, 0]
    assert (moved[:, 0, 0, 0] == 0).sum() == 200


def test_each_image_is_changed_by_its_own_draws_and_rows_stack(task: Images) -> None:
    batch = torch.randn(3, 5, 1, 8, 8)
    uniform = torch.rand(3, 5, 3)
    stacked = torch.func.vmap(lambda inputs, numbers: task.augment(inputs, lambda count: numbers))(
        batch, uniform
    )
    for row in range(3):
        for image in range(5):
            alone = task.augment(batch[row, image : image + 1], lambda count: uniform[row, image : image + 1])  # noqa: B023
            assert torch.equal(stacked[row, image], alone[0])


def test_flips_and_crops_can_be_switched_off(tmp_path: Path) -> None:
    task = Images(arrays(tmp_path, images=PIXELS, labels=LABELS), size=8, width=1, flip=False, crop=0)
    assert torch.equal(task.augment(PICTURE, draws(0.1, 0.1, 0.1)), PICTURE)


def test_the_network_has_eight_convolutions_and_a_linear_layer(tmp_path: Path) -> None:
    model = Images(arrays(tmp_path, images=PIXELS, labels=LABELS), size=8, width=3).model()
    kinds = [type(part).__name__ for part in model.modules()]
    assert (kinds.count("Conv2d"), kinds.count("BatchNorm2d"), kinds.count("Linear")) == (8, 8, 1)
    channels = [part.out_channels for part in model.modules() if isinstance(part, torch.nn.Conv2d)]
    assert channels == [3, 6, 6, 6, 12, 24, 24, 24]


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (
            {"a": PIXELS, "b": LABELS},
            "holds the arrays a, b; it must hold images, labels or x_train, y_train",
        ),
        ({"images": PIXELS, "labels": LABELS.astype(object)}, "cannot be read as an .npz of plain arrays"),
        (
            {"images": PIXELS, "labels": LABELS.astype(str)},
            "labels of .* holds <U21; number the classes from 0",
        ),
        ({"images": PIXELS, "labels": LABELS * 0}, "labels of .* holds a single class"),
        ({"images": PIXELS, "labels": np.arange(20)}, "every class has a single example"),
        ({"images": PIXELS, "labels": LABELS[:5]}, r"has the shape \(5,\), and images holds 20 images"),
        (
            {"images": PIXELS, "labels": LABELS - 1},
            "holds -1; labels must be whole numbers from 0 to below 10000",
        ),
        ({"images": PIXELS, "labels": LABELS / 2}, "holds 0.5; labels must be whole numbers"),
        ({"images": PIXELS, "labels": np.where(LABELS > 2, np.nan, LABELS)}, "holds nan; labels must be"),
        (
            {"images": PIXELS.reshape(20, 64), "labels": LABELS},
            r"has the shape \(20, 64\); it must be \(images",
        ),
        ({"images": PIXELS[:, :, :, None].repeat(2, 3), "labels": LABELS}, "1, 3 or 4 channels"),
        ({"images": PIXELS[:0], "labels": LABELS[:0]}, "holds no images"),
        ({"images": PIXELS * np.nan, "labels": LABELS}, "holds values that are no finite numbers"),
        ({"images": PIXELS * 1j, "labels": LABELS}, "holds complex128; give pixels as numbers"),
        (
            {"x_train": PIXELS, "y_train": LABELS, "x_test": PIXELS, "y_test": LABELS + 1},
            "y_test of .* holds the label 4, and y_train only up to 3",
        ),
        (
            {"x_train": PIXELS, "y_train": LABELS, "x_test": np.zeros((20, 8, 8, 3)), "y_test": LABELS},
            "x_train and x_test of .* differ in their channels",
        ),
    ],
)
def test_arrays_that_cannot_be_learned_from_are_refused(
    tmp_path: Path, given: dict[str, object], sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence) as refused:
        Images(arrays(tmp_path, **given))
    assert len(str(refused.value).splitlines()) == 1


def test_a_broken_image_is_named(tmp_path: Path) -> None:
    path = folder_of(tmp_path, colour)
    broken = tmp_path / "class 1" / "3.png"
    for content in (broken.read_bytes()[:200], b"", b"no picture"):
        broken.write_bytes(content)
        with pytest.raises(
            ValueError, match=r"class 1/3.png cannot be read as an image: .*repair or remove it$"
        ):
            Images(path)


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04 no archive"])
def test_a_broken_archive_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(ValueError, match=r"a.npz cannot be read as an .npz of plain arrays: "):
        Images(str(tmp_path / "a.npz"))


def test_half_an_archive_and_a_bare_array_are_named(tmp_path: Path) -> None:
    path = Path(arrays(tmp_path, images=PIXELS, labels=LABELS))
    path.write_bytes(path.read_bytes()[:700])
    with pytest.raises(ValueError, match=r"cannot be read as an .npz of plain arrays"):
        Images(str(path))
    with path.open("wb") as file:
        np.save(file, PIXELS)
    with pytest.raises(ValueError, match=r"cannot be read as an .npz of plain arrays"):
        Images(str(path))


def test_folders_without_classes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"{tmp_path} holds no subfolders; put the images of each class"):
        Images(str(tmp_path))
    folder_of(tmp_path, colour, classes=1)
    with pytest.raises(ValueError, match=f"{tmp_path} holds only the class 'class 0'; put the images"):
        Images(str(tmp_path))
    (tmp_path / "class 1").mkdir()
    with pytest.raises(ValueError, match=f"{tmp_path}/class 1 holds no images"):
        Images(str(tmp_path))


def test_a_missing_path_and_another_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^path: there is no folder or file /.*/none; write its full path"):
        Images(str(tmp_path / "none"))
    (tmp_path / "a.zip").write_bytes(b"")
    with pytest.raises(ValueError, match=r"a.zip is neither a folder .* nor an .npz file$"):
        Images(str(tmp_path / "a.zip"))


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"size": 7}, "size must be a whole number of at least 8, got 7"),
        ({"size": 8, "crop": 8}, "crop must be below size, got crop 8 and size 8"),
        ({"crop": -1}, "crop must be a whole number of at least 0, got -1"),
        ({"validation_share": 0}, "validation_share must lie between 0 and 1, got 0"),
    ],
)
def test_arguments_out_of_range_are_refused(
    tmp_path: Path, arguments: dict[str, object], sentence: str
) -> None:
    with pytest.raises(ValueError, match="^" + sentence + "$"):
        Images(arrays(tmp_path, images=PIXELS, labels=LABELS), **arguments)  # type: ignore[arg-type]
