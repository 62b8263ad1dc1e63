"""Learn what came before networks: `python training/learn_hand_crafted.py --data DRIVE --out FILE`.

Local features, VLAD or Fisher vector and PCA-whitening, as weights that every command takes.
"""

from __future__ import annotations

import logging
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from training.learning.codebook import learn_fisher, learn_vlad
from training.learning.initialise import WHITENING_IMAGES, Whiten, fit_whitening, sample_rows
from vpr_ros.command import run
from vpr_ros.encoders.hand_crafted import REDUCED, HandCrafted, HandCraftedEncoder, save_hand_crafted
from vpr_ros.encoders.local_features import DENSE_ROOTSIFT, DEPTH
from vpr_ros.engines.batches import encode_table, reading_threads
from vpr_ros.engines.hand_crafted_engine import HandCraftedEngine
from vpr_ros.errors import InputError
from vpr_ros.geotagged import GeotaggedImages
from vpr_ros.sources import read_sources
from vpr_ros.threads.ahead import ahead

logger = logging.getLogger(__name__)

#: Local features that centres are learnt from, and images that they are taken of, at most.
IN_ALL, IMAGES = 200_000, 400
SUFFIX = ".safetensors"


def learn_hand_crafted(
    data: Path | list[Path],
    out: Path,
    features: str = DENSE_ROOTSIFT,
    aggregate: str = "vlad",
    centres: int = 128,
    dimension: int = 4096,
    shrinkage: float | None = None,
    input_size: int = 480,
    step: int = 4,
    session: str | None = None,
    rows: str | None = None,
    image_topic: str | None = None,
    fix_topic: str | None = None,
    spacing: float = 1.0,
    max_fix_gap: float = 2.0,
    seed: int = 0,
) -> None:
    """Learn a hand-crafted encoder from images: centres or Gaussians, then the whitening.

    Args:
        data: Folders of images, bags or public data sets (docs/data-sets.md); several as '[a,b]'.
        out: The weights file, .safetensors.
        features: dense-rootsift, rootsift or sift.
        aggregate: vlad or fisher.
        centres: K of VLAD, or Gaussians of the Fisher vector.
        dimension: P after whitening, at most one less than there are images; 0 for no whitening.
        shrinkage: Of the whitening; as train.py's.
        input_size: Pixels of the shorter side that images are resized to.
        step: Pixels from one dense feature to the next; twice as many take a quarter of the time.
        session: Only the images of this session.
        rows: Only these images, start:stop:step.
        image_topic: Of a bag with more than one image topic.
        fix_topic: Of a bag with more than one NavSatFix topic.
        spacing: Metres driven from one image of a drive to the next; 0 takes every image.
        max_fix_gap: Seconds without a fix above which a bag's images are left out.
        seed: Of k-means and of the sampling.
    """
    if out.suffix != SUFFIX:
        raise InputError(f"--out {out}: expected a name that ends in {SUFFIX}")
    architecture = HandCrafted(features, aggregate, centres, dimension, input_size, step)
    whiten = Whiten(dimension, shrinkage)
    images = read_sources(data, session, rows, image_topic, fix_topic, max_fix_gap, spacing)
    encoder = HandCraftedEncoder(replace(architecture, dimension=0)).requires_grad_(False)
    local = sample_features(encoder, images, seed)
    logger.info("learning %d centres from %d local features", centres, len(local))
    if aggregate == "vlad":
        encoder.aggregate = learn_vlad(local, centres, seed)
    else:
        encoder.aggregate = learn_fisher(local, centres, REDUCED, seed).requires_grad_(False)
    if dimension:
        encoder = _whitened(encoder, images, whiten, seed)
    sources = [data] if isinstance(data, Path) else data
    names = ", ".join("/".join(source.resolve().parts[-2:]) for source in sources)
    said = f"{features}, {aggregate} of {centres}; {len(images)} images of {names}"
    save_hand_crafted(encoder, out, said)
    print(f"{out}: {out.stat().st_size / 2**20:.1f} MiB, {encoder.dimension} dimensions; {said}")


def sample_features(encoder: HandCraftedEncoder, images: GeotaggedImages, seed: int) -> NDArray[np.float32]:
    """Return (N, 128) local features, about as many of each image; those that do not decode are left out."""
    engine = HandCraftedEngine(encoder, torch.device("cpu"))
    chosen = sample_rows(len(images), IMAGES, np.random.default_rng(seed)).tolist()
    share = IN_ALL // len(chosen)

    def some(row: int) -> NDArray[np.float32] | Exception:
        try:
            local = encoder.local(engine.fit(images.read(row))).numpy()
        except (InputError, OSError) as error:
            return error
        return local[np.random.default_rng([seed, row]).permutation(len(local))[:share]]

    threads = reading_threads()
    gathered = [np.empty((0, DEPTH), np.float32)]
    with closing(ahead(some, chosen, threads, 2 * threads)) as results:
        for row, found in tqdm(results, "local features", len(chosen), unit="image"):
            if isinstance(found, Exception):
                logger.warning("left out: %s: %s", images.rows["image"][row], found)
            else:
                gathered.append(found)
    return np.concatenate(gathered)


def _whitened(
    encoder: HandCraftedEncoder, images: GeotaggedImages, whiten: Whiten, seed: int
) -> HandCraftedEncoder:
    chosen = images.select(sample_rows(len(images), WHITENING_IMAGES, np.random.default_rng(seed)))
    engine = HandCraftedEngine(encoder, torch.device("cpu"))
    with closing(encode_table(engine, chosen, what="whitening")) as batches:
        descriptors = np.concatenate([batch.descriptors for batch in batches])
    if len(descriptors) < 2:
        raise InputError(f"{len(descriptors)} images to whiten with: give more images, or --dimension 0")
    whitening = fit_whitening(descriptors, whiten)
    whitened = HandCraftedEncoder(replace(encoder.architecture, dimension=len(whitening.bias)))
    whitened.aggregate, whitened.whitening = encoder.aggregate, whitening.requires_grad_(False)
    return whitened


if __name__ == "__main__":
    run(learn_hand_crafted)
