"""What the network is given for rows of a table: pixels, or what its frozen part made of them."""

from __future__ import annotations

import logging
import shutil
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from training.learning.network import Network
from vpr_ros.encoder import check_size
from vpr_ros.errors import InputError
from vpr_ros.geotagged import GeotaggedImages, Image
from vpr_ros.threads.ahead import ahead

logger = logging.getLogger(__name__)

Numbers = NDArray[np.intp]
#: Images that pass the network together where nothing has to be remembered for a gradient.
BATCH = 32
GIB = 2**30


@dataclass(frozen=True)
class Cache:
    """What is kept instead of being computed again.

    Args:
        features: Keep what the frozen layers make of each image; training without augmentation runs from it.
        memory: GiB of images and features kept in memory, beside features that fit on a GPU; other features
            go to a file in the run's folder, other images are read again.
    """

    features: bool = True
    memory: float = 8.0


@dataclass(frozen=True, eq=False)
class Part:
    """Inputs of one shape.

    Attributes:
        positions: (B,) which of the rows asked for.
        inputs: (B, C, H, W), uint8 pixels or floating point features.
    """

    positions: Numbers
    inputs: Tensor


#: Rows to inputs, grouped by shape; may be called from several threads.
Load = Callable[[Numbers], list[Part]]


def _grouped(inputs: list[Tensor]) -> list[Part]:
    """Stack (H, W, C) inputs of equal shape, as channels-last (B, C, H, W)."""
    by_shape: dict[torch.Size, list[int]] = {}
    for position, each in enumerate(inputs):
        by_shape.setdefault(each.shape, []).append(position)
    parts = []
    for positions in by_shape.values():
        stacked = torch.stack([inputs[position] for position in positions])
        if torch.cuda.is_available() and not stacked.is_cuda:
            stacked = stacked.pin_memory()
        parts.append(Part(np.asarray(positions, np.intp), stacked.permute(0, 3, 1, 2)))
    return parts


def batches_of(count: int) -> list[Numbers]:
    """Return the numbers below `count` in batches."""
    return [np.arange(start, min(start + BATCH, count)) for start in range(0, count, BATCH)]


class Budget:
    """Bytes that several may take from.

    Attributes:
        left: of them.
    """

    def __init__(self, size: int) -> None:
        self.left = size
        self._lock = threading.Lock()

    def take(self, size: int) -> bool:
        """Take that many, if so many are left."""
        with self._lock:
            if self.left < size:
                return False
            self.left -= size
            return True


class Pixels:
    """Images at the encoder's input size, kept in memory as far as there is some.

    Args:
        images: the table.
        fit_size: (3, H, W) to the encoder's input size.
        memory: for images.

    Attributes:
        images: the table.
        shorter_side: pixels, of the image whose shorter side is the longest, once all of them have been read.
    """

    def __init__(self, images: GeotaggedImages, fit_size: Callable[[Tensor], Tensor], memory: Budget) -> None:
        self.images = images
        self._fit_size = fit_size
        self._memory = memory
        self._kept: dict[int, Tensor] = {}
        self.shorter_side = 0

    def __call__(self, rows: Numbers) -> list[Part]:
        return _grouped([self._image(row) for row in rows.tolist()])

    def _image(self, row: int) -> Tensor:
        kept = self._kept.get(row)
        return self._fit(row, self.images.read(row)) if kept is None else kept

    def _fit(self, row: int, read: Image) -> Tensor:
        check_size(*read.shape[:2])
        pixels = torch.from_numpy(np.ascontiguousarray(read)).permute(2, 0, 1)
        image = self._fit_size(pixels).permute(1, 2, 0).contiguous()
        if self._memory.take(image.nbytes):
            self._kept[row] = image
        return image

    def drop_unreadable(self, threads: int, quiet: bool) -> None:
        """Read every image once, and leave those out that do not decode, with a warning each.

        Found out now, one bad file does not end a run in its third hour.
        """
        good = []
        results = ahead(self._side, range(len(self.images)), threads, 4 * threads)
        for row, side in tqdm(
            results, "reading images", len(self.images), leave=False, unit="image", disable=quiet
        ):
            if isinstance(side, int):
                good.append(row)
                self.shorter_side = max(self.shorter_side, side)
            else:
                logger.warning("left out: %s: %s", self.images.rows["image"][row], side)
        if not good:
            raise InputError("none of the images can be read: see the warnings above")
        if len(good) < len(self.images):
            self.images = self.images.select(good)
            self._kept = {new: self._kept[old] for new, old in enumerate(good) if old in self._kept}

    def _side(self, row: int) -> int | Exception:
        """Read an image; return the pixels of its shorter side, or why it cannot be read."""
        try:
            read = self.images.read(row)
            self._fit(row, read)
        except (InputError, OSError) as error:
            return error
        return min(read.shape[:2])


