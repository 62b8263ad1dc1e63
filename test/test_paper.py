"""The paper's comparison: parts of other places, the same table when it was interrupted."""

import json
from contextlib import closing

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from test.as_command import check_refusal
from test.small_training import make_narrow, make_quick, stopped_at, write_drives, write_trunk
from training.comparing import figure as figure_module
from training.comparing import run as run_module
from training.comparing.figure import draw_recalls
from training.comparing.parts import Division
from training.comparing.rows import Row, choose_rows
from training.comparing.table import NS, summary, table
from training.paper import paper
from vpr_ros.command import run
from vpr_ros.engines.batches import encode_table
from vpr_ros.errors import InputError
from vpr_ros.geotagged import ground_distance, within_radius
from vpr_ros.open_engine import open_engine

ALEXNET = [
    *("vlad", "vlad-whitened", "fisher", "fisher-whitened", "alexnet-max", "alexnet-max-trained"),
    *("alexnet-netvlad", "alexnet-netvlad-whitened"),
    *("alexnet-netvlad-trained", "alexnet-netvlad-trained-whitened"),
]
TASK = "b on a"


@pytest.fixture(autouse=True, scope="module")
def _quick():
    with pytest.MonkeyPatch.context() as patch:
        make_narrow(patch)
        threads = make_quick(patch)
        yield
        torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def trunks(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trunks")
    write_trunk(folder / "alexnet-imagenet-features.safetensors")
    return folder


@pytest.fixture(scope="module")
def drives(tmp_path_factory):
    """Two drives past 20 places, alike enough to be found sometimes; only to be read."""
    return write_drives(tmp_path_factory.mktemp("data") / "drives", 20, alike=0.4)


def line(data, out, trunk_folder, **more):
    options = {
        "data": data,
        "out": out,
        "task": TASK,
        "trunks": "[alexnet]",
        "trunk_folder": trunk_folder,
        "ends": "[last,first]",
        "device": "cpu",
        "input_size": 64,
        "clusters": 4,
        "centres": 4,
        "step": 8,
        "mining.kept": 3,
        "mining.refresh_every": 8,
        "optimisation.epochs": 2,
        "whiten.dimension": 8,
    } | more
    return [f"--{name.replace('_', '-')}={value}" for name, value in options.items() if value is not None]


def without_times(out):
    figures = json.loads((out / "table.json").read_text())
    for row in figures:
        assert row.pop("encode_ms") > 0
        assert row.pop("search_ms") > 0
    return figures


@pytest.fixture(scope="module")
def whole(drives, trunks, tmp_path_factory):
    """A comparison that nothing interrupted; only to be read."""
    out = tmp_path_factory.mktemp("whole") / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["paper.py", *line(drives, out, trunks)])
        run(paper)
    return out


# --- the command


def test_a_row_for_everything(whole):
    figures = json.loads((whole / "table.json").read_text())
    assert [row["row"] for row in figures] == ALEXNET
    assert [(run["end"], run["seed"]) for run in figures[0]["runs"]] == [("last", 0), ("first", 0)]
    dimensions = {row["row"]: row["dimensions"] for row in figures}
    assert dimensions["vlad"] == [4 * 128]
    assert dimensions["fisher"] == [2 * 4 * 64]
    assert dimensions["alexnet-max-trained"] == [16]
    assert dimensions["alexnet-netvlad"] == [4 * 16]
    assert {dimensions[name][0] for name in ALEXNET if name.endswith("whitened")} == {8}
    for row in figures:
        recalls = list(row["recalls"].values())
        assert len(recalls) == len(NS)
        assert recalls == sorted(recalls)
        assert row["bytes"] == [4 * row["dimensions"][0]]
    assert (whole / "table.md").read_text().count("\n") == 2 + len(ALEXNET)
    assert (whole / "recall.png").read_bytes().startswith(b"\x89PNG")
    assert not list(whole.glob("*/*-map")), "maps are there to be measured"
    assert not list(whole.glob("*/*/last.ckpt"))


def test_off_the_shelf_is_where_training_begins(whole):
    for end in ("last-0", "first-0"):
        for pooling in ("max", "netvlad"):
            before, after = (
                json.loads((whole / end / f"alexnet-{pooling}{suffix}" / "history.json").read_text())
                for suffix in ("", "-trained")
            )
            assert len(before["epochs"]) == 1
            assert len(after["epochs"]) == 3
            assert {**before["epochs"][0]} == {**after["epochs"][0]}


