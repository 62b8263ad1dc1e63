"""A localiser in use, whose map, settings and device change between two frames."""

from __future__ import annotations

import gc
from pathlib import Path
from threading import Lock

import numpy as np
import torch

from vpr_ros.engines.gpu_jpeg import GpuImage, JpegDecoder
from vpr_ros.errors import InputError, first_line
from vpr_ros.images.camera_image import CameraImage
from vpr_ros.localiser import Answer, Localiser, Settings, on_map
from vpr_ros.odometry import Pose
from vpr_ros.open_engine import AnyEngine, open_engine
from vpr_ros.place_map import PlaceMap
from vpr_ros.prior import Prior


class LiveLocaliser:
    """Answers on one thread, while another may load a map.

    Attributes:
        localiser: the one in use.
        fell_back: why images are encoded on the CPU though a GPU was chosen; else empty.
    """

    def __init__(
        self,
        weights: Path,
        map: Path,  # noqa: A002
        device: str,
        settings: Settings,
        cpu_instead: bool,
        bfloat16: bool = False,
    ) -> None:
        """Open weights and map, and encode a first image.

        Args:
            weights: file of the encoder.
            map: folder.
            device: of the engine.
            settings: to begin with.
            cpu_instead: whether to go on with the CPU where the GPU's memory is used up.
            bfloat16: whether to encode in bfloat16 on a CPU that is faster at it.
        """
        self.fell_back = ""
        self._weights = weights
        self._cpu_instead, self._bfloat16 = cpu_instead, bfloat16
        self._lock = Lock()
        self._closed = False
        engine = open_engine(weights, device, bfloat16)
        self.localiser = on_map(engine, map, settings)
        # the first image of all takes many times as long: let it not be one of the robot's
        black = np.zeros((engine.input_size, engine.input_size, 3), np.uint8)
        self.localise(CameraImage(black), 0, None, settings)
        self.localiser.reset()

    def decoder(self) -> JpegDecoder | None:
        """Return what decodes JPEG on the engine's GPU, or None; the first call takes seconds."""
        return self.localiser.engine.jpeg

    def localise(
        self,
        image: CameraImage | GpuImage,
        stamp: int,
        pose: Pose | None,
        settings: Settings,
        prior: Prior | None = None,
    ) -> tuple[Answer, Localiser]:
        """Answer for one image as `Localiser.localise` does; return also who answered."""
        with self._lock:
            if settings != self.localiser.settings:
                self._renew(settings=settings)
            try:
                return self.localiser.localise(image, stamp, pose, prior), self.localiser
            except Exception as error:
                if not (self._cpu_instead and _gpu_memory_used_up(error)):
                    raise
                reason = first_line(error)
            # here, where the error does not keep alive what is on the GPU
            self._fall_back(reason)
            return self.localiser.localise(image, stamp, pose, prior), self.localiser

    def load(self, folder: Path) -> PlaceMap:
        """Open another map, or the same once more, beside the one in use; then switch to it.

        Returns the new map; raises InputError or OSError where it is refused, and the one in use stays.
        """
        before = self.localiser
        engine, settings = before.engine, before.settings
        new = on_map(engine, folder, settings)
        # the first search of a map takes many times as long: let it not be that of a frame
        new.answer(np.full(engine.dimension, engine.dimension**-0.5, np.float32), 0)
        new.reset()
        with self._lock:
            if self._closed:
                raise InputError(f"{folder}: not switched to: the node was cleaned up meanwhile")
            before, self.localiser = self.localiser, new
            if before.engine is not engine or before.settings != settings:  # changed meanwhile
                self._renew(before.engine, before.settings)
        return new.place_map

    def reset(self) -> None:
        """Forget the images before."""
        with self._lock:
            self.localiser.reset()

    def close(self) -> None:
        """Give back the GPU's memory; not to be used afterwards."""
        with self._lock:
            self._closed = True
            del self.localiser
        _empty_gpu_cache()

    def _renew(self, engine: AnyEngine | None = None, settings: Settings | None = None) -> None:
        """Begin anew with the same map."""
        old = self.localiser
        self.localiser = Localiser(
            engine or old.engine,
            old.place_map,
            old.calibration,
            settings or old.settings,
            vectors=old.vectors if engine in (None, old.engine) else None,
        )

    def _fall_back(self, reason: str) -> None:
        engine = open_engine(self._weights, "cpu", self._bfloat16)
        if engine.fingerprint != self.localiser.engine.fingerprint:
            raise InputError(f"{self._weights}: replaced since it was opened: configure the node again")
        self._renew(engine)
        self.fell_back = reason
        _empty_gpu_cache()


def _gpu_memory_used_up(error: Exception) -> bool:
    if isinstance(error, torch.cuda.OutOfMemoryError):
        return True
    # cuDNN, cuBLAS and the driver say it in words of their own
    words = ("CUDA error: out of memory", "CUDNN_STATUS_ALLOC_FAILED", "CUBLAS_STATUS_ALLOC_FAILED")
    return isinstance(error, RuntimeError) and any(each in str(error) for each in words)


def _empty_gpu_cache() -> None:
    gc.collect()
    torch.cuda.empty_cache()  # does nothing where no GPU was used
