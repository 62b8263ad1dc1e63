"""An encoder made fast on one device: the trunk in half precision, channels-last, its layers fused."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vpr_ros.encoder import Encoder
from vpr_ros.engines.bfloat16_trunk import faster_trunk
from vpr_ros.engines.fused import fused, with_channels
from vpr_ros.engines.preparation import CHANNELS, Layout, Preparation
from vpr_ros.netvlad import Whitening


def trunk_precision(device: torch.device) -> torch.dtype:
    """Return the type in which a trunk begins there: half precision on a GPU, float32 on a CPU."""
    return torch.float16 if device.type == "cuda" else torch.float32


class HalfEncoder(nn.Module):
    """What an encoder computes, on one device, in the trunk's precision there; for inference alone.

    Descriptors keep a cosine of 0.9999 to float32's: on a GPU in half precision, on a CPU in bfloat16 but for
    the first convolution, where that is asked for and faster.

    Pooling and the sums of the whitening are float32: a cluster that nothing is assigned to has a norm that
    half precision rounds to zero.

    Shape:
        - Input: (B, 3, H, W) RGB, uint8 or floating point in 0-255.
        - Output: (B, P) float32, of unit length.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, encoder: Encoder, device: torch.device, bfloat16: bool = False) -> None:
        super().__init__()
        self.precision = trunk_precision(device)
        trunk = copy.deepcopy(encoder.trunk)
        self._channels = 3
        if device.type == "cuda":
            trunk, self._channels = with_channels(fused(trunk), CHANNELS), CHANNELS
        trunk = trunk.to(device, self.precision).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.trunk = trunk
        if bfloat16 and device.type == "cpu":
            self.trunk = faster_trunk(trunk, encoder.architecture.trunk, encoder.architecture.input_size)
        self.in_bfloat16 = self.trunk is not trunk
        self.pooling = copy.deepcopy(encoder.pooling).to(device)
        self.whitening: Callable[[Tensor], Tensor] | None = None
        if encoder.whitening is not None:
            self.whitening = _whitening(encoder.whitening, device)
        self.register_buffer("mean", 255 * encoder.mean.to(device))
        self.register_buffer("scale", 1 / (255 * encoder.std.to(device)))
        self.eval().requires_grad_(False)

    def forward(self, images: Tensor) -> Tensor:
        count, _, height, width = images.shape
        shape = count, height, width, self._channels
        prepared = torch.zeros(shape, dtype=self.precision, device=images.device).permute(0, 3, 1, 2)
        # in one pass: what is as large as the images costs what moving it costs
        torch.addcmul(-self.mean * self.scale, images, self.scale, out=prepared[:, :3])
        return self.describe(prepared)

    def preparation(self, layout: Layout, input_size: int) -> Preparation:
        """Return what brings images of a camera to what `describe` takes, on a GPU."""
        return Preparation(layout, input_size, self.mean, self.scale, self.precision)

    def describe(self, prepared: Tensor) -> Tensor:
        """Return the (B, P) descriptors of what the trunk takes: (B, 3, H, W), on a GPU (B, 4, H, W)."""
        pooled: Tensor = self.pooling(self.trunk(prepared).float())
        return pooled if self.whitening is None else self.whitening(pooled)


class HalfWhitening(nn.Module):
    """A whitening whose matrix, most of an encoder's bytes, is read from memory in half precision.

    Shape:
        - Input: (B, D) of unit length.
        - Output: (B, P) float32, of unit length.
    """

    def __init__(self, whitening: Whitening) -> None:
        super().__init__()
        self.weight = nn.Parameter(whitening.weight.half())
        self.bias = nn.Parameter(whitening.bias.clone())
        #: of 32 768 numbers of a unit vector many would fall below what half precision holds
        self._up = whitening.weight.shape[1] ** 0.5

    def forward(self, descriptors: Tensor) -> Tensor:
        product = F.linear((self._up * descriptors).half(), self.weight).float()
        return F.normalize(product / self._up + self.bias, dim=1)


def _whitening(whitening: Whitening, device: torch.device) -> nn.Module:
    there = copy.deepcopy(whitening).to(device)
    if device.type != "cuda":
        return there
    # a variance next to nothing makes rows that half precision cannot hold
    fits = float(there.weight.detach().abs().sum(dim=1).max()) < torch.finfo(torch.float16).max
    return HalfWhitening(there) if fits else there
