"""The layout of a step, and the shares of several processes, which have to add up to the whole."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from test.sharing import unit_descriptors
from training.learning.augmentation import Augmentation
from training.learning.loss import ranking_loss
from training.learning.mining import Tuples
from training.learning.tuple_batch import share_of_batch

few = settings(max_examples=60, deadline=None, derandomize=True)
AUGMENTATION = Augmentation(colour=0.3, blur=1.0, crop=0.2, flip=True)
IMAGES = 50


@st.composite
def periods(draw):
    """Return tuples of which some have no violating negative, and which of them are of a step."""
    negatives = draw(st.lists(st.lists(st.integers(20, IMAGES - 1), max_size=3, unique=True), max_size=9))
    random = np.random.default_rng(draw(st.integers(0, 99)))
    rows = random.permutation(20)
    tuples = Tuples(
        queries=rows[: len(negatives)],
        positives=random.integers(0, 20, len(negatives)),
        negatives=[np.array(each, np.intp) for each in negatives],
        hardest=[],
    )
    start = draw(st.integers(0, len(negatives)))
    return tuples, start, draw(st.integers(start, len(negatives)))


def shares(period, processes, seed=0):
    return [
        share_of_batch(*period, (rank, processes), AUGMENTATION, np.random.default_rng(seed))
        for rank in range(processes)
    ]


def read_back(batch):
    """Return [query, positive, negatives ...] of each tuple of a share, by what the loss is given."""
    found = [
        [row, positive] for row, positive in zip(batch.rows[batch.queries], batch.rows[batch.queries + 1])
    ]
    for owner, negative in zip(batch.owners, batch.rows[batch.negatives], strict=True):
        found[owner].append(negative)
    assert len(batch.rows) == sum(map(len, found))
    return [[int(row) for row in each] for each in found]


@few
@given(period=periods(), processes=st.integers(1, 4))
def test_each_process_has_every_nth_tuple_with_a_violating_negative(period, processes):
    tuples, start, stop = period
    full = [
        [int(tuples.queries[number]), int(tuples.positives[number]), *tuples.negatives[number].tolist()]
        for number in range(start, stop)
        if len(tuples.negatives[number])
    ]
    for rank, batch in enumerate(shares(period, processes)):
        assert read_back(batch) == full[rank::processes]
        assert batch.size == stop - start  # also where this process has none of it
        assert batch.empty == (not full)


@few
@given(period=periods(), processes=st.integers(2, 4), seed=st.integers(0, 99))
def test_an_image_is_changed_alike_with_any_number_of_processes(period, processes, seed):
    """Two devices learn what one does; and the next step's changes are others."""

    def by_place(batches):
        """Return the changes by (tuple of the step, place in it)."""
        found = {}
        for rank, batch in enumerate(batches):
            tuple_of = np.searchsorted(batch.queries, np.arange(len(batch.rows)), side="right") - 1
            for image, own in enumerate(tuple_of):
                numbers = batch.changes.factors, batch.changes.sigma[:, None], batch.changes.window
                place = int(own) * len(batches) + rank, image - int(batch.queries[own])
                found[place] = np.concatenate([part[image] for part in numbers]).tolist()
        return found

    alone = by_place(shares(period, 1, seed))
    assert by_place(shares(period, processes, seed)) == alone
    assert len({tuple(numbers) for numbers in alone.values()}) == len(alone)  # each image its own


def test_tuples_of_a_step_are_mirrored_or_not_on_their_own():
    period = Tuples(np.arange(4), np.arange(4), [np.array([20, 21])] * 4, []), 0, 4
    seen = set()
    for seed in range(200):
        (batch,) = shares(period, 1, seed)
        mirrored = batch.changes.window[:, 2].reshape(4, 4) < 0
        assert (mirrored == mirrored[:, :1]).all(), "all images of a tuple alike"
        seen.add(tuple(mirrored[:, 0].tolist()))
    assert len(seen) == 2**4


@few
@given(period=periods(), processes=st.integers(2, 4))
def test_losses_and_gradients_of_the_processes_add_up(period, processes):
    def summed(count):
        descriptors = unit_descriptors(IMAGES).double().requires_grad_()
        total, violating = torch.zeros((), dtype=torch.float64), 0
        for batch in shares(period, count):
            rows, queries, negatives, owners = map(
                torch.from_numpy, (batch.rows, batch.queries, batch.negatives, batch.owners)
            )
            own = descriptors[rows]
            loss, parts = ranking_loss(own[queries], own[queries + 1], own[negatives], owners, 0.1)
            total, violating = total + loss, violating + int((parts > 0).sum())
        (total + 0 * descriptors.sum()).backward()
        return total.detach(), violating, descriptors.grad

    torch.testing.assert_close(summed(processes), summed(1))
