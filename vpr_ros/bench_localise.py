"""What each stage of an answer takes, beside the usual public way, in one run.

python -m vpr_ros.bench_localise --trunk vgg16 --dimension 4096 --height 1080 --width 1920 --places 100000
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from itertools import pairwise
from json import dumps
from pathlib import Path
from time import perf_counter

import faiss
import numpy as np
import torch
from torchvision.transforms import v2
from tqdm import tqdm

from vpr_ros.benches.random_encoder import random_encoder
from vpr_ros.benches.street import DATUM, street
from vpr_ros.command import run
from vpr_ros.encoder import Encoder, load_encoder
from vpr_ros.engine import Engine, choose_device
from vpr_ros.engines.image_graph import TRYING
from vpr_ros.geotagged import Image
from vpr_ros.images.camera_image import BGR, CameraImage
from vpr_ros.images.pixels import image_from_raw
from vpr_ros.localiser import Answer, Localiser, Settings
from vpr_ros.maps.manifest import Manifest, Spread
from vpr_ros.metrics import percentiles
from vpr_ros.place_map import PlaceMap

#: Different images that are answered in turn: one alone would stay in a processor's cache.
IMAGES = 16
WARM_UP = 5
SECOND = 10**9
#: Without ROS the rest can be timed all the same.
MESSAGES = find_spec("sensor_msgs") is not None
#: p50, p95 and p99 in milliseconds.
Percentiles = dict[str, float | None]


def bench_localise(
    weights: Path | None = None,
    trunk: str = "alexnet",
    dimension: int = 256,
    height: int = 480,
    width: int = 640,
    places: int = 10_000,
    images: int = 100,
    bfloat16: bool = True,
    usual: bool = True,
    device: str = "auto",
    json: Path | None = None,
) -> None:
    """Time an image from the camera's bytes to the messages that are published, stage by stage.

    Args:
        weights: Weights file; without it a NetVLAD of random weights, which takes as long.
        trunk: alexnet, vgg16, resnet18 or resnet50, of the random one.
        dimension: Of its descriptors, after whitening.
        height: Pixels of the camera's images.
        width: Pixels of the camera's images.
        places: Of a map that knows the images, all other places random.
        images: That are timed.
        bfloat16: On a CPU that is faster at it, encode in bfloat16, as the node does.
        usual: Time the usual way too: torchvision's transforms on the CPU, float32, flat FAISS on the CPU.
        device: auto, cuda or cpu.
        json: Write the figures to this file.
    """
    torch.manual_seed(0)
    encoder = load_encoder(weights) if weights is not None else random_encoder(trunk, dimension)
    where = choose_device(device)
    engine = Engine(encoder, where, bfloat16)
    cameras = [_noise(height, width, seed) for seed in range(IMAGES)]
    localiser = Localiser(engine, _random_map(places, engine, cameras), None, Settings())
    figures = {
        "ours": _time(lambda number: _ours(localiser, cameras[number % IMAGES], number), images),
        "ours, alone": _time(lambda number: _described(engine, cameras[number % IMAGES]), images),
    }
    if where.type == "cuda":
        figures["on the GPU"] = _gpu_stages(engine, CameraImage(cameras[0], BGR))
    if usual:
        index, module = localiser.place_map.index, encoder.to(where)
        figures["usual"] = _time(
            lambda number: _usual(module, index, cameras[number % IMAGES], where), images
        )
    name = torch.cuda.get_device_name() if where.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    architecture = encoder.architecture
    _print(
        figures,
        f"{architecture.trunk} {architecture.pooling} {engine.dimension}-d at {architecture.input_size} px, "
        f"{width}x{height}, {places} places, {name}",
    )
    if json is not None:
        json.write_text(dumps(figures, indent=1))


def _image(pixels: Image) -> CameraImage:
    height, width, channels = pixels.shape
    return image_from_raw(pixels.data, height, width, channels * width, "bgr8")


def _described(engine: Engine, pixels: Image) -> dict[str, float]:
    """Encode one image after another: what is between them in `_ours` leaves caches and cores cold."""
    start = perf_counter()
    engine.encode_one(_image(pixels))
    return {"image to descriptor": perf_counter() - start}


def _ours(localiser: Localiser, pixels: Image, number: int) -> dict[str, float]:
    start = perf_counter()
    image = _image(pixels)
    converted = perf_counter()
    answer = localiser.localise(image, number * SECOND // 30)
    answered = perf_counter()
    stages = {"message to array": converted - start, **answer.seconds}
    if MESSAGES:
        _to_messages(answer)
        stages["to messages"] = perf_counter() - answered
    done = perf_counter()
    described = stages["message to array"] + stages["encode"]
    return {**stages, "image to descriptor": described, "whole": done - start}


def _to_messages(answer: Answer) -> None:
    from std_msgs.msg import Header  # noqa: PLC0415

    from vpr_ros import messages  # noqa: PLC0415

    header = Header(frame_id="map")
    messages.cloud_from_hypotheses(answer.hypotheses, header)
    messages.cloud_from_hypotheses(answer.single, header)
    messages.poses_from_hypotheses(answer.hypotheses, header)
    messages.fix_from_hypothesis(answer.single.ranked[0], header, calibrated=True)
    messages.pose_from_hypothesis(answer.single.ranked[0], header)


def _usual(encoder: Encoder, index: faiss.Index, pixels: Image, device: torch.device) -> dict[str, float]:
    architecture = encoder.architecture
    start = perf_counter()
    image = v2.functional.to_image(pixels)
    resized = v2.functional.resize(image, [architecture.input_size], antialias=True)
    scaled = v2.functional.to_dtype(resized, torch.float32, scale=True)
    prepared = v2.functional.normalize(scaled, list(architecture.mean), list(architecture.std))[None]
    transformed = perf_counter()
    there = prepared.to(device)
    with torch.no_grad():
        pooled = encoder.pooling(encoder.trunk(there))
        whitened = encoder.whitening(pooled) if encoder.whitening is not None else pooled
    descriptor = whitened.cpu().numpy()
    encoded = perf_counter()
    index.search(descriptor, Settings.k)
    done = perf_counter()
    stages = {"preprocess": transformed - start, "encode": encoded - transformed, "search": done - encoded}
    return {**stages, "image to descriptor": encoded - start, "whole": done - start}


def _gpu_stages(engine: Engine, image: CameraImage) -> dict[str, Percentiles]:
    """Return what each part of the graph takes on the GPU, each as a graph of its own."""
    pinned = torch.from_numpy(image.pixels).pin_memory()
    there, encoder = pinned.to(engine.device), engine.encoder
    prepare = encoder.preparation((*image.pixels.shape, image.order), engine.input_size)  # type: ignore[arg-type]
    with torch.inference_mode():
        prepared = prepare(there)
        local = encoder.trunk(prepared).float()
        pooled = encoder.pooling(local)
        parts: dict[str, Callable[[], object]] = {
            "upload": lambda: there.copy_(pinned, non_blocking=True),
            "prepare": lambda: prepare(there),
            "trunk": lambda: encoder.trunk(prepared),
            "pooling": lambda: encoder.pooling(local),
        }
        if encoder.whitening is not None:
            whitening = encoder.whitening
            parts["whitening"] = lambda: whitening(pooled)
        return {name: percentiles(_gpu_milliseconds(part)) for name, part in parts.items()}


def _gpu_milliseconds(part: Callable[[], object], repeats: int = 100) -> list[float]:
    stream, graph = torch.cuda.Stream(), torch.cuda.CUDAGraph()  # type: ignore[no-untyped-call]
    with torch.cuda.stream(stream), torch.backends.cudnn.flags(**TRYING):
        for _ in range(WARM_UP):
            part()
        with torch.cuda.graph(graph, stream=stream):
            part()
        edges = [torch.cuda.Event(enable_timing=True) for _ in range(repeats + 1)]  # type: ignore[no-untyped-call]
        edges[0].record()
        for edge in edges[1:]:
            graph.replay()
            edge.record()
        stream.synchronize()
    return [before.elapsed_time(after) for before, after in pairwise(edges)]


def _time(answer: Callable[[int], dict[str, float]], images: int) -> dict[str, Percentiles]:
    """Return milliseconds of each stage."""
    for number in range(WARM_UP):
        answer(number)
    taken = [answer(WARM_UP + number) for number in tqdm(range(images), unit="image", leave=False)]
    return {stage: percentiles([1e3 * each[stage] for each in taken]) for stage in taken[0]}


def _random_map(places: int, engine: Engine, images: list[Image]) -> PlaceMap:
    descriptors, rows = street(engine, [image[..., ::-1] for image in images], places)
    index = faiss.IndexFlatIP(engine.dimension)
    index.add(descriptors)
    spread = Spread(0.0, engine.dimension**-0.5)
    manifest = Manifest(engine.fingerprint, engine.dimension, places, DATUM, 2.0, spread, 1.0)
    return PlaceMap(Path("bench"), manifest, index, rows)


def _noise(height: int, width: int, seed: int) -> Image:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def _print(figures: dict[str, dict[str, Percentiles]], title: str) -> None:
    print(f"{title}; milliseconds, p50 / p95 / p99")
    for way, stages in figures.items():
        for stage, taken in stages.items():
            print(f"{way:11} {stage:20} " + " / ".join(f"{value:8.3f}" for value in taken.values()))
    if "usual" in figures:
        for stage in ("image to descriptor", "search", "whole"):
            ratio = (figures["usual"][stage]["p50"] or 0) / (figures["ours"][stage]["p50"] or 1)
            print(f"{stage}: {ratio:.1f} times as fast as the usual way")


if __name__ == "__main__":
    run(bench_localise)
