"""The node, with every file that Python opens and every process that it starts written down.

python -m test.torture.audited_node LOG --ros-args ...
"""

from __future__ import annotations

import os
import sys
from time import monotonic_ns

from vpr_ros import node

#: Beginnings of the audit events that reach out of the process.
EVENTS = ("open", "os.", "shutil.", "subprocess.", "pickle.", "ctypes.dlopen", "socket.", "tempfile.")


def main() -> None:
    """Run the node; each line of the log is a monotonic time in ns, an event and its arguments."""
    log = os.open(sys.argv.pop(1), os.O_CREAT | os.O_WRONLY | os.O_APPEND)

    def write_down(event: str, arguments: tuple[object, ...]) -> None:
        if event.startswith(EVENTS):
            os.write(log, f"{monotonic_ns()} {event} {arguments!r}\n".encode(errors="replace"))

    sys.addaudithook(write_down)
    node.main()


if __name__ == "__main__":
    main()
