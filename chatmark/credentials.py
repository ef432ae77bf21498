"""
Credentials: an application, an administrator of it, and a way to sign.

A UserSig is the signature in the query of every call.
https://www.tencentcloud.com/document/product/1047/34385 describes the algorithm, TLSSigAPIv2: an
HMAC-SHA256 over four lines, in a JSON object, deflated, in base64 of the vendor's own alphabet.
"""

import base64
import binascii
import hashlib
import hmac
import json
import operator
import os
import zlib
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, NoReturn, cast

import attrs

from chatmark.conversations import exact, is_id
from chatmark.errors import InputError, without_frames
from chatmark.lazy import publish
from chatmark.limits import MAX_USER_ID_BYTES

# Python reads no number of thousands of digits; an SDKAppID has ten.
_MOST_DIGITS: Final = 20
_TO_VENDOR: Final = str.maketrans("+/=", "*-_")
_FROM_VENDOR: Final = str.maketrans("*-_", "+/=")
# A UserSig is some hundred bytes; whatever unpacks to more is none.
_MOST_BYTES: Final = 65_536
# Whatever counts seconds or applications beyond this would overflow those who reckon with it.
_MOST: Final = 1 << 63
_FIELDS: Final = ("sdkappid", "identifier", "time", "expire", "ver", "userbuf")
_NUMBERS: Final = ("sdkappid", "time", "expire")

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


@attrs.frozen
class UserSigContent:
    """
    The content of a UserSig.

    Args:
        sdkappid: The application.
        identifier: The account that it lets in.
        time: When it was made, in seconds since the epoch.
        expire: For how many seconds it holds.
        version: The version of the algorithm.
        userbuf: The data that the vendor's libraries can sign beside it, in base64; "" without.
    """

    sdkappid: int
    identifier: str
    time: int
    expire: int
    version: str = "2.0"
    userbuf: str = ""

    @property
    def expires_at(self) -> int:
        """The last second since the epoch at which it holds."""
        return self.time + self.expire


def _utf8(field: str, text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        # That error would keep the text, which may be the key.
        raise InputError(field, "is not UTF-8: it has half a character") from None


def _signature(content: UserSigContent, secret_key: str) -> str:
    text = (
        f"TLS.identifier:{content.identifier}\n"
        f"TLS.sdkappid:{content.sdkappid}\n"
        f"TLS.time:{content.time}\n"
        f"TLS.expire:{content.expire}\n"
    )
    if content.userbuf:
        text += f"TLS.userbuf:{content.userbuf}\n"
    # The key is used as text, although it looks like hexadecimal.
    digest = hmac.digest(_utf8("secret_key", secret_key), _utf8("identifier", text), hashlib.sha256)
    return base64.b64encode(digest).decode("ascii")


@without_frames
def make_usersig(
    sdkappid: int, identifier: str, secret_key: str, *, now: float, expire: int = 86_400
) -> str:
    """
    Make a UserSig.

    Args:
        sdkappid: The application.
        identifier: The account that it lets in.
        secret_key: The application's secret key, as the console shows it.
        now: Seconds since the epoch.
        expire: For how many seconds it holds; the vendor advises 24 hours at least.

    Raises:
        InputError: *expire* is not positive, or a text has half a character.
    """
    if expire <= 0:
        raise InputError("expire", "is not a positive number of seconds", expire)
    content = UserSigContent(sdkappid, identifier, int(now), expire)
    document = {
        "TLS.ver": content.version,
        "TLS.identifier": content.identifier,
        "TLS.sdkappid": content.sdkappid,
        "TLS.expire": content.expire,
        "TLS.time": content.time,
        "TLS.sig": _signature(content, secret_key),
    }
    packed = zlib.compress(json.dumps(document).encode())
    return base64.b64encode(packed).decode("ascii").translate(_TO_VENDOR)


@without_frames
def read_usersig(usersig: str) -> UserSigContent:
    """
    Say what is inside a UserSig, without checking its signature.

    Raises:
        InputError: It is not a UserSig. The message does not repeat it.
    """
    return _content(_unpack(usersig))


@without_frames
def verify_usersig(usersig: str, secret_key: str) -> bool:
    """
    Say whether a UserSig was made with this secret key; whether it has expired is another question.

    Raises:
        InputError: It is not a UserSig.
    """
    document = _unpack(usersig)
    signature = str(document.get("TLS.sig")).encode("ascii", "replace")
    return hmac.compare_digest(signature, _signature(_content(document), secret_key).encode())


def _unpack(usersig: str) -> dict[str, object]:
    try:
        packed = base64.b64decode(usersig.strip().translate(_FROM_VENDOR), validate=True)
        unpacker = zlib.decompressobj()
        document = json.loads(unpacker.decompress(packed, _MOST_BYTES))
    except (ValueError, binascii.Error, zlib.error, RecursionError):
        raise InputError("usersig", "is not a UserSig") from None
    # Of one that was cut the whole content may still be read, but no server will have it.
    if not isinstance(document, dict) or not unpacker.eof:
        raise InputError("usersig", "is not a UserSig")
    return cast("dict[str, object]", document)


def _content(document: dict[str, object]) -> UserSigContent:
    given: dict[str, Any] = {name: document.get(f"TLS.{name}") for name in _FIELDS}
    given["userbuf"] = document.get("TLS.userbuf", "")
    for name, value in given.items():
        is_good = isinstance(value, str)
        if name in _NUMBERS:
            is_good = type(value) is int and 0 <= value < _MOST
        if not is_good:
            raise InputError("usersig", "has not the fields of a UserSig")
        _utf8("usersig", str(value))
    return UserSigContent(*given.values())


publish(__name__)
