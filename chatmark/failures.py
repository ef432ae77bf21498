"""
Everything that chatmark raises; `chatmark.errors` has the root and `InputError`.

No message, attribute or pickle of these holds a UserSig, a secret key or the query of a URL.
"""

from collections.abc import Sequence
from typing import Self

from chatmark.changes import MarkChange
from chatmark.codes import Code, code_of
from chatmark.errors import ChatmarkError
from chatmark.lazy import publish


def _request(request_id: str) -> str:
    return f" (RequestId {request_id})" if request_id else ""


class RefusedError(ChatmarkError):
    """
    The server refused.

    Attributes:
        code: The vendor's code.
        info: The server's own text.
        request_id: The `RequestId` of the answer, which the vendor's support asks for; "" where it
            has none.
        used: With which login and server the call was made, where that is the likely cause.
        names_peer: Whether the server said so of the conversation, not of the user whose mark it
            is; None if that is not known. A code of an account means the one or the other.
    """

    names_peer: bool | None = None

    def __init__(self, code: int, info: str = "", *, request_id: str = "", used: str = "") -> None:
        self.code = code
        self.info = info
        self.request_id = request_id
        self.used = used
        row = self.row
        said = f' (the server says: "{info}")' if info and info != row.meaning else ""
        used = f" Used: {used}." if used else ""
        super().__init__(f"{code}: {row.meaning}{said}. {row.advice}{used}{_request(request_id)}")

    @property
    def row(self) -> Code:
        """The code's row in the table of codes."""
        return code_of(self.code)

    @property
    def meaning(self) -> str:
        """The code in words."""
        return self.row.meaning

    @property
    def advice(self) -> str:
        """The advice to a person."""
        return self.row.advice


class ItemRefusedError(RefusedError):
    """The server refused this conversation, or the request that it was in."""


class ApplicationRefusedError(RefusedError):
    """The server refuses every call of this application: all waiting changes failed at once."""


class TransportError(ChatmarkError, ConnectionError):
    """
    No answer came. `__cause__` is what happened.

    Attributes:
        sent: Whether the request may have reached the server, and the change taken effect. False
            where a connection was refused, a name is unknown, or a certificate is not trusted.
    """

    def __init__(self, message: str, *, sent: bool = True) -> None:
        super().__init__(message)
        self.sent = sent


class AttemptTimeoutError(TransportError, TimeoutError):
    """No answer came within the time of one attempt."""


class AnswerError(ChatmarkError):
    """
    An answer came that cannot be read.

    Attributes:
        status: The HTTP status.
        path: Where in the answer's JSON the fault is, "$" for the whole.
        request_id: The `RequestId` of the answer, "" where it has none.
    """

    def __init__(
        self, reason: str, *, status: int = 200, path: str = "$", request_id: str = ""
    ) -> None:
        super().__init__(f"HTTP {status}: {reason}{_request(request_id)} @ {path}")
        self.status = status
        self.path = path
        self.request_id = request_id


class OutcomeUnknownError(ChatmarkError):
    """
    The server answered, again and again, without a readable word on this change.

    Attributes:
        answers: How many answers came.
        request_id: The `RequestId` of the last of them, "" where it has none.
    """

    def __init__(self, answers: int, *, request_id: str = "") -> None:
        reason = "answers of the server had no readable line for this conversation"
        super().__init__(f"{answers} {reason}{_request(request_id)}")
        self.answers = answers
        self.request_id = request_id


class DeadlineExceededError(ChatmarkError, TimeoutError):
    """
    The change was tried until its deadline.

    Attributes:
        deadline: The deadline in seconds from the first attempt.
        last: The error of the last attempt, None when none was possible.
    """

    def __init__(self, deadline: float, last: ChatmarkError | None) -> None:
        reason = "no attempt was possible" if last is None else f"at last: {last}"
        super().__init__(f"not settled within {deadline:g} s; {reason}")
        self.deadline = deadline
        self.last = last
        self.__cause__ = last


class SignatureError(ChatmarkError):
    """No UserSig could be had; `__cause__` is what the provider raised."""


class WithdrawnError(ChatmarkError):
    """The change was withdrawn before it was sent: nothing happened."""

    def __init__(self) -> None:
        super().__init__("the change was withdrawn before it was sent")


class QueueFullError(ChatmarkError):
    """The session holds as many unsettled changes as it may, and the caller asked not to wait."""

    def __init__(self, max_pending: int) -> None:
        super().__init__(f"the session already holds max_pending={max_pending} unsettled changes")
        self.max_pending = max_pending


class SessionError(ChatmarkError, RuntimeError):
    """The session cannot do this, or can do no more."""


class SessionClosedError(SessionError):
    """The session is closed."""

    def __init__(self, message: str = "the session is closed") -> None:
        super().__init__(message)


class UnsentError(SessionError):
    """
    `close()` ended before these changes were settled.

    Attributes:
        unsent: The changes, in the order of their lanes.
        unconfirmed: Those of them that were sent and got no answer; they may have taken effect.
    """

    def __init__(
        self, unsent: Sequence[MarkChange] = (), unconfirmed: Sequence[MarkChange] = ()
    ) -> None:
        count = "1 change was" if len(unsent) == 1 else f"{len(unsent):,} changes were"
        never, maybe = len(unsent) - len(unconfirmed), len(unconfirmed)
        super().__init__(
            f"{count} not settled before the session closed; "
            f"{never} never reached the server, {maybe} may have taken effect"
        )
        self.unsent = tuple(unsent)
        self.unconfirmed = tuple(unconfirmed)


class SessionBrokenError(SessionError):
    """The sending task died; `__cause__` is why. Every change that waited failed with this."""


class BudgetError(SessionError):
    """
    The server of the shared budget refuses to count calls, and waiting does not help.

    The text says what to correct. It never holds the URL's user or password.
    """


class ChangesFailedError(ChatmarkError, ExceptionGroup[ChatmarkError]):
    """
    Some changes of many failed.

    Attributes:
        failed: How many failed; the group holds the first of them.
    """

    failed: int

    def __new__(cls, message: str, errors: Sequence[ChatmarkError], failed: int = 0) -> Self:
        """Make the group; `failed` is the true total."""
        group = super().__new__(cls, message, list(errors))
        group.failed = failed or len(errors)
        return group

    def __init__(self, message: str, errors: Sequence[ChatmarkError], failed: int = 0) -> None:
        super().__init__(message, errors)

    def derive(self, excs: Sequence[ChatmarkError]) -> "ChangesFailedError":  # type: ignore[override]
        """Return a group of the same kind, for `except*`."""
        return ChangesFailedError(self.message, excs)


publish(__name__)
