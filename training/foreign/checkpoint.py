"""Checkpoints of PyTorch projects with a NetVLAD, told apart by the names of their tensors."""

from __future__ import annotations

import pickle
import re
import zipfile
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from training.foreign.network import (
    MOST_BYTES,
    STD_OF_255,
    TRUNKS,
    ForeignNetwork,
    Part,
    trunk_shapes,
)
from vpr_ros.errors import InputError
from vpr_ros.trunks import IMAGENET_MEAN, IMAGENET_STD

EXPECTED = (
    "expected a NetVLAD on VGG-16 or AlexNet of pytorch-NetVlad, Patch-NetVLAD, OpenIBL or "
    "deep-visual-geo-localization-benchmark"
)
#: Where training loops keep the state dict beside epoch, recalls and optimiser.
WRAPPERS = ("state_dict", "model_state_dict")
#: What the training loops put beside it: none of it is of use here.
BESIDE = (
    ("numpy.core.multiarray", "scalar"),
    ("numpy._core.multiarray", "scalar"),
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("argparse", "Namespace"),
)


@dataclass(frozen=True)
class Naming:
    """How a project names the tensors of a NetVLAD, and what it feeds it.

    Args:
        project: as it calls itself.
        trunk: what the names of the trunk's tensors begin with.
        pooling: likewise of NetVLAD.
        whitening: likewise of the matrix after it, where there is one.
        mean: of the RGB input in 0-1.
        std: likewise.
        images: that it runs on, in words.
    """

    project: str
    trunk: str
    pooling: str
    whitening: str | None = None
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    images: str = "resized to 640x480, whatever their aspect"


_OPENIBL_MEAN = (123.68 / 255, 116.779 / 255, 103.939 / 255)
#: The first one of which all parts are there is taken.
NAMINGS = (
    Naming("Patch-NetVLAD", "encoder.", "pool.", "WPCA.0."),
    Naming("pytorch-NetVlad", "encoder.", "pool.", images="as they are, 640x480 in Pittsburgh"),
    Naming("OpenIBL", "base_model.base.", "net_vlad.", "pca_layer.", _OPENIBL_MEAN, STD_OF_255),
    Naming("OpenIBL", "base_model.base.", "net_vlad.", None, _OPENIBL_MEAN, STD_OF_255),
    # --fc_output_dim: a linear layer and L2 normalisation, as a whitening is
    Naming("deep-visual-geo-localization-benchmark", "backbone.", "aggregation.0.", "aggregation.1."),
    Naming("deep-visual-geo-localization-benchmark", "backbone.", "aggregation."),
)


def read_checkpoint(file: Path) -> ForeignNetwork:
    """Open a checkpoint; nothing in it is executed.

    Raises InputError for a file that is damaged, that holds more than tensors and the figures of a training
    run, or that is of another network.
    """
    tensors = _state_dict(_load(file), file)
    naming, trunk = _recognise(tensors, file)
    keys = {f"trunk.{name}": naming.trunk + name for name in trunk_shapes(trunk)}
    keys |= {
        "pooling.weight": naming.pooling + "conv.weight",
        "pooling.centres": naming.pooling + "centroids",
    }
    if (bias := naming.pooling + "conv.bias") in tensors:  # of version 2; without it there is none
        keys["pooling.bias"] = bias
    if naming.whitening:
        keys |= {f"whitening.{name}": naming.whitening + name for name in ("weight", "bias")}
    of = f"{file}: {naming.project}'s NetVLAD on {trunk}"
    for key in keys.values():
        if key not in tensors:
            raise InputError(f"{of}, but without {key!r}: expected the whole network: download it again")
    if unknown := sorted(set(tensors) - set(keys.values())):
        raise InputError(
            f"{of}, but {unknown[0]!r} of shape {tuple(tensors[unknown[0]].shape)} is no part of one: "
            f"{EXPECTED}"
        )
    parts = {name: Part(key, _as_matrix(tensors[key], name)) for name, key in keys.items()}
    return ForeignNetwork(naming.project, trunk, parts, naming.mean, naming.std, naming.images)


