"""An encoder of another project, from images to fixes: a map is built, judged, calibrated and driven on."""

import numpy as np
import pytest
from sensor_msgs.msg import Image as ImageMessage
from sensor_msgs.msg import PointCloud2

from test.as_command import check_refusal
from test.conftest import write_image_folder
from test.foreign_models import foreign_weights
from test.ros_graph import Peer, private_domain
from test.small_world import picture, small_map
from training.build_map import build_map
from training.calibrate import calibrate
from training.evaluate import evaluate
from training.map import add
from vpr_ros.geotagged import Image
from vpr_ros.images.camera_image import CameraImage
from vpr_ros.live_localiser import LiveLocaliser
from vpr_ros.localiser import Settings
from vpr_ros.messages import points_from_cloud
from vpr_ros.node_process import node_process
from vpr_ros.open_engine import load_model
from vpr_ros.place_map import open_map
from vpr_ros.replay import replay


@pytest.fixture(scope="module")
def foreign(tmp_path_factory):
    return foreign_weights(tmp_path_factory.mktemp("foreign") / "model.onnx", name="Foreign")


@pytest.fixture(scope="module")
def walk(tmp_path_factory):
    return write_image_folder(tmp_path_factory.mktemp("data") / "walk", 14)


@pytest.fixture(scope="module")
def built(foreign, walk, tmp_path_factory):
    folder = tmp_path_factory.mktemp("maps") / "map"
    build_map(walk, folder, foreign)
    return folder


def test_the_map_is_of_the_model_and_finds_its_places(built, walk, foreign):
    place_map = open_map(built)
    assert place_map.fingerprint == load_model(foreign).fingerprint()
    assert len(place_map) == 14
    assert evaluate(built, walk, foreign)[0]["recall@1"] == 1.0


def test_a_drive_is_calibrated_with_replayed_and_added(call, built, walk, foreign, tmp_path):
    place_map = tmp_path / "map"
    build_map(walk, place_map, foreign)
    assert calibrate(walk, place_map, foreign).frames == 14
    figures = replay(walk, place_map, tmp_path / "result", foreign, device="cpu")
    assert figures["recall"]["10m"]["recall@1"] == 1.0
    more = write_image_folder(tmp_path / "more", 3, first=40)
    status, _, errors = call(add, "--map", place_map, "--data", more, "--weights", foreign)
    assert status == 0, errors
    assert len(open_map(place_map)) == 17


def test_the_model_and_the_weights_that_ship_do_not_share_maps(call, built, walk, foreign, weights, tmp_path):
    ours = small_map(tmp_path / "ours", weights)
    for place_map, other in ((built, weights), (ours, foreign)):
        told = call(evaluate, "--map", place_map, "--data", walk, "--weights", other)
        check_refusal(*told, place_map, "built with other weights")
    another = foreign_weights(tmp_path / "another.onnx", seed=1)
    told = call(evaluate, "--map", built, "--data", walk, "--weights", another)
    check_refusal(*told, built, "built with other weights")


def test_a_lying_description_ends_a_build_before_the_work(call, walk, tmp_path):
    lying = foreign_weights(tmp_path / "model.onnx", dimension=64)
    told = call(build_map, "--data", walk, "--out", tmp_path / "map", "--weights", lying)
    check_refusal(*told, "gives (1, 48)", "correct dimension in model.yaml")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["model.onnx", "model.yaml"]


def test_a_localiser_in_use(built, foreign):
    live = LiveLocaliser(foreign, built, "cpu", Settings(filter=False), cpu_instead=True)
    assert live.decoder() is None
    for place in (2, 11):
        answer, _ = live.localise(image_of(place, built), 10**9, None, live.localiser.settings)
        assert answer.single.ranked[0].places[0] == place
    assert len(live.load(built)) == 14


def image_of(place: int, folder) -> CameraImage:
    small: Image | None = open_map(folder).image(place)
    assert small is not None
    return CameraImage(small)


def test_the_node_answers_with_it(tmp_path, foreign):
    weights = foreign
    place_map = small_map(tmp_path / "map", weights)
    parameters = {"map": place_map, "weights": weights, "reliability": "reliable"}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in private_domain().items():
            patch.setenv(name, value)
        peer = Peer()
        log = tmp_path / "node.log"
        with node_process(parameters, {"image": "/camera"}, log) as process:
            peer.hear(PointCloud2, "/vpr_localiser/hypotheses")
            camera = peer.publisher(ImageMessage, "/camera")
            heard = peer.kept("/vpr_localiser/hypotheses")
            peer.until(lambda: peer.node.count_publishers("/vpr_localiser/hypotheses"), "no such topic")
            for second, place in enumerate((3, 9), 1):
                image = picture(place)
                height, width = image.shape[:2]
                message = ImageMessage(height=height, width=width, encoding="rgb8", step=3 * width)
                message.data, message.header.stamp.sec = image.tobytes(), 100 * second
                camera.publish(message)
                peer.until(lambda: len(heard) == second, process.check() or "no answer")  # noqa: B023
                assert points_from_cloud(heard[-1])["place"][0] == place
        peer.close()
    assert "encoding on CPU by onnxruntime" in log.read_text()
    assert np.isfinite(points_from_cloud(heard[-1])["probability"]).all()
