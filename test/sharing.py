"""What stands in for a network and for several processes: descriptors looked up, threads that add up."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import numpy as np
import torch

from vpr_ros.geodesy import Datum, to_geodetic
from vpr_ros.geotagged import make_rows

DATUM = Datum(52.0, 5.0)


def unit_descriptors(count, dimension=6, seed=0):
    """Return (count, dimension) descriptors of unit length, at random."""
    drawn = np.random.default_rng(seed).normal(size=(count, dimension))
    return torch.from_numpy(drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).float()


def looked_up(descriptors, asked=None, batch=5):
    """Return an encoder that finds its descriptors in a matrix, and notes in `asked` what it was asked for.

    It yields a few at a time and, as the real one does, those of another image size after the others.
    """

    def encode(rows):
        if asked is not None:
            asked.extend(rows.tolist())
        for start in range(0, len(rows), batch):
            positions = np.arange(start, min(start + batch, len(rows)))
            for part in (positions[1::2], positions[::2][::-1]):
                if len(part):
                    yield part, descriptors[torch.from_numpy(rows[part])]

    return encode


def in_processes(count, work):
    """Return the results of work(share, total) of so many processes; `total` sums what each brings."""
    barrier, brought = Barrier(count, timeout=20), [None] * count

    def process(rank):
        def total(tensor):
            brought[rank] = tensor
            barrier.wait()
            summed = torch.stack(brought).sum(0)
            barrier.wait()
            return summed

        try:
            return work((rank, count), total)
        except BaseException:
            barrier.abort()  # nobody waits for this one
            raise

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(process, range(count)))


def rows_at(metres, sessions=None, datum=DATUM):
    """Return rows of a table at (N, 2) metres east and north of a datum."""
    metres = np.asarray(metres, float).reshape(-1, 2)
    geodetic = to_geodetic(np.column_stack([metres, np.zeros(len(metres))]), datum)
    longitude = (geodetic[:, 1] + 180) % 360 - 180
    return make_rows(
        "here",
        latitude=geodetic[:, 0],
        longitude=longitude,
        session=[""] * len(metres) if sessions is None else sessions,
    )
