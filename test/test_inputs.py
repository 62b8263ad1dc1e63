"""What the network is given for a row is the same wherever it was kept: memory, a file, the image itself."""

import logging
from collections import namedtuple
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from test.error_lines import input_error
from test.sharing import rows_at
from test.small_training import narrow_encoder, picture
from training.learning import inputs as module
from training.learning.inputs import Budget, Features, Pixels, batches_of
from training.learning.network import Network
from vpr_ros.errors import InputError
from vpr_ros.geotagged import GeotaggedImages

SIZES = [(64, 80), (80, 64), (64, 80), (128, 96), (64, 64)]
COUNT = 70  # more than two batches


class Table:
    """Images of several sizes; it counts how often each is read."""

    def __init__(self, count=COUNT, broken=(), sizes=SIZES):
        self.reads = [0] * count
        self.pictures = [picture(number, 0, 0.5, *sizes[number % len(sizes)]) for number in range(count)]
        self.broken = broken
        rows = rows_at([(10.0 * number, 0.0) for number in range(count)])
        rows = rows.astype([(n, "U8" if n == "image" else kind) for n, kind in rows.dtype.descr])
        rows["image"] = [f"{number}.png" for number in range(count)]
        self.images = GeotaggedImages(rows, self.read)

    def read(self, row):
        self.reads[row] += 1
        if row in self.broken:
            raise InputError(f"{row}.png: does not decode")
        return self.pictures[row]


@pytest.fixture(scope="module")
def network():
    return Network(narrow_encoder(), "conv3")


@pytest.fixture(scope="module")
def encoder():
    return narrow_encoder()


def by_row(parts, rows):
    """Return the input of each row; every one must be there once."""
    found = {}
    for part in parts:
        assert len(part.positions) == len(part.inputs)
        for position, each in zip(part.positions.tolist(), part.inputs, strict=True):
            assert position not in found
            found[position] = each
    assert sorted(found) == list(range(len(rows)))
    return [found[position] for position in range(len(rows))]


ROWS = np.array([5, 3, 69, 3, 0, 33, 12, 48])  # in any order, one of them twice


# --- pixels


def test_pixels_are_the_images_at_the_input_size(encoder):
    table = Table()
    parts = Pixels(table.images, encoder.fit_size, Budget(0))(ROWS)
    assert len({part.inputs.shape[1:] for part in parts}) == len(parts)
    for row, pixels in zip(ROWS.tolist(), by_row(parts, ROWS), strict=True):
        assert pixels.dtype == torch.uint8
        expected = encoder.fit_size(torch.from_numpy(table.pictures[row]).permute(2, 0, 1))
        assert torch.equal(pixels, expected)


