"""What came before networks: local features, VLAD or Fisher vector, PCA-whitening; and its weights file."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from vpr_ros.encoders.fisher_vector import FisherVector
from vpr_ros.encoders.local_features import DENSE_ROOTSIFT, DEPTH, FEATURES, local_features
from vpr_ros.encoders.vlad import VLAD
from vpr_ros.encoders.weights_file import (
    HAND_CRAFTED,
    check_tensors,
    fingerprint_of,
    read_weights,
    write_weights,
)
from vpr_ros.errors import InputError
from vpr_ros.netvlad import Whitening

AGGREGATES = ("vlad", "fisher")
#: d, that features are reduced to before a Fisher vector (Jegou et al., TPAMI 2012).
REDUCED = 64
#: What the numbers of an architecture may be.
BOUNDS = {"centres": (2, 4096), "dimension": (0, 65536), "input_size": (64, 4096), "step": (1, 64)}


@dataclass(frozen=True)
class HandCrafted:
    """What a hand-crafted encoder is made of; by default Torii et al.'s, CVPR 2015, the paper's baseline.

    But for the step: theirs is 2, which takes four to five times as long.

    Args:
        features: dense-rootsift, rootsift or sift.
        aggregate: vlad or fisher.
        centres: K, of VLAD, or Gaussians of the Fisher vector.
        dimension: P after whitening; 0 without whitening.
        input_size: pixels of the shorter side that images are resized to.
        step: pixels from one dense feature to the next.
    """

    features: str = DENSE_ROOTSIFT
    aggregate: str = "vlad"
    centres: int = 128
    dimension: int = 0
    input_size: int = 480
    step: int = 4

    def __post_init__(self) -> None:
        for name, known in (("features", FEATURES), ("aggregate", AGGREGATES)):
            if getattr(self, name) not in known:
                raise InputError(f"{name} {getattr(self, name)!r:.40}: expected {', '.join(known)}")
        for name, (low, high) in BOUNDS.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
                raise InputError(f"{name} {value!r:.40}: expected a whole number from {low} to {high}")


class HandCraftedEncoder(nn.Module):
    """VLAD or Fisher vector and, where wanted, whitening.

    Shape:
        - Input: (N, 128) local features, any N.
        - Output: (P,) of unit length; where nothing else is known, each element is the same.
    """

    def __init__(self, architecture: HandCrafted) -> None:
        super().__init__()
        self.architecture = architecture
        self.aggregate: VLAD | FisherVector
        if architecture.aggregate == "vlad":
            self.aggregate = VLAD(architecture.centres, DEPTH)
        else:
            self.aggregate = FisherVector(architecture.centres, DEPTH, REDUCED)
        pooled = self.aggregate.dimension
        self.whitening = Whitening(pooled, architecture.dimension) if architecture.dimension else None
        self.dimension = architecture.dimension or pooled

    def local(self, image: NDArray[np.uint8]) -> Tensor:
        """Return the (N, 128) features of a (H, W, 3) RGB image at the input size."""
        grey = np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.uint8)
        return torch.from_numpy(local_features(self.architecture.features, grey, self.architecture.step))

    def forward(self, local: Tensor) -> Tensor:
        described: Tensor = self.aggregate(local)
        if self.whitening is not None:
            described = self.whitening(described[None])[0]
        if not described.any():  # an image without features: it looks like all others, and like none
            return torch.full_like(described, self.dimension**-0.5)
        return described

    def fingerprint(self) -> str:
        """Return a sha256 that changes with all that changes descriptors by more than rounding does."""
        return fingerprint_of(self, _said(self.architecture))


def save_hand_crafted(encoder: HandCraftedEncoder, file: Path, trained_on: str) -> None:
    """Write a weights file, whole or not at all; `trained_on` is in words."""
    write_weights(file, encoder, _said(encoder.architecture), trained_on)


def load_hand_crafted(file: Path) -> HandCraftedEncoder:
    """Open a weights file, ready to encode.

    Nothing in the file is executed. Raises InputError for one that is damaged or of another kind.
    """
    metadata, tensors = read_weights(file)
    if metadata.get("architecture") != HAND_CRAFTED:
        raise InputError(f"{file}: the weights of a network: expected a hand-crafted encoder here")
    names = [field.name for field in fields(HandCrafted)]
    if missing := [name for name in names if name not in metadata]:
        raise InputError(f"{file}: its metadata has no '{missing[0]}': learn it again")
    try:
        architecture = HandCrafted(**{name: metadata[name] for name in names})
    except InputError as error:
        raise InputError(f"{file}: its metadata says {error}: learn it again") from error
    with torch.device("meta"):  # before anything is allocated that a file may make of any size
        encoder = HandCraftedEncoder(architecture)
    check_tensors(tensors, {name: each.shape for name, each in encoder.state_dict().items()}, file)
    for name in ("aggregate.weights", "aggregate.variances"):
        if name in tensors and not bool((tensors[name] > 0).all()):
            raise InputError(f"{file}: '{name}' is not positive: learn it again")
    encoder.load_state_dict(tensors, assign=True)
    return encoder.eval().requires_grad_(False)


def _said(architecture: HandCrafted) -> dict[str, Any]:
    return {"architecture": HAND_CRAFTED, **asdict(architecture)}