class Features:
    """What the frozen part makes of each image: on the GPU if all of it fits, else in memory, then in a file.

    Args:
        pixels: of the images.
        network: whose frozen part it is.
        memory: for features.
        file: for what memory does not take; removed by `close`.
        threads: that read images.
        quiet: show no progress.
    """

    #: Share of a GPU's free memory that is taken, where all of it fits.
    GPU_SHARE = 0.5

    def __init__(
        self, pixels: Pixels, network: Network, memory: Budget, file: Path, threads: int, quiet: bool
    ) -> None:
        self._file = file
        self._stored: list[Tensor | tuple[int, torch.Size, torch.dtype]] = []
        self._memory = memory
        self._on_gpu = False
        self._offset = 0
        try:
            self._fill(pixels, network, threads, quiet)
        except BaseException:  # an interrupt too
            self.close()
            raise

    def _fill(self, pixels: Pixels, network: Network, threads: int, quiet: bool) -> None:
        count = len(pixels.images)
        with tqdm(total=count, desc="frozen layers", unit="image", leave=False, disable=quiet) as progress:
            for rows, parts in ahead(pixels, batches_of(count), threads, 2 * threads):
                ordered: dict[int, Tensor] = {}
                for part in parts:
                    features = network.features(part.inputs.to(network.device, non_blocking=True))
                    ordered |= dict(zip(part.positions.tolist(), features.permute(0, 2, 3, 1), strict=True))
                if not self._stored:
                    self._place(ordered[0].nbytes * count, network.device)
                for position in sorted(ordered):
                    self._store(ordered[position].contiguous())
                progress.update(len(rows))

    def _place(self, total: int, device: torch.device) -> None:
        """Choose the GPU if all of it fits there; else see that memory and disk have room."""
        if device.type == "cuda":
            free, _ = torch.cuda.mem_get_info(device)
            self._on_gpu = total <= self.GPU_SHARE * free
        needed = total - self._memory.left
        if self._on_gpu or needed <= 0:
            return
        self._file.parent.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(self._file.parent).free
        if needed > 0.95 * free:
            raise InputError(
                f"{self._file.parent}: {needed / GIB:.0f} GiB for the frozen layers' output, "
                f"{free / GIB:.0f} GiB are free: free some, or train from the images with --cache.features "
                "false"
            )

    def _store(self, features: Tensor) -> None:
        if self._on_gpu:
            self._stored.append(features)
        elif self._memory.take(features.nbytes):
            self._stored.append(features.cpu())
        else:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            with self._file.open("ab" if self._offset else "wb") as file:
                file.write(features.cpu().numpy().tobytes())
            self._stored.append((self._offset, features.shape, features.dtype))
            self._offset += features.nbytes

    def __call__(self, rows: Numbers) -> list[Part]:
        return _grouped([self._load(row) for row in rows.tolist()])

    def _load(self, row: int) -> Tensor:
        stored = self._stored[row]
        if isinstance(stored, Tensor):
            return stored
        offset, shape, dtype = stored
        kind = np.float16 if dtype == torch.float16 else np.float32
        values = np.fromfile(self._file, kind, shape.numel(), offset=offset)
        return torch.from_numpy(values).view(shape)

    def close(self) -> None:
        """Remove the file, and its folder with the last one."""
        self._file.unlink(missing_ok=True)
        if self._file.parent.is_dir() and not any(self._file.parent.iterdir()):
            self._file.parent.rmdir()
