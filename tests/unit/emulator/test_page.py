"""The page of the emulator: who may see it, what it tells, and how a browser shows it."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest
from browser import CHROMIUM, Tab, browser
from emulator_client import Client, until

from chatmark.emulator import Emulator, Hang, Refuse, ResetAfter, web

HOSTILE = "<img src=x onerror=hacked=1>"
MARK = {"OptType": 3, "SetMark": [0, 32, 33], "CustomMark": "<script>hacked=1</script>"}
MARK |= {"ContactItem": {"Type": 2, "ToGroupId": HOSTILE}}
LOST = "Drop the connection after it took effect"


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    """Run an emulator that has answered a request of hostile ids, and a client of it."""
    async with Emulator(mark_names={32: "vip"}) as emulator, aiohttp.ClientSession() as http:
        client = Client(emulator, http)
        await client.mark(MARK, account=HOSTILE)
        yield client


async def ask(client: Client, path: str, body: object = ..., **headers: str) -> tuple[int, str]:
    """Make a request of the page."""
    method, data = ("GET", None) if body is ... else ("POST", json.dumps(body))
    url = f"{client.emulator.url}{path}"
    async with client.http.request(method, url, data=data, headers=headers) as answer:
        return answer.status, await answer.text()


async def state(client: Client) -> dict[str, Any]:
    """Return what the page shows."""
    status, text = await ask(client, "/_emulator/state")
    assert status == 200
    return dict(json.loads(text))


class TestState:
    async def test_shows(self, client: Client) -> None:
        """Conversations have their lit bits by name, and requests their bodies."""
        client.emulator.state.seed_contact_group(HOSTILE, 1, "work", [(1, "bob")])
        client.emulator.script.next(Hang())
        await client.send("nowhere", b"{}")
        shown = await state(client)

        (user,) = shown["users"]
        marked = {each["id"]: (each["marks"], each["groups"]) for each in user["conversations"]}
        assert marked == {HOSTILE: (["favorite", "vip", "bit 33"], []), "bob": ([], ["work"])}
        assert user["groups"] == {"work": 1}
        assert shown["counts"] == {"mark_contact": 1, "(unknown)": 1}
        (call,) = shown["calls"]
        assert (call["command"], call["account"], call["code"]) == ("mark_contact", HOSTILE, 0)
        assert json.loads(call["request"])["From_Account"] == HOSTILE
        assert json.loads(call["answer"])["ErrorCode"] == 0
        assert shown["pending"] == 1
        assert client.emulator.settings.secret_key not in json.dumps(shown)

    async def test_bounded(self, client: Client) -> None:
        """The page shows the last of many users, conversations and requests."""
        seed = client.emulator.state.seed_mark
        for number in range(150):
            seed(f"u{number}", (1, "bob"), 1)
        for number in range(150):
            seed("u149", (1, f"peer{number}"), 1)
        for _ in range(60):
            await client.mark(MARK)
        shown = await state(client)

        assert (len(shown["users"]), shown["more_users"]) == (100, 52)
        assert (len(shown["users"][1]["conversations"]), shown["users"][1]["count"]) == (100, 151)
        assert [call["sequence"] for call in shown["calls"]] == list(range(61, 11, -1))
        assert client.emulator.calls[0].request == b""

    async def test_switches(self, client: Client) -> None:
        """A fault of the page meets each request until it is off; the script goes first."""
        body = {"fault": LOST, "on": True}
        assert await ask(client, "/_emulator/faults", body) == (200, "{}")
        with pytest.raises(aiohttp.ClientConnectionError):
            await client.mark(MARK)
        client.emulator.script.next(Refuse(60008))

        assert (await client.mark(MARK))["ErrorCode"] == 60008
        assert client.emulator.calls[1].fault == ResetAfter()
        assert (await state(client))["faults"][LOST] is True
        await ask(client, "/_emulator/faults", {"fault": LOST, "on": False})
        assert (await client.mark(MARK))["ErrorCode"] == 0

    @pytest.mark.parametrize("body", [None, [], {"fault": "no"}, {"fault": 1, "on": True}])
    async def test_unknown_fault(self, client: Client, body: object) -> None:
        """Another fault is refused."""
        assert (await ask(client, "/_emulator/faults", body))[0] == 400

    async def test_reset(self, client: Client) -> None:
        """A reset forgets all, and then loads what the emulator began with."""
        seed = client.emulator.state.seed_mark
        client.emulator.on_reset = lambda: seed("alice", (1, "bob"), 1)
        await ask(client, "/_emulator/reset", {})

        assert client.emulator.state.snapshot() == {("alice", 1, "bob"): (1, "")}
        assert (await state(client))["calls"] == []


class TestEvents:
    @pytest.fixture(autouse=True)
    def quick(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Let a change be shown at once."""
        monkeypatch.setattr(web, "_SECONDS_BETWEEN_EVENTS", 0.01)

    async def test_changes_only(self, client: Client) -> None:
        """The events are the state at first, and then each change of it; a stop ends them."""
        async with client.http.get(f"{client.emulator.url}/_emulator/events") as events:
            assert events.content_type == "text/event-stream"
            first = json.loads((await events.content.readline()).removeprefix(b"data: "))
            assert await events.content.readline() == b"\n"
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(events.content.readline(), 0.1)
            client.emulator.state.seed_mark("bob", (1, "amy"), 1)
            second = json.loads((await events.content.readline()).removeprefix(b"data: "))
            async with asyncio.timeout(5):
                await client.emulator.stop()

        assert first["calls"][0]["account"] == HOSTILE
        assert [len(each["users"]) for each in (first, second)] == [1, 2]

    async def test_reader_that_leaves(self, client: Client, caplog: Any) -> None:
        """A page that is closed ends its events without a word."""
        server: Any = client.emulator._server
        events = await client.http.get(f"{client.emulator.url}/_emulator/events")
        await events.content.readline()
        events.close()
        await until(lambda: len(server.connections) < 2)

        assert caplog.records == []

    async def test_reader_that_does_not_read(self, client: Client) -> None:
        """Events that nothing reads do not pile up."""
        server: Any = client.emulator._server
        seed, text = client.emulator.state.seed_mark, "x" * 1_000_000
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", urlsplit(client.emulator.url).port
        )
        writer.write(b"GET /_emulator/events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        await reader.readline()
        for number in range(40):
            seed("bob", (1, "peer"), 1, text + str(number))
            await asyncio.sleep(0.01)
        waiting = [each.transport.get_write_buffer_size() for each in server.connections]
        writer.transport.abort()

        assert 0 < max(waiting) < 3_000_000


class TestTrust:
    @pytest.mark.parametrize(
        ("headers", "status"),
        [
            ({"Host": "evil.example"}, 403),
            ({"Host": "emu"}, 403),
            ({"Host": "[::1"}, 403),
            ({"Origin": "https://evil.example"}, 403),
            ({"Origin": "null"}, 403),
            ({"Host": "127.0.0.1:80", "Origin": "http://127.0.0.1:80"}, 200),
            ({"Host": "localhost:80"}, 200),
            ({"Host": "10.0.0.7"}, 200),
        ],
    )
    @pytest.mark.parametrize("path", ["/", "/_emulator/state", "/_emulator/reset"])
    async def test_other_sites(
        self, client: Client, path: str, headers: dict[str, str], status: int
    ) -> None:
        """A page of another site sees nothing and changes nothing."""
        body: object = {} if path.endswith("reset") else ...

        assert (await ask(client, path, body, **headers))[0] == status
        assert bool(client.emulator.state.snapshot()) == (body is ... or status == 403)

    async def test_name(self) -> None:
        """The page is open under the name that the emulator was given, and under no other."""
        async with Emulator(name="emu") as emulator, aiohttp.ClientSession() as http:
            url, port = emulator.url, emulator.url.rpartition(":")[2]
            async with http.get(f"http://127.0.0.1:{port}/", headers={"Host": "emu"}) as answer:
                assert (url, answer.status) == (f"http://emu:{port}", 200)

    async def test_policy(self, client: Client) -> None:
        """The page runs its own script alone, takes nothing from elsewhere, and is the only one."""
        async with client.http.get(client.emulator.url) as answer:
            policy, text = answer.headers["Content-Security-Policy"], await answer.text()
        assert "default-src 'none'; script-src 'nonce-" in policy
        assert "NONCE" not in text
        assert "http" not in text.replace("http-equiv", "")
        assert (await ask(client, "/_emulator/else"))[0] == 404


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
class TestBrowser:
    @pytest.fixture
    async def tab(self, client: Client) -> AsyncIterator[Tab]:
        """Open the page."""
        async with browser() as tab:
            await tab.open(client.emulator.url)
            await tab.until("document.querySelectorAll('#calls details').length == 1")
            yield tab

    async def test_live(self, client: Client, tab: Tab) -> None:
        """The page shows hostile text as text, follows changes, and works its switches."""
        text = await tab.run("document.body.innerText")
        assert HOSTILE in text
        assert all(name in text for name in ("favorite", "vip", "bit 33", MARK["CustomMark"]))
        await client.mark(MARK, account="alice")
        await tab.until("document.querySelectorAll('#calls details').length == 2")
        await tab.run("document.querySelectorAll('#faults input')[1].click()")
        await until(lambda: client.emulator.script.switched)
        with pytest.raises(aiohttp.ClientConnectionError):
            await client.mark(MARK)
        await tab.run("document.getElementById('reset').click()")
        await tab.until("document.querySelectorAll('#calls details').length == 0")

        assert client.emulator.script.switched == {}
        assert await tab.run("typeof hacked + document.images.length") == "undefined0"
        assert tab.complaints == []

    async def test_schemes(self, tab: Tab) -> None:
        """The page follows the light and the dark scheme."""
        colours = []
        for scheme in ("light", "dark"):
            assert (await tab.picture(scheme)).startswith(b"\x89PNG")
            colours.append(await tab.run("getComputedStyle(document.body).backgroundColor"))

        assert colours == ["rgb(246, 247, 249)", "rgb(20, 22, 26)"]
