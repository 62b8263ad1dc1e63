"""Rows of a table to descriptors: with a network, once for many, or with a layer after it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from training.learning.inputs import Load, batches_of
from training.learning.network import Network
from training.learning.similarity import Encode, Numbers
from vpr_ros.threads.ahead import ahead


def encode_rows(
    network: Network,
    load: Load,
    threads: int,
    what: str,
    quiet: bool = False,
    check: Callable[[], None] = lambda: None,
) -> Encode:
    """Return an encoder of rows: it yields positions in what was asked for, and (n, D) descriptors.

    Args:
        network: with its weights at the time of encoding.
        load: what it is given.
        threads: that load ahead.
        what: is being done, for the progress bar.
        quiet: show none.
        check: called before every batch; may raise.
    """

    def encode(rows: Numbers) -> Iterator[tuple[Numbers, Tensor]]:
        batches = ahead(lambda positions: load(rows[positions]), batches_of(len(rows)), threads, 2 * threads)
        with tqdm(
            total=len(rows), desc=what, unit="image", leave=False, disable=quiet or not len(rows)
        ) as progress:
            for positions, parts in batches:
                check()
                for part in parts:
                    with torch.no_grad():
                        yield positions[part.positions], network(network.accept(part.inputs))
                progress.update(len(positions))

    return encode


def encode_once(encode: Encode) -> Encode:
    """Return an encoder that keeps every descriptor: for a validation part that many look at."""
    kept: dict[int, Tensor] = {}

    def look_up(rows: Numbers) -> Iterator[tuple[Numbers, Tensor]]:
        new = np.array([row for row in rows.tolist() if row not in kept], np.intp)
        for positions, descriptors in encode(new):
            kept.update(zip(new[positions].tolist(), descriptors, strict=True))
        if len(rows):
            yield np.arange(len(rows)), torch.stack([kept[row] for row in rows.tolist()])

    return look_up


def followed_by(encode: Encode, layer: nn.Module | None, device: torch.device) -> Encode:
    """Return the encoder with a layer after it, if there is one."""
    if layer is None:
        return encode
    following = layer.to(device)

    def encode_further(rows: Numbers) -> Iterator[tuple[Numbers, Tensor]]:
        for positions, descriptors in encode(rows):
            with torch.no_grad():
                yield positions, following(descriptors)

    return encode_further
