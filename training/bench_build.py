"""Images a second of building a map, and of its parts, beside the usual way, in one run.

python training/bench_build.py --trunk vgg16 --dimension 4096
"""

from __future__ import annotations

import resource
from collections.abc import Iterable
from contextlib import closing
from copy import copy
from json import dumps
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

import cv2
import faiss
import numpy as np
import torch
from PIL import Image as PillowImage
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms
from tqdm import tqdm

from training.build_map import build_map
from vpr_ros.benches.random_encoder import random_encoder
from vpr_ros.command import run
from vpr_ros.drives.folder import TABLE, read_folder
from vpr_ros.encoder import Encoder, load_encoder, save_encoder
from vpr_ros.engine import Engine, choose_device
from vpr_ros.engines.batches import BATCH, ENCODERS, encode_table, reading_threads
from vpr_ros.geotagged import GeotaggedImages
from vpr_ros.images.pixels import compress
from vpr_ros.images.small_picture import PICTURE_WIDTH
from vpr_ros.threads.ahead import ahead

#: Different images; a table names them again and again.
DIFFERENT = 64
#: Images of a first build, whose time is that of loading, and of what is timed alone, at most.
FEW, PART = 64, 8192
#: Images of a batch of the usual way, and how many of them are timed at most.
USUAL_BATCH, USUAL = 16, 2048
#: How much of the noise is as fine as a pixel, twice as coarse ...: its JPEGs are as large as of photographs.
OCTAVES = (0.03, 0.07, 0.1, 0.15, 0.25, 0.4)
GIB = 2**30
#: Degrees of latitude from one image to the next: 10 m.
STEP = 10 / 111_200


