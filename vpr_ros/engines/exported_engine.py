"""An exported model on one device, by onnxruntime: images in, descriptors out."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vpr_ros.encoder import check_size, fit_pixels, fit_shorter_side, resize
from vpr_ros.engine import Meanwhile, alike, choose_device, nothing
from vpr_ros.engines.exported_model import ExportedModel, description_of
from vpr_ros.engines.gpu_jpeg import GpuImage
from vpr_ros.errors import InputError, first_line
from vpr_ros.geotagged import Image
from vpr_ros.images.camera_image import CameraImage

logger = logging.getLogger(__name__)

#: What onnxruntime computes with, the fastest first, by its names and ours.
PROVIDERS = {
    "TensorrtExecutionProvider": "TensorRT",
    "CUDAExecutionProvider": "CUDA",
    "CPUExecutionProvider": "CPU",
}
TENSORRT, CUDA, CPU = PROVIDERS
#: What a model may take, by onnxruntime's name.
_TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16}
_FATAL_ONLY = 4  # what goes wrong comes as an error, too


class ExportedEngine:
    """Encodes images by an exported model as `Engine` does by an encoder.

    Args:
        model: what computes.
        device: "auto" (TensorRT where onnxruntime has it, else CUDA, else the CPU), "cuda", "cuda:1", "cpu".

    Attributes:
        fingerprint: of the model, which a map must share.
        dimension: P, the length of a descriptor.
        input_size: pixels of the shorter side that images are resized to.
        device: a GPU where it encodes on one that PyTorch, too, can use; else the CPU.
        runs_on: where it encodes, for people.
        jpeg: nothing decodes JPEG there.

    Raises:
        InputError: onnxruntime is not installed or refuses the model, the model is not what is said of it, or
            a GPU is asked for that is not there.
    """

    jpeg = None

    def __init__(self, model: ExportedModel, device: str) -> None:
        self._model, says = model, model.says
        self.fingerprint = model.fingerprint()
        self.dimension = says.dimension
        self.input_size = says.input_size if isinstance(says.input_size, int) else min(says.input_size)
        chosen = choose_device(device)
        self._session = _session(model.file, chosen, device == "auto")
        self._input, self._type, self._one_by_one = _input_of(self._session, model)
        self._output = self._session.get_outputs()[0].name
        used = self._session.get_providers()
        self._on_gpu = used[0] != CPU
        self.device = chosen if self._on_gpu else torch.device("cpu")
        self.runs_on = " and ".join(PROVIDERS[each] for each in used if each in PROVIDERS) + " by onnxruntime"
        self._mean, self._std = (torch.tensor(each).view(3, 1, 1) for each in (says.mean, says.std))
        self._try()
        logger.info("%s: encoding on %s", says.name or model.file.name, self.runs_on)

    def encode(self, images: Sequence[Image]) -> NDArray[np.float32]:
        """Return the (N, P) descriptors, of unit length, of N (H, W, 3) RGB images."""
        descriptors = np.empty((len(images), self.dimension), np.float32)
        for numbers in alike(images):
            batch = torch.from_numpy(np.stack([images[number] for number in numbers]))
            descriptors[numbers] = self.encode_planes(batch.permute(0, 3, 1, 2))
        return descriptors

    def encode_planes(
        self, planes: Tensor, meanwhile: Callable[[], object] = lambda: None
    ) -> NDArray[np.float32]:
        """Return the (N, P) descriptors of (N, 3, H, W) RGB bytes; call `meanwhile` once."""
        meanwhile()
        ordered = planes if self._model.says.channels == "rgb" else planes.flip(1)
        scaled = (self._fit_size(ordered).float() / 255 - self._mean) / self._std
        batch: NDArray[Any] = np.ascontiguousarray(scaled.numpy(), self._type)
        step = 1 if self._one_by_one else len(batch)
        parts = [self._run(batch[start : start + step]) for start in range(0, len(batch), step)]
        return np.concatenate(parts)

    def encode_one(
        self, image: CameraImage | GpuImage, meanwhile: Meanwhile = nothing
    ) -> NDArray[np.float32]:
        """Return the (P,) descriptor of one image of a camera; call `meanwhile` once."""
        meanwhile(None)
        return np.asarray(self.encode([image.rgb()])[0], np.float32)

    def fit(self, image: Image) -> Image:
        """Return an RGB image at the size that the model takes; raises InputError for one that cannot be."""
        return fit_pixels(image, self._fit_size)

    def _fit_size(self, planes: Tensor) -> Tensor:
        size = self._model.says.input_size
        if isinstance(size, int):
            return fit_shorter_side(planes, size)
        check_size(*planes.shape[-2:])
        return planes if planes.shape[-2:] == size else resize(planes, list(size))

    def _run(self, batch: NDArray[Any]) -> NDArray[np.float32]:
        """Return the (N, P) descriptors of what the model takes."""
        file = self._model.file
        try:
            given = np.asarray(self._session.run([self._output], {self._input: batch})[0])
        except Exception as error:  # onnxruntime's errors have nothing else in common
            said = f"{file}: onnxruntime: {first_line(error)}"
            if self._on_gpu and "Failed to allocate memory" in said:
                raise torch.cuda.OutOfMemoryError(said) from error
            raise RuntimeError(said) from error
        if given.shape != (len(batch), self.dimension):
            raise InputError(
                f"{file}: gives {given.shape}, expected {(len(batch), self.dimension)}: "
                f"correct dimension in {description_of(file).name}, or export descriptors as the first output"
            )
        descriptors = given.astype(np.float32)
        norms = np.linalg.norm(descriptors, axis=1, keepdims=True)
        if not np.isfinite(norms).all():
            raise InputError(f"{file}: gives values that are not finite: export it in single precision")
        return np.asarray(descriptors / np.maximum(norms, np.finfo(np.float32).tiny))

    def _try(self) -> None:
        """Encode a grey image, so that what cannot be is told before the work."""
        size = self._model.says.input_size
        # of a camera's shape: some models take squares alone
        shape = (size, size * 4 // 3) if isinstance(size, int) else size
        try:
            self.encode([np.full((*shape, 3), 128, np.uint8)])
        except torch.cuda.OutOfMemoryError:
            raise
        except RuntimeError as error:
            raise InputError(
                f"{first_line(error)}: it fails on {shape[1]}x{shape[0]}: correct input_size in "
                f"{description_of(self._model.file).name}"
            ) from error


def _session(file: Path, device: torch.device, any_gpu: bool) -> Any:
    """Open the file with the fastest providers that there are on that device, or on any GPU that there is."""
    onnxruntime = _onnxruntime(file)
    there = onnxruntime.get_available_providers()
    gpu = any_gpu or device.type == "cuda"
    wanted = [each for each in PROVIDERS if each in there and (gpu or each == CPU)]
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _FATAL_ONLY
    options.intra_op_num_threads = torch.get_num_threads()
    try:
        session = _open(onnxruntime.InferenceSession, file, options, wanted, device.index or 0)
    except Exception as error:  # onnxruntime's errors have nothing else in common
        raise InputError(
            f"{file}: onnxruntime {onnxruntime.__version__} refuses it ({first_line(error)}): export it again"
        ) from error
    if device.type == "cuda" and session.get_providers()[0] == CPU:
        cure = (
            f"onnxruntime {onnxruntime.__version__} cannot use the GPU: install onnxruntime-gpu and its CUDA"
        )
        if not any_gpu:
            raise InputError(f"device '{device}': {cure}, or use 'cpu'")
        logger.warning("%s: %s", file, cure)
    return session


def _onnxruntime(file: Path) -> Any:
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # from 1.31 on it calls home, also on Linux
    try:
        import onnxruntime  # noqa: PLC0415  who has no exported model needs none
    except ImportError as error:
        raise InputError(
            f"{file}: onnxruntime is not installed: pip install onnxruntime "
            "(onnxruntime-gpu for CUDA and TensorRT)"
        ) from error
    onnxruntime.set_default_logger_severity(_FATAL_ONLY)
    return onnxruntime


def _open(session: Any, file: Path, options: Any, wanted: list[str], gpu: int) -> Any:
    """Open the file with these providers, without those of them whose libraries are not installed."""
    try:
        providers = [(each, _options(each, gpu)) for each in wanted]
        # its own way to fall back prints pages, and hides what fails later
        return session(str(file), options, providers=providers, enable_fallback=0)
    except Exception as error:
        if wanted == [CPU]:
            raise
        logger.info("%s: no %s: %s", file, PROVIDERS[wanted[0]], first_line(error))
        return _open(session, file, options, wanted[1:], gpu)


def _options(provider: str, gpu: int) -> dict[str, Any]:
    if provider == CPU:
        return {}
    if provider == CUDA:
        # trying every kernel for every size of image takes seconds each
        return {"device_id": gpu, "cudnn_conv_algo_search": "HEURISTIC"}
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vpr_ros" / "tensorrt"
    cache.mkdir(mode=0o700, parents=True, exist_ok=True)  # it is code: nobody else's
    return {"device_id": gpu, "trt_engine_cache_enable": True, "trt_engine_cache_path": str(cache)}


def _input_of(session: Any, model: ExportedModel) -> tuple[str, type, bool]:
    """Return name and type of what the model takes, and whether one image at a time."""
    inputs = session.get_inputs()
    file, size = model.file, model.says.input_size
    shape = inputs[0].shape if len(inputs) == 1 else []
    if len(shape) != 4 or inputs[0].type not in _TYPES:
        said = ", ".join(f"{each.name} {each.type} {each.shape}" for each in inputs)
        raise InputError(f"{file}: takes {said}: expected one float32 or float16 batch of (B, 3, H, W)")
    fixed = [side if isinstance(side, int) else None for side in shape]
    if fixed[0] not in (None, 1) or fixed[1] not in (None, 3):
        raise InputError(f"{file}: takes {shape}: expected (B, 3, H, W) with any B, or one: export it again")
    sides = (None, None) if isinstance(size, int) else size
    if any(side not in (None, said) for side, said in zip(fixed[2:], sides, strict=True)):
        raise InputError(
            f"{file}: takes {shape}, {description_of(file).name} says input_size {size}: expected {fixed[2:]}"
        )
    return inputs[0].name, _TYPES[inputs[0].type], fixed[0] == 1
