"""The calls around marks and groups, and what the emulator makes of other clients, over HTTP."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlencode, urlsplit

import aiohttp
import pytest
from emulator_client import PATH, Client, valid_query

from chatmark import Conversation
from chatmark.emulator import Call, DropLines, Emulator, EmulatorOptions, Envelope, Refuse, Status

BOB = {"Type": 1, "To_Account": "bob"}
RED = {"Type": 2, "ToGroupId": "@TGS#red"}
OK = {"ActionStatus": "OK", "ErrorCode": 0, "ErrorInfo": ""}
ACCOUNTS = "v4/im_open_login_svc/"


@pytest.fixture
def options() -> EmulatorOptions:
    """Return the options of the emulator."""
    return {}


@pytest.fixture
async def client(options: EmulatorOptions) -> AsyncIterator[Client]:
    """Run an emulator and a client of it."""
    settings = EmulatorOptions(clock=lambda: 1_700_000_000.5) | options
    async with Emulator(**settings) as emulator, aiohttp.ClientSession() as http:
        yield Client(emulator, http)


def mark(**fields: Any) -> dict[str, Any]:
    """Return an item of mark_contact, with *fields* replaced; an ellipsis leaves one out."""
    whole = {"OptType": 1, "ContactItem": BOB, "SetMark": [0], **fields}
    return {name: value for name, value in whole.items() if value is not ...}


class TestRecent:
    async def listed(self, client: Client, flags: int) -> Any:
        """Call get_list from its beginning."""
        cursors = {"TimeStamp": 0, "StartIndex": 0, "TopTimeStamp": 0, "TopStartIndex": 0}
        return await client.ask(
            "get_list", {"From_Account": "alice", "AssistFlags": flags, **cursors}
        )

    async def test_list(self, client: Client) -> None:
        """Marks are in the answer to the flags of 2026 only; a group is named by GroupId."""
        state = client.emulator.state
        state.seed_mark("alice", (2, "@TGS#red"), 0b111001, "abcd", timestamp=7)
        state.seed_contact_group("alice", 1, "work", [(1, "bob")])
        bob = {**BOB, "MsgTime": 1_700_000_000, "TopFlag": 0}
        red = {"Type": 2, "GroupId": "@TGS#red", "MsgTime": 7, "TopFlag": 0}

        plain, full = [await self.listed(client, flags) for flags in (15, 63)]
        assert plain == {
            "SessionItem": [red, bob], "CompleteFlag": 1, "TimeStamp": 1_700_000_000,
            "StartIndex": 0, "TopTimeStamp": 1_700_000_000, "TopStartIndex": 0, **OK,
            "ErrorDisplay": "",
        }  # fmt: skip
        assert full["SessionItem"] == [
            {**red, "StandardMark": "111001", "CustomMark": "abcd"},
            {**bob, "StandardMark": "", "ContactGroupId": [1]},
        ]

    async def test_delete(self, client: Client) -> None:
        """A deleted conversation leaves the recent ones, and its marks stay."""
        client.emulator.state.seed_mark("alice", (2, "g"), 1)
        body = {"From_Account": "alice", "Type": 2, "ToGroupid": "g", "ClearRamble": 1}

        assert await client.ask("delete", body) == {**OK, "ErrorDisplay": ""}
        assert (await self.listed(client, 63))["SessionItem"] == []
        assert client.emulator.state.snapshot() == {("alice", 2, "g"): (1, "")}


class TestAccounts:
    @pytest.fixture
    def options(self) -> EmulatorOptions:
        """Let alice exist."""
        return {"users": ["alice"]}

    @pytest.mark.parametrize(
        ("command", "body", "answer"),
        [
            ("account_import", {"UserID": "bob", "Nick": "Bob", "FaceUrl": ""}, OK),
            ("account_import", {"Identifier": "bob"}, OK),
            ("multiaccount_import", {"Accounts": ["amy", "bob"]}, {**OK, "FailAccounts": []}),
            (
                "multiaccount_import",
                {"AccountList": [{"UserID": "bob"}]},
                {**OK, "FailAccounts": []},
            ),
        ],
    )
    async def test_import(self, client: Client, command: str, body: object, answer: object) -> None:
        """An imported account exists, whichever form of the request imports it."""
        assert (await client.mark(mark()))["ResultItem"][0]["ResultCode"] == 50001
        assert await client.send(ACCOUNTS + command, json.dumps(body).encode()) == answer
        assert (await client.mark(mark()))["ResultItem"][0]["ResultCode"] == 0

    async def test_check(self, client: Client) -> None:
        """account_check tells which accounts exist."""
        body = {"CheckItem": [{"UserID": "alice"}, {"UserID": "bob"}]}
        answer = await client.send(f"{ACCOUNTS}account_check", json.dumps(body).encode())

        assert [line["AccountStatus"] for line in answer["ResultItem"]] == [
            "Imported",
            "NotImported",
        ]
        assert answer["ResultItem"][0] == {
            "UserID": "alice", "ResultCode": 0, "ResultInfo": "", "AccountStatus": "Imported"
        }  # fmt: skip

    @pytest.mark.parametrize(
        ("body", "code"), [({"Accounts": []}, 70402), ({"Accounts": ["a"] * 101}, 70402),
                           ({"Accounts": [1]}, 60015), ({"CheckItem": []}, 50002)],
    )  # fmt: skip
    async def test_refused(self, client: Client, body: object, code: int) -> None:
        """A request of no accounts or too many is refused."""
        path = f"{ACCOUNTS}multiaccount_import"

        assert (await client.send(path, json.dumps(body).encode()))["ErrorCode"] == code


class TestStrangers:
    async def test_known_path(self, client: Client) -> None:
        """The refusal of a path says that the emulator may lack a call of Chat."""
        answer = await client.send("v4/openim/sendmsg", b"{}")

        assert answer["ErrorCode"] == 60009
        assert answer["ErrorInfo"].endswith("a call of Chat that the emulator does not have")

    async def test_further_parameters(self, client: Client) -> None:
        """Query parameters that the page does not list are noted, and the call is answered."""
        body = {"From_Account": "alice", "MarkItem": [mark()]}
        answer = await client.ask("mark_contact", body, ver="v4", apn="1")

        assert answer["ErrorCode"] == 0
        assert client.emulator.calls[0].notes == [
            "unknown query parameter 'apn'", "unknown query parameter 'ver'"
        ]  # fmt: skip
        assert client.emulator.violations == []

    @pytest.mark.parametrize(
        ("fields", "marked"),
        [
            ({"Extra": 1}, (1, "old")),
            ({"CustomMark": "x"}, (1, "old")),
            ({"OptType": 2, "CustomMark": "x"}, (0, "x")),
            ({"OptType": 3}, (1, "old")),
            ({"SetMark": []}, (0, "old")),
            ({"SetMark": [1], "ClearMark": [1]}, (0, "old")),
            ({"ContactItem": {**BOB, "ToGroupId": "g"}}, (1, "old")),
        ],
    )
    @pytest.mark.parametrize("options", [{}, {"lenient": True}], ids=["strict", "lenient"])
    async def test_own_rules(
        self,
        client: Client,
        options: EmulatorOptions,
        fields: dict[str, Any],
        marked: tuple[int, str],
    ) -> None:
        """An own rule says that it is one, and a lenient emulator has none."""
        client.emulator.state.seed_mark("alice", Conversation.one_to_one("bob"), 0, "old")
        answer = await client.mark(mark(**fields))

        if options:
            assert answer["ResultItem"][0]["ResultCode"] == 0
            assert client.emulator.state.snapshot() == {("alice", 1, "bob"): marked}
        else:
            assert answer["ErrorCode"] == 50002
            assert "a rule of the emulator beyond the vendor's" in answer["ErrorInfo"]

    @pytest.mark.parametrize("options", [{"lenient": True}])
    async def test_conversation_twice(self, client: Client) -> None:
        """A lenient emulator applies both items of a conversation."""
        await client.mark(mark(), mark(SetMark=[1]))

        assert client.emulator.state.snapshot() == {("alice", 1, "bob"): (3, "")}

    @pytest.mark.parametrize("options", [{"request_ids": True}])
    async def test_request_ids(self, client: Client) -> None:
        """Every envelope has a RequestId of its own, a refusal's and a fault's too."""
        client.emulator.script.next(None, Refuse(60008), Status(502))
        answers = [await client.mark(mark()) for _ in range(2)]
        answers.append(await client.send("nowhere", b"{}"))
        body = json.dumps({"From_Account": "alice", "MarkItem": [mark()]}).encode()
        async with client.post(f"{PATH}mark_contact", body) as response:
            assert "RequestId" not in await response.text()

        assert [answer["RequestId"][-5:] for answer in answers] == ["Seq-1", "Seq-2", "Seq-3"]

    async def test_one_request_id(self, client: Client) -> None:
        """A script can give a single answer its RequestId."""
        client.emulator.script.next(Envelope({"RequestId": "Id-7"}, applied=True))

        assert (await client.mark(mark()))["RequestId"] == "Id-7"

    async def test_conversations(self, client: Client) -> None:
        """A Conversation names a conversation wherever a key does."""
        red, bob = Conversation.group("@TGS#red"), Conversation.one_to_one("bob")
        state, script = client.emulator.state, client.emulator.script
        state.seed_contact_group("alice", 1, "work", [red])
        script.item(bob, 50004)
        script.next(DropLines(conversations=[red]))
        answer = await client.mark(mark(), mark(ContactItem=RED))

        assert [line["ResultCode"] for line in answer["ResultItem"]] == [50004]
        assert [entry.conversation for entry in state.search("alice", [red])] == [(2, "@TGS#red")]
        with pytest.raises(TypeError, match="a Conversation or a tuple of type and id"):
            state.seed_mark("alice", "bob", 1)  # type: ignore[arg-type]

    async def test_calls_are_reported(self) -> None:
        """A callback gets each call at its end."""
        calls: list[Call] = []
        async with Emulator(on_call=calls.append) as emulator, aiohttp.ClientSession() as http:
            await Client(emulator, http).mark(mark())

        assert [(call.command, call.account, call.code) for call in calls] == [
            ("mark_contact", "alice", 0)
        ]
        assert json.loads(calls[0].request)["From_Account"] == "alice"
        assert json.loads(calls[0].answer)["ErrorCode"] == 0


class TestSafety:
    @staticmethod
    async def exchange(client: Client, *parts: bytes) -> bytes:
        """Send raw bytes, and return all that comes until the emulator closes."""
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", urlsplit(client.emulator.url).port
        )
        for part in parts:
            writer.write(part)
        async with asyncio.timeout(10):
            answer = await reader.read()
        writer.close()
        return answer

    @staticmethod
    def head(client: Client, *headers: str, signed: bool = True) -> bytes:
        """Return the head of a call."""
        query = valid_query(client.emulator, 1) if signed else {"sdkappid": "1400000001"}
        lines = [f"POST /{PATH}mark_contact?{urlencode(query)} HTTP/1.1", "Host: x", *headers]
        return "\r\n".join([*lines, "", ""]).encode()

    async def test_expectation(self, client: Client) -> None:
        """A client that waits for 100 Continue before its body gets it, and then its answer."""
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", urlsplit(client.emulator.url).port
        )
        body = json.dumps({"From_Account": "alice", "MarkItem": [mark()]}).encode()
        headers = ("Expect: 100-continue", f"Content-Length: {len(body)}", "Connection: close")
        writer.write(self.head(client, *headers))
        async with asyncio.timeout(5):
            assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            writer.write(body)
            answer = await reader.read()
        writer.close()

        assert b'"ErrorCode":0' in answer

    async def test_unsigned_bodies_are_not_awaited(self, client: Client) -> None:
        """A request without a valid query is refused before its body is there, and kept nowhere."""
        head = self.head(client, "Content-Length: 900000", "Connection: close", signed=False)
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", urlsplit(client.emulator.url).port
        )
        writer.write(head)
        async with asyncio.timeout(5):
            answer = await reader.readuntil(b"}")
        writer.close()

        assert b'"ErrorCode":60025' in answer
        assert client.emulator.calls[0].request == b""

    async def test_unsigned_paths_cost_nothing(self, client: Client) -> None:
        """Unknown paths count as one, however long and many they are."""
        for number in range(3):
            await client.send(f"{'x' * 500}{number}", b"{}")

        assert client.emulator.counts == {"(unknown)": 3}
        assert {len(call.command) for call in client.emulator.calls} == {100}

    @pytest.mark.parametrize("options", [{"request_timeout": 0.05}])
    @pytest.mark.parametrize("half", ["nothing", "head", "body"])
    async def test_half_sent(self, client: Client, half: str) -> None:
        """A connection whose request does not arrive is closed."""
        head = self.head(client, "Content-Length: 50", "Connection: close")
        parts = {"nothing": [], "head": [head[:40]], "body": [head, b"{"]}[half]
        client.emulator._server._kwargs["lingering_time"] = 0  # type: ignore[union-attr]
        answer = await self.exchange(client, *parts)

        assert (b'"ErrorCode":60008' in answer) == (half == "body")

    @pytest.mark.parametrize(
        ("parts", "status"),
        [
            ([b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n"], b"400"),
            ([b"GET / HTTP/9.9\r\n\r\n"], b"400"),
            ([b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n"], b"400"),
            ([b"POST /v4 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"], b"400"),
        ],
    )
    async def test_no_tracebacks(
        self, client: Client, parts: list[bytes], status: bytes, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Bytes that are not HTTP are the client's fault: they leave no traceback."""
        with caplog.at_level(logging.DEBUG):
            answer = await self.exchange(client, *parts)

        assert answer.split()[1] == status or answer == b""
        assert [record for record in caplog.records if record.exc_info] == []

    @pytest.mark.parametrize(
        "headers",
        [
            ("Transfer-Encoding: chunked", "", "zz"),
            ("Content-Encoding: gzip", "Content-Length: 2", "", "no"),
        ],
        ids=["chunks", "gzip"],
    )
    async def test_bodies_that_cannot_be_read(
        self, client: Client, headers: tuple[str, ...], caplog: pytest.LogCaptureFixture
    ) -> None:
        """A signed body that HTTP cannot decode is refused without a traceback."""
        end = "" if headers[0].endswith("gzip") else "\r\n"
        split = headers.index("")
        head = self.head(client, *headers[:split], "Connection: close")
        with caplog.at_level(logging.DEBUG):
            answer = await self.exchange(client, head, (headers[split + 1] + end).encode())

        assert b'"ErrorCode":60002' in answer or answer.split()[1] == b"400"
        assert [record for record in caplog.records if record.exc_info] == []
