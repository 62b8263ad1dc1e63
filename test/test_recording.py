"""A recorded drive as replay takes it: every frame, its own stamp, its truth, and nothing that ends it."""

import math
import struct

import numpy as np
import pytest
from rosbags.rosbag2 import StoragePlugin

from test.conftest import write_image_folder
from test.error_lines import input_error
from test.small_world import picture
from test.test_bag import (
    IMAGES,
    ROS1,
    ROS2,
    SECOND,
    T0,
    Entry,
    a_drive,
    fix,
    image,
    ns,
    raw,
    write_mcap_file,
    write_ros1,
    write_ros2,
)
from vpr_ros.drives.bag_file import COMPRESSED, FIX, ODOMETRY
from vpr_ros.drives.bag_writer import DriveWriter
from vpr_ros.drives.recording import Frame, OdometryMessage, open_recording
from vpr_ros.errors import InputError
from vpr_ros.images.pixels import compress


def moved(seconds, x, y, quaternion=(0.0, 0.0, 0.0, 1.0), types=ROS2):
    """An odometry message."""

    def make(name, **fields):
        return types.types[f"geometry_msgs/msg/{name}"](**fields)

    zero = make("Vector3", x=0.0, y=0.0, z=0.0)
    pose = make(
        "Pose",
        position=make("Point", x=x, y=y, z=0.0),
        orientation=make("Quaternion", **dict(zip("xyzw", quaternion, strict=True))),
    )
    fields = {
        "child_frame_id": "base_link",
        "pose": make("PoseWithCovariance", pose=pose, covariance=np.zeros(36)),
        "twist": make(
            "TwistWithCovariance", twist=make("Twist", linear=zero, angular=zero), covariance=np.zeros(36)
        ),
    }
    return Entry("/odom", ODOMETRY, ns(seconds), ns(seconds), fields)


def cdr_stamp(frame):
    """Return the stamp that a node reads."""
    seconds, nanoseconds = struct.unpack("<iI", frame.cdr()[4:12])
    return seconds * SECOND + nanoseconds


def truth_csv(file, *lines):
    file.write_text("\n".join(["stamp,latitude,longitude,altitude,heading", *lines]) + "\n")
    return file


# --- frames of a bag


def test_images_outside_the_fixes_are_there_too(tmp_path):
    entries = [image(n, n) for n in range(6)] + [fix(1.5, (0, 0, 0)), fix(3.2, (3, 0, 0))]
    recording = open_recording(write_mcap_file(tmp_path / "drive.mcap", entries))
    frames = list(recording.frames())
    assert [frame.row for frame in frames] == [None, None, 0, 1, None, None]
    assert [frame.stamp for frame in frames] == [frame.time for frame in frames] == [ns(n) for n in range(6)]
    assert [frame.image()[0, 0, 0] for frame in frames] == list(range(6))
    assert recording.count == 6
    assert recording.images.rows["stamp"].tolist() == [ns(2), ns(3)]


def test_frames_in_an_hour_without_fixes_are_not_judged_unless_asked(tmp_path):
    bag = write_mcap_file(
        tmp_path / "drive.mcap",
        [image(1, 1), image(1800, 2), fix(0, (0, 0, 0)), fix(2, (1, 0, 0)), fix(3600, (9, 0, 0))],
    )
    assert [frame.row for frame in open_recording(bag).frames()] == [0, None]
    assert [frame.row for frame in open_recording(bag, max_fix_gap=3600).frames()] == [0, 1]


def test_stamps_of_zero_and_repeated_ones_are_told_apart(tmp_path):
    entries = [image(n, n, stamp=stamp) for n, stamp in enumerate((ns(0), ns(1), ns(1), ns(1), 0))]
    entries += [fix(0, (0, 0, 0)), fix(5, (1, 0, 0))]
    recording = open_recording(write_mcap_file(tmp_path / "drive.mcap", entries), max_fix_gap=10)
    frames = list(recording.frames())
    assert [frame.stamp - T0 for frame in frames] == [0, SECOND, SECOND + 1, SECOND + 2, 4 * SECOND]
    assert [cdr_stamp(frame) for frame in frames] == [frame.stamp for frame in frames]
    assert len({frame.row for frame in frames} - {None}) == 5


