"""Whoever writes a map is killed, again and again; the old map or the new one opens, always."""

from __future__ import annotations

from test.killing_builds import kill_builds
from test.killing_maps import kill_writers


def test_map_kills(tmp_path, seed, scaled, tell):
    """At random times of building, merging and adding, and at every call that changes the disk."""
    came = kill_writers(tmp_path, kills=scaled(204), stride=1, seed=seed)
    at_random = [each for how, each in came.items() if "at calls" not in how]
    at_calls = [each for how, each in came.items() if "at calls" in how]
    for what, each in (("map writers at random", at_random), ("map writers at every call", at_calls)):
        old, new, left = (sum(counts.get(name, 0) for counts in each) for name in ("old", "new", "left over"))
        tell(f"kills of {what}", old + new, f"old map {old}, new one {new} times; {left} times leftovers")
        assert min(old, new, left) > (old + new) // 10
    for counts in at_calls:
        assert counts["old"] > 20  # most of the work is done before the names change
        assert counts["new"] > 5
        assert counts["left over"] > 20


def test_build_kills(tmp_path, weights, seed, scaled, tell):
    """The whole command, encoding included; it goes on from where it was."""
    kills = scaled(50)
    kill_builds(tmp_path, weights, kills, stride=1, seed=seed)
    tell("kills of build_map.py", kills, "each time the old map or the new one, at last the whole one")
