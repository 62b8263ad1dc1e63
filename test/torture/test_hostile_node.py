"""Hostile messages over DDS: the node lives, holds no more than before, and counts every one."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from time import monotonic_ns

import numpy as np
import pytest

from test.torture.hostile import hostile, torn
from test.torture.running import running_node

#: Messages a second: so many that the node can look at most of them.
RATE = 200.0
#: Share, at least, of the messages sent that the node must have received: depth 1 lets go of the others.
RECEIVED = 0.5
#: Where a running node may read: Python and its packages, what the kernel tells.
PROJECT = str(Path(__file__).parents[2])
READABLE = (PROJECT, sys.prefix, sys.base_prefix, "/proc/", "/sys/", "/dev/", "/usr/lib/", "/etc/localtime")
#: System calls that open a file, change one or start a process.
CALLS = (
    "open,openat,creat,unlink,unlinkat,rename,renameat,renameat2,mkdir,mkdirat,truncate,link,symlink,execve"
)
WRITING = re.compile(r"O_WRONLY|O_RDWR|O_CREAT|O_TRUNC|O_APPEND")


def parameters(small, compressed):
    weights, place_map = small
    return {
        "map": place_map,
        "weights": weights,
        "device": "cpu",
        "reliability": "reliable",
        "compressed": compressed,
        # one good image shall be enough, whatever was seen before it
        "filter": False,
    }


def torture(node, messages):
    """Send the messages, check that the node goes on as before; return its counts of them."""
    node.ask(3)
    before = node.counts()
    node.send(messages, RATE, len(messages))
    after = node.counts()
    counts = {name: after[name] - before[name] for name in after}
    assert counts["failed"] == 0, node.status()
    assert node.ask(3) == 3
    return counts


def opened(audit, since):
    """Return what was done after a moment, other than to read a file of READABLE."""
    found = []
    for line in audit.read_text().splitlines():
        time, event, arguments = line.split(" ", 2)
        allowed = event == "open" and re.match(
            rf"\('({'|'.join(map(re.escape, READABLE))})[^']*', ('r'|'rb'|None), ", arguments
        )
        if int(time) > since and not allowed and event not in ("os.listdir", "os.scandir"):
            found.append(f"{event} {arguments}")
    return found


def told(counts):
    return ", ".join(f"{name} {number}" for name, number in counts.items() if number)


@pytest.mark.parametrize("compressed", [False, True], ids=["raw", "compressed"])
def test_the_node_outlives_what_rclpy_sends(compressed, peer, small, tmp_path, seed, scaled, tell):
    number, audit = scaled(5_000), tmp_path / "audit"
    messages = [each.cdr() for each in islice(hostile(compressed, seed), number)]
    with running_node(peer, tmp_path, parameters(small, compressed), audit=audit) as node:
        node.ask(3)
        since = monotonic_ns()
        counts = torture(node, messages)
        assert counts["received"] >= RECEIVED * number, counts
        assert opened(audit, since) == []
        flat = node.watched.check()
    tell(f"{'compressed' if compressed else 'raw'} messages to the node, rclpy", number, told(counts))
    tell("", number, flat)
    tell("  files it opened for them", 0, "none")


@pytest.mark.parametrize("compressed", [False, True], ids=["raw", "compressed"])
def test_the_node_outlives_bytes_that_do_not_hold_together(
    compressed, peer, small, tmp_path, seed, scaled, tell
):
    """They may not become a message at all; those that do are counted like others."""
    rng, number = np.random.default_rng(seed), scaled(1_000)
    messages = [torn(each, rng) for each in islice(hostile(compressed, seed), number)]
    with running_node(peer, tmp_path, parameters(small, compressed)) as node:
        counts = torture(node, messages)
        flat = node.watched.check()
    tell(f"torn {'compressed' if compressed else 'raw'} messages, rclpy", number, told(counts))
    tell("", number, flat)


@pytest.mark.skipif(
    find_spec("cyclonedds") is None, reason="cyclonedds: pip install -r requirements-torture.txt"
)
@pytest.mark.parametrize("compressed", [False, True], ids=["raw", "compressed"])
def test_the_node_outlives_what_another_dds_sends(compressed, peer, small, tmp_path, seed, scaled, tell):
    number = scaled(2_000)
    form = "compressed" if compressed else "raw"
    with running_node(peer, tmp_path, parameters(small, compressed)) as node:
        node.ask(3)
        before = node.counts()
        words = [node.topic, form, str(seed), str(number), str(RATE)]
        command = [sys.executable, "-m", "test.torture.cyclone_camera", *words]
        camera = subprocess.Popen(command, stdout=subprocess.PIPE)
        # its discovery may take as long as its messages
        peer.until(lambda: camera.poll() is not None or node.check(), "the camera does not end")
        assert camera.returncode == 0
        sent = int(camera.communicate()[0])
        after = node.counts()
        counts = {name: after[name] - before[name] for name in after}
        assert counts["received"] >= RECEIVED * sent > 0, counts
        assert counts["failed"] == 0
        assert node.ask(3) == 3
    tell(f"{form} messages to the node, Cyclone DDS", sent, told(counts))


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_no_library_touches_a_file_either(peer, small, tmp_path, seed, scaled, tell):
    """What Python's audit does not see: OpenCV, FAISS, the DDS."""
    number, trace = scaled(1_000), tmp_path / "trace"
    messages = [each.cdr() for each in islice(hostile(True, seed), number)]
    with running_node(peer, tmp_path, parameters(small, True)) as node:
        node.ask(3)
        strace = ["strace", "-f", "-e", f"trace={CALLS}", "-o", trace, "-p", str(node.process.pid)]
        with subprocess.Popen(strace, stderr=subprocess.PIPE, text=True) as tracer:
            try:
                assert tracer.stderr is not None
                if "attached" not in tracer.stderr.readline():
                    pytest.skip("strace may not attach to a process here")
                torture(node, messages)
            finally:
                tracer.terminate()
    calls = [line.split(" ", 1)[1].strip() for line in trace.read_text().splitlines() if '"' in line]
    # shared memory of the DDS is no file of anybody's
    calls = [call for call in calls if '"/dev/shm/' not in call]
    reads = [
        call
        for call in calls
        if call.startswith("open")
        and not WRITING.search(call)
        and any(f'"{name}' in call for name in READABLE)
    ]
    assert [call for call in calls if call not in reads] == []
    tell("messages to the node, traced system calls", number, f"{len(reads)} files read, none written")
