"""
A UserSig: the signature in the query of every call.

https://www.tencentcloud.com/document/product/1047/34385 describes the algorithm, TLSSigAPIv2: an
HMAC-SHA256 over four lines, in a JSON object, deflated, in base64 of the vendor's own alphabet.
"""

import base64
import binascii
import hashlib
import hmac
import json
import zlib
from typing import Any, Final, cast

import attrs

from chatmark.errors import InputError, without_frames
from chatmark.lazy import publish

_TO_VENDOR: Final = str.maketrans("+/=", "*-_")
_FROM_VENDOR: Final = str.maketrans("*-_", "+/=")
# A UserSig is some hundred bytes; whatever unpacks to more is none.
_MOST_BYTES: Final = 65_536
# Seconds or applications beyond this would overflow where callers add them up.
_MOST: Final = 1 << 63
_FIELDS: Final = ("sdkappid", "identifier", "time", "expire", "ver", "userbuf")
_NUMBERS: Final = ("sdkappid", "time", "expire")


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
    Return the content of a UserSig, without a check of its signature.

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
