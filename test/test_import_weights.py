"""Other projects' NetVLADs: what is imported answers as the equations say; any other file gets one line."""

import argparse
import os
import pickle
import shutil
import struct
import zipfile
import zlib

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from scipy.io import savemat

from test.as_command import check_refusal, script
from test.conftest import write_image_folder
from test.foreign_files import IMAGENET, OF_255, Network, cell, write_mat, write_mat_of_objects
from training.build_map import build_map
from training.foreign import mat as foreign_mat
from training.foreign import network as foreign_network
from training.foreign.mat import read_mat
from training.import_weights import import_weights
from vpr_ros.encoder import Encoder, load_encoder
from vpr_ros.encoders.weights_file import weights_metadata
from vpr_ros.place_map import open_map

#: A training run's own figures, beside the network.
FIGURES = {"epoch": 7, "recalls": {1: np.float64(0.85)}, "best_score": np.float64(0.95), "parallel": False}


def under(prefix, state):
    return {prefix + name: tensor for name, tensor in state.items()}


def within(part, state):
    """Return the state dict with DataParallel around each part of the network."""
    return {name.replace(".", f".{part}.", 1): tensor for name, tensor in state.items()}


def pytorch_netvlad(file):
    network = Network("vgg16", 3)
    torch.save({**FIGURES, "state_dict": network.state_dict("encoder.", "pool.")}, file)
    return network, IMAGENET


def pytorch_netvlad_of_two_gpus(file):
    network = Network("alexnet", 3, bias=True)
    weight = torch.nn.Parameter(torch.zeros(3))
    optimiser = torch.optim.SGD([weight], lr=0.1, momentum=0.9)
    weight.sum().backward()
    optimiser.step()
    state = within("module", network.state_dict("encoder.", "pool."))
    content = {**FIGURES, "state_dict": state, "optimizer": optimiser.state_dict()}
    torch.save(content, file, _use_new_zipfile_serialization=False)  # as PyTorch before 1.6 did
    return network, IMAGENET


def patch_netvlad(file):
    network = Network("vgg16", 2, 5)
    state = network.state_dict("encoder.", "pool.", "WPCA.0.")
    state["WPCA.0.weight"] = state["WPCA.0.weight"].double()  # NumPy's PCA
    torch.save({"num_pcs": 5, "state_dict": state}, file)
    return network, IMAGENET


OPENIBL = (
    [0.48501960784313836, 0.4579568627450961, 0.4076039215686255],
    [0.00392156862745098, 0.00392156862745098, 0.00392156862745098],
)


def openibl(file):
    network = Network("vgg16", 3, 5)
    torch.save(network.state_dict("base_model.base.", "net_vlad.", "pca_layer."), file)
    return network, OPENIBL


def openibl_of_a_run(file):
    network = Network("vgg16", 3)
    state = under("module.", network.state_dict("base_model.base.", "net_vlad."))
    torch.save({"state_dict": state, "epoch": 4, "best_recall5": np.float64(0.9)}, file)
    return network, OPENIBL


def benchmark(file):
    network = Network("vgg16", 3)
    torch.save(under("module.", network.state_dict("backbone.", "aggregation.")), file)
    return network, IMAGENET


def benchmark_of_a_run(file):
    network = Network("alexnet", 3, 5)
    state = network.state_dict("backbone.", "aggregation.0.", "aggregation.1.", one_by_one=False)
    content = {"model_state_dict": state, "recalls": np.array([80.0, 90.0]), "best_r5": np.float32(90)}
    torch.save({**content, "args": argparse.Namespace(seed=0)}, file)
    return network, IMAGENET


def hloc(file):
    network = Network("vgg16", 3, 5)
    write_mat(file, network.mat_layers())
    return network, OF_255


def hloc_not_whitened(file):
    network = Network("vgg16", 3)
    write_mat(file, network.mat_layers(), compress=True)
    return network, OF_255


PUBLISHED = {
    pytorch_netvlad: ("pytorch-NetVlad", "VGG-16"),
    pytorch_netvlad_of_two_gpus: ("pytorch-NetVlad", "AlexNet"),
    patch_netvlad: ("Patch-NetVLAD", "VGG-16"),
    openibl: ("OpenIBL", "VGG-16"),
    openibl_of_a_run: ("OpenIBL", "VGG-16"),
    benchmark: ("deep-visual-geo-localization-benchmark", "VGG-16"),
    benchmark_of_a_run: ("deep-visual-geo-localization-benchmark", "AlexNet"),
    hloc: ("hloc", "VGG-16"),
    hloc_not_whitened: ("hloc", "VGG-16"),
}


