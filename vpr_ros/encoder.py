"""Image to descriptor: trunk, pooling and whitening as one module; the weights file."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from vpr_ros.encoders.weights_file import (
    check_shapes,
    check_tensors,
    fingerprint_of,
    read_weights,
    write_weights,
)
from vpr_ros.errors import InputError
from vpr_ros.netvlad import GeM, MaxPooling, NetVLAD, Whitening
from vpr_ros.trunks import IMAGENET_MEAN, IMAGENET_STD, TRUNKS, build_trunk, trunk_spec

#: The model that ships with the package.
DEFAULT_WEIGHTS = Path(__file__).parent / "models" / "alexnet-netvlad-256.safetensors"
#: Longer side to shorter side above which an image is refused: resized, it would grow without bound.
MAX_ASPECT = 8.0
POOLINGS = ("netvlad", "max", "gem")


@dataclass(frozen=True)
class Architecture:
    """What an encoder is made of; together with its tensors it fixes every descriptor."""

    trunk: str = "alexnet"
    pooling: str = "netvlad"
    clusters: int = 64  # K of NetVLAD, 0 for the others
    dimension: int = 0  # P after whitening; 0 without whitening
    input_size: int = 480  # shorter side, in pixels, that images are resized to
    mean: tuple[float, float, float] = IMAGENET_MEAN  # of RGB in 0-1
    std: tuple[float, float, float] = IMAGENET_STD


class Encoder(nn.Module):
    """Trunk, pooling and, where wanted, whitening.

    Shape:
        - Input: (B, 3, H, W) RGB, uint8 in 0-255 or floating point in 0-1, of any size that the trunk takes.
        - Output: (B, P) of unit length; without whitening P is K * D of NetVLAD, else D.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.architecture = architecture
        depth = trunk_spec(architecture.trunk).depth
        self.trunk = build_trunk(architecture.trunk)
        self.pooling: nn.Module
        if architecture.pooling == "netvlad":
            self.pooling = NetVLAD(depth, architecture.clusters)
            pooled = depth * architecture.clusters
        elif architecture.pooling in POOLINGS:
            self.pooling = MaxPooling() if architecture.pooling == "max" else GeM()
            pooled = depth
        else:
            raise InputError(
                f"unknown pooling '{architecture.pooling}': expected one of {', '.join(POOLINGS)}"
            )
        self.whitening = Whitening(pooled, architecture.dimension) if architecture.dimension else None
        self.dimension = architecture.dimension or pooled
        self.register_buffer("mean", torch.tensor(architecture.mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(architecture.std).view(3, 1, 1), persistent=False)

    def local(self, images: Tensor) -> Tensor:
        """Return the (B, D, H', W') map of conv5, of a ResNet conv4, before normalisation.

        The trunk may be of half precision; what comes after it may not: a cluster that nothing is assigned to
        has a norm that half precision rounds to zero.
        """
        features: Tensor = self.trunk(self.normalise(images).to(next(self.trunk.parameters()).dtype))
        return features.to(self.mean.dtype)

    def normalise(self, images: Tensor) -> Tensor:
        """Return RGB images, uint8 or floating point in 0-1, as the trunk takes them."""
        scale = 1 if images.is_floating_point() else 255
        return (images.to(self.mean.dtype) / scale - self.mean) / self.std

    def forward(self, images: Tensor) -> Tensor:
        pooled = self.pooling(self.local(images))
        descriptors: Tensor = self.whitening(pooled) if self.whitening is not None else pooled
        return descriptors

    def fit_size(self, images: Tensor) -> Tensor:
        """Resize (..., 3, H, W) images so that their shorter side is the encoder's input size.

        Places are found again by another camera only if both are seen at about the same scale.
        """
        return fit_shorter_side(images, self.architecture.input_size)

    def fit_image(self, image: NDArray[np.uint8]) -> Tensor:
        """Return an (H, W, 3) RGB image as the (1, 3, h, w) batch that `fit_size` makes of it."""
        return self.fit_size(torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None])

    def fingerprint(self) -> str:
        """Return a sha256 that changes with all that changes descriptors by more than rounding does."""
        return fingerprint_of(self, asdict(self.architecture))


