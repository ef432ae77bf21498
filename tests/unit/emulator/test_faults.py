"""The effect of each fault on a client, and on its request."""

import asyncio
import contextlib
import errno
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import emulator_client
import pytest
from emulator_client import PATH, item, until

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
PEERS = [{"Type": 1, "To_Account": id_} for id_ in ("u0", "u1")]
BODY = {"From_Account": "alice", "MarkItem": [item(ContactItem=peer) for peer in PEERS]}


class Client(emulator_client.Client):
    """A client with one valid request, which faults change."""

    def post_marks(self, fault: Fault | None = None) -> "aiohttp.client._RequestContextManager":
        """Send the request, which meets the fault."""
        self.emulator.script.next(fault)
        return self.post(f"{PATH}mark_contact", json.dumps(BODY).encode())

    async def exchange(self, fault: Fault | None = None) -> tuple[aiohttp.ClientResponse, bytes]:
        """Send the request, and read the answer."""
        async with self.post_marks(fault) as response:
            return response, await response.read()

    async def answer(self, fault: Fault | None = None) -> Any:
        """Send the request, and return the answer."""
        return json.loads((await self.exchange(fault))[1])


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


class TestReplies:
    @pytest.mark.parametrize(
        ("fault", "status", "kind", "part"),
        [
            (Status(502, html=True), 502, "text/html", b"Bad Gateway"),
            (Status(504, applied=True), 504, "text/html", b""),
            (Redirect("http://127.0.0.1:1/"), 307, "application/json", b""),
            (Garbled(b"{oops"), 200, "application/json", b"{oops"),
            (Garbled(b"\xff\x00", content_type="text/x"), 200, "text/x", b"\xff\x00"),
            (Garbled(applied=True), 200, "application/json", b"{"),
            (Html(), 200, "text/html", b"Bad Gateway"),
            (Html(applied=True), 200, "text/html", b"Bad Gateway"),
            (Empty(), 200, "application/json", b""),
            (Empty(applied=True), 200, "application/json", b""),
            (Refuse(60008), 200, "application/json", b'"FAIL","ErrorCode":60008'),
            (Refuse(99999), 200, "application/json", b'"ErrorInfo":"refused with 99999"'),
            (CloseAfterAnswer(), 200, "application/json", b'"ErrorCode":0'),
        ],
        ids=repr,
    )
    async def test_replies(
        self, client: Client, fault: Fault, status: int, kind: str, part: bytes
    ) -> None:
        """A reply has its status, type and body; the fault says whether marks are set."""
        response, body = await client.exchange(fault)

        assert (response.status, response.content_type) == (status, kind)
        assert part in body
        assert body or not part
        assert client.emulator.state.snapshot() == (APPLIED if fault.applied else {})
        assert client.emulator.calls[0].fault == fault
        assert client.emulator.calls[0].code == (
            json.loads(body)["ErrorCode"] if b"ErrorCode" in body else None
        )

    @pytest.mark.parametrize("retry_after", [0, -1, 2.5, "soon", "Thu, 01 Jan 2026 00:00:00 GMT"])
    async def test_headers(self, client: Client, retry_after: str | float) -> None:
        """Retry-After is sent as it is given, and so are further headers."""
        fault = Status(429, retry_after=retry_after, headers={"X-Gateway": "g1"})
        response, _ = await client.exchange(fault)

        assert str(retry_after) == response.headers["Retry-After"]
        assert response.headers["X-Gateway"] == "g1"

    async def test_location(self, client: Client) -> None:
        """A redirect has its location."""
        response, _ = await client.exchange(Redirect("http://127.0.0.1:1/"))

        assert response.headers["Location"] == "http://127.0.0.1:1/"

    async def test_envelope(self, client: Client) -> None:
        """Raw fields are the whole answer, or replace some of an answer that took effect."""
        fields = {"ActionStatus": "FAIL", "ErrorCode": 0, "ErrorInfo": "odd"}

        assert fields == await client.answer(Envelope(fields))
        assert client.emulator.state.snapshot() == {}
        fault = Envelope({"ErrorCode": "0"}, omit=["ErrorInfo"], applied=True)
        answer = await client.answer(fault)
        assert answer.keys() == {"ResultItem", "ActionStatus", "ErrorCode"}
        assert (answer["ErrorCode"], client.emulator.calls[1].code) == ("0", None)
        assert client.emulator.state.snapshot() == APPLIED

    async def test_giant(self, client: Client) -> None:
        """A giant body is streamed without its length; a client may stop reading it."""
        response, body = await client.exchange(Giant(1_000_001))

        assert (response.content_length, len(body)) == (None, 1_000_001)
        async with client.post_marks(Giant(50_000_000)) as response:
            response.close()
        await until(lambda: client.emulator.calls[1].finished is not None)
        assert client.emulator.state.snapshot() == {}

    async def test_drip(self, client: Client, slept: list[float]) -> None:
        """The answer comes byte by byte, with a pause before each."""
        _, body = await client.exchange(Drip(0.01))

        assert json.loads(body)["ErrorCode"] == 0
        assert [0.01] * len(body) == slept


