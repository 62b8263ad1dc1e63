"""How old an answer is when it arrives: the node between a camera and a listener, each a process, over DDS.

python -m vpr_ros.bench_node --device cuda --width 1920 --height 1080 --rate 30 --seconds 60
"""

from __future__ import annotations

import gc
import os
import tempfile
from collections.abc import Mapping
from json import dumps
from pathlib import Path
from time import perf_counter
from typing import Any

import cv2
import numpy as np
import torch
from sensor_msgs.msg import CompressedImage
from sensor_msgs.msg import Image as ImageMessage

from vpr_ros.benches.camera import Camera, echoing
from vpr_ros.benches.listener import Listener, listening
from vpr_ros.benches.street import street
from vpr_ros.benches.traffic import Stream
from vpr_ros.command import run
from vpr_ros.encoder import DEFAULT_WEIGHTS, load_encoder
from vpr_ros.engine import Engine, choose_device
from vpr_ros.errors import InputError
from vpr_ros.geotagged import Image
from vpr_ros.images.pixels import compress
from vpr_ros.maps.writer import InMemory, write_map
from vpr_ros.metrics import percentiles
from vpr_ros.node_process import node_process, private_domain
from vpr_ros.nodes.health import FATES
from vpr_ros.nodes.topics import NAME

NODE = f"/{NAME}"
#: Seconds of the echo; of the node it is --seconds.
ECHO_SECONDS = 10.0
#: Fast DDS loses large images by default.
PROFILE = Path(__file__).parents[1] / "config/fastdds_shared_memory.xml"


def bench_node(
    map: Path | None = None,  # noqa: A002  the option is called --map
    places: int = 10_000,
    weights: Path = DEFAULT_WEIGHTS,
    device: str = "auto",
    width: int = 640,
    height: int = 480,
    rate: float = 20.0,
    seconds: float = 60.0,
    compressed: bool = False,
    bfloat16: bool = True,
    reliable: bool = False,
    shared_memory: bool = True,
    json: Path | None = None,
) -> dict[str, Any]:
    """Send images to a node at a fixed rate; tell what became of each and how old the answers were.

    Beside it, in the same run: the age through an echo in the node's place, which is transport alone, there
    and back; and the bare forward pass of the encoder, in float32.

    Args:
        map: Folder of the map; without it one is made, which knows the images; all other places are random.
        places: Of the map that is made.
        weights: Weights file of the node.
        device: auto, cuda or cpu.
        width: Of the images, pixels.
        height: Of the images, pixels.
        rate: Images a second.
        seconds: That are measured.
        compressed: Send JPEG.
        bfloat16: On a CPU that is faster at it, encode in bfloat16.
        reliable: Instead of best effort.
        shared_memory: Give the camera the Fast DDS profile that large raw images need.
        json: Write the figures to this file.
    """
    if not (rate > 0 and seconds > 0 and width > 0 and height > 0 and places > 0):
        raise InputError("--rate, --seconds, --width, --height and --places: expected positive numbers")
    gc.freeze()  # as the node does: else a collection may come between an answer and when it is heard
    pictures = [_picture(seed, width, height) for seed in range(4)]
    figures: dict[str, Any] = {
        "device": str(choose_device(device)),
        "weights": str(weights),
        "image": f"{width}x{height} {'jpeg' if compressed else 'bgr8'}",
        "rate_hz": rate,
        "seconds": seconds,
        "cores": os.cpu_count(),
        "load_before": round(os.getloadavg()[0], 2),
        "forward_ms": _forward_ms(weights, device, pictures[0]),
    }
    with private_domain(), tempfile.TemporaryDirectory() as folder, listening() as listener:
        scratch = Path(folder)
        messages = [_message(picture, compressed) for picture in pictures]
        topic, profile = "/image/compressed" if compressed else "/image", PROFILE if shared_memory else None
        camera = Camera(Stream(topic, compressed, reliable, rate, profile), messages)
        figures |= _transport(camera, listener)
        if map is None:
            engine = Engine(load_encoder(weights), choose_device(device))
            map = _street_map(scratch / "map", engine, pictures, places)  # noqa: A001
        parameters: dict[str, object] = {
            "map": map.resolve(),
            "weights": weights.resolve(),
            "device": device,
            "compressed": compressed,
            "bfloat16": bfloat16,
            "reliability": "reliable" if reliable else "best_effort",
        }
        with node_process(parameters, {}, scratch / "node.log") as process:
            listener.listen(f"{NODE}/hypotheses")
            started = perf_counter()
            before, sent = camera.send(seconds, listener, process.check)
            counts, stages = listener.diagnostics(len(before) + len(sent), process.check)
            figures["node_and_warm_up_s"] = round(perf_counter() - started - seconds, 1)
            ages = listener.ages(sent)
    figures |= {
        "sent": len(before) + len(sent),
        **counts,
        "balanced": counts["received"] == sum(counts[fate] for fate in FATES),
        "measured": len(sent),
        "heard": listener.heard(sent),
        "answers_hz": round(listener.heard(sent) / seconds, 2),
        "age_ms": ages,
        "stages_ms": stages,
        "load_after": round(os.getloadavg()[0], 2),
    }
    figures |= _compared(figures)
    print(_table(figures))
    if json is not None:
        json.write_text(dumps(figures, indent=1))
    return figures