@pytest.fixture(scope="module", params=PUBLISHED, ids=lambda write: write.__name__)
def imported(request, tmp_path_factory):
    """A file of each kind: who wrote it, its network and input, the file, the weights made of it."""
    folder = tmp_path_factory.mktemp("imported")
    file, out = folder / "published.file", folder / "weights.safetensors"
    network, statistics = request.param(file)
    import_weights(file, out)
    yield request.param, network, statistics, file, out
    shutil.rmtree(folder)  # together they are a gigabyte


# --- what is imported answers as the original does --------------------------------------------------------


@pytest.mark.parametrize("size", [(64, 80), (95, 71)])
def test_descriptors_are_those_of_the_equations(imported, size):
    write, network, statistics, _, out = imported
    image = torch.rand(3, *size, generator=torch.Generator().manual_seed(3))
    of_255, by_cluster = statistics is OF_255, PUBLISHED[write][0] != "hloc"
    expected = network.answer(255 * image if of_255 else image, statistics, by_cluster)
    if network.whitening is None and not by_cluster:  # the same numbers, in our order
        expected = expected.view(network.depth, network.clusters).T.flatten()
    descriptor = load_encoder(out)(image[None])[0]
    assert (descriptor - expected).norm() < 1e-5
    assert descriptor.norm() == pytest.approx(1, abs=1e-5)


def test_the_file_says_what_it_is(imported):
    write, network, _, file, out = imported
    metadata = weights_metadata(out)
    project, trunk = PUBLISHED[write]
    assert metadata["trunk"] == trunk.lower().replace("-", "")
    assert metadata["clusters"] == network.clusters
    assert metadata["dimension"] == (0 if network.whitening is None else 5)
    assert metadata["input_size"] == 480
    for part in (project, file.name, "run there on images"):
        assert part in metadata["trained_on"]


def test_the_same_file_gives_the_same_fingerprint(imported, tmp_path):
    *_, file, out = imported
    again = tmp_path / "again.safetensors"
    import_weights(file, again)
    assert load_encoder(again).fingerprint() == load_encoder(out).fingerprint()
    again.unlink()


def test_the_trunk_computes_numbers_that_half_precision_holds_and_no_descriptor_changes(tmp_path):
    write_mat(tmp_path / "net.mat", Network("vgg16", 3, 5).mat_layers())
    network = read_mat(tmp_path / "net.mat")
    encoder = foreign_network.to_encoder(network, tmp_path / "net.mat", 480)
    plain = Encoder(encoder.architecture)
    plain.load_state_dict(encoder.state_dict())
    for name, tensor in plain.trunk.state_dict().items():
        tensor.copy_(network.parts[f"trunk.{name}"].tensor)
    plain.std.copy_(torch.tensor(network.std).view(3, 1, 1))
    image = torch.rand(1, 3, 64, 80, generator=torch.Generator().manual_seed(3))
    assert encoder.normalise(image).abs().max() < 4  # as of ImageNet's statistics
    assert plain.normalise(image).abs().max() > 100
    assert torch.equal(encoder(image), plain.eval()(image))


def test_input_size_is_a_choice(tmp_path, call):
    pytorch_netvlad_of_two_gpus(tmp_path / "net.pth.tar")
    out = tmp_path / "weights.safetensors"
    status, output, _ = call(
        import_weights, "--file", tmp_path / "net.pth.tar", "--out", out, "--input-size", 240
    )
    assert status == 0
    assert "240" in output
    assert load_encoder(out).architecture.input_size == 240


# --- as people run it -------------------------------------------------------------------------------------


