"""What is said of an ONNX file: read, checked, and part of its fingerprint."""

import hashlib

import onnx
import pytest

from test.error_lines import input_error
from test.foreign_models import DIMENSION, MEAN, STD, describe, foreign_weights
from vpr_ros.engines.exported_model import Description, read_description, read_exported, write_description


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return foreign_weights(tmp_path_factory.mktemp("made") / "model.onnx")


@pytest.fixture
def model(made, tmp_path):
    file = tmp_path / "model.onnx"
    file.write_bytes(made.read_bytes())
    return describe(file)


def test_what_is_said_is_read(model):
    describe(model, name="Foreign", channels="bgr")
    says = read_exported(model).says
    assert says == Description(DIMENSION, (64, 80), tuple(MEAN), tuple(STD), "bgr", "Foreign")
    assert read_exported(describe(model, input_size=224)).says.input_size == 224


@pytest.mark.parametrize("size", [(64, 80), 480])
def test_what_is_written_is_read_again(tmp_path, size):
    says = Description(256, size, (0.1, 0.2, 0.3), (1 / 255, 1.0, 2.0), "rgb", "a name", "f" * 64, "e" * 64)
    write_description(tmp_path / "a.yaml", says)
    assert read_description(tmp_path / "a.yaml") == says


def test_the_fingerprint_changes_with_all_that_changes_descriptors_and_nothing_else(model):
    before = read_exported(model).fingerprint()
    assert len(before) == 64
    others = [
        read_exported(describe(model, **said)).fingerprint()
        for said in (
            {"dimension": 47},
            {"input_size": [80, 64]},
            {"input_size": 64},
            {"mean": [0.4, 0.5, 0.61]},
            {"std": [0.2, 0.25, 0.31]},
            {"channels": "bgr"},
        )
    ]
    foreign_weights(model, seed=1)
    others.append(read_exported(model).fingerprint())
    assert len({before, *others}) == len(others) + 1
    foreign_weights(model, name="another name", channels="rgb")
    text = model.with_suffix(".yaml").read_text()
    model.with_suffix(".yaml").write_text(f"# words\n{text}")
    assert read_exported(model).fingerprint() == before


def test_tensors_beside_the_file_are_part_of_the_fingerprint(model):
    onnx.save(
        onnx.load(model), model, save_as_external_data=True, location="model.onnx.data", size_threshold=0
    )
    before = read_exported(model).fingerprint()
    data = bytearray((model.parent / "model.onnx.data").read_bytes())
    data[0] ^= 1
    (model.parent / "model.onnx.data").write_bytes(data)
    assert read_exported(model).fingerprint() != before


def test_a_model_that_was_checked_has_the_fingerprint_of_its_weights(model):
    checked = {"fingerprint": "a" * 64, "sha256": hashlib.sha256(model.read_bytes()).hexdigest()}
    assert read_exported(describe(model, **checked)).fingerprint() == "a" * 64
    assert read_exported(describe(model, sha256=checked["sha256"])).fingerprint() != "a" * 64
    foreign_weights(model, seed=1, **checked)
    with input_error(model, "changed since model.yaml was written", "export it again"):
        read_exported(model)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({"dimension": None}, "no 'dimension'"),
        ({"mean": None}, "no 'mean'"),
        ({"std": None}, "no 'std'"),
        ({"input_size": None}, "no 'input_size'"),
        ({"maen": MEAN}, "unknown 'maen'"),
        ({"dimension": 0}, "dimension is 0"),
        ({"dimension": "many"}, "dimension is 'many'"),
        ({"dimension": 10**9}, "65536"),
        ({"dimension": True}, "dimension is True"),
        ({"input_size": 10**6}, "input_size is 1000000"),
        ({"input_size": [64]}, "[height, width]"),
        ({"input_size": [64, 0]}, "width is 0"),
        ({"input_size": "large"}, "[height, width]"),
        ({"mean": [0.5, 0.5]}, "mean is [0.5, 0.5]"),
        ({"mean": 0.5}, "mean is 0.5"),
        ({"mean": [0.5, 0.5, "a"]}, "three numbers"),
        ({"std": [0.5, 0.5, 0.0]}, "std is not positive"),
        ({"std": [0.5, 0.5, float("inf")]}, "three numbers"),
        ({"std": [0.5, 0.5, float("nan")]}, "three numbers"),
        ({"channels": "rbg"}, "channels is 'rbg'"),
        ({"channels": ["r", "g", "b"]}, "channels"),
        ({"name": 7}, "name is 7"),
        ({"fingerprint": "a" * 64}, "without the sha256"),
    ],
)
def test_what_cannot_be_is_refused_by_name(model, said, told):
    with input_error(model.with_suffix(".yaml"), told, "docs/other-encoders.md"):
        read_exported(describe(model, **said))


@pytest.mark.parametrize(
    "text",
    ["", "words", "- 1\n- 2", "a: [1", "dimension: !!python/object/apply:os.system [touch ran]", "[" * 5000],
)
def test_what_is_no_description(model, tmp_path, monkeypatch, text):
    monkeypatch.chdir(tmp_path)
    model.with_suffix(".yaml").write_text(text)
    with input_error(model.with_suffix(".yaml"), "not a description"):
        read_exported(model)
    assert not (tmp_path / "ran").exists()


def test_bytes_that_are_no_text(model):
    model.with_suffix(".yaml").write_bytes(b"\xff\xfe\x00\x01 \x80")
    with input_error(model.with_suffix(".yaml"), "not a description"):
        read_exported(model)


def test_files_that_are_not_there(model):
    with input_error(model.parent / "none.onnx", "no such model"):
        read_exported(model.parent / "none.onnx")
    model.with_suffix(".yaml").unlink()
    with input_error(model.with_suffix(".yaml"), "no such file", "dimension, input_size, mean and std"):
        read_exported(model)