def test_pixels_are_read_once_as_far_as_memory_goes(encoder):
    table = Table(sizes=[(64, 80)])
    size = 64 * 80 * 3
    budget = Budget(10 * size + size // 2)
    load = Pixels(table.images, encoder.fit_size, budget)
    first = by_row(load(np.arange(20)), range(20))
    second = by_row(load(np.arange(20)), range(20))
    assert all(torch.equal(one, other) for one, other in zip(first, second, strict=True))
    assert table.reads[:20] == [1] * 10 + [2] * 10
    assert budget.left == size // 2


def test_a_budget_is_never_overdrawn_by_threads():
    budget = Budget(1000)
    with ThreadPoolExecutor(8) as pool:
        taken = list(pool.map(budget.take, [7] * 400))
    assert sum(taken) == 1000 // 7
    assert budget.left == 1000 % 7
    assert budget.take(1000 % 7)
    assert not budget.take(1)


def test_images_that_do_not_decode_are_left_out(encoder, caplog):
    table = Table(broken=(0, 17, 69))
    load = Pixels(table.images, encoder.fit_size, Budget(2**30))
    load.drop_unreadable(2, quiet=True)
    kept = [row for row in range(COUNT) if row not in table.broken]
    assert load.images.rows["image"].tolist() == [f"{row}.png" for row in kept]
    rows = np.arange(len(kept))
    for row, pixels in zip(kept, by_row(load(rows), rows), strict=True):  # none has slipped
        assert torch.equal(pixels, encoder.fit_size(torch.from_numpy(table.pictures[row]).permute(2, 0, 1)))
    assert table.reads == [1] * COUNT
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert [warning.split(":")[1].strip() for warning in warnings] == ["0.png", "17.png", "69.png"]


def test_an_image_of_an_impossible_shape_is_left_out(encoder, caplog):
    table = Table(count=3)
    table.pictures[1] = np.zeros((10, 200, 3), np.uint8)
    load = Pixels(table.images, encoder.fit_size, Budget(0))
    load.drop_unreadable(2, quiet=True)
    assert load.images.rows["image"].tolist() == ["0.png", "2.png"]
    assert "200x10" in caplog.text


def test_none_of_the_images_can_be_read(encoder):
    with input_error("none of the images"):
        Pixels(Table(3, broken=(0, 1, 2)).images, encoder.fit_size, Budget(0)).drop_unreadable(2, quiet=True)


# --- features


def feature_bytes(network, table, encoder):
    """Return the bytes of each image's features."""
    return [
        network.features(encoder.fit_size(torch.from_numpy(each).permute(2, 0, 1))[None]).nbytes
        for each in table.pictures
    ]


@pytest.mark.parametrize("share", [1.0, 0.5, 0.0], ids=["memory", "both", "file"])
def test_cached_features_are_those_of_the_images(network, encoder, tmp_path, share):
    table, file = Table(), tmp_path / "cache" / "training-0.bin"
    sizes = feature_bytes(network, table, encoder)
    # what is left over is less than any image takes
    budget = Budget(int(sum(sizes) * share))
    features = Features(
        Pixels(table.images, encoder.fit_size, Budget(0)), network, budget, file, 2, quiet=True
    )
    assert table.reads == [1] * COUNT
    in_file = file.stat().st_size if file.exists() else 0
    assert in_file + int(sum(sizes) * share) - budget.left == sum(sizes)
    assert 0 <= budget.left < max(sizes)
    for rows in (ROWS, np.arange(COUNT)):
        for row, cached in zip(rows.tolist(), by_row(features(rows), rows), strict=True):
            image = encoder.fit_size(torch.from_numpy(table.pictures[row]).permute(2, 0, 1))
            torch.testing.assert_close(cached, network.features(image[None])[0], rtol=1e-4, atol=1e-5)
    assert table.reads == [1] * COUNT
    features.close()
    assert list(tmp_path.iterdir()) == []


def test_several_threads_read_the_file(network, encoder, tmp_path):
    load = Pixels(Table().images, encoder.fit_size, Budget(0))
    features = Features(load, network, Budget(0), tmp_path / "cache" / "a.bin", 2, quiet=True)
    expected = by_row(features(ROWS), ROWS)
    with ThreadPoolExecutor(4) as pool:
        for parts in pool.map(features, [ROWS] * 40):
            for one, other in zip(by_row(parts, ROWS), expected, strict=True):
                assert torch.equal(one, other)


def test_small_images_first_do_not_mislead(network, encoder, tmp_path):
    """How much there will be is foreseen from the first image; the others are larger."""
    table = Table(sizes=[(64, 64)] + [(64, 400)] * 9)
    smallest = min(feature_bytes(network, table, encoder))
    load = Pixels(table.images, encoder.fit_size, Budget(0))
    file = tmp_path / "cache" / "a.bin"
    features = Features(load, network, Budget(COUNT * smallest), file, 2, quiet=True)
    assert file.stat().st_size > 0
    row = np.array([COUNT - 1])
    image = encoder.fit_size(torch.from_numpy(table.pictures[-1]).permute(2, 0, 1))
    (cached,) = by_row(features(row), row)
    torch.testing.assert_close(cached, network.features(image[None])[0], rtol=1e-4, atol=1e-5)


def test_a_cache_that_is_left_from_a_killed_run_is_written_over(network, encoder, tmp_path):
    file = tmp_path / "cache" / "a.bin"
    file.parent.mkdir()
    file.write_bytes(bytes(10**6))
    table = Table(count=5)
    load = Pixels(table.images, encoder.fit_size, Budget(0))
    Features(load, network, Budget(0), file, 2, quiet=True)
    assert file.stat().st_size == sum(feature_bytes(network, table, encoder))


def test_two_caches_share_a_folder(network, encoder, tmp_path):
    files = [tmp_path / "cache" / f"{name}.bin" for name in "ab"]
    load = Pixels(Table(count=5).images, encoder.fit_size, Budget(0))
    both = [Features(load, network, Budget(0), file, 2, quiet=True) for file in files]
    both[0].close()
    assert list(files[0].parent.iterdir()) == [files[1]]
    rows = np.arange(5)
    assert len(by_row(both[1](rows), rows)) == 5
    both[1].close()
    assert not files[0].parent.exists()


def test_a_disk_without_room_is_said_before_it_is_full(network, encoder, tmp_path, monkeypatch):
    table = Table()
    free = sum(feature_bytes(network, table, encoder)) // 2
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(module.shutil, "disk_usage", lambda path: usage(10**12, 0, free))
    load = Pixels(table.images, encoder.fit_size, Budget(0))
    with input_error(tmp_path / "cache", "GiB", "--cache.features false"):
        Features(load, network, Budget(0), tmp_path / "cache" / "a.bin", 2, quiet=True)
    assert not list(tmp_path.rglob("*.bin"))


@pytest.mark.parametrize("count", [0, 1, 32, 33, 64, 70])
def test_batches_are_all_of_them_in_order(count):
    batches = batches_of(count)
    assert np.concatenate([*batches, np.empty(0)]).tolist() == list(range(count))
    assert all(0 < len(batch) <= 32 for batch in batches)
    assert len(batches) == -(-count // 32)
