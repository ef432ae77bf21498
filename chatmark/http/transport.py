"""
One HTTP exchange. This is the only module that imports aiohttp's client.

A UserSig travels in the query, so every URL is a secret: nothing of aiohttp that shows one gets out
of here.
"""

import asyncio
import functools
import math
import re
import select
import ssl
import urllib.parse
import urllib.request
from collections.abc import Mapping
from typing import Any, Final, Protocol, runtime_checkable

import aiohttp
import yarl
from aiohttp.client_proto import ResponseHandler

from chatmark.errors import ChatmarkError, InputError
from chatmark.events import logger
from chatmark.failures import AttemptTimeoutError, TransportError
from chatmark.lazy import publish
from chatmark.wire.messages import HttpAnswer, NoAnswer, Reply

# An answer to a full request has some 30 kB, a page of a thousand conversations half a megabyte; no
# answer of the API has more than 1 MB (10018 on https://trtc.io/document/34348).
_MOST_BYTES: Final = 2 * 1024 * 1024
# Texts of queries whose quoted form is kept: few but signatures that are gone.
_MOST_QUOTED: Final = 16
# A proxy answers so as long as it is asked in this way.
_REFUSALS: Final = (401, 403, 407)
_HEAD_END: Final = b"\r\n\r\n"
_LAST_CHUNK: Final = b"0\r\n\r\n"
_LENGTH: Final = re.compile(rb"\r\nContent-Length:[ \t]*(\d{1,18})[ \t]*\r\n", re.IGNORECASE)
_HEADERS: Final = {"Content-Type": "application/json", "User-Agent": "chatmark"}


@runtime_checkable
class Transport(Protocol):
    """Carries a request to the server; tests and other HTTP libraries can stand in."""

    async def post(self, path: str, query: Mapping[str, str], body: bytes) -> Reply:
        """Return the answer, or why there is none; raise nothing."""
        ...

    async def aclose(self) -> None:
        """Release the connections that are the transport's own."""


