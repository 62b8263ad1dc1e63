"""Similarities that stream: all of them, each once, without the descriptors of all rows at a time."""

import weakref

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from test.sharing import in_processes, looked_up, unit_descriptors
from training.learning import similarity
from training.learning.similarity import similarities

few = settings(max_examples=40, deadline=None, derandomize=True)
CPU = torch.device("cpu")


@few
@given(data=st.data(), images=st.integers(1, 40), processes=st.integers(1, 4), columns=st.integers(1, 5))
def test_every_process_count_gives_the_matrix_product(data, images, processes, columns):
    queries = np.array(data.draw(st.lists(st.integers(0, images - 1), unique=True)), np.intp)
    rows = np.array(data.draw(st.lists(st.integers(0, images - 1), unique=True)), np.intp)
    descriptors = unit_descriptors(images)
    asked = [[] for _ in range(processes)]

    def work(share, total):
        encode = looked_up(descriptors, asked[share[0]])
        parts = similarities(queries, rows, encode, descriptors.shape[1], CPU, share, total)
        return [(positions, scores.numpy()) for positions, scores in parts]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(similarity, "_COLUMNS", columns)
        found = [part for parts in in_processes(processes, work) for part in parts]
    positions = np.concatenate([np.empty(0, np.intp), *(part for part, _ in found)])
    assert sorted(positions) == list(range(len(rows))), "each row once, by one of them"
    matrix = descriptors[queries].numpy() @ descriptors[rows].numpy().T
    for part, scores in found:
        np.testing.assert_allclose(scores, matrix[:, part], atol=1e-6)
    # what costs time: nothing is encoded twice, and all do about the same
    assert sorted(np.concatenate(asked)) == sorted({*queries.tolist(), *rows.tolist()})
    counts = [len(each) for each in asked]
    assert max(counts) - min(counts) <= 2  # one of the queries, one of the rest


def test_descriptors_are_let_go_batch_by_batch():
    """100 000 images of 32 768 floats would be 13 GB."""
    alive, most = weakref.WeakSet(), 0

    def encode(rows):
        nonlocal most
        for position in range(len(rows)):
            descriptors = torch.rand(1, 4)
            alive.add(descriptors)
            most = max(most, len(alive))
            yield np.array([position]), descriptors
            del descriptors

    streamed = similarities(np.arange(5), np.arange(200), encode, 4, CPU)
    assert sum(len(positions) for positions, _ in streamed) == 200
    assert 1 <= most <= 2  # the next is made while the last one still has its name
