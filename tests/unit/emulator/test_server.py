"""The emulator as a server: HTTP, the record of the calls, its life cycle and its settings."""

import asyncio
import io
import json
import logging
import re
import socket
from typing import Any
from urllib.parse import urlencode, urlsplit

import aiohttp
import attrs
import pytest
from emulator_client import BOB, PATH, RED, Client, item, until, valid_query

from chatmark.emulator import (
    Call,
    Delay,
    Emulator,
    EmulatorOptions,
    Envelope,
    Hang,
    Refuse,
    Settings,
    Status,
)


class TestProtocol:
    @pytest.mark.parametrize(
        ("method", "path", "code"),
        [
            *[
                ("POST", path, 60009)
                for path in ("", "v4", PATH, f"{PATH}get", "mark_contact", f"{PATH}mark_contact/")
            ],
            ("POST", "v5/recentcontact/mark_contact", 60009),
            *[(method, f"{PATH}mark_contact", 60002) for method in ("GET", "PUT", "DELETE")],
        ],
    )
    async def test_refused(self, client: Client, method: str, path: str, code: int) -> None:
        """An unknown path gives 60009, another method than POST 60002."""
        assert (await client.send(path, b"{}", method))["ErrorCode"] == code

    async def test_known_path(self, client: Client) -> None:
        """The refusal of a path says that the emulator may lack a call of Chat."""
        answer = await client.send("v4/openim/sendmsg", b"{}")

        assert answer["ErrorInfo"].endswith("a call of Chat that the emulator does not have")

    async def test_wrong_query(self, client: Client) -> None:
        """A wrong query is refused before the body, and its signature is not repeated."""
        wrong = await client.ask("mark_contact", "rubbish", contenttype="xml")
        unsigned = await client.ask("mark_contact", {}, usersig="not-a-signature")

        assert (wrong["ErrorCode"], unsigned["ErrorCode"]) == (60025, 70003)
        assert "not-a-signature" not in json.dumps(unsigned)

    async def test_further_parameters(self, client: Client) -> None:
        """Query parameters that the page does not list are noted, and the call is answered."""
        body = {"From_Account": "alice", "MarkItem": [item()]}
        answer = await client.ask("mark_contact", body, ver="v4", apn="1")

        notes = [f"unknown query parameter {name!r}" for name in ("apn", "ver")]
        assert answer["ErrorCode"] == 0
        assert (client.emulator.calls[0].notes, client.emulator.violations) == (notes, [])

    async def test_long_body(self, client: Client) -> None:
        """A body of more than a megabyte gives 93000."""
        answer = await client.send(f"{PATH}mark_contact", io.BytesIO(b" " * 2_000_000))

        assert answer["ErrorCode"] == 93000

    async def test_keeps_connection(self, client: Client) -> None:
        """Connections are kept alive, also after a refusal."""
        await client.send("nowhere", b"{}")
        await client.mark(item())

        assert len(client.http.connector._conns) == 1  # type: ignore[union-attr]

    @pytest.mark.parametrize("options", [{"request_ids": True}])
    async def test_request_ids(self, client: Client) -> None:
        """Every envelope has a RequestId of its own, a refusal's and a fault's too."""
        client.emulator.script.next(None, Refuse(60008), Status(502))
        answers = [await client.mark(item()) for _ in range(2)]
        answers.append(await client.send("nowhere", b"{}"))
        body = json.dumps({"From_Account": "alice", "MarkItem": [item()]}).encode()
        async with client.post(f"{PATH}mark_contact", body) as response:
            assert "RequestId" not in await response.text()

        assert [answer["RequestId"][-5:] for answer in answers] == ["Seq-1", "Seq-2", "Seq-3"]

    async def test_one_request_id(self, client: Client) -> None:
        """A script can give a single answer its RequestId."""
        client.emulator.script.next(Envelope({"RequestId": "Id-7"}, applied=True))

        assert (await client.mark(item()))["RequestId"] == "Id-7"


