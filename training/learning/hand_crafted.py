"""What came before networks, learnt from images: centres or Gaussians, then the whitening."""

from __future__ import annotations

import logging
from contextlib import closing
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from training.learning.codebook import learn_fisher, learn_vlad
from training.learning.initialise import WHITENING_IMAGES, Whiten, fit_whitening, sample_rows
from vpr_ros.encoders.hand_crafted import REDUCED, HandCrafted, HandCraftedEncoder
from vpr_ros.encoders.local_features import DEPTH
from vpr_ros.engines.batches import encode_table, reading_threads
from vpr_ros.engines.hand_crafted_engine import HandCraftedEngine
from vpr_ros.errors import InputError
from vpr_ros.geotagged import GeotaggedImages
from vpr_ros.threads.ahead import ahead

logger = logging.getLogger(__name__)

#: Local features that centres are learnt from, and images that they are taken of, at most.
IN_ALL, IMAGES = 200_000, 400


def learn_aggregate(architecture: HandCrafted, images: GeotaggedImages, seed: int) -> HandCraftedEncoder:
    """Return an encoder with centres or Gaussians learnt from images, without whitening."""
    encoder = HandCraftedEncoder(replace(architecture, dimension=0)).requires_grad_(False)
    local = sample_features(encoder, images, seed)
    logger.info("learning %d centres from %d local features", architecture.centres, len(local))
    if architecture.aggregate == "vlad":
        encoder.aggregate = learn_vlad(local, architecture.centres, seed)
    else:
        learnt = learn_fisher(local, architecture.centres, REDUCED, seed)
        encoder.aggregate = learnt.requires_grad_(False)
    return encoder


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


def whitened(
    encoder: HandCraftedEncoder, images: GeotaggedImages, whiten: Whiten, seed: int
) -> HandCraftedEncoder:
    """Return the encoder with a whitening fitted to images."""
    chosen = images.select(sample_rows(len(images), WHITENING_IMAGES, np.random.default_rng(seed)))
    engine = HandCraftedEngine(encoder, torch.device("cpu"))
    with closing(encode_table(engine, chosen, what="whitening")) as batches:
        descriptors = np.concatenate([batch.descriptors for batch in batches])
    if len(descriptors) < 2:
        raise InputError(f"{len(descriptors)} images to whiten with: give more images, or --dimension 0")
    whitening = fit_whitening(descriptors, whiten)
    result = HandCraftedEncoder(replace(encoder.architecture, dimension=len(whitening.bias)))
    result.aggregate, result.whitening = encoder.aggregate, whitening.requires_grad_(False)
    return result
