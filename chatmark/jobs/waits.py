"""
For how long a session was held back by the server.
"""

import time
from collections.abc import Callable
from typing import final

from chatmark.events import Event, Paused


@final
class Waits:
    """
    A session's hook that adds up the pauses that the server asked for; pauses may overlap.

    Args:
        clock: Returns seconds.

    Attributes:
        seconds: The sum, those to come of a pause that lasts among them.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._until = 0.0
        self.seconds = 0.0

    def __call__(self, event: Event) -> None:
        """
        Note a pause.
        """
        if isinstance(event, Paused):
            now = self._clock()
            end = now + event.seconds
            self.seconds += max(0.0, end - max(now, self._until))
            self._until = max(self._until, end)
