"""Images are encoded in batches of one size while others are read; what comes out is in order."""

import logging
import threading
from contextlib import closing

import cv2
import numpy as np
import pytest
import torch

from test.conftest import texture
from test.sharing import rows_at
from vpr_ros.encoder import Architecture, Encoder
from vpr_ros.engine import Engine
from vpr_ros.engines import batches as module
from vpr_ros.engines.batches import BATCH, TOGETHER, WAITING, encode_table, reading_threads, windows_of
from vpr_ros.engines.gpu_jpeg import JpegDecoder
from vpr_ros.errors import InputError
from vpr_ros.geotagged import GeotaggedImages, Undecoded, join
from vpr_ros.images.pixels import compress, rgb_from_file
from vpr_ros.images.small_picture import small_jpeg

SIZE = BATCH["cpu"]


@pytest.fixture(scope="module")
def encoder():
    torch.manual_seed(0)
    return Encoder(Architecture(clusters=4, input_size=64)).eval().requires_grad_(False)


@pytest.fixture
def engine(encoder):
    return Engine(encoder, torch.device("cpu"))


@pytest.fixture
def batches(engine, monkeypatch):
    """The shapes of the images that were encoded together, batch by batch."""
    whole, seen = engine.encode, []

    def encode(images):
        seen.append([image.shape[:2] for image in images])
        return whole(images)

    monkeypatch.setattr(engine, "encode", encode)
    return seen


def table(count, size=lambda row: (64, 80), missing=()):
    """Return images that all look different; those missing do not decode."""

    def read(row):
        if row in missing:
            raise InputError(f"image {row} is no image")
        return texture(row, *size(row))

    return GeotaggedImages(rows_at([(row, 0) for row in range(count)]), read)


def encode_all(engine, images, *arguments, **options):
    with closing(encode_table(engine, images, *arguments, quiet=True, **options)) as windows:
        return list(windows)


def check_descriptors(encoder, images, encoded):
    """Each descriptor is that of its row, and of no other."""
    alone = Engine(encoder, torch.device("cpu"))
    for part in encoded:
        for row, descriptor in zip(part.rows, part.descriptors, strict=True):
            np.testing.assert_allclose(alone.encode([images.read(int(row))])[0], descriptor, atol=1e-5)


def test_windows_cover_every_row_once():
    assert windows_of(0, 4) == []
    assert windows_of(8, 4) == [range(4), range(4, 8)]
    assert windows_of(9, 4) == [range(4), range(4, 8), range(8, 9)]


def test_windows_come_in_order_with_their_descriptors_and_pictures(encoder, engine, batches):
    images = table(2 * SIZE + 3)
    windows = windows_of(len(images), SIZE + 1)
    encoded = encode_all(engine, images, windows, 40)
    assert [part.rows.tolist() for part in encoded] == [list(window) for window in windows]
    check_descriptors(encoder, images, encoded)
    pictures = [picture for part in encoded for picture in part.pictures]
    assert pictures == [small_jpeg(images.read(row), 40) for row in range(len(images))]
    # a window's images are not encoded with those of the next
    assert [len(batch) for batch in batches if batch] == [SIZE, 1, SIZE, 1, 1]


def test_some_windows_of_a_table(encoder, engine):
    images = table(12)
    encoded = encode_all(engine, images, [range(8, 11), range(2, 4)])
    assert [part.rows.tolist() for part in encoded] == [[8, 9, 10], [2, 3]]
    assert encoded[0].pictures == []
    check_descriptors(encoder, images, encoded)


def test_sizes_in_turn_still_fill_batches(encoder, engine, batches):
    sizes = [(64, 80), (64, 64), (80, 64)]
    images = table(6 * SIZE, lambda row: sizes[row % 3])
    encoded = encode_all(engine, images)
    assert encoded[0].rows.tolist() == list(range(len(images)))
    check_descriptors(encoder, images, encoded)
    assert all(len(set(batch)) <= 1 for batch in batches)
    assert sum(len(batch) == SIZE for batch in batches) == 6


def test_images_of_many_sizes_do_not_pile_up(engine, batches):
    """What waits for others of its size is bounded."""
    read, most = [], []
    images = table(16 * SIZE, lambda row: (64, 64 + row))

    def counted(row):
        read.append(row)
        most.append(len(read) - sum(map(len, batches)))
        return images.read(row)

    encoded = encode_all(engine, GeotaggedImages(images.rows, counted), threads=2)
    assert encoded[0].rows.tolist() == list(range(len(images)))
    assert max(most) < (WAITING + 2) * SIZE + 3 * TOGETHER


def test_large_images_are_brought_to_size_where_they_are_read(encoder, engine, batches):
    images = table(3, lambda row: (200, 240 + 40 * row))
    check_descriptors(encoder, images, encode_all(engine, images))
    assert {shape for batch in batches for shape in batch} == {(64, 76), (64, 89), (64, 102)}


