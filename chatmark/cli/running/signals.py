"""Ctrl-C, SIGTERM and SIGHUP: the first one that comes decides the exit status."""

import asyncio
import contextlib
import signal
from collections.abc import Callable, Generator
from types import FrameType
from typing import Final, NoReturn, Protocol

from chatmark.cli.exit_status import INTERRUPTED, TERMINATED
from chatmark.cli.render.log import complain
from chatmark.jobs.options import Control

_SIGNALS: Final = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)


# The signals that a command got.
_RECEIVED: Final[list[int]] = []


def interrupted_status() -> int:
    """Return the exit status of a command that was interrupted."""
    return INTERRUPTED if _RECEIVED[:1] in ([], [signal.SIGINT]) else TERMINATED


class Closing(Protocol):
    """A session, or the workers of a cluster."""

    async def close(self, *, send_waiting: bool = True) -> None:
        """End requests in flight; a cancelled call does not wait for them."""


@contextlib.contextmanager
def signals_interrupt() -> Generator[None]:
    """Raise KeyboardInterrupt on each of the signals while the block runs."""
    _RECEIVED.clear()
    before = {number: signal.getsignal(number) for number in _obeyed()}
    # Only the main thread may set handlers, and only it receives signals.
    with contextlib.suppress(ValueError):
        for number in before:
            signal.signal(number, _interrupt)
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):
            for number, handler in before.items():
                signal.signal(number, handler)


def _interrupt(number: int, _: FrameType | None) -> NoReturn:
    _RECEIVED.append(number)
    raise KeyboardInterrupt


def _obeyed() -> list[int]:
    # `nohup` has SIGHUP ignored, and shells SIGINT for jobs in the background.
    return [each for each in _SIGNALS if signal.getsignal(each) is not signal.SIG_IGN]


def call_on_signals(call: Callable[[], object]) -> None:
    """
    Call a function when the process gets one of the signals, until `forget_signals`.

    Windows and other threads than the main one have no handlers: there Ctrl-C cancels the task.
    """
    loop = asyncio.get_running_loop()

    def received(number: int) -> None:
        _RECEIVED.append(number)
        call()

    with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
        for number in _obeyed():
            loop.add_signal_handler(number, received, number)


def forget_signals() -> None:
    """Give the signals the effect that they have outside of a loop."""
    loop = asyncio.get_running_loop()
    with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
        for number in _SIGNALS:
            if loop.remove_signal_handler(number):
                signal.signal(number, _interrupt)


@contextlib.contextmanager
def stoppable(control: Control, session: Closing) -> Generator[None]:
    """
    Stop a job on the first signal, and give up its requests in flight on the second.

    A third signal has its usual effect.
    """
    loop = asyncio.get_running_loop()
    closing: list[asyncio.Task[None]] = []

    def stop() -> None:
        if not closing:
            complain("stopping after the requests in flight; press Ctrl-C again to stop at once")
            task = loop.create_task(session.close(send_waiting=False))
            # The report accounts for unsent changes, so the error needs no reader.
            task.add_done_callback(lambda done: done.cancelled() or done.exception())
            closing.append(task)
            control.stop()
        else:
            forget_signals()
            # A cancelled close stops waiting, and still settles every change.
            closing[0].cancel()

    call_on_signals(stop)
    try:
        yield
    finally:
        forget_signals()
