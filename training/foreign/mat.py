"""The authors' VGG-16 NetVLAD (Pitts30K, TokyoTM) in the .mat files that hloc converted and uses."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.io import loadmat
from scipy.io.matlab import MatlabFunction, MatlabObject, MatlabOpaque

from training.foreign.network import (
    MOST_BYTES,
    STD_OF_255,
    ForeignNetwork,
    Part,
    trunk_shapes,
)
from vpr_ros.errors import InputError, first_line

CONVERTED = "https://cvg-data.inf.ethz.ch/hloc/netvlad/Pitts30K_struct.mat (or TokyoTM_struct.mat)"
EXPECTED = f"expected the converted VGG-16 NetVLAD of hloc: download {CONVERTED}"
#: Of `net.layers`, counted from 0: assignment and centres, whitening; between them only normalisations.
NETVLAD, WHITENING = 30, 33
#: How many there are, without whitening and with it.
LAYERS = (33, 35)
#: What SciPy makes of objects.
MATLAB_CLASSES = (MatlabOpaque, MatlabObject, MatlabFunction)
#: A compressed element, in the tags of MATLAB's format 5.
COMPRESSED = 15


def is_mat(file: Path) -> bool:
    """Tell whether a file says that MATLAB wrote it."""
    with file.open("rb") as opened:
        return opened.read(7) == b"MATLAB "


def read_mat(file: Path) -> ForeignNetwork:
    """Open a converted .mat file; nothing in it is executed.

    Raises InputError for a file that is damaged or of another network, and for the authors' own files, whose
    layers are objects of MATLAB classes.
    """
    net = _load(file)
    layers = np.atleast_1d(getattr(net, "layers", np.empty(0)))
    if any(isinstance(each, MATLAB_CLASSES) for each in (net, *layers)):
        raise InputError(
            f"{file}: holds objects of MATLAB classes, which only MATLAB can read: instead of the authors' "
            f"own file download {CONVERTED}"
        )
    if len(layers) not in LAYERS:
        raise InputError(f"{file}: 'net' has {len(layers)} layers, not {LAYERS[1]}: {EXPECTED}")
    parts = {}
    for name, shape in trunk_shapes("vgg16").items():
        number, kind = name.split(".")
        which = ("weight", "bias").index(kind)
        key, tensor = _part(layers, int(number), which, len(shape), file)
        # H W IN OUT to OUT IN H W
        parts[f"trunk.{name}"] = Part(key, tensor if which else tensor.permute(3, 2, 0, 1))
    assignment = _part(layers, NETVLAD, 0, 2, file)
    centres = _part(layers, NETVLAD, 1, 2, file)
    parts["pooling.weight"] = Part(assignment.key, assignment.tensor.T)
    parts["pooling.centres"] = Part(centres.key, -centres.tensor.T)  # it keeps what is added, not subtracted
    if len(layers) > WHITENING:
        whitening = _part(layers, WHITENING, 0, 2, file)
        parts["whitening.weight"] = _by_cluster(whitening, tuple(assignment.tensor.shape), file)
        parts["whitening.bias"] = _part(layers, WHITENING, 1, 1, file)
    images = "as they are, larger ones resized to a longer side of 1024"
    return ForeignNetwork("hloc", "vgg16", parts, _mean(net, file), STD_OF_255, images)


def _load(file: Path) -> Any:
    try:
        if (size := _unpacked_size(file)) > MOST_BYTES:
            raise InputError(f"{file}: would unpack to {size / 2**30:.0f} GiB and more: {EXPECTED}")
        content = loadmat(file, struct_as_record=False, squeeze_me=True, variable_names=["net"])
    except InputError:
        raise
    except NotImplementedError as error:  # format 7.3 is HDF5
        raise InputError(f"{file}: of MATLAB's format 7.3: save it with -v7; {EXPECTED}") from error
    except Exception as error:  # a damaged file raises whatever its parser stumbles over
        raise InputError(f"{file}: not readable as a .mat file ({first_line(error)}): {EXPECTED}") from error
    if "net" not in content:
        raise InputError(f"{file}: has no variable 'net': {EXPECTED}")
    return content["net"]


def _unpacked_size(file: Path) -> int:
    """Return how many bytes the file's variables take, counted no further than MOST_BYTES."""
    total = 0
    with file.open("rb") as opened:
        order = "<" if opened.read(128)[126:] == b"IM" else ">"
        while total <= MOST_BYTES and len(tag := opened.read(8)) == 8:
            kind, size = struct.unpack(order + "II", tag)
            if kind != COMPRESSED:
                total += size
                opened.seek(size, 1)
                continue
            unpacker = zlib.decompressobj()
            while size > 0 and total <= MOST_BYTES and (block := opened.read(min(size, 2**16))):
                size -= len(block)
                total += len(unpacker.decompress(block))
    return total


def _part(layers: NDArray[Any], number: int, which: int, dimensions: int, file: Path) -> Part:
    """Return one of a layer's two arrays, as MATLAB counts them: from 1."""
    key = f"net.layers{{{number + 1}}}.weights{{{which + 1}}}"
    try:
        array = layers[number].weights[which]
    except (AttributeError, IndexError, TypeError):
        raise InputError(f"{file}: has no {key!r}: {EXPECTED}") from None
    found = np.asarray(array)
    if found.dtype.kind != "f" or found.ndim != dimensions:
        raise InputError(
            f"{file}: {key!r} is {found.dtype} of shape {found.shape}: expected {dimensions} dimensions of "
            f"floating-point numbers; {EXPECTED}"
        )
    return Part(key, torch.from_numpy(found.astype(np.float32)))


def _by_cluster(whitening: Part, netvlad: tuple[int, ...], file: Path) -> Part:
    """Return the (K * D, P) matrix of descriptors flattened channel by channel as (P, K * D), by cluster."""
    key, matrix = whitening
    depth, clusters = netvlad
    if len(matrix) != depth * clusters:
        raise InputError(
            f"{file}: {key!r} is {tuple(matrix.shape)}: expected {depth * clusters} rows, of {clusters} "
            f"clusters of {depth} channels; {EXPECTED}"
        )
    return Part(key, matrix.T.reshape(-1, depth, clusters).transpose(1, 2).flatten(1))


def _mean(net: Any, file: Path) -> tuple[float, float, float]:
    """Return the mean that is subtracted from RGB, in 0-1: the first pixel's, as the authors take it."""
    try:
        image = np.asarray(net.meta.normalization.averageImage, np.float64).reshape(-1, 3)
        red, green, blue = (image[0] / 255).tolist()
    except (AttributeError, IndexError, TypeError, ValueError):
        raise InputError(f"{file}: no mean in 'net.meta.normalization.averageImage': {EXPECTED}") from None
    if not np.isfinite(image[0]).all():
        raise InputError(
            f"{file}: the mean in 'net.meta.normalization.averageImage' is not finite: {EXPECTED}"
        )
    return red, green, blue
