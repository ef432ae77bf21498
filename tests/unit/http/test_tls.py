"""Whom a session trusts: nobody but the host it was told, by certificates that hold."""

import datetime as dt
import ssl
from typing import Any

import aiohttp
import pytest
import trustme
from rig import Rig

from chatmark import (
    Conversation,
    ConversationMark,
    InputError,
    MarkSession,
    TransportError,
)
from chatmark.emulator import Emulator

BOB = Conversation.one_to_one("bob")
NOW = dt.datetime.now(dt.UTC)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """Make a throw-away certificate authority."""
    return trustme.CA()


def server_side(authority: trustme.CA, name: str, *, expired: bool = False) -> ssl.SSLContext:
    """Return what a server needs that has a certificate for *name*."""
    until = NOW + dt.timedelta(days=-1 if expired else 1)
    certificate = authority.issue_cert(name, not_before=NOW - dt.timedelta(days=2), not_after=until)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    return context


def client_side(authority: trustme.CA) -> ssl.SSLContext:
    """Return what a client needs that trusts the authority."""
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


class TestTls:
    async def test_a_trusted_host_is_served(self, authority: trustme.CA) -> None:
        """With a certificate that holds, marks go over https."""
        async with Emulator(ssl_context=server_side(authority, "127.0.0.1")) as emulator:
            session = MarkSession(
                Rig(emulator).credentials,
                base_url=emulator.url,
                ssl_context=client_side(authority),
            )
            async with session:
                result = await session.mark("alice", BOB, set_mark=ConversationMark.FAVORITE)

        assert emulator.url.startswith("https://")
        assert result.ok

    @pytest.mark.parametrize(
        ("name", "expired", "trusted", "told"),
        [
            ("127.0.0.1", False, False, "certificate verify failed"),
            ("127.0.0.1", True, True, "expired"),
            ("chat.example", False, True, "not valid for '127.0.0.1'"),
        ],
        ids=["a stranger's", "expired", "another host's"],
    )
    async def test_a_certificate_is_refused(
        self, authority: trustme.CA, name: str, expired: bool, trusted: bool, told: str
    ) -> None:
        """A certificate that does not hold ends the one attempt before anything is sent."""
        context = server_side(authority, name, expired=expired)
        trust = client_side(authority) if trusted else None
        async with Emulator(ssl_context=context) as emulator:
            credentials = Rig(emulator).credentials
            session = MarkSession(credentials, base_url=emulator.url, ssl_context=trust)
            async with session:
                with pytest.raises(TransportError, match=told):
                    await session.mark("alice", BOB, set_mark=ConversationMark.FAVORITE)

            assert (1, []) == (session.stats.calls, emulator.calls)

    @pytest.mark.parametrize(
        "url",
        [
            "http://chat.example",
            "http://10.0.0.1",
            "http://127.0.0.1.example",
            "http://localhost.example",
            "http://[2001:db8::1]",
            "http://0.0.0.0",
        ],
    )
    def test_plain_http_is_for_loopback_only(self, url: str) -> None:
        """A session over plain http to another machine cannot be made."""
        with pytest.raises(InputError, match="plain http is for loopback only"):
            MarkSession(Rig(None).credentials, base_url=url)  # type: ignore[arg-type]

    @pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "localhost", "[::1]"])
    def test_plain_http_to_loopback_is_allowed(self, host: str) -> None:
        """The emulator on this machine needs no certificate."""
        MarkSession(Rig(None).credentials, base_url=f"http://{host}:1")  # type: ignore[arg-type]


class TestNotVerified:
    """A session that does not look at certificates says so."""

    def test_a_switch_is_no_context(self) -> None:
        """Verification cannot be switched off in passing."""
        with pytest.raises(InputError, match="ssl_context"):
            MarkSession(
                Rig(None).credentials,  # type: ignore[arg-type]
                base_url="https://127.0.0.1:1",
                ssl_context=False,  # type: ignore[arg-type]
            )

    @pytest.mark.parametrize("lent", [False, True])
    async def test_is_said(self, lent: bool, caplog: pytest.LogCaptureFixture) -> None:
        """
        A context that verifies nothing is one WARNING, and so is a lent session with such a one.
        """
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=False)) as http:
            options: dict[str, Any] = {"http": http} if lent else {"ssl_context": context}
            MarkSession(
                Rig(None).credentials,  # type: ignore[arg-type]
                base_url="https://127.0.0.1:1",
                **options,
            )
        (record,) = caplog.records

        assert "WARNING" == record.levelname
        assert "not verified" in record.message