def test_one_stamp_that_is_wrong_changes_no_other(tmp_path):
    """A camera's clock that jumps for one frame must not push all that follow."""
    stamps = [ns(0), ns(1), ns(500), ns(3), ns(2), ns(5)]
    entries = [image(n, n, stamp=stamp) for n, stamp in enumerate(stamps)]
    bag = write_mcap_file(tmp_path / "drive.mcap", [*entries, fix(0, (0, 0, 0)), fix(6, (1, 0, 0))])
    frames = list(open_recording(bag, max_fix_gap=10).frames())
    assert [frame.stamp for frame in frames] == stamps
    assert [frame.time for frame in frames] == [ns(n) for n in range(6)]
    assert [frame.image()[0, 0, 0] for frame in frames] == list(range(6))
    assert [frame.row is None for frame in frames] == [False, False, True, False, False, False]


@pytest.mark.parametrize(
    "spoilt", [b"", b"\0\1\0\0", b"\0\1\0\0" + b"\xff" * 40], ids=["empty", "bare", "ones"]
)
@pytest.mark.parametrize("kind", [FIX, COMPRESSED])
def test_a_message_that_is_none_is_one_frame_or_fix_less(tmp_path, kind, spoilt):
    def spoil(entry, data):
        return spoilt if entry.kind == kind and entry.log == ns(2) else data

    entries = [image(n, n) for n in range(5)] + [fix(n, (n, 0, 0)) for n in range(5)]
    bag = write_mcap_file(tmp_path / "drive.mcap", entries, spoil)
    recording = open_recording(bag)
    frames = list(recording.frames())
    assert [frame.stamp for frame in frames] == [ns(n) for n in range(5)]
    if kind == FIX:
        assert [frame.row for frame in frames] == list(range(5))  # between the fixes at 1 and 3
    else:
        assert [frame.row for frame in frames] == [0, 1, None, 2, 3]
        for what in (frames[2].image, frames[2].cdr):
            with input_error("does not deserialise", COMPRESSED):
                what()


def test_an_image_that_does_not_decode_is_refused_when_it_is_asked_for(tmp_path):
    entries = [image(0, 0), image(1, data=b"\xff\xd8\xff no picture"), image(2, 2)]
    entries += [raw(n, "64UC9", 2, 2, 2, b"1234", "/raw") for n in range(3)]
    bag = write_mcap_file(tmp_path / "drive.mcap", [*entries, fix(0, (0, 0, 0)), fix(2, (1, 0, 0))])
    frames = list(open_recording(bag, image_topic=IMAGES).frames())
    assert [frame.row for frame in frames] == [0, 1, 2]
    with input_error("does not decode"):
        frames[1].image()
    assert b"no picture" in frames[1].cdr()  # the node will say what it thinks of it
    unknown = open_recording(bag, image_topic="/raw")
    assert not unknown.compressed
    with input_error("64UC9"):
        next(unknown.frames()).image()


def test_a_bag_of_torn_images_alone(tmp_path):
    bag = write_mcap_file(
        tmp_path / "drive.mcap", a_drive(3), lambda entry, data: b"" if entry.kind == COMPRESSED else data
    )
    with input_error(bag, IMAGES, "no message", "deserialises"):
        open_recording(bag)


@pytest.mark.parametrize("options", [{"session": "noon"}, {"rows": "::2"}])
def test_some_rows_of_a_bag(tmp_path, options):
    with input_error(tmp_path, "--session and --rows"):
        open_recording(write_mcap_file(tmp_path / "drive.mcap", a_drive(3)), **options)


# --- odometry


@pytest.mark.parametrize("form", ["mcap", "sqlite3", "ros1"])
def test_odometry_comes_between_the_frames(tmp_path, form):
    types = ROS1 if form == "ros1" else ROS2
    half = math.sqrt(0.5)
    entries = [
        image(0, 0),
        moved(0.4, 1.0, 2.0, types=types),
        moved(0.8, 1.5, 2.5, (0.0, 0.0, half, half), types),
        image(1, 1),
        moved(1.2, -1.0, 0.0, (0.0, 0.0, 1.0, 0.0), types),
        fix(0, (0, 0, 0)),
        fix(1, (1, 0, 0)),
    ]
    bag = {
        "mcap": lambda: write_mcap_file(tmp_path / "drive.mcap", entries),
        "sqlite3": lambda: write_ros2(tmp_path / "drive", entries, StoragePlugin.SQLITE3),
        "ros1": lambda: write_ros1(tmp_path / "drive.bag", entries),
    }[form]()
    recording = open_recording(bag, odometry_topic="/odom")
    messages = list(recording.messages())
    assert [type(each) for each in messages] == [
        Frame,
        OdometryMessage,
        OdometryMessage,
        Frame,
        OdometryMessage,
    ]
    steps = [each for each in messages if isinstance(each, OdometryMessage)]
    assert [each.stamp for each in steps] == [ns(0.4), ns(0.8), ns(1.2)]
    told = [(each.pose.x, each.pose.y, abs(each.pose.yaw)) for each in steps]
    np.testing.assert_allclose(told, [(1, 2, 0), (1.5, 2.5, np.pi / 2), (-1, 0, np.pi)], atol=1e-12)
    sent = ROS2.deserialize_cdr(steps[1].cdr(), ODOMETRY)
    assert (sent.pose.pose.position.x, sent.child_frame_id) == (1.5, "base_link")
    assert sent.header.stamp.sec * SECOND + sent.header.stamp.nanosec == ns(0.8)
    assert [frame.stamp for frame in recording.frames()] == [ns(0), ns(1)]
    assert not any(isinstance(each, OdometryMessage) for each in open_recording(bag).messages())