def test_from_a_checkpoint_to_a_map(tmp_path):
    pytorch_netvlad_of_two_gpus(tmp_path / "model_best.pth.tar")
    done = script("import_weights.py", "model_best.pth.tar", "--out", "mine.safetensors", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == (
        "mine.safetensors: pytorch-NetVlad's NetVLAD on alexnet, K 3, not whitened, 768 dimensions; "
        "images are resized to a shorter side of 480\n"
    )
    assert done.stderr == ""
    folder = write_image_folder(tmp_path / "walk", 4)
    build_map(folder, tmp_path / "map", tmp_path / "mine.safetensors")
    encoder = load_encoder(tmp_path / "mine.safetensors")
    opened = open_map(tmp_path / "map", encoder.fingerprint())
    assert len(opened) == 4
    assert opened.manifest.dimension == encoder.dimension == 3 * 256


def test_a_real_process_refuses_in_one_line(tmp_path):
    write_mat_of_objects(tmp_path / "vd16_pitts30k.mat")
    done = script("import_weights.py", "vd16_pitts30k.mat", "--out", "mine.safetensors", cwd=tmp_path)
    check_refusal(done.returncode, done.stdout, done.stderr, "vd16_pitts30k.mat", "only MATLAB", "hloc")
    assert [file.name for file in tmp_path.iterdir()] == ["vd16_pitts30k.mat"]


@pytest.fixture
def refused(tmp_path, call):
    """Import a file that is to be refused; check that one line says so and that nothing was written."""

    def refused(file, *parts):
        out = tmp_path / "out" / "weights.safetensors"
        status, output, errors = call(import_weights, "--file", file, "--out", out)
        check_refusal(status, output, errors, file, *parts)
        assert not out.parent.exists()
        file.unlink()  # some are large

    return refused


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--file", "gone.pth", "--out", "a.safetensors"], "gone.pth: no such file"),
        (["--file", "net.pth", "--out", "weights.pth"], "--out weights.pth"),
        (["--file", "net.pth", "--out", "a.safetensors", "--input-size", 12], "--input-size 12"),
    ],
)
def test_wrong_options(tmp_path, monkeypatch, call, options, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.pth").write_bytes(b"not read")
    check_refusal(*call(import_weights, *options), said, "expected")


# --- checkpoints that are none of these, or damaged -------------------------------------------------------


@pytest.fixture(scope="module")
def state():
    return Network("alexnet", 3, 5).state_dict("encoder.", "pool.", "WPCA.0.")


def saved(folder, state):
    torch.save({"state_dict": state}, folder / "net.pth.tar")
    return folder / "net.pth.tar"


@pytest.mark.parametrize(
    "name",
    [
        "encoder.0.bias",
        "encoder.10.weight",
        "pool.centroids",
        "pool.conv.weight",
        "WPCA.0.weight",
        "WPCA.0.bias",
    ],
)
def test_a_tensor_that_is_missing_is_named(tmp_path, state, refused, name):
    refused(saved(tmp_path, {key: tensor for key, tensor in state.items() if key != name}), f"'{name}'")


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("encoder.3.weight", (192, 64, 3, 3)),
        ("encoder.10.bias", (512,)),
        ("pool.centroids", (3, 512)),
        ("pool.centroids", (4, 256)),
        ("pool.centroids", (256,)),
        ("pool.centroids", (0, 256)),
        ("pool.conv.weight", (4, 256, 1, 1)),
        ("pool.conv.weight", (3, 256, 3, 3)),
        ("pool.conv.bias", (4,)),
        ("WPCA.0.weight", (5, 700, 1, 1)),
        ("WPCA.0.weight", (6, 768, 1, 1)),
        ("WPCA.0.bias", (6,)),
    ],
)
def test_a_shape_that_does_not_fit_is_said(tmp_path, state, refused, name, shape):
    refused(saved(tmp_path, {**state, name: torch.zeros(shape)}), "is (", "expected")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["encoder.6.weight", "pool.conv.weight", "WPCA.0.bias"])
def test_a_value_that_is_none_is_said(tmp_path, state, refused, name, value):
    broken = state[name].clone()
    broken.view(-1)[-1] = value
    refused(saved(tmp_path, {**state, name: broken}), f"'{name}'", "not finite")


@pytest.mark.filterwarnings("ignore:Sparse")  # PyTorch says that it does not check them
@pytest.mark.parametrize(
    "tensor",
    [
        torch.zeros(3, 256, dtype=torch.int64),
        torch.zeros(3, 256).to_sparse(),
        torch.zeros(3, 256, device="meta"),
    ],
    ids=["whole", "sparse", "meta"],
)
def test_a_tensor_of_another_kind_is_named(tmp_path, state, refused, tensor):
    refused(saved(tmp_path, {**state, "pool.centroids": tensor}), "'pool.centroids'")


def test_a_layer_nobody_knows_is_not_left_out(tmp_path, refused):
    network = Network("alexnet", 3).state_dict("backbone.", "aggregation.")
    refused(
        saved(tmp_path, {**network, "aggregation.crn.0.weight": torch.zeros(2)}), "aggregation.crn.0.weight"
    )


