"""The hooks of a session: they are called with each event, and events are logged."""

import asyncio
import collections
import contextlib
import logging
import traceback
from collections.abc import Callable, Generator
from typing import Any

from chatmark.events import ChangesSettled, Event, Hook, Paused, RetryPlanned, logger


class Hooks:
    """The hooks of a session; one that raises is logged, and disturbs no caller."""

    __slots__ = ("_caller", "_hooks", "_is_telling", "_untold")

    def __init__(self, hooks: tuple[Hook, ...] = ()) -> None:
        self._hooks = hooks
        found = (getattr(hook, "caller", None) for hook in hooks)
        self._caller: Callable[[], Any] | None = next(filter(None, found), None)
        self._untold: collections.deque[Event] = collections.deque()
        self._is_telling = False

    def __bool__(self) -> bool:
        return bool(self._hooks)

    @property
    def is_listening(self) -> bool:
        """Whether a hook or a log of DEBUG takes events that are not about trouble."""
        return bool(self._hooks) or logger.isEnabledFor(logging.DEBUG)

    def caller(self) -> Any:
        """Return what the first hook that has a `caller` says of the running task."""
        if self._caller is not None:
            with self._logged():
                return self._caller()
        return None

    def tell(self, event: Event) -> None:
        """Call every hook with the event, and log it: INFO for trouble, else DEBUG."""
        level = logging.INFO if isinstance(event, Paused | RetryPlanned) else logging.DEBUG
        if logger.isEnabledFor(level) and not isinstance(event, ChangesSettled):
            logger.log(level, "%s", event, extra={"chatmark_event": event})
        self._untold.append(event)
        if self._is_telling:
            # An action of a hook made this event: it is told next, not from inside the hook.
            return
        self._is_telling = True
        try:
            while self._untold:
                self._call_hooks(self._untold.popleft())
        finally:
            self._is_telling = False

    def _call_hooks(self, event: Event) -> None:
        for hook in self._hooks:
            with self._logged():
                hook(event)

    @contextlib.contextmanager
    def _logged(self) -> Generator[None]:
        try:
            yield
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001
            # A task is cancelled only while it waits, so a CancelledError is the hook's own,
            # too. The text of an error may hold anything, so only the place is logged.
            *_, place = traceback.extract_tb(error.__traceback__)
            logger.error(
                "a hook raised %s at %s:%s in %s",
                type(error).__name__,
                place.filename,
                place.lineno,
                place.name,
            )
