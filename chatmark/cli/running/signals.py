"""Ctrl-C and SIGTERM while a job runs."""

import asyncio
import contextlib
import signal
from collections.abc import Callable, Generator, Sequence
from typing import Final, NoReturn, Protocol

from chatmark.cli.render.console import complain
from chatmark.jobs.options import Control

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


class Closing(Protocol):
    """A session, or the workers of a cluster."""

    async def close(self, *, send_waiting: bool = True) -> None:
        """End requests in flight; a cancelled call does not wait for them."""


@contextlib.contextmanager
def sigterm_interrupts() -> Generator[None]:
    """Raise KeyboardInterrupt on SIGTERM while the block runs."""

    def interrupt(*_: object) -> NoReturn:
        raise KeyboardInterrupt

    try:
        before = signal.signal(signal.SIGTERM, interrupt)
    except ValueError:
        # Only the main thread may set handlers, and only it receives signals.
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def call_on_signals(call: Callable[[], object], *, signals: Sequence[int] = _SIGNALS) -> None:
    """
    Call a function when the process gets one of these signals, Ctrl-C and SIGTERM by default.

    Windows and other threads than the main one have no handlers: there Ctrl-C cancels the task.
    """
    loop = asyncio.get_running_loop()
    with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
        for number in signals:
            loop.add_signal_handler(number, call)


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
            _remove_handlers(loop)
            # A cancelled close stops waiting, and still settles every change.
            closing[0].cancel()

    call_on_signals(stop)
    try:
        yield
    finally:
        _remove_handlers(loop)


def _remove_handlers(loop: asyncio.AbstractEventLoop) -> None:
    with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
        for number in _SIGNALS:
            loop.remove_signal_handler(number)
