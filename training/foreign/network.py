"""A NetVLAD that another project trained, its tensors under our names, as an encoder of ours."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from vpr_ros.encoder import Architecture, Encoder
from vpr_ros.errors import InputError
from vpr_ros.trunks import build_trunk

#: The trunks that are imported.
TRUNKS = ("vgg16", "alexnet")
#: More than this, once unpacked, no published network takes; a small file can claim to hold a huge one.
MOST_BYTES = 4 * 2**30
#: Standard deviation, of RGB in 0-1, of networks that take 0-255.
STD_OF_255 = (1 / 255, 1 / 255, 1 / 255)

Shape = tuple[int, ...]


class Part(NamedTuple):
    """One tensor, and what its file calls it."""

    key: str
    tensor: Tensor


@dataclass(frozen=True)
class ForeignNetwork:
    """What a file of another project holds.

    Args:
        project: whose it is.
        trunk: one of TRUNKS.
        parts: "trunk.0.weight" and the trunk's other tensors, "pooling.weight" and "pooling.centres" (K, D),
            maybe "pooling.bias" (K,), maybe "whitening.weight" (P, K * D), by cluster, with its bias (P,).
        mean: of its RGB input in 0-1.
        std: likewise.
        images: that the project runs it on, in words.
    """

    project: str
    trunk: str
    parts: dict[str, Part]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    images: str


def trunk_shapes(trunk: str) -> dict[str, Shape]:
    """Return the shape of each of a trunk's tensors."""
    with torch.device("meta"):
        return {name: tuple(tensor.shape) for name, tensor in build_trunk(trunk).state_dict().items()}


def to_encoder(network: ForeignNetwork, file: Path, input_size: int) -> Encoder:
    """Return an encoder that describes as the foreign network does.

    Raises InputError, which names the file and the file's own name of the tensor, for shapes that do not fit
    together and for values that are not finite.
    """
    parts = dict(network.parts)
    clusters = _rows(parts["pooling.centres"], 4096, file)
    dimension = _rows(parts["whitening.weight"], 65536, file) if "whitening.weight" in parts else 0
    parts.setdefault("pooling.bias", Part("none", torch.zeros(clusters)))
    factor = _smaller(network.std)
    red, green, blue = (factor * each for each in network.std)
    architecture = Architecture(
        *(network.trunk, "netvlad", clusters, dimension, input_size), network.mean, (red, green, blue)
    )
    with torch.device("meta"):  # nothing is allocated before it is known to fit
        shapes = {name: tensor.shape for name, tensor in Encoder(architecture).state_dict().items()}
    if 4 * sum(shape.numel() for shape in shapes.values()) > MOST_BYTES:  # repeated, a few numbers suffice
        raise InputError(f"{file}: claims {clusters} clusters and {dimension} dimensions: download it again")
    tensors = {}
    for name, shape in shapes.items():
        key, tensor = parts[name]
        if tensor.shape != shape:
            raise InputError(
                f"{file}: {key!r} is {tuple(tensor.shape)}: expected {tuple(shape)} in {network.project}'s "
                f"{network.trunk} with {clusters} clusters: download it again"
            )
        tensors[name] = tensor.float().contiguous()
        if not bool(torch.isfinite(tensors[name]).all()):
            raise InputError(f"{file}: {key!r} holds values that are not finite: download it again")
        if name.startswith("trunk.") and name.endswith(".bias"):
            tensors[name] = tensors[name] / factor
    encoder = Encoder(architecture)
    encoder.load_state_dict(tensors, assign=True)
    return encoder.eval().requires_grad_(False)


def _rows(part: Part, most: int, file: Path) -> int:
    shape = tuple(part.tensor.shape)
    if len(shape) != 2 or not 1 <= shape[0] <= most:
        raise InputError(f"{file}: {part.key!r} is {shape}: expected a matrix of 1 to {most} rows")
    return shape[0]


def _smaller(std: tuple[float, float, float]) -> float:
    """Return the power of two by which the input and all biases of the trunk are divided.

    A trunk of convolutions, ReLU and pooling that is given input and biases a times smaller gives an output a
    times smaller, and its length is divided out: no descriptor changes, and with a power of two no digit. But
    what one that takes 0-255 computes on its way is in the thousands, and half precision ends at 65 504.
    """
    return 2.0 ** round(math.log2(0.25 / min(std)))
