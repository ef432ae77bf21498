"""
Asking a server about many users, of whom some cannot be asked; and when to stop.
"""

from collections.abc import Awaitable, Callable
from typing import Final, TypeVar, final

from chatmark.errors import ApplicationRefusedError, ChatmarkError, RefusedError, SessionError

T = TypeVar("T")

# More than are asked at once, so that one bad moment is not taken for the end.
_MOST_IN_A_ROW: Final = 50


@final
class OutageGuard:
    """
    Counts users in a row who could not be asked; each of them took a session's whole deadline.

    Attributes:
        error: Why nobody is to be asked any more, None as long as it makes sense.
    """

    def __init__(self) -> None:
        self._in_a_row = 0
        self.error: ChatmarkError | None = None

    async def ask(self, call: Callable[[], Awaitable[T]]) -> T | ChatmarkError:
        """
        Return what *call* returns for a user, or why there is no answer; call nobody in vain.

        Raises:
            ApplicationRefusedError: The server refuses whatever this application asks.
            SessionError: The session is closed or broken.
        """
        if self.error is not None:
            return self.error
        try:
            answer = await call()
        except (ApplicationRefusedError, SessionError):
            raise
        except ChatmarkError as error:
            self._note(error)
            return error
        self._in_a_row = 0
        return answer

    def _note(self, error: ChatmarkError) -> None:
        # A refusal of this user is an answer.
        self._in_a_row = 0 if isinstance(error, RefusedError) else self._in_a_row + 1
        if self._in_a_row >= _MOST_IN_A_ROW:
            self.error = error
