"""A file is replaced whole or not at all: here the process dies at every single step of it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from vpr_ros.files.atomic_file import replacing_file

ROOT = Path(__file__).parents[1]
OLD, NEW, NEXT = "old " * 5000, "new " * 9000, "next"

#: Writes the file in three pieces, and dies just before (odd) or after (even) one of the calls that change
#: the disk, a piece written being one.
DYING = """
import os, pathlib, sys
from pathlib import Path
from vpr_ros.files.atomic_file import replacing_file

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

for name in ("mkdir", "rename", "replace", "unlink", "open", "fsync", "close"):
    setattr(os, name, mortal(getattr(os, name)))
    accessor = getattr(pathlib, "_NormalAccessor", None)  # of Python 3.10, which has its own references
    if hasattr(accessor, name):
        setattr(accessor, name, staticmethod(getattr(os, name)))

def write(file, text):
    file.write(text)
    file.flush()

with replacing_file(Path(sys.argv[1])) as partial, mortal(partial.open)("w") as file:
    for _ in range(3):
        mortal(write)(file, "new " * 3000)
"""


def put(file, text):
    with replacing_file(file) as partial:
        partial.write_text(text)


def names(folder):
    return sorted(file.name for file in folder.iterdir())


def test_death_at_every_step_leaves_the_old_one_or_the_new_one(tmp_path):
    seen, died = [], True
    while died:
        file = tmp_path / f"{len(seen)}" / "file.bin"
        put(file, OLD)
        step = str(len(seen) + 1)
        done = subprocess.run([sys.executable, "-c", DYING, str(file), step], cwd=ROOT, check=False)
        assert done.returncode in (0, 9)
        died = done.returncode == 9
        assert file.read_text() in (OLD, NEW)
        seen.append(file.read_text() == NEW)
        # what was left lying about does not hinder the next one, and is gone after it
        put(file, NEXT)
        assert file.read_text() == NEXT
        assert names(file.parent) == ["file.bin"]
    assert len(seen) > 20  # it did die at many
    turn = seen.index(True)
    assert turn > 10
    assert all(seen[turn:]), "once the new one stood, it stays"


def test_it_is_on_the_disk_before_it_has_its_name_and_the_name_after(tmp_path, monkeypatch):
    """A power cut may lose what was not synced: a name without content would be the worst."""
    put(tmp_path / "file.bin", OLD)
    done, fsync, replace = [], os.fsync, os.replace

    def seen_fsync(descriptor):
        inode = os.fstat(descriptor).st_ino
        done.append("folder" if inode == tmp_path.stat().st_ino else inode)
        fsync(descriptor)

    def seen_replace(source, target):
        done.append(("named", Path(source).stat().st_ino))
        replace(source, target)

    monkeypatch.setattr(os, "fsync", seen_fsync)
    monkeypatch.setattr(os, "replace", seen_replace)
    put(tmp_path / "file.bin", NEW)
    inode = (tmp_path / "file.bin").stat().st_ino
    assert done == [inode, ("named", inode), "folder"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("there", [True, False])
@pytest.mark.parametrize("written", [True, False])
def test_an_error_inside_leaves_the_old_one_and_nothing_else(tmp_path, error, there, written):
    file = tmp_path / "file.bin"
    if there:
        put(file, OLD)

    def fail():
        with replacing_file(file) as partial:
            if written:
                partial.write_text(NEW)
            raise error

    with pytest.raises(error):
        fail()
    assert names(tmp_path) == (["file.bin"] if there else [])
    assert not there or file.read_text() == OLD


def test_nothing_stands_there_before_it_is_complete(tmp_path):
    file = tmp_path / "new" / "folder" / "file.bin"
    with replacing_file(file) as partial:
        partial.write_text(NEW)
        assert not file.exists()
    with replacing_file(file) as partial:
        partial.write_text(NEXT)
        assert file.read_text() == NEW
    assert file.read_text() == NEXT


def test_a_folder_of_that_name_is_not_lost(tmp_path):
    (tmp_path / "file.bin").mkdir()
    (tmp_path / "file.bin" / "inside").touch()
    with pytest.raises(OSError, match=r"file\.bin"):
        put(tmp_path / "file.bin", NEW)
    assert names(tmp_path) == ["file.bin"]
    assert names(tmp_path / "file.bin") == ["inside"]
