"""
Hiding the signature in a URL, for those who log or trace HTTP requests themselves.
"""

import urllib.parse
from typing import Final

_SECRET: Final = frozenset({"usersig"})


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
