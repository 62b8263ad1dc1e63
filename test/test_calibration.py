"""What a drive has taught about a map: which answers are accepted, and how that is kept."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from test.error_lines import input_error
from test.some_places import a_map
from vpr_ros.calibration import (
    FILE,
    FORMAT,
    HALF,
    NEVER,
    Acceptance,
    Calibration,
    Step,
    read_calibration,
    write_calibration,
)
from vpr_ros.hypotheses import Belief
from vpr_ros.maps.manifest import INDEX, FileSum
from vpr_ros.sequence_filter import Dynamics

ROOT = Path(__file__).parents[1]

#: Probabilities of best hypotheses, of which many are equal, and whether these were right.
judged = st.lists(
    st.tuples(st.one_of(st.sampled_from([0.0, 0.5, 0.9, 1.0]), st.floats(0, 1)), st.booleans()), max_size=40
)
precisions = st.floats(0.01, 0.999)


def acceptance_of(pairs):
    return Acceptance.of([p for p, _ in pairs], [right for _, right in pairs])


def accepted_above(pairs, level):
    """Return how many have a probability above the level, and how many of these are wrong."""
    above = [right for p, right in pairs if p > level]
    return len(above), above.count(False)


# --- what is accepted


@given(judged)
def test_each_step_counts_what_is_above_it(pairs):
    steps = acceptance_of(pairs).steps
    for step in steps:
        assert (step.accepted, step.wrong) == accepted_above(pairs, step.above)
    levels = [step.above for step in steps]
    assert levels == sorted(set(levels))
    assert levels[0] >= HALF


@given(judged, precisions)
def test_the_threshold_is_the_lowest_that_keeps_the_promise(pairs, precision):
    """By trying every probability there is: what it lets through is what the lowest of those lets through."""

    def promises(level):
        accepted, wrong = accepted_above(pairs, level)
        return (wrong + 0.5) / (accepted + 1) <= 1 - precision

    threshold = acceptance_of(pairs).threshold(precision)
    levels = sorted({HALF, *(p for p, _ in pairs if p > HALF)})
    expected = next((level for level in levels if promises(level)), NEVER)
    assert [p for p, _ in pairs if p > threshold] == [p for p, _ in pairs if p > expected]
    assert (threshold == NEVER) == (expected == NEVER)


@given(judged, precisions)
def test_nothing_is_accepted_that_the_drive_knows_nothing_of(pairs, precision):
    """Neither what is less likely than not, nor what is less sure than every answer of the drive."""
    threshold = acceptance_of(pairs).threshold(precision)
    assert threshold >= HALF
    assert threshold >= math.nextafter(min((p for p, _ in pairs), default=1.0), 0.0)


@given(judged, precisions, precisions)
def test_who_wants_more_precision_accepts_no_more(pairs, first, second):
    low, high = sorted((first, second))
    acceptance = acceptance_of(pairs)
    assert acceptance.threshold(low) <= acceptance.threshold(high)


@given(judged, precisions)
def test_what_is_accepted_was_right_as_often_as_promised(pairs, precision):
    threshold = acceptance_of(pairs).threshold(precision)
    accepted, wrong = accepted_above(pairs, threshold)
    if precision > 0.5:
        assert accepted - wrong >= precision * accepted - 1e-9


@given(judged.filter(bool), st.randoms())
def test_the_order_of_the_frames_does_not_matter(pairs, random):
    shuffled = list(pairs)
    random.shuffle(shuffled)
    assert acceptance_of(shuffled) == acceptance_of(pairs)


@pytest.mark.parametrize("precision", [0.5, 0.9, 0.99])
def test_nothing_right_is_never_accepted(precision):
    assert acceptance_of([]).threshold(0.51) == NEVER
    assert acceptance_of([(p, False) for p in (0.2, 0.9, 1.0)]).threshold(0.51) == NEVER
    assert acceptance_of([(0.5, True), (0.5, False)] * 500).threshold(precision + 0.001) == NEVER


@pytest.mark.parametrize("precision", [0.8, 0.9, 0.95])
def test_on_the_next_drives_as_many_are_right_as_promised(precision):
    """Taken together: a threshold may be lucky on the frames that it is chosen on, but not by much."""
    rng = np.random.default_rng(0)
    accepted = right = 0
    for _ in range(100):
        probability = rng.beta(2, 1, (2, 500))
        good = rng.random((2, 500)) < probability
        above = probability[1] > Acceptance.of(probability[0], good[0]).threshold(precision)
        accepted, right = accepted + above.sum(), right + good[1][above].sum()
    assert accepted > 100 * 50
    assert right / accepted > precision - 0.02


def test_never_is_above_every_probability():
    assert not 1.0 > NEVER  # noqa: SIM300  as it is asked


@pytest.mark.parametrize(("precision", "too_few", "enough"), [(0.9, 3, 5), (0.95, 8, 10), (0.99, 48, 50)])
def test_a_few_right_ones_promise_little(precision, too_few, enough):
    """Half a wrong one of n + 1: so many in a row, without a wrong one, promise that share."""
    assert acceptance_of([(0.9, True)] * too_few).threshold(precision) == NEVER
    threshold = acceptance_of([(0.9, True)] * enough).threshold(precision)
    assert threshold == pytest.approx(0.9)
    assert threshold < 0.9  # which is accepted


def test_a_promise_that_is_just_kept_is_kept():
    """One right answer is half a wrong one of two."""
    assert acceptance_of([(0.9, True)]).threshold(0.75) < 0.9
    assert acceptance_of([(0.9, True)]).threshold(math.nextafter(0.75, 1.0)) == NEVER


def test_a_wrong_one_is_left_out_with_all_that_are_no_surer():
    pairs = [(0.95, True)] * 60 + [(0.8, True)] * 60 + [(0.8, False)] * 3 + [(0.7, False)] * 30
    pairs += [(0.2, True)] * 500 + [(0.1, False)]  # less likely than not
    acceptance = acceptance_of(pairs)
    assert acceptance.steps == (Step(0.5, 153, 33), Step(0.7, 123, 3), Step(0.8, 60, 0))
    assert acceptance.threshold(0.5) == 0.5
    assert acceptance.threshold(0.95) == 0.7
    assert acceptance.threshold(0.99) == 0.8
    assert acceptance.threshold(0.999) == NEVER


# --- how it is kept


def some_calibration(**changes):
    values = {
        "belief": Belief(temperature=0.1 + 0.2, none_margin=-1.25, covariance_scale=0.7),
        "dynamics": Dynamics(sharpness=1 / 3, lost_score=-0.1),
        "single": acceptance_of([(0.9, True), (0.6, False), (0.1, True)]),
        "filtered": acceptance_of([(0.99, True)] * 80),
        "drive": "a drive — in the snow",
        "frames": 80,
        "radius": 12.5,
    }
    return Calibration(**(values | changes))


@pytest.fixture
def place_map(tmp_path):
    return a_map([[0, 0, 0]], folder=tmp_path)


@pytest.fixture
def file(place_map):
    return write_calibration(some_calibration(), place_map)


def change(file, *path, to):
    """Replace one value of the file."""
    read = json.loads(file.read_text())
    inner = read
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = to
    file.write_text(json.dumps(read))


def test_what_is_written_is_what_is_read(place_map, file):
    assert file == place_map.folder / FILE
    assert read_calibration(place_map) == some_calibration()


@given(
    st.builds(
        some_calibration,
        belief=st.builds(Belief, *(st.floats(1e-9, 1e9) for _ in range(7))),
        dynamics=st.builds(Dynamics, *(st.floats(1e-9, 1e9) for _ in range(6))),
        single=st.builds(acceptance_of, judged),
        filtered=st.builds(acceptance_of, judged),
        drive=st.text(),
        frames=st.integers(0, 10**9),
        radius=st.floats(1e-3, 1e6),
    )
)
def test_every_calibration_survives_the_way_there_and_back(tmp_path_factory, calibration):
    place_map = a_map([[0, 0, 0]], folder=tmp_path_factory.getbasetemp())
    write_calibration(calibration, place_map)
    assert read_calibration(place_map) == calibration


def test_a_map_without_one_has_none(place_map):
    assert read_calibration(place_map) is None


def test_the_next_one_takes_its_place(place_map, file):
    write_calibration(some_calibration(drive="the next", frames=7), place_map)
    assert read_calibration(place_map).drive == "the next"
    assert [each.name for each in place_map.folder.iterdir()] == [FILE]


def test_it_can_be_read_by_people_and_other_programs(file):
    read = json.loads(file.read_text())
    assert read["format"] == FORMAT
    assert read["belief"]["covariance_scale"] == 0.7
    assert read["single"]["steps"][1] == {"above": 0.6, "accepted": 1, "wrong": 0}
    assert len(file.read_text().splitlines()) > 20


# --- what is not believed


def test_a_file_cut_short_anywhere_is_refused(place_map, file):
    whole = file.read_bytes()
    for length in range(len(whole) - 1):
        file.write_bytes(whole[:length])
        with input_error(file, "damaged", "training/calibrate.py", "remove it"):
            read_calibration(place_map)


@pytest.mark.parametrize(
    "content",
    [b"", b"\x00\xff\xfe", b"not json", b"[]", b"null", b"3", b'"text"', b"{}", b'{"format": 1}', b"[[[["],
    ids=str,
)
def test_what_is_no_calibration_is_refused(place_map, file, content):
    file.write_bytes(content)
    with input_error(file, "damaged", "training/calibrate.py", "remove it"):
        read_calibration(place_map)


def test_a_folder_of_that_name_is_refused(place_map):
    (place_map.folder / FILE).mkdir()
    with input_error(place_map.folder / FILE, "remove it"):
        read_calibration(place_map)


POSITIVE = [
    *(("belief", name) for name in Belief.__dataclass_fields__ if name != "none_margin"),
    *(("dynamics", name) for name in Dynamics.__dataclass_fields__ if name != "lost_score"),
    ("radius",),
]
FINITE = [("belief", "none_margin"), ("dynamics", "lost_score")]
COUNTS = [(which, "steps", 0, name) for which in ("single", "filtered") for name in ("accepted", "wrong")]
LEVELS = [(which, "steps", 0, "above") for which in ("single", "filtered")]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        *((path, value) for path in POSITIVE for value in (math.nan, math.inf, -1.0, 0.0)),
        *((path, value) for path in FINITE for value in (math.nan, math.inf, -math.inf)),
        *((path, value) for path in COUNTS for value in (math.nan, math.inf, -1)),
        *((path, value) for path in LEVELS for value in (math.nan, math.inf, -0.1, 1.1)),
        (("single", "steps", 0, "wrong"), 1000),  # more than were accepted
        (("frames",), math.nan),
        (("frames",), math.inf),
        (("belief", "temperature"), 10**400),
    ],
    ids=lambda each: ".".join(map(str, each)) if isinstance(each, tuple) else str(each)[:6],
)
def test_a_number_that_cannot_be_is_refused(place_map, file, path, value):
    change(file, *path, to=value)
    with input_error(file, "damaged", "training/calibrate.py", "remove it"):
        read_calibration(place_map)


@pytest.mark.parametrize("value", [None, "much", [1], {"a": 1}], ids=str)
@pytest.mark.parametrize(
    "path",
    [
        ("format",), ("belief",), ("dynamics",), ("single",), ("filtered",), ("radius",), ("frames",),
        ("belief", "temperature"), ("belief", "no such number"), ("dynamics", "look"),
        ("single", "steps"), ("filtered", "steps", 0), ("single", "steps", 0, "above"),
        ("single", "steps", 0, "accepted"),
    ],
    ids=lambda path: ".".join(map(str, path)),
)  # fmt: skip
def test_a_value_of_another_kind_is_refused(place_map, file, path, value):
    change(file, *path, to=value)
    with input_error(file, "training/calibrate.py", "remove it"):
        read_calibration(place_map)


@pytest.mark.parametrize("key", ["format", "encoder", "index", "belief", "dynamics", "single", "radius"])
def test_a_missing_value_is_refused(place_map, file, key):
    read = json.loads(file.read_text())
    del read[key]
    file.write_text(json.dumps(read))
    with input_error(file, "damaged", key, "training/calibrate.py"):
        read_calibration(place_map)


def test_a_newer_format_says_what_to_install(place_map, file):
    file.write_text(json.dumps({"format": FORMAT + 1, "version": "9.1", "all": "else is different"}))
    with input_error(file, FORMAT + 1, "install vpr_ros 9.1 or newer"):
        read_calibration(place_map)


@pytest.mark.parametrize("key", ["encoder", "index"])
def test_that_of_another_map_or_encoder_is_refused(place_map, file, key):
    change(file, key, to="of another")
    with input_error(file, "of another map", "training/calibrate.py", "remove it"):
        read_calibration(place_map)


def test_a_map_built_anew_beside_its_calibration_does_not_take_it(place_map, file):
    place_map.manifest.files[INDEX] = FileSum(0, "another sum")
    with input_error(file, "of another map"):
        read_calibration(place_map)


# --- killed while it writes

#: Writes a calibration, and dies just before one of the calls that change the disk.
DYING = """
import os, sys
from pathlib import Path
from test.some_places import a_map
from test.test_calibration import some_calibration
from vpr_ros.files import atomic_file
from vpr_ros.calibration import write_calibration

