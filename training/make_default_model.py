"""Make the model that ships: ImageNet trunk, NetVLAD initialised and whitened, not trained.

python training/make_default_model.py --data '[../shared/data/corridor,...]' --trunk-weights FILE
"""

from __future__ import annotations

from pathlib import Path
from typing import cast

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from training.learning.initialise import IN_ALL, PER_IMAGE, Whiten, sample_local, sample_rows, with_whitening
from vpr_ros.command import run
from vpr_ros.encoder import DEFAULT_WEIGHTS, Architecture, Encoder, save_encoder
from vpr_ros.geotagged import GeotaggedImages, Image
from vpr_ros.netvlad import NetVLAD
from vpr_ros.sources import names_of, read_sources
from vpr_ros.trunks import load_imagenet_weights


@torch.no_grad()
def make_default_model(
    data: Path | list[Path],
    out: Path = DEFAULT_WEIGHTS,
    trunk_weights: Path | None = None,
    fix_topic: str | None = None,
    trunk: str = "alexnet",
    clusters: int = 64,
    dimension: int = 256,
    input_size: int = 240,
    initialisation: str = "v1",
    shrinkage: float = 1.0,
    crops: int = 0,
    seed: int = 0,
) -> None:
    """Fit NetVLAD's centres and the whitening to images, and write the weights.

    Args:
        data: Folders of images or bags; several as '[a,b]'.
        out: The weights file.
        trunk_weights: torchvision's ImageNet weights in a file; downloaded where not given.
        fix_topic: Of a bag with more than one NavSatFix topic.
        trunk: alexnet, vgg16, resnet18 or resnet50.
        clusters: K.
        dimension: P after whitening.
        input_size: Pixels of the shorter side.
        initialisation: v1 (the authors' code) or v2 (the paper's equations).
        shrinkage: Of the whitening; see Whitening.fit.
        crops: Random crops of each image that the whitening learns from, beside the image itself.
        seed: Of k-means and of the sampling.
    """
    rng = np.random.default_rng(seed)
    images = read_sources(data, fix_topic=fix_topic, spacing=1.0)
    encoder = Encoder(Architecture(trunk=trunk, clusters=clusters, input_size=input_size)).eval()
    load_imagenet_weights(encoder.trunk, trunk, trunk_weights)
    chosen = sample_rows(len(images), IN_ALL // PER_IMAGE, rng).tolist()
    local = sample_local((encoder.local(encoder.fit_image(images.read(row))) for row in chosen), rng)
    cast(NetVLAD, encoder.pooling).initialise(local, initialisation, seed)
    descriptors = _descriptors(encoder, images, crops, rng)
    whitened = with_whitening(encoder, descriptors, Whiten(dimension, shrinkage))
    said = (
        f"trunk: ImageNet classification ({trunk} of torchvision), unchanged; centres and whitening: "
        f"{len(images)} images of {names_of(data)}; no training for place recognition"
    )
    save_encoder(whitened, out, said, half=True)
    print(f"{out}: {out.stat().st_size / 2**20:.1f} MiB; {said}")


@torch.no_grad()
def _descriptors(
    encoder: Encoder, images: GeotaggedImages, crops: int, rng: np.random.Generator
) -> NDArray[np.float32]:
    gathered = []
    for row in tqdm(range(len(images)), desc="whitening", unit="image"):
        image = images.read(row)
        views = [image, *(_crop(image, rng) for _ in range(crops))]
        gathered += [encoder(encoder.fit_image(view)).numpy() for view in views]
    return np.concatenate(gathered)


def _crop(image: Image, rng: np.random.Generator) -> Image:
    """Return a crop of 60 to 95 % of each side, at the image's aspect, darker or brighter, maybe mirrored."""
    height, width = image.shape[:2]
    share = rng.uniform(0.6, 0.95)
    high, wide = int(height * share), int(width * share)
    top, left = rng.integers(0, height - high + 1), rng.integers(0, width - wide + 1)
    crop = image[top : top + high, left : left + wide]
    crop = cv2.convertScaleAbs(crop, alpha=rng.uniform(0.6, 1.3), beta=rng.uniform(-20, 20))  # type: ignore[assignment]
    return crop[:, ::-1] if rng.random() < 0.5 else crop


if __name__ == "__main__":
    run(make_default_model)
