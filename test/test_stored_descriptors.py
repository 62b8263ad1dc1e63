"""Descriptors that are stored are nearly what they were, and a file that is none is refused."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from test.small_maps import unit
from vpr_ros.errors import InputError
from vpr_ros.maps.stored_descriptors import KINDS, DescriptorFile, DescriptorWriter

#: What a number of a descriptor in P dimensions, and a similarity of two, are off by: 4 standard deviations
#: of rounding to half precision, and to 1/127 of the largest of P normal numbers.
ROUNDING = {"float16": 2**-11, "int8": 1 / 127}


def write(folder, descriptors, kind, batch=7):
    writer = DescriptorWriter(folder / "descriptors.npy", *descriptors.shape, kind)
    for start in range(0, len(descriptors), batch):
        writer.append(descriptors[start : start + batch])
    writer.close()
    return DescriptorFile(folder)


@settings(max_examples=25, deadline=None)
@given(
    kind=st.sampled_from(KINDS),
    count=st.integers(1, 40),
    dimension=st.integers(2, 300),
    batch=st.integers(1, 50),
    seed=st.integers(0, 99),
)
def test_they_are_nearly_what_they_were(tmp_path_factory, kind, count, dimension, batch, seed):
    folder = tmp_path_factory.mktemp("map")
    generator = np.random.default_rng(seed)
    descriptors = unit(generator, count, dimension)
    stored = write(folder, descriptors, kind, batch)
    assert stored.shape == (count, dimension)
    assert stored.kind == kind
    largest = np.abs(descriptors).max(axis=1, keepdims=True)
    all_of_them = stored.rows(np.arange(count))
    assert all_of_them.dtype == np.float32
    assert (np.abs(all_of_them - descriptors) <= 1.01 * largest * ROUNDING[kind] + 1e-7).all()
    places = generator.integers(0, count, 5)
    assert np.array_equal(stored.rows(places), all_of_them[places])


@pytest.mark.parametrize(("kind", "bytes_each"), [("float16", 2), ("int8", 1)])
def test_they_are_small_and_their_products_exact_to_a_thousandth(tmp_path, kind, bytes_each):
    descriptors = unit(np.random.default_rng(0), 500, 512)
    stored = write(tmp_path, descriptors, kind)
    size = (tmp_path / "descriptors.npy").stat().st_size
    assert size <= 500 * (512 * bytes_each + 4) + 200
    queries = unit(np.random.default_rng(1), 50, 512)
    read = stored.rows(np.arange(500))
    off = queries @ read.T - queries @ descriptors.T
    assert np.abs(off).max() < {"float16": 1e-4, "int8": 2e-3}[kind]
    assert np.abs(np.linalg.norm(read, axis=1) - 1).max() < {"float16": 1e-4, "int8": 1e-6}[kind]


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_not_of_unit_length_keeps_its_length(tmp_path, kind):
    descriptors = np.array([[3.0, 0.0, -4.0], [0.0, 0.0, 0.0]], np.float32)
    stored = write(tmp_path, descriptors, kind).rows(np.arange(2))
    assert np.allclose(stored, descriptors, rtol=1e-2)


def save(file, array):
    np.save(file, array, allow_pickle=array.dtype.hasobject)


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((4, 3), np.float32),
        np.zeros(4, np.float16),
        np.zeros((4, 3, 2), np.float16),
        np.zeros((4, 3), np.int8),
        np.zeros(4, [("values", "i1", (3,)), ("scale", "<f4")]),
        np.zeros(4, [("scale", "<f4"), ("values", "i1")]),
        np.zeros(4, [("scale", "<f4"), ("values", "u1", (3,))]),
        np.zeros((4, 1), [("scale", "<f4"), ("values", "i1", (3,))]),
        np.array([{}], object),
    ],
    ids=lambda array: f"{array.dtype}-{array.shape}",
)
def test_another_array(tmp_path, array):
    save(tmp_path / "descriptors.npy", array)
    with pytest.raises(InputError, match=r"descriptors\.npy: .*build it again"):
        DescriptorFile(tmp_path)


@pytest.mark.parametrize("kind", KINDS)
def test_a_cut_file(tmp_path, kind):
    write(tmp_path, unit(np.random.default_rng(0), 10, 8), kind)
    file = tmp_path / "descriptors.npy"
    data = file.read_bytes()
    for length in (0, 5, 100, len(data) - 1):
        file.write_bytes(data[:length])
        with pytest.raises(InputError, match=r"descriptors\.npy: damaged"):
            DescriptorFile(tmp_path)
