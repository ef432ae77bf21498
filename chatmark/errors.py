"""The root of all errors, and the error for wrong input. `chatmark.failures` has the others."""

from typing import Any, Self

from chatmark.lazy import publish

_SHOWN = 80


def _shorten(value: object) -> str:
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001 - a number of thousands of digits has none, say.
        text = f"some {type(value).__name__}"
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"


def _rebuild(cls: type["ChatmarkError"], args: tuple[Any, ...], state: dict[str, Any]) -> Any:
    error = cls.__new__(cls, *args)
    error.args = args
    error.__dict__.update(state)
    return error


class ChatmarkError(Exception):
    """
    The root of all errors of this package.

    Attributes:
        change: The `MarkChange` that failed with it, None where it is about no change. The text of
            the error names its user and conversation.
        subject: The user and the conversation group of a failed call of `MarkSession.groups`.
        possibly_applied: Whether that call may have taken effect, in whole or in part.
    """

    # A value needs this class: no annotation here may name one.
    change: Any = None
    subject: str = ""
    possibly_applied: bool = False

    @property
    def reason_alone(self) -> str:
        """The text of the error without the change that it is about."""
        return super().__str__()

    def __str__(self) -> str:
        subject, reason = self.subject, self.reason_alone
        if self.change is not None:
            subject = f"{self.change.from_account} {self.change.conversation}"
        if self.possibly_applied:
            reason = f"{reason}; it is not known whether the call took effect, in whole or in part"
        return f"{subject}: {reason}" if subject else reason

    def __reduce__(self) -> tuple[Any, ...]:
        # Attributes are keyword-only, which the default pickling of exceptions does not know.
        return _rebuild, (type(self), self.args, self.__dict__)

    def fresh(self) -> Self:
        """
        Return an equal error with a traceback of its own.

        One error may be the fate of a hundred changes; raising one object from a hundred tasks
        would let its traceback grow with each.
        """
        again = type(self).__new__(type(self), *self.args)
        again.args = self.args
        again.__dict__.update(self.__dict__)
        again.__cause__ = self.__cause__
        return again

    def about(self, change: Any) -> Self:
        """Return an equal error about this change."""
        again = self.fresh()
        again.change = change
        return again


class InputError(ChatmarkError, ValueError):
    """
    A value that the API would not take.

    Attributes:
        field: The field at fault, in the wire's words in snake_case.
        reason: The fault.
    """

    def __init__(self, field: str, reason: str, *value: object) -> None:
        shown = "".join(f" (got {_shorten(each)})" for each in value)
        super().__init__(f"{field}: {reason}{shown}")
        self.field = field
        self.reason = f"{reason}{shown}"


publish(__name__)
