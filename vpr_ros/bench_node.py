"""How old an answer is when it arrives: the node between a camera and a listener, each a process, over DDS.

python -m vpr_ros.bench_node --device cuda --width 1920 --height 1080 --rate 30 --seconds 60
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from json import dumps
from multiprocessing import get_context
from pathlib import Path
from threading import Thread
from time import monotonic, monotonic_ns, perf_counter, sleep, time_ns
from typing import Any

import cv2
import numpy as np
import rclpy
import torch
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.executors import SingleThreadedExecutor
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import CompressedImage, PointCloud2
from sensor_msgs.msg import Image as ImageMessage

from vpr_ros.benches.street import street
from vpr_ros.benches.traffic import Stream, echo, send
from vpr_ros.command import run
from vpr_ros.encoder import DEFAULT_WEIGHTS, load_encoder
from vpr_ros.engine import Engine, choose_device
from vpr_ros.errors import InputError
from vpr_ros.geotagged import Image
from vpr_ros.images.pixels import compress
from vpr_ros.maps.writer import InMemory, write_map
from vpr_ros.messages import stamp_to_ns
from vpr_ros.metrics import percentiles
from vpr_ros.node_process import node_process, private_domain
from vpr_ros.nodes.health import FATES

NODE = "/vpr_localiser"
#: Seconds that the node may take to start, and to answer a frame.
START_TIMEOUT, ANSWER_TIMEOUT = 180.0, 5.0
#: Answers that come before anything is measured.
WARM_UP = 30
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
        reliable: Instead of best effort.
        shared_memory: Give the camera the Fast DDS profile that large raw images need.
        json: Write the figures to this file.
    """
    if not (rate > 0 and seconds > 0 and width > 0 and height > 0 and places > 0):
        raise InputError("--rate, --seconds, --width, --height and --places: expected positive numbers")
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
    with private_domain(), tempfile.TemporaryDirectory() as folder, _listener() as listener:
        scratch = Path(folder)
        messages = [_message(picture, compressed) for picture in pictures]
        topic, profile = "/image/compressed" if compressed else "/image", PROFILE if shared_memory else None
        camera = _Camera(Stream(topic, compressed, reliable, rate, profile), messages)
        for name, raw in (("echo", False), ("raw_echo", True)):
            with _echo(camera.stream, f"/{name}", raw):
                listener.listen(f"/{name}")
                before, sent = camera.send(ECHO_SECONDS, listener, lambda: None)
                figures[f"{name}_age_ms"] = listener.ages(sent)
                figures[f"{name}_lost"] = len(sent) - listener.heard(sent)
        if map is None:
            engine = Engine(load_encoder(weights), choose_device(device))
            map = _street_map(scratch / "map", engine, pictures, places)  # noqa: A001
        parameters: dict[str, object] = {
            "map": map.resolve(),
            "weights": weights.resolve(),
            "device": device,
            "compressed": compressed,
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


def _compared(figures: Mapping[str, Any]) -> dict[str, float | None]:
    """Return how the ages compare with transport and encoding alone."""

    def of(*names: str) -> Any:
        found: Any = figures
        for name in names:
            found = found.get(name) if found is not None else None
        return found

    compared: dict[str, float | None] = {}
    encode, search = (of("stages_ms", stage, "p50") for stage in ("encode", "search"))
    for name in ("echo", "raw_echo"):
        for p in ("p50", "p99"):
            age, transport, encoding = of("age_ms", p), of(f"{name}_age_ms", p), of("stages_ms", "encode", p)
            if age is not None and transport is not None and encoding is not None:
                compared[f"age_{p}_by_{name}_and_encode"] = round(age / (transport + encoding), 3)
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


@contextmanager
def _echo(stream: Stream, answers: str, raw: bool) -> Iterator[None]:
    process = get_context("spawn").Process(target=echo, args=(stream, answers, raw), daemon=True)
    process.start()
    try:
        yield
    finally:
        process.terminate()
        process.join()


class _Listener:
    """Hears answers, and when; and what the node says of itself."""

    def __init__(self) -> None:
        #: Of stamps: a clock that nobody sets while it is measured.
        self.clock_offset = time_ns() - monotonic_ns()
        self._node = rclpy.create_node("bench_listener")
        self._arrived: dict[int, int] = {}
        self._status: dict[str, str] = {}
        self._subscription: Any = None
        self._node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self._node)
        self._thread = Thread(target=self._executor.spin, name="listen", daemon=True)
        self._thread.start()

    def listen(self, topic: str) -> None:
        """Forget what was heard and hear this topic."""
        if self._subscription is not None:
            self._node.destroy_subscription(self._subscription)
        self._arrived = {}
        self._subscription = self._node.create_subscription(PointCloud2, topic, self._on_answer, 1000)

    @property
    def count(self) -> int:
        """Answers so far."""
        return len(self._arrived)

    def heard(self, stamps: list[int]) -> int:
        """Return how many of the images of these stamps were answered."""
        return len(self._arrived.keys() & set(stamps))

    def ages(self, stamps: list[int]) -> dict[str, float | None]:
        """Return how old their answers were on arrival, ms."""
        arrived = self._arrived
        return percentiles([(arrived[stamp] - stamp) / 1e6 for stamp in stamps if stamp in arrived])

    def diagnostics(
        self, sent: int, check: Callable[[], None]
    ) -> tuple[dict[str, int], dict[str, dict[str, float]]]:
        """Wait until the node has counted all that it received; return frames by fate and its stages, ms."""
        deadline = monotonic() + ANSWER_TIMEOUT
        while not (counts := self._counts()) or (counts["received"] < sent and monotonic() < deadline):
            check()
            sleep(0.05)
        stages: dict[str, dict[str, float]] = {}
        for name, value in self._status.items():
            stage, _, rest = name.partition(" ")
            if rest in ("p50 ms", "p95 ms", "p99 ms"):
                stages.setdefault(stage, {})[rest[:3]] = float(value)
        return counts, stages

    def close(self) -> None:
        """Stop listening."""
        self._executor.shutdown()
        self._thread.join(timeout=5.0)
        self._node.destroy_node()

    def _counts(self) -> dict[str, int]:
        names = ("received", *FATES)
        return {
            name: int(self._status[f"frames {name}"]) for name in names if f"frames {name}" in self._status
        }

    def _on_answer(self, message: PointCloud2) -> None:
        self._arrived.setdefault(stamp_to_ns(message.header.stamp), self.clock_offset + monotonic_ns())

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        self._status = {each.key: each.value for status in message.status for each in status.values}


