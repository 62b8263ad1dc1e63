"""Recorded drives: what is read from each kind of bag, and what is said of one that cannot be."""

import logging
import re
import shutil
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import cv2
import numpy as np
import pytest
from mcap.reader import make_reader
from mcap.writer import CompressionType
from mcap.writer import Writer as McapWriter
from rosbags.rosbag1 import Writer as Ros1Writer
from rosbags.rosbag2 import StoragePlugin
from rosbags.rosbag2 import Writer as Ros2Writer
from rosbags.typesys import Stores, get_typestore

from test.conftest import DATUM
from vpr_ros.bag import read_bag
from vpr_ros.drives.bag_file import COMPRESSED, FIX, RAW, BagFile, is_bag
from vpr_ros.drives.bag_writer import DriveWriter
from vpr_ros.errors import InputError
from vpr_ros.geodesy import to_enu, to_geodetic

ROOT = Path(__file__).parents[1]
SECOND = 10**9
T0 = 1_700_000_000 * SECOND
IMAGES, FIXES = "/camera/image/compressed", "/gps/fix"
ROS1, ROS2 = get_typestore(Stores.ROS1_NOETIC), get_typestore(Stores.ROS2_JAZZY)

Entry = namedtuple("Entry", "topic kind log stamp fields")


def ns(seconds):
    return T0 + round(seconds * SECOND)


def colour(number):
    return (number, 128, 255)


def image(seconds, number=0, topic=IMAGES, stamp=None, data=None):
    """A PNG whose red is `number`, at a time in seconds."""
    if data is None:
        data = cv2.imencode(".png", np.full((6, 8, 3), colour(number)[::-1], np.uint8))[1].tobytes()
    fields = {"format": "png", "data": np.frombuffer(data, np.uint8)}
    return Entry(topic, COMPRESSED, ns(seconds), ns(seconds) if stamp is None else stamp, fields)


def raw(seconds, encoding, height, width, step, data, topic="/camera/image"):
    fields = {"height": height, "width": width, "encoding": encoding, "is_bigendian": 0, "step": step}
    return Entry(topic, RAW, ns(seconds), ns(seconds), fields | {"data": np.frombuffer(data, np.uint8)})


def fix(seconds, enu, status=0, topic=FIXES, stamp=None, geodetic=None):
    latitude, longitude, altitude = to_geodetic(enu, DATUM).tolist() if geodetic is None else geodetic
    fields = {"latitude": latitude, "longitude": longitude, "altitude": altitude, "status": status}
    return Entry(topic, FIX, ns(seconds), ns(seconds) if stamp is None else stamp, fields)


def east(seconds, speed=2.0):
    """Where a drive to the east is."""
    return [speed * seconds, 0.0, 0.1 * seconds]


def a_drive(seconds=20, rate=4.0, offset=0.1, path=east):
    """Images numbered from 0 at `rate` Hz, fixes at 1 Hz."""
    images = [image(n / rate + offset, n, data=None) for n in range(int(seconds * rate))]
    return images + [fix(t, path(t)) for t in range(seconds + 1)]


