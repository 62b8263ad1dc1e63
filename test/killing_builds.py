"""A build that is killed, and then gone on with.

`python -m test.killing_builds DATA OLD FOLDER WEIGHTS KILLS STRIDE SEED`: KILLS times at random, and in each
STRIDE-th of some ways. A map of OLD stands there before; whatever happens a map stands there that opens, that
one or the new one, and the same command once more makes of it the map that it would have been. The processes
are forked from one that has loaded everything.
"""

import shutil
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path
from threading import RLock

import numpy as np
import torch
from tqdm import tqdm

from test.as_command import ENVIRONMENT, ROOT
from test.conftest import write_image_folder
from test.killing import be_asked_to_stop, die, die_with_half_a_file, happen_in, one_run
from training import build_map
from vpr_ros.engine import Engine
from vpr_ros.files import atomic_file, atomic_folder
from vpr_ros.maps import shards as map_shards
from vpr_ros.maps.shards import building_folder
from vpr_ros.place_map import open_map

#: Rows in a shard: three of them for the twelve images.
SHARD = 4


def kill_builds(folder, weights, kills, stride, seed=0):
    """Have builds of maps in a folder killed in another process."""
    drives = [write_image_folder(folder / name, count) for name, count in (("twelve", 12), ("old", 5))]
    (folder / "maps").mkdir()
    line = [*drives, folder / "maps", weights, kills, stride, seed]
    done = subprocess.run(
        [sys.executable, "-m", "test.killing_builds", *map(str, line)],
        cwd=ROOT,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def events():
    """Yield what happens: in words, how a process is prepared, its status."""
    for owner, numbers in ((atomic_file, range(1, 9)), (atomic_folder, range(1, 9))):
        for number in numbers:
            prepare = partial(happen_in, owner=owner, name="sync", number=number, event=die)
            yield f"sync {number} of {owner.__name__}", prepare, -signal.SIGKILL
    for number in (1, 2):
        prepare = partial(
            happen_in, owner=Path, name="write_bytes", number=number, event=die_with_half_a_file
        )
        yield f"write {number}", prepare, -signal.SIGKILL
    for number in (1, 2):
        prepare = partial(happen_in, owner=shutil, name="rmtree", number=number, event=die)
        yield f"removal {number}", prepare, -signal.SIGKILL
    for signals in ([signal.SIGINT], [signal.SIGTERM]):
        event = partial(be_asked_to_stop, signals=signals)
        prepare = partial(happen_in, owner=Engine, name="encode", number=2, event=event)
        yield f"signals {signals}", prepare, 130


def main():
    torch.set_num_threads(1)
    tqdm.set_lock(RLock())  # its own is one for all that are forked: killed, its holder blocks the others
    map_shards.SHARD = SHARD
    data, old, folder, weights = map(Path, sys.argv[1:5])
    kills, stride, seed = map(int, sys.argv[5:])
    out, before, whole = folder / "map", folder / "before", folder / "whole"

    def build(data, out, prepare=lambda patch: None, seconds=60.0):
        options = {"data": data, "out": out, "weights": weights, "device": "cpu"}
        line = [f"--{name}={value}" for name, value in options.items()]
        return one_run(prepare, seconds, line, build_map.build_map)

    def begin():
        for each in (out, building_folder(out)):
            shutil.rmtree(each, ignore_errors=True)
        shutil.copytree(before, out)

    def check_opens(event):
        print(f"{event}: {len(open_map(out))} places", flush=True)
        assert open_map(out).manifest in maps, event

    def check_end(event):
        assert build(data, out) == 0, event
        assert open_map(out).manifest == maps[1], event
        assert sorted(each.name for each in folder.iterdir()) == ["before", "map", "whole"], event

    assert (build(old, before), build(data, whole)) == (0, 0)
    maps = [open_map(before).manifest, open_map(whole).manifest]
    for event, prepare, expected in [*events()][::stride]:
        begin()
        assert build(data, out, prepare) == expected, event
        check_opens(event)
        check_end(event)
    begin()
    for delay in np.random.default_rng(seed).uniform(0.0, 0.4, kills):
        assert build(data, out, seconds=delay) in (0, -signal.SIGKILL)
        check_opens(f"after {delay:.2f} s")
    check_end("delays")


if __name__ == "__main__":
    main()