@contextmanager
def _listener() -> Iterator[_Listener]:
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    try:
        listener = _Listener()
        try:
            yield listener
        finally:
            listener.close()
    finally:
        rclpy.try_shutdown()


class _Camera:
    """Sends its images from a process of its own."""

    def __init__(self, stream: Stream, messages: list[Any]) -> None:
        self.stream = stream
        self._messages = messages

    def send(
        self, seconds: float, listener: _Listener, check: Callable[[], None]
    ) -> tuple[list[int], list[int]]:
        """Send until answers come, then for so long; return the stamps of both."""
        context = get_context("spawn")
        answered, sent = context.Event(), context.Queue()
        arguments = (self.stream, self._messages, seconds, listener.clock_offset, answered, sent)
        process = context.Process(target=send, args=arguments, daemon=True)
        with ExitStack() as leaving:
            process.start()
            leaving.callback(process.join)
            leaving.callback(answered.clear)
            deadline = monotonic() + START_TIMEOUT
            while listener.count < WARM_UP:
                check()
                if monotonic() > deadline or not process.is_alive():
                    process.terminate()
                    raise InputError(f"{listener.count} answers within {START_TIMEOUT:g} s")
                sleep(0.01)
            answered.set()
            stamps = sent.get(), sent.get()
            deadline = monotonic() + ANSWER_TIMEOUT
            while monotonic() < deadline and not listener.heard(stamps[1][-1:]):
                check()
                sleep(0.01)
            return stamps


def main() -> None:
    """Run the command."""
    run(bench_node)


if __name__ == "__main__":
    main()
