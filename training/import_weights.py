"""Use a published NetVLAD: `python training/import_weights.py CHECKPOINT --out weights.safetensors`."""

from __future__ import annotations

from pathlib import Path

from training.foreign.checkpoint import read_checkpoint
from training.foreign.mat import is_mat, read_mat
from training.foreign.network import to_encoder
from vpr_ros.command import run
from vpr_ros.encoder import save_encoder
from vpr_ros.errors import InputError
from vpr_ros.files.checksum import sum_of


def import_weights(file: Path, out: Path, input_size: int = 480) -> None:
    """Turn a published NetVLAD into a weights file that maps, the node and training take.

    It reads VGG-16 and AlexNet checkpoints of pytorch-NetVlad, Patch-NetVLAD, OpenIBL and
    deep-visual-geo-localization-benchmark, and hloc's .mat files.

    Args:
        file: The checkpoint; nothing in it is executed.
        out: The weights file, NAME.safetensors.
        input_size: Pixels of the shorter side that images are resized to; all of them were trained at 480.
    """
    if not file.is_file():
        raise InputError(f"{file}: no such file: expected a checkpoint")
    if out.suffix != ".safetensors":
        raise InputError(f"--out {out}: expected a name that ends in .safetensors")
    if not 64 <= input_size <= 4096:
        raise InputError(f"--input-size {input_size}: expected 64 to 4096 pixels")
    network = read_mat(file) if is_mat(file) else read_checkpoint(file)
    encoder = to_encoder(network, file, input_size)
    made = encoder.architecture
    whitened = "whitened" if made.dimension else "not whitened"
    said = f"{network.project}'s NetVLAD on {made.trunk}, K {made.clusters}, {whitened}"
    source = f"imported from {file.name}, sha256 {sum_of(file)}; run there on images {network.images}"
    save_encoder(encoder, out, f"{said}; {source}")
    print(
        f"{out}: {said}, {encoder.dimension} dimensions; images are resized to a shorter side of {input_size}"
    )


if __name__ == "__main__":
    run(import_weights, positional=["file"])
