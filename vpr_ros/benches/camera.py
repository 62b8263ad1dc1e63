"""The camera of a bench, and the echo in place of the node, as this process has them: begun and ended."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from multiprocessing import get_context
from time import monotonic, sleep
from typing import Any

from vpr_ros.benches.listener import ANSWER_TIMEOUT, Listener
from vpr_ros.benches.traffic import Stream, echo, send
from vpr_ros.errors import InputError

#: Seconds that the node may take to start.
START_TIMEOUT = 180.0
#: Answers that come before anything is measured.
WARM_UP = 30


class Camera:
    """Sends its images from a process of its own."""

    def __init__(self, stream: Stream, messages: list[Any]) -> None:
        self.stream = stream
        self._messages = messages

    def send(
        self, seconds: float, listener: Listener, check: Callable[[], None]
    ) -> tuple[list[int], list[int]]:
        """Send until answers come, then for so long; return the stamps of both."""
        context = get_context("spawn")
        answered, sent = context.Event(), context.Queue()
        arguments = (self.stream, self._messages, seconds, listener.clock_offset, answered, sent)
        process = context.Process(target=send, args=arguments, daemon=True)
        with ExitStack() as leaving:
            process.start()
            leaving.callback(process.join)
            leaving.callback(answered.clear)
            deadline = monotonic() + START_TIMEOUT
            while listener.count < WARM_UP:
                check()
                if monotonic() > deadline or not process.is_alive():
                    process.terminate()
                    raise InputError(f"{listener.count} answers within {START_TIMEOUT:g} s")
                sleep(0.01)
            answered.set()
            stamps = sent.get(), sent.get()
            deadline = monotonic() + ANSWER_TIMEOUT
            while monotonic() < deadline and not listener.heard(stamps[1][-1:]):
                check()
                sleep(0.01)
            return stamps


@contextmanager
def echoing(stream: Stream, answers: str, raw: bool) -> Iterator[None]:
    """Have an echo answer what a camera sends."""
    process = get_context("spawn").Process(target=echo, args=(stream, answers, raw), daemon=True)
    process.start()
    try:
        yield
    finally:
        process.terminate()
        process.join()
