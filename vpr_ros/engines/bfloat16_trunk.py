"""A trunk on a CPU in bfloat16, but for its first convolution, where that is faster."""

from __future__ import annotations

import copy
from pathlib import Path
from time import perf_counter

import torch
from torch import Tensor, nn

#: Trunks whose descriptors name the same places in bfloat16 (docs/results.md).
KEEPS_PLACES = {"alexnet"}
#: What a processor calls bfloat16 arithmetic, in /proc/cpuinfo; without it PyTorch's is very slow.
BFLOAT16 = {"avx512_bf16", "amx_bf16", "bf16"}
CPU_FLAGS = Path("/proc/cpuinfo")
#: How many times as fast it must be, and in how many tries, or seconds, that is found out.
WORTH, TRIES, TRIAL = 1.3, 5, 1.0


def faster_trunk(trunk: nn.Sequential, name: str, input_size: int) -> nn.Sequential:
    """Return a trunk of that name in bfloat16 where this processor is faster at it, else as it is.

    It is tried out: with AMX bfloat16 takes a third of float32's time, with avx512_bf16 alone half of it on
    one make of processor and twice as long on another.
    """
    if name not in KEEPS_PLACES or not _has_bfloat16():
        return trunk
    other = bfloat16_but_first(trunk)
    images = torch.ones(1, 3, input_size, input_size * 4 // 3).to(memory_format=torch.channels_last)
    took: dict[nn.Module, list[float]] = {trunk: [], other: []}
    began = perf_counter()
    # in turn, and the best of each: what else the processor does meets both
    while len(took[other]) < TRIES and (len(took[other]) < 2 or perf_counter() - began < TRIAL):
        for each, seconds in took.items():
            seconds.append(_seconds(each, images))
    return other if min(took[trunk]) > WORTH * min(took[other]) else trunk


def bfloat16_but_first(trunk: nn.Sequential) -> nn.Sequential:
    """Return a trunk that takes float32 and computes in bfloat16 from its second convolution on.

    What the first one loses, of pixels that are rounded to eight bits, is most of what bfloat16 loses; and it
    is a tenth of the work, at which bfloat16 is no faster.

    Shape:
        - Input: (B, 3, H, W) float32.
        - Output: (B, D, H', W') bfloat16.
    """
    first, *rest = copy.deepcopy(trunk)
    return nn.Sequential(first, _ToBfloat16(), *(layer.to(torch.bfloat16) for layer in rest))


class _ToBfloat16(nn.Module):
    def forward(self, inputs: Tensor) -> Tensor:
        return inputs.bfloat16()


def _has_bfloat16() -> bool:
    try:
        lines = CPU_FLAGS.read_text().splitlines()
    except OSError:
        return False
    # x86 says flags, ARM Features; all cores of a robot's processor have the same
    flags = next((line for line in lines if line.lower().startswith(("flags", "features"))), "")
    return bool(BFLOAT16 & set(flags.split()))


@torch.inference_mode()
def _seconds(trunk: nn.Module, images: Tensor) -> float:
    began = perf_counter()
    trunk(images)
    return perf_counter() - began