def test_other_networks_are_refused_with_what_was_found(tmp_path, refused):
    resnet = {"backbone.0.weight": torch.zeros(64, 3, 7, 7), "backbone.1.weight": torch.zeros(64)}
    pooled = {
        "aggregation.centroids": torch.zeros(3, 256),
        "aggregation.conv.weight": torch.zeros(3, 256, 1, 1),
    }
    refused(saved(tmp_path, resnet | pooled), "'backbone.0.weight' (64, 3, 7, 7)", "VGG-16 or AlexNet")
    convolutions = Network("alexnet", 3).state_dict("encoder.", "pool.")
    maximum = {name: tensor for name, tensor in convolutions.items() if name.startswith("encoder.")}
    refused(saved(tmp_path, maximum), "'encoder.0.weight'", "NetVLAD")
    refused(saved(tmp_path, {}), "0 tensors")
    refused(saved(tmp_path, {"a\nb": torch.zeros(1), 7: torch.zeros(1)}), r"'a\nb'")


@pytest.mark.parametrize("content", [[1, 2], torch.zeros(3), "text", {"state_dict": [1]}], ids=str)
def test_what_is_no_state_dict(tmp_path, refused, content):
    torch.save(content, tmp_path / "net.pth")
    refused(tmp_path / "net.pth", "not a state dict")


@pytest.mark.parametrize(
    "content", [b"", b"\x00" * 64, b"<html>not found</html>", b"PK\x03\x04" + b"\x00" * 64]
)
def test_what_is_no_checkpoint(tmp_path, refused, content):
    (tmp_path / "net.pth").write_bytes(content)
    refused(tmp_path / "net.pth", "not a checkpoint", "expected")


@pytest.mark.parametrize("share", [0.001, 0.5, 0.99])
@pytest.mark.parametrize("zipped", [True, False])
def test_truncated(tmp_path, state, refused, zipped, share):
    file = tmp_path / "net.pth"
    torch.save(state, file, _use_new_zipfile_serialization=zipped)
    file.write_bytes(file.read_bytes()[: int(share * file.stat().st_size)])
    refused(file)


def test_weights_of_ours_are_none_of_theirs(tmp_path, refused):
    save_file({"a": torch.zeros(1)}, tmp_path / "ours.safetensors")
    refused(tmp_path / "ours.safetensors", "not a checkpoint")


