"""The state of a run on disk: what went in comes out, or one line says why not; nothing in it is run."""

import math
import pickle
from pathlib import Path

import pytest
import torch
import yaml
from torch import nn

from test.error_lines import check_line, input_error
from training.learning import checkpoint
from training.learning.checkpoint import load_checkpoint, save_checkpoint
from training.learning.run_folder import RunFolder, check_same
from vpr_ros.errors import InputError


def state(seed=0):
    """Return what a run keeps: an optimiser's state, tuples, numbers, and all they are held in."""
    generator = torch.Generator().manual_seed(seed)
    network = nn.Linear(3, 2)
    optimiser = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    for parameter in network.parameters():
        parameter.grad = torch.rand(parameter.shape, generator=generator)
    optimiser.step()
    return {
        "network": network.state_dict(),
        "optimiser": optimiser.state_dict(),
        "sums": torch.rand(3, dtype=torch.float64, generator=generator),
        "half": torch.rand(4, generator=generator).half(),
        "remembered": {7: torch.tensor([1, 2**40]), 9: torch.empty(0, dtype=torch.int64)},
        "tuples": None,
        "history": [{"epoch": 0, "recall@5": 0.1 + 0.2}, {"loss": math.inf}],
        "options": {"name": "süd", "flag": True, "none": None, "list": ["a", "b"], "count": 2**40},
    }


def equal(first, second):
    """Tell whether two states are the same to the bit, types included."""
    if type(first) is not type(second):
        return isinstance(first, dict) and isinstance(second, dict) and equal(dict(first), dict(second))
    if isinstance(first, torch.Tensor):
        return first.dtype == second.dtype and torch.equal(first, second)
    if isinstance(first, dict):
        return list(first) == list(second) and all(equal(first[key], second[key]) for key in first)
    if isinstance(first, list):
        return len(first) == len(second) and all(map(equal, first, second))
    return first == second


@pytest.fixture
def file(tmp_path):
    return tmp_path / "last.ckpt"


def test_what_went_in_comes_out(file):
    before = state()
    save_checkpoint(file, before)
    loaded = load_checkpoint(file)
    assert equal({key: loaded[key] for key in before}, before)
    assert not equal(loaded, state(seed=1) | {"format": checkpoint.FORMAT})  # `equal` can tell
    network = nn.Linear(3, 2)
    optimiser = torch.optim.SGD(network.parameters(), lr=1.0, momentum=0.1)
    optimiser.load_state_dict(loaded["optimiser"])
    assert equal(optimiser.state_dict(), before["optimiser"])


def test_what_cannot_be_saved_leaves_the_one_before(file):
    save_checkpoint(file, state())
    with pytest.raises((AttributeError, pickle.PicklingError)):
        save_checkpoint(file, state(seed=1) | {"code": lambda: None})
    assert torch.equal(load_checkpoint(file)["sums"], state()["sums"])
    assert [each.name for each in file.parent.iterdir()] == ["last.ckpt"]


# --- damage -----------------------------------------------------------------------------------------------


def test_truncated_anywhere(file):
    save_checkpoint(file, state())
    whole = file.read_bytes()
    for size in [*range(0, len(whole), 37), len(whole) - 1]:
        file.write_bytes(whole[:size])
        with input_error(file, "damaged", "another --out"):
            load_checkpoint(file)


def test_damaged_at_any_byte(file):
    """A weight that is not the one that was saved must not be trained on in silence."""
    before = {"sums": torch.rand(3), "epoch": 3}
    save_checkpoint(file, before)
    whole, saved = file.read_bytes(), load_checkpoint(file)
    silent = []
    for position in range(len(whole)):
        damaged = bytearray(whole)
        damaged[position] ^= 0xFF
        file.write_bytes(damaged)
        try:
            if not equal(load_checkpoint(file), saved):
                silent.append(position)
        except InputError as error:
            check_line(error, file, "--out")
    assert not silent


@pytest.mark.parametrize(
    "content",
    [b"\x00" * 100, b"<html>\n404\nnot found\n</html>\n", bytes(range(256)) * 4, pickle.dumps([1, 2])],
    ids=["zeros", "page", "bytes", "pickle"],
)
def test_garbage(file, content):
    file.write_bytes(content)
    with input_error(file, "start"):
        load_checkpoint(file)


