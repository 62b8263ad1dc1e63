"""Export weights for other runtimes: `python training/export.py --weights W --out W.onnx --check PHOTOS`."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from vpr_ros.command import run
from vpr_ros.encoder import DEFAULT_WEIGHTS, Encoder, load_encoder
from vpr_ros.engine import Engine
from vpr_ros.engines.exported_engine import ExportedEngine
from vpr_ros.engines.exported_model import (
    SUFFIX,
    Description,
    description_of,
    read_exported,
    write_description,
)
from vpr_ros.errors import InputError
from vpr_ros.files.atomic_file import sync
from vpr_ros.files.checksum import sum_of
from vpr_ros.geotagged import Image
from vpr_ros.images.image_files import images_below, open_image
from vpr_ros.maps.statistics import evenly

SUFFIXES = {"onnx": SUFFIX, "torch": ".pt"}
#: The newest operators that TensorRT 8.5, of JetPack 5, knows.
OPSET = 17
#: How far the length of a descriptor's difference, in single precision, and its cosine, in half, may be off.
FARTHEST, LEAST_COSINE = 1e-3, 0.999
#: Photographs that are compared, at most.
COMPARED = 64
#: The batch that an export follows through the model: of no side that could be mistaken for another.
_EXAMPLE = (2, 3, 120, 160)


class Exported(nn.Module):
    """What an encoder computes of normalised images, as other runtimes are given them.

    Shape:
        - Input: (B, 3, H, W) float32, each channel less its mean, over its std.
        - Output: (B, P) float32, of unit length.
    """

    def __init__(self, encoder: Encoder, half: bool) -> None:
        super().__init__()
        self.trunk = deepcopy(encoder.trunk)
        # pooling stays: a cluster that nothing is assigned to has a norm that half precision rounds to zero
        self.precision = torch.float16 if half else torch.float32
        self.trunk.to(self.precision)
        self.pooling, self.whitening = encoder.pooling, encoder.whitening

    def forward(self, images: Tensor) -> Tensor:
        pooled: Tensor = self.pooling(self.trunk(images.to(self.precision)).float())
        return pooled if self.whitening is None else self.whitening(pooled)


def export(
    out: Path,
    weights: Path = DEFAULT_WEIGHTS,
    to: str = "onnx",
    half: bool = False,
    check: Path | None = None,
) -> None:
    """Write weights as a model for other runtimes, for batches and images of any size.

    Beside it is written what it takes: a YAML file of the same name.

    Args:
        out: File of the model, ending in .onnx, or .pt for torch; replaced only when all is well.
        weights: Weights file of the encoder.
        to: onnx, for the node and for other runtimes; or torch, TorchScript for programs of your own.
        half: Store and compute the trunk in half precision.
        check: Folder of photographs of which the model must make the same descriptors, or nothing is written;
            onnx is run by onnxruntime. Maps made with the weights are then maps of the model.
    """
    if to not in SUFFIXES:
        raise InputError(f"--to {to}: expected {' or '.join(SUFFIXES)}")
    if out.suffix != SUFFIXES[to]:
        raise InputError(f"--out {out}: expected a name that ends in {SUFFIXES[to]} for --to {to}")
    encoder = load_encoder(weights)
    photographs = [] if check is None else _photographs(check)
    out.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as folder:
        made = Path(folder) / out.name
        write_model(encoder, made, half)
        says = Description(
            encoder.dimension,
            encoder.architecture.input_size,
            encoder.architecture.mean,
            encoder.architecture.std,
            name=weights.stem,
            fingerprint=encoder.fingerprint() if photographs else "",
            sha256=sum_of(made),
        )
        write_description(description_of(made), says)
        told = "not checked against the weights, whose maps it cannot use: --check PHOTOS does that"
        if photographs:
            told = compare(encoder, descriptors_of(encoder, made), photographs, half, out)
        # between the two the sum in the description tells that they do not belong together
        for file in (made, description_of(made)):
            sync(file)
            file.replace(out.parent / file.name)
    sync(out.parent)
    print(f"{out}: {encoder.dimension} dimensions; {description_of(out).name} beside it says what it takes")
    print(told)


def write_model(encoder: Encoder, file: Path, half: bool = False) -> None:
    """Write an encoder as ONNX or TorchScript, as the suffix says, for a batch and images of any size."""
    model, example = Exported(encoder, half).eval(), torch.zeros(_EXAMPLE)
    with torch.no_grad(), warnings.catch_warnings():
        # Both ways trace. torch.export, and the ONNX export upon it, are to replace that, but (2.12) pin the
        # sides of these trunks to multiples of 8 and 16; and from 2.1 on tracing is what all versions have.
        warnings.simplefilter("ignore")
        if file.suffix != SUFFIX:
            torch.jit.trace(model, (example,)).save(str(file))  # type: ignore[no-untyped-call]
            return
        try:
            import onnx  # noqa: F401, PLC0415  PyTorch's export needs it, and says so at its end
        except ImportError as error:
            raise InputError(f"{file.name}: PyTorch exports ONNX with a package: pip install onnx") from error
        known = inspect.signature(torch.onnx.export).parameters
        tracing: dict[str, Any] = {"dynamo": False} if "dynamo" in known else {}
        torch.onnx.export(
            model,
            (example,),
            str(file),
            input_names=["images"],
            output_names=["descriptors"],
            dynamic_axes={"images": {0: "batch", 2: "height", 3: "width"}, "descriptors": {0: "batch"}},
            opset_version=OPSET,
            **tracing,
        )


def descriptors_of(encoder: Encoder, file: Path) -> Callable[[list[Image]], NDArray[np.float32]]:
    """Return what makes descriptors of images with a model that has just been written."""
    if file.suffix == SUFFIX:
        return ExportedEngine(read_exported(file), "cpu").encode
    model = torch.jit.load(str(file))  # type: ignore[no-untyped-call]  # our own, written just now

    def encode(images: list[Image]) -> NDArray[np.float32]:
        with torch.no_grad():
            made = [model(encoder.normalise(encoder.fit_image(each))) for each in images]
        return np.asarray(torch.cat(made).numpy(), np.float32)

    return encode


def compare(
    encoder: Encoder,
    exported: Callable[[list[Image]], NDArray[np.float32]],
    photographs: list[Path],
    half: bool,
    out: Path,
) -> str:
    """Say how near the descriptors of an exported model are; raise InputError where that is too far."""
    engine = Engine(encoder, torch.device("cpu"))
    distances, cosines = [], []
    for photograph in photographs:
        image = open_image(photograph).rgb()
        expected, made = engine.encode([image])[0], exported([image])[0]
        distances.append(float(np.linalg.norm(expected - made)))
        cosines.append(float(expected @ made))
    said = f"{len(photographs)} photographs: at worst a difference of {max(distances):.1e}"
    said += f" and a cosine of {min(cosines):.6f}"
    if not (min(cosines) >= LEAST_COSINE if half else max(distances) <= FARTHEST):
        limit = f"a cosine of {LEAST_COSINE}" if half else f"a difference of {FARTHEST:g}"
        raise InputError(f"{out}: not written: {said}: expected {limit} or better")
    return said


def _photographs(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise InputError(f"--check {folder}: no such folder: expected a folder of photographs")
    found = images_below(folder)
    if not found:
        raise InputError(f"--check {folder}: no images: expected a folder of photographs")
    return [found[number] for number in evenly(len(found), COMPARED)]


if __name__ == "__main__":
    run(export)