def fit_shorter_side(images: Tensor, pixels: int) -> Tensor:
    """Return (..., 3, H, W) images whose shorter side is so long; raises InputError as `check_size` does."""
    height, width = images.shape[-2:]
    check_size(height, width)
    if min(height, width) == pixels:
        return images
    return resize(images, [side * pixels // min(height, width) for side in (height, width)])


def resize(images: Tensor, size: list[int]) -> Tensor:
    """Return (..., C, H, W) images of another size, bilinear with antialiasing, as torchvision does it."""
    batch = images.reshape(-1, *images.shape[-3:])
    # on a processor PyTorch has one for bytes, which rounds twice: of a dark picture that makes another
    # descriptor (cosine 0.998) than a GPU, which has none
    resized = F.interpolate(batch.float(), size, mode="bilinear", antialias=True)
    if images.dtype == torch.uint8:
        resized = resized.round_().byte()
    return resized.reshape(*images.shape[:-2], *size)


def fit_pixels(image: NDArray[np.uint8], fit: Callable[[Tensor], Tensor]) -> NDArray[np.uint8]:
    """Return (H, W, 3) RGB bytes as a function of (3, H, W) bytes makes them; may share their memory."""
    writeable = np.require(image, requirements=["C", "W"])  # a view of a message is not
    fitted = fit(torch.from_numpy(writeable).permute(2, 0, 1))
    return np.asarray(fitted.permute(1, 2, 0).numpy(), np.uint8)


def check_size(height: int, width: int) -> None:
    """Raise InputError for an image that cannot be brought to an encoder's input size."""
    if max(height, width) > MAX_ASPECT * min(height, width):
        raise InputError(f"image of {width}x{height}: expected sides of at most {MAX_ASPECT:g} to 1")


def save_encoder(encoder: Encoder, file: Path, trained_on: str, half: bool = False) -> None:
    """Write a weights file, whole or not at all.

    Args:
        encoder: what is written.
        file: ends in .safetensors.
        trained_on: in words, for whoever finds the file in a year.
        half: store half precision.
    """
    write_weights(file, encoder, asdict(encoder.architecture), trained_on, half)


def load_encoder(file: Path = DEFAULT_WEIGHTS) -> Encoder:
    """Open a weights file, as float32 on the CPU, ready to encode.

    Nothing in the file is executed. Raises InputError for a file that is missing, damaged, or of another
    program.
    """
    metadata, tensors = read_weights(file)
    architecture = _read_architecture(metadata, file)
    # the one tensor that may be of any size is compared before it is allocated
    check_shapes(tensors, _whitening_shape(architecture), file)
    encoder = Encoder(architecture)
    check_tensors(tensors, {name: each.shape for name, each in encoder.state_dict().items()}, file)
    encoder.load_state_dict(tensors)
    return encoder.eval().requires_grad_(False)


def _read_architecture(metadata: Mapping[str, Any], file: Path) -> Architecture:
    if "architecture" in metadata:
        raise InputError(f"{file}: {metadata['architecture']!r:.40}: expected the weights of a network here")
    try:
        given = {field.name: metadata[field.name] for field in fields(Architecture)}
        given |= {key: tuple(float(value) for value in given[key]) for key in ("mean", "std")}
        given |= {key: int(given[key]) for key in ("clusters", "dimension", "input_size")}
        _check_ranges(given)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise InputError(f"{file}: its metadata is not usable ({error}): train or import it again") from error
    return Architecture(**given)


def _check_ranges(given: Mapping[str, Any]) -> None:
    for key, names in (("trunk", tuple(TRUNKS)), ("pooling", POOLINGS)):
        if given[key] not in names:
            raise ValueError(f"{key} is {given[key]!r}, expected one of {', '.join(names)}")
    bounds = {"clusters": (0, 4096), "dimension": (0, 65536), "input_size": (64, 4096)}
    for key, (low, high) in bounds.items():
        if not low <= given[key] <= high:
            raise ValueError(f"{key} is {given[key]}, expected {low} to {high}")
    if not all(math.isfinite(value) for value in (*given["mean"], *given["std"])):
        raise ValueError("mean and std are not finite")
    if len(given["mean"]) != 3 or len(given["std"]) != 3 or min(given["std"]) <= 0:
        raise ValueError("mean and std are three numbers each, std positive")


def _whitening_shape(architecture: Architecture) -> dict[str, tuple[int, ...]]:
    if not architecture.dimension:
        return {}
    clusters = architecture.clusters if architecture.pooling == "netvlad" else 1
    pooled = trunk_spec(architecture.trunk).depth * clusters
    return {"whitening.weight": (architecture.dimension, pooled)}
