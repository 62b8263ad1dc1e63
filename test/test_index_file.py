"""The file of an index: what is written is read, and one that is damaged or hostile is refused."""

import struct
import subprocess
import sys
from pathlib import Path

import faiss
import numpy as np
import pytest

from test.small_maps import unit
from test.test_map_index import KINDS, filled
from vpr_ros.errors import InputError
from vpr_ros.maps.index import is_flat, reconstructed, set_effort
from vpr_ros.maps.index_file import FlatIndexWriter, read_index, read_trained, write_index
from vpr_ros.maps.search import nearest

DIMENSION, COUNT = 16, 400
ROOT = Path(__file__).parents[1]
MODERN = pytest.mark.skipif(
    not hasattr(faiss, "set_deserialization_loop_limit"),
    reason="this FAISS believes what a file says, and maps none",
)
BOTH = pytest.mark.parametrize("mapped", [False, True], ids=["read", "mapped"])


@pytest.fixture(scope="module")
def vectors():
    return unit(np.random.default_rng(0), COUNT, DIMENSION)


def as_file(file, index):
    write_index(index, file)
    return file


def refusal(file, mapped):
    with pytest.raises(InputError) as caught:
        read_index(file, mapped)
    line = str(caught.value)
    assert line.startswith(f"{file}: ")
    assert line.endswith("build the map again")
    assert "\n" not in line
    return line


@BOTH
@pytest.mark.parametrize("string", KINDS)
def test_it_answers_as_before(tmp_path, vectors, string, mapped):
    index = filled(string, vectors)
    read = read_index(as_file(tmp_path / "index", index), mapped)
    asked = unit(np.random.default_rng(1), 5, DIMENSION)
    for each in (index, read):
        set_effort(each, 3)
    for found, expected in zip(read.search(asked, 10), index.search(asked, 10), strict=True):
        assert np.array_equal(found, expected)
    places = np.array([7, 0, COUNT - 1])
    assert np.array_equal(reconstructed(read, places), reconstructed(index, places))


@pytest.mark.parametrize("string", KINDS)
def test_what_it_was_trained_to_can_be_filled_anew(tmp_path, vectors, string):
    empty = read_trained(as_file(tmp_path / "index", filled(string, vectors)))
    assert empty.ntotal == 0
    assert empty.is_trained
    empty.add(vectors[:50])
    as_new = filled(string, vectors)
    as_new.reset()
    as_new.add(vectors[:50])
    assert np.array_equal(empty.search(vectors[:9], 3)[1], as_new.search(vectors[:9], 3)[1])


@pytest.mark.parametrize("batch", [1, 7, 400])
def test_a_flat_one_is_what_faiss_writes(tmp_path, vectors, batch):
    writer = FlatIndexWriter(tmp_path / "index", COUNT, DIMENSION)
    for start in range(0, COUNT, batch):
        writer.append(vectors[start : start + batch])
    writer.close()
    assert (tmp_path / "index").read_bytes() == faiss.serialize_index(filled("Flat", vectors)).tobytes()


def test_a_full_disk_has_its_errno(vectors):
    with pytest.raises(OSError, match="No space left"):
        write_index(filled("Flat", np.tile(vectors, (50, 1))), Path("/dev/full"))


