"""The processes that build a map together: started, and ended by the first of them that fails."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import torch

from training.learning.fabric import is_first_process
from vpr_ros.errors import InputError

#: How long processes wait for each other: the first one for others to start, those for it to read a table.
PATIENCE = timedelta(days=1)
#: What the first one that fails leaves for the others to see.
FAILED = "failed"


@dataclass(frozen=True)
class Share:
    """One process's part of the work.

    Attributes:
        rank: its number.
        processes: how many there are.
        device: its own.
        meet: waits for all of them.
    """

    rank: int
    processes: int
    device: torch.device
    meet: Callable[[], None]


def torchrun_processes() -> int | None:
    """Return how many processes torchrun has started here, or None where it has not.

    Raises InputError for those of several machines.
    """
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return None
    here, everywhere = (int(os.environ[name]) for name in ("LOCAL_WORLD_SIZE", "WORLD_SIZE"))
    if here != everywhere:
        raise InputError(f"torchrun with {everywhere} processes, {here} of them here: expected one machine")
    return here


def start_processes(device: torch.device, processes: int, folder: Path) -> Share:
    """Start the other processes, if there are to be some and torchrun has not; wait for all.

    They run the same command from its beginning.

    Args:
        device: of its type each gets its own.
        processes: how many.
        folder: where the first one that fails lets the others know.
    """
    if processes == 1:
        return Share(0, 1, device, lambda: None)
    from lightning_fabric import Fabric  # noqa: PLC0415  takes a second, and most builds need it not
    from lightning_fabric.strategies.ddp import DDPStrategy  # noqa: PLC0415

    if is_first_process():
        (folder / FAILED).unlink(missing_ok=True)  # of an earlier build
    # nothing but waiting is asked of the process group, which gloo can everywhere
    strategy = DDPStrategy(process_group_backend="gloo", timeout=PATIENCE)
    fabric = Fabric(accelerator=device.type, devices=processes, strategy=strategy)
    fabric.launch()
    return Share(fabric.global_rank, fabric.world_size, fabric.device, fabric.barrier)


@contextmanager
def together(share: Share, folder: Path) -> Iterator[Callable[[], None]]:
    """Yield a check that ends this process's work where another has failed; afterwards wait for all.

    The first that has failed says why. An interrupt may have come to all: it is for the caller to say.
    """
    if share.processes == 1:
        yield lambda: None
        return
    failed, parent = folder / FAILED, os.getppid()

    def check() -> None:
        if share.rank > 0 and os.getppid() != parent:  # nobody is left to work for
            os._exit(1)
        if failed.exists():
            raise _AnotherFailedError

    try:
        yield check
    except BaseException as error:
        first = _first_to_fail(failed)
        _meet(share)
        if isinstance(error, _AnotherFailedError) or not (first or isinstance(error, KeyboardInterrupt)):
            sys.exit(2)
        raise
    _meet(share)
    if failed.exists():
        sys.exit(2)


class _AnotherFailedError(Exception):
    pass


def _first_to_fail(failed: Path) -> bool:
    try:
        failed.touch(exist_ok=False)
    except FileExistsError:
        return False
    except OSError:  # the disk is full: the others will see for themselves
        pass
    return True


def _meet(share: Share) -> None:
    try:
        share.meet()
    except RuntimeError as error:
        raise InputError("a process that shared the work was killed: run the same command again") from error