def _load(file: Path) -> object:
    try:
        if zipfile.is_zipfile(file):
            with zipfile.ZipFile(file) as opened:
                size = sum(entry.file_size for entry in opened.infolist())
            if size > MOST_BYTES:
                raise InputError(f"{file}: would unpack to {size / 2**30:.0f} GiB: {EXPECTED}")
        with _beside_ignored():
            return torch.load(file, map_location="cpu", weights_only=True)
    except InputError:
        raise
    except Exception as error:  # a damaged file raises whatever its parser stumbles over
        named = re.search(r"(?:GLOBAL|class|global) ([\w.]+)", str(error))
        if isinstance(error, pickle.UnpicklingError) and named:
            raise InputError(
                f"{file}: holds more than tensors ({named[1]}), which is not opened: where you have the code "
                "that wrote it, save the network alone, torch.save(model.state_dict(), 'weights.pth')"
            ) from error
        # not in PyTorch's words, which recommend to open it without its safeguard
        raise InputError(f"{file}: damaged, or not a checkpoint of PyTorch: {EXPECTED}") from error


class _Ignored:
    """Stands in for whatever is beside the tensors: made and filled, it does and keeps nothing."""

    def __init__(self, *_: object) -> None:
        pass

    def __setstate__(self, _: object) -> None:
        pass


def _beside_ignored() -> AbstractContextManager[object]:
    """Let a checkpoint hold what BESIDE names; in its place a stand-in is called."""
    if not hasattr(torch.serialization, "safe_globals"):  # before PyTorch 2.5: refused
        return nullcontext()
    names = [{"__module__": module, "__qualname__": name} for module, name in BESIDE]
    return torch.serialization.safe_globals([type("", (_Ignored,), name) for name in names])


def _state_dict(content: object, file: Path) -> dict[str, Tensor]:
    """Return the dense tensors by name, without what DataParallel puts into names."""
    if isinstance(content, dict):
        content = next((content[key] for key in WRAPPERS if key in content), content)
    if not isinstance(content, dict):
        raise InputError(f"{file}: holds a {type(content).__name__}, not a state dict: {EXPECTED}")
    tensors = {}
    for name, tensor in content.items():
        if isinstance(name, str) and isinstance(tensor, Tensor):
            if tensor.layout != torch.strided or not tensor.is_floating_point() or tensor.is_meta:
                raise InputError(f"{file}: {name!r} is no dense tensor of floating-point numbers: {EXPECTED}")
            tensors[".".join(part for part in name.split(".") if part != "module")] = tensor.detach()
    return tensors


def _recognise(tensors: dict[str, Tensor], file: Path) -> tuple[Naming, str]:
    def holds(beginning: str) -> bool:
        return any(name.startswith(beginning) for name in tensors)

    for naming in NAMINGS:
        if all(holds(each) for each in (naming.trunk, naming.pooling, naming.whitening or naming.pooling)):
            first = tensors.get(naming.trunk + "0.weight", torch.empty(0))
            for trunk in TRUNKS:
                if trunk_shapes(trunk)["0.weight"] == tuple(first.shape):
                    return naming, trunk
    found = "; ".join(f"{name!r} {tuple(tensor.shape)}" for name, tensor in list(tensors.items())[:2])
    raise InputError(f"{file}: holds {len(tensors)} tensors ({found} ...): {EXPECTED}")


def _as_matrix(tensor: Tensor, name: str) -> Tensor:
    """Return the weight of a 1x1 convolution as the matrix that it is; any other tensor as it is."""
    one_by_one = not name.startswith("trunk.") and tensor.ndim == 4 and tensor.shape[2:] == (1, 1)
    return tensor.flatten(1) if one_by_one else tensor