def memory():
    """Return the MiB of a process that are its own, and all that it has of files."""
    lines = Path("/proc/self/status").read_text().splitlines()
    sizes = {line.split(":")[0]: int(line.split()[1]) // 1024 for line in lines if line.startswith("Rss")}
    return sizes["RssAnon"], sizes["RssFile"]


@MODERN
@pytest.mark.parametrize("string", ["Flat", "IVF64,Flat"])
def test_a_large_one_is_not_read_whole(tmp_path, string):
    """Its 200 MB are not in memory after it has answered for the descriptors of some places."""
    dimension, count = 512, 100_000
    block = unit(np.random.default_rng(0), 1000, dimension)
    if string == "Flat":
        writer = FlatIndexWriter(tmp_path / "index", count, dimension)
        for _ in range(count // len(block)):
            writer.append(block)
        writer.close()
    else:
        index = filled(string, block)
        for _ in range(count // len(block) - 1):
            index.add(block)
        write_index(index, tmp_path / "index")
        del index
    assert (tmp_path / "index").stat().st_size > 200e6
    before = memory()
    read = read_index(tmp_path / "index", mapped=True)
    if is_flat(read):
        reconstructed(read, np.arange(0, count, 5000))
    else:
        set_effort(read, 2)
        nearest(read, block[:5], 20)
    own, of_files = np.subtract(memory(), before)
    assert own < 20
    assert of_files < 60


# --- damage


@MODERN
@BOTH
@pytest.mark.parametrize("string", ["Flat", "First8,IVF8,PQ4", "PCA8,HNSW8", "IVF8,SQ8"])
def test_a_cut_file(tmp_path, vectors, string, mapped):
    data = as_file(tmp_path / "whole", filled(string, vectors)).read_bytes()
    lengths = {*range(1, 130), *range(130, len(data), max(1, len(data) // 100)), len(data) - 1}
    for length in lengths:
        (tmp_path / "index").write_bytes(data[:length])
        refusal(tmp_path / "index", mapped)


@MODERN
@BOTH
@pytest.mark.parametrize("data", [b"", b"garbage" * 100, b"IxFI" + b"\xff" * 60, b"IxPT" * 5000])
def test_what_is_no_index(tmp_path, data, mapped):
    (tmp_path / "index").write_bytes(data)
    refusal(tmp_path / "index", mapped)


#: Damages an index many times over, each time another way, and has it answer where it is not refused. It ends
#: with 0 where nothing else came of it: no crash, no other error, no place that is none, no gigabytes.
DAMAGE = """
import resource, sys
from pathlib import Path
import numpy as np
from vpr_ros.errors import InputError
from vpr_ros.maps.index_file import read_index
from vpr_ros.maps.index import reconstructed, set_effort
from vpr_ros.maps.search import inner_products, nearest

file, mapped, seed, rounds = Path(sys.argv[1]), sys.argv[2] == "mapped", int(sys.argv[3]), int(sys.argv[4])
resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30))
random, whole = np.random.default_rng(seed), file.read_bytes()
whole_index = read_index(file, False)
shape, queries = (whole_index.ntotal, whole_index.d), np.eye(2, whole_index.d, dtype=np.float32)
refused = 0
for number in range(rounds):
    data = bytearray(whole)
    at = int(random.integers(min(len(data), 700) if number % 3 else len(data)))
    size = (1, 4, 8)[random.integers(3)]
    values = [0, 1, 2, 255, 1000, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**62, 2**63 - 1, 2**63, 2**64 - 1]
    value = values[random.integers(len(values))] % 256**size
    if random.integers(2):
        data[at] ^= 1 << int(random.integers(8))
    else:
        data[at : at + size] = value.to_bytes(size, "little")[: len(data) - at]
    damaged = file.with_name("damaged")
    damaged.unlink(missing_ok=True)
    damaged.write_bytes(data)
    print(number, at, flush=True)
    try:
        index = read_index(damaged, mapped)
        if (index.ntotal, index.d) == shape:
            set_effort(index, 3)
            for within in (None, np.arange(50, 90)):
                places = nearest(index, queries, 10, within)[1]
                assert ((places >= -1) & (places < shape[0])).all()
            try:
                inner_products(index, queries, np.array([0, shape[0] - 1]))
                reconstructed(index, np.arange(shape[0]))
            except RuntimeError:
                refused += 1
    except InputError:
        refused += 1
assert refused > rounds / 100
"""


@MODERN
@BOTH
@pytest.mark.parametrize(
    "string", ["Flat", "IVF8,Flat", "First8,IVF8,PQ4", "PCAR8,L2norm,IVF8,PQ4", "HNSW8", "SQ8"]
)
def test_a_damaged_file_is_refused_or_answers(tmp_path, vectors, string, mapped):
    file = as_file(tmp_path / "index", filled(string, vectors))
    child = subprocess.run(
        [sys.executable, "-c", DAMAGE, file, "mapped" if mapped else "read", "1", "600"],
        check=False,
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=120,
    )
    last = child.stdout.splitlines()[-1:]
    assert child.returncode == 0, f"at round and byte {last}: {child.stderr[-600:]}"


@MODERN
def test_limits_are_those_of_before(tmp_path, vectors):
    limits = (faiss.get_deserialization_loop_limit, faiss.get_deserialization_vector_byte_limit)
    before = [limit() for limit in limits]
    read_index(as_file(tmp_path / "index", filled("IVF8,PQ4", vectors)), False)
    assert [limit() for limit in limits] == before
    (tmp_path / "index").write_bytes(b"IxFI" + b"\xff" * 60)
    refusal(tmp_path / "index", False)
    assert [limit() for limit in limits] == before


# --- what FAISS reads, but a map must not have


@BOTH
def test_lists_that_lie_in_another_file(tmp_path, vectors, mapped):
    secret = tmp_path / "elsewhere" / "lists"
    secret.parent.mkdir()
    index = filled("IVF8,Flat", vectors)
    lists = faiss.OnDiskInvertedLists(8, index.code_size, str(secret))
    index.replace_invlists(lists)
    for number in range(8):  # any content will do
        lists.resize(number, 3)
    index.ntotal = 24
    faiss.write_index(index, str(tmp_path / "index"))
    assert str(secret).encode() in (tmp_path / "index").read_bytes()
    assert faiss.read_index(str(tmp_path / "index")).ntotal == 24  # FAISS does follow
    refusal(tmp_path / "index", mapped)


def test_lists_in_the_folder_of_the_index_are_no_better(tmp_path, vectors, monkeypatch):
    monkeypatch.chdir(tmp_path)
    index = filled("IVF8,Flat", vectors)
    lists = faiss.OnDiskInvertedLists(8, index.code_size, "lists")
    index.replace_invlists(lists)
    faiss.write_index(index, "index")
    refusal(Path("index"), mapped=False)


def other_indices(vectors):
    def built(index):
        if not index.is_trained:
            index.train(vectors)
        index.add(vectors)
        return index

    biased = faiss.PCAMatrix(DIMENSION, 8)
    biased.train(vectors)
    same, flat = faiss.LinearTransform(DIMENSION, DIMENSION, False), faiss.IndexFlatIP(DIMENSION)
    faiss.copy_array_to_vector(np.eye(DIMENSION, dtype=np.float32).ravel(), same.A)
    same.is_trained = True
    return {
        "by distance": built(faiss.IndexFlatL2(DIMENSION)),
        "numbered otherwise": faiss.index_factory(DIMENSION, "IDMap,Flat", faiss.METRIC_INNER_PRODUCT),
        "refined": built(faiss.index_factory(DIMENSION, "SQ8,RFlat", faiss.METRIC_INNER_PRODUCT)),
        "shifted": built(faiss.IndexPreTransform(biased, faiss.IndexFlatIP(8))),
        "nested": built(faiss.IndexPreTransform(same, faiss.IndexPreTransform(same, flat))),
        "untrained": faiss.index_factory(DIMENSION, "IVF8,Flat", faiss.METRIC_INNER_PRODUCT),
        "hashes": built(faiss.IndexLSH(DIMENSION, 32)),
    }


@BOTH
@pytest.mark.parametrize("kind", list(other_indices(unit(np.random.default_rng(0), COUNT, DIMENSION))))
def test_an_index_of_another_kind(tmp_path, vectors, kind, mapped):
    faiss.write_index(other_indices(vectors)[kind], str(tmp_path / "index"))
    refusal(tmp_path / "index", mapped)


@BOTH
def test_an_index_of_bits(tmp_path, mapped):
    index = faiss.IndexBinaryFlat(64)
    index.add(np.zeros((5, 8), np.uint8))
    faiss.write_index_binary(index, str(tmp_path / "index"))
    refusal(tmp_path / "index", mapped)


@BOTH
def test_a_table_of_rows_that_lies_is_forgotten(tmp_path, vectors, mapped):
    """An index may bring along where in its lists each place lies; FAISS would look there."""
    index = filled("IVF8,Flat", vectors)
    index.set_direct_map_type(faiss.DirectMap.Array)
    lying = np.full(COUNT, (7 << 32) + (1 << 20), np.int64)  # far beyond the end of a list
    faiss.copy_array_to_vector(lying, index.direct_map.array)
    faiss.write_index(index, str(tmp_path / "index"))
    read = read_index(tmp_path / "index", mapped)
    assert np.array_equal(reconstructed(read, np.arange(COUNT)), vectors)


@BOTH
def test_lists_that_name_places_that_are_none(tmp_path, vectors, mapped):
    index = filled("IVF8,Flat", vectors)
    numbers = [
        faiss.rev_swig_ptr(index.invlists.get_ids(each), index.invlists.list_size(each)) for each in range(8)
    ]
    for each in numbers:
        each[::2] = [COUNT, -5, 1 << 40, 1 << 62][:1] * len(each[::2])
    write_index(index, tmp_path / "index")
    read = read_index(tmp_path / "index", mapped)
    similarities, places = nearest(read, vectors[:5], COUNT)
    assert ((places >= -1) & (places < COUNT)).all()
    found = (places >= 0).sum(axis=1)
    assert (found == COUNT - sum(len(each[::2]) for each in numbers)).all()
    assert (np.diff(similarities[:, : found[0]], axis=1) <= 0).all()
    assert np.isneginf(similarities[places < 0]).all()
    with pytest.raises(RuntimeError):
        reconstructed(read, np.arange(COUNT))


@MODERN
def test_nesting_does_not_use_up_the_stack(tmp_path):
    header = struct.pack("<iqqqBi", DIMENSION, 0, 0, 0, 1, 0)
    (tmp_path / "index").write_bytes((b"IxPT" + header + struct.pack("<i", 0)) * 100_000)
    refusal(tmp_path / "index", False)
