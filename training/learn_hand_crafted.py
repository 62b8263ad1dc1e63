"""Learn what came before networks: `python training/learn_hand_crafted.py --data DRIVE --out FILE`.

Local features, VLAD or Fisher vector and PCA-whitening, as weights that every command takes.
"""

from __future__ import annotations

from pathlib import Path

from training.learning.hand_crafted import learn_aggregate, whitened
from training.learning.initialise import Whiten
from vpr_ros.command import run
from vpr_ros.encoders.hand_crafted import HandCrafted, save_hand_crafted
from vpr_ros.encoders.local_features import DENSE_ROOTSIFT
from vpr_ros.errors import InputError
from vpr_ros.sources import names_of, read_sources

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
    encoder = learn_aggregate(architecture, images, seed)
    if dimension:
        encoder = whitened(encoder, images, whiten, seed)
    said = f"{features}, {aggregate} of {centres}; {len(images)} images of {names_of(data)}"
    save_hand_crafted(encoder, out, said)
    print(f"{out}: {out.stat().st_size / 2**20:.1f} MiB, {encoder.dimension} dimensions; {said}")


if __name__ == "__main__":
    run(learn_hand_crafted)