calls = 0

def mortal(function):
    def call(*arguments, **options):
        global calls
        calls += 1
        if calls == deadline:
            os._exit(9)
        return function(*arguments, **options)
    return call

Path.write_text, Path.replace = mortal(Path.write_text), mortal(Path.replace)
atomic_file.sync = mortal(atomic_file.sync)
place_map = a_map([[0, 0, 0]], folder=Path(sys.argv[1]))
for deadline in range(1, 6):
    calls = 0
    child = os.fork()
    if not child:
        write_calibration(some_calibration(drive="the new one"), place_map)
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    print(status, (place_map.folder / "calibration.json").read_text().count("the new one"))
"""


def test_killed_while_it_writes_it_leaves_the_old_one(place_map, file):
    done = subprocess.run(
        [sys.executable, "-c", DYING, str(place_map.folder)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    # before it is written, synced and put in its place it is the old one; then it is the new one
    assert done.stdout.splitlines() == ["9 0", "9 0", "9 0", "9 1", "0 1"]
    assert read_calibration(place_map).drive == "the new one"
    left = {each.name for each in place_map.folder.iterdir()}
    assert left == {FILE}


def test_an_error_while_it_writes_leaves_the_old_one(place_map, file, monkeypatch):
    before = file.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device", str(file))

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OSError, match="No space"):
        write_calibration(some_calibration(drive="the new one"), place_map)
    assert file.read_bytes() == before
    assert {each.name for each in place_map.folder.iterdir()} == {FILE}


def test_precision_may_be_asked_for_as_an_array_of_drives():
    """Lists and arrays are the same."""
    p, right = [0.2, 0.9, 0.9], [False, True, True]
    assert Acceptance.of(np.array(p), np.array(right)) == Acceptance.of(p, right)
