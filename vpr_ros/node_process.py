"""The node as a process of its own, in a domain of its own, for as long as a context lasts."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from vpr_ros.errors import InputError


@contextmanager
def private_domain() -> Iterator[None]:
    """Keep this process, and those it starts, off the robot's own network, unless a domain was chosen."""
    humble = os.environ.get("ROS_DISTRO") == "humble"
    local = {"ROS_LOCALHOST_ONLY": "1"} if humble else {"ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}
    added = {"ROS_DOMAIN_ID": str(1 + os.getpid() % 100)} | local
    added = {name: value for name, value in added.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            del os.environ[name]


class NodeProcess:
    """A running node; its output goes to a log file."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self._process = process
        self._log = log

    def check(self) -> None:
        """Raise InputError with its last words where the node has ended."""
        if (code := self._process.poll()) is not None:
            lines = self._log.read_text(errors="replace").strip().splitlines()
            raise InputError(
                f"the node ended with {code}: {lines[-1] if lines else 'it said nothing'} ({self._log})"
            )


@contextmanager
def node_process(
    parameters: Mapping[str, object],
    remappings: Mapping[str, str],
    log: Path,
    module: str = "vpr_ros.node",
) -> Iterator[NodeProcess]:
    """Start `vpr_localiser` with these parameters and remappings, and stop it on leaving."""
    arguments = [f"{name}:={_yaml(value)}" for name, value in parameters.items()]
    remapped = [f"{source}:={target}" for source, target in remappings.items()]
    command = [sys.executable, "-m", module, "--ros-args"]
    command += [word for argument in arguments for word in ("-p", argument)]
    command += [word for argument in remapped for word in ("-r", argument)]
    with log.open("wb") as output:
        # in a session of its own: Ctrl-C is ours to pass on, once
        process = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, start_new_session=True, env=os.environ.copy()
        )
        try:
            yield NodeProcess(process, log)
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _yaml(value: object) -> str:
    """Write a value as ROS reads it: a string quoted, so that a path of digits stays one."""
    if isinstance(value, bool):
        return str(value).lower()
    return json.dumps(str(value)) if isinstance(value, (str, Path)) else str(value)
