"""Which folders may be opened when somebody on the network names them."""

import pytest

from vpr_ros.errors import InputError
from vpr_ros.nodes.map_root import map_folder


@pytest.fixture
def root(tmp_path):
    (tmp_path / "maps" / "town").mkdir(parents=True)
    (tmp_path / "outside").mkdir()
    (tmp_path / "maps" / "out").symlink_to(tmp_path / "outside")
    (tmp_path / "maps" / "up").symlink_to("..")
    (tmp_path / "maps" / "current").symlink_to("town")
    (tmp_path / "maps" / "round").symlink_to("round")
    (tmp_path / "also").symlink_to(tmp_path / "maps")
    return tmp_path / "maps"


def test_what_lies_below_the_root_may_be_opened_links_followed(root):
    for name in ("town", "current", "../maps/town", "not/there/yet", "../also/town"):
        found = map_folder(str(root / name), str(root), "")
        assert root in found.parents
        assert found == found.resolve()
    assert map_folder(str(root / "town"), str(root.parent / "also"), "") == root / "town"


@pytest.mark.parametrize(
    "name",
    [
        *(
            "",
            ".",
            "..",
            "../outside",
            "out",
            "out/deeper",
            "up",
            "up/outside",
            "town/../../outside",
            "round",
        ),
        *("/", "/etc/passwd", "/proc/self/root/etc", "//etc", "~", "~root/x", "../maps2", "a\0b", "\0"),
    ],
)
def test_nothing_else_may(root, name):
    named = name if name[:1] in ("/", "~") else str(root / name)
    with pytest.raises(InputError):
        map_folder(named if name else "", str(root), "")


def test_a_name_that_is_relative_is_relative_to_where_the_node_was_started(root, monkeypatch):
    monkeypatch.chdir(root)
    assert map_folder("town", str(root), "") == root / "town"
    monkeypatch.chdir(root.parent)
    with pytest.raises(InputError, match="below map_root"):
        map_folder("town", str(root), "")


def test_without_a_root_only_the_map_named_at_the_start_may_be_opened(root):
    town = str(root / "town")
    assert map_folder(town, "", town) == root / "town"
    for other in (f"{town}/", f"{town}/.", str(root / "current"), "/etc"):
        with pytest.raises(InputError, match="map_root"):
            map_folder(other, "", town)
    with pytest.raises(InputError, match="is empty"):
        map_folder("", "", "")


def test_what_is_refused_is_told_in_one_short_line(root):
    for name in ("/etc/\n[FATAL] all is lost", "/" + "x" * 10_000):
        with pytest.raises(InputError) as error:
            map_folder(name, str(root), "")
        assert "\n" not in str(error.value)
        assert len(str(error.value)) < 400