class TestRate:
    @pytest.fixture
    def options(self, now: list[float]) -> EmulatorOptions:
        """Allow two calls a second."""
        return {"calls_per_second": 2, "monotonic": lambda: now[0]}

    @pytest.mark.parametrize(
        ("times", "codes"),
        [
            ([0.0, 0.5, 0.999], [0, 0, 60007]),
            # Any second, not one of the clock's.
            ([0.75, 0.875, 1.5, 1.75], [0, 0, 60007, 0]),
            # A refused call does not count.
            ([0.0, 0.0, 0.875, 1.0, 1.125], [0, 0, 60007, 0, 0]),
        ],
    )
    async def test_any_second(
        self, client: Client, now: list[float], times: list[float], codes: list[int]
    ) -> None:
        """A call too many within any second gives 60007."""
        given: list[int] = []
        for at in times:
            now[0] = at
            given.append((await client.mark(item()))["ErrorCode"])

        assert given == codes

    async def test_each_command(self, client: Client) -> None:
        """Each command has a limit of its own."""
        body = {"From_Account": "alice", "StartIndex": 0}
        answers = [await client.mark(item()) for _ in range(2)]
        answers += [await client.ask("get_contact_group", body) for _ in range(3)]

        assert [answer["ErrorCode"] for answer in answers] == [0, 0, 0, 0, 60007]


async def test_round_trip() -> None:
    """A callable gives the delay of each answer."""
    delays, slept = iter([0.25, 0.0, 0.5]), list[float]()

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    emulator = Emulator(round_trip=lambda: next(delays), sleep=sleep)
    async with emulator, aiohttp.ClientSession() as http:
        for _ in range(3):
            await Client(emulator, http).mark(item())

    assert slept == [0.25, 0.5]


class TestRecords:
    async def test_calls(self) -> None:
        """A call is recorded with what it asked for and its answer, and reported at its end."""
        reported, ticks = list[Call](), iter([1.0, 1.25, 2.5])
        emulator = Emulator(on_call=reported.append, monotonic=lambda: next(ticks))
        async with emulator, aiohttp.ClientSession() as http:
            await Client(emulator, http).mark(item(), item(ContactItem=RED))
        (call,) = emulator.calls

        assert reported == [call]
        assert attrs.evolve(call, request=b"", answer=b"") == Call(
            sequence=1, command="mark_contact", started=1.0, random=1, account="alice",
            conversations=((1, "bob"), (2, "@TGS#red")), code=0, finished=2.5,
        )  # fmt: skip
        assert json.loads(call.request)["From_Account"] == "alice"
        assert json.loads(call.answer)["ErrorCode"] == 0
        assert ({"mark_contact": 1}, []) == (emulator.counts, emulator.violations)

    @pytest.mark.parametrize("options", [{"keep_calls": 2}])
    async def test_bounded(self, client: Client) -> None:
        """Only so many calls are kept; unknown paths count as one, however long and many."""
        for number in range(3):
            await client.send(f"{'x' * 500}{number}", b"{}")
        await client.mark(item())

        assert [call.sequence for call in client.emulator.calls] == [3, 4]
        assert client.emulator.counts == {"(unknown)": 3, "mark_contact": 1}
        unknown = client.emulator.calls[0]
        assert (unknown.command, unknown.code) == (f"/{'x' * 99}", 60009)
        for _ in range(1500):
            client.emulator._book.violation(unknown, "again")
        assert len(client.emulator.violations) == 1000

    @pytest.mark.parametrize("command", ["mark_contact", "get_contact_group"])
    async def test_two_in_flight(self, client: Client, command: str) -> None:
        """Two changes of one user at once are noted; reading beside a change is not."""
        client.emulator.script.next(Hang())
        first = asyncio.create_task(client.mark(item()))
        await until(lambda: client.emulator.calls and client.emulator.calls[0].fault)
        fields = {"StartIndex": 0} if command.startswith("get") else {"MarkItem": [item()]}
        await client.ask(command, {"From_Account": "alice", **fields})
        await client.mark(item(), account="bob")
        first.cancel()

        noted = ["call 2 (mark_contact): alice has call 1 in flight already"]
        assert client.emulator.violations == (noted if "MarkItem" in fields else [])

    async def test_search_of_one_twice(self, client: Client) -> None:
        """A conversation twice in a search is a violation."""
        body = {"From_Account": "alice", "ContactItem": [BOB, BOB]}
        await client.ask("search_contact_group", body)

        assert len(client.emulator.violations) == 1

    @pytest.mark.parametrize("options", [{"calls_per_second": None}])
    async def test_random_twice(self, client: Client) -> None:
        """A random number that comes back within 100 calls is a violation, later it is none."""
        body = {"From_Account": "alice", "MarkItem": [item()]}
        for random in (5, 6, 5, *range(100, 200), 6):
            await client.ask("mark_contact", body, random=str(random))

        assert client.emulator.violations == ["call 3 (mark_contact): random 5 used twice"]

    async def test_reset(self, client: Client) -> None:
        """A reset forgets marks, faults, calls and violations."""
        await client.mark(item())
        await client.mark(item(), item())
        client.emulator.script.always(Hang())
        client.emulator.reset()

        emulator = client.emulator
        assert (emulator.state.snapshot(), emulator.calls, emulator.violations) == ({}, [], [])
        assert (await client.mark(item()))["ErrorCode"] == 0
        assert [call.sequence for call in emulator.calls] == [1]


