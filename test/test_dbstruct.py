"""The dbStruct files of NetVLAD's authors."""

import numpy as np
import pytest
from scipy.io import savemat

from test.error_lines import input_error
from vpr_ros.drives.datasets.dbstruct import read_dbstruct
from vpr_ros.drives.datasets.utm_metres import parse_zone
from vpr_ros.geotagged import ground_distance
from vpr_ros.images.pixels import compress
from vpr_ros.sources import read_source

DATABASE = [f"000/00000{number}_pitch1_yaw1.jpg" for number in range(3)]
QUERIES = ["001/q0.jpg", "001/q1.jpg"]
PITTSBURGH = np.array([[585001.0, 585011.0, 585011.0], [4477060.0, 4477060.0, 4477080.0]])


def cells(names):
    array = np.empty((len(names), 1), object)
    array[:, 0] = names
    return array


def struct(**changes):
    fields = {
        "whichSet": "test",
        "dbImageFns": cells(DATABASE),
        "utmDb": PITTSBURGH,
        "qImageFns": cells(QUERIES),
        "utmQ": PITTSBURGH[:, :2] + 3.0,
        "numImages": 3.0,
        "numQueries": 2.0,
        "posDistThr": 25.0,
        "posDistSqThr": 625.0,
        "nonTrivPosDistSqThr": 100.0,
    } | changes
    return {name: value for name, value in fields.items() if value is not None}


def write(folder, name="pitts30k_test.mat", **changes):
    savemat(folder / name, {"dbStruct": struct(**changes)})
    return folder / name


def put(folder, names, first=0):
    for number, name in enumerate(names, first):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(compress(np.full((4, 6, 3), number, np.uint8), ".png"))


def test_database_and_queries_are_sessions(tmp_path):
    file = write(tmp_path)
    put(tmp_path / "images", DATABASE)
    put(tmp_path / "queries", QUERIES, 10)
    images = read_source(file)
    assert images.rows["image"].tolist() == DATABASE + QUERIES
    assert images.rows["session"].tolist() == ["database"] * 3 + ["queries"] * 2
    assert [images.read(row)[0, 0, 0] for row in range(5)] == [0, 1, 2, 10, 11]
    # Pittsburgh, and metres are metres but for UTM's scale
    assert abs(images.rows["latitude"][0] - 40.44) < 0.01
    assert abs(images.rows["longitude"][0] + 79.998) < 0.01
    rows = images.rows
    np.testing.assert_allclose(ground_distance(rows[0], rows[:3]), [0, 10, np.hypot(10, 20)], rtol=1e-3)
    np.testing.assert_allclose(ground_distance(rows[:2], rows[3:]), 3 * np.sqrt(2), rtol=1e-3)


def test_of_one_image_each(tmp_path):
    one = {"utmDb": PITTSBURGH[:, :1], "utmQ": PITTSBURGH[:, :1]}
    file = write(tmp_path, dbImageFns=cells(DATABASE[:1]), qImageFns=cells(QUERIES[:1]), **one)
    assert len(read_dbstruct(file)) == 2


def test_fields_are_found_by_name_in_any_order(tmp_path):
    fields = struct()
    savemat(tmp_path / "pitts.mat", {"dbStruct": {name: fields[name] for name in reversed(fields)}})
    assert read_dbstruct(tmp_path / "pitts.mat").rows["image"].tolist() == DATABASE + QUERIES


def test_folders_that_are_named(tmp_path):
    file = write(tmp_path)
    put(tmp_path / "db", DATABASE)
    put(tmp_path / "q", QUERIES, 10)
    images = read_dbstruct(file, tmp_path / "db", tmp_path / "q")
    assert [images.read(row)[0, 0, 0] for row in (0, 4)] == [0, 11]


def test_images_beside_the_folder_of_the_file(tmp_path):
    (tmp_path / "datasets").mkdir()
    file = write(tmp_path / "datasets")
    put(tmp_path, DATABASE)
    put(tmp_path / "queries_real", QUERIES, 10)
    images = read_dbstruct(file)
    assert [images.read(row)[0, 0, 0] for row in (0, 4)] == [0, 11]


def test_one_folder_for_both_as_of_tokyo_time_machine(tmp_path):
    put(tmp_path / "images", DATABASE + QUERIES)
    images = read_dbstruct(write(tmp_path))
    assert [images.read(row)[0, 0, 0] for row in range(5)] == [0, 1, 2, 3, 4]