class TestConnection:
    @pytest.mark.parametrize(
        ("fault", "error"),
        [
            *[
                (kind(rst=rst), aiohttp.ClientConnectionError)
                for kind in (ResetBefore, ResetAfter)
                for rst in (True, False)
            ],
            *[(CutBody(at), aiohttp.ClientPayloadError) for at in (0.0, 0.5, 1.0)],
        ],
        ids=repr,
    )
    async def test_broken(self, client: Client, fault: Fault, error: type[Exception]) -> None:
        """The connection is dropped before or after the effect; the client may be back at once."""
        with pytest.raises(error):
            await client.exchange(fault)

        assert client.emulator.state.snapshot() == (APPLIED if fault.applied else {})
        await client.exchange()
        assert client.emulator.violations == []

    async def test_rst_is_a_reset(self, client: Client) -> None:
        """The client's system sees a reset, not an end."""
        with pytest.raises(aiohttp.ClientOSError) as caught:
            await client.exchange(ResetBefore())

        assert caught.value.errno == errno.ECONNRESET

    async def test_close_after_answer(self, client: Client) -> None:
        """The connection is gone after the answer, though the answer does not say so."""
        response, _ = await client.exchange(CloseAfterAnswer())

        assert "Connection" not in response.headers

    @pytest.mark.parametrize("applied", [True, False])
    async def test_hang(self, client: Client, *, applied: bool) -> None:
        """No answer ever comes, and the call ends when the client goes."""
        request = asyncio.create_task(client.exchange(Hang(applied=applied)))
        await until(lambda: client.emulator.calls and client.emulator.calls[0].fault)
        request.cancel()
        await until(lambda: client.emulator.calls[0].finished is not None)

        assert client.emulator.calls[0].code is None
        assert client.emulator.state.snapshot() == (APPLIED if applied else {})

    @pytest.mark.parametrize("at", [-0.1, 1.1])
    def test_cut_within_bounds(self, at: float) -> None:
        """A body is cut somewhere from 0 to 1."""
        with pytest.raises(ValueError, match="at"):
            CutBody(at)


class TestLines:
    @pytest.mark.parametrize(
        ("fault", "ids"),
        [
            (Shuffle(), ["u1", "u0"]),
            (DropLines(1), ["u1"]),
            (DropLines(conversations=[(1, "u1")]), ["u0"]),
            (ExtraLines(), ["u0", "u1", "stranger_0"]),
            (DuplicateLines(), ["u0", "u1", "u0"]),
            (NamelessLines(), [None, "u1"]),
        ],
        ids=repr,
    )
    async def test_lines(self, client: Client, fault: Fault, ids: list[str | None]) -> None:
        """Lines are lost, added, moved or spoilt in an answer to marks and in one of reading."""
        lines = (await client.answer(fault))["ResultItem"]
        client.emulator.script.next(fault)
        body = {"From_Account": "alice", "StartIndex": 0}
        page = (await client.ask("get_contact_group", body))["ContactItem"]

        assert [line["ContactItem"].get("To_Account") for line in lines] == ids
        assert [line.get("To_Account") for line in page] == ids
        assert all("StandardMark" in line for line in page)
        assert client.emulator.state.snapshot() == APPLIED

    async def test_dropped_and_not_applied(self, client: Client) -> None:
        """A line is missing, and its item was not applied."""
        await client.answer(DropLines(conversations=[(1, "u1")], applied=False))

        assert client.emulator.state.snapshot() == {("alice", 1, "u0"): (1, "")}

    async def test_shuffle_lines(self, client: Client) -> None:
        """All answers can be shuffled; one line stays where it is."""
        client.emulator.script.shuffle_lines = True
        lines = (await client.answer())["ResultItem"]

        assert [line["ContactItem"]["To_Account"] for line in lines] == ["u1", "u0"]
        assert len((await client.mark(item()))["ResultItem"]) == 1


class TestDelay:
    async def test_adds_up(self, client: Client, slept: list[float]) -> None:
        """The usual answer or another fault comes later; delays add up."""
        codes = [
            (await client.answer(fault))["ErrorCode"]
            for fault in (Delay(2.5, Delay(1.0, Refuse(60008))), Delay(2.5))
        ]

        assert (codes, slept) == ([60008, 0], [3.5, 2.5])

    @pytest.mark.parametrize(
        ("fault", "before"),
        [
            (Delay(5), APPLIED),
            (Delay(5, late=True), {}),
            (Later(5, Status(502)), {}),
        ],
        ids=repr,
    )
    async def test_effect(self, fault: Fault, before: object) -> None:
        """A request takes effect at once, or after the delay though its client has gone."""
        asleep, awake = asyncio.Event(), asyncio.Event()

        async def sleep(_: float) -> None:
            asleep.set()
            await awake.wait()

        async with Emulator(sleep=sleep) as emulator, aiohttp.ClientSession() as http:
            request = asyncio.create_task(Client(emulator, http).exchange(fault))
            await asleep.wait()
            assert emulator.state.snapshot() == before
            if isinstance(fault, Later):
                assert (await request)[0].status == 502
            request.cancel()
            await until(lambda: emulator.calls[0].finished is not None)
            assert emulator.state.snapshot() == before
            awake.set()
            with contextlib.suppress(asyncio.CancelledError):
                await request
            await until(emulator.state.snapshot)

            assert emulator.state.snapshot() == APPLIED
