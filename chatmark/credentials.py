"""Credentials: an application, an administrator of it, and a way to sign."""

import operator
import os
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, NoReturn

import attrs

from chatmark.conversations import exact, is_id
from chatmark.errors import InputError, without_frames
from chatmark.lazy import publish
from chatmark.limits import MAX_USER_ID_BYTES

# Python reads no number of thousands of digits; an SDKAppID has ten.
_MOST_DIGITS: Final = 20

UserSigProvider = Callable[[], Awaitable[str]]


class Secret:
    """Text that shows itself only when asked."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """Return the text."""
        return self._text

    def __repr__(self) -> str:
        return "Secret('***')"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._text == other._text

    def __hash__(self) -> int:
        return hash((Secret, self._text))

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret is not pickled or copied")

    def __deepcopy__(self, memo: object) -> "Secret":
        return self


def _secret(value: object) -> Secret | None:
    if value is None or isinstance(value, Secret):
        return value
    # The value is not repeated: what is wrong here may still be a secret.
    text = value.strip() if isinstance(value, str) else ""
    if text.startswith("-----BEGIN"):
        fault = "a key in PEM is of the old scheme (ECDSA): take the secret key of the console"
    elif not text:
        fault = "a secret key or UserSig is text, and not empty"
    elif not text.isprintable():
        fault = "a secret key or UserSig must not contain unprintable characters"
    else:
        return Secret(text)
    raise InputError("credentials", fault)


def _number(value: Any) -> int:
    try:
        return 0 if isinstance(value, bool) else operator.index(value)
    except TypeError:
        return 0


@attrs.frozen(kw_only=True)
class Credentials:
    """
    The application, an administrator of it, and a way to sign.

    Exactly one of *secret_key*, *usersig* and *provider* is given. They can be neither printed nor
    pickled.

    Args:
        sdkappid: The application.
        identifier: An administrator of the application.
        secret_key: The key to make UserSigs from.
        usersig: A ready UserSig; it is not renewed.
        provider: A coroutine function that returns a UserSig made elsewhere.

    Raises:
        InputError: One of them is wrong; the text says why.
    """

    sdkappid: int = attrs.field(converter=_number)
    identifier: str = attrs.field(converter=exact)
    secret_key: Secret | None = attrs.field(default=None, converter=_secret, repr=False)
    usersig: Secret | None = attrs.field(default=None, converter=_secret, repr=False)
    provider: UserSigProvider | None = attrs.field(default=None, repr=False)

    def __attrs_post_init__(self) -> None:
        # Here too the values are not repeated: variables are mixed up easily.
        if self.sdkappid <= 0:
            raise InputError("sdkappid", "must be a number above 0")
        if not is_id(self.identifier, MAX_USER_ID_BYTES):
            reason = f"must be text of 1 to {MAX_USER_ID_BYTES} bytes of printable ASCII"
            raise InputError("identifier", reason)
        if [self.secret_key, self.usersig, self.provider].count(None) != 2:  # noqa: PLR2004
            reason = "exactly one of secret_key, usersig, provider is needed"
            raise InputError("credentials", reason)
        if self.provider is not None and not callable(self.provider):
            raise InputError("provider", "must be a coroutine function")

    @classmethod
    @without_frames
    def from_env(cls, environ: Mapping[str, str] | None = None) -> "Credentials":
        """
        Read the credentials from the environment.

        The variables are `CHATMARK_SDKAPPID`, `CHATMARK_IDENTIFIER`, and `CHATMARK_SECRET_KEY` or
        `CHATMARK_USERSIG`. The identifier is `administrator`, the account that every application
        has, where none is given.

        Raises:
            InputError: One of them is missing or wrong.
        """
        env = os.environ if environ is None else environ
        number = env.get("CHATMARK_SDKAPPID", "").strip()
        if not (number.isascii() and number.isdigit() and len(number) <= _MOST_DIGITS):
            raise InputError("CHATMARK_SDKAPPID", "is not set to the number of an application")
        if not (env.get("CHATMARK_SECRET_KEY") or env.get("CHATMARK_USERSIG")):
            raise InputError("CHATMARK_SECRET_KEY", "is not set, nor is CHATMARK_USERSIG")
        return cls(
            sdkappid=int(number),
            identifier=env.get("CHATMARK_IDENTIFIER", "").strip() or "administrator",
            secret_key=env.get("CHATMARK_SECRET_KEY") or None,
            usersig=env.get("CHATMARK_USERSIG") or None,
        )

    def __reduce__(self) -> NoReturn:
        raise TypeError("credentials are not pickled: they hold a secret")


# The frame of the method that attrs makes holds its arguments.
Credentials.__init__ = without_frames(Credentials.__init__)  # type: ignore[method-assign]


publish(__name__)
