"""The figures of a run: which epoch is the best, when to give up, and what people get to see."""

import json

import cv2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.learning import curves
from training.learning.history import History, Log
from training.learning.run_folder import RunFolder

few = settings(max_examples=80, deadline=None, derandomize=True)
recalls = st.sampled_from([0.0, 0.25, 0.5])  # few values: ties
TRAINED = ("loss", "violating", "still_violating", "learning_rate", "mining_seconds", "training_seconds")


def figures(epoch, value=None):
    """Return figures of an epoch that no other epoch has; before training there are only recalls."""
    value = epoch / 32 if value is None else value
    found = {"recall@1": value / 2, "recall@5": value, "recall@10": value + 0.125}
    return found | {name: 0.5 / (epoch + number) for number, name in enumerate(TRAINED)} if epoch else found


def history_of(epochs):
    history = History([], 1000)
    for epoch in range(epochs):
        history.add(figures(epoch))
    return history


@few
@given(
    entries=st.lists(st.tuples(recalls, recalls, recalls), min_size=1, max_size=12),
    patience=st.integers(0, 4),
    asked=st.sampled_from([1, 3, 4, 5, 12, 1000]),
)
def test_the_best_is_the_last_not_told_from_the_highest_and_patience_counts_from_that(
    entries, patience, asked
):
    history, highest, since, best = History([], asked), None, 0, 0
    for epoch, (one, five, ten) in enumerate(entries):
        better = highest is None or (five, one, ten) > highest
        highest, since = ((five, one, ten), 0) if better else (highest, since + 1)
        # in queries found: one, or the deviation of a binomial
        near = (highest[0] - five) * asked <= max(1, (asked * highest[0] * (1 - highest[0])) ** 0.5)
        best = epoch if near else best
        assert history.add({"recall@1": one, "recall@5": five, "recall@10": ten}) == near
        assert history.best == best
        assert history.highest == epoch - since
        assert history.stale(patience) == (patience > 0 and since >= patience)
        # a run that goes on from here thinks the same of it
        assert History(list(history.entries), asked).best == history.best


def test_where_nearly_all_are_found_the_last_epoch_is_taken():
    """Campus-west, a strip held out: 390 times a query, found at once; the first epochs are not better."""
    history = History([], 390)
    for found in (389, 389, 389, 388, 388, 389, 388):
        history.add(dict.fromkeys(("recall@1", "recall@5", "recall@10"), found / 390))
    assert (history.highest, history.best) == (0, 6)
    history.add(dict.fromkeys(("recall@1", "recall@5", "recall@10"), 385 / 390))
    assert history.best == 6


def test_an_interrupted_run_counts_on():
    history = History(history_of(3).entries, 1000)
    history.add(figures(3))
    assert [entry["epoch"] for entry in history.entries] == [0, 1, 2, 3]


def test_the_line_says_how_it_goes():
    history = history_of(1)
    assert history.line() == "before training: R@1 0.000  R@5 0.000  R@10 0.125"
    history = history_of(4)
    history.add(figures(4, value=0.03))
    for part in ("epoch 4", "R@5 0.030", "best R@5 0.094 after 3", "loss 0.1250", "10% violating"):
        assert part in history.line()


def test_files_hold_all_figures(tmp_path):
    folder = RunFolder(tmp_path / "run")
    history = history_of(3)
    history.whitened = {"recall@5": 0.9}
    history.write(folder, "run: alexnet")
    written = json.loads(folder.history.read_text())
    assert written == {"epochs": history.entries, "best": 2, "whitened": {"recall@5": 0.9}}
    assert cv2.imread(str(folder.curves)).std() > 1
    assert {file.name for file in folder.folder.iterdir()} == {"history.json", "curves.png"}


# --- curves -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("epochs", [0, 1, 2, 30])
def test_each_curve_is_its_figure_by_epoch(tmp_path, monkeypatch, epochs):
    drawn = []

    class Kept(curves.Figure):
        def savefig(self, *arguments, **options):
            drawn.append(self)
            super().savefig(*arguments, **options)

    monkeypatch.setattr(curves, "Figure", Kept)
    entries = history_of(epochs).entries
    curves.draw_curves(tmp_path / "curves.png", entries, "the title")
    assert cv2.imread(str(tmp_path / "curves.png")) is not None
    (figure,) = drawn
    assert figure.get_suptitle() == "the title"
    found = {}
    for axis in figure.axes:
        for line in axis.lines:
            found[axis.get_title(), line.get_label()] = list(zip(*map(list, line.get_data()), strict=True))
    for panel, keys in curves.PANELS.items():
        for key, label in keys.items():
            points = [(entry["epoch"], entry[key]) for entry in entries if key in entry]
            assert found.pop((panel, label)) == points
    assert not found
    asked = {"loss", "violating", "recall@1", "recall@5", "recall@10", "learning_rate"}
    assert asked <= {key for keys in curves.PANELS.values() for key in keys}


# --- TensorBoard ------------------------------------------------------------------------------------------


def logged(folder):
    """Return what TensorBoard shows: (epoch, value) by name."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder.logs))
    events.Reload()
    return {
        name: [(event.step, event.value) for event in events.Scalars(name)]
        for name in events.Tags()["scalars"]
    }


def write_log(folder, history, until):
    """Log as a run does that is at `history` and goes on until so many epochs."""
    log = Log(folder, history)
    for epoch in range(len(history.entries), until):
        history.add(figures(epoch))
        log.add(history)
    log.close()


@pytest.mark.parametrize("checkpoint", [1, 2, 4])
def test_a_resumed_run_is_logged_once(tmp_path, checkpoint):
    """Killed after it had logged 4 epochs, it goes on from a checkpoint that may be older."""
    folder = RunFolder(tmp_path)
    write_log(folder, History([], 1000), 4)
    write_log(folder, history_of(checkpoint), 6)
    expected = {}
    for entry in history_of(6).entries:
        for name, value in entry.items():
            expected.setdefault(name, []).append((entry["epoch"], pytest.approx(value)))
    del expected["epoch"]
    assert logged(folder) == expected
