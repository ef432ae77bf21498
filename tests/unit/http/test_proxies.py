"""Marks through an HTTP proxy: a tunnel, and nothing that the proxy could read."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import attrs
import pytest
import trustme
from rig import Rig

from chatmark import ChatmarkError, Conversation, ConversationMark, InputError, MarkSession
from chatmark.emulator import Emulator

BOB = Conversation.one_to_one("bob")


@attrs.define
class Proxy:
    """A proxy that lets all through, or answers with a status."""

    status: str = "200 Connection established"
    seen: list[bytes] = attrs.field(factory=list)
    port: int = 0

    @property
    def url(self) -> str:
        """Its URL, with a password."""
        return f"http://user:example-password@127.0.0.1:{self.port}"

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["Proxy"]:
        """Serve."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        async with server:
            yield self

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.seen.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(f"HTTP/1.1 {self.status}\r\n\r\n".encode())
        if self.status.startswith("200"):
            host, port = self.seen[-1].split()[1].decode().split(":")
            far_reader, far_writer = await asyncio.open_connection(host, int(port))
            await asyncio.gather(_pipe(reader, far_writer), _pipe(far_reader, writer))
        writer.close()


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(1 << 16):
            writer.write(data)
    writer.close()


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """Make a throw-away certificate authority."""
    return trustme.CA()


async def mark(authority: trustme.CA, **options: Any) -> None:
    """Set a mark of an emulator with TLS."""
    server, client = map(ssl.SSLContext, (ssl.PROTOCOL_TLS_SERVER, ssl.PROTOCOL_TLS_CLIENT))
    authority.issue_cert("127.0.0.1").configure_cert(server)
    authority.configure_trust(client)
    async with Emulator(ssl_context=server) as emulator:
        session = MarkSession(
            Rig(emulator).credentials,
            base_url=emulator.url,
            ssl_context=client,
            deadline=0.0,
            **options,
        )
        async with session:
            await session.mark("alice", BOB, set_mark=ConversationMark.FAVORITE)


class TestTunnel:
    """A proxy that lets the session through."""

    async def test_option(self, authority: trustme.CA) -> None:
        """A proxy that is named is used; it sees neither path nor signature."""
        async with Proxy().running() as proxy:
            await mark(authority, proxy=proxy.url)

        (head,) = proxy.seen
        assert head.startswith(b"CONNECT 127.0.0.1:")
        assert b"Proxy-Authorization: Basic " in head
        assert b"usersig" not in head

    @pytest.mark.parametrize("asked", [True, False])
    async def test_environment(
        self, authority: trustme.CA, monkeypatch: pytest.MonkeyPatch, *, asked: bool
    ) -> None:
        """The proxies of the environment are used when that is asked for, and else not."""
        async with Proxy().running() as proxy:
            monkeypatch.setenv("https_proxy", proxy.url)
            monkeypatch.setenv("no_proxy", "")
            await mark(authority, trust_env=asked)

        assert asked == bool(proxy.seen)

    async def test_lent(self, authority: trustme.CA) -> None:
        """A session of a caller's own may have a proxy."""
        async with Proxy().running() as proxy, aiohttp.ClientSession(proxy=proxy.url) as http:
            await mark(authority, http=http)

        assert proxy.seen


class TestRefusal:
    """A proxy that is of no help."""

    @pytest.mark.parametrize("status", ["407 Authentication required", "502 Bad gateway"])
    async def test_status(self, authority: trustme.CA, status: str) -> None:
        """The error has the status and names the proxy without its password."""
        async with Proxy(status).running() as proxy:
            with pytest.raises(ChatmarkError) as caught:
                await mark(authority, proxy=proxy.url)

        text = f"{caught.value} {caught.value.__cause__}"
        assert f"127.0.0.1:{proxy.port}" in text
        assert f"refused the connection: {status}" in text
        assert "example-password" not in text

    async def test_absent(self, authority: trustme.CA) -> None:
        """The error says that it is the proxy which cannot be reached."""
        with pytest.raises(ChatmarkError) as caught:
            await mark(authority, proxy="http://user:example-password@127.0.0.1:1")

        assert "cannot connect to the proxy 127.0.0.1:1: " in str(caught.value.__cause__)


class TestArguments:
    """What is refused."""

    @pytest.mark.parametrize("proxy", ["proxy:3128", "ftp://proxy", "", "http://", 5, "socks5://p"])
    async def test_no_url(self, proxy: Any) -> None:
        """A proxy is an HTTP URL."""
        with pytest.raises(InputError, match="proxy: must be a URL"):
            MarkSession(Rig(Emulator()).credentials, base_url="https://chat.example", proxy=proxy)

    async def test_in_clear(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A UserSig never passes a proxy in clear."""
        monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
        monkeypatch.setenv("no_proxy", "")
        async with aiohttp.ClientSession(proxy="http://127.0.0.1:1") as http:
            several: list[dict[str, Any]] = [
                {"http": http},
                {"trust_env": True},
                {"proxy": "http://127.0.0.1:1"},
            ]
            for options in several:
                with pytest.raises(InputError, match="must be https with a proxy"):
                    MarkSession(
                        Rig(Emulator()).credentials, base_url="http://127.0.0.1:2", **options
                    )
