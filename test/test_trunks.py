"""Trunks end at conv5 before its ReLU; whatever weights file is given, they load or one line says why not."""

import copy
import dataclasses
import functools
import pickle
import subprocess
import sys
from pathlib import Path
from urllib.error import URLError

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from test.error_lines import check_line, input_error, some_cure
from vpr_ros import trunks
from vpr_ros.trunks import TRUNKS, build_trunk, layer_index, load_imagenet_weights, trunk_spec

SHARED = Path(__file__).resolve().parents[2] / "shared" / "weights"


@pytest.fixture(scope="module")
def alexnet():
    torch.manual_seed(0)
    return build_trunk("alexnet").eval().requires_grad_(False)


@pytest.fixture(scope="module")
def vgg16():
    return build_trunk("vgg16").eval().requires_grad_(False)


@pytest.fixture(scope="module")
def resnet18():
    return build_trunk("resnet18").eval().requires_grad_(False)


@pytest.fixture(scope="module")
def resnet50():
    return build_trunk("resnet50").eval().requires_grad_(False)


@pytest.fixture(scope="module")
def fixed_state():
    """Weights with torchvision's names, which no random initialisation gives."""
    random = torch.Generator().manual_seed(5)
    shapes = {name: value.shape for name, value in build_trunk("alexnet").state_dict().items()}
    return {f"features.{name}": torch.rand(shape, generator=random) for name, shape in shapes.items()}


@functools.cache
def fresh_alexnet():
    return build_trunk("alexnet")


def loaded(file):
    trunk = copy.deepcopy(fresh_alexnet())
    load_imagenet_weights(trunk, "alexnet", file)
    return trunk.state_dict()


@pytest.mark.parametrize(
    ("name", "size", "expected"),
    [
        ("alexnet", (63, 63), (256, 3, 3)),
        ("alexnet", (240, 320), (256, 14, 19)),
        ("alexnet", (101, 67), (256, 5, 3)),
        ("vgg16", (16, 16), (512, 1, 1)),
        ("vgg16", (96, 64), (512, 6, 4)),
        ("vgg16", (47, 33), (512, 2, 2)),
        ("resnet18", (96, 64), (256, 6, 4)),
        ("resnet18", (1, 17), (256, 1, 2)),
        ("resnet50", (33, 64), (1024, 3, 4)),
    ],
)
def test_depth_and_size_of_conv5(name, size, expected, request):
    trunk = request.getfixturevalue(name)
    features = trunk(torch.rand(2, 3, *size))
    assert tuple(features.shape) == (2, *expected)
    assert features.shape[1] == trunk_spec(name).depth


@pytest.mark.parametrize(("name", "convolutions"), [("alexnet", 5), ("vgg16", 13)])
def test_last_layer_is_conv5_before_its_relu(name, convolutions, request):
    trunk = request.getfixturevalue(name)
    assert isinstance(trunk[-1], nn.Conv2d)
    assert sum(isinstance(layer, nn.Conv2d) for layer in trunk) == convolutions
    features = trunk(torch.rand(1, 3, 64, 64))
    assert features.min() < 0 < features.max()


