"""
An event loop whose time costs none: when nothing is ready it jumps to the next timer.

    from virtual_time import in_virtual_loop


    @in_virtual_loop
    async def test_waits() -> None:
        await asyncio.sleep(3600)

        assert 3600 == asyncio.get_running_loop().time()

Real I/O is polled and never waited for, so it must not be what a test depends on.
"""

import asyncio
import functools
import math
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec, TypeVar

T = TypeVar("T")
P = ParamSpec("P")


class _JumpingSelector(selectors.DefaultSelector):  # type: ignore[misc, valid-type, unused-ignore]
    """Spends the time that it is told to wait at once."""

    now = 0.0
    #: A test that takes longer hangs.
    end = math.inf

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready: list[tuple[selectors.SelectorKey, int]] = super().select(0)
        if ready:
            return ready
        if timeout is None:
            raise RuntimeError("everything waits, and nothing will ever happen")
        self.now += max(0.0, timeout)
        if self.now > self.end:
            # What is left behind may still end.
            self.end = math.inf
            raise RuntimeError("something never ends")
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop that starts at time 0 and jumps."""

    def __init__(self) -> None:
        self.jumping = _JumpingSelector()
        super().__init__(self.jumping)

    def time(self) -> float:
        """Return the virtual time in seconds."""
        return self.jumping.now


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine in virtual time, and return its result."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(coroutine)


def in_virtual_loop(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Let a test run in virtual time."""

    @functools.wraps(test)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> None:
        run(test(*args, **kwargs))

    return wrapper