@pytest.mark.parametrize(
    "name", ["fisher-whitened.safetensors", "alexnet-netvlad-trained/weights.safetensors"]
)
def test_recalls_are_those_of_a_search_by_hand(whole, drives, name):
    """Of the place held out last: cosine similarities of everything with everything."""
    figures = {row["row"]: row for row in json.loads((whole / "table.json").read_text())}
    row = "fisher-whitened" if "fisher" in name else "alexnet-netvlad-trained-whitened"
    parts = division(drives).parts("last")
    engine = open_engine(whole / "last-0" / name, "cpu")
    described = []
    for images in (parts.queries, parts.database):
        with closing(encode_table(engine, images, quiet=True)) as batches:
            described.append(np.concatenate([batch.descriptors for batch in batches]))
    order = np.argsort(-(described[0] @ described[1].T), axis=1)
    near = within_radius(parts.queries.rows, parts.database.rows, 25.0)
    for n in (1, 2, 5):
        found = [
            bool(set(places[:n].tolist()) & set(right.tolist()))
            for places, right in zip(order, near, strict=True)
        ]
        assert figures[row]["runs"][0]["recalls"][n - 1] == pytest.approx(np.mean(found))


@pytest.mark.parametrize("where", ["training", "measuring", "timing"])
def test_an_interrupted_one_goes_on_to_the_same_table(
    call, monkeypatch, whole, drives, trunks, tmp_path, where
):
    options = line(drives, tmp_path / "out", trunks)
    with monkeypatch.context() as patch:
        if where == "training":
            with stopped_at(patch, 60):
                status, _, errors = call(paper, *options)
        else:
            function = {"measuring": "write_map", "timing": "search_ms"}[where]
            real, calls = getattr(run_module, function), []

            def third_is_interrupted(*arguments, **named):
                calls.append(1)
                if len(calls) == 3:
                    raise KeyboardInterrupt
                return real(*arguments, **named)

            patch.setattr(run_module, function, third_is_interrupted)
            status, _, errors = call(paper, *options)
    assert status == 130
    assert f"{tmp_path / 'out'}: the same command goes on from here" in errors
    if where == "training":
        assert len(list(tmp_path.glob("out/*/*/last.ckpt"))) == 1
    kept = {file: file.stat().st_mtime_ns for file in tmp_path.glob("out/*/*.json")}
    assert kept
    status, output, errors = call(paper, *options)
    assert status == 0, errors
    assert without_times(tmp_path / "out") == without_times(whole)
    assert output.endswith((tmp_path / "out" / "table.md").read_text())
    assert all(file.stat().st_mtime_ns == time for file, time in kept.items()), (
        "what was done is not done again"
    )


def test_some_rows_in_processes_of_their_own(call, whole, drives, trunks, tmp_path):
    options = line(drives, tmp_path / "out", trunks, rows="[vlad,fisher*]", ends=None, jobs=2)
    status, _, errors = call(paper, *options)
    assert status == 0, errors
    figures = without_times(tmp_path / "out")
    assert [row["row"] for row in figures] == ["vlad", "fisher", "fisher-whitened"]
    before = {row["row"]: row["runs"][0] for row in without_times(whole)}
    assert all(row["runs"] == [before[row["row"]]] for row in figures)
    assert {log.name for log in tmp_path.glob("out/last-0/*.log")} == {"vlad.log", "fisher.log"}


def test_other_data_to_be_measured_on(call, drives, trunks, tmp_path):
    other = write_drives(tmp_path / "other", 6, first=60, alike=0.4)
    options = line(drives, tmp_path / "out", trunks, test=other, ends=None, rows="vlad")
    status, _, errors = call(paper, *options)
    assert status == 0, errors
    (row,) = without_times(tmp_path / "out")
    (run,) = row["runs"]
    assert (run["end"], run["queries"], run["places"]) == ("test", 6, 6)
    parts = division(drives, test=other, val=other).parts("test")
    assert len(parts.training) == 40
    assert len(parts.validation) == 12


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"task": "b"}, ["QUERIES on DATABASE"]),
        ({"task": "x* on a"}, ["0 queries", "sessions there: a, b"]),
        ({"rows": "[surf]"}, ["--rows surf", "alexnet-netvlad-trained-whitened"]),
        ({"trunks": "[lenet]"}, ["--trunks lenet", "alexnet, vgg16"]),
        ({"ends": "[middle]"}, ["--ends middle", "1/4"]),
        ({"test": "SELF"}, ["--ends with --test"]),
        ({"seeds": 0}, ["--seeds 0"]),
        ({"jobs": 0}, ["--jobs 0"]),
        ({"radius": 0}, ["--radius 0"]),
        ({"centres": 1}, ["centres 1"]),
        ({"clusters": 1}, ["clusters 1"]),
        ({"trunks": "[alexnet,resnet18]"}, ["resnet18-imagenet-features.safetensors", "download"]),
    ],
)
def test_what_cannot_be_is_said_before_the_work(call, drives, trunks, tmp_path, options, said):
    chosen = {name: drives if value == "SELF" else value for name, value in options.items()}
    check_refusal(*call(paper, *line(drives, tmp_path / "out", trunks, **chosen)), *said)
    assert not (tmp_path / "out").exists()