@pytest.mark.parametrize("name", ["alexnet", "vgg16"])
def test_it_is_torchvisions(name, request):
    from torchvision import models

    whole = getattr(models, name)(weights=None).features.eval()
    trunk = request.getfixturevalue(name)
    state = whole.state_dict()
    assert list(trunk.state_dict()) == list(state)
    again = build_trunk(name)
    again.load_state_dict(state)
    images = torch.rand(1, 3, 96, 80)
    # up to conv5; its ReLU and the pooling after it are left out
    torch.testing.assert_close(again(images), whole[: len(again)](images), atol=0, rtol=0)


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_batch_norm_is_folded_into_torchvisions_resnet(tmp_path, name, request):
    from torchvision import models

    torch.manual_seed(0)
    whole = getattr(models, name)(weights=None).eval()
    for module in whole.modules():  # as after training, not as it begins
        if isinstance(module, nn.BatchNorm2d):
            for tensor, low, high in (
                *((module.weight, 0.5, 1.5), (module.bias, -0.2, 0.2)),
                *((module.running_mean, -0.2, 0.2), (module.running_var, 0.5, 2.0)),
            ):
                nn.init.uniform_(tensor, low, high)
    file = tmp_path / "resnet.safetensors"
    save_file(whole.state_dict(), file)
    trunk = copy.deepcopy(request.getfixturevalue(name))
    load_imagenet_weights(trunk, name, file)
    images = torch.rand(2, 3, 96, 80)
    features = images
    for layer in ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3"):
        features = getattr(whole, layer)(features)
    torch.testing.assert_close(trunk(images), features, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("gone", ["layer3.1.bn2.running_var", "layer2.0.downsample.0.weight", "conv1.weight"])
def test_a_tensor_of_a_resnet_is_missing(tmp_path, gone):
    from torchvision import models

    state = models.resnet18(weights=None).state_dict()
    file = tmp_path / "few.safetensors"
    save_file({name: value for name, value in state.items() if name != gone}, file)
    with input_error(file, gone, "resnet18"):
        load_imagenet_weights(build_trunk("resnet18"), "resnet18", file)


@pytest.mark.parametrize(("name", "other"), [("resnet18", "resnet50"), ("resnet50", "resnet18")])
def test_another_resnet(tmp_path, name, other):
    from torchvision import models

    file = tmp_path / "other.safetensors"
    save_file(getattr(models, other)(weights=None).state_dict(), file)
    with input_error(file, f"'{name}'", "expected the weights of torchvision's"):
        load_imagenet_weights(build_trunk(name), name, file)


def test_the_node_starts_without_torchvision():
    """It takes longer to import than all the rest of the node."""
    code = "import sys, vpr_ros.localiser; sys.exit('torchvision' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


#: Where the layers begin in torchvision's `features`, as the checkpoints of others have them.
LAYERS = {
    "alexnet": {"conv1": 0, "conv2": 3, "conv3": 6, "conv4": 8, "conv5": 10, "pooling": 11},
    "vgg16": {
        **{"conv1_1": 0, "conv1_2": 2, "conv2_1": 5, "conv2_2": 7, "conv3_1": 10, "conv3_2": 12},
        **{"conv3_3": 14, "conv4_1": 17, "conv4_2": 19, "conv4_3": 21, "conv5_1": 24, "conv5_2": 26},
        **{"conv5_3": 28, "pooling": 29},
    },
    "resnet18": {
        **{"conv1": 0, "conv2_1": 3, "conv2_2": 4, "conv3_1": 5, "conv3_2": 6, "conv4_1": 7, "conv4_2": 8},
        "pooling": 9,
    },
}


@pytest.mark.parametrize("name", LAYERS)
def test_layers_are_where_torchvision_has_them(name, request):
    trunk = request.getfixturevalue(name)
    found = {layer: layer_index(trunk, name, layer) for layer in LAYERS[name]}
    assert found == LAYERS[name]
    assert set(TRUNKS[name].layers) == set(LAYERS[name]) - {"pooling"}


@pytest.mark.parametrize("name", LAYERS)
def test_what_is_kept_of_the_frozen_part_survives_the_trained_part(name, request):
    """Its output is computed once and trained from many times: no ReLU in place may see it first."""
    trunk = request.getfixturevalue(name)
    images = torch.rand(1, 3, 64, 64)
    whole = trunk(images)
    for layer in LAYERS[name]:
        cut = layer_index(trunk, name, layer)
        kept = trunk[:cut](images) if cut else images
        before = kept.clone()
        torch.testing.assert_close(trunk[cut:](kept), whole)
        assert torch.equal(kept, before)


@pytest.mark.parametrize(
    ("name", "layer"), [("alexnet", "conv5_1"), ("vgg16", "conv5"), ("vgg16", "Conv5_1")]
)
def test_unknown_layer_names_those_there_are(name, layer, request):
    with input_error(f"'{name}'", f"'{layer}'", *LAYERS[name]):
        layer_index(request.getfixturevalue(name), name, layer)


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_weights_come_from_a_file(tmp_path, fixed_state, suffix, half):
    file = tmp_path / f"weights{suffix}"
    stored = {name: value.half() if half else value for name, value in fixed_state.items()}
    # the classifier of the whole network is there too, and not wanted
    stored |= {"classifier.1.weight": torch.zeros(2, 2)}
    save_file(stored, file) if suffix == ".safetensors" else torch.save(stored, file)
    got = loaded(file)
    assert set(got) == {name.removeprefix("features.") for name in fixed_state}
    for name, value in got.items():
        assert value.dtype == torch.float32
        assert torch.equal(value, stored[f"features.{name}"].float())


def test_names_without_prefix_will_do(tmp_path, fixed_state):
    file = tmp_path / "trunk.safetensors"
    save_file({name.removeprefix("features."): value for name, value in fixed_state.items()}, file)
    assert torch.equal(loaded(file)["0.weight"], fixed_state["features.0.weight"])


def test_unknown_trunk_names_those_there_are():
    for call in (trunk_spec, build_trunk):
        with input_error("resnet", "alexnet", "vgg16"):
            call("resnet")


@pytest.mark.parametrize("name", ["gone.safetensors", "gone.pth"])
def test_missing_file(tmp_path, name):
    with input_error(tmp_path / name, "no such file", "expected"):
        loaded(tmp_path / name)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@pytest.mark.parametrize(
    "content",
    [b"", b"\x00" * 100, bytes(range(256)) * 4, b"<html>\n404\nnot found\n</html>\n"],
    ids=["empty", "zeros", "bytes", "page"],
)
def test_garbage(tmp_path, suffix, content):
    file = tmp_path / f"garbage{suffix}"
    file.write_bytes(content)
    with input_error(file) as caught:
        loaded(file)
    assert some_cure(str(caught.value)), caught.value
    assert "more than tensors" not in str(caught.value)  # it holds nothing at all


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@pytest.mark.parametrize("share", [0.01, 0.5, 0.999])
def test_truncated(tmp_path, fixed_state, suffix, share):
    file = tmp_path / f"cut{suffix}"
    save_file(fixed_state, file) if suffix == ".safetensors" else torch.save(fixed_state, file)
    whole = file.read_bytes()
    file.write_bytes(whole[: int(len(whole) * share)])
    with input_error(file) as caught:
        loaded(file)
    assert some_cure(str(caught.value)), caught.value


def test_other_architecture(tmp_path, vgg16):
    file = tmp_path / "vgg16.safetensors"
    save_file({f"features.{name}": value for name, value in vgg16.state_dict().items()}, file)
    with input_error(file, "alexnet", "expected the weights of torchvision's alexnet"):
        loaded(file)


def test_a_tensor_is_missing(tmp_path, fixed_state):
    file = tmp_path / "few.safetensors"
    save_file({name: value for name, value in fixed_state.items() if name != "features.6.bias"}, file)
    with input_error(file, "features.6.bias", "alexnet"):
        loaded(file)


@pytest.mark.parametrize("content", [[1, 2], {"features.0.weight": "no tensor"}, {"state_dict": {}}, {}])
def test_state_dict_that_is_none(tmp_path, content):
    file = tmp_path / "odd.pth"
    torch.save(content, file)
    with input_error(file) as caught:
        loaded(file)
    assert some_cure(str(caught.value)), caught.value


def test_values_that_are_no_tensors(tmp_path, fixed_state):
    file = tmp_path / "odd.pth"
    torch.save(fixed_state | {"features.3.bias": [0.0] * 192}, file)
    with input_error(file):
        loaded(file)


class Touch:
    """Unpickled by a loader that trusts, it writes a file."""

    def __init__(self, file):
        self.file = file

    def __reduce__(self):
        return Path.touch, (self.file,)


@pytest.mark.parametrize("how", ["torch", "pickle"])
def test_code_in_a_pickle_is_refused_and_not_run(tmp_path, fixed_state, how):
    file, touched = tmp_path / "evil.pth", tmp_path / "touched"
    content = fixed_state | {"extra": Touch(touched)}
    if how == "torch":
        torch.save(content, file)
    else:
        file.write_bytes(pickle.dumps(content))
    with input_error(file, "state dict"):
        loaded(file)
    assert not touched.exists()
    pickle.loads(pickle.dumps(Touch(touched)))  # noqa: S301 - the trap does work
    assert touched.exists()


@pytest.mark.parametrize(
    "error", [URLError("no route\nto host"), TimeoutError("timed out"), RuntimeError("")]
)
def test_without_network_the_message_says_what_to_put_where(monkeypatch, tmp_path, error):
    class NoNetwork:
        url = "https://weights.example/alexnet-0123.pth"

        @staticmethod
        def get_state_dict(**_):
            raise error

    spec = dataclasses.replace(trunk_spec("alexnet"), weights=NoNetwork)
    monkeypatch.setitem(trunks.TRUNKS, "alexnet", spec)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    target = tmp_path / "checkpoints" / "alexnet-0123.pth"
    with input_error(NoNetwork.url, target, "--trunk-weights", "alexnet"):
        loaded(None)


def test_without_a_file_torchvisions_weights_are_taken(monkeypatch, fixed_state):
    class Network:
        url = "https://weights.example/alexnet-0123.pth"

        @staticmethod
        def get_state_dict(**_):
            return fixed_state

    monkeypatch.setitem(trunks.TRUNKS, "alexnet", dataclasses.replace(trunk_spec("alexnet"), weights=Network))
    assert torch.equal(loaded(None)["0.weight"], fixed_state["features.0.weight"])


@pytest.mark.parametrize("name", ["alexnet", "vgg16"])
def test_real_imagenet_weights(name):
    file = SHARED / f"{name}-imagenet-features.safetensors"
    if not file.is_file():
        pytest.skip(f"no {file}")
    trunk = build_trunk(name)
    load_imagenet_weights(trunk, name, file)
    # edges and colours of a trained first layer are no noise of an initialisation
    first = trunk[0].weight
    smooth = nn.functional.avg_pool2d(first, 2, stride=1)
    assert smooth.var() > 0.3 * first.var()  # white noise: a quarter


def test_check_line_can_fail():
    with pytest.raises(AssertionError):
        check_line(ValueError("two\nlines"))
