"""A trunk on a CPU in bfloat16, but for its first convolution, and whether a processor is fast at that."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

#: What a processor calls bfloat16 arithmetic, in /proc/cpuinfo; without it PyTorch's is slow. ARM's is not
#: measured, and left alone.
BFLOAT16 = {"avx512_bf16", "amx_bf16"}
CPU_FLAGS = Path("/proc/cpuinfo")


def has_bfloat16() -> bool:
    """Whether this machine's processor computes in bfloat16 faster than in float32."""
    try:
        lines = CPU_FLAGS.read_text().splitlines()
    except OSError:
        return False
    # all cores of a robot's processor have the same
    flags = next((line for line in lines if line.startswith("flags")), "")
    return bool(BFLOAT16 & set(flags.split()))


def bfloat16_but_first(trunk: nn.Sequential) -> nn.Sequential:
    """Return a trunk that takes float32 and computes in bfloat16 from its second convolution on.

    What the first one loses, of pixels that are rounded to eight bits, is most of what bfloat16 loses, and it
    is a tenth of the work.

    Shape:
        - Input: (B, 3, H, W) float32.
        - Output: (B, D, H', W') bfloat16.
    """
    first, *rest = trunk
    return nn.Sequential(first, _ToBfloat16(), *(layer.to(torch.bfloat16) for layer in rest))


class _ToBfloat16(nn.Module):
    def forward(self, inputs: Tensor) -> Tensor:
        return inputs.bfloat16()
