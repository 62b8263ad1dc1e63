"""A folder is replaced whole or not at all: here the process is killed at every single step of it."""

import errno
import os
import resource
import signal
import tempfile
from pathlib import Path

import pytest

from test.mortal import in_a_child, killed_at
from vpr_ros.errors import InputError
from vpr_ros.files import atomic_folder
from vpr_ros.files.atomic_folder import (
    changing,
    files_below,
    leftovers,
    read_whole,
    replacing,
    standing,
    writer,
)


@pytest.fixture(params=["one step", "two renames"], autouse=True)
def swapping(request, monkeypatch):
    """Both ways to put a folder in the place of another: not every file system can swap them."""
    if request.param == "two renames":
        monkeypatch.setattr(atomic_folder, "_exchange", lambda *_: False)
    return request.param


@pytest.fixture(autouse=True)
def synced(monkeypatch):
    """What is said to be synced: a killed process loses nothing, and a disk takes its time."""
    inodes = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: inodes.append(os.fstat(descriptor).st_ino))
    return inodes


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
    """Replace in a process that is killed at that step; tell whether it came so far."""
    return killed_at(step, lambda: put(folder, "new"))


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


def test_killed_at_every_step_it_leaves_the_old_one_or_the_new_one(tmp_path, swapping):
    seen, died = [], True
    while died:
        folder = tmp_path / f"{len(seen)}" / "folder"
        put(folder, "old")
        died = die_at(folder, len(seen) + 1)
        assert folder.exists() or swapping == "two renames", "with one step there always is one"
        seen.append(content(standing(folder)))
        left = leftovers(folder)
        assert {each.name for each in left} == {*names(folder.parent)} - {"folder", standing(folder).name}
        # whatever was left lying about does not hinder the next one, and is gone after it
        put(folder, "next")
        assert content(folder) == "next"
        assert standing(folder) == folder
        assert names(folder.parent) == ["folder"]
        assert leftovers(folder) == []
    assert len(seen) > 40  # it did die at many
    turn = seen.index("new")
    assert turn > 20
    assert set(seen[turn:]) == {"new"}, "once the new one stood, it stays"


def test_killed_again_and_again_the_last_whole_one_stays(tmp_path):
    folder = tmp_path / "folder"
    put(folder, "old")
    for first in range(1, 80, 26):
        for second in range(1, 80, 26):
            put(folder, "old")
            died = die_at(folder, first), die_at(folder, second)
            assert content(standing(folder)) in ("old", "new")
            if not all(died):
                assert content(folder) == "new"
    put(folder, "old")
    assert names(tmp_path) == ["folder"]


def test_what_was_set_aside_gets_its_name_back_where_the_next_one_fails(tmp_path):
    folder = tmp_path / "folder"
    put(folder, "old")
    folder.rename(tmp_path / ".folder.previous")
    (tmp_path / ".folder.partial").mkdir()
    assert content(standing(folder)) == "old"
    assert leftovers(folder) == [tmp_path / ".folder.partial"]

    def fail():
        with replacing(folder):
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert content(folder) == "old"
    assert names(tmp_path) == ["folder"]


def test_all_is_on_the_disk_before_it_has_its_name_and_the_name_after(tmp_path, synced, monkeypatch):
    """A power cut may lose what was not synced: a folder of empty files would be the worst."""
    folder, before = tmp_path / "folder", []
    put(folder, "old")
    synced.clear()
    whole = atomic_folder._put
    monkeypatch.setattr(atomic_folder, "_put", lambda *given: (before.extend(synced), whole(*given)))
    put(folder, "new")
    assert set(before) == {each.stat().st_ino for each in (folder, *folder.rglob("*"))}
    assert synced[len(before) :] == [tmp_path.stat().st_ino]


# --- read while it is replaced


def test_who_reads_while_it_is_replaced_gets_the_one_or_the_other(tmp_path):
    folder = tmp_path / "folder"
    put(folder, "0")

    def replace_often():
        for number in range(100):
            put(folder, str(number))

    def read(found):
        texts = [(found / name).read_text() for name in ("a.txt", "sub/b.txt")]
        if texts[0] != texts[1]:
            mixed.append(texts)
        return texts

    mixed, seen = [], set()
    child = os.fork()
    if not child:
        try:
            replace_often()
        finally:
            os._exit(0)
    while not os.waitpid(child, os.WNOHANG)[0]:
        first, second = read_whole(folder, read)
        assert first == second
        seen.add(first)
    assert len(seen) > 10
    assert read_whole(folder, read) == ["99", "99"]


def test_what_cannot_be_read_is_told_at_once(tmp_path):
    asked = []

    def read(found):
        asked.append(found)
        raise InputError("no map")

    for there in (False, True):
        if there:
            put(tmp_path / "folder", "old")
        with pytest.raises(InputError, match="no map"):
            read_whole(tmp_path / "folder", read)
    assert asked == [tmp_path / "folder"] * 2