def test_what_does_not_decode_is_left_out_by_name(encoder, engine, caplog):
    images = table(11, lambda row: (20, 2000) if row == 5 else (64, 80), missing=(0, 3, 8, 9, 10))
    with caplog.at_level(logging.WARNING):
        encoded = encode_all(engine, images, [range(4), range(4, 8), range(8, 11)])
    assert [part.rows.tolist() for part in encoded] == [[1, 2], [4, 6, 7], []]
    assert encoded[2].descriptors.shape == (0, engine.dimension)
    check_descriptors(encoder, images, encoded)
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 6
    assert "image 0 is no image" in said[0]
    assert "2000x20" in said[2]


# --- JPEGs that a GPU decodes, for which the CPU stands


class Decoder(JpegDecoder):
    """Decodes on the CPU, and notes how many at a time; fails where it is told to."""

    def __init__(self):
        super().__init__(torch.device("cpu"), 64)
        self.numbers, self.fails = [], False

    def planes(self, files):
        if len(files[0]) < 1000:  # its own first one
            return super().planes(files)
        self.numbers.append(len(files))
        if self.fails:
            raise RuntimeError("Failed to decode batch: 3")
        return super().planes(files)


@pytest.fixture
def decoder(engine):
    engine.jpeg = Decoder()
    return engine.jpeg


def stored(count, suffix=lambda row: ".jpg", size=lambda row: (128, 160), missing=()):
    """Return a table of image files."""

    def fetch(row):
        image = cv2.GaussianBlur(texture(row, *size(row)), (0, 0), 3)
        data = compress(image, suffix(row))

        def rgb():
            if row in missing:
                raise InputError(f"image {row} is no image")
            return rgb_from_file(data)

        return Undecoded(rgb, data)

    rows = rows_at([(row, 0) for row in range(count)])
    return GeotaggedImages(rows, lambda row: fetch(row).rgb(), fetch)


def test_jpegs_are_decoded_where_they_are_encoded(encoder, engine, decoder):
    count = 3 * SIZE
    images = stored(count, lambda row: ".png" if row % 3 == 2 else ".jpg")
    (encoded,) = encode_all(engine, images, None, 40)
    assert decoder.numbers == [SIZE, SIZE]
    assert encoded.rows.tolist() == list(range(count))
    (expected,) = encode_all(Engine(encoder, torch.device("cpu")), images, None, 40)
    cosines = (encoded.descriptors * expected.descriptors).sum(axis=1)
    assert (cosines > 0.999).all()  # the stand-in's colours are not repeated
    np.testing.assert_allclose(cosines[2::3], 1, atol=1e-6)
    for here, there in zip(expected.pictures, encoded.pictures, strict=True):
        assert np.abs(rgb_from_file(here).astype(int) - rgb_from_file(there)).mean() < 4


def test_a_batch_that_a_gpu_does_not_decode_is_the_processors(encoder, engine, decoder, caplog):
    decoder.fails = True
    images = stored(SIZE + 2, missing=(3,))
    (encoded,) = encode_all(engine, images, None, 40)
    assert decoder.numbers == [SIZE, 2]
    (expected,) = encode_all(Engine(encoder, torch.device("cpu")), images, None, 40)
    assert encoded.rows.tolist() == expected.rows.tolist() == [0, 1, 2, *range(4, SIZE + 2)]
    np.testing.assert_allclose(encoded.descriptors, expected.descriptors, atol=1e-5)
    assert encoded.pictures == expected.pictures
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 2  # by each of the two
    assert all("image 3 is no image" in each for each in said)


def test_what_is_no_image_is_left_out_on_a_gpu_too(engine, decoder, caplog):
    images = stored(4, lambda row: ".png" if row == 1 else ".jpg", missing=(1,))
    wide = stored(4, size=lambda row: (20, 2000) if row == 2 else (128, 160))
    (encoded,) = encode_all(engine, join([images, wide]))
    assert encoded.rows.tolist() == [0, 2, 3, 4, 5, 7]
    assert encoded.pictures == []
    assert ["image 1 is no image" in caplog.text, "2000x20" in caplog.text] == [True, True]


def test_of_large_images_fewer_are_decoded_together(engine, decoder, monkeypatch):
    monkeypatch.setattr(module, "MAX_PIXELS", 3 * 128 * 160)
    encode_all(engine, stored(SIZE))
    assert decoder.numbers == [3, 3, 2]


def test_a_mistake_of_the_program_is_not_taken_for_a_bad_image(engine):
    def read(row):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        encode_all(engine, GeotaggedImages(table(2).rows, read))


def test_check_ends_it_and_its_threads(engine):
    before, calls = threading.active_count(), []

    def check():
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        encode_all(engine, table(8 * SIZE), check=check)
    assert threading.active_count() == before


def test_threads_end_with_the_generator(engine):
    before = threading.active_count()
    windows = encode_table(engine, table(6 * SIZE), windows_of(6 * SIZE, SIZE), quiet=True)
    next(windows)
    assert threading.active_count() > before
    windows.close()
    assert threading.active_count() == before


def test_processes_share_the_threads(monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda process: set(range(16)))
    assert [reading_threads(processes) for processes in (1, 2, 8, 16)] == [16, 8, 2, 2]