class Caller:
    """Pickled, it asks for a function to be called."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("function", [os.mkdir, eval, exec, argparse.ArgumentParser, pickle.loads])
def test_nothing_in_a_checkpoint_is_executed(tmp_path, state, refused, zipped, function):
    made = tmp_path / "made"
    argument = {os.mkdir: str(made), pickle.loads: pickle.dumps(Caller(os.mkdir, str(made)))}.get(
        function, f"__import__('os').mkdir({str(made)!r})"
    )
    content = {"state_dict": state, "epoch": Caller(function, argument)}
    torch.save(content, tmp_path / "net.pth", _use_new_zipfile_serialization=zipped)
    refused(tmp_path / "net.pth", "holds more than tensors", "torch.save(model.state_dict()")
    assert not made.exists()


def test_an_archive_that_unpacks_to_more_than_there_is(tmp_path, refused, monkeypatch):
    monkeypatch.setattr("training.foreign.checkpoint.MOST_BYTES", 2**20)
    with zipfile.ZipFile(tmp_path / "net.pth", "w", zipfile.ZIP_DEFLATED) as opened:
        opened.writestr("net/data/0", bytes(2**21))
    refused(tmp_path / "net.pth", "would unpack")


def test_a_number_repeated_to_a_huge_tensor(tmp_path, state, refused):
    huge = {
        "pool.centroids": torch.zeros(1).expand(4096, 256),
        "pool.conv.weight": torch.zeros(1, 1, 1, 1).expand(4096, 256, 1, 1),
        "WPCA.0.weight": torch.zeros(1, 1, 1, 1).expand(65536, 4096 * 256, 1, 1),
        "WPCA.0.bias": torch.zeros(1).expand(65536),
    }
    refused(saved(tmp_path, state | huge), "4096 clusters")


# --- .mat files that are none of these, or damaged --------------------------------------------------------


@pytest.fixture(scope="module")
def whitened():
    return Network("vgg16", 3, 5)


@pytest.fixture
def layers(whitened):
    return whitened.mat_layers()


@pytest.mark.parametrize(
    ("number", "which", "shape"),
    [
        (0, 0, (3, 3, 3, 63)),
        (28, 0, (3, 512, 512)),
        (28, 1, (1, 500)),
        (30, 0, (512, 4)),
        (30, 1, (511, 3)),
        (30, 1, (512,)),
        (33, 0, (1, 1, 1000, 5)),
        (33, 0, (1, 1, 1536, 6)),
        (33, 1, (1, 6)),
    ],
)
def test_a_shape_in_a_mat_that_does_not_fit_is_said(tmp_path, refused, layers, number, which, shape):
    layers[0, number]["weights"][0, which] = np.zeros(shape, np.float32)
    refused(write_mat(tmp_path / "net.mat", layers), "net.layers{", "expected")


def test_a_value_in_a_mat_that_is_none_is_said(tmp_path, refused, layers):
    layers[0, 5]["weights"][0, 1] = np.full((1, 128), np.nan, np.float32)
    refused(write_mat(tmp_path / "net.mat", layers), "net.layers{6}.weights{2}", "not finite")


def test_layers_without_weights(tmp_path, refused, layers):
    layers[0, 30] = {"type": "custom"}
    refused(write_mat(tmp_path / "net.mat", layers), "net.layers{31}.weights{1}", "hloc")
    layers[0, 30] = {"type": "custom", "weights": cell(torch.zeros(512, 3))}
    refused(write_mat(tmp_path / "net.mat", layers), "net.layers{31}.weights{", "hloc")
    layers[0, 30] = {"type": "custom", "weights": "text"}
    refused(write_mat(tmp_path / "net.mat", layers), "net.layers{31}.weights{1}", "hloc")


def test_another_number_of_layers(tmp_path, refused, layers):
    refused(write_mat(tmp_path / "net.mat", layers[:, :21]), "21 layers")
    refused(write_mat(tmp_path / "net.mat", "text"), "hloc")


def test_a_mean_that_is_none(tmp_path, refused, layers):
    refused(write_mat(tmp_path / "net.mat", layers, [1.0, float("nan"), 1.0]), "averageImage", "not finite")
    savemat(tmp_path / "net.mat", {"net": {"layers": layers, "meta": "none"}})
    refused(tmp_path / "net.mat", "no mean", "averageImage")
    savemat(
        tmp_path / "net.mat", {"net": {"layers": layers, "meta": {"normalization": {"averageImage": []}}}}
    )
    refused(tmp_path / "net.mat", "no mean", "averageImage")


def test_a_mat_of_something_else(tmp_path, refused):
    savemat(tmp_path / "a.mat", {"dbStruct": {"whichSet": "test"}})
    refused(tmp_path / "a.mat", "no variable 'net'")
    savemat(tmp_path / "a.mat", {"net": np.zeros(3)})
    refused(tmp_path / "a.mat", "hloc")


def test_the_authors_own_file(tmp_path, refused):
    refused(write_mat_of_objects(tmp_path / "vd16.mat"), "MATLAB classes", foreign_mat.CONVERTED)


def test_a_mat_of_format_7_3(tmp_path, refused):
    header = b"MATLAB 7.3 MAT-file".ljust(124) + struct.pack("<H", 0x0200) + b"IM"
    (tmp_path / "net.mat").write_bytes(header.ljust(512, b"\0") + b"\x89HDF\r\n\x1a\n")
    refused(tmp_path / "net.mat", "7.3", "-v7")


@pytest.mark.parametrize("share", [0.000001, 0.3, 0.99])
@pytest.mark.parametrize("compress", [True, False])
def test_a_truncated_mat(tmp_path, refused, compress, share):
    file = write_mat(tmp_path / "net.mat", Network("vgg16", 2).mat_layers()[:, :4], compress=compress)
    file.write_bytes(file.read_bytes()[: max(64, int(share * file.stat().st_size))])
    refused(file, "hloc")


def test_a_mat_that_unpacks_to_more_than_there_is(tmp_path, refused, monkeypatch):
    monkeypatch.setattr(foreign_mat, "MOST_BYTES", 2**20)
    packed = zlib.compress(bytes(2**24))
    header = b"MATLAB 5.0 MAT-file".ljust(124) + struct.pack("<H", 0x0100) + b"IM"
    (tmp_path / "net.mat").write_bytes(header + struct.pack("<II", 15, len(packed)) + packed)
    refused(tmp_path / "net.mat", "would unpack")
