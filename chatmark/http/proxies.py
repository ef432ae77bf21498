"""HTTP proxies on the way: which there are, and what may pass through them."""

import urllib.request
from typing import Any

import aiohttp
import yarl

from chatmark.errors import InputError


def check_proxy(proxy: str | None, trust_env: bool, base: yarl.URL, http: Any) -> None:
    """
    Refuse a proxy that cannot be used, or that would see the UserSig.

    Through a proxy, https is a tunnel, and http is read by the proxy with the query that holds the
    UserSig.

    Args:
        proxy: The URL of the proxy, None for none.
        trust_env: Whether the proxies of the environment are used.
        base: The base URL.
        http: A session of a caller's own, which may have a proxy.

    Raises:
        InputError: The URL is wrong, or the requests would pass a proxy in clear.
    """
    if proxy is not None:
        if http is not None:
            raise InputError("proxy", "cannot be combined with http; give it to the ClientSession")
        try:
            url = yarl.URL(proxy)
        except (TypeError, ValueError):
            url = yarl.URL()
        # The value may hold a password.
        if url.scheme not in ("http", "https") or not url.host:
            raise InputError("proxy", "must be a URL, for example http://proxy.example.com:3128")
    lent = getattr(http, "_default_proxy", None)
    trusts = trust_env or getattr(http, "trust_env", False)
    if base.scheme == "http" and (proxy or lent or (trusts and _of_environment(base))):
        raise InputError(
            "base_url", "must be https with a proxy, which would read the UserSig of an http URL"
        )


def _of_environment(base: yarl.URL) -> bool:
    host = base.host or ""
    return "http" in urllib.request.getproxies() and not urllib.request.proxy_bypass(host)


def refusal(error: aiohttp.ClientHttpProxyError) -> str:
    """Return what a proxy said that refuses the tunnel; its password is not named."""
    proxy = error.request_info.real_url.with_user(None).with_query(None)
    return f"the proxy {proxy} refused the connection: {error.status} {error.message}"