class AiohttpTransport:
    """
    Carries requests by aiohttp.

    Args:
        timeout: Seconds for one attempt, from the connection to the last byte. The server itself
            gives up after 3 s and asks for more than that
            (https://www.tencentcloud.com/document/product/1047/34620).
        http: A session to borrow; it is left open. None makes one in the running loop, and closes
            it.
        ssl_context: The certificates to trust, None for the system's.
        trust_env: Use the proxies that the environment names.
    """

    def __init__(
        self,
        base_url: str,
        *,
        timeout: float,
        connections: int,
        http: aiohttp.ClientSession | None = None,
        ssl_context: ssl.SSLContext | None = None,
        proxy: str | None = None,
        trust_env: bool = False,
    ) -> None:
        self._base = yarl.URL(base_url)
        _check_proxy(proxy, trust_env, self._base, http)
        self._proxy = proxy
        self._trust_env = trust_env
        self._host = self._base.host_port_subcomponent or ""
        # A signature is long, and the same for a day: it is quoted once.
        quote = functools.partial(urllib.parse.quote, safe="")
        self._quote = functools.lru_cache(_MOST_QUOTED)(quote)
        self._timeout = timeout
        # These override a borrowed session's timeouts, and are not rounded up to whole seconds.
        self._limits = aiohttp.ClientTimeout(total=timeout, ceil_threshold=math.inf)
        self._connections = connections
        self._http = http
        if http is not None:
            if not isinstance(http, aiohttp.ClientSession) or http.closed:
                raise InputError("http", "must be an aiohttp.ClientSession that is open")
            _guard(http.connector)
        self._owned = http is None
        self._ssl: ssl.SSLContext | bool = True if ssl_context is None else ssl_context
        # Without a context for the request aiohttp takes that of the connector.
        trusted = getattr(getattr(http, "connector", None), "_ssl", True)
        if self._base.scheme == "https" and not _verifies(ssl_context or trusted):
            logger.warning(
                "the certificate of %s is not verified: others on the way can read the UserSig and "
                "change marks; give ssl_context a context that verifies",
                self._host,
            )

    async def post(self, path: str, query: Mapping[str, str], body: bytes) -> Reply:
        """Return the answer, or why there is none; raise nothing but cancellation."""
        try:
            return await self._exchange(path, query, body)
        except TimeoutError as error:
            message = f"no answer from {self._host} within {self._timeout:g} s"
            return NoAnswer(_because(AttemptTimeoutError(message), error), "timeout")
        except ssl.CertificateError as error:
            # A client that does not trust the far end sends nothing, and waiting does not help.
            message = f"no trusted connection to {self._host}: {_text(error)}"
            return _unsent(message, error, "tls", final=True)
        except aiohttp.ClientHttpProxyError as error:
            proxy = error.request_info.real_url.with_user(None).with_query(None)
            message = f"the proxy {proxy} refused the connection: {error.status} {error.message}"
            return _unsent(message, error, "proxy", final=error.status in _REFUSALS)
        except (aiohttp.ClientError, OSError) as error:
            if isinstance(error, aiohttp.ClientConnectorError):
                is_of_proxy = isinstance(error, aiohttp.ClientProxyConnectionError)
                far_end = f"the proxy {error.host}:{error.port}" if is_of_proxy else self._host
                message = f"cannot connect to {far_end}: {_text(error)}"
                lost = _unsent(message, error, "connection")
            else:
                # A POST that loses its connection is never repeated by aiohttp.
                message = f"lost the connection to {self._host}: {type(error).__name__}"
                cause = _because(TransportError(message), error)
                lost = NoAnswer(cause, "dropped", dropped=True)
            return lost
        except Exception as error:  # noqa: BLE001 - a lent session may raise anything, with our URL.
            # No fault of the network: a session that is closed, say, or of another event loop.
            message = f"the HTTP session cannot be used: {type(error).__name__}"
            return NoAnswer(TransportError(message, sent=False), "session", final=True, sent=False)

    async def aclose(self) -> None:
        if self._owned and self._http is not None:
            await self._http.close()
            self._http = None

    async def _exchange(self, path: str, query: Mapping[str, str], body: bytes) -> Reply:
        async with self._session().post(
            self._url(path, query),
            data=body,
            headers=None if self._owned else _HEADERS,
            allow_redirects=False,
            raise_for_status=False,
            ssl=self._ssl,
            timeout=self._limits,
        ) as response:
            content = await self._read(response)
            if content is None:
                response.close()
                message = f"the answer of {self._host} has more than {_MOST_BYTES} bytes"
                return NoAnswer(TransportError(message), "size")
            hints = response.headers.get("Retry-After"), response.headers.get("Date")
            return HttpAnswer(response.status, content, *hints)

    def _url(self, path: str, query: Mapping[str, str]) -> yarl.URL:
        parts = [
            f"{name}={text if text.isalnum() else self._quote(text)}"
            for name, text in query.items()
        ]
        return yarl.URL.build(
            scheme=self._base.scheme,
            authority=self._base.raw_authority,
            path=f"{self._base.raw_path.removesuffix('/')}/{path}",
            query_string="&".join(parts),
            encoded=True,
        )

    @staticmethod
    async def _read(response: aiohttp.ClientResponse) -> bytes | None:
        # The size in the headers is not believed: an answer may be compressed.
        chunks: list[bytes] = []
        size = 0
        while not response.content.at_eof():
            chunk = await response.content.readany()
            size += len(chunk)
            if size > _MOST_BYTES:
                return None
            chunks.append(chunk)
        return b"".join(chunks)

    def _session(self) -> aiohttp.ClientSession:
        if self._http is None:
            most = self._connections
            connector = aiohttp.TCPConnector(limit=most, limit_per_host=most)
            _guard(connector)
            self._http = aiohttp.ClientSession(
                connector=connector,
                cookie_jar=aiohttp.DummyCookieJar(),
                headers=_HEADERS,
                proxy=self._proxy,
                trust_env=self._trust_env,
            )
        return self._http


def _verifies(trusted: object) -> bool:
    """Whether a server with another server's certificate is refused."""
    if isinstance(trusted, ssl.SSLContext):
        return trusted.verify_mode is ssl.CERT_REQUIRED and trusted.check_hostname
    return trusted is not False


def _inner(error: BaseException) -> BaseException:
    """Return the error of the system that an error of aiohttp is about, else the error itself."""
    return getattr(error, "os_error", None) or getattr(error, "certificate_error", None) or error


def _text(error: BaseException) -> str:
    """Return what an error of the connection says; those name host and port, never a URL."""
    inner = _inner(error)
    return str(inner) if isinstance(inner, OSError) else type(error).__name__


