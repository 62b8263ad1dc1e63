"""Descriptors of real photographs and of many crops of them, to measure maps of any size on.

python training/distractors.py --data DIR --queries 'B*' query --out DESCRIPTORS --count 1000000

The photographs of some sessions ask. The others are the first places of a map; crops of them, turned, darker
or brighter, blurred, are its further places. A crop of a photograph stands where the photograph does, within
a metre. The first n places are a map of n. Other crops of the map's photographs ask too: they have a place
that is surely there.

Descriptors are VGG-16's or AlexNet's, of ImageNet weights, with NetVLAD off the shelf, whitened by PCA. The
first p numbers of one, brought to unit length again, are the whitening to p dimensions.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import cast

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from training.learning.augmentation import Augmentation, Changes, apply_changes, draw_changes
from training.learning.initialise import IN_ALL, PER_IMAGE, WHITENING_IMAGES, sample_local, sample_rows
from training.learning.model import Model
from training.measuring.descriptor_folder import CROPS, PHOTOGRAPHS, PLACES, SHARD, save, save_queries, shard
from vpr_ros.command import run
from vpr_ros.encoder import Encoder, load_encoder, save_encoder
from vpr_ros.engine import choose_device
from vpr_ros.engines.half_encoder import HalfEncoder
from vpr_ros.errors import InputError
from vpr_ros.files.atomic_file import replacing_file
from vpr_ros.geotagged import GeotaggedImages, Image, Rows, within_radius
from vpr_ros.metrics import RIGHT_M, has_positive
from vpr_ros.netvlad import NetVLAD, Whitening
from vpr_ros.sources import read_sources

PLAN, ENCODER = "plan.json", "encoder.safetensors"
#: Images that are encoded together.
BATCH = 256
#: Of each side, what a crop keeps at least; degrees that it is turned by, and the natural logarithm of the
#: exponent of its brightness, at most.
KEPT, TURNED, GAMMA = 0.35, 5.0, 0.5
CHANGED = Augmentation(colour=0.4, blur=1.5)
#: Degrees of latitude and longitude that a crop stands apart, at most: a metre.
APART = 1 / 111_200
#: Longer side to shorter side that photographs are cut to before they are cropped.
LONG, SHORT = 4, 3


def distractors(
    data: list[Path],
    out: Path,
    queries: list[str],
    count: int = 1_000_000,
    held_out: int = 1000,
    trunk: str = "vgg16",
    trunk_weights: Path | None = None,
    input_size: int = 192,
    dimension: int = 4096,
    shrinkage: float = 1.0,
    seed: int = 0,
    device: str = "auto",
) -> None:
    """Encode photographs and crops of them; the same call goes on where it was cut short.

    Args:
        data: Folders of images or bags.
        out: Folder of the descriptors: float16, in files of some thousand places each.
        queries: Sessions that ask, as patterns; of a source without such a session, every other photograph.
        count: Places, the photographs included.
        held_out: Crops that ask.
        trunk: alexnet, vgg16, resnet18 or resnet50.
        trunk_weights: torchvision's ImageNet weights in a file; downloaded where not given.
        input_size: Pixels of the shorter side.
        dimension: P after whitening.
        shrinkage: Of the whitening; see Whitening.fit.
        seed: Of k-means and of the crops.
        device: auto, cuda or cpu.
    """
    mapped, asked = _split(data, queries)
    if count < len(mapped):
        raise InputError(f"--count {count}: expected at least the {len(mapped)} photographs of the map")
    plan = {"data": [str(each) for each in data], "queries": queries, "count": count, "held_out": held_out}
    plan |= {"trunk": trunk, "input_size": input_size, "dimension": dimension, "shrinkage": shrinkage}
    _keep_plan(out / PLAN, plan | {"seed": seed})
    where = choose_device(device)
    canvases = _canvases(mapped, input_size, where)
    if not (out / ENCODER).is_file():
        model = Model(trunk=trunk, trunk_weights=trunk_weights, input_size=input_size)
        fitted = _fit(model.build().eval(), mapped, canvases, dimension, shrinkage, seed, where)
        save_encoder(fitted, out / ENCODER, f"{trunk} off the shelf, to measure maps with", half=True)
    encoder = load_encoder(out / ENCODER)
    half = HalfEncoder(encoder, where)
    save_queries(out, PHOTOGRAPHS, asked.rows, _encode_photographs(asked, encoder, half))
    rows, crops = _draw(mapped.rows, held_out, [seed, 1])
    save_queries(out, CROPS, rows, _encode_crops(crops, canvases, half, dimension))
    tables = [mapped.rows]
    for start in tqdm(range(0, count, SHARD), desc="encoding crops", unit="file"):
        photographs = np.arange(start, max(start, min(len(mapped), start + SHARD)))
        left = min(SHARD, count - start) - len(photographs)
        rows, crops = _draw(mapped.rows, left, [seed, 0, start])
        tables.append(rows)
        if not (file := shard(out, start)).is_file():
            first = _encode_photographs(mapped.select(photographs), encoder, half)
            further = _encode_crops(crops, canvases, half, dimension)
            save(file, np.concatenate([first, further]).astype(np.float16))
    save(out / PLACES, np.concatenate(tables))
    print(f"{out}: {count} places, {len(mapped)} of them photographs; {len(asked)} + {held_out} queries")


def _keep_plan(file: Path, plan: dict[str, object]) -> None:
    if file.is_file() and json.loads(file.read_text()) != plan:
        raise InputError(f"{file.parent}: holds descriptors that were made otherwise: name another folder")
    with replacing_file(file) as partial:
        partial.write_text(json.dumps(plan, indent=1))


def _split(data: list[Path], queries: list[str]) -> tuple[GeotaggedImages, GeotaggedImages]:
    """Return the photographs of the map, and those that ask: near one of the map, all of them."""
    asks: list[bool] = []
    for source in data:
        sessions = read_sources(source).rows["session"].tolist()
        named = [any(fnmatchcase(session, pattern) for pattern in queries) for session in sessions]
        asks += named if any(named) else [row % 2 == 1 for row in range(len(sessions))]
    images, asking = read_sources(data), np.array(asks)
    mapped, asked = images.select(~asking), images.select(asking)
    return mapped, asked.select(has_positive(within_radius(asked.rows, mapped.rows, RIGHT_M)))


@dataclass(frozen=True, eq=False)
class Canvas:
    """Photographs of one shape, to crop from.

    Attributes:
        numbers: (N,) of the photographs, rising.
        pixels: (N, 3, H, W) uint8.
    """

    numbers: NDArray[np.intp]
    pixels: Tensor


def _canvases(images: GeotaggedImages, input_size: int, device: torch.device) -> list[Canvas]:
    """Read photographs, each brought to the input size, upright or across."""
    by_shape: dict[tuple[int, ...], tuple[list[int], list[Image]]] = {}
    for row in range(len(images)):
        image = _to_canvas(images.read(row), input_size)
        numbers, pixels = by_shape.setdefault(image.shape, ([], []))
        numbers.append(row)
        pixels.append(image)
    return [
        Canvas(np.array(numbers), torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).to(device))
        for numbers, pixels in by_shape.values()
    ]


def _to_canvas(image: Image, input_size: int) -> Image:
    height, width = image.shape[:2]
    most = min(height, width) * LONG // SHORT
    top, left = max(height - most, 0) // 2, max(width - most, 0) // 2
    middle = image[top : top + most, left : left + most]
    size = [
        input_size * (LONG if side > min(middle.shape[:2]) else SHORT) // SHORT for side in middle.shape[:2]
    ]
    return np.asarray(cv2.resize(middle, size[::-1], interpolation=cv2.INTER_AREA), np.uint8)


@dataclass(frozen=True, eq=False)
class Crops:
    """What is cut out of which photograph.

    Attributes:
        photographs: (N,) their numbers.
        windows: (N, 4) centre x and y, size, and radians turned by; the photograph is -1 to 1.
        gamma: (N,) exponent of the brightness.
        changes: of colour and sharpness.
    """

    photographs: NDArray[np.intp]
    windows: NDArray[np.float32]
    gamma: NDArray[np.float32]
    changes: Changes


def _draw(photographs: Rows, count: int, seed: Sequence[int]) -> tuple[Rows, Crops]:
    """Draw crops of photographs, and the rows of where they stand."""
    rng = np.random.default_rng(seed)
    numbers = rng.integers(0, len(photographs), count)
    size = rng.uniform(KEPT, 1, count)
    centre = rng.uniform(-1, 1, (2, count)) * (1 - size)
    turned = np.radians(rng.uniform(-TURNED, TURNED, count))
    gamma = np.exp(rng.uniform(-GAMMA, GAMMA, count))
    rows = photographs[numbers]
    for axis in ("latitude", "longitude"):
        rows[axis] += rng.uniform(-APART, APART, count)
    changes = draw_changes(CHANGED, np.arange(count), rng)
    windows = np.column_stack([*centre, size, turned])
    return rows, Crops(numbers, windows.astype(np.float32), gamma.astype(np.float32), changes)


@torch.inference_mode()
def _encode_crops(
    crops: Crops, canvases: list[Canvas], half: HalfEncoder, dimension: int
) -> NDArray[np.float32]:
    """Return the (N, P) descriptors of crops."""
    descriptors = np.empty((len(crops.photographs), dimension), np.float32)
    for canvas in canvases:
        which = np.flatnonzero(np.isin(crops.photographs, canvas.numbers))
        for start in range(0, len(which), BATCH):
            batch = which[start : start + BATCH]
            pixels = canvas.pixels[np.searchsorted(canvas.numbers, crops.photographs[batch])]
            changed = apply_changes(_cut(pixels, crops, batch), crops.changes.of(batch))
            descriptors[batch] = half(255 * changed).cpu().numpy()
    return descriptors


def _cut(pixels: Tensor, crops: Crops, batch: NDArray[np.intp]) -> Tensor:
    """Return the (B, 3, H, W) uint8 crops of (B, 3, H, W) photographs."""
    height, width = pixels.shape[-2:]
    x, y, size, turned = torch.from_numpy(crops.windows[batch]).to(pixels.device).unbind(1)
    across, down = size * turned.cos(), size * turned.sin()
    rows = [
        torch.stack([across, -down * height / width, x], 1),
        torch.stack([down * width / height, across, y], 1),
    ]
    grid = F.affine_grid(torch.stack(rows, 1), list(pixels.shape), align_corners=False)
    cut = F.grid_sample(pixels.float(), grid, padding_mode="reflection", align_corners=False)
    gamma = torch.from_numpy(crops.gamma[batch]).to(pixels.device)[:, None, None, None]
    return (255 * (cut / 255) ** gamma).round_().byte()


@torch.inference_mode()
def _encode_photographs(images: GeotaggedImages, encoder: Encoder, half: HalfEncoder) -> NDArray[np.float32]:
    """Return the (N, P) descriptors of photographs, one by one: they are few, and of several shapes."""
    descriptors = np.empty((len(images), encoder.dimension), np.float32)
    for row in range(len(images)):
        descriptors[row] = half(encoder.fit_image(images.read(row)).to(half.mean.device))[0].cpu().numpy()
    return descriptors


@torch.inference_mode()
def _fit(
    encoder: Encoder,
    images: GeotaggedImages,
    canvases: list[Canvas],
    dimension: int,
    shrinkage: float,
    seed: int,
    device: torch.device,
) -> Encoder:
    """Return the encoder with NetVLAD and a whitening learnt from the photographs of the map and crops."""
    rng = np.random.default_rng(seed)
    chosen = sample_rows(len(images), IN_ALL // PER_IMAGE, rng).tolist()
    encoder = encoder.to(device)
    fitted = (encoder.fit_image(images.read(row)).to(device) for row in chosen)
    local = sample_local((encoder.local(image) for image in fitted), rng)
    cast(NetVLAD, encoder.pooling).initialise(local, "v1", seed)
    half = HalfEncoder(encoder, device)
    _, crops = _draw(images.rows, WHITENING_IMAGES - len(images), [seed, 2])
    raw = np.concatenate(
        [_encode_photographs(images, encoder, half), _encode_crops(crops, canvases, half, encoder.dimension)]
    )
    whitened = Encoder(replace(encoder.architecture, dimension=dimension))
    whitened.load_state_dict(encoder.state_dict(), strict=False)
    fit_whitening(cast(Whitening, whitened.whitening), torch.from_numpy(raw).to(device), shrinkage)
    return whitened


@torch.no_grad()
def fit_whitening(whitening: Whitening, descriptors: Tensor, shrinkage: float) -> None:
    """Do what Whitening.fit does with (N, D) descriptors, N < D, on their device.

    FAISS takes half an hour for the eigenvectors of 10 000 descriptors on a processor, a GPU seconds.
    """
    count, dimension = len(descriptors), whitening.weight.shape[0]
    mean = descriptors.mean(dim=0)
    centred = descriptors - mean
    variances, vectors = torch.linalg.eigh((centred @ centred.T).double() / count)
    variances, vectors = variances.flip(0)[:dimension].clamp(min=0), vectors.flip(1)[:, :dimension]
    lengths = (variances * count).sqrt().clamp(min=1e-12)
    axes = (vectors / lengths).float().T @ centred
    scale = (variances + 1e-9 + shrinkage * variances.mean()).rsqrt().float()
    weight = scale[:, None] * axes
    whitening.weight.copy_(weight)
    whitening.bias.copy_(-weight @ mean)


if __name__ == "__main__":
    run(distractors)
