"""A localiser whose map, settings and device change while it answers."""

import shutil
import threading
from dataclasses import replace

import pytest
import torch

from test.small_world import picture, small_map, small_weights
from vpr_ros.engine import Engine
from vpr_ros.errors import InputError
from vpr_ros.images.camera_image import CameraImage
from vpr_ros.live_localiser import LiveLocaliser
from vpr_ros.localiser import Settings
from vpr_ros.prior import Prior

SETTINGS = Settings()


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("live")
    weights = small_weights(folder / "weights.safetensors")
    return weights, small_map(folder / "map", weights), small_map(folder / "short", weights, places=5)


@pytest.fixture
def live(files):
    return LiveLocaliser(*files[:2], "cpu", SETTINGS, cpu_instead=True)


def places(live, place, stamp=10**9, settings=SETTINGS):
    answer, _ = live.localise(CameraImage(picture(place)), stamp, None, settings)
    return [each.places[0] for each in answer.hypotheses.ranked]


def test_settings_change_between_two_images_and_the_map_stays(live):
    place_map = live.localiser.place_map
    assert len(places(live, 3)) > 1
    assert len(places(live, 3, settings=replace(SETTINGS, k=1, filter=False))) == 1
    assert not live.localiser.filters
    assert live.localiser.place_map is place_map


def test_a_prior_is_asked_for_with_each_image(live):
    latitude, longitude = live.localiser.place_map.places[["latitude", "longitude"]][7]
    near = Prior(float(latitude), float(longitude), 900.0, 0.0, 900.0)
    answer, localiser = live.localise(CameraImage(picture(7)), 10**9, None, SETTINGS, near)
    assert {place for each in answer.single.ranked for place in each.places} == {6, 7, 8}
    assert localiser.reached == 3
    assert len(places(live, 7, 2 * 10**9)) > 3


def test_another_map_is_switched_to_and_a_bad_one_is_not(live, files, tmp_path):
    assert places(live, 11)[0] == 11
    assert len(live.load(files[2])) == 5
    assert max(places(live, 11, 2 * 10**9)) < 5
    damaged = shutil.copytree(files[1], tmp_path / "damaged")
    (damaged / "index.faiss").write_bytes(b"")
    for bad in (damaged, tmp_path, tmp_path / "none"):
        with pytest.raises(InputError):
            live.load(bad)
    assert len(live.localiser.place_map) == 5


def test_settings_that_change_during_a_load_are_kept(live, files, monkeypatch):
    from vpr_ros import localiser

    def meanwhile(place_map):
        places(live, 3, settings=replace(SETTINGS, k=2))

    monkeypatch.setattr(localiser, "read_calibration", meanwhile)
    live.load(files[2])
    assert live.localiser.settings.k == 2


def test_a_load_that_ends_after_the_cleanup_is_told_so(live, files, monkeypatch):
    from vpr_ros import localiser

    monkeypatch.setattr(localiser, "read_calibration", lambda _: live.close())
    with pytest.raises(InputError, match="cleaned up"):
        live.load(files[2])


def test_images_are_answered_while_maps_are_loaded(live, files):
    """Each by one map or by the other, whole."""
    done = threading.Event()

    def load():
        for number in range(30):
            live.load(files[1 + number % 2])
        done.set()

    threading.Thread(target=load).start()
    stamp, answered = 10**9, 0
    while not done.is_set() or not answered:
        stamp += 10**9
        answer, localiser = live.localise(CameraImage(picture(2)), stamp, None, SETTINGS)
        best = answer.single.ranked[0]
        assert best.places[0] == 2
        assert all(place < len(localiser.place_map) for each in answer.single.ranked for place in each.places)
        answered += 1


class FullGpu(Engine):
    """On the CPU, though it says otherwise; its memory is used up when FullGpu.full says so."""

    full = ""

    def __init__(self, encoder, device, bfloat16=False):
        super().__init__(encoder, torch.device("cpu"))
        self.says = device

    def encode_one(self, image, meanwhile):
        if self.full and self.says.type == "cuda":
            raise torch.cuda.OutOfMemoryError(self.full) if self.full[0] == "C" else RuntimeError(self.full)
        return super().encode_one(image, meanwhile)


@pytest.fixture
def gpu(monkeypatch):
    from vpr_ros import open_engine

    monkeypatch.setattr(open_engine, "Engine", FullGpu)
    monkeypatch.setattr(open_engine, "choose_device", torch.device)
    monkeypatch.setattr(FullGpu, "full", "")


USED_UP = ["CUDA out of memory. Tried to allocate 2 GiB", "cuDNN error: CUDNN_STATUS_ALLOC_FAILED"]


@pytest.mark.parametrize("said", USED_UP)
def test_where_the_gpu_is_full_it_goes_on_with_the_cpu(gpu, files, monkeypatch, said):
    live = LiveLocaliser(*files[:2], "cuda", SETTINGS, cpu_instead=True)
    assert places(live, 3)[0] == 3
    assert live.fell_back == ""
    monkeypatch.setattr(FullGpu, "full", said)
    assert places(live, 4, 2 * 10**9)[0] == 4
    assert live.fell_back == said
    assert live.localiser.engine.says.type == "cpu"
    live.load(files[2])
    assert live.localiser.engine.says.type == "cpu"


def test_from_the_first_image_on(gpu, files, monkeypatch):
    monkeypatch.setattr(FullGpu, "full", USED_UP[0])
    live = LiveLocaliser(*files[:2], "cuda", SETTINGS, cpu_instead=True)
    assert places(live, 3)[0] == 3
    with pytest.raises(torch.cuda.OutOfMemoryError):
        LiveLocaliser(*files[:2], "cuda", SETTINGS, cpu_instead=False)


def test_other_errors_are_not_taken_for_it(gpu, files, monkeypatch):
    live = LiveLocaliser(*files[:2], "cuda", SETTINGS, cpu_instead=True)
    monkeypatch.setattr(FullGpu, "full", "an illegal memory access was encountered")
    with pytest.raises(RuntimeError, match="illegal"):
        places(live, 3)
    assert live.fell_back == ""