def test_other_options_on_the_same_folder(call, whole, drives, trunks):
    told = call(paper, *line(drives, whole, trunks, **{"optimisation.epochs": 3}))
    check_refusal(*told, whole, "optimisation.epochs", "another --out")


# --- its parts


def division(data, test=None, val=None):
    return Division(data, test, val, TASK, share=0.3, val_share=0.2, gap=25.0, radius=25.0, spacing=1.0)


@pytest.mark.parametrize("end", ["last", "first", "2/4"])
def test_parts_are_other_places(drives, end):
    parts = division(drives).parts(end)
    tested = np.concatenate([parts.database.rows, parts.queries.rows])
    for one, other in (
        (parts.training.rows, parts.validation.rows),
        (parts.training.rows, tested),
        (parts.validation.rows, tested),
    ):
        assert ground_distance(one[:, None], other[None]).min() > 25.0
    assert set(parts.database.rows["session"]) == {"a"}
    assert set(parts.queries.rows["session"]) == {"b"}


# --- rows, table and figure


def test_the_rows():
    assert [row.name for row in choose_rows(["alexnet"], [])] == ALEXNET
    both = choose_rows(["alexnet", "vgg16"], ["*max*", "vlad"])
    assert [row.name for row in both] == [
        *("vlad", "alexnet-max", "alexnet-max-trained", "vgg16-max", "vgg16-max-trained")
    ]
    with pytest.raises(InputError, match="--rows netvlad"):
        choose_rows(["alexnet"], ["netvlad"])


def curve(first):
    return [min(1.0, first + 0.02 * n) for n in range(len(NS))]


def test_a_table_of_known_recalls():
    rows = [
        summary(Row("vlad", whitened=True), [{"recalls": curve(0.5), "dimension": 300}], {}),
        summary(
            Row("netvlad", "vgg16", trained=True),
            [{"recalls": curve(first), "dimension": 32768} for first in (0.5, 0.7)],
            {"encode_ms": 12.3, "search_ms": 0.456},
        ),
    ]
    assert table(rows).splitlines()[2:] == [
        "| dense RootSIFT | VLAD, whitened | 300 | 1200 | - | - | 50.0 | 58.0 | 68.0 | 88.0 | 1 |",
        "| VGG-16 | NetVLAD, trained | 32768 | 131072 | 12 | 0.46 | 60.0 (±10.0) | 68.0 | 78.0 | 94.0 | 2 |",
    ]


def test_a_figure_of_known_recalls(monkeypatch, tmp_path):
    """A colour a trunk, dashed where it is not trained, and no two curves alike."""
    drawn = []
    monkeypatch.setattr(figure_module, "Figure", lambda **how: drawn.append(Figure(**how)) or drawn[0])
    rows = choose_rows(["alexnet", "vgg16", "resnet18", "resnet50"], [])
    recalls = {row: dict(zip(NS, curve(number / 50), strict=True)) for number, row in enumerate(rows)}
    draw_recalls(tmp_path / "recall.png", recalls)
    assert (tmp_path / "recall.png").read_bytes().startswith(b"\x89PNG")
    (axis,) = drawn[0].axes
    curves = dict(zip(rows, axis.lines, strict=True))
    for row, drawn_curve in curves.items():
        assert drawn_curve.get_xdata().tolist() == list(NS)
        assert drawn_curve.get_ydata() == pytest.approx([100 * each for each in recalls[row].values()])
        if row.trunk:
            assert drawn_curve.get_linestyle() == ("-" if row.trained else "--")
    colours = {
        row.trunk: {each.get_color() for one, each in curves.items() if one.trunk == row.trunk}
        for row in rows
    }
    assert len({colour for (colour,) in colours.values()}) == 5
    looks = {(each.get_color(), each.get_linestyle(), each.get_marker()) for each in curves.values()}
    assert len(looks) == len(rows)
    (legend,) = drawn[0].legends
    assert [text.get_text() for text in legend.get_texts()] == [f"{row.local}: {row.label}" for row in rows]
