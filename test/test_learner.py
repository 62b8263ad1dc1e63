"""Epochs of training, against the same arithmetic done slowly: image by image and triplet by triplet."""

import copy
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from test.sharing import in_processes, rows_at
from test.small_training import narrow_encoder, picture
from training.learning import learner as module
from training.learning.augmentation import Augmentation
from training.learning.encode import encode_rows
from training.learning.inputs import Budget, Pixels
from training.learning.learner import Learner
from training.learning.mining import Mining
from training.learning.model import TiedNetVLAD
from training.learning.network import Network
from training.learning.optimisation import Optimisation
from training.learning.supervision import Radii, Supervision
from vpr_ros.geotagged import GeotaggedImages

PLACES, MARGIN, ALPHA = 7, 0.1, 20.0
KEEP_3 = Mining(kept=3)
ALONE = SimpleNamespace(global_rank=0, world_size=1)
CONVOLUTIONS = {"conv1": 0, "conv2": 3, "conv3": 6, "conv4": 8, "conv5": 10, "pooling": 11}


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def pictures(alike=0.6, other=(80, 64)):
    """Return three images, of two sessions and two sizes, of each place; the next place is 40 m away."""
    images = [
        picture(place, drive, alike, *((64, 80) if (place + drive) % 3 else other))
        for place in range(PLACES)
        for drive in range(3)
    ]
    metres = [(40.0 * place + along, 0.0) for place in range(PLACES) for along in (0.0, 3.0, 5.0)]
    return GeotaggedImages(rows_at(metres, ["a", "b", "a"] * PLACES), lambda row: images[row])


class Recorded:
    """What steps load, batch by batch."""

    def __init__(self, load):
        self.load, self.rows = load, []

    def __call__(self, rows):
        self.rows.append(rows.tolist())
        return self.load(rows)


def make(encoder, train_from, table=None, fabric=ALONE, mining=KEEP_3, seed=0, augmentation=None, **options):
    """Return a learner, and what its steps load."""
    table = pictures() if table is None else table
    network = Network(encoder, train_from)
    if options.pop("tied", False):
        network.pooling = TiedNetVLAD(network.pooling)
    load = Pixels(table, encoder.fit_size, Budget(0))
    steps = Recorded(load)
    learner = Learner(
        fabric,
        network,
        Supervision(table.rows, Radii()),
        steps,
        encode_rows(network, load, 1, "", quiet=True),
        Optimisation(**({"learning_rate": 0.01} | options)),
        mining,
        augmentation or Augmentation(),
        seed,
        threads=1,
    )
    return learner, steps


def epoch(learner, stop=lambda: False):
    return learner.train_epoch(stop, lambda: None)


# --- the same slowly


def describe(encoder, table, row, change=lambda image: image):
    image = torch.from_numpy(table.read(row)).permute(2, 0, 1)
    return encoder(change(image)[None])[0]


def squared(one, other):
    return ((one - other) ** 2).sum()


