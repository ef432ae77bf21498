"""How commands end: exit statuses, and the signals SIGINT, SIGTERM and SIGHUP."""

import asyncio
import contextlib
import errno
import functools
import os
import signal
import sys
from collections.abc import Callable, Coroutine, Generator, Iterable
from types import FrameType
from typing import Any, Final, TypeVar

import click

from chatmark import BudgetError, ChatmarkError, InputError, ItemRefusedError, RefusedError
from chatmark.cli import terminal
from chatmark.jobs import Control

T = TypeVar("T")

FAILED: Final = 1
WRONG: Final = 2
STOPPED: Final = 3
# Shells report these for programs that a signal ended.
BROKEN_PIPE: Final = 128 + 13
_INTERRUPTED: Final = 128 + signal.SIGINT
_TERMINATED: Final = 128 + signal.SIGTERM

# A command that names the wrong file gets one of these; others are of the machine.
_OF_COMMAND: Final = {
    *(errno.ENOENT, errno.EISDIR, errno.ENOTDIR, errno.EACCES, errno.EPERM, errno.EEXIST),
    *(errno.ENAMETOOLONG, errno.ELOOP, errno.EINVAL, errno.ENXIO, errno.EADDRINUSE),
}
_SIGNALS: Final = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)
# The signals that a command got; the first one decides its exit status.
_RECEIVED: Final[list[int]] = []
# Each signal makes the next of these calls; without any it raises KeyboardInterrupt.
_CALLS: Final[list[Callable[[], object]]] = []


def status_of(error: BaseException) -> int:
    # A budget refuses before anything is sent: its URL is wrong.
    if isinstance(error, InputError | BudgetError | UnicodeError):
        return WRONG
    if isinstance(error, OSError) and not isinstance(error, ChatmarkError):
        return WRONG if error.errno in _OF_COMMAND else STOPPED
    return FAILED if isinstance(error, ItemRefusedError) else STOPPED


def status_of_unread(errors: Iterable[object]) -> int:
    """Return the exit status for users that could not be read: refused ones, or no answers."""
    return max((FAILED if isinstance(one, RefusedError) else STOPPED for one in errors), default=0)


def status_of_output(error: OSError) -> int:
    """Return the exit status of a command whose standard output is closed or full, and say so."""
    # The flush at exit must not fail again.
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    # A reader that closed the pipe needs no message.
    if isinstance(error, BrokenPipeError):
        return BROKEN_PIPE
    terminal.complain(f"standard output: {error.strerror}")
    return STOPPED


def interrupted_status() -> int:
    return _INTERRUPTED if _RECEIVED[:1] in ([], [signal.SIGINT]) else _TERMINATED


@contextlib.contextmanager
def signals_interrupt() -> Generator[None]:
    """Raise KeyboardInterrupt on each signal while the block runs, if nothing listens."""
    _RECEIVED.clear()
    # `nohup` has SIGHUP ignored, and shells SIGINT for jobs in the background.
    before = {each: signal.getsignal(each) for each in _SIGNALS}
    before = {each: found for each, found in before.items() if found is not signal.SIG_IGN}
    # Only the main thread may set handlers, and only it receives signals.
    with contextlib.suppress(ValueError):
        for number in before:
            signal.signal(number, _receive)
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):
            for number, handler in before.items():
                signal.signal(number, handler)


def _receive(number: int, _: FrameType | None) -> None:
    _RECEIVED.append(number)
    if not _CALLS:
        raise KeyboardInterrupt
    _CALLS.pop(0)()


@contextlib.contextmanager
def listening(*calls: Callable[[], object]) -> Generator[None]:
    """Have the running loop make the first call on the first signal, the second on the second."""
    loop = asyncio.get_running_loop()
    # The signal alone does not wake a loop that waits for its sockets.
    _CALLS[:] = [functools.partial(loop.call_soon_threadsafe, call) for call in calls]
    try:
        yield
    finally:
        _CALLS.clear()


def run_to_end(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine. A signal cancels it, a second one ends it at once."""

    async def run() -> T:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine runs in one.
        with listening(task.cancel):
            return await coroutine

    try:
        return asyncio.run(run())
    except (asyncio.CancelledError, KeyboardInterrupt):
        raise click.Abort from None


@contextlib.contextmanager
def stoppable(control: Control, close: Callable[[], Coroutine[Any, Any, None]]) -> Generator[None]:
    """Stop a job on the first signal, and give up its requests in flight on the second."""
    loop = asyncio.get_running_loop()
    closing: asyncio.Task[None]

    def stop() -> None:
        nonlocal closing
        terminal.complain(
            "stopping after the requests in flight; press Ctrl-C again to stop at once"
        )
        closing = loop.create_task(close())
        # The report accounts for unsent changes, so the error needs no reader.
        closing.add_done_callback(lambda done: done.cancelled() or done.exception())
        control.stop()

    def hurry() -> None:
        # Not before its first step. It stops waiting, and still settles every change.
        loop.call_soon(closing.cancel)

    with listening(stop, hurry):
        yield
