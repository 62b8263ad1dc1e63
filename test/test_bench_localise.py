"""The bench of an answer times every stage of ours and of the usual way."""

import json

from test.error_lines import input_error
from vpr_ros.bench_localise import bench_localise


def test_a_map_knows_the_images(tmp_path):
    with input_error("--places 2", "at least 16"):
        bench_localise(dimension=16, height=480, width=500, places=2, images=3, device="cpu")


def test_every_stage_is_timed(tmp_path, capsys):
    file = tmp_path / "bench.json"
    bench_localise(dimension=16, height=480, width=500, places=300, images=3, device="cpu", json=file)
    figures = json.loads(file.read_text())
    stages = ["message to array", "encode", "search", "filter", "hypotheses", "to messages"]
    assert list(figures["ours"]) == [*stages, "image to descriptor", "whole"]
    assert list(figures["usual"]) == ["preprocess", "encode", "search", "image to descriptor", "whole"]
    for way in figures.values():
        for taken in way.values():
            assert 0 < taken["p50"] <= taken["p95"] <= taken["p99"]
    for way in (figures["ours"], figures["usual"]):
        assert way["whole"]["p50"] >= way["image to descriptor"]["p50"] >= way["encode"]["p50"]
    assert list(figures["ours, alone"]) == ["image to descriptor"]
    printed = capsys.readouterr().out
    assert "alexnet netvlad 16-d at 480 px, 500x480, 300 places, CPU" in printed
    assert "times as fast as the usual way" in printed
