import asyncio
import io
import json
import re
import socket
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import attrs
import pytest
from emulator_client import Client, until

from chatmark.emulator import Delay, Emulator, EmulatorOptions, Hang, Settings

BOB = {"Type": 1, "To_Account": "bob"}
RED = {"Type": 2, "ToGroupId": "team-red"}


def item(contact: dict[str, Any] = BOB, **fields: Any) -> dict[str, Any]:
    """Return a valid item."""
    return {"OptType": 1, "ContactItem": contact, "SetMark": [0], **fields}


@pytest.fixture
def options() -> EmulatorOptions:
    """Return the options of the emulator."""
    return {}


@pytest.fixture
async def client(options: EmulatorOptions) -> AsyncIterator[Client]:
    """Run an emulator and a client of it."""
    async with Emulator(**options) as emulator, aiohttp.ClientSession() as http:
        yield Client(emulator, http)


class TestMarkContact:
    async def test_answers_like_the_page(self, client: Client) -> None:
        """The answer has the fields of the vendor's sample."""
        answer = await client.mark(
            {"OptType": 3, "ContactItem": BOB, "SetMark": [1, 2, 3], "CustomMark": "abcd"}
        )

        assert answer == {
            "ResultItem": [{"OptType": 3, "ContactItem": BOB, "ResultCode": 0, "ResultInfo": ""}],
            "ActionStatus": "OK",
            "ErrorCode": 0,
            "ErrorInfo": "",
        }

    async def test_applies(self, client: Client) -> None:
        """The changes have taken effect when the answer arrives."""
        await client.mark(
            item(SetMark=[0, 63]), {"OptType": 2, "ContactItem": RED, "CustomMark": "vip"}
        )

        assert client.emulator.state.snapshot() == {
            ("alice", 1, "bob"): (1 << 63 | 1, ""),
            ("alice", 2, "team-red"): (0, "vip"),
        }

    async def test_items_fail_alone(self, client: Client) -> None:
        """A failed item leaves the envelope OK and the other items alone."""
        client.emulator.state.groups = {}
        answer = await client.mark(item(RED), item(BOB))

        assert answer["ErrorCode"] == 0
        assert [line["ResultCode"] for line in answer["ResultItem"]] == [51007, 0]
        assert all(
            bool(line["ResultInfo"]) == bool(line["ResultCode"]) for line in answer["ResultItem"]
        )
        assert client.emulator.state.snapshot() == {("alice", 1, "bob"): (1, "")}

    async def test_scripted_item(self, client: Client) -> None:
        """A scripted item answers its code and is not applied."""
        client.emulator.script.item((1, "bob"), 50004)
        first = await client.mark(item(BOB), item(RED))
        snapshot = client.emulator.state.snapshot()
        second = await client.mark(item(BOB))

        assert [line["ResultCode"] for line in first["ResultItem"]] == [50004, 0]
        assert snapshot == {("alice", 2, "team-red"): (1, "")}
        assert [line["ResultCode"] for line in second["ResultItem"]] == [0]

    async def test_refuses_whole_request(self, client: Client) -> None:
        """A malformed item refuses the whole request, and nothing takes effect."""
        answer = await client.mark(item(), item(RED, SetMark=[64]))

        assert (answer["ActionStatus"], answer["ErrorCode"]) == ("FAIL", 50002)
        assert "MarkItem[1].SetMark" in answer["ErrorInfo"]
        assert client.emulator.state.snapshot() == {}

    async def test_unknown_from_account(self, client: Client) -> None:
        """A From_Account that is not imported gives 50001 for the request."""
        client.emulator.state.users = {"bob"}

        assert (await client.mark(item()))["ErrorCode"] == 50001