def _unsent(message: str, cause: BaseException, reason: str, *, final: bool = False) -> NoAnswer:
    error = _because(TransportError(message, sent=False), cause)
    return NoAnswer(error, reason, final=final, sent=False)


def _because(error: ChatmarkError, cause: BaseException) -> ChatmarkError:
    """
    Give an error its cause, without the frames that hold the URL.

    aiohttp's errors show the URL of the request with its query, or of the proxy with its password:
    only their name is kept, or the error of the system.
    """
    inner = _inner(cause)
    if isinstance(inner, aiohttp.ClientError) or not isinstance(inner, OSError):
        inner = ConnectionError(type(cause).__name__)
    error.__cause__ = _bare(inner)
    return error


def _bare(error: BaseException) -> BaseException:
    error.__traceback__ = None
    error.__context__ = None
    error.__suppress_context__ = True
    if error.__cause__ is not None:
        _bare(error.__cause__)
    return error


def _check_proxy(proxy: str | None, trust_env: bool, base: yarl.URL, http: Any) -> None:
    """
    Refuse a proxy that cannot be used, or that would see the UserSig.

    Through a proxy, https is a tunnel, and http is read by the proxy with the query that holds the
    UserSig.

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
        reason = "must be https with a proxy, which would read the UserSig of an http URL"
        raise InputError("base_url", reason)


def _of_environment(base: yarl.URL) -> bool:
    host = base.host or ""
    return "http" in urllib.request.getproxies() and not urllib.request.proxy_bypass(host)


class GuardedConnection(ResponseHandler):
    """
    A pooled connection that hands out nothing but the answer to its own request.

    aiohttp keeps what arrives on an idle connection and takes it for the answer to the next
    request: a copy of an earlier answer, sent late or twice, would confirm a change that the server
    never saw. So a connection is closed when bytes arrive while it is idle, when bytes stood behind
    its last answer, and when there is something to read before a request is written.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self._is_used = False
        self._input: select.poll | None = None
        self._head: bytes | None = b""
        self._received = 0
        # Bytes of the whole answer, 0 where its headers do not say.
        self._expected = 0
        self._end = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep what tells whether there is something to read."""
        super().connection_made(transport)
        sock = transport.get_extra_info("socket")
        if sock is not None and hasattr(select, "poll"):
            self._input = select.poll()
            self._input.register(sock, select.POLLIN)

    def set_response_params(self, **params: Any) -> None:
        """Begin a request; aiohttp calls this before it writes the first byte."""
        if self._is_used and self._input is not None and self._input.poll(0):
            # aiohttp writes nothing to a connection that closes, and reports it as lost.
            self._close_now()
        self._is_used = True
        # That of the answer before.
        self._payload = None
        self._head, self._received, self._expected, self._end = b"", 0, 0, b""
        super().set_response_params(**params)

    def data_received(self, data: bytes) -> None:
        """Take bytes of an answer; a byte beyond it ends the connection."""
        if data:
            if self._is_answered:
                self._close_now()
                return
            self._count(data)
            if 0 < self._expected < self._received:
                data = data[: self._expected - self._received]
        super().data_received(data)
        is_exact = self._received == self._expected if self._expected else self._end == _LAST_CHUNK
        if self._is_answered and not is_exact:
            self._close_now()

    @property
    def _is_answered(self) -> bool:
        return self._payload is not None and self._payload.is_eof()

    def _count(self, data: bytes) -> None:
        self._received += len(data)
        self._end = (self._end + data)[-len(_LAST_CHUNK) :]
        if self._head is None:
            return
        self._head += data
        end = self._head.find(_HEAD_END)
        if end >= 0:
            length = _LENGTH.search(self._head, 0, end + 2)
            if length is not None:
                self._expected = end + len(_HEAD_END) + int(length[1])
            self._head = None

    def _close_now(self) -> None:
        self.force_close()
        if self.transport is not None:
            self.transport.close()


def _guard(connector: aiohttp.BaseConnector | None) -> None:
    """
    Let a connector make guarded connections from now on.

    aiohttp has no public way to choose the protocol of its connections; a connector without the
    attribute keeps its own.
    """
    make = getattr(connector, "_factory", None)
    if isinstance(make, functools.partial) and make.func is ResponseHandler:
        connector._factory = functools.partial(  # type: ignore[union-attr]  # noqa: SLF001
            GuardedConnection, *make.args, **make.keywords
        )


publish(__name__)
