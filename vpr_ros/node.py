"""The process of the node `vpr_localiser`."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import rclpy
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor

from vpr_ros.errors import InputError, first_line
from vpr_ros.nodes.topics import NAME


@contextmanager
def discovered() -> Iterator[None]:
    """Let this process and the others discover each other meanwhile: a node is there, hidden and idle.

    The first answer of a camera's Fast DDS may come before this process listens, and the next only with its
    announcement each 3 s. PyTorch takes about as long to import.
    """
    hidden = rclpy.create_node(
        f"_{NAME}_starts", use_global_arguments=False, start_parameter_services=False, enable_rosout=False
    )
    try:
        yield
    finally:
        hidden.destroy_node()


def main() -> None:
    """Run the node until it is told to stop; exits with 2 and one line on bad input."""
    try:
        rclpy.init()
    except RuntimeError as error:  # a parameter file that is not there, say
        sys.exit(_fail(error))
    node = None
    try:
        executor = SingleThreadedExecutor()
        with discovered():
            gc.disable()  # what is imported stays: to look through it takes a tenth of a second each time
            from vpr_ros.nodes.localiser_node import LocaliserNode  # noqa: PLC0415

            gc.freeze()
            gc.enable()
            node = LocaliserNode()
        executor.add_node(node)
        if not node.start() and rclpy.ok():
            sys.exit(2)
        executor.spin()
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    except (InputError, OSError) as error:
        sys.exit(_fail(error))
    except Exception:
        if rclpy.ok():
            raise
        # told to stop in the middle of starting: whatever failed, failed for that
    finally:
        if node is not None:
            node.destroy_node()
        rclpy.try_shutdown()


def _fail(error: Exception) -> int:
    rclpy.logging.get_logger(NAME).fatal(first_line(error))
    return 2


if __name__ == "__main__":
    main()
