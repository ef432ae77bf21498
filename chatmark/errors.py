"""
The root of all errors, the error for wrong input, and what keeps secrets out of errors.

`chatmark.failures` has the other errors.
"""

import functools
import html
import re
import urllib.parse
from collections.abc import Callable, Iterable
from typing import Any, Final, Self, TypeVar, cast

from chatmark.lazy import publish

F = TypeVar("F", bound=Callable[..., Any])

# A piece of a secret that is longer than this gives it away.
_MOST_SHOWN: Final = 16
_LEAST: Final = 8
# A text may be quoted by several programs on its way: so many layers are taken off.
_LAYERS: Final = 3
_ESCAPED: Final = re.compile(r"\\+u([0-9a-fA-F]{4})")
_SHOWN: Final = 80


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
        Return an equal error with a traceback of its own, which does not grow with each raising.
        """
        again: Self = _rebuild(type(self), self.args, self.__dict__)
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


def without_frames(function: F) -> F:
    """
    Remove the frames of a function that takes secrets from the errors that it raises.

    Tools that report errors show the local variables of each frame of a traceback.
    """

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except ChatmarkError as error:
            bare = error.with_traceback(None)
        del args, kwargs
        try:
            raise bare
        finally:
            del bare

    return cast("F", call)


def redact_url(url: object) -> str:
    """
    Return a URL with the value of its `usersig` hidden.

    Instrumentation of aiohttp shows whole URLs by default, and every URL of this API carries a
    signature. Give it this function:
    `AioHttpClientInstrumentor().instrument(url_filter=redact_url)`.

    >>> redact_url("https://example.com/v4/x?sdkappid=1&usersig=eJx*&random=5")
    'https://example.com/v4/x?sdkappid=1&usersig=***&random=5'
    """
    head, mark, query = str(url).partition("?")
    query, hash_mark, fragment = query.partition("#")
    pairs = query.split("&")
    for place, pair in enumerate(pairs):
        name, equals, _ = pair.partition("=")
        if equals and urllib.parse.unquote_plus(name).strip().lower() == "usersig":
            pairs[place] = f"{name}=***"
    return head + mark + "&".join(pairs) + hash_mark + fragment


def withhold(text: str, secrets: Iterable[str]) -> str:
    """
    Return a text of the server, or a note in its place if it repeats a piece of a secret.

    A server or a gateway may repeat the URL, with the signature in percent, JSON or HTML escapes,
    once or several times over, whole or cut.

    >>> withhold("see /v4/x?usersig=abc%2A" + "d" * 20, ["abc*" + "d" * 20])
    'withheld: the text repeats the UserSig or the secret key'
    """
    forms = [text]
    for _ in range(_LAYERS):
        plain = _ESCAPED.sub(lambda code: chr(int(code[1], 16)), html.unescape(forms[-1]))
        forms.append(urllib.parse.unquote(plain))
    for secret in secrets:
        if len(secret) < _LEAST:
            # No secret of the vendor's is so short; every text would hold it.
            continue
        # Any piece that gives it away holds one of these blocks: most texts hold none.
        blocks = [secret[start : start + _LEAST] for start in range(0, len(secret), _LEAST)]
        if not any(len(block) == _LEAST and block in form for form in forms for block in blocks):
            continue
        size = min(len(secret), _MOST_SHOWN + 1)
        pieces = {secret[start : start + size] for start in range(len(secret) - size + 1)}
        if any(piece in form for form in forms for piece in pieces):
            return "withheld: the text repeats the UserSig or the secret key"
    return text


publish(__name__)
