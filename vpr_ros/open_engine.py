"""The encoder that a file holds, of whatever kind: the one place that knows which kinds there are."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, Union

import torch

from vpr_ros.encoder import Encoder, load_encoder
from vpr_ros.encoders.weights_file import HAND_CRAFTED, named_architecture
from vpr_ros.engine import Engine, choose_device
from vpr_ros.engines.exported_engine import ExportedEngine
from vpr_ros.engines.exported_model import SUFFIX, ExportedModel, read_exported
from vpr_ros.errors import InputError

if TYPE_CHECKING:  # a robot with a network has no use for them
    from vpr_ros.encoders.hand_crafted import HandCraftedEncoder
    from vpr_ros.engines.hand_crafted_engine import HandCraftedEngine

#: What has a fingerprint and a dimension, and becomes an engine on a device.
AnyModel: TypeAlias = Union[Encoder, ExportedModel, "HandCraftedEncoder"]
#: What encodes; all kinds are used alike.
AnyEngine: TypeAlias = Union[Engine, ExportedEngine, "HandCraftedEngine"]
#: Files of PyTorch: to load them is to run what is in them, a pickle, TorchScript or expressions that
#: torch.export hands to Python's eval.
_PROGRAMS = {".pt", ".pt2", ".pth", ".ckpt"}


def load_model(weights: Path) -> AnyModel:
    """Open weights of a network or of a hand-crafted encoder, or an ONNX model with its description.

    Nothing in the file is executed. Raises InputError for one that cannot be used.
    """
    if weights.suffix == SUFFIX:
        return read_exported(weights)
    if weights.suffix in _PROGRAMS:
        raise InputError(
            f"{weights}: to open a file of PyTorch may run code in it: convert a published NetVLAD with "
            "training/import_weights.py, export any other model to ONNX (docs/other-encoders.md)"
        )
    if named_architecture(weights) == HAND_CRAFTED:
        from vpr_ros.encoders.hand_crafted import load_hand_crafted  # noqa: PLC0415

        return load_hand_crafted(weights)
    return load_encoder(weights)


def engine_on(model: AnyModel, device: torch.device | str, bfloat16: bool = False) -> AnyEngine:
    """Return what encodes with a model.

    Args:
        model: of `load_model`.
        device: or its name: auto, cpu, cuda, cuda:1.
        bfloat16: on a CPU that is faster at it, an `Encoder` with AlexNet's trunk in bfloat16; no others.

    Raises InputError for a device that is not there.
    """
    if isinstance(model, ExportedModel):
        return ExportedEngine(model, str(device))
    there = device if isinstance(device, torch.device) else choose_device(device)
    if isinstance(model, Encoder):
        return Engine(model, there, bfloat16)
    from vpr_ros.engines.hand_crafted_engine import HandCraftedEngine  # noqa: PLC0415

    return HandCraftedEngine(model, there)


def open_engine(weights: Path, device: str, bfloat16: bool = False) -> AnyEngine:
    """Return what encodes with a file of weights, as `load_model` and `engine_on` do."""
    return engine_on(load_model(weights), device, bfloat16)
