"""The bench of a build times its parts, the whole, and the usual way."""

import json

from training.bench_build import bench_build


def test_every_way_is_timed(tmp_path, capsys):
    file = tmp_path / "bench.json"
    options = {"trunk": "alexnet", "dimension": 8, "images": 24, "height": 480, "width": 500}
    bench_build(**options, device="cpu", json=file)
    figures = json.loads(file.read_text())
    parts = ["decoding", "encoding", "build", "build, once it is loaded"]
    assert list(figures) == [*parts, "usual way", "times as fast", "peak GiB"]
    assert min(figures.values()) > 0
    printed = capsys.readouterr().out
    assert "8-d alexnet, 24 JPEGs of" in printed
    assert "map: 24 places of 24 images" in printed
