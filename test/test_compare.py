"""Variants of the training, measured on places held out: the table, and what is not done again."""

import pytest
import torch

from test.as_command import check_refusal
from test.small_training import make_narrow, make_quick, write_drives, write_trunk
from training.compare import compare
from training.learning.run_folder import RunFolder

VARIANTS = """
base:
  model: {trunk: alexnet, input_size: 64, clusters: 4}
  mining: {kept: 3}
  optimisation: {epochs: 1}
  whiten: {dimension: 8}
NetVLAD:
max: {model: {pooling: max}, whiten: {dimension: 0}}
"""


@pytest.fixture(autouse=True, scope="module")
def _quick():
    with pytest.MonkeyPatch.context() as patch:
        make_narrow(patch)
        threads = make_quick(patch)
        yield
        torch.set_num_threads(threads)


def line(folder, *more):
    return [
        *("--data", folder / "drives", "--variants", folder / "variants.yaml", "--out", folder / "out"),
        *("--tasks", "b on a", "--ends", "last", "1/3", "--seeds", "1", "--trunk-folder", folder),
        *("--device", "cpu", *more),
    ]


@pytest.fixture
def world(tmp_path):
    write_drives(tmp_path / "drives", 12)
    write_trunk(tmp_path / "alexnet-imagenet-features.safetensors")
    (tmp_path / "variants.yaml").write_text(VARIANTS)
    return tmp_path


def test_a_table_of_variants_and_nothing_twice(call, world):
    status, output, errors = call(compare, *line(world))
    assert status == 0, errors
    rows = [row.strip("| ").split(" | ") for row in output.splitlines() if row.startswith("| ")]
    assert rows[0] == [
        "variant",
        "weights",
        *(f"{name} R@1/5/10" for name in ("all sessions", "b on a, 25 m", "b on a, 10 m")),
    ]
    assert [row[0] for row in rows[1:]] == ["NetVLAD"] * 4 + ["max"] * 4
    assert {row[1].rpartition(" ")[2] for row in rows[1:]} == {"(2)"}
    folders = sorted(folder.name for folder in (world / "out").iterdir() if folder.is_dir())
    assert folders == ["NetVLAD-1_3-0", "NetVLAD-last-0", "max-1_3-0", "max-last-0"]
    assert (world / "out" / "table.md").read_text() in output
    written = {folder: RunFolder(world / "out" / folder).weights.stat().st_mtime_ns for folder in folders}
    status, again, errors = call(compare, *line(world))
    assert status == 0, errors
    assert again == (world / "out" / "table.md").read_text() + "\n"
    assert {
        folder: RunFolder(world / "out" / folder).weights.stat().st_mtime_ns for folder in folders
    } == written


def test_what_cannot_be(call, world):
    check_refusal(*call(compare, *line(world, "--ends", "middle")), "--ends middle", "1/4")
    (world / "variants.yaml").write_text("NetVLAD: {model: {clusters: none}}")
    check_refusal(*call(compare, *line(world)), "variants.yaml", "expected for each name a dict")