class TestGetContactGroup:
    async def test_answers_like_the_capture(self, client: Client) -> None:
        """The last page looks like the captured one: CompleteTime, no NextStartIndex."""
        state = client.emulator.state
        state.seed_mark("alice", (1, "bob"), 1 << 34 | 1, "vip", timestamp=1760000000)
        state.seed_contact_group("alice", 1, "work", [(2, "team-red")])
        answer = await client.ask("get_contact_group", {"From_Account": "alice", "StartIndex": 0})
        complete_time = answer.pop("CompleteTime")

        assert isinstance(complete_time, int)
        assert answer == {
            "ContactItem": [
                {
                    **BOB,
                    "StandardMark": "10000000000000000000000000000000001",
                    "CustomMark": "vip",
                    "Timestamp": 1760000000,
                },
                {**RED, "StandardMark": "", "ContactGroupId": [1], "Timestamp": complete_time},
            ],
            "GroupItem": [{"GroupName": "work", "GroupId": 1}],
            "CompleteFlag": 1,
            "ActionStatus": "OK",
            "ErrorCode": 0,
            "ErrorInfo": "",
            "ErrorDisplay": "",
        }

    async def test_pages(self, client: Client) -> None:
        """A page that is not the last one names the index of the next one."""
        for number in range(150):
            client.emulator.state.seed_mark("alice", (1, f"u{number}"), 1)
        first = await client.ask("get_contact_group", {"From_Account": "alice", "StartIndex": 0})
        index = first["NextStartIndex"]
        last = await client.ask("get_contact_group", {"From_Account": "alice", "StartIndex": index})

        assert (first["CompleteFlag"], last["CompleteFlag"]) == (0, 1)
        assert (len(first["ContactItem"]), len(last["ContactItem"])) == (100, 50)
        assert "CompleteTime" not in first
        assert "NextStartIndex" not in last


class TestSearchContactGroup:
    async def test_answers_like_the_page(self, client: Client) -> None:
        """The answer has the fields of the vendor's sample, and omits unmarked contacts."""
        state = client.emulator.state
        state.seed_mark("alice", (1, "bob"), 0b11111110, "xyz", timestamp=1673500546)
        state.seed_contact_group("alice", 1, "test1x", [(1, "bob")])
        answer = await client.ask(
            "search_contact_group", {"From_Account": "alice", "ContactItem": [RED, BOB]}
        )

        assert answer == {
            "ContactResultItem": [
                {
                    **BOB,
                    "StandardMark": "11111110",
                    "CustomMark": "xyz",
                    "ContactGroupId": [1],
                    "Timestamp": 1673500546,
                }
            ],
            "GroupItem": [{"GroupName": "test1x", "GroupId": 1}],
            "ActionStatus": "OK",
            "ErrorCode": 0,
            "ErrorInfo": "",
            "ErrorDisplay": "",
        }


class TestProtocol:
    @pytest.mark.parametrize(
        "path",
        ["", "v4", "v4/recentcontact/", "v4/recentcontact/get",
         "v5/recentcontact/mark_contact",
         "mark_contact", "v4/recentcontact/mark_contact/"],
    )  # fmt: skip
    async def test_unknown_path(self, client: Client, path: str) -> None:
        """An unknown path gives 60009."""
        assert (await client.send(path, b"{}"))["ErrorCode"] == 60009

    @pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH"])
    async def test_only_post(self, client: Client, method: str) -> None:
        """Only POST is accepted."""
        answer = await client.send("v4/recentcontact/mark_contact", b"{}", method)

        assert answer["ErrorCode"] == 60002

    async def test_wrong_query(self, client: Client) -> None:
        """A wrong query is refused before the body is looked at."""
        answer = await client.ask("mark_contact", "rubbish", contenttype="xml")

        assert answer["ErrorCode"] == 60025

    async def test_long_body(self, client: Client) -> None:
        """A body of more than a megabyte gives 93000."""
        answer = await client.send("v4/recentcontact/mark_contact", io.BytesIO(b" " * 2_000_000))

        assert answer["ErrorCode"] == 93000

    async def test_no_secrets_in_answers(self, client: Client) -> None:
        """A refusal repeats neither the signature nor the key."""
        answer = await client.ask("mark_contact", {}, usersig="not-a-signature")

        assert answer["ErrorCode"] == 70003
        assert "not-a-signature" not in json.dumps(answer)

    async def test_keeps_connection(self, client: Client) -> None:
        """Connections are kept alive, also after a refusal."""
        await client.send("nowhere", b"{}")
        await client.mark(item())

        assert len(client.http.connector._conns) == 1  # type: ignore[union-attr]