def bench_build(
    data: Path | None = None,
    weights: Path | None = None,
    trunk: str = "vgg16",
    dimension: int = 4096,
    images: int = 32768,
    height: int = 480,
    width: int = 640,
    index: str = "flat",
    usual: bool = True,
    device: str = "auto",
    json: Path | None = None,
) -> None:
    """Time a whole build from JPEGs, small pictures included, without its network, and the network alone.

    Args:
        data: Folder of images; without it one is made, of JPEGs of noise that are as large as photographs.
        weights: Weights file; without it a NetVLAD of random weights, which takes as long.
        trunk: alexnet, vgg16, resnet18 or resnet50, of the random one.
        dimension: Of its descriptors, after whitening.
        images: Of the map.
        height: Pixels of the images that are made.
        width: Pixels of the images that are made.
        index: As of build_map.
        usual: Time the usual way too: PIL and torchvision's transforms in a loader's processes, float32.
        device: auto, cuda or cpu.
        json: Write the figures to this file.
    """
    torch.manual_seed(0)
    where = choose_device(device)
    with TemporaryDirectory() as name:
        folder = Path(name)
        source = data or _make_images(folder / "images", images, height, width)
        if weights is None:
            weights = folder / "weights.safetensors"
            save_encoder(random_encoder(trunk, dimension), weights, "nothing: a bench", half=True)

        def seconds(count: int) -> float:
            begun = perf_counter()
            build_map(source, folder / "map", weights, rows=f":{count}", index=index, device=device)
            return perf_counter() - begun

        table = read_folder(source)
        count = min(images, len(table))
        few = min(FEW, count // 2)
        loading, whole = seconds(few), seconds(count)
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / GIB
        encoder = load_encoder(weights)
        engine = Engine(encoder, where)
        figures = {
            "decoding": _decoding(engine, table, min(count, PART)),
            "encoding": _encoding(engine, table, min(count, PART)),
            "build": count / whole,
            "build, once it is loaded": (count - few) / (whole - loading),
        }
        if usual:
            figures["usual way"] = _usual(encoder.to(where), table, source, where, min(count, USUAL))
            figures["times as fast"] = figures["build"] / figures["usual way"]
        figures["peak GiB"] = memory
        size = np.mean([(source / str(image)).stat().st_size for image in table.rows["image"][:DIFFERENT]])
        _print(
            figures,
            f"{engine.dimension}-d {encoder.architecture.trunk}, {count} JPEGs of {size / 1e3:.0f} kB",
            where,
        )
    if json is not None:
        json.write_text(dumps(figures, indent=1))


def _make_images(folder: Path, count: int, height: int, width: int) -> Path:
    """Write JPEGs of noise, coarse and fine, and a table that names them again and again."""
    folder.mkdir()
    random = np.random.default_rng(0)
    for number in range(DIFFERENT):
        image = np.zeros((height, width, 3), np.float32)
        for octave, weight in enumerate(OCTAVES):
            shape = (max(1, height >> octave), max(1, width >> octave), 3)
            noise = random.integers(0, 256, shape, np.uint8).astype(np.float32)
            image += weight * cv2.resize(noise, (width, height), interpolation=cv2.INTER_LINEAR)
        (folder / f"{number}.jpg").write_bytes(compress(image.astype(np.uint8)))
    lines = [f"{row % DIFFERENT}.jpg,{row * STEP:.9f},0" for row in range(count)]
    (folder / TABLE).write_text("\n".join(["image,latitude,longitude", *lines]))
    return folder


def _rate(done: Iterable[int]) -> float:
    """Return how many a second are done of what is told in numbers."""
    begun, count = perf_counter(), 0
    for number in tqdm(done, leave=False, unit="batch"):
        count += number
    return count / (perf_counter() - begun)


def _decoding(engine: Engine, table: GeotaggedImages, count: int) -> float:
    """Return the rate of all that a build does but the network, small pictures included."""

    def nothing(images: Tensor) -> Tensor:
        return torch.zeros(len(images), engine.dimension, device=engine.device)

    idle = copy(engine)
    idle.encoder = nothing  # type: ignore[assignment]
    images = table.select(np.arange(count))
    with closing(encode_table(idle, images, picture_width=PICTURE_WIDTH, quiet=True)) as windows:
        return _rate(len(each.rows) for each in windows)


def _encoding(engine: Engine, table: GeotaggedImages, count: int) -> float:
    size, encoders = BATCH[engine.device.type], ENCODERS[engine.device.type]
    images = np.stack([engine.fit(table.read(row)) for row in range(min(size, count))])
    batch = torch.from_numpy(images).permute(0, 3, 1, 2).to(engine.device)
    engine.encode_planes(batch)
    batches = [batch] * max(1, count // len(batch))
    return _rate(len(each) for each, _ in ahead(engine.encode_planes, batches, encoders, encoders))


class _Photographs(Dataset[Tensor]):
    def __init__(self, files: list[Path], encoder: Encoder) -> None:
        architecture = encoder.architecture
        self._files = files
        self._prepare = transforms.Compose(
            [
                transforms.Resize(architecture.input_size),
                transforms.ToTensor(),
                transforms.Normalize(architecture.mean, architecture.std),
            ]
        )

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, number: int) -> Tensor:
        prepared: Tensor = self._prepare(PillowImage.open(self._files[number]).convert("RGB"))
        return prepared


def _usual(encoder: Encoder, table: GeotaggedImages, folder: Path, device: torch.device, count: int) -> float:
    files = [folder / str(image) for image in table.rows["image"][:count]]
    loader = DataLoader(
        _Photographs(files, encoder),
        USUAL_BATCH,
        num_workers=reading_threads(),
        pin_memory=device.type == "cuda",
    )
    index = faiss.IndexFlatIP(encoder.dimension)

    def encode(images: Tensor) -> int:
        with torch.no_grad():
            pooled = encoder.pooling(encoder.trunk(images.to(device)))
            whitened = encoder.whitening(pooled) if encoder.whitening is not None else pooled
        index.add(whitened.cpu().numpy())
        return len(images)

    encode(next(iter(loader)))  # where the GPU loads what it needs
    return _rate(encode(images) for images in loader)


def _print(figures: dict[str, float], title: str, device: torch.device) -> None:
    cores = f"{reading_threads()} cores"
    print(
        f"{title}, {torch.cuda.get_device_name(device)}, {cores}"
        if device.type == "cuda"
        else f"{title}, {cores}"
    )
    for name, figure in figures.items():
        print(f"{name:26} {figure:10.2f}" + ("" if name in ("times as fast", "peak GiB") else " images/s"))


if __name__ == "__main__":
    run(bench_build)
