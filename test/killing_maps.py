"""Maps whose writers are killed: `python -m test.killing_maps FOLDER KILLS STRIDE SEED`.

They are killed KILLS times at random, and before or after each STRIDE-th call that changes the disk; what
came of it is printed as JSON. The writers are forked from a process that has loaded everything, PyTorch
excepted.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from functools import partial
from pathlib import Path
from threading import RLock

import numpy as np
from tqdm import tqdm

from test.as_command import ENVIRONMENT, ROOT
from test.mortal import in_a_child, killed_at
from test.small_maps import FINGERPRINT, in_a_row, rows_at, unit
from training import map as command
from vpr_ros.files import atomic_folder
from vpr_ros.files.atomic_folder import changing, leftovers
from vpr_ros.maps.edit import merge_sources, whole
from vpr_ros.maps.manifest import damaged
from vpr_ros.maps.verify import open_whole
from vpr_ros.maps.writer import InMemory, write_map
from vpr_ros.place_map import open_map

PLACES, DIMENSION = 300, 32
#: Drives that take each other's place.
DRIVES = ("monday", "tuesday")


def kill_writers(folder, kills, stride, seed=0):
    """Have writers of maps in a folder killed in another process; return what came of it."""
    done = subprocess.run(
        [sys.executable, "-m", "test.killing_maps", *map(str, (folder, kills, stride, seed))],
        cwd=ROOT,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def drive(session):
    """Return a source of one drive; every drive goes the same way."""
    source = InMemory(DIMENSION)
    pictures = [f"{session} {place} ".encode() * 10 for place in range(PLACES)]
    descriptors = unit(np.random.default_rng(0), PLACES, DIMENSION)
    source.add(descriptors, rows_at(in_a_row(PLACES, 2.0), session), pictures)
    return source


def build(folder, session):
    write_map(folder, drive(session), FINGERPRINT, 2.0, progress=False)


def merge(folder, session):
    """Merge another map into the map: nothing but that is left, as it has been everywhere later."""
    command.merge([folder, folder.with_name(session)], folder, supersede=1.0)


def add(folder, session):
    """Add a drive as the command does once it is encoded: nothing but that is left, likewise."""
    with changing(folder):
        merge_sources(folder, whole([open_whole(folder)]), drive(session), 2.0, supersede=1.0)


def session_of(folder):
    """Return the session of a map after looking at all of it."""
    opened = open_map(folder, FINGERPRINT)
    (session,) = set(opened.rows()["session"].tolist())
    assert len(opened) == PLACES
    assert damaged(opened.folder, opened.manifest) == []
    assert opened.pictures.read(7) == f"{session} 7 ".encode() * 10
    return session


def torment(folder, change, kills):
    """Have a change of a map killed in each of several ways, one after the other; return what came of it."""
    came = Counter()
    for name in (folder.name, *DRIVES):
        build(folder.with_name(name), name if name in DRIVES else DRIVES[0])
    before = session_of(folder)
    for kill in kills:
        (session,) = set(DRIVES) - {before}
        killed = kill(lambda session=session: change(folder, session))
        now = session_of(folder)
        came["old" if now == before else "new"] += 1
        came["left over"] += bool(leftovers(folder))
        before = now
        if not killed:
            break
    build(folder, DRIVES[0])
    assert leftovers(folder) == []
    assert sorted(each.name for each in folder.parent.iterdir()) == sorted([folder.name, *DRIVES])
    return came


def at_random(folder, change, kills, generator):
    """Kill at any time, and as often near the end, where a folder is put in the place of the other."""
    seconds = []

    def measured(do):
        begin = time.perf_counter()
        assert in_a_child(do) == 0
        seconds.append(time.perf_counter() - begin)
        return True

    torment(folder, change, [measured] * 3)
    shares = [*generator.uniform(0.0, 1.0, kills // 2), *generator.uniform(0.7, 1.2, kills - kills // 2)]
    return torment(folder, change, [partial(killed_after, share * min(seconds)) for share in shares])


def killed_after(seconds, do):
    child = os.fork()
    if not child:
        do()
        os._exit(0)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return True


def main(folder, kills, stride, seed):
    sys.stdout = sys.stderr  # what the changes say
    os.fsync = os.fstat  # a killed process loses nothing that it wrote
    tqdm.set_lock(RLock())  # its own is one for all that are forked: killed, its holder blocks the others
    exchange, generator = atomic_folder._exchange, np.random.default_rng(seed)
    came = {}
    for change in (build, merge, add):
        for swap in (exchange, lambda *_: False):
            atomic_folder._exchange = swap
            how = f"{change.__name__}, {'one step' if swap is exchange else 'two renames'}"
            came[how] = at_random(folder / how / "map", change, kills // 6, generator)
        atomic_folder._exchange = exchange
        steps = [partial(killed_at, step) for step in range(1, 1000, stride)]
        came[f"{change.__name__}, at calls"] = torment(folder / change.__name__ / "map", change, steps)
    print(json.dumps(came), file=sys.__stdout__)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:]))
