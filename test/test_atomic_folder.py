"""A folder is replaced whole or not at all: here the process dies at every single step of it."""

import subprocess
import sys
from pathlib import Path

import pytest

from vpr_ros.atomic_folder import files_below, replacing, standing

ROOT = Path(__file__).parents[1]

#: Writes the new folder, and dies just before (odd) or after (even) one of the calls that change the disk.
DYING = """
import os, pathlib, shutil, sys
from pathlib import Path
from vpr_ros.atomic_folder import replacing

deadline, calls = int(sys.argv[2]), 0

def mortal(function):
    def call(*arguments, **options):
        global calls
        calls += 1
        if calls == deadline:
            os._exit(9)
        result = function(*arguments, **options)
        calls += 1
        if calls == deadline:
            os._exit(9)
        return result
    return call

for name in ("mkdir", "rename", "replace", "unlink", "rmdir", "fsync"):
    setattr(os, name, mortal(getattr(os, name)))
    accessor = getattr(pathlib, "_NormalAccessor", None)  # of Python 3.10, which has its own references
    if hasattr(accessor, name):
        setattr(accessor, name, staticmethod(getattr(os, name)))
with replacing(Path(sys.argv[1])) as partial:
    (partial / "a.txt").write_text("new")
    (partial / "sub").mkdir()
    (partial / "sub" / "b.txt").write_text("new")
"""


def names(folder):
    return [file.name for file in folder.iterdir()]


def put(folder, text):
    with replacing(folder) as partial:
        (partial / "a.txt").write_text(text)
        (partial / "sub").mkdir()
        (partial / "sub" / "b.txt").write_text(text)


def content(folder):
    """Return the text of a folder that is complete; fail for a mixture or a half."""
    assert files_below(folder) == ["a.txt", "sub/b.txt"]
    texts = {(folder / name).read_text() for name in files_below(folder)}
    assert len(texts) == 1
    return texts.pop()


def die_at(folder, step):
    """Replace in a process that dies at that step; tell whether it came so far."""
    done = subprocess.run([sys.executable, "-c", DYING, str(folder), str(step)], cwd=ROOT, check=False)
    assert done.returncode in (0, 9)
    return done.returncode == 9


def test_a_new_folder_and_a_replaced_one(tmp_path):
    folder = tmp_path / "parent" / "folder"
    put(folder, "first")
    assert content(folder) == "first"
    (folder / "extra.txt").write_text("not in the next one")
    put(folder, "second")
    assert content(folder) == "second"
    assert names(folder.parent) == ["folder"]
    assert standing(folder) == folder


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("there", [True, False])
def test_an_error_inside_leaves_the_old_one_and_nothing_else(tmp_path, error, there):
    folder = tmp_path / "folder"
    if there:
        put(folder, "old")

    def fail():
        with replacing(folder) as partial:
            (partial / "a.txt").write_text("new")
            raise error

    with pytest.raises(error):
        fail()
    assert names(tmp_path) == (["folder"] if there else [])
    if there:
        assert content(folder) == "old"


def test_nothing_stands_there_before_it_is_complete(tmp_path):
    folder = tmp_path / "folder"
    put(folder, "old")
    with replacing(folder) as partial:
        assert names(partial) == []
        (partial / "a.txt").write_text("new")
        (partial / "sub").mkdir()
        (partial / "sub" / "b.txt").write_text("new")
        assert content(folder) == "old"
    assert content(folder) == "new"


def test_death_at_every_step_leaves_the_old_one_or_the_new_one(tmp_path):
    step, seen = 1, []
    while True:
        folder = tmp_path / f"{step}" / "folder"
        put(folder, "old")
        died = die_at(folder, step)
        seen.append(content(standing(folder)))
        # whatever was left lying about does not hinder the next one, and is gone after it
        put(folder, "next")
        assert content(folder) == "next"
        assert standing(folder) == folder
        assert names(folder.parent) == ["folder"]
        if not died:
            break
        step += 1
    assert step > 20  # it did die at many
    turn = seen.index("new")
    assert turn > 5
    assert set(seen[turn:]) == {"new"}, "once the new one stood, it stays"


def test_dying_twice_keeps_the_last_complete_one(tmp_path):
    """First between the renames, so that the old one is set aside; then at each step of the next attempt."""
    between = next(step for step in range(1, 60) if lost_its_name(tmp_path / f"probe{step}" / "folder", step))
    for step in range(1, 60):
        folder = tmp_path / f"{step}" / "folder"
        put(folder, "old")
        assert die_at(folder, between)
        died = die_at(folder, step)
        assert content(standing(folder)) in ("old", "new")
        if not died:
            assert content(folder) == "new"
            return
    pytest.fail("it never came to an end")


def lost_its_name(folder, step):
    put(folder, "old")
    die_at(folder, step)
    return not folder.exists()


def test_a_link_to_a_folder_can_be_replaced(tmp_path):
    """`map -> map-of-monday` is how people switch between maps."""
    put(tmp_path / "monday", "old")
    link = tmp_path / "map"
    link.symlink_to(tmp_path / "monday", target_is_directory=True)
    put(link, "new")
    assert content(link) == "new"
    put(link, "newer")
    assert content(link) == "newer"
    assert not any(name.startswith(".") for name in names(tmp_path))


def test_files_below_are_sorted_relative_and_files_only(tmp_path):
    for name in ("b/2", "b/1", "a", "c/d/e"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "empty").mkdir()
    assert files_below(tmp_path) == ["a", "b/1", "b/2", "c/d/e"]
