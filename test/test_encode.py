"""Rows to descriptors: each row its own, whatever it is encoded with."""

import numpy as np
import pytest
import torch
from torch import nn

from test.small_training import narrow_encoder
from test.test_inputs import COUNT, Table
from training.learning.encode import encode_once, encode_rows, followed_by
from training.learning.inputs import Budget, Pixels
from training.learning.network import Network

CPU = torch.device("cpu")
ROWS = np.array([68, *range(0, 66, 2), 1, 69])  # more than one batch, of several sizes


@pytest.fixture(scope="module")
def expected():
    """Each image's descriptor, encoded alone."""
    encoder = narrow_encoder()
    table = Table()
    with torch.no_grad():
        images = [torch.from_numpy(image).permute(2, 0, 1) for image in table.pictures]
        return torch.cat([encoder(encoder.fit_size(image)[None]) for image in images])


def encoded(encode, rows):
    """Return (N, D) descriptors in the order of the rows; each must come once."""
    result, seen = torch.zeros(len(rows), 0), []
    for positions, descriptors in encode(rows):
        assert not descriptors.requires_grad
        if not result.shape[1]:
            result = torch.zeros(len(rows), descriptors.shape[1])
        result[torch.from_numpy(positions)] = descriptors
        seen += positions.tolist()
    assert sorted(seen) == list(range(len(rows)))
    return result


def make(check=lambda: None):
    encoder = narrow_encoder()
    network = Network(encoder, "conv3")
    load = Pixels(Table().images, encoder.fit_size, Budget(0))
    return network, encode_rows(network, load, 2, "", quiet=True, check=check)


def test_every_row_has_its_descriptor(expected):
    network, encode = make()
    for rows in (ROWS, np.arange(COUNT), np.array([7])):
        torch.testing.assert_close(encoded(encode, rows), expected[rows], rtol=1e-4, atol=1e-5)
    assert list(encode(np.empty(0, np.intp))) == []
    with torch.no_grad():  # it encodes with the weights of the moment
        network.pooling.centres += 0.5
    assert (encoded(encode, ROWS) - expected[ROWS]).abs().max() > 0.05


def test_it_looks_before_every_batch_whether_to_stop():
    looks = []

    def check():
        looks.append(True)
        if len(looks) == 2:
            raise KeyboardInterrupt

    _, encode = make(check)
    seen = []

    def encode_all():
        for positions, _ in encode(np.arange(COUNT)):
            seen.extend(positions.tolist())

    with pytest.raises(KeyboardInterrupt):
        encode_all()
    assert sorted(seen) == list(range(32))


def test_many_may_look_at_what_is_encoded_once(expected):
    _, encode = make()
    asked = []

    def noted(rows):
        asked.extend(rows.tolist())
        return encode(rows)

    once = encode_once(noted)
    for rows in (ROWS, ROWS[::-1].copy(), np.arange(10), np.array([3, 69])):
        torch.testing.assert_close(encoded(once, rows), expected[rows], rtol=1e-4, atol=1e-5)
    assert sorted(asked) == sorted({*ROWS.tolist(), *range(10)})
    assert list(once(np.empty(0, np.intp))) == []


def test_a_layer_may_follow(expected):
    _, encode = make()
    layer = nn.Linear(expected.shape[1], 3)
    following = encoded(followed_by(encode, layer, CPU), ROWS)
    torch.testing.assert_close(following, layer(expected[ROWS]).detach(), rtol=1e-4, atol=1e-5)
    assert followed_by(encode, None, CPU) is encode
