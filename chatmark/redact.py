"""Hiding secrets: in URLs, in texts of the server, in the frames of errors."""

import functools
import html
import re
import urllib.parse
from collections.abc import Callable, Iterable
from typing import Final, ParamSpec, TypeVar

from chatmark.errors import ChatmarkError
from chatmark.lazy import publish

P = ParamSpec("P")
R = TypeVar("R")

_SECRET: Final = frozenset({"usersig"})
# A piece of a secret that is longer than this gives it away.
_MOST_SHOWN: Final = 16
_LEAST: Final = 8
# A text may be quoted by several programs on its way: so many layers are taken off.
_LAYERS: Final = 3
_ESCAPED: Final = re.compile(r"\\+u([0-9a-fA-F]{4})")


def without_frames(function: Callable[P, R]) -> Callable[P, R]:
    """
    Remove the frames of a function that takes secrets from the errors that it raises.

    Tools that report errors show the local variables of each frame of a traceback.
    """

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except ChatmarkError as error:
            bare = error.with_traceback(None)
        del args, kwargs
        try:
            raise bare
        finally:
            del bare

    return call


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
    return head + mark + "&".join(map(_redact_pair, query.split("&"))) + hash_mark + fragment


def _redact_pair(pair: str) -> str:
    name, mark, _ = pair.partition("=")
    if mark and urllib.parse.unquote_plus(name).strip().lower() in _SECRET:
        return f"{name}=***"
    return pair


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