class Touch:
    """Unpickled by a loader that trusts, it writes a file."""

    def __init__(self, file):
        self.file = file

    def __reduce__(self):
        return Path.touch, (self.file,)


@pytest.mark.parametrize("how", ["torch", "old torch", "pickle"])
def test_code_in_a_checkpoint_is_refused_and_not_run(file, how):
    touched = file.parent / "touched"
    content = {"format": checkpoint.FORMAT, **state(), "extra": Touch(touched)}
    if how == "pickle":
        file.write_bytes(pickle.dumps(content))
    elif how == "torch":
        save_checkpoint(file, content)
    else:
        torch.save(content, file, _use_new_zipfile_serialization=False)
    with input_error(file, "another --out"):
        load_checkpoint(file)
    assert not touched.exists()
    pickle.loads(pickle.dumps(Touch(touched)))  # noqa: S301 - the trap does work
    assert touched.exists()


# --- what is no checkpoint of this version ----------------------------------------------------------------


def test_another_format_names_both(file, monkeypatch):
    own = checkpoint.FORMAT
    monkeypatch.setattr(checkpoint, "FORMAT", own + 1)
    save_checkpoint(file, state())
    monkeypatch.undo()
    with input_error(file, f"format {own + 1}", f"reads {own}", "start a new run"):
        load_checkpoint(file)


@pytest.mark.parametrize("content", [{"features.0.weight": torch.zeros(2)}, [1, 2], torch.zeros(3)])
def test_weights_are_no_checkpoint(file, content):
    torch.save(content, file)
    with input_error(file, "start"):
        load_checkpoint(file)


@pytest.mark.parametrize("folder", [False, True])
def test_no_checkpoint_there(file, folder):
    if folder:
        file.mkdir()
    with input_error(file, "without --resume"):
        load_checkpoint(file)


# --- the run's folder -------------------------------------------------------------------------------------

OPTIONS = {"val": None, "data": ["süd", "b"], "optimisation": {"learning_rate": 1e-4, "name": "SGD"}}


def test_options_are_written_as_config_takes_them(tmp_path):
    folder = RunFolder(tmp_path / "parent" / "run")
    folder.write_config(OPTIONS)
    written = yaml.safe_load(folder.config.read_text())
    assert written == OPTIONS
    assert list(written) == list(OPTIONS)  # in the order people know
    folder.check(resume=False)  # it was interrupted before there was anything to lose


@pytest.mark.parametrize("left", ["last.ckpt", "weights.safetensors"])
def test_another_run_is_not_lost(tmp_path, left):
    folder = RunFolder(tmp_path)
    (tmp_path / left).touch()
    with input_error(tmp_path, "--resume", "another --out"):
        folder.check(resume=False)


def test_no_run_to_go_on_with(tmp_path):
    folder = RunFolder(tmp_path / "run")
    with input_error(folder.checkpoint, "leave --resume out"):
        folder.check(resume=True)
    assert not folder.folder.exists()
    save_checkpoint(folder.checkpoint, state())
    folder.check(resume=True)


@pytest.mark.parametrize("resume", [False, True])
def test_a_file_where_the_folder_should_be(tmp_path, resume):
    (tmp_path / "run").write_text("mine")
    with input_error(tmp_path / "run", "is a file", "folder"):
        RunFolder(tmp_path / "run").check(resume)
    assert (tmp_path / "run").read_text() == "mine"


@pytest.mark.parametrize(
    ("before", "now", "parts"),
    [
        ({"seed": 0, "rate": 0.1}, {"seed": 1, "rate": 0.1}, ("seed 0", "it is 1")),
        ({"seed": 0, "rate": 0.1}, {"seed": 0}, ("rate 0.1", "it is None")),
        ({"seed": 0}, {"seed": 0, "val": "x"}, ("val None", "it is x")),
    ],
)
def test_a_run_may_not_go_on_with_other_options(tmp_path, before, now, parts):
    check_same(before, dict(reversed(before.items())), tmp_path)
    with input_error(tmp_path, *parts, "another --out"):
        check_same(before, now, tmp_path)
