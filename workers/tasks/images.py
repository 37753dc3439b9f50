"""images: a folder of images by class, or arrays of them, and a nine-layer residual network."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from workers.tasks.arguments import at_least, validation_part
from workers.tasks.classification import Classification
from workers.tasks.image_examples import ImageExamples, images_of
from workers.tasks.task import Data, Uniform

SMALLEST_SIZE = 8  # pixels: three poolings of 2
LOGIT_SCALE = 0.125


class Images(Classification):
    """Images of a user's own classes and the nine-layer residual network of DAWNBench, cross-entropy."""

    def __init__(
        self,
        path: str,
        size: int = 32,
        width: int = 16,
        flip: bool = True,
        crop: int = 4,
        split_seed: int = 0,
        validation_share: float = 0.2,
    ) -> None:
        """``path`` of a folder with a subfolder for each class, or of an .npz.

        Images become ``size`` x ``size`` pixels. ``width`` channels in the first convolution, eight times
        as many in the last. In training an image is mirrored half of the time where ``flip``, and moved
        by up to ``crop`` pixels each way. ``validation_share`` of each class validates, drawn by
        ``split_seed``, unless the file says which. Raises ValueError where there is nothing to learn from.
        """
        self.width = at_least("width", width, 1)
        self.flip = flip
        self.crop = at_least("crop", crop, 0)
        if crop >= at_least("size", size, SMALLEST_SIZE):
            raise ValueError(f"crop must be below size, got crop {crop} and size {size}")
        self.images: ImageExamples = images_of(
            path,
            size=size,
            split_seed=at_least("split_seed", split_seed, 0),
            validation_share=validation_part(validation_share),
        )

    def model(self) -> nn.Module:
        """ResNet-9 with PyTorch's default initialisation."""
        channels = self.images.data.train_inputs.shape[1]
        return _ResNet9(channels, self.width, len(self.images.classes))

    def data(self) -> Data:
        """Inputs (examples, channels, size, size), each channel about mean 0 and deviation 1."""
        return self.images.data

    def augment(self, inputs: Tensor, uniform: Uniform) -> Tensor:
        """``inputs`` (batch, channels, height, width) mirrored and moved, each by its own draw.

        ``uniform(n)`` gives (batch, n) numbers in [0, 1). Draws of one half change nothing. What comes
        in at an edge is zero, which is the mean colour (He et al., arXiv 1512.03385, section 4.2).
        """
        draws = uniform(3)
        if self.flip:
            mirrored = (draws[:, 0] < 0.5)[:, None, None, None]
            inputs = torch.where(mirrored, inputs.flip(-1), inputs)
        return _moved(inputs, self.crop, draws[:, 1], draws[:, 2]) if self.crop else inputs


def _moved(inputs: Tensor, most: int, down: Tensor, across: Tensor) -> Tensor:
    """``inputs`` (batch, channels, height, width) cut out of a frame of ``most`` zeros.

    ``down`` and ``across`` (batch,) in [0, 1) say where: one half is the middle.
    """
    batch, channels, height, width = inputs.shape
    framed = nn.functional.pad(inputs, (most, most, most, most))
    rows = _positions(down, most, height)[:, None, :, None]
    framed = framed.gather(2, rows.expand(batch, channels, height, width + 2 * most))
    columns = _positions(across, most, width)[:, None, None, :]
    return framed.gather(3, columns.expand(batch, channels, height, width))


def _positions(share: Tensor, most: int, length: int) -> Tensor:
    """Places (batch, length) in the frame, from one of 2 ``most`` + 1 equally likely starts."""
    start = (share * (2 * most + 1)).to(torch.int64).clamp(max=2 * most)
    return start[:, None] + torch.arange(length, device=share.device)


class _ResNet9(nn.Module):
    """Page (2018), "How to Train Your ResNet": the network that led DAWNBench's CIFAR-10 table.

    Eight convolutions, two pairs of them with a skip (He et al., arXiv 1512.03385), and a linear layer.
    """

    def __init__(self, channels: int, width: int, classes: int) -> None:
        super().__init__()
        self.features = nn.Sequential(
            _convolution(channels, width),
            _convolution(width, 2 * width),
            nn.MaxPool2d(2),
            _Residual(2 * width),
            _convolution(2 * width, 4 * width),
            nn.MaxPool2d(2),
            _convolution(4 * width, 8 * width),
            nn.MaxPool2d(2),
            _Residual(8 * width),
        )
        self.head = nn.Linear(8 * width, classes, bias=False)

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits (batch, classes) of ``inputs`` (batch, channels, height, width)."""
        strongest = self.features(inputs).amax(dim=(-2, -1))
        return self.head(strongest) * LOGIT_SCALE  # type: ignore[no-any-return]


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(_convolution(width, width), _convolution(width, width))

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs + self.branch(inputs)  # type: ignore[no-any-return]


def _convolution(channels: int, width: int) -> nn.Sequential:
    """3x3 without bias, then batch normalisation (Ioffe and Szegedy, arXiv 1502.03167) and ReLU."""
    convolution = nn.Conv2d(channels, width, kernel_size=3, padding=1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(width), nn.ReLU())
