"""Tuples a second and memory of training, beside the usual public way, in one run.

python training/bench_training.py --trunk vgg16
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from json import dumps
from pathlib import Path
from time import perf_counter

import torch
import torch.nn.functional as F
from lightning_fabric import Fabric
from torch import Tensor, nn

from training.learning.augmentation import Augmentation
from training.learning.encode import encode_rows
from training.learning.fabric import start_fabric
from training.learning.inputs import Budget, Features, Load, Pixels
from training.learning.learner import Learner
from training.learning.mining import Mining
from training.learning.network import Network
from training.learning.optimisation import Optimisation
from training.learning.run import THREADS
from training.learning.supervision import Radii, Supervision
from training.measuring.noise import noise
from vpr_ros.command import run
from vpr_ros.encoder import Architecture, Encoder
from vpr_ros.engine import choose_device
from vpr_ros.geotagged import GeotaggedImages
from vpr_ros.trunks import layer_index, trunk_spec

MIB = 2**20


def bench_training(
    trunk: str = "vgg16",
    height: int = 480,
    width: int = 640,
    images: int = 480,
    batch: int = 4,
    augment: bool = True,
    usual: bool = True,
    device: str = "auto",
    devices: int = 1,
    json: Path | None = None,
) -> None:
    """Time training steps of a query, its positive and ten negatives, on images of noise.

    Args:
        trunk: alexnet, vgg16, resnet18 or resnet50, trained from the paper's layer on.
        height: Pixels.
        width: Pixels.
        images: How many; each is a query once an epoch.
        batch: Tuples in a step, over all devices.
        augment: Time training from augmented images too.
        usual: Time the usual way too: float32, TF32 convolutions, a loop over clusters.
        device: auto, cuda or cpu.
        devices: GPUs.
        json: Write the figures to this file.
    """
    fabric = start_fabric(choose_device(device), devices, "auto")
    torch.manual_seed(0)  # alike in all processes
    table = noise(images, height, width)
    size = min(height, width)
    figures = {}
    if usual and devices == 1:
        figures["usual"] = _measure(_usual(fabric, trunk, size, table, batch), fabric.device)
        _free()
    ways = {"from images": (False, Augmentation()), "from cached features": (True, Augmentation())}
    if augment:
        ways["from augmented images"] = (False, Augmentation(colour=0.3, blur=1.0, crop=0.2, flip=True))
    for name, (cached, augmentation) in ways.items():
        epoch = _ours(fabric, trunk, size, table, batch, cached, augmentation)
        figures[name] = _measure(epoch, fabric.device)
        del epoch
        _free()
    if fabric.global_rank == 0:
        where = torch.cuda.get_device_name() if fabric.device.type == "cuda" else "CPU"
        _print(figures, f"{trunk}, {width}x{height}, batch of {batch}, {devices} x {where}")
        if json is not None:
            json.write_text(dumps(figures, indent=1))
    fabric.barrier()


def _free() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _measure(epoch: Callable[[], dict[str, float]], device: torch.device) -> dict[str, float]:
    """Time the second of two epochs: tuples a second of its steps and of all of it, and peak MiB."""
    epoch()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        torch.cuda.synchronize(device)
    begun = perf_counter()
    figures = epoch()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    seconds = perf_counter() - begun
    return {
        "steps": figures["tuples"] / (seconds - figures.get("mining_seconds", 0.0)),
        "epoch": figures["tuples"] / seconds,
        "images_in_tuple": 2 + figures["triplets"],
        "mib": torch.cuda.max_memory_allocated(device) / MIB if device.type == "cuda" else 0.0,
    }


def _ours(
    fabric: Fabric,
    trunk: str,
    size: int,
    table: GeotaggedImages,
    batch: int,
    cached: bool,
    augmentation: Augmentation,
) -> Callable[[], dict[str, float]]:
    encoder = Encoder(Architecture(trunk, input_size=size)).to(fabric.device)
    network = Network(encoder, trunk_spec(trunk).train_from, fabric.autocast)
    pixels = Pixels(table, encoder.fit_size, Budget(64 * 2**30))
    see: Load = pixels
    if cached:
        see = Features(pixels, network, Budget(64 * 2**30), Path("unused"), THREADS, quiet=True)
    learner = Learner(
        fabric,
        network,
        Supervision(table.rows, Radii()),
        see,
        encode_rows(network, see, THREADS, "mining", quiet=True),
        Optimisation(batch=batch, learning_rate=1e-9),  # what is timed stays what it was
        Mining(),
        augmentation,
        0,
        THREADS,
    )

    def epoch() -> dict[str, float]:
        figures = learner.train_epoch(lambda: False, lambda: None)
        learner.next_epoch()
        return {**figures, "tuples": len(table)}

    return epoch


def _usual(
    fabric: Fabric, trunk: str, size: int, table: GeotaggedImages, batch: int
) -> Callable[[], dict[str, float]]:
    """Return an epoch in float32 with a loop over clusters; its images are decoded and normalised before."""
    encoder = Encoder(Architecture(trunk, input_size=size)).to(fabric.device)
    encoder.trunk[: layer_index(encoder.trunk, trunk, trunk_spec(trunk).train_from)].requires_grad_(False)
    pooling = LoopedNetVLAD(trunk_spec(trunk).depth, 64).to(fabric.device)
    trained = [each for each in [*encoder.trunk.parameters(), *pooling.parameters()] if each.requires_grad]
    optimiser = torch.optim.SGD(trained, lr=1e-9, momentum=0.9, weight_decay=0.001)
    loss_of = nn.TripletMarginLoss(margin=0.1**0.5, p=2, reduction="sum")
    some = [torch.from_numpy(table.read(row)).permute(2, 0, 1) for row in range(48)]
    tuples = min(len(table), 64)

    def epoch() -> dict[str, float]:
        for _ in range(0, tuples, batch):
            images = torch.stack(some[: 12 * batch] if 12 * batch <= 48 else some * (batch // 4))
            images = encoder.normalise(images.to(fabric.device))
            descriptors = pooling(encoder.trunk(images)).view(batch, 12, -1)
            optimiser.zero_grad()
            loss = sum(
                loss_of(each[:1], each[1:2], each[2 + negative : 3 + negative])
                for each in descriptors
                for negative in range(10)
            )
            (loss / (10 * batch)).backward()
            optimiser.step()
        return {"tuples": tuples, "triplets": 10}

    return epoch


class LoopedNetVLAD(nn.Module):
    """NetVLAD as public PyTorch versions have it: residuals to one cluster after the other."""

    def __init__(self, depth: int, clusters: int) -> None:
        super().__init__()
        self.assign = nn.Conv2d(depth, clusters, kernel_size=1, bias=False)
        self.centres = nn.Parameter(torch.rand(clusters, depth))

    def forward(self, features: Tensor) -> Tensor:
        features = F.normalize(features, dim=1)
        assignment = self.assign(features).flatten(2).softmax(dim=1)
        local = features.flatten(2)
        sums = []
        for cluster, centre in enumerate(self.centres):
            residuals = (local - centre[None, :, None]) * assignment[:, cluster : cluster + 1]
            sums.append(residuals.sum(dim=2))
        return F.normalize(F.normalize(torch.stack(sums, 1), dim=2).flatten(1), dim=1)


def _print(figures: dict[str, dict[str, float]], title: str) -> None:
    print(title)
    base = figures.get("usual")
    for name, each in figures.items():
        ratio = f"{each['steps'] / base['steps']:6.1f}x" if base else ""
        print(
            f"{name:24} {each['steps']:8.1f} tuples/s {ratio}  with mining {each['epoch']:8.1f}  "
            f"{each['images_in_tuple']:.1f} images a tuple  peak {each['mib']:8.0f} MiB"
        )


if __name__ == "__main__":
    run(bench_training)
