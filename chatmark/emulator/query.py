"""Check the query of a request: the application, the identifier and its UserSig."""

import base64
import functools
import hmac
import json
import re
import zlib
from collections.abc import Callable, Iterable
from typing import Any, Final

from chatmark.emulator.settings import Settings
from chatmark.emulator.wire import OWN_RULE, Refusal

_NAMES: Final = frozenset({"sdkappid", "identifier", "usersig", "random", "contenttype"})
_DECIMAL: Final = re.compile(r"0|[1-9][0-9]{0,9}")
_MAX_RANDOM: Final = 2**32 - 1
_MAX_TICKET_BYTES: Final = 8192
_KEPT_TICKETS: Final = 64
_MAX_NOTES: Final = 5
_FROM_URL: Final = str.maketrans("*-_", "+/=")
_SIGNED: Final = ("TLS.identifier", "TLS.sdkappid", "TLS.time", "TLS.expire", "TLS.userbuf")
# The types of these fields; userbuf may be absent.
_TYPES: Final = ([str, int, int, int, str], [str, int, int, int, type(None)])


class QueryCheck:
    """
    Checks the queries of requests.

    The scheme is that of https://www.tencentcloud.com/document/product/1047/34385, the query
    that of https://www.tencentcloud.com/document/product/1047/34620.
    """

    def __init__(self, settings: Settings) -> None:
        self._its = settings
        # A client uses a UserSig for thousands of calls, so the emulator unpacks it once.
        self.verify = functools.lru_cache(_KEPT_TICKETS)(self._verify)

    def admit(self, query: Iterable[tuple[str, str]], note: Callable[[str], object] = str) -> int:
        """Return the ``random`` of a valid query, and refuse others; *note* unknown parameters."""
        pairs = list(query)
        values = dict(pairs)
        if not values.get("sdkappid"):
            raise Refusal(60012)
        for name in sorted(_NAMES - values.keys()):
            raise Refusal(60025, f"{name}: missing")
        if self._its.strict and len(values) < len(pairs):
            raise Refusal(60025, "a query parameter is given twice" + OWN_RULE)
        if values["sdkappid"] != str(self._its.sdkappid):
            raise Refusal(60006)
        if not values["identifier"]:
            raise Refusal(60025, "identifier: empty")
        if values["contenttype"] != "json":
            raise Refusal(60025, "contenttype: must be json")
        random = values["random"]
        if not _DECIMAL.fullmatch(random) or int(random) > _MAX_RANDOM:
            raise Refusal(60025, f"random: must be an integer from 0 to {_MAX_RANDOM}")
        self._check_ticket(values["usersig"], values["identifier"])
        for name in sorted(values.keys() - _NAMES)[:_MAX_NOTES]:
            note(f"unknown query parameter {name[:40]!r}")
        return int(random)

    def _check_ticket(self, usersig: str, identifier: str) -> None:
        if not usersig:
            raise Refusal(70002)
        owner, sdkappid, expires = self.verify(usersig)
        if owner != identifier:
            raise Refusal(70013)
        if sdkappid != self._its.sdkappid:
            raise Refusal(70014)
        if self._its.clock() > expires:
            raise Refusal(70001)
        if identifier not in self._its.admins:
            raise Refusal(60010)

    def _verify(self, usersig: str) -> tuple[str, int, int]:
        """Return the identifier, the SDKAppID and the expiry of a genuine UserSig."""
        content = _unpack(usersig)
        values: list[Any] = [content.get(name) for name in _SIGNED]
        if content.get("TLS.ver") != "2.0" or [type(value) for value in values] not in _TYPES:
            raise Refusal(70003)
        fields = zip(_SIGNED, values, strict=True)
        text = "".join([f"{name}:{value}\n" for name, value in fields if value is not None])
        try:
            signed = text.encode()
        except UnicodeEncodeError:
            raise Refusal(70003) from None
        expected = base64.b64encode(hmac.digest(self._its.secret_key.encode(), signed, "sha256"))
        given = content.get("TLS.sig")
        if type(given) is not str or not hmac.compare_digest(
            expected, given.encode(errors="replace")
        ):
            raise Refusal(70009)
        identifier, sdkappid, made, lasts, _ = values
        return identifier, sdkappid, made + lasts


def _unpack(usersig: str) -> dict[str, Any]:
    if any(character in usersig for character in "+/="):
        raise Refusal(70003)
    try:
        packed = base64.b64decode(usersig.translate(_FROM_URL), validate=True)
        unpacker = zlib.decompressobj()
        plain = unpacker.decompress(packed, _MAX_TICKET_BYTES)
        content: Any = json.loads(plain.decode())
    except (ValueError, RecursionError, zlib.error):
        raise Refusal(70003) from None
    if not unpacker.eof or type(content) is not dict:
        raise Refusal(70003)
    return content