def mined(encoder, table, kept):
    """Return each query's best positive and hardest violating negatives; all are tried."""
    with torch.no_grad():
        descriptors = [describe(encoder, table, row) for row in range(len(table))]
    tuples = {}
    for query in range(len(table)):
        distance = {row: float(squared(descriptors[query], each)) for row, each in enumerate(descriptors)}
        place = query // 3
        positive = min((row for row in range(3 * place, 3 * place + 3) if row != query), key=distance.get)
        others = sorted((row for row in range(len(table)) if row // 3 != place), key=distance.get)
        violating = [row for row in others if distance[row] < distance[positive] + MARGIN]
        tuples[query] = positive, violating[:kept]
    return tuples


def train_slowly(encoder, trained, table, tuples, batches, rate, change):
    """Take a step for each batch of rows, as they were loaded; return loss, triplets, those that violate."""
    optimiser = torch.optim.SGD(trained, lr=rate, momentum=0.9, weight_decay=0.001)
    sums, queries = np.zeros(3), []
    for batch in batches:
        left, losses = list(batch), []
        while left:
            query = left.pop(0)
            positive, negatives = tuples[query]
            assert negatives
            assert left[: 1 + len(negatives)] == [positive, *negatives]
            left = left[1 + len(negatives) :]
            queries.append(query)
            q, p, *n = (describe(encoder, table, row, change) for row in (query, positive, *negatives))
            losses += [squared(q, p) + MARGIN - squared(q, each) for each in n]
        violating = [loss for loss in losses if loss > 0]
        optimiser.zero_grad()
        (sum(violating) / len(violating)).backward()
        optimiser.step()
        sums += [float(sum(violating).detach()), len(losses), len(violating)]
    assert len(set(queries)) == len(queries)
    assert set(queries) == {query for query, (_, negatives) in tuples.items() if negatives}
    return sums


class TiedSlowly(nn.Module):
    """NetVLAD by its definition: softly assigned by squared distance."""

    def __init__(self, centres):
        super().__init__()
        self.centres = nn.Parameter(centres)

    def forward(self, features):
        local = F.normalize(features.flatten(2), dim=1)[0].T
        residuals = local[:, None] - self.centres
        assignment = (-ALPHA * residuals.square().sum(2)).softmax(1)
        return F.normalize(
            F.normalize((assignment[..., None] * residuals).sum(0), dim=1).flatten()[None], dim=1
        )


def tie(encoder):
    with torch.no_grad():
        centres = F.normalize(encoder.pooling.centres, dim=1) * 0.8
        encoder.pooling.centres.copy_(centres)
        encoder.pooling.weight.copy_(2 * ALPHA * centres)
        encoder.pooling.bias.copy_(-ALPHA * centres.square().sum(1))


@pytest.mark.parametrize(
    ("pooling", "train_from", "changed"),
    [
        ("netvlad", "conv3", False),
        ("netvlad", "pooling", False),
        ("netvlad", "conv1", False),
        ("netvlad", "conv4", True),
        ("max", "conv4", False),
        ("gem", "conv5", False),
        ("tied", "conv5", False),
    ],
)
def test_an_epoch_is_what_the_paper_says(monkeypatch, pooling, train_from, changed):
    """Every weight after several steps, and the figures; mining never sees an image that is changed."""
    encoder, table, rate = narrow_encoder("netvlad" if pooling == "tied" else pooling), pictures(0.7), 0.005
    if pooling == "tied":
        tie(encoder)
    slow = copy.deepcopy(encoder)
    if pooling == "tied":
        slow.pooling = TiedSlowly(slow.pooling.centres.detach().clone())
    before = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
    monkeypatch.setattr(module, "apply_changes", lambda images, changes: images.flip(-1) / 255)
    learner, steps = make(
        *(encoder, train_from, table),
        augmentation=Augmentation(flip=True) if changed else None,
        learning_rate=rate,
        batch=4,
        tied=pooling == "tied",
    )
    figures = epoch(learner)

    tuples = mined(slow, table, 3)
    trained = [*slow.trunk[CONVOLUTIONS[train_from] :].parameters(), *slow.pooling.parameters()]
    mirrored = (lambda image: image.flip(-1)) if changed else (lambda image: image)
    loss, triplets, still = train_slowly(slow, trained, table, tuples, steps.rows, rate, mirrored)

    queries = len(table)
    assert len(steps.rows) > 4
    assert pooling in ("max", "gem") or still < triplets  # some do not violate any more
    assert figures["loss"] == pytest.approx(loss / queries, rel=1e-4)
    assert figures["violating"] == sum(len(negatives) > 0 for _, negatives in tuples.values()) / queries
    assert figures["triplets"] == pytest.approx(triplets / queries)
    assert figures["still_violating"] == pytest.approx(still / triplets)
    if pooling == "tied":
        encoder(torch.zeros(1, 3, 64, 64))
    wanted = slow.state_dict()
    for name, tensor in encoder.state_dict().items():
        if name.startswith("trunk") and int(name.split(".")[1]) < CONVOLUTIONS[train_from]:
            assert torch.equal(tensor, before[name]), name
        elif name in wanted:
            moved = wanted[name] - before[name]
            assert moved.abs().max() > 1e-5
            torch.testing.assert_close(
                tensor - before[name], moved, rtol=0, atol=float(moved.abs().max()) / 100
            )


def test_a_tied_assignment_follows_its_centres():
    encoder = narrow_encoder()
    tie(encoder)
    before = encoder.pooling.centres.detach().clone()
    learner, _ = make(encoder, "pooling", tied=True, learning_rate=0.1)
    epoch(learner)
    with torch.no_grad():  # as validation does, which comes after every epoch
        learner._network(torch.randn(1, 16, 3, 4))
    centres = encoder.pooling.centres.detach()
    assert (centres - before).abs().max() > 1e-3
    torch.testing.assert_close(encoder.pooling.weight.detach(), 2 * ALPHA * centres)
    torch.testing.assert_close(encoder.pooling.bias.detach(), -ALPHA * centres.square().sum(1))


def test_nothing_changes_where_nothing_violates():
    """Not even by weight decay or momentum."""
    encoder = narrow_encoder()
    before = copy.deepcopy(encoder.state_dict())
    learner, steps = make(encoder, "conv1", pictures(alike=1.0, other=(64, 80)))
    figures = epoch(learner)
    assert [figures[name] for name in ("loss", "violating", "triplets", "still_violating")] == [0, 0, 0, 0]
    assert not steps.rows
    for name, tensor in encoder.state_dict().items():
        assert torch.equal(tensor, before[name])


# --- the schedule


@pytest.fixture
def mining_calls(monkeypatch):
    """The queries of each mining."""
    calls, whole = [], module.draw_candidates

    def recorded(supervision, queries, *others):
        calls.append(queries.tolist())
        return whole(supervision, queries, *others)

    monkeypatch.setattr(module, "draw_candidates", recorded)
    return calls


def test_the_rate_halves_and_the_period_doubles(mining_calls):
    learner, _ = make(
        narrow_encoder(), "pooling", mining=Mining(refresh_every=4), learning_rate=0.004, halve_every=2
    )
    orders, saved = [], []
    epochs = [(0.004, [4] * 5 + [1])] * 2 + [(0.002, [8, 8, 5])] * 2 + [(0.001, [16, 5])]
    for number, (rate, sizes) in enumerate(epochs):
        mining_calls.clear()
        saved.clear()
        figures = learner.train_epoch(lambda: False, lambda: saved.append(learner.state()["done"]))
        assert figures["learning_rate"] == rate, number
        assert learner.state()["optimiser"]["param_groups"][0]["lr"] == rate
        assert [len(queries) for queries in mining_calls] == sizes
        assert saved == np.cumsum([0, *sizes[:-1]]).tolist()  # where a period begins
        orders.append([query for queries in mining_calls for query in queries])
        learner.next_epoch()
    assert all(sorted(order) == list(range(3 * PLACES)) for order in orders)
    assert len({tuple(order) for order in orders}) == len(orders)


def test_a_long_period_is_mined_in_parts(mining_calls, monkeypatch):
    monkeypatch.setattr(module, "MOST_QUERIES", 8)
    learner, _ = make(narrow_encoder(), "pooling")
    epoch(learner)
    assert [len(queries) for queries in mining_calls] == [8, 8, 5]


def test_order_is_of_the_seed(mining_calls):
    for seed in (3, 3, 4):
        epoch(make(narrow_encoder(), "pooling", seed=seed)[0])
    first, again, other = mining_calls
    assert first == again
    assert first != other


def test_features_are_computed_anew_for_each_period():
    """The second period's tuples are those of the weights after the first."""
    encoder, table = narrow_encoder(), pictures()
    learner, steps = make(encoder, "conv1", table, mining=Mining(kept=3, refresh_every=12), batch=12)
    weights = []
    learner.train_epoch(lambda: False, lambda: weights.append(copy.deepcopy(encoder)))
    assert len(steps.rows) == len(weights) == 2
    first, second = (mined(each, table, 3) for each in weights)
    assert [row for batch in steps.rows for row in batch] == [
        row
        for batch, tuples in zip(steps.rows, (first, second), strict=True)
        for query in queries_of(batch, tuples)
        for row in (query, tuples[query][0], *tuples[query][1])
    ]
    assert any(first[query] != second[query] for query in queries_of(steps.rows[1], second))


def queries_of(batch, tuples):
    queries, left = [], list(batch)
    while left:
        queries.append(left[0])
        left = left[2 + len(tuples[left[0]][1]) :]
    return queries


def test_the_mean_of_the_weights():
    """It lags behind them, and is there only while it is asked for."""
    encoder = narrow_encoder()
    mean = encoder.pooling.centres.detach().clone()
    learner, _ = make(encoder, "conv5", average=0.75, batch=100, learning_rate=0.1)  # one step an epoch
    for _ in range(3):
        epoch(learner)
        learner.next_epoch()
        own = encoder.pooling.centres.detach().clone()
        mean = 0.75 * mean + 0.25 * own
        with learner.averaged():
            torch.testing.assert_close(encoder.pooling.centres.detach(), mean)
            assert (mean - own).abs().max() > 1e-3
        assert torch.equal(encoder.pooling.centres, own)


# --- several processes


def in_several(count, work):
    """Return work(fabric) of so many processes, which are threads."""

    def process(share, total):
        rank, size = share
        return work(
            SimpleNamespace(
                global_rank=rank, world_size=size, all_reduce=lambda tensor, reduce_op: total(tensor)
            )
        )

    return in_processes(count, process)


@pytest.mark.parametrize(
    ("processes", "batch", "refresh"),
    [(2, 4, 9), (2, 1, 1000), (3, 64, 1000), (3, 4, 2)],
    ids=["odd", "one has none", "more than there are", "fewer queries than processes"],
)
def test_several_processes_train_as_one(processes, batch, refresh):
    options = {"batch": batch, "mining": Mining(kept=3, refresh_every=refresh)}

    def trained(fabric):
        encoder = narrow_encoder()
        learner, steps = make(encoder, "conv3", fabric=fabric, **options)
        every = [epoch(learner)]
        learner.next_epoch()
        every.append(epoch(learner))
        for figures in every:
            del figures["mining_seconds"], figures["training_seconds"]
        return encoder.state_dict(), every, [sorted(rows) for rows in steps.rows]

    alone, figures, rows = trained(ALONE)
    several = in_several(processes, trained)
    assert figures[1]["loss"] > 0.01
    for tensors, theirs, _ in several:
        for mine, their in zip(figures, theirs, strict=True):
            assert mine == pytest.approx(their, rel=1e-4)
        for name, tensor in tensors.items():
            torch.testing.assert_close(tensor, alone[name], rtol=1e-4, atol=1e-5)
            assert torch.equal(tensor, several[0][0][name])  # of each other they do not differ at all
    # what is trained with is shared out, not repeated
    together = sorted(row for _, _, batches in several for each in batches for row in each)
    assert together == sorted(row for each in rows for row in each)
    if batch > processes:
        assert max(sum(map(len, batches)) for _, _, batches in several) < 0.75 * len(together)


def test_all_processes_stop_when_one_is_asked_to():
    encoder = narrow_encoder()

    def stopped(fabric):
        learner, _ = make(copy.deepcopy(encoder), "pooling", fabric=fabric, batch=1)
        looks = []

        def stop():
            looks.append(learner.step)
            return fabric.global_rank == 1 and len(looks) == 2

        with pytest.raises(KeyboardInterrupt):
            epoch(learner, stop)
        return learner.step, learner.state()

    (step, state), (other_step, other_state) = in_several(2, stopped)
    assert step == other_step == module.AGREE_EVERY
    assert state["done"] == other_state["done"] == module.AGREE_EVERY
    for name, tensor in state["network"].items():
        assert torch.equal(tensor, other_state["network"][name])


def test_one_process_stops_after_the_step():
    learner, _ = make(narrow_encoder(), "pooling", batch=2)
    looks = []
    with pytest.raises(KeyboardInterrupt):
        epoch(learner, lambda: looks.append(learner.step) or len(looks) == 3)
    assert (learner.step, looks) == (2, [0, 1, 2])
