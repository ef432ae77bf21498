import asyncio
import contextlib
import errno
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
import pytest
from TLSSigAPIv2 import TLSSigAPIv2

from chatmark.emulator import (
    CloseAfterAnswer,
    CutBody,
    Delay,
    Drip,
    DropLines,
    DuplicateLines,
    Empty,
    Emulator,
    Envelope,
    ExtraLines,
    Fault,
    Garbled,
    Giant,
    Hang,
    Html,
    Later,
    NamelessLines,
    Redirect,
    Refuse,
    ResetAfter,
    ResetBefore,
    Shuffle,
    Status,
)

APPLIED = {("alice", 1, "u0"): (1, ""), ("alice", 1, "u1"): (1, "")}
BODY = {
    "From_Account": "alice",
    "MarkItem": [
        {"OptType": 1, "ContactItem": {"Type": 1, "To_Account": id_}, "SetMark": [0]}
        for id_ in ("u0", "u1")
    ],
}


class Client:
    """A client of the emulator that shares nothing with chatmark."""

    def __init__(self, emulator: Emulator, http: aiohttp.ClientSession) -> None:
        self.emulator = emulator
        self.http = http
        self.random = 0

    def post(self) -> "aiohttp.client._RequestContextManager":
        """Send one request."""
        self.random += 1
        settings = self.emulator.settings
        signer = TLSSigAPIv2(settings.sdkappid, settings.secret_key)
        query = {
            "sdkappid": str(settings.sdkappid),
            "identifier": "administrator",
            "usersig": signer.gen_sig("administrator", 86400),
            "random": str(self.random),
            "contenttype": "json",
        }
        url = f"{self.emulator.url}/v4/recentcontact/mark_contact"
        return self.http.post(url, params=query, json=BODY, allow_redirects=False)

    async def exchange(self, *faults: Fault) -> tuple[aiohttp.ClientResponse, bytes]:
        """Send one request that meets the fault."""
        for fault in faults:
            self.emulator.script.next(fault)
        async with self.post() as response:
            return response, await response.read()

    async def answer(self, *faults: Fault) -> Any:
        """Return the answer of one request that meets the fault."""
        return json.loads((await self.exchange(*faults))[1])

    async def ids(self, fault: Fault) -> list[str]:
        """Return the peers of the lines of one answer."""
        lines = (await self.answer(fault))["ResultItem"]
        return [line["ContactItem"].get("To_Account") for line in lines]


async def until(condition: Callable[[], object]) -> None:
    """Let the others run until *condition* holds."""
    async with asyncio.timeout(5):
        while True:
            if condition():
                return
            await asyncio.sleep(0)


@pytest.fixture
def slept() -> list[float]:
    """Hold the delays that the emulator would have waited for."""
    return []


@pytest.fixture
async def client(slept: list[float]) -> AsyncIterator[Client]:
    """Run an emulator and check that it is whole afterwards."""

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        await asyncio.sleep(0)

    async with Emulator(sleep=sleep) as emulator, aiohttp.ClientSession() as http:
        yield Client(emulator, http)
        # Whatever happened, the next request is answered.
        emulator.script.clear()
        async with aiohttp.ClientSession() as fresh:
            assert (await Client(emulator, fresh).answer())["ErrorCode"] == 0
        assert [v for v in emulator.violations if "random" not in v] == []


class TestStatus:
    """Answers of a gateway."""

    async def test_html(self, client: Client) -> None:
        """A gateway's error has its status and a page of HTML, and nothing is applied."""
        response, body = await client.exchange(Status(502, html=True))

        assert (response.status, response.content_type) == (502, "text/html")
        assert b"Bad Gateway" in body
        assert client.emulator.state.snapshot() == {}

    @pytest.mark.parametrize("retry_after", [0, -1, 2.5, "soon", "Thu, 01 Jan 2026 00:00:00 GMT"])
    async def test_retry_after(self, client: Client, retry_after: str | float) -> None:
        """Retry-After is sent as it is given."""
        response, _ = await client.exchange(Status(429, retry_after=retry_after))

        assert str(retry_after) == response.headers["Retry-After"]

    async def test_headers(self, client: Client) -> None:
        """Further headers are sent."""
        response, _ = await client.exchange(Status(503, headers={"X-Gateway": "g1"}))

        assert response.headers["X-Gateway"] == "g1"

    async def test_applied(self, client: Client) -> None:
        """A gateway can fail after the server has done its work."""
        await client.exchange(Status(504, applied=True))

        assert client.emulator.state.snapshot() == APPLIED

    async def test_redirect(self, client: Client) -> None:
        """A redirect has its status and location."""
        response, _ = await client.exchange(Redirect("http://127.0.0.1:1/"))

        assert (response.status, response.headers["Location"]) == (307, "http://127.0.0.1:1/")


