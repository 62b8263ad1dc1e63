"""Devices, processes and precision of a run, by Lightning Fabric."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import torch

from vpr_ros.errors import InputError

if TYPE_CHECKING:
    from lightning_fabric import Fabric

PRECISIONS = ("auto", "32-true", "bf16-mixed")


def check_processes(device: torch.device, devices: int, precision: str) -> None:
    """Raise InputError for what this machine has not."""
    if precision not in PRECISIONS:
        raise InputError(f"unknown precision '{precision}': expected one of {', '.join(PRECISIONS)}")
    most = torch.cuda.device_count() if device.type == "cuda" else os.cpu_count() or 1
    if not 1 <= devices <= most:
        raise InputError(f"--devices {devices}: expected 1 to {most}, what this machine has of '{device}'")
    if device.index is not None and devices > 1:
        raise InputError(f"--devices {devices} of '{device}': expected --device {device.type}")


def is_first_process() -> bool:
    """Tell whether this process was started by a person, not by one that shares its work with it."""
    return os.environ.get("LOCAL_RANK", "0") == "0"


def start_fabric(device: torch.device, devices: int, precision: str) -> Fabric:
    """Start the other processes, if there are to be some; they run the same command from its beginning.

    Args:
        device: its type, or with its number the only one.
        devices: processes, one for each GPU.
        precision: 32-true, bf16-mixed or auto: bf16-mixed where the GPU computes in it.
    """
    from lightning_fabric import Fabric  # noqa: PLC0415  takes a second, and most commands need it not

    if precision == "auto":
        fast = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
        precision = "bf16-mixed" if fast else "32-true"
    fabric = Fabric(
        accelerator=device.type,
        devices=devices if device.index is None else [device.index],
        strategy="ddp" if devices > 1 else "auto",
        precision=precision,  # type: ignore[arg-type]
    )
    fabric.launch()
    torch.set_float32_matmul_precision("high")
    return fabric
