"""The model that ships, on real photographs; they are not part of the project and may be absent."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from training.build_map import build_map
from training.evaluate import evaluate
from vpr_ros.drives.folder import read_folder
from vpr_ros.encoder import DEFAULT_WEIGHTS, load_encoder
from vpr_ros.engine import Engine, choose_device
from vpr_ros.engines.batches import encode_table
from vpr_ros.geotagged import within_radius
from vpr_ros.maps.writer import InMemory, write_map
from vpr_ros.metrics import recall_at
from vpr_ros.place_map import open_map

DATA = Path(__file__).parents[2] / "shared" / "data"

needs_model = pytest.mark.skipif(
    not DEFAULT_WEIGHTS.is_file(), reason=f"no default model at {DEFAULT_WEIGHTS}"
)


def photographs(name):
    folder = DATA / name
    return pytest.mark.skipif(not (folder / "images").is_dir(), reason=f"no photographs at {folder}")


@needs_model
@photographs("corridor")
def test_a_corridor_walked_twice(tmp_path):
    """The second walk finds its frames in the first; frame i is frame i, give or take two."""
    build_map(DATA / "corridor", tmp_path / "map", session="ref", pictures=False)
    (figures,) = evaluate(tmp_path / "map", DATA / "corridor", session="query", radius=2.5)
    assert (figures["queries"], figures["unmapped"], figures["places"]) == (111, 0, 111)
    assert figures["recall@1"] >= 0.81
    assert figures["recall@5"] >= figures["recall@1"]


@needs_model
@photographs("robot-loop")
def test_a_robot_on_its_loop(tmp_path):
    """Every other image is a place, those between are the queries."""
    engine = Engine(load_encoder(), choose_device("cpu"))
    images = read_folder(DATA / "robot-loop")
    descriptors = np.concatenate([batch.descriptors for batch in encode_table(engine, images)])
    assert descriptors.shape == (72, engine.dimension)
    source = InMemory(engine.dimension)
    source.add(descriptors[::2], images.rows[::2])
    write_map(tmp_path / "map", source, engine.fingerprint, 1.0, progress=False)
    place_map = open_map(tmp_path / "map", engine.fingerprint)
    positives = within_radius(images.rows[1::2], place_map.places, 6.0)
    asked = [row for row, near in enumerate(positives) if len(near)]
    assert len(asked) >= 30
    _, found = place_map.search(descriptors[1::2], 1)
    assert recall_at([found[row] for row in asked], [positives[row] for row in asked], [1])[1] >= 0.9


@needs_model
@photographs("street")
def test_a_street_by_the_exif_of_its_photographs(tmp_path):
    table = read_folder(DATA / "street").rows
    chosen = table[::6]
    (tmp_path / "street").mkdir()
    for name in chosen["image"].tolist():
        shutil.copy(DATA / "street" / name, tmp_path / "street")
    rows = read_folder(tmp_path / "street").rows
    assert rows["image"].tolist() == [Path(name).name for name in chosen["image"].tolist()]
    assert np.allclose(rows["latitude"], chosen["latitude"], atol=1e-7)
    assert np.allclose(rows["longitude"], chosen["longitude"], atol=1e-7)
    assert np.allclose(rows["altitude"], chosen["altitude"], atol=0.5)
    build_map(tmp_path / "street", tmp_path / "map")
    opened = open_map(tmp_path / "map")
    assert len(opened) == len(chosen) == 5
    assert 1 < opened.spacing < 1000
    assert opened.image(0).shape == (180, 240, 3)
    (figures,) = evaluate(tmp_path / "map", tmp_path / "street", radius=1.0)
    assert figures["recall@1"] == 1.0