class TestEnvelopes:
    """Answers with other fields."""

    async def test_refuse(self, client: Client) -> None:
        """A refusal has its code and applies nothing."""
        answer = await client.answer(Refuse(60008))

        assert (answer["ActionStatus"], answer["ErrorCode"]) == ("FAIL", 60008)
        assert client.emulator.state.snapshot() == {}

    async def test_refuse_is_recorded(self, client: Client) -> None:
        """The record of the call has the code and the fault."""
        await client.answer(Refuse(60008))
        (call,) = client.emulator.calls

        assert (60008, Refuse(60008)) == (call.code, call.fault)

    async def test_raw_fields(self, client: Client) -> None:
        """Raw fields are the whole answer."""
        fields = {"ActionStatus": "FAIL", "ErrorCode": 0, "ErrorInfo": "odd"}

        assert fields == await client.answer(Envelope(fields))
        assert client.emulator.state.snapshot() == {}

    async def test_raw_fields_over_answer(self, client: Client) -> None:
        """Raw fields can replace some of an answer that took effect."""
        answer = await client.answer(Envelope({"ErrorCode": "0"}, applied=True))

        assert answer["ErrorCode"] == "0"
        assert len(answer["ResultItem"]) == 2
        assert client.emulator.state.snapshot() == APPLIED


class TestConnection:
    """Broken and silent connections."""

    @pytest.mark.parametrize("rst", [True, False])
    async def test_reset_before(self, client: Client, *, rst: bool) -> None:
        """The connection is dropped and nothing was applied."""
        with pytest.raises(aiohttp.ClientConnectionError):
            await client.exchange(ResetBefore(rst=rst))

        assert client.emulator.state.snapshot() == {}

    @pytest.mark.parametrize("rst", [True, False])
    async def test_reset_after(self, client: Client, *, rst: bool) -> None:
        """The connection is dropped and everything was applied."""
        with pytest.raises(aiohttp.ClientConnectionError):
            await client.exchange(ResetAfter(rst=rst))

        assert client.emulator.state.snapshot() == APPLIED

    async def test_rst_is_a_reset(self, client: Client) -> None:
        """The client's system sees a reset, not an end."""
        with pytest.raises(aiohttp.ClientOSError) as caught:
            await client.exchange(ResetBefore())

        assert caught.value.errno == errno.ECONNRESET

    @pytest.mark.parametrize("at", [0.0, 0.5, 1.0])
    async def test_cut_body(self, client: Client, at: float) -> None:
        """The body ends before its announced length, though everything was applied."""
        with pytest.raises(aiohttp.ClientPayloadError):
            await client.exchange(CutBody(at))

        assert client.emulator.state.snapshot() == APPLIED

    async def test_close_after_answer(self, client: Client) -> None:
        """The answer is whole, and the connection is gone afterwards."""
        response, body = await client.exchange(CloseAfterAnswer())

        assert "Connection" not in response.headers
        assert json.loads(body)["ErrorCode"] == 0

    async def test_hang(self, client: Client) -> None:
        """No answer ever comes, and the call ends when the client goes."""
        request = asyncio.create_task(client.exchange(Hang()))
        await until(lambda: client.emulator.calls and client.emulator.calls[0].fault)
        request.cancel()
        await until(lambda: client.emulator.calls[0].finished is not None)

        assert client.emulator.calls[0].code is None
        assert client.emulator.state.snapshot() == {}

    async def test_hang_applied(self, client: Client) -> None:
        """A request can take effect though no answer ever comes."""
        request = asyncio.create_task(client.exchange(Hang(applied=True)))
        await until(client.emulator.state.snapshot)
        request.cancel()

        assert client.emulator.state.snapshot() == APPLIED


class TestBodies:
    """Bodies that are no answers, too long or too slow."""

    @pytest.mark.parametrize(
        ("fault", "body"),
        [(Garbled(b"{oops"), b"{oops"), (Empty(), b""), (Garbled(b"\xff\x00"), b"\xff\x00")],
    )
    async def test_garbled(self, client: Client, fault: Fault, body: bytes) -> None:
        """A garbled body comes with status 200, and nothing was applied."""
        response, received = await client.exchange(fault)

        assert (200, body) == (response.status, received)
        assert client.emulator.state.snapshot() == {}

    @pytest.mark.parametrize("kind", [Garbled, Html, Empty])
    async def test_applied(
        self, client: Client, kind: type[Garbled] | type[Html] | type[Empty]
    ) -> None:
        """The answer can be garbled on its way after everything was applied."""
        await client.exchange(kind(applied=True))

        assert client.emulator.state.snapshot() == APPLIED

    async def test_html(self, client: Client) -> None:
        """A page of HTML can come with status 200."""
        response, _ = await client.exchange(Html())

        assert (response.status, response.content_type) == (200, "text/html")

    async def test_giant(self, client: Client) -> None:
        """A giant body is streamed without its length."""
        response, body = await client.exchange(Giant(1_000_001))

        assert response.content_length is None
        assert len(body) == 1_000_001

    async def test_giant_unread(self, client: Client) -> None:
        """A client that stops reading a giant body does not disturb the server."""
        client.emulator.script.next(Giant(50_000_000))
        async with client.post() as response:
            response.close()
        await until(lambda: client.emulator.calls[0].finished is not None)

        assert client.emulator.state.snapshot() == {}

    async def test_drip(self, client: Client, slept: list[float]) -> None:
        """The answer comes byte by byte, with a pause behind each."""
        _, body = await client.exchange(Drip(0.01))

        assert json.loads(body)["ErrorCode"] == 0
        assert [0.01] * len(body) == slept


