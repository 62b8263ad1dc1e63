"""Training small enough for a test: two drives past the same textures, and a narrow AlexNet."""

from __future__ import annotations

import copy
import functools
import json
from contextlib import contextmanager
from dataclasses import replace

import cv2
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional as F

from test.conftest import DATUM, texture
from training.learning import history
from training.learning import run as training_run
from vpr_ros import trunks
from vpr_ros.encoder import Architecture, Encoder
from vpr_ros.geodesy import to_geodetic

#: Metres from one place to the next, and from one drive to the other.
STEP, APART = 40.0, 3.0


def picture(place, drive, alike, height=64, width=80):
    """Return what a drive sees of a place: a part is the place's, the rest its own."""
    own = texture(1000 + 100 * drive + place, height, width)
    return cv2.addWeighted(texture(place, height, width), alike, own, 1 - alike, 0)


def write_drives(folder, places, first=0, alike=0.6, size=lambda place, drive: (64, 80)):
    """Write two drives, "a" and "b", past places in a row eastwards, with images.csv; return the folder."""
    folder.mkdir(parents=True)
    lines = ["image,latitude,longitude,session"]
    for place in range(first, first + places):
        for drive, session in enumerate("ab"):
            name = f"{session}{place:03d}.png"
            cv2.imwrite(str(folder / name), picture(place, drive, alike, *size(place, drive))[..., ::-1])
            latitude, longitude, _ = to_geodetic([place * STEP + drive * APART, 0.0, 0.0], DATUM).tolist()
            lines.append(f"{name},{latitude:.9f},{longitude:.9f},{session}")
    (folder / "images.csv").write_text("\n".join(lines) + "\n")
    return folder


def narrow_alexnet():
    """Return AlexNet's layers with few channels: a step takes milliseconds, a file kilobytes."""
    channels, layers = (3, 8, 12, 16, 16, 16), []
    for number, (kernel, stride, padding) in enumerate([(11, 4, 2), (5, 1, 2), *[(3, 1, 1)] * 3]):
        layers += [nn.Conv2d(*channels[number : number + 2], kernel, stride, padding), nn.ReLU(inplace=True)]
        if number < 2:
            layers.append(nn.MaxPool2d(3, 2))
    return nn.Sequential(*layers[:-1])


def write_trunk(file):
    """Write random weights of the trunk that "alexnet" is at the moment, with torchvision's names."""
    trunk = trunks.build_trunk("alexnet")
    random = torch.Generator().manual_seed(0)
    for name, tensor in trunk.state_dict().items():
        if name.endswith("weight"):  # as He et al.: images stay different through the layers
            nn.init.kaiming_normal_(tensor, generator=random)
        else:
            tensor.zero_()
    save_file({f"features.{name}": tensor for name, tensor in trunk.state_dict().items()}, file)
    return file


def make_narrow(patch):
    """Let "alexnet" be narrow."""
    spec = replace(trunks.TRUNKS["alexnet"], build=narrow_alexnet, depth=16)
    patch.setitem(trunks.TRUNKS, "alexnet", spec)


def make_quick(patch):
    """One thread, which also computes the same every time; return how many there were.

    No pictures of the curves, and no random numbers for AlexNet's 58 million weights that are cut off.
    """
    patch.setattr(history, "draw_curves", lambda *_: None)
    patch.setattr(nn.Linear, "reset_parameters", lambda layer: None)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    return threads


def narrow_encoder(pooling="netvlad"):
    """Return the same encoder each time, on the narrow AlexNet with random weights that tell images apart."""
    return copy.deepcopy(_narrow_encoder(pooling))


@functools.cache
def _narrow_encoder(pooling):
    clusters = 4 if pooling == "netvlad" else 0
    with pytest.MonkeyPatch.context() as patch, torch.random.fork_rng(devices=[]):
        make_narrow(patch)
        torch.manual_seed(0)
        encoder = Encoder(Architecture("alexnet", pooling, clusters, input_size=64))
        for layer in encoder.trunk:
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight)
                nn.init.zeros_(layer.bias)
    if pooling == "netvlad":
        images = [torch.from_numpy(picture(place, 0, 0.5)).permute(2, 0, 1) for place in range(50, 60)]
        with torch.no_grad():
            local = F.normalize(encoder.local(torch.stack(images)).flatten(2), dim=1).transpose(1, 2)
        encoder.pooling.initialise(local.flatten(0, 1).numpy())
    return encoder


def arguments(data, out, trunk, **more):
    """Return the command line of a small run; `model__input_size=80` stands for --model.input-size 80.

    It is validated with what it is trained on, so that it gets better.
    """
    options = {
        "data": data,
        "val": data,
        "out": out,
        "device": "cpu",
        "model__trunk": "alexnet",
        "model__trunk_weights": trunk,
        "model__input_size": 64,
        "model__clusters": 4,
        "mining__kept": 3,
        "mining__refresh_every": 8,
        "optimisation__epochs": 2,
        "optimisation__learning_rate": 0.0003,
        "whiten__dimension": 8,
    }
    line = []
    for name, value in (options | more).items():
        text = str(value).lower() if isinstance(value, bool) else str(value)
        line += ["--" + name.replace("__", ".").replace("_", "-"), text]
    return line


def outcome(folder):
    """Return what a run ended with, but for the time that it took: tensors by name, figures by epoch."""
    state = torch.load(folder / "last.ckpt", weights_only=True)["learner"]
    del state["seconds"]
    tensors = {f"state {name}": value for name, value in _flat(state)}
    for name in ("best", "weights"):
        tensors |= {
            f"{name} {key}": value for key, value in load_file(folder / f"{name}.safetensors").items()
        }
    figures = json.loads((folder / "history.json").read_text())
    for entry in figures["epochs"]:
        for name in [name for name in entry if name.endswith("_seconds")]:
            del entry[name]
    return tensors, figures


def _flat(value, name=""):
    if isinstance(value, dict):
        value = list(value.items())
    elif isinstance(value, list):
        value = list(enumerate(value))
    else:
        yield name, value if isinstance(value, torch.Tensor) else torch.tensor(value or 0)
        return
    for key, each in value:
        yield from _flat(each, f"{name} {key}")


def check_equal(folder, other):
    """Check that two runs ended alike, to the last bit."""
    (tensors, figures), (others, other_figures) = outcome(folder), outcome(other)
    assert figures == other_figures
    assert tensors.keys() == others.keys()
    for name, tensor in tensors.items():
        assert torch.equal(tensor, others[name]), name


@contextmanager
def stopped_at(patch, looks):
    """Ask a run to stop when it looks for the n-th time; yield, in a list, how often it has looked."""
    count = [0]

    def look():
        count[0] += 1
        return count[0] == looks

    @contextmanager
    def stoppable():
        yield look

    with patch.context() as inner:
        inner.setattr(training_run, "stoppable", stoppable)
        yield count
