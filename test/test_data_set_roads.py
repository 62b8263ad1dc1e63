"""From a public data set to figures: its files, a map of its database, the recall of its queries."""

import json

import cv2
import numpy as np
from scipy.io import savemat

from test.conftest import texture
from test.test_dbstruct import cells
from training.build_map import build_map
from training.evaluate import evaluate

VIEWS, PANORAMAS = 3, 30


def write_tokyo(folder):
    """Write panoramas of three views, 100 m apart, and queries that look like one view of each.

    Of the first panorama all views look more like the second query than those of the second do: counted
    place by place they hide it.
    """
    east = 381452.0 + 100 * np.arange(PANORAMAS)
    names = [f"03814/{panorama:03d}_{view}.jpg" for panorama in range(PANORAMAS) for view in range(VIEWS)]
    queries = [f"{panorama:05d}.jpg" for panorama in range(PANORAMAS)]
    (folder / "images" / "03814").mkdir(parents=True)
    (folder / "query").mkdir()
    for number, name in enumerate(names):
        panorama = number // VIEWS
        of_another = panorama == 0
        image = texture(1 if of_another else panorama)
        if not of_another:
            image = (0.5 * image + 0.5 * texture(1000 + number)).astype(np.uint8)
        cv2.imwrite(str((folder / "images" / name).with_suffix(".png")), image)
    for panorama, name in enumerate(queries):
        cv2.imwrite(str(folder / "query" / name), texture(panorama), [cv2.IMWRITE_JPEG_QUALITY, 98])
    north = 3945958.0
    struct = {
        "dbImageFns": cells(names),
        "utmDb": np.stack([np.repeat(east, VIEWS), np.full(len(names), north)]),
        "qImageFns": cells(queries),
        "utmQ": np.stack([east, np.full(PANORAMAS, north + 3)]),
        "dbTimeStamp": np.full((1, len(names)), 201304.0),
        "qTimeStamp": np.where(np.arange(PANORAMAS) < 10, 201304.0, 201305.0)[None],
    }
    savemat(folder / "tokyo247.mat", {"dbStruct": struct})
    return folder / "tokyo247.mat"


def test_tokyo(call, tmp_path, weights):
    file = write_tokyo(tmp_path / "tokyo")
    out = ("--weights", weights, "--device", "cpu")
    status, output, errors = call(
        build_map, "--data", file, "--session", "database", "--out", tmp_path / "map", *out
    )
    assert status == 0, errors
    assert f"{VIEWS * PANORAMAS} places of {VIEWS * PANORAMAS} images" in output

    def recalls(*options):
        asked = (
            "--map",
            tmp_path / "map",
            "--data",
            file,
            "--session",
            "queries",
            "--json",
            tmp_path / "r.json",
        )
        assert call(evaluate, *asked, *out, *options)[0] == 0
        return json.loads((tmp_path / "r.json").read_text())[0]

    plain, by_panorama, other_times = recalls(), recalls("--views", VIEWS), recalls("--other-times")
    assert plain["queries"] == by_panorama["queries"] == PANORAMAS
    # all three views of the first panorama come first for the second query, and count as one
    assert by_panorama["recall@2"] > plain["recall@2"]
    # all places have the stamp of the first ten queries
    assert other_times["recall@25"] <= (PANORAMAS - 10) / PANORAMAS < plain["recall@25"]
