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
    """Let SIGTERM be KeyboardInterrupt while the block runs."""

    def interrupt(*_: object) -> NoReturn:
        raise KeyboardInterrupt

    try:
        before = signal.signal(signal.SIGTERM, interrupt)
    except ValueError:
        # Only the main thread may; another is not asked by signals anyway.
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def call_on_signals(call: Callable[[], object], *, signals: Sequence[int] = _SIGNALS) -> None:
    """
    Call something when the process gets one of these signals, Ctrl-C and SIGTERM by default.

    Windows has no such handlers, and only the main thread may have them: Ctrl-C cancels the task
    then.
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

    def heed() -> None:
        if not closing:
            complain("stopping when what is in flight has ended; once more to stop at once")
            task = loop.create_task(session.close(send_waiting=False))
            # The report accounts for changes that are given up.
            task.add_done_callback(lambda done: done.cancelled() or done.exception())
            closing.append(task)
            control.stop()
        else:
            _forget(loop)
            # A close that is cancelled waits no longer, and still gives every change its end.
            closing[0].cancel()

    call_on_signals(heed)
    try:
        yield
    finally:
        _forget(loop)


def _forget(loop: asyncio.AbstractEventLoop) -> None:
    with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
        for number in _SIGNALS:
            loop.remove_signal_handler(number)