class TestSafety:
    @staticmethod
    async def exchange(client: Client, *parts: bytes, until: bytes = b"") -> bytes:
        """Send raw bytes, and return all that comes until the emulator closes, or to *until*."""
        port = urlsplit(client.emulator.url).port
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for part in parts:
            writer.write(part)
        async with asyncio.timeout(10):
            answer = await (reader.readuntil(until) if until else reader.read())
        writer.close()
        return answer

    @staticmethod
    def head(client: Client, *headers: str, signed: bool = True) -> bytes:
        """Return the head of a call."""
        query = valid_query(client.emulator, 1) if signed else {"sdkappid": "1400000001"}
        lines = [f"POST /{PATH}mark_contact?{urlencode(query)} HTTP/1.1", "Host: x", *headers]
        return "\r\n".join([*lines, "Connection: close", "", ""]).encode()

    async def test_expectation(self, client: Client) -> None:
        """A client that waits for 100 Continue before its body gets it, and then its answer."""
        body = json.dumps({"From_Account": "alice", "MarkItem": [item()]}).encode()
        head = self.head(client, "Expect: 100-continue", f"Content-Length: {len(body)}")
        proceed = b"HTTP/1.1 100 Continue\r\n\r\n"

        assert await self.exchange(client, head, until=b"\r\n\r\n") == proceed
        answer = await self.exchange(client, head, body)
        assert answer.startswith(proceed)
        assert b'"ErrorCode":0' in answer

    async def test_unsigned_bodies_are_not_awaited(self, client: Client) -> None:
        """A request without a valid query is refused before its body is there, and kept nowhere."""
        head = self.head(client, "Content-Length: 900000", signed=False)

        assert b'"ErrorCode":60025' in await self.exchange(client, head, until=b"}")
        assert client.emulator.calls[0].request == b""

    @pytest.mark.parametrize("options", [{"request_timeout": 0.05}])
    async def test_half_sent(self, client: Client) -> None:
        """A request whose body does not arrive gives 60008."""
        client.emulator._server._kwargs["lingering_time"] = 0  # type: ignore[union-attr]
        answer = await self.exchange(client, self.head(client, "Content-Length: 50"), b"{")

        assert b'"ErrorCode":60008' in answer

    @pytest.mark.parametrize(
        "raw",
        [
            b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n",
            b"GET / HTTP/9.9\r\n\r\n",
            b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
            b"POST /v4 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        ],
    )
    async def test_no_tracebacks(
        self, client: Client, raw: bytes, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Bytes that are not HTTP are the client's fault: they leave no traceback."""
        with caplog.at_level(logging.DEBUG):
            answer = await self.exchange(client, raw)

        assert answer == b"" or answer.split()[1] == b"400"
        assert [record for record in caplog.records if record.exc_info] == []

    @pytest.mark.parametrize(
        ("headers", "body"),
        [
            (("Transfer-Encoding: chunked",), b"zz\r\n"),
            (("Content-Encoding: gzip", "Content-Length: 2"), b"no"),
        ],
        ids=["chunks", "gzip"],
    )
    async def test_bodies_that_cannot_be_read(
        self,
        client: Client,
        headers: tuple[str, ...],
        body: bytes,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """A signed body that HTTP cannot decode is refused without a traceback."""
        with caplog.at_level(logging.DEBUG):
            answer = await self.exchange(client, self.head(client, *headers), body)

        assert b'"ErrorCode":60002' in answer or answer.split()[1] == b"400"
        assert [record for record in caplog.records if record.exc_info] == []


class TestLifeCycle:
    async def test_same_port_and_state_after_restart(self, client: Client) -> None:
        """After a stop and a start it has the same port and the same marks."""
        url = client.emulator.url
        await client.mark(item())
        await client.emulator.stop()
        await client.emulator.stop()
        with pytest.raises(aiohttp.ClientConnectionError):
            await client.mark(item(ContactItem=RED))
        await client.emulator.start()
        await client.mark(item(ContactItem=RED))

        assert url == client.emulator.url
        assert {"bob", "@TGS#red"} == {key[2] for key in client.emulator.state.snapshot()}

    @pytest.mark.parametrize("fault", [Hang(), Delay(3600), Delay(3600, late=True)])
    async def test_stop_breaks_waiting_requests(self, client: Client, fault: Hang | Delay) -> None:
        """A stop breaks off requests that wait for an answer and idle connections, at once."""
        client.emulator.script.next(fault)
        request = asyncio.create_task(client.mark(item()))
        await until(lambda: client.emulator.calls and client.emulator.calls[0].fault)
        with socket.create_connection(("127.0.0.1", urlsplit(client.emulator.url).port or 0)):
            async with asyncio.timeout(1):
                await client.emulator.stop()

        with pytest.raises(aiohttp.ClientConnectionError):
            await request

    async def test_ports(self, client: Client) -> None:
        """A taken port is an error of the start; a later start may succeed, a second may not."""
        port = int(client.emulator.url.rsplit(":", 1)[1])
        second = Emulator(port=port)
        with pytest.raises(RuntimeError, match="already"):
            await client.emulator.start()
        with pytest.raises(OSError, match="address"):
            await second.start()
        await client.emulator.stop()
        async with second:
            assert f"http://127.0.0.1:{port}" == second.url
        with pytest.raises(RuntimeError, match="port"):
            _ = Emulator().url

    async def test_listens_on_loopback_only(self, client: Client) -> None:
        """By default it listens on 127.0.0.1."""
        listener = client.emulator._listener
        assert listener is not None

        assert [each.getsockname()[0] for each in listener.sockets] == ["127.0.0.1"]


class TestSettings:
    def test_options_are_the_settings(self) -> None:
        """The options by name are the fields of the settings."""
        fields = {field.name for field in attrs.fields(Settings)}

        assert fields == set(EmulatorOptions.__annotations__)

    @pytest.mark.parametrize(
        ("name", "value", "reason"),
        [
            *[(name, 0, "an integer of 1 or more, not 0")
              for name in ("max_items", "page_size", "calls_per_second")],
            ("max_marked", -1, "an integer of 0 or more, not -1"),
            ("page_size", True, "an integer of 1 or more, not True"),
            ("pool", "x", "'marks' or 'shared', not 'x'"),
            ("round_trip", float("nan"), "a number of 0 or more, not nan"),
            ("keep_alive", -1.0, "a number of 0 or more, not -1.0"),
        ],
    )  # fmt: skip
    def test_wrong(self, name: str, value: object, reason: str) -> None:
        """A wrong setting is named, with what it must be."""
        options: dict[str, Any] = {name: value}
        with pytest.raises(ValueError, match=f"^{re.escape(f'{name} must be {reason}')}"):
            Settings(**options)

    @pytest.mark.parametrize(
        "options", [{"admins": "amy"}, {"users": "amy"}, {"groups": {"red": "amy"}}]
    )
    def test_one_text_for_ids(self, options: dict[str, Any]) -> None:
        """A text is not taken for the ids of its characters."""
        with pytest.raises(ValueError, match=r"several ids are needed, such as \['amy'\]"):
            Settings(**options)

    def test_ids_of_any_form(self) -> None:
        """Ids may come from a generator, or from a set; the key is in no repr."""
        settings = Settings(admins=(name for name in ["amy", "bob"]), users={"eve"}, name=None)

        assert (settings.admins, settings.users) == (("amy", "bob"), ("eve",))
        assert "not-real" not in repr(settings)

    async def test_credentials_environment(self, client: Client) -> None:
        """The environment for users has everything that a client needs."""
        assert {
            "CHATMARK_SDKAPPID": "1400000001",
            "CHATMARK_IDENTIFIER": "administrator",
            "CHATMARK_SECRET_KEY": "example-secret-not-real",
            "CHATMARK_BASE_URL": client.emulator.url,
        } == client.emulator.credentials_environment()
