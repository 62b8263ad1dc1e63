"""How the cost of mining grows with the number of images: `python training/bench_mining.py`."""

from __future__ import annotations

import tempfile
from json import dumps
from pathlib import Path
from resource import RUSAGE_SELF, getrusage
from time import perf_counter

import numpy as np
import torch

from training.learning.encode import encode_rows
from training.learning.fabric import start_fabric
from training.learning.inputs import GIB, Budget, Features, Pixels
from training.learning.mining import Mining, candidate_similarities, choose_tuples, draw_candidates
from training.learning.network import Network
from training.learning.run import THREADS
from training.learning.supervision import Radii, Supervision
from training.measuring.noise import noise
from vpr_ros.command import run
from vpr_ros.encoder import Architecture, Encoder
from vpr_ros.engine import choose_device
from vpr_ros.geotagged import GeotaggedImages
from vpr_ros.trunks import trunk_spec

#: Images that are different; the others are copies of them elsewhere.
DIFFERENT = 64


def bench_mining(
    images: list[int] | None = None,
    trunk: str = "alexnet",
    height: int = 120,
    width: int = 160,
    queries: int = 1000,
    memory: float = 8.0,
    json: Path | None = None,
    device: str = "auto",
) -> None:
    """Mine the tuples of one period among more and more images; tell time and memory.

    Args:
        images: How many, one after the other; 1000 and 10000 where not given.
        trunk: alexnet, vgg16, resnet18 or resnet50.
        height: Pixels.
        width: Pixels.
        queries: Of the period.
        memory: GiB of features kept in memory, beside what fits on a GPU; the rest goes to a file.
        json: Write the figures to this file.
        device: auto, cuda or cpu.
    """
    fabric = start_fabric(choose_device(device), 1, "auto")
    network = Network(
        Encoder(Architecture(trunk, input_size=min(height, width))).to(fabric.device),
        trunk_spec(trunk).train_from,
        fabric.autocast,
    )
    print(f"{trunk}, {width}x{height}, {queries} queries, descriptors of {network.dimension}")
    figures = []
    for count in images or [1000, 10000]:
        figures.append(_measure(network, _repeated(count, height, width), queries, memory))
        print("  ".join(f"{name} {value:.6g}" for name, value in figures[-1].items()), flush=True)
        if json is not None:
            json.write_text(dumps(figures, indent=1))


def _repeated(count: int, height: int, width: int) -> GeotaggedImages:
    some = noise(DIFFERENT, height, width)
    pictures = [some.read(row) for row in range(DIFFERENT)]
    rows = noise(count, height, width).rows
    return GeotaggedImages(rows, lambda row: pictures[row % DIFFERENT])


def _measure(network: Network, table: GeotaggedImages, queries: int, memory: float) -> dict[str, float]:
    cuda = network.device.type == "cuda"
    if cuda:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    with tempfile.TemporaryDirectory() as folder:
        begun = perf_counter()
        supervision = Supervision(table.rows, Radii())
        supervised = perf_counter()
        pixels = Pixels(table, lambda image: image, Budget(0))
        budget = Budget(int(memory * GIB))
        features = Features(pixels, network, budget, Path(folder) / "features.bin", THREADS, quiet=False)
        filled = perf_counter()
        asked = supervision.queries[:queries]
        candidates = draw_candidates(supervision, asked, {}, Mining().drawn, np.random.default_rng(0))
        drawn = perf_counter()
        encode = encode_rows(network, features, THREADS, "mining")
        similarity = candidate_similarities(candidates, encode, network.dimension, network.device)
        choose_tuples(candidates, similarity, Mining(), 0.1)
        mined = perf_counter()
        on_disk = sum(file.stat().st_size for file in Path(folder).iterdir())
    return {
        "images": len(table),
        "supervision_s": supervised - begun,
        "frozen_layers_s": filled - supervised,
        "draw_s": drawn - filled,
        "mining_s": mined - drawn,
        "features_memory_gib": memory - budget.left / GIB,
        "features_file_gib": on_disk / GIB,
        "gpu_peak_gib": torch.cuda.max_memory_allocated() / GIB if cuda else 0.0,
        "process_peak_gib": getrusage(RUSAGE_SELF).ru_maxrss / 2**20,
        "full_cache_would_be_gib": len(table) * network.dimension * 4 / GIB,
    }


if __name__ == "__main__":
    run(bench_mining)
