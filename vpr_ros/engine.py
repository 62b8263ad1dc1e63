"""An encoder on one device: RGB arrays in, descriptors out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from vpr_ros.encoder import Encoder
from vpr_ros.errors import InputError
from vpr_ros.geotagged import Image

DEVICES = ("auto", "cuda", "cpu")


def choose_device(name: str = "auto") -> torch.device:
    """Return the device of that name; 'auto' is the GPU where there is one.

    Raises InputError for a GPU that is not there: a silent fall-back would only look slow.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name.split(":", maxsplit=1)[0] not in DEVICES:
        raise InputError(f"unknown device '{name}': expected one of {', '.join(DEVICES)}")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise InputError(
            f"unknown device '{name}': expected auto, cpu, cuda or cuda:0, cuda:1 ..."
        ) from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise InputError(f"device '{name}': PyTorch finds no GPU here: use 'auto' or 'cpu'")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise InputError(f"device '{name}': PyTorch finds {torch.cuda.device_count()} GPUs here")
    return device


class Engine:
    """Encodes images on one device, with the trunk in half precision on a GPU.

    Attributes:
        fingerprint: of the encoder, which a map must share.
        dimension: P, the length of a descriptor.
        input_size: pixels of the shorter side that images are resized to.
    """

    def __init__(self, encoder: Encoder, device: torch.device) -> None:
        self.fingerprint = encoder.fingerprint()
        self.dimension = encoder.dimension
        self.input_size = encoder.architecture.input_size
        self.device = device
        self._encoder = encoder.eval().to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if device.type == "cuda":
            self._encoder.trunk.half()

    @torch.inference_mode()
    def encode(self, images: Sequence[Image]) -> NDArray[np.float32]:
        """Return the (N, P) descriptors, of unit length, of N (H, W, 3) RGB images.

        Images of one size are encoded together: give as many as memory allows.
        """
        descriptors = np.empty((len(images), self.dimension), np.float32)
        by_size: dict[tuple[int, ...], list[int]] = {}
        for number, image in enumerate(images):
            by_size.setdefault(image.shape, []).append(number)
        for numbers in by_size.values():
            batch = torch.from_numpy(np.stack([images[number] for number in numbers])).to(self.device)
            resized = self._encoder.fit_size(batch.permute(0, 3, 1, 2))
            encoded = self._encoder(resized.contiguous(memory_format=torch.channels_last))
            descriptors[numbers] = encoded.cpu().numpy()
        return descriptors
