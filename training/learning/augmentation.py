"""Random changes of training images that leave their place the same, computed where the images are."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from vpr_ros.errors import InputError

#: Luminance of red, green and blue, ITU-R BT.601.
GREY = (0.299, 0.587, 0.114)


@dataclass(frozen=True)
class Augmentation:
    """How much training images are changed at random; nothing by default.

    Args:
        colour: Brightness, contrast and saturation are multiplied by up to exp(colour), or divided by it;
            each of red, green and blue by up to exp(colour / 4).
        blur: Standard deviation of a Gaussian blur, pixels, at most.
        crop: Share of each side that is cut off, at most; the rest is enlarged.
        flip: Mirror half of the tuples, all images of a tuple alike.
    """

    colour: float = 0.0
    blur: float = 0.0
    crop: float = 0.0
    flip: bool = False

    def __post_init__(self) -> None:
        for name, most in (("colour", 3.0), ("blur", 20.0), ("crop", 0.9)):
            value = getattr(self, name)
            if not 0 <= value <= most:
                raise InputError(f"augmentation of {name} {value:g}: expected 0 to {most:g}")

    def __bool__(self) -> bool:
        return any(bool(getattr(self, field.name)) for field in fields(self))


@dataclass(frozen=True, eq=False)
class Changes:
    """What is done to each of some images.

    Attributes:
        factors: (B, 6) of brightness, contrast, saturation, red, green, blue.
        sigma: (B,) of the blur, pixels.
        window: (B, 3) centre x, centre y and size of what is kept; the image is -1 to 1, a mirrored one has
            a negative size.
    """

    factors: NDArray[np.float32]
    sigma: NDArray[np.float32]
    window: NDArray[np.float32]

    def of(self, images: NDArray[np.intp]) -> Changes:
        """Return those of these images."""
        return Changes(self.factors[images], self.sigma[images], self.window[images])


def draw_changes(options: Augmentation, tuples: NDArray[np.intp], rng: np.random.Generator) -> Changes:
    """Draw the changes of images, each in the tuple of that number."""
    count = len(tuples)
    spread = options.colour * np.array([1, 1, 1, 0.25, 0.25, 0.25])
    factors = np.exp(rng.uniform(-1, 1, (count, 6)) * spread)
    sigma = options.blur * rng.random(count)
    size = 1 - options.crop * rng.random(count)
    centres = rng.uniform(-1, 1, (count, 2)) * (1 - size)[:, None]
    mirrored = rng.random(int(tuples.max(initial=-1)) + 1) < 0.5
    side = np.where(mirrored[tuples] & options.flip, -size, size)
    window = np.concatenate([centres, side[:, None]], axis=1)
    return Changes(factors.astype(np.float32), sigma.astype(np.float32), window.astype(np.float32))


def apply_changes(images: Tensor, changes: Changes) -> Tensor:
    """Return the changed images.

    Shape:
        - images: (B, 3, H, W) RGB, uint8.
        - Output: (B, 3, H, W) RGB in 0-1.
    """
    device = images.device
    # finer than 8 bits all the same
    changed = images.to(torch.float16 if device.type == "cuda" else torch.float32) / 255
    if (np.abs(changes.window - np.array([0, 0, 1], np.float32)) > 0).any():
        changed = _resample(changed, torch.from_numpy(changes.window).to(changed))
    if (changes.factors != 1).any():
        changed = _recolour(changed, torch.from_numpy(changes.factors).to(changed))
    if (changes.sigma > 0).any():
        changed = _blur(changed, changes.sigma)
    return changed


def _recolour(images: Tensor, factors: Tensor) -> Tensor:
    brightness, contrast, saturation = (factors[:, each, None, None, None] for each in range(3))
    grey = images.new_tensor(GREY).view(1, 3, 1, 1)
    images = (images * brightness * factors[:, 3:, None, None]).clamp(0, 1)
    mean = (images * grey).sum(1, keepdim=True).mean((2, 3), keepdim=True)
    images = (mean + (images - mean) * contrast).clamp(0, 1)
    luminance = (images * grey).sum(1, keepdim=True)
    return (luminance + (images - luminance) * saturation).clamp(0, 1)


def _resample(images: Tensor, window: Tensor) -> Tensor:
    centre_x, centre_y, size = window.unbind(1)
    nothing = torch.zeros_like(size)
    rows = [torch.stack([size, nothing, centre_x], 1), torch.stack([nothing, size.abs(), centre_y], 1)]
    grid = F.affine_grid(torch.stack(rows, 1), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)


def _blur(images: Tensor, sigma: NDArray[np.float32]) -> Tensor:
    count, channels, height, width = images.shape
    radius = min(math.ceil(3 * float(sigma.max())), height - 1, width - 1)
    offsets = torch.arange(-radius, radius + 1, device=images.device)
    spread = torch.from_numpy(sigma).to(images.device).clamp(min=1e-3)
    kernel = torch.exp(-0.5 * (offsets / spread[:, None]) ** 2)
    # cut where it would be cut if the image were alone
    kernel = kernel * (offsets.abs() <= (3 * spread[:, None]).ceil())
    kernel = (kernel / kernel.sum(1, keepdim=True)).to(images.dtype)
    kernel = kernel.repeat_interleave(channels, 0)[:, None, None]
    flat = images.reshape(1, count * channels, height, width)
    flat = F.pad(flat, (radius, radius, radius, radius), mode="reflect")
    flat = F.conv2d(flat, kernel, groups=count * channels)
    flat = F.conv2d(flat, kernel.transpose(2, 3), groups=count * channels)
    return flat.view(count, channels, height, width)
