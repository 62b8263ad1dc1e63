"""Replay a recorded drive and see how well it is localised: recall, metres, pictures, a report.

python -m vpr_ros.replay BAG --map MAP --out DIR
"""

from __future__ import annotations

import logging
import shlex
from dataclasses import asdict
from pathlib import Path
from typing import Any

from vpr_ros.calibration import read_calibration
from vpr_ros.command import as_options, run
from vpr_ros.compare_drives import compare_drives
from vpr_ros.drives.kidnapping import kidnapped
from vpr_ros.drives.recording import open_recording
from vpr_ros.encoder import DEFAULT_WEIGHTS
from vpr_ros.errors import InputError
from vpr_ros.localiser import Localiser, Settings
from vpr_ros.open_engine import open_engine
from vpr_ros.place_map import open_map
from vpr_ros.replays.answers import Judge
from vpr_ros.replays.direct import replay_direct
from vpr_ros.replays.drive_metrics import table
from vpr_ros.replays.provenance import provenance
from vpr_ros.replays.requirement import parse_requirements, unmet
from vpr_ros.report import write_result

logger = logging.getLogger(__name__)


def replay(
    data: Path | None = None,
    map: Path | None = None,  # noqa: A002  the option is called --map
    out: Path | None = None,
    weights: Path = DEFAULT_WEIGHTS,
    session: str | None = None,
    rows: str | None = None,
    image_topic: str | None = None,
    fix_topic: str | None = None,
    truth: Path | None = None,
    max_fix_gap: float = 2.0,
    odometry_topic: str | None = None,
    frame_rate: float = 5.0,
    k: int = Settings.k,
    precision: float = Settings.precision,
    filter: bool = Settings.filter,  # noqa: A002  the option is called --filter
    max_speed: float = Settings.max_speed,
    device: str = "auto",
    kidnap: float = 0.0,
    heat: bool = False,
    through_node: bool = False,
    record: bool = False,
    node: str | None = None,
    to_topic: str = "image",
    rate: float = 1.0,
    require: list[str] | None = None,
    compare: list[Path] | None = None,
) -> dict[str, Any]:
    """Replay a drive and compare where it is localised with where it was.

    Args:
        data: Bag, or folder of images, with geotags to compare with; named first, it needs no --data.
        map: Folder of the map.
        out: Folder for report.html, drive.png, metrics.json, answers.csv; single.csv of each image alone.
        weights: Weights file, or ONNX model, that the map was built with.
        session: Of a folder: only its images.
        rows: Of a folder: only these images, start:stop:step; ::2 is every other one.
        image_topic: Of a bag with more than one image topic.
        fix_topic: Of a bag with more than one NavSatFix topic.
        truth: Compare with this csv file (stamp in ns, latitude, longitude, maybe altitude, heading) instead.
        max_fix_gap: Seconds without a fix, or a line of --truth, above which images between are not judged.
        odometry_topic: Of a bag: give its Odometry to the localiser too.
        frame_rate: Images a second of a folder without rising time stamps.
        k: Places retrieved for each image.
        precision: Share of the accepted answers that shall be right, by the map's calibration.
        filter: Follow the robot over time; false: each image by itself.
        max_speed: Of the robot, metres a second; 0: what the map was calibrated with.
        device: auto, cuda or cpu.
        kidnap: Seconds after which the robot is carried off, again and again: the drive's stretches in
            another order. 0 for never.
        heat: Show in the report which parts of the worst frames made them look like the retrieved place.
        through_node: Send the drive over DDS to a node started for it, as a camera would send it.
        record: With --through-node: write what the node publishes to node_output.mcap, for Foxglove.
        node: Send it to this node, which runs already, such as /vpr_localiser.
        to_topic: Image topic that this node listens to; compressed images go to TOPIC/compressed.
        rate: Through a node: times as fast as it was recorded.
        require: Exit with 1 unless all of these hold, such as 'recall@1>=0.8'.
        compare: Instead of all that: two folders that replay wrote, for one report of both.
    """
    command = shlex.join(["python", "-m", "vpr_ros.replay", *as_options(replay, locals())])
    required = parse_requirements(require)
    if compare is not None:
        return _compare(compare, out)
    if data is None or map is None or out is None:
        raise InputError("expected BAG --map MAP --out DIR, or --compare A B --out DIR")
    if not (rate > 0 and frame_rate > 0):
        raise InputError(f"--rate {rate:g}, --frame-rate {frame_rate:g}: expected positive numbers")
    settings = Settings(k=k, precision=precision, filter=filter, max_speed=max_speed)
    parameters: dict[str, object] = {"device": device, **asdict(settings)}
    direct = not through_node and node is None
    bag = _node_output(out, record, through_node, node)
    if kidnap and not (direct and odometry_topic is None):
        raise InputError("--kidnap goes without a node and without odometry, which would know of the jumps")
    engine = open_engine(weights, device) if heat or direct else None
    place_map = open_map(map, engine.fingerprint if engine else None)
    calibration = read_calibration(place_map)
    recording = open_recording(
        data, session, rows, image_topic, fix_topic, frame_rate, truth, odometry_topic, max_fix_gap
    )
    if kidnap:
        recording = kidnapped(recording, kidnap)
    judge = Judge(recording.images.rows, place_map)
    out.mkdir(parents=True, exist_ok=True)
    if engine is not None and direct:
        localiser = Localiser(engine, place_map, calibration, settings)
        if doubts := localiser.doubts():
            logger.warning(doubts)
        replayed = replay_direct(recording, judge, localiser)
    else:
        # here, and nowhere else, ROS is needed
        from vpr_ros.replays import through_node as ros  # noqa: PLC0415

        if node is not None:
            replayed = ros.replay_through_running_node(
                recording, judge, calibration, node, to_topic, rate, map
            )
        else:
            files = {"map": map.resolve(), "weights": weights.resolve()}
            given = {**parameters, **files, "use_odometry": odometry_topic is not None}
            log = out / "node.log"
            replayed = ros.replay_through_own_node(recording, judge, calibration, given, log, rate, bag)
    facts = provenance(place_map, calibration, None if node else weights, {} if node else parameters)
    figures = write_result(
        *(out, data.name, replayed, recording.images, place_map, command, facts, required),
        engine if heat else None,
    )
    print(table(figures))
    missed = unmet(required, figures)
    for line in missed:
        print(f"not met: {line}")
    if missed:
        raise SystemExit(1)
    return figures


def _node_output(out: Path, record: bool, through_node: bool, node: str | None) -> Path | None:
    if through_node and node is not None:
        raise InputError(f"--through-node with --node {node}: expected one of them")
    if record and not through_node:
        raise InputError("--record goes with --through-node; of a node that runs already: ros2 bag record")
    return out / "node_output.mcap" if record else None


def _compare(pair: list[Path], out: Path | None) -> dict[str, Any]:
    if len(pair) != 2 or out is None:
        raise InputError("expected --compare A B --out DIR: two folders that replay wrote")
    first, second = pair
    return compare_drives(first, second, out)


def main() -> None:
    """Run the command."""
    run(replay, positional=("data",))


if __name__ == "__main__":
    main()