def test_odometry_that_is_none_is_left_out(tmp_path, caplog):
    entries = [image(0), image(2), moved(0.5, math.nan, 0.0), moved(1.0, 1.0, 1.0), moved(1.5, 3.0, 3.0)]
    bag = write_mcap_file(
        tmp_path / "drive.mcap",
        [*entries, fix(0, (0, 0, 0)), fix(2, (1, 0, 0))],
        lambda entry, data: b"\0\1\0\0" if entry.log == ns(1.0) else data,
    )
    steps = [
        each
        for each in open_recording(bag, odometry_topic="/odom").messages()
        if isinstance(each, OdometryMessage)
    ]
    assert [each.pose.x for each in steps] == [3.0]
    assert len(caplog.records) == 2


def test_odometry_on_a_topic_that_has_none(tmp_path):
    bag = write_mcap_file(tmp_path / "drive.mcap", [*a_drive(3), moved(1, 0.0, 0.0)])
    with input_error(bag, "/gps/fix", ODOMETRY, "/odom"):
        open_recording(bag, odometry_topic="/gps/fix")
    with input_error("no bag", "/odom"):
        open_recording(write_image_folder(tmp_path / "walk", 2), odometry_topic="/odom")


# --- truth of its own


def test_truth_from_a_csv_instead_of_the_fixes(tmp_path):
    entries = [image(n, n) for n in range(5)] + [fix(n, (500, 500, 0)) for n in range(5)]
    bag = write_mcap_file(tmp_path / "drive.mcap", entries)
    lines = [f"{ns(3.5)},47,11,20,350", f"{ns(0.5)},46,11,10,330"]
    recording = open_recording(bag, truth=truth_csv(tmp_path / "truth.csv", *lines), max_fix_gap=5)
    assert [frame.row for frame in recording.frames()] == [None, 0, 1, 2, None]
    rows = recording.images.rows
    np.testing.assert_allclose(rows["latitude"], 46 + np.array([0.5, 1.5, 2.5]) / 3, atol=2e-5)
    np.testing.assert_allclose(rows["altitude"], 10 + 10 * np.array([0.5, 1.5, 2.5]) / 3, atol=1e-6)
    np.testing.assert_allclose(rows["heading"], 330 + 20 * np.array([0.5, 1.5, 2.5]) / 3, atol=1e-9)


def test_a_bag_without_fixes_needs_truth_and_is_told_so(tmp_path):
    bag = write_mcap_file(tmp_path / "drive.mcap", [image(n, n) for n in range(4)])
    with input_error(bag, FIX, "--truth"):
        open_recording(bag)
    truth = truth_csv(tmp_path / "truth.csv", f"{ns(0)},46,11,,", f"{ns(2)},46,11.001,,")
    recording = open_recording(bag, truth=truth)
    assert [frame.row for frame in recording.frames()] == [0, 1, 2, None]
    assert np.isnan(recording.images.rows["altitude"]).all()
    np.testing.assert_allclose(recording.images.rows["heading"], 90, atol=0.01)  # eastwards


def test_truth_of_another_day(tmp_path):
    bag = write_mcap_file(tmp_path / "drive.mcap", [image(n, n) for n in range(4)])
    truth = truth_csv(tmp_path / "truth.csv", "100,46,11,,", "200,46,11,,")
    with input_error(bag, truth, "no image between two lines", "one clock"):
        open_recording(bag, truth=truth)
    folder = write_image_folder(tmp_path / "walk", 4)
    truth = truth_csv(tmp_path / "truth.csv", f"{ns(0)},46,11,,", f"{ns(2)},46,11,,")
    with input_error(folder, truth, "no image between two lines"):
        open_recording(folder, truth=truth)