def message(types, entry):
    fields = dict(entry.fields)
    time = types.types["builtin_interfaces/msg/Time"](sec=entry.stamp // SECOND, nanosec=entry.stamp % SECOND)
    seq = {"seq": 0} if types is ROS1 else {}
    header = types.types["std_msgs/msg/Header"](stamp=time, frame_id="", **seq)
    if entry.kind == FIX:
        fields["status"] = types.types["sensor_msgs/msg/NavSatStatus"](status=fields["status"], service=1)
        fields |= {"position_covariance": np.zeros(9), "position_covariance_type": 0}
    return types.types[entry.kind](header=header, **fields)


def write_entries(writer, types, serialize, entries):
    connections = {}
    for entry in sorted(entries, key=lambda entry: entry.log):
        if entry.topic not in connections:
            connections[entry.topic] = writer.add_connection(entry.topic, entry.kind, typestore=types)
        writer.write(connections[entry.topic], entry.log, serialize(message(types, entry), entry.kind))


def write_ros1(file, entries):
    with Ros1Writer(file) as writer:
        write_entries(writer, ROS1, ROS1.serialize_ros1, entries)
    return file


def write_ros2(folder, entries, plugin):
    with Ros2Writer(folder, version=9, storage_plugin=plugin) as writer:
        write_entries(writer, ROS2, ROS2.serialize_cdr, entries)
    return folder


def write_mcap_file(file, entries, spoil=None, **options):
    """As another recorder writes it: many small chunks, or none."""
    with file.open("wb") as opened:
        writer = McapWriter(opened, **({"chunk_size": 2000, "compression": CompressionType.NONE} | options))
        writer.start(profile="ros2")
        channels = {}
        for entry in sorted(entries, key=lambda entry: entry.log):
            if entry.topic not in channels:
                definition = ROS2.generate_msgdef(entry.kind, ros_version=2)[0]
                schema = writer.register_schema(entry.kind, "ros2msg", definition.encode())
                channels[entry.topic] = writer.register_channel(entry.topic, "cdr", schema)
            data = bytes(ROS2.serialize_cdr(message(ROS2, entry), entry.kind))
            data = spoil(entry, data) if spoil else data
            writer.add_message(channels[entry.topic], entry.log, data, entry.log)
        writer.finish()
    return file


def write_with_drive_writer(folder, entries):
    with DriveWriter(folder, IMAGES, [FIXES]) as writer:
        for entry in sorted(entries, key=lambda entry: entry.log):
            if entry.kind == FIX:
                position = [entry.fields[name] for name in ("latitude", "longitude", "altitude")]
                writer.fix(entry.topic, entry.log, position, 1.0, entry.fields["status"])
            else:
                writer.image(entry.log, entry.fields["data"].tobytes(), entry.fields["format"])
    return folder


def without_metadata(folder):
    (folder / "metadata.yaml").unlink()
    return folder


def cut(file, at):
    file.write_bytes(file.read_bytes()[:at])
    return file


FORMS = {
    "mcap folder": lambda root, entries: write_with_drive_writer(root / "drive", entries),
    "bare mcap": lambda root, entries: next(
        write_with_drive_writer(root / "folder", entries).glob("*.mcap")
    ).rename(root / "drive.mcap"),
    "mcap of small zstd chunks": lambda root, entries: write_mcap_file(
        root / "drive.mcap", entries, compression=CompressionType.ZSTD
    ),
    "mcap without chunks": lambda root, entries: write_mcap_file(
        root / "drive.mcap", entries, use_chunking=False
    ),
    "folder without metadata": lambda root, entries: without_metadata(
        write_with_drive_writer(root / "drive", entries)
    ),
    "sqlite3 folder": lambda root, entries: write_ros2(root / "drive", entries, StoragePlugin.SQLITE3),
    "bare sqlite3": lambda root, entries: next(
        write_ros2(root / "folder", entries, StoragePlugin.SQLITE3).glob("*.db3")
    ).rename(root / "drive.db3"),
    "ros1": lambda root, entries: write_ros1(root / "drive.bag", entries),
}


@pytest.fixture
def write(tmp_path):
    """Write entries as one MCAP file; the least work."""
    return lambda entries: write_mcap_file(tmp_path / "drive.mcap", entries)


def seconds_of(images):
    return (images.rows["stamp"] - T0) / SECOND


def metres_of(images):
    rows = images.rows
    return to_enu(rows["latitude"], rows["longitude"], rows["altitude"], DATUM)


def refusal(bag, **options):
    """Return what a bag is refused with: one line that begins with the bag's path."""
    with pytest.raises(InputError) as caught:
        read_bag(bag, **options)
    line = str(caught.value)
    assert "\n" not in line
    assert line.startswith(str(bag))
    return line


def read_everything(bag):
    images = read_bag(bag, spacing=0.0)
    for row in range(len(images)):
        images.read(row)
    return images


# --- the table


def test_a_folder_may_be_called_like_a_ros_1_bag(tmp_path):
    folder = write_with_drive_writer(tmp_path / "drive", a_drive(seconds=2)).rename(tmp_path / "drive.bag")
    assert not BagFile(folder).ros1


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_table_and_pixels(form, tmp_path):
    entries = a_drive(seconds=6)
    bag = FORMS[form](tmp_path, entries)
    assert is_bag(bag)
    images = read_bag(bag, spacing=0.0)
    seconds = np.arange(24) / 4 + 0.1
    assert np.array_equal(images.rows["stamp"], [ns(t) for t in seconds])
    assert np.allclose(metres_of(images), [east(t) for t in seconds], atol=2e-3)
    assert np.allclose(images.rows["heading"], 90, atol=1e-3)
    assert set(images.rows["session"]) == {"drive"}
    assert len(set(images.rows["image"])) == 24
    assert images.rows["image"][3] == f"{bag}:{IMAGES}@{ns(0.85)}"
    assert [tuple(images.read(row)[2, 3]) for row in range(24)] == [colour(n) for n in range(24)]


def test_position_is_that_of_the_images_stamp_not_of_the_nearest_fix(write):
    """On a drive that changes speed at each fix, between two of them the chord is followed."""
    places = {0: [0.0, 0.0, 0.0], 1: [10.0, 0.0, 4.0], 2: [10.0, 30.0, 0.0]}
    bag = write(
        [fix(t, enu) for t, enu in places.items()] + [image(t, 0) for t in (0.0, 0.25, 1.0, 1.9, 2.0)]
    )
    expected = [[0, 0, 0], [2.5, 0, 1], [10, 0, 4], [10, 27, 0.4], [10, 30, 0]]
    assert np.allclose(metres_of(read_bag(bag, spacing=0.0)), expected, atol=2e-3)


def test_the_header_counts_where_the_log_is_late(write):
    late = [entry._replace(log=entry.log + 3 * SECOND) for entry in a_drive(5) if entry.kind == COMPRESSED]
    images = read_bag(write(late + [e for e in a_drive(5) if e.kind == FIX]), spacing=0.0)
    assert np.allclose(metres_of(images)[:, 0], 2 * (np.arange(20) / 4 + 0.1), atol=2e-3)
    assert images.read(7)[0, 0, 0] == 7


@pytest.mark.parametrize("form", ["mcap without chunks", "ros1"])
def test_header_stamps_of_zero_fall_back_to_the_log_time(form, tmp_path):
    bag = FORMS[form](tmp_path, [entry._replace(stamp=0) for entry in a_drive(5)])
    images = read_bag(bag, spacing=0.0)
    assert np.allclose(seconds_of(images), np.arange(20) / 4 + 0.1)
    assert np.allclose(metres_of(images)[:, 0], 2 * seconds_of(images), atol=2e-3)


def test_images_outside_the_fixes_are_left_out_and_counted(write, caplog):
    caplog.set_level(logging.INFO)
    bag = write([fix(t, east(t)) for t in range(2, 5)] + [image(t, 0) for t in (0, 1, 1.9, 2, 3.5, 4, 4.1)])
    assert seconds_of(read_bag(bag, spacing=0.0)).tolist() == [2, 3.5, 4]
    assert "3 of 7 images kept" in caplog.text
    assert "4 outside the track, 0 in gaps" in caplog.text


@pytest.mark.parametrize(("limit", "kept"), [(2.9, [0.5, 1.0, 4.0, 4.5]), (3.0, [0.5, 1, 2, 3, 4, 4.5])])
def test_images_in_a_gap_are_left_out_and_counted(write, caplog, limit, kept):
    caplog.set_level(logging.INFO)
    bag = write([fix(t, east(t)) for t in (0, 1, 4, 5)] + [image(t, 0) for t in (0.5, 1, 2, 3, 4, 4.5)])
    assert seconds_of(read_bag(bag, max_fix_gap=limit, spacing=0.0)).tolist() == kept
    assert f"{6 - len(kept)} in gaps over {limit:g} s" in caplog.text


UNUSABLE = {
    "no fix": {"status": -1},
    "latitude NaN": {"geodetic": (np.nan, 5.0, 0.0)},
    "longitude NaN": {"geodetic": (52.0, np.nan, 0.0)},
    "latitude 91": {"geodetic": (91.0, 5.0, 0.0)},
    "longitude 181": {"geodetic": (52.0, 181.0, 0.0)},
    "infinite": {"geodetic": (np.inf, 5.0, 0.0)},
}


@pytest.mark.parametrize("wrong", UNUSABLE.values(), ids=UNUSABLE)
def test_an_unusable_fix_is_not_used(write, caplog, wrong):
    caplog.set_level(logging.INFO)
    good = [fix(t, east(t)) for t in (0, 2, 4)]
    bad = [fix(t, [500.0, 500.0, 0.0], **wrong) for t in (1, 3)]
    images = read_bag(write(good + bad + [image(t, 0) for t in (1.1, 2.9)]), max_fix_gap=2.0)
    assert np.allclose(metres_of(images), [east(1.1), east(2.9)], atol=2e-3)
    assert "2 messages without a fix" in caplog.text


def test_a_fix_without_altitude_is_used(write):
    fixes = [fix(t, None, geodetic=(52.0, 5.0 + 1e-5 * t, np.nan)) for t in range(3)]
    images = read_bag(write([*fixes, image(1.5)]))
    assert images.rows["longitude"][0] == pytest.approx(5.0 + 1.5e-5, abs=1e-9)
    assert np.isnan(images.rows["altitude"][0])


def stop_and_go(t):
    """Two metres a second, but standing from 5 s to 15 s."""
    return east(t if t < 5 else max(5, t - 10))


@pytest.mark.parametrize("spacing", [0.0, 1.3, 4.0, 1000.0])
def test_keyframes_are_spaced_and_standing_adds_none(write, spacing):
    images = read_bag(write(a_drive(25, path=stop_and_go)), spacing=spacing)
    every = 0.5  # metres between images while driving
    steps = np.linalg.norm(np.diff(metres_of(images)[:, :2], axis=0), axis=1)
    if spacing == 0:
        assert len(images) == 100
    else:
        assert seconds_of(images)[0] == pytest.approx(0.1)  # the first one is always kept
        assert (steps > spacing - 1e-6).all()
        assert (steps < spacing + every + 1e-6).all()
        assert len(images) == (1 if spacing > 30 else len(steps) + 1) >= 1
    # a keyframe is read as itself, not as the image of its row number
    numbers = np.round((seconds_of(images) - 0.1) * 4).astype(int)
    assert [images.read(row)[0, 0, 0] for row in range(len(images))] == numbers.tolist()


@pytest.mark.parametrize("degrees", [0, 35, 90, 180, 225, 359])
def test_heading_is_that_of_the_track(write, degrees):
    direction = np.array([np.sin(np.radians(degrees)), np.cos(np.radians(degrees)), 0.0])
    images = read_bag(write(a_drive(8, path=lambda t: direction * 3.0 * t)), spacing=1.0)
    off = (images.rows["heading"] - degrees + 180) % 360 - 180
    assert np.abs(off).max() < 0.1


def test_heading_is_unknown_where_nothing_moves(write):
    images = read_bag(write(a_drive(5, path=lambda t: [0.0, 0.0, 0.0])), spacing=0.0)
    assert len(images) == 20
    assert np.isnan(images.rows["heading"]).all()


def test_heading_does_not_reach_across_a_gap(write):
    """East, then nothing for a minute, then west somewhere else."""
    west = [
        entry._replace(log=entry.log + 70 * SECOND, stamp=entry.stamp + 70 * SECOND)
        for entry in a_drive(10, path=lambda t: [300.0 - 3.0 * t, 300.0, 0.0])
    ]
    images = read_bag(write([*a_drive(10, path=lambda t: [3.0 * t, 0.0, 0.0]), *west]), spacing=1.0)
    early = seconds_of(images) < 20
    assert images.rows["heading"][early] == pytest.approx(90, abs=0.1)
    assert images.rows["heading"][~early] == pytest.approx(270, abs=0.1)


def test_an_altitude_that_is_nonsense_is_unknown(write):
    odd = fix(10, None, geodetic=(52.0, 5.0, float("inf")))
    images = read_bag(write([entry for entry in a_drive() if entry.stamp != odd.stamp] + [odd]), spacing=0.0)
    assert np.isfinite(images.rows["altitude"]).sum() > 60
    assert np.isnan(images.rows["altitude"]).any()


@pytest.mark.parametrize("options", [{"spacing": float("nan")}, {"spacing": -1.0}, {"max_fix_gap": 0.0}])
def test_options_that_make_no_sense(write, options):
    bag = write(a_drive(4))
    with pytest.raises(InputError, match=next(iter(options))):
        read_bag(bag, **options)


def test_a_topic_in_each_file_of_a_folder_without_metadata(tmp_path):
    folder = tmp_path / "drive"
    folder.mkdir()
    entries = a_drive(6)
    for name, topic in (("0.mcap", FIXES), ("1.mcap", IMAGES)):
        write_mcap_file(folder / name, [entry for entry in entries if entry.topic == topic])
    assert len(read_everything(folder)) == 24


# --- topics


def two_of_each():
    second = [entry._replace(topic=entry.topic.replace("/", "/second_", 1)) for entry in a_drive(4)]
    return a_drive(4) + [e._replace(stamp=e.stamp + SECOND // 2) if e.kind != FIX else e for e in second]


def test_topics_are_found_by_type_whatever_their_name(write):
    odd = [e._replace(topic="/x/y" if e.kind == FIX else "/fix") for e in a_drive(4)]
    depth = image(1.0, topic="/depth/compressedDepth")
    assert len(read_bag(write([*odd, depth]), spacing=0.0)) == 16


def test_more_than_one_topic_asks_for_a_choice(write):
    bag = write(two_of_each())
    line = refusal(bag)
    assert "--image-topic" in line
    assert IMAGES in line
    assert "/second_camera/image/compressed" in line
    line = refusal(bag, image_topic=IMAGES)
    assert "--fix-topic" in line
    assert FIXES in line
    assert "/second_gps/fix" in line


def test_the_named_topics_are_read(write):
    bag = write(two_of_each())
    images = read_bag(bag, "/second_camera/image/compressed", "/second_gps/fix", spacing=0.0)
    assert seconds_of(images)[0] == pytest.approx(0.6)
    assert "/second_camera/image/compressed@" in images.rows["image"][0]


@pytest.mark.parametrize(
    ("option", "name", "there"),
    [
        ("image_topic", "/nothing", IMAGES),
        ("image_topic", FIXES, IMAGES),
        ("fix_topic", "/nothing", FIXES),
        ("fix_topic", IMAGES, FIXES),
    ],
)
def test_a_wrong_topic_lists_the_right_ones(write, option, name, there):
    line = refusal(write(a_drive(3)), **{option: name})
    assert f"'{name}'" in line
    assert there in line.split(f"'{name}'")[1]


# --- refusals


def test_what_a_bag_must_hold(write, tmp_path):
    line = refusal(write([e for e in a_drive(3) if e.kind == FIX]))
    assert RAW in line
    assert f"{FIXES} ({FIX})" in line
    line = refusal(write([e for e in a_drive(3) if e.kind != FIX]))
    assert FIX in line
    assert f"{IMAGES} ({COMPRESSED})" in line
    line = refusal(write([e._replace(fields=e.fields | {"status": -1}) if e.kind == FIX else e
                          for e in a_drive(3)]))  # fmt: skip
    assert "none of 4 messages on /gps/fix has a fix" in line


def test_a_topic_without_a_message_is_said(tmp_path):
    with DriveWriter(tmp_path / "drive", IMAGES, [FIXES]) as writer:
        writer.fix(FIXES, ns(0), (52.0, 5.0, 0.0), 1.0)
    assert f"no message on {IMAGES}" in refusal(tmp_path / "drive")
    with DriveWriter(tmp_path / "other", IMAGES, [FIXES]) as writer:
        writer.image(ns(0), image(0).fields["data"].tobytes(), "png")
    assert FIXES in refusal(tmp_path / "other")


def test_clocks_that_do_not_overlap_are_said(write):
    late = [e._replace(stamp=e.stamp + 3600 * SECOND) if e.kind == FIX else e for e in a_drive(5)]
    line = refusal(write(late))
    assert "one clock" in line
    assert "1700000000.100" in line
    assert "1700003605.000" in line


@pytest.mark.parametrize("name", ["missing", "missing.mcap", "missing.db3", "missing.bag"])
def test_a_missing_bag_is_said(tmp_path, name):
    assert "no such bag" in refusal(tmp_path / name)


@pytest.mark.parametrize("name", ["a.mcap", "a.db3", "a.bag"])
@pytest.mark.parametrize(
    "content",
    [b"", b"\0" * 5000, b"not a bag\n" * 500, np.random.default_rng(0).bytes(5000)],
    ids=["empty", "zeros", "text", "random"],
)
def test_a_file_that_is_no_bag_is_refused(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    refusal(tmp_path / name)


def test_folders_that_are_no_bag(tmp_path):
    assert not is_bag(tmp_path)
    assert "no .mcap or .db3" in refusal(tmp_path)
    (tmp_path / "metadata.yaml").write_text("rosbag2_bagfile_information: 7\n")
    assert is_bag(tmp_path)
    refusal(tmp_path)


@pytest.mark.parametrize("damage", ["not: [yaml", "", "a: 1", "\0\1\2"])
def test_damaged_metadata_does_not_cost_the_drive(tmp_path, damage):
    bag = write_with_drive_writer(tmp_path / "drive", a_drive(4))
    (bag / "metadata.yaml").write_text(damage)
    assert len(read_bag(bag, spacing=0.0)) == 16


def damaged_reads(bag, file, rounds, seed=0):
    """Flip bytes of a file in many places; return what was raised that is not an InputError."""
    whole, generator, wrong = file.read_bytes(), np.random.default_rng(seed), []
    positions = np.linspace(0, len(whole) - 1, rounds).astype(int)
    for position in positions:
        torn = bytearray(whole)
        for at in range(position, min(position + int(generator.integers(1, 9)), len(whole))):
            torn[at] ^= int(generator.integers(1, 256))
        file.write_bytes(torn)
        try:
            read_everything(bag)
        except InputError as error:
            if "\n" in str(error):
                wrong.append(f"byte {position}: more than one line: {error}")
        except Exception as error:
            wrong.append(f"byte {position}: {type(error).__name__}: {error}")
    return wrong


@pytest.mark.parametrize(
    "form", ["mcap folder", "mcap of small zstd chunks", "mcap without chunks", "sqlite3 folder", "ros1"]
)
def test_flipped_bytes_never_raise_but_input_error(form, tmp_path):
    bag = FORMS[form](tmp_path, a_drive(4, rate=2.0))
    file = bag if bag.is_file() else next(f for f in bag.iterdir() if f.suffix in (".mcap", ".db3"))
    wrong = damaged_reads(bag, file, 50)
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("form", ["sqlite3 folder", "bare sqlite3", "ros1"])
def test_other_bags_that_are_cut_are_refused_or_read(form, tmp_path):
    bag = FORMS[form](tmp_path, a_drive(4))
    file = bag if bag.is_file() else next(bag.glob("*.db3"))
    whole, wrong = file.read_bytes(), []
    for share in (0.05, 0.3, 0.6, 0.9, 0.99):
        file.write_bytes(whole[: int(len(whole) * share)])
        try:
            read_everything(bag)
        except InputError as error:
            wrong += [f"cut at {share}: {error}"] * ("\n" in str(error))
        except Exception as error:
            wrong.append(f"cut at {share}: {type(error).__name__}: {error}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("kind", [FIX, COMPRESSED])
@pytest.mark.parametrize(
    "spoilt", [b"", b"\0\1\0\0", b"\0\1\0\0" + b"\xff" * 40], ids=["empty", "bare", "ones"]
)
def test_a_message_that_is_no_message_is_said(tmp_path, kind, spoilt):
    def spoil(entry, data):
        return spoilt if entry.kind == kind and entry.log >= ns(2) else data

    bag = write_mcap_file(tmp_path / "drive.mcap", a_drive(4), spoil)
    with pytest.raises(InputError) as caught:
        read_everything(bag)
    assert str(bag) in str(caught.value)
    assert "\n" not in str(caught.value)


# --- cut MCAP files


def recorded_before(file, at):
    """Return the stamps of the images that surely stand before a byte, by the file's own index."""
    with file.open("rb") as opened:
        chunks = make_reader(opened).get_summary().chunk_indexes
    ends = [c.message_end_time for c in chunks if c.chunk_start_offset + c.chunk_length <= at]
    return max(ends, default=0)


@pytest.mark.parametrize("metadata", ["with metadata", "without metadata", "bare"])
@pytest.mark.parametrize("share", [0.2, 0.33, 0.5, 0.77, 0.9, -1, -9, -40])
def test_a_cut_mcap_is_read_up_to_the_cut(tmp_path, caplog, share, metadata):
    """At -1 to -40 bytes from the end only the footer is torn."""
    bag = write_with_drive_writer(tmp_path / "drive", a_drive(20))
    file = write_mcap_file(next(bag.glob("*.mcap")), a_drive(20))
    whole = read_bag(file, spacing=0.0).rows
    size = file.stat().st_size
    at = size + share if share < 0 else int(size * share)
    surely = recorded_before(file, at)
    cut(file, at)
    if metadata != "with metadata":
        without_metadata(bag)
    images = read_bag(file if metadata == "bare" else bag, spacing=0.0)
    assert "cut off" in caplog.text
    assert str(file) in caplog.text
    assert 0 < len(images) <= len(whole)
    # beyond the last fix before the cut no image has a position
    assert len(images) >= (whole["stamp"] <= surely - SECOND).sum()
    for name in ("stamp", "latitude", "longitude", "altitude"):
        assert np.array_equal(images.rows[name], whole[name][: len(images)])
    assert [images.read(row)[0, 0, 0] for row in range(len(images))] == list(range(len(images)))


@pytest.mark.parametrize("share", [0.3, 0.5, 0.8])
def test_a_cut_mcap_without_chunks_loses_only_what_is_cut(tmp_path, share):
    file = write_mcap_file(tmp_path / "a.mcap", a_drive(20), use_chunking=False)
    cut(file, int(file.stat().st_size * share))
    images = read_bag(file, spacing=0.0)
    assert seconds_of(images)[-1] == pytest.approx(20 * share, abs=3.0)


def test_a_cut_mcap_of_zstd_chunks_is_read(tmp_path):
    file = write_mcap_file(tmp_path / "a.mcap", a_drive(20), compression=CompressionType.ZSTD)
    cut(file, int(file.stat().st_size * 0.6))
    images = read_everything(file)
    assert 10 < len(images) < 80


@pytest.mark.parametrize("at", [0, 3, 8, 9, 30, 200])
@pytest.mark.parametrize("metadata", [True, False])
def test_a_mcap_cut_in_its_first_bytes_is_refused(tmp_path, at, metadata):
    bag = write_with_drive_writer(tmp_path / "drive", a_drive(4))
    cut(next(bag.glob("*.mcap")), at)
    if not metadata:
        without_metadata(bag)
    assert "mcap recover" in refusal(bag)


def test_the_last_file_of_several_is_cut(tmp_path, caplog):
    """A split recording whose recorder was killed: the whole files and what is left of the last."""
    entries = a_drive(20)
    folder = tmp_path / "drive"
    folder.mkdir()
    write_mcap_file(folder / "drive_0.mcap", [e for e in entries if e.log < ns(10)])
    last = write_mcap_file(folder / "drive_1.mcap", [e for e in entries if e.log >= ns(10)])
    cut(last, int(last.stat().st_size * 0.6))
    images = read_bag(folder, spacing=0.0)
    assert caplog.text.count("cut off") == 1
    assert 13 < seconds_of(images)[-1] < 18
    assert [images.read(row)[0, 0, 0] for row in range(len(images))] == list(range(len(images)))


def test_files_of_a_split_drive_without_metadata_are_read_in_the_order_of_recording(tmp_path):
    """drive_10 comes after drive_9, though not in the alphabet."""
    folder = tmp_path / "drive"
    folder.mkdir()
    entries = a_drive(24)
    for part in range(12):
        write_mcap_file(
            folder / f"drive_{part}.mcap", [e for e in entries if ns(2 * part) <= e.log < ns(2 * part + 2)]
        )
    images = read_bag(folder, spacing=0.0)
    assert [images.read(row)[0, 0, 0] for row in range(len(images))] == list(range(len(images)))
    assert len(images) > 90


# --- pixels


@pytest.fixture(scope="module")
def bags(tmp_path_factory):
    """One long drive in each form; a pause of half a minute in it."""
    entries = [e._replace(log=e.log + 30 * SECOND, stamp=e.stamp + 30 * SECOND) if e.log > ns(10) else e
               for e in a_drive(20)]  # fmt: skip
    made = {}
    for form in ("mcap folder", "sqlite3 folder", "ros1"):
        made[form] = FORMS[form](tmp_path_factory.mktemp("bags"), entries)
    torn = write_mcap_file(tmp_path_factory.mktemp("bags") / "drive.mcap", entries)
    made["cut"] = cut(torn, int(torn.stat().st_size * 0.9))
    return made


@pytest.mark.parametrize("form", ["mcap folder", "sqlite3 folder", "ros1", "cut"])
@pytest.mark.parametrize("order", ["forward", "backward", "random", "repeated", "leaping"])
def test_pixels_are_those_of_the_row_in_any_order(bags, form, order):
    images = read_bag(bags[form], spacing=0.0, max_fix_gap=1.0)
    count = len(images)
    assert count > 60
    seconds = seconds_of(images)
    numbers = np.round((np.where(seconds > 35, seconds - 30, seconds) - 0.1) * 4).astype(int)
    rows = {
        "forward": np.arange(count),
        "backward": np.arange(count)[::-1],
        "random": np.random.default_rng(1).permutation(count),
        "repeated": np.repeat(np.arange(0, count, 7), 2),
        "leaping": np.tile([0, count - 1, 1, 45, 38], 2),
    }[order]
    assert [images.read(int(row))[0, 0, 0] for row in rows] == numbers[rows].tolist()


def test_two_readers_of_one_bag_do_not_disturb_each_other(bags):
    first, second = (read_bag(bags["mcap folder"], spacing=0.0) for _ in range(2))
    for row in range(20):
        assert first.read(row)[0, 0, 0] == row
        assert second.read(39 - row)[0, 0, 0] == 39 - row


def test_images_logged_out_of_order_are_read_as_themselves(write):
    """Drivers on several threads log a later image before an earlier one."""
    entries = a_drive(10)
    swapped = [e._replace(log=e.log + (SECOND * 3 // 10 if n % 2 else 0)) for n, e in enumerate(entries[:40])]
    images = read_bag(write(swapped + entries[40:]), spacing=0.0)
    assert [images.read(row)[0, 0, 0] for row in range(40)] == list(range(40))


def test_images_logged_at_one_time_are_read_as_themselves(write):
    """With --use-sim-time a recorder logs all that comes between two ticks of /clock at one time."""
    entries = a_drive(5)
    ticks = [e._replace(log=e.log // SECOND * SECOND) if e.kind != FIX else e for e in entries]
    images = read_bag(write(ticks), spacing=0.0)
    assert [images.read(row)[0, 0, 0] for row in range(20)] == list(range(20))
    assert len(set(images.rows["image"])) == 20


PIXELS = np.random.default_rng(4).integers(0, 256, (5, 7, 3), np.uint8)


@pytest.mark.parametrize("form", ["sqlite3 folder", "ros1", "mcap without chunks"])
@pytest.mark.parametrize("padding", [0, 11])
@pytest.mark.parametrize(
    ("encoding", "stored", "expected"),
    [
        ("rgb8", PIXELS, PIXELS),
        ("bgr8", PIXELS[..., ::-1], PIXELS),
        ("mono8", PIXELS[..., :1], PIXELS[..., [0, 0, 0]]),
    ],
)
def test_raw_images_with_and_without_padding(tmp_path, form, padding, encoding, stored, expected):
    rows = np.ascontiguousarray(stored).reshape(5, -1)
    padded = np.hstack([rows, np.full((5, padding), 99, np.uint8)])
    shot = raw(1.5, encoding, 5, 7, padded.shape[1], padded.tobytes())
    images = read_bag(FORMS[form](tmp_path, [fix(1, east(1)), fix(2, east(2)), shot]))
    assert np.array_equal(images.read(0), expected)
    undecoded = images.undecoded(0)
    assert undecoded.data is None
    assert np.array_equal(undecoded.rgb(), expected)


def test_compressed_images_are_handed_out_as_they_were_recorded(bags):
    for bag in bags.values():
        images = read_bag(bag, spacing=0.0)
        for row in (5, 0, 6):
            undecoded = images.undecoded(row)
            assert bytes(undecoded.data) == image(0, row).fields["data"].tobytes()
            assert np.array_equal(undecoded.rgb(), images.read(row))


UNREADABLE = {
    "no picture": image(1.5, data=b"no picture"),
    "empty": image(1.5, data=b""),
    "torn": image(1.5, data=image(0).fields["data"].tobytes()[:30]),
    "unknown encoding": raw(1.5, "nonsense", 2, 2, 4, bytes(8), IMAGES),
    "short": raw(1.5, "rgb8", 4, 4, 12, bytes(20), IMAGES),
    "short step": raw(1.5, "rgb8", 2, 4, 3, bytes(24), IMAGES),
    "no size": raw(1.5, "rgb8", 0, 0, 0, b"", IMAGES),
}


@pytest.mark.parametrize("shot", UNREADABLE.values(), ids=UNREADABLE)
def test_an_image_that_does_not_decode_is_named(write, shot):
    bag = write([fix(1, east(1)), fix(2, east(2)), shot])
    images = read_bag(bag)
    with pytest.raises(InputError) as caught:
        images.read(0)
    line = str(caught.value)
    assert "\n" not in line
    assert re.search(rf"^{re.escape(str(bag))}: {IMAGES} at {ns(1.5)} ns: ", line)


def test_a_bag_that_changed_since_is_said(tmp_path):
    """A cut file is opened anew for each reading, so it can change in between."""
    file = write_mcap_file(tmp_path / "drive.mcap", a_drive(20))
    images = read_bag(cut(file, int(file.stat().st_size * 0.8)), spacing=0.0)
    cut(file, int(file.stat().st_size * 0.6))
    assert images.read(3)[0, 0, 0] == 3
    with pytest.raises(InputError, match="did the bag change"):
        images.read(len(images) - 1)
    assert images.read(5)[0, 0, 0] == 5


# --- the writer, and messages as they are


def test_what_the_writer_writes_is_what_was_given(tmp_path):
    folder = tmp_path / "drive"
    with DriveWriter(folder, "/cam", ["/a", "/b"], frame_id="front") as writer:
        writer.image(ns(0.25), b"bytes", "jpeg")
        writer.fix("/b", ns(0.5), (1.5, -2.5, 3.5), 4.0, -1)
    bag = BagFile(folder)
    assert bag.topics == {"/cam": COMPRESSED, "/a": FIX, "/b": FIX}
    shot, found = (bag.deserialize(recorded) for recorded in bag.messages({"/cam", "/a", "/b"}))
    assert (shot.header.stamp.sec, shot.header.stamp.nanosec) == (T0 // SECOND, SECOND // 4)
    assert (shot.header.frame_id, shot.format, shot.data.tobytes()) == ("front", "jpeg", b"bytes")
    assert (found.latitude, found.longitude, found.altitude) == (1.5, -2.5, 3.5)
    assert (found.status.status, found.position_covariance_type) == (-1, 2)
    assert np.array_equal(found.position_covariance.reshape(3, 3), 16 * np.eye(3))


def test_a_drive_whose_writing_failed_is_still_a_bag(tmp_path):
    def drive():
        with DriveWriter(tmp_path / "drive") as writer:
            writer.image(ns(0), b"x")
            raise RuntimeError("flat battery")

    with pytest.raises(RuntimeError, match="flat battery"):
        drive()
    assert len(list(BagFile(tmp_path / "drive").messages({IMAGES}))) == 1


@pytest.mark.parametrize("form", ["mcap folder", "sqlite3 folder", "ros1"])
def test_messages_come_out_in_ros2_serialisation(form, tmp_path):
    """The ones of a ROS 1 bag too: replay sends them to a ROS 2 node."""
    entries = a_drive(2)
    bag = BagFile(FORMS[form](tmp_path, entries))
    for entry, recorded in zip(entries[:8], bag.messages({IMAGES}), strict=True):
        sent = ROS2.deserialize_cdr(bag.cdr(recorded), recorded.type)
        assert sent.format == "png"
        assert np.array_equal(sent.data, entry.fields["data"])
        assert sent.header.stamp.sec * SECOND + sent.header.stamp.nanosec == entry.stamp


def test_messages_begin_at_a_log_time(bags):
    for bag in bags.values():
        times = [recorded.time for recorded in BagFile(bag).messages({IMAGES}, start=ns(5.1))]
        assert times[0] == ns(5.1)
        assert times == sorted(times)


@pytest.mark.parametrize("form", ["mcap folder", "sqlite3 folder", "ros1"])
def test_a_bag_that_nobody_needs_any_more_is_closed(form, tmp_path):
    """A long run over many drives must not collect open files; Python warns of each one left open."""
    bag = FORMS[form](tmp_path, a_drive(3))
    program = (
        "import gc, sys; from pathlib import Path; from vpr_ros.bag import read_bag\n"
        "images = read_bag(Path(sys.argv[1])); images.read(0); del images; gc.collect(); print('read')"
    )
    done = subprocess.run(
        [sys.executable, "-W", "always::ResourceWarning", "-c", program, str(bag)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout == "read\n", done.stderr
    assert "ResourceWarning" not in done.stderr


def test_a_folder_is_read_though_it_was_moved(tmp_path):
    write_with_drive_writer(tmp_path / "drive", a_drive(3))
    shutil.move(tmp_path / "drive", tmp_path / "kept")
    images = read_bag(tmp_path / "kept", spacing=0.0)
    assert set(images.rows["session"]) == {"kept"}
    assert images.read(5)[0, 0, 0] == 5
