"""Small hand-crafted encoders with tensors by chance."""

from pathlib import Path

import torch

from vpr_ros.encoders.hand_crafted import HandCrafted, HandCraftedEncoder, save_hand_crafted

SMALL = HandCrafted(centres=4, dimension=24, input_size=64, step=8)


def make(architecture: HandCrafted = SMALL, seed: int = 0) -> HandCraftedEncoder:
    """Return an encoder, the same one for a seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder = HandCraftedEncoder(architecture).eval().requires_grad_(False)
        for tensor in encoder.state_dict().values():
            tensor.copy_(torch.rand(tensor.shape) / 8 + 0.01)
    return encoder


def hand_crafted_weights(file: Path, architecture: HandCrafted = SMALL, seed: int = 0) -> Path:
    """Write one to a file; return the file."""
    save_hand_crafted(make(architecture, seed), file, "nothing: a test")
    return file