def test_truth_of_a_folder(tmp_path):
    folder = write_image_folder(tmp_path / "walk", 6)
    truth = truth_csv(tmp_path / "truth.csv", f"{SECOND},46,11,7,", f"{3 * SECOND},46,11.001,7,")
    recording = open_recording(folder, truth=truth)
    frames = list(recording.frames())
    assert [frame.row for frame in frames] == [None, 0, 1, 2, None, None]
    np.testing.assert_allclose(recording.images.rows["longitude"], [11, 11.0005, 11.001], atol=1e-9)
    assert recording.images.rows["image"].tolist() == ["001.png", "002.png", "003.png"]
    assert (recording.images.read(2) == frames[3].image()).all()
    without = tmp_path / "without"
    without.mkdir()
    (without / "a.png").write_bytes(compress(picture(0), ".png"))
    (without / "images.csv").write_text("image,latitude,longitude\na.png,1,1\na.png,2,2\n")
    with input_error(without, "time stamps", truth):
        open_recording(without, truth=truth)


# --- folders


def photographs(folder, stamps):
    (folder / "a.png").write_bytes(compress(picture(0), ".png"))
    lines = [f"a.png,1,1,{stamp}" for stamp in stamps]
    (folder / "images.csv").write_text("\n".join(["image,latitude,longitude,stamp", *lines]))
    return folder


def test_a_folder_without_times_gets_some(tmp_path):
    for name, place in (("b.png", 1), ("a.png", 0)):
        (tmp_path / name).write_bytes(compress(picture(place), ".png"))
    (tmp_path / "images.csv").write_text("image,latitude,longitude\nb.png,1,1\na.png,2,2\n")

    frames = list(open_recording(tmp_path, frame_rate=4.0).frames())

    assert [frame.row for frame in frames] == [0, 1]
    assert np.diff([frame.stamp for frame in frames]).tolist() == [250_000_000]
    assert compress(picture(1), ".png") in frames[0].cdr()
    assert (frames[1].image() == picture(0)).all()


@pytest.mark.parametrize("stamps", [(5 * 10**18, 5 * 10**18 + 1), (-9, 10**9), (9, 9), (10**9, 5)])
def test_photographs_with_useless_times_get_those_of_a_camera(tmp_path, stamps, caplog):
    frames = list(open_recording(photographs(tmp_path, stamps), frame_rate=5.0).frames())
    assert [frame.stamp for frame in frames] == [10**9, 12 * 10**8]
    assert "5 images a second" in caplog.text


@pytest.mark.parametrize(
    ("stamps", "expected"), [((5, 10**14), (5, 10**14)), ((0, 3 * 10**9), (10**9, 4 * 10**9))]
)
def test_photographs_keep_their_own_times(tmp_path, stamps, expected, caplog):
    """However far apart; a filter over time lives by them. A stamp of zero is none in ROS."""
    frames = list(open_recording(photographs(tmp_path, stamps)).frames())
    assert tuple(frame.stamp for frame in frames) == tuple(frame.time for frame in frames) == expected
    assert [cdr_stamp(frame) for frame in frames] == list(expected)
    assert not caplog.records


def test_a_bag_with_its_own_writer_goes_through(tmp_path):
    with DriveWriter(tmp_path / "drive") as writer:
        for second in range(4):
            writer.fix("/gps/fix", second * SECOND + T0, (48.0 + second, 11.0, 0.0), 1.0)
            writer.image(second * SECOND + T0, compress(picture(second), ".png"), "png")
    for frame in open_recording(tmp_path / "drive").frames():
        assert (frame.image() == picture(frame.row)).all()


def test_any_bytes_for_a_bag_or_a_folder_are_refused_in_one_line(tmp_path):
    for number, name in enumerate(("drive.mcap", "drive.db3", "drive.bag", "drive.txt")):
        (tmp_path / name).write_bytes(np.random.default_rng(number).bytes(4000))
        with pytest.raises(InputError) as caught:
            open_recording(tmp_path / name)
        assert len(str(caught.value).splitlines()) == 1


def test_two_photographs_of_one_second_are_told_apart(tmp_path):
    stamps = (10**10, 10**10, 3 * 10**10, 4 * 10**10, 4 * 10**10, 5 * 10**10)
    frames = open_recording(photographs(tmp_path, stamps)).frames()
    expected = [10**10, 10**10 + 1, 3 * 10**10, 4 * 10**10, 4 * 10**10 + 1, 5 * 10**10]
    assert [frame.stamp for frame in frames] == expected