def _transport(camera: Camera, listener: Listener) -> dict[str, Any]:
    """Return how old the answers of an echo are, which takes the images as messages, then as bytes."""
    figures: dict[str, Any] = {}
    for name, raw in (("echo", False), ("raw_echo", True)):
        with echoing(camera.stream, f"/{name}", raw):
            listener.listen(f"/{name}")
            _, sent = camera.send(ECHO_SECONDS, listener, lambda: None)
        figures[f"{name}_age_ms"] = listener.ages(sent)
        figures[f"{name}_lost"] = len(sent) - listener.heard(sent)
    return figures


def _compared(figures: Mapping[str, Any]) -> dict[str, float | None]:
    """Return how the ages compare with transport and encoding alone, of which decoding a JPEG is part."""

    def of(*names: str) -> Any:
        found: Any = figures
        for name in names:
            found = found.get(name) if found is not None else None
        return found

    compared: dict[str, float | None] = {}
    encode, search = (of("stages_ms", stage, "p50") for stage in ("encode", "search"))
    for name in ("echo", "raw_echo"):
        for p in ("p50", "p99"):
            stages = (of("stages_ms", "convert", p), of("stages_ms", "encode", p))
            age, transport = of("age_ms", p), of(f"{name}_age_ms", p)
            if None not in (age, transport, *stages):
                compared[f"age_{p}_by_{name}_and_encode"] = round(age / (transport + sum(stages)), 3)
    total, age, transport = of("stages_ms", "total", "p50"), of("age_ms", "p50"), of("raw_echo_age_ms", "p50")
    if None not in (total, encode, search):
        compared["added_inside_ms"] = round(total - encode - search, 2)
    if None not in (age, transport, encode, search):
        compared["added_end_to_end_ms"] = round(age - transport - encode - search, 2)
    return compared


def _table(figures: Mapping[str, Any]) -> str:
    rows = []
    for name, value in figures.items():
        if name == "stages_ms":
            rows += [(f"  {stage} ms", _percentiles(taken)) for stage, taken in value.items()]
        else:
            rows.append((name, _percentiles(value) if isinstance(value, dict) else str(value)))
    return "\n".join(f"{name:32} {value}" for name, value in rows)


def _percentiles(taken: Mapping[str, float | None]) -> str:
    return "  ".join(f"{name} {'-' if value is None else f'{value:.2f}'}" for name, value in taken.items())


def _picture(seed: int, width: int, height: int) -> Image:
    """Return an image with large shapes and fine grain, which JPEG makes about as large as a photograph."""
    rng = np.random.default_rng(seed)
    coarse = cv2.resize(rng.integers(0, 256, (9, 16, 3), np.uint8), (width, height)).astype(np.int16)
    return np.clip(coarse + rng.integers(-6, 7, (height, width, 1)), 0, 255).astype(np.uint8)


def _message(picture: Image, compressed: bool) -> CompressedImage | ImageMessage:
    if compressed:
        return CompressedImage(format="jpeg", data=compress(picture))
    height, width, _ = picture.shape
    return ImageMessage(
        height=height, width=width, encoding="bgr8", step=3 * width, data=picture[..., ::-1].tobytes()
    )


@torch.inference_mode()
def _forward_ms(weights: Path, device: str, picture: Image) -> dict[str, float | None]:
    """Return what the encoder takes, as PyTorch runs it, from a float32 image of its size on the device."""
    where = choose_device(device)
    encoder = load_encoder(weights).eval().to(where)
    batch = torch.from_numpy(picture).permute(2, 0, 1)[None].to(where)
    batch = encoder.fit_size(batch).float() / 255
    taken = []
    for _ in range(40):
        start = perf_counter()
        encoder(batch).cpu()
        taken.append(1e3 * (perf_counter() - start))
    return percentiles(taken[10:])


def _street_map(folder: Path, engine: Engine, pictures: list[Image], places: int) -> Path:
    source = InMemory(engine.dimension)
    source.add(*street(engine, pictures, places))
    write_map(folder, source, engine.fingerprint, geotag_std=1.0, index="flat", progress=False)
    return folder


def main() -> None:
    """Run the command."""
    run(bench_node)


if __name__ == "__main__":
    main()