class TestRate:
    @pytest.fixture
    def now(self) -> list[float]:
        """Hold the time."""
        return [100.0]

    @pytest.fixture
    def options(self, now: list[float]) -> EmulatorOptions:
        """Allow two calls a second."""
        return {"calls_per_second": 2, "monotonic": lambda: now[0]}

    async def test_refuses_and_recovers(self, client: Client, now: list[float]) -> None:
        """A call beyond the rate gives 60007 and has no effect; a second later calls succeed."""
        codes = [(await client.mark(item()))["ErrorCode"] for _ in range(3)]
        now[0] += 1.0
        codes.append((await client.mark(item()))["ErrorCode"])

        assert codes == [0, 0, 60007, 0]


class TestRoundTrip:
    @pytest.fixture
    def slept(self) -> list[float]:
        """Hold the delays so far."""
        return []

    @pytest.fixture
    def options(self, slept: list[float]) -> EmulatorOptions:
        """Delay by a callable."""
        delays = iter([0.25, 0.0, 0.5])

        async def sleep(seconds: float) -> None:
            slept.append(seconds)

        return {"round_trip": lambda: next(delays), "sleep": sleep}

    async def test_delays_each_request(self, client: Client, slept: list[float]) -> None:
        """A callable gives the delay of each request."""
        for _ in range(3):
            await client.mark(item())

        assert slept == [0.25, 0.5]


class TestRecords:
    async def test_calls(self, client: Client) -> None:
        """A call is recorded with what it asked for and how it was answered."""
        await client.mark(item(BOB), item(RED))
        (call,) = client.emulator.calls

        assert (
            call.sequence, call.command, call.random, call.account,
            call.conversations, call.code, call.fault,
        ) == (1, "mark_contact", 1, "alice", ((1, "bob"), (2, "team-red")), 0, None)  # fmt: skip
        assert call.finished is not None
        assert call.finished >= call.started
        assert ({"mark_contact": 1}, []) == (client.emulator.counts, client.emulator.violations)

    async def test_refused_call(self, client: Client) -> None:
        """A refused call is recorded with its code."""
        await client.send("nowhere", b"{}")

        assert [(c.command, c.code) for c in client.emulator.calls] == [("/nowhere", 60009)]

    async def test_too_many_items(self, client: Client) -> None:
        """More than 100 items are refused and noted."""
        answer = await client.mark(*[item()] * 101)

        assert answer["ErrorCode"] == 51006
        assert client.emulator.violations == ["call 1 (mark_contact): 101 items in one request"]

    async def test_two_in_flight(self, client: Client) -> None:
        """Two requests of one user at once are noted."""
        client.emulator.script.next(Hang())
        first = asyncio.create_task(client.mark(item()))
        await until(lambda: client.emulator.calls)
        await client.mark(item())
        first.cancel()

        assert (client.emulator.violations) == [
            "call 2 (mark_contact): alice has call 1 in flight already"
        ]

    async def test_reset(self, client: Client) -> None:
        """A reset forgets marks, faults, calls and violations."""
        await client.mark(item(), account="alice")
        await client.mark(item(), item())
        client.emulator.script.always(Hang())
        client.emulator.reset()

        assert (
            client.emulator.state.snapshot(), client.emulator.calls, client.emulator.violations
        ) == ({}, [], [])  # fmt: skip
        assert (await client.mark(item()))["ErrorCode"] == 0


