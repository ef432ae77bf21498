"""Limit the calls of each command in any one-second window."""

import time
from collections import deque
from collections.abc import Callable

import attrs

from chatmark.emulator.wire.refusals import Refusal


@attrs.define(eq=False)
class RateLimit:
    """
    Refuse calls of a command beyond the limit.

    https://www.tencentcloud.com/document/product/1047/53438 allows 200 calls a second of each
    command; refused calls do not count against it.

    Args:
        calls_per_second: Most calls of one command in any one second; None for no limit.
        monotonic: Returns seconds of a clock that never goes back.
    """

    calls_per_second: int | None
    _monotonic: Callable[[], float] = attrs.field(
        default=time.monotonic, kw_only=True, alias="monotonic"
    )
    _admitted: dict[str, deque[float]] = attrs.field(factory=dict[str, deque[float]], init=False)

    def admit(self, command: str) -> None:
        """Count one call of *command*."""
        if self.calls_per_second is None:
            return
        now = self._monotonic()
        times = self._admitted.setdefault(command, deque())
        while times and now - times[0] >= 1.0:
            times.popleft()
        if len(times) >= self.calls_per_second:
            raise Refusal(60007)
        times.append(now)

    def clear(self) -> None:
        """Forget the calls so far."""
        self._admitted.clear()