class TestLines:
    """Lines that are missing, doubled, strange or out of order."""

    async def test_shuffle(self, client: Client) -> None:
        """Lines come in another order."""
        assert await client.ids(Shuffle()) == ["u1", "u0"]

    async def test_shuffle_switch(self, client: Client) -> None:
        """All answers can be shuffled."""
        client.emulator.script.shuffle_lines = True

        assert await client.ids(Fault()) == ["u1", "u0"]

    async def test_drop(self, client: Client) -> None:
        """A line is missing, though its item was applied."""
        assert await client.ids(DropLines(1)) == ["u1"]
        assert client.emulator.state.snapshot() == APPLIED

    async def test_drop_unapplied(self, client: Client) -> None:
        """A line is missing, and its item was not applied."""
        assert await client.ids(DropLines(conversations=[(1, "u1")], applied=False)) == ["u0"]
        assert client.emulator.state.snapshot() == {("alice", 1, "u0"): (1, "")}

    async def test_extra(self, client: Client) -> None:
        """A line is too many."""
        assert await client.ids(ExtraLines()) == ["u0", "u1", "stranger_0"]

    async def test_duplicate(self, client: Client) -> None:
        """A line comes twice."""
        assert await client.ids(DuplicateLines()) == ["u0", "u1", "u0"]

    async def test_nameless(self, client: Client) -> None:
        """A line does not say whom it is about."""
        assert await client.ids(NamelessLines()) == [None, "u1"]


class TestDelay:
    """Answers and effects that come later."""

    async def test_usual_answer(self, client: Client, slept: list[float]) -> None:
        """The usual answer comes later."""
        answer = await client.answer(Delay(2.5))

        assert answer["ErrorCode"] == 0
        assert slept == [2.5]

    async def test_then_a_fault(self, client: Client, slept: list[float]) -> None:
        """Another fault comes later; delays add up."""
        answer = await client.answer(Delay(2.5, Delay(1.0, Refuse(60008))))

        assert answer["ErrorCode"] == 60008
        assert client.emulator.state.snapshot() == {}
        assert slept == [3.5]

    async def test_takes_effect_at_once(self) -> None:
        """By default a request takes effect before its delay."""
        asleep = asyncio.Event()

        async def sleep(_: float) -> None:
            asleep.set()
            await asyncio.get_running_loop().create_future()

        async with Emulator(sleep=sleep) as emulator, aiohttp.ClientSession() as http:
            request = asyncio.create_task(Client(emulator, http).exchange(Delay(5)))
            await asleep.wait()
            request.cancel()

            assert emulator.state.snapshot() == APPLIED

    async def test_later_than_the_answer(self) -> None:
        """What the client gets says nothing of an effect that comes later."""
        awake = asyncio.Event()

        async def sleep(_: float) -> None:
            await awake.wait()

        async with Emulator(sleep=sleep) as emulator, aiohttp.ClientSession() as http:
            response, _ = await Client(emulator, http).exchange(Later(1.5, Status(502)))
            before = emulator.state.snapshot()
            awake.set()
            await until(emulator.state.snapshot)

            assert (502, {}) == (response.status, before)
            assert emulator.state.snapshot() == APPLIED

    async def test_late_effect_outlives_the_client(self) -> None:
        """A late request takes effect though its client has gone."""
        asleep, awake = asyncio.Event(), asyncio.Event()

        async def sleep(_: float) -> None:
            asleep.set()
            await awake.wait()

        async with Emulator(sleep=sleep) as emulator, aiohttp.ClientSession() as http:
            client = Client(emulator, http)
            request = asyncio.create_task(client.exchange(Delay(5, late=True)))
            await asleep.wait()
            before = emulator.state.snapshot()
            request.cancel()
            await until(lambda: emulator.calls[0].finished is not None)
            awake.set()
            await until(emulator.state.snapshot)

            assert before == {}
            assert emulator.state.snapshot() == APPLIED


class TestRetry:
    """What follows a fault."""

    @pytest.mark.parametrize(
        "fault", [ResetBefore(), ResetAfter(rst=False), CutBody(), Status(502)]
    )
    async def test_next_request_is_no_violation(self, client: Client, fault: Fault) -> None:
        """A client may be back at once after a dropped request."""
        with contextlib.suppress(aiohttp.ClientError):
            await client.exchange(fault)
        await client.exchange()

        assert client.emulator.violations == []