class TestLifeCycle:
    async def test_same_port_and_state_after_restart(self, client: Client) -> None:
        """After a stop and a start it has the same port and the same marks."""
        url = client.emulator.url
        await client.mark(item())
        await client.emulator.stop()
        with pytest.raises(aiohttp.ClientConnectionError):
            await client.mark(item(RED))
        await client.emulator.start()
        await client.mark(item(RED))

        assert url == client.emulator.url
        assert {"bob", "team-red"} == {key[2] for key in client.emulator.state.snapshot()}

    @pytest.mark.parametrize("fault", [Hang(), Delay(3600), Delay(3600, late=True)])
    async def test_stop_breaks_waiting_requests(self, client: Client, fault: Hang | Delay) -> None:
        """A stop breaks off requests that wait for an answer, at once."""
        client.emulator.script.next(fault)
        request = asyncio.create_task(client.mark(item()))
        await until(lambda: client.emulator.calls and client.emulator.calls[0].fault)
        async with asyncio.timeout(1):
            await client.emulator.stop()

        with pytest.raises(aiohttp.ClientConnectionError):
            await request

    async def test_stop_twice(self, client: Client) -> None:
        """Stopping again does nothing."""
        await client.emulator.stop()
        await client.emulator.stop()

        assert client.emulator.url

    async def test_start_twice(self, client: Client) -> None:
        """A running emulator cannot be started."""
        with pytest.raises(RuntimeError, match="already"):
            await client.emulator.start()

    def test_no_url_before_start(self) -> None:
        """Without a fixed port the url is known from the first start."""
        with pytest.raises(RuntimeError, match="port"):
            _ = Emulator().url

    async def test_taken_port(self, client: Client) -> None:
        """A taken port is an error of the start; a later start may succeed."""
        port = int(client.emulator.url.rsplit(":", 1)[1])
        second = Emulator(port=port)
        with pytest.raises(OSError, match="address"):
            await second.start()
        await client.emulator.stop()
        await second.start()
        await second.stop()

        assert f"http://127.0.0.1:{port}" == second.url

    async def test_listens_on_loopback_only(self, client: Client) -> None:
        """By default it listens on 127.0.0.1."""
        listener = client.emulator._listener
        assert listener is not None

        assert [each.getsockname()[0] for each in listener.sockets] == ["127.0.0.1"]

    async def test_quick_stop_with_idle_connections(self, client: Client) -> None:
        """Idle connections do not delay a stop."""
        await client.mark(item())
        idle = socket.create_connection(("127.0.0.1", int(client.emulator.url[-5:].lstrip(":"))))
        async with asyncio.timeout(1):
            await client.emulator.stop()
        idle.close()


class TestSettings:
    def test_options_are_the_settings(self) -> None:
        """The options by name are the fields of the settings."""
        fields = {field.name for field in attrs.fields(Settings)}

        assert fields == set(EmulatorOptions.__annotations__)

    @pytest.mark.parametrize(
        ("name", "value", "reason"),
        [
            *[(name, 0, "an integer of 1 or more, not 0")
              for name in ("max_items", "max_contacts", "page_size", "calls_per_second")],
            ("max_marked", -1, "an integer of 0 or more, not -1"),
            ("page_size", None, "an integer of 1 or more, not None"),
            ("port", "x", "an integer from 0 to 65535, not 'x'"),
            ("port", 65_536, "an integer from 0 to 65535, not 65536"),
            ("sdkappid", True, "an integer, not True"),
            ("secret_key", b"hidden", "a string, not bytes"),
            ("admins", "root", "several ids, such as ['amy'], not 'root'"),
            ("users", "amy", "several ids, such as ['amy'], not 'amy'"),
            ("groups", {"red": "amy"}, "a dict of group ids, each with user ids or None, not {"),
            ("groups", ["red"], "a dict of group ids, each with user ids or None, not ['red']"),
            ("pool", "x", "'marks' or 'shared', not 'x'"),
            ("round_trip", "1", "a number of 0 or more or a callable that returns one, not '1'"),
            ("keep_alive", -1.0, "a number of 0 or more, not -1.0"),
            ("lenient", "no", "True or False, not 'no'"),
            ("mark_names", ["vip"], "a dict of bits and names, not ['vip']"),
        ],
    )  # fmt: skip
    def test_wrong(self, name: str, value: object, reason: str) -> None:
        """A wrong setting is named, with what it must be."""
        options: dict[str, Any] = {name: value}
        with pytest.raises(ValueError, match=f"^{re.escape(f'{name} must be {reason}')}"):
            Settings(**options)

    def test_ids_of_any_form(self) -> None:
        """Ids may come from a generator, or from a set."""
        settings = Settings(admins=(name for name in ["amy", "bob"]), users={"eve"}, name=None)

        assert (settings.admins, settings.users) == (("amy", "bob"), {"eve"})

    def test_key_is_not_shown(self) -> None:
        """The key is in no repr."""
        assert "not-real" not in repr(Settings())

    async def test_credentials_environment(self, client: Client) -> None:
        """The environment for users has everything that a client needs."""
        assert {
            "CHATMARK_SDKAPPID": "1400000001",
            "CHATMARK_IDENTIFIER": "administrator",
            "CHATMARK_SECRET_KEY": "example-secret-not-real",
            "CHATMARK_BASE_URL": client.emulator.url,
        } == client.emulator.credentials_environment()
