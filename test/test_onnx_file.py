"""What an ONNX file refers to is found wherever it may be, and refused where it may not."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from test.error_lines import input_error
from vpr_ros.engines.onnx_file import external_files


def external(location, name="w"):
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=[4])
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("offset", "0"), ("location", location), ("length", "16")):
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value
    return tensor


def graph(nodes=(), tensors=(), sparse=()):
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [4])
    return helper.make_graph(
        list(nodes), "g", [value], [value], list(tensors), sparse_initializer=list(sparse)
    )


def write(file, made, **more):
    """Write a model; the big tensor in it has bytes of all kinds, which must not be taken for fields."""
    noise = np.random.default_rng(0).integers(0, 256, 4000, np.uint8)
    made.initializer.append(numpy_helper.from_array(noise, "noise"))
    file.write_bytes(
        helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], **more).SerializeToString()
    )
    return file


def constant(tensor):
    return helper.make_node("Constant", [], ["c"], value=tensor)


def in_a_function(tensor):
    function = helper.make_function("d", "f", [], ["c"], [constant(tensor)], [helper.make_opsetid("", 17)])
    return graph(), {"functions": [function]}


def in_a_branch(tensor):
    inner = graph([constant(tensor)])
    return graph([helper.make_node("If", ["b"], ["o"], then_branch=inner, else_branch=graph())]), {}


def in_a_branch_of_a_branch(tensor):
    middle, _ = in_a_branch(tensor)
    return graph([helper.make_node("If", ["b"], ["o"], then_branch=graph(), else_branch=middle)]), {}


def in_a_list(tensor):
    node = helper.make_node("Odd", ["x"], ["o"])
    node.attribute.append(helper.make_attribute("many", [external("w.bin"), tensor]))
    return graph([node]), {}


def sparse(tensor):
    return graph(sparse=[onnx.SparseTensorProto(values=tensor, indices=external("w.bin"), dims=[9])]), {}


WAYS = {
    "initializer": lambda tensor: (graph(tensors=[tensor]), {}),
    "constant": lambda tensor: (graph([constant(tensor)]), {}),
    "function": in_a_function,
    "branch": in_a_branch,
    "deep": in_a_branch_of_a_branch,
    "list": in_a_list,
    "sparse": sparse,
}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "w.bin").write_bytes(bytes(16))
    (tmp_path / "secret").write_bytes(bytes(16))
    return tmp_path / "model"


def test_a_file_that_holds_all_of_it(folder):
    assert external_files(write(folder / "m.onnx", graph())) == []


@pytest.mark.parametrize("way", WAYS)
def test_every_way_to_refer_to_a_file(folder, way):
    made, more = WAYS[way](external("w.bin"))
    assert external_files(write(folder / "m.onnx", made, **more)) == [folder / "w.bin"]
    made, more = WAYS[way](external("../secret"))
    with input_error(folder / "m.onnx", "'../secret'", "outside its folder"):
        external_files(write(folder / "m.onnx", made, **more))


def test_several_files_are_in_order_once_each(folder):
    (folder / "deep").mkdir()
    (folder / "deep" / "a.bin").write_bytes(bytes(16))
    tensors = [external(name) for name in ("w.bin", "deep/a.bin", "w.bin")]
    found = external_files(write(folder / "m.onnx", graph(tensors=tensors)))
    assert found == [folder / "deep" / "a.bin", folder / "w.bin"]


@pytest.mark.parametrize("location", ["/etc/hostname", "deep/../../secret", "link", "through/secret", ".."])
def test_files_elsewhere(folder, location):
    (folder / "link").symlink_to(folder.parent / "secret")
    (folder / "through").symlink_to(folder.parent)
    with input_error(folder / "m.onnx", f"'{location}'", "outside its folder"):
        external_files(write(folder / "m.onnx", graph(tensors=[external(location)])))


@pytest.mark.parametrize("location", ["none.bin", "."])
def test_files_that_are_not_there(folder, location):
    with input_error(folder / "m.onnx", f"'{location}'", "copy it too"):
        external_files(write(folder / "m.onnx", graph(tensors=[external(location)])))


def test_a_link_within_the_folder(folder):
    (folder / "link").symlink_to(folder / "w.bin")
    assert external_files(write(folder / "m.onnx", graph(tensors=[external("link")]))) == [folder / "link"]


def test_links_in_a_circle(folder):
    (folder / "round").symlink_to("round")
    with input_error(folder / "m.onnx"):
        external_files(write(folder / "m.onnx", graph(tensors=[external("round")])))


def test_compiled_code(folder):
    node = helper.make_node("EPContext", ["x"], ["o"], domain="com.microsoft", ep_cache_context=b"\x7fELF")
    inner = graph([node])
    nested = graph([helper.make_node("If", ["b"], ["o"], then_branch=inner, else_branch=graph())])
    for made in (inner, nested):
        with input_error(folder / "m.onnx", "code compiled", "EPContext"):
            external_files(write(folder / "m.onnx", made))


def test_a_location_that_is_no_name(folder):
    made = write(folder / "m.onnx", graph(tensors=[external("w.bin")])).read_bytes()
    for location in (b"w\x00bin", b"w\xff\xfebi", b"a\nb.."):
        (folder / "m.onnx").write_bytes(made.replace(b"w.bin", location))
        with input_error(folder / "m.onnx"):
            external_files(folder / "m.onnx")


def test_damaged_files(folder):
    file = write(folder / "m.onnx", in_a_branch(external("w.bin"))[0])
    whole = file.read_bytes()
    for wrong in (b"", b"\x0b", b"\xff" * 30, b"not a model, but text", whole[:-1], whole[: len(whole) // 2]):
        file.write_bytes(wrong)
        with input_error(file, "damaged or not ONNX", "copy it again"):
            external_files(file)


def test_damage_anywhere_is_an_error_line_or_no_matter(folder):
    """Never another exception, never a file elsewhere."""
    file = folder / "m.onnx"
    whole = bytearray(write(file, in_a_branch(external("w.bin"))[0]).read_bytes())
    random = np.random.default_rng(1)
    refused = 0
    for _ in range(500):
        damaged = bytearray(whole)
        for at in random.integers(0, 400, 3):
            damaged[at] = random.integers(0, 256)
        file.write_bytes(damaged)
        try:
            assert all(found.parent == folder for found in external_files(file))
        except ValueError as error:
            assert str(error).startswith(str(file))  # noqa: PT017
            refused += 1
    assert refused > 50
