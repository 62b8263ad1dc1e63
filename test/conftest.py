"""What several test files need: a small encoder, textures, folders of geotagged images."""

import os
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from vpr_ros.command import run
from vpr_ros.geodesy import Datum, to_geodetic

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # as vpr_ros has it, before a test imports onnxruntime
# whoever sets a field of a message is told of a wrong type, as Humble always does; read on import
os.environ.setdefault("ROS_PYTHON_CHECK_FIELDS", "1")

DATUM = Datum(52.0, 5.0, 10.0)


def texture(seed, height=72, width=96):
    """Return an RGB image of coloured blocks that no other seed gives."""
    blocks = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
    return cv2.resize(blocks, (width, height), interpolation=cv2.INTER_NEAREST)


def write_image_folder(folder: Path, count: int, step=30.0, first=0, sessions=("walk",)):
    """Write `count` textures, `step` metres apart eastwards, with images.csv; return the folder."""
    folder.mkdir(parents=True)
    lines = ["image,latitude,longitude,altitude,heading,stamp,session"]
    for number in range(first, first + count):
        name = f"{number:03d}.png"
        cv2.imwrite(str(folder / name), texture(number)[..., ::-1])
        latitude, longitude, altitude = to_geodetic([number * step, 0.0, 0.0], DATUM).tolist()
        session = sessions[number % len(sessions)]
        lines.append(f"{name},{latitude:.9f},{longitude:.9f},{altitude:.3f},90,{number * 10**9},{session}")
    (folder / "images.csv").write_text("\n".join(lines) + "\n")
    return folder


def write_weights(file: Path, seed: int):
    """Write a weights file of a small encoder with random weights; return the file."""
    import torch

    from vpr_ros.encoder import Architecture, Encoder, save_encoder

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder = Encoder(Architecture(clusters=4, input_size=64))
    save_encoder(encoder, file, "nothing: random weights of a test")
    return file


@pytest.fixture(scope="session")
def weights(tmp_path_factory):
    return write_weights(tmp_path_factory.mktemp("weights") / "small.safetensors", 0)


@pytest.fixture(scope="session")
def other_weights(tmp_path_factory):
    return write_weights(tmp_path_factory.mktemp("weights") / "other.safetensors", 1)


@pytest.fixture
def call(monkeypatch, capsys):
    """Run a command's function as its file does, in this process; return status, output and error lines."""

    def call(function, *arguments):
        monkeypatch.setattr(sys, "argv", ["command", *map(str, arguments)])
        capsys.readouterr()
        try:
            run(function)
            status = 0
        except SystemExit as error:
            status = error.code
        output, errors = capsys.readouterr()
        return status, output, errors

    return call