def test_what_was_replaced_while_it_was_read_is_read_again(tmp_path):
    """It could be read, but half of it before, half after."""
    folder = tmp_path / "folder"
    put(folder, "old")
    texts = []

    def read(found):
        texts.append((found / "a.txt").read_text())
        if len(texts) == 1:
            put(folder, "new")
        return texts[-1] + (found / "sub" / "b.txt").read_text()

    assert read_whole(folder, read) == "newnew"
    assert texts == ["old", "new"]


# --- one at a time


def test_a_second_writer_is_told_of_the_first(tmp_path):
    folder = tmp_path / "folder"
    put(folder, "old")
    assert writer(folder) is None
    with replacing(folder) as partial:
        (partial / "a.txt").write_text("first")
        assert f"process {os.getpid()} on " in writer(folder)
        assert leftovers(folder) == [], "it is at work"
        with pytest.raises(InputError, match=rf"folder: is being written by .*process {os.getpid()} .*wait"):
            put(folder, "second")
        assert (partial / "a.txt").read_text() == "first"
    assert (folder / "a.txt").read_text() == "first"
    assert names(tmp_path) == ["folder"]


def test_a_lock_ends_with_its_process(tmp_path):
    folder = tmp_path / "folder"

    def die_inside():
        with replacing(folder):
            os.kill(os.getpid(), signal.SIGKILL)

    assert in_a_child(die_inside) == -signal.SIGKILL
    assert names(tmp_path) != []
    assert writer(folder) is None
    put(folder, "new")
    assert names(tmp_path) == ["folder"]


def test_who_changes_a_folder_is_alone_from_reading_to_replacing(tmp_path):
    folder = tmp_path / "folder"
    put(folder, "old")
    with changing(folder):
        assert writer(folder)
        with pytest.raises(InputError, match="is being written by"), changing(folder):
            pass
        put(folder, "new")
    assert content(folder) == "new"
    assert names(tmp_path) == ["folder"]
    with replacing(folder), pytest.raises(InputError, match="is being written by"), changing(folder):
        pass


def test_where_nothing_is_there_is_nothing_to_change(tmp_path):
    with changing(tmp_path / "new" / "folder"):
        assert names(tmp_path) == []


def test_what_was_set_aside_has_its_name_before_it_is_changed(tmp_path):
    folder = tmp_path / "folder"
    put(folder, "old")
    folder.rename(tmp_path / ".folder.previous")
    with changing(folder):
        assert content(folder) == "old"


# --- no room, no right


def full(folder, size):
    """Write more than the process may."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
    with replacing(folder) as partial:
        (partial / "a.txt").write_bytes(bytes(2 * size))


def test_without_room_one_line_says_so_and_nothing_is_changed(tmp_path):
    folder = tmp_path / "folder"
    put(folder, "old")

    def tell():
        with pytest.raises(OSError, match=r"MB of it were written, .* MB are free") as caught:
            full(folder, 100_000)
        assert caught.value.errno == errno.EFBIG
        assert caught.value.filename == str(folder)
        assert "0.1 MB" in str(caught.value)

    assert in_a_child(tell) == 0
    assert content(folder) == "old"
    assert names(tmp_path) == ["folder"]


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), OSError("8 requested")])
def test_a_full_disk_is_told_whoever_notices_it(tmp_path, error):
    """NumPy tells of it without a number, and without a file."""
    folder = tmp_path / "folder"

    def fail():
        with replacing(folder):
            raise error

    with pytest.raises(OSError, match=str(error.strerror or error)) as caught:
        fail()
    assert caught.value.filename == str(folder)
    assert names(tmp_path) == []


def test_a_disk_that_is_found_full_at_the_end(tmp_path, monkeypatch):
    """Some file systems tell only when what was written is brought to the disk."""
    folder = tmp_path / "folder"
    put(folder, "old")

    def fail(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space"):
        put(folder, "new")
    assert content(folder) == "old"
    assert names(tmp_path) == ["folder"]


def test_an_error_of_something_else_is_passed_on_as_it_is(tmp_path):
    def fail():
        with replacing(tmp_path / "folder"):
            (tmp_path / "nowhere").read_text()

    with pytest.raises(FileNotFoundError, match="nowhere"):
        fail()


@pytest.mark.skipif(os.geteuid() != 0, reason="who is not root is tested below")
def test_root_may_write_anywhere_and_others_are_told(tmp_path):
    with tempfile.TemporaryDirectory() as name:  # which others may enter, unlike tmp_path
        parent = Path(name)
        put(parent / "folder", "old")
        parent.chmod(0o755)

        def tell():
            os.setuid(65534)
            check_refusal_of(parent)

        assert in_a_child(tell) == 0
        assert names(parent) == ["folder"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_parent_that_may_not_be_written(tmp_path):
    put(tmp_path / "folder", "old")
    tmp_path.chmod(0o555)
    check_refusal_of(tmp_path)
    tmp_path.chmod(0o755)
    assert names(tmp_path) == ["folder"]


def check_refusal_of(parent):
    with pytest.raises(PermissionError, match="may not be written to: folder is written beside") as caught:
        put(parent / "folder", "new")
    assert caught.value.filename == str(parent)
    assert content(parent / "folder") == "old"


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