def test_tokyo_24_7_is_called_jpg_and_is_png(tmp_path):
    tokyo = np.array([[381452.76], [3945958.24]])
    file = write(
        tmp_path,
        "tokyo247.mat",
        **{
            "dbImageFns": cells(["03814/a_012_000.jpg"]),
            "utmDb": tokyo,
            "qImageFns": cells(["q.jpg"]),
            "utmQ": tokyo,
        },
    )
    put(tmp_path / "images", ["03814/a_012_000.png"])
    put(tmp_path / "query", ["q.jpg"], 5)
    images = read_dbstruct(file)
    assert images.rows["image"].tolist() == ["03814/a_012_000.png", "q.jpg"]
    assert [images.read(row)[0, 0, 0] for row in (0, 1)] == [0, 5]
    assert np.round(images.rows["longitude"], 1).tolist() == [139.7, 139.7]  # of zone 54


def test_time_stamps_of_tokyo_time_machine(tmp_path):
    tokyo = {"utmDb": PITTSBURGH, "utmQ": PITTSBURGH[:, :2]}
    times = {"dbTimeStamp": np.array([[201304.0, 201305.0, 7.5]]), "qTimeStamp": cells(["201304", "7.5"])}
    rows = read_dbstruct(write(tmp_path, **tokyo, **times)).rows
    april, may = 1364774400 * 10**9, 1367366400 * 10**9
    assert rows["stamp"].tolist() == [april, may, 7500000, april, 7500000]


def test_a_zone_must_be_known(tmp_path):
    file = write(tmp_path, "mine.mat")
    with input_error(file, "no UTM zone", "dbstruct,zone="):
        read_dbstruct(file)
    assert len(read_dbstruct(file, zone=parse_zone("17T"))) == 5


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"utmDb": None}, ("no utmDb",)),
        ({"qImageFns": None}, ("no qImageFns",)),
        ({"utmDb": PITTSBURGH[:, :2]}, ("utmDb", "(2, 3)")),
        ({"utmDb": PITTSBURGH.T}, ("utmDb", "(2, 3)")),
        ({"utmDb": PITTSBURGH / 1e4}, ("easting", DATABASE[0])),
        ({"utmDb": PITTSBURGH * np.nan}, ("easting nan",)),
        ({"utmDb": "north"}, ("utmDb",)),
        ({"dbImageFns": cells(["../../etc/passwd", *DATABASE[1:]])}, ("outside the folder",)),
        ({"qImageFns": cells(["/etc/passwd", "b"])}, ("outside the folder",)),
        ({"dbTimeStamp": np.array([1.0])}, ("1 dbTimeStamp of 3",)),
        ({"dbTimeStamp": np.array([1.0, np.nan, 1e30])}, ("time stamp 'nan'",)),
        ({"qTimeStamp": cells(["noon", "1"])}, ("time stamp 'noon'",)),
        ({"qTimeStamp": np.array([1e30, 1.0])}, ("time stamp '1e+30'",)),
    ],
)
def test_fields_that_are_wrong(tmp_path, changes, parts):
    file = write(tmp_path, **changes)
    with input_error(file, *parts):
        read_dbstruct(file)


def test_files_that_are_none(tmp_path):
    file = tmp_path / "pitts.mat"
    with input_error(file, "no such file"):
        read_source(file)
    savemat(file, {"net": 1.0})
    with input_error(file, "no struct dbStruct"):
        read_dbstruct(file)
    savemat(file, {"dbStruct": 1.0})
    with input_error(file, "no struct dbStruct"):
        read_dbstruct(file)
    # how MATLAB 7.3, which is HDF5, begins
    file.write_bytes(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM" + bytes(400))
    with input_error(file, "7.3", "-v7"):
        read_dbstruct(file)


def test_damage_is_told_in_a_line_even_where_it_crashes_the_reader(tmp_path):
    file = write(tmp_path)
    whole = file.read_bytes()
    crash = [(416, 1), (448, 4), (472, 4), (640, 4)]  # SciPy 1.17
    flipped = [whole[:place] + bytes([whole[place] ^ bit]) + whole[place + 1 :] for place, bit in crash]
    for data in (*flipped, whole[: len(whole) // 2], whole[:100], b"", b"MATLAB"):
        file.write_bytes(data)
        with input_error(file):
            read_dbstruct(file)


def test_a_missing_image_is_told_when_it_is_read(tmp_path):
    images = read_dbstruct(write(tmp_path))
    with input_error(tmp_path / "images" / DATABASE[0], "no such image"):
        images.read(0)
