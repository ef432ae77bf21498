import ast
import http.client
import inspect
import json
from urllib.parse import urlsplit

import aiohttp
import pytest

import chatmark.testing
from chatmark import Credentials
from chatmark.emulator import EmulatorOptions, EmulatorThread


class TestPlugin:
    """The module as a plugin."""

    def test_imports_nothing_heavy(self) -> None:
        """Every pytest run imports the plugin, so it imports only pytest by itself."""
        tree = ast.parse(inspect.getsource(chatmark.testing))
        imported: set[str | None] = set()
        for node in tree.body:
            if isinstance(node, ast.Import):
                imported |= {alias.name for alias in node.names}
            if isinstance(node, ast.ImportFrom):
                imported.add(node.module)

        assert {"collections.abc", "typing", "pytest"} == imported

    def test_is_registered(self, pytestconfig: pytest.Config) -> None:
        """Pytest finds the plugin by its entry point."""
        assert pytestconfig.pluginmanager.has_plugin("chatmark")


class TestEmulatorFixture:
    """The fixture chatmark_emulator."""

    def test_synchronous(self, chatmark_emulator: EmulatorThread) -> None:
        """A synchronous test reaches the emulator."""
        connection = http.client.HTTPConnection(urlsplit(chatmark_emulator.url).netloc)
        connection.request("POST", "/", "{}")
        answer = json.loads(connection.getresponse().read())
        connection.close()

        assert answer["ErrorCode"] == 60009

    async def test_asynchronous(self, chatmark_emulator: EmulatorThread) -> None:
        """An asynchronous test reaches the emulator."""
        url = chatmark_emulator.url
        async with aiohttp.ClientSession() as session, session.post(url, data=b"{}") as response:
            answer = json.loads(await response.read())

        assert answer["ErrorCode"] == 60009

    @pytest.mark.parametrize("turn", [1, 2])
    def test_fresh_for_each_test(self, chatmark_emulator: EmulatorThread, turn: int) -> None:
        """Each test has an emulator of its own."""
        assert chatmark_emulator.state.snapshot() == {}
        chatmark_emulator.state.seed_mark("alice", (1, "bob"), turn)


class TestOptionsFixture:
    """Overridden options."""

    @pytest.fixture
    def chatmark_emulator_options(self) -> EmulatorOptions:
        """Set the emulator up."""
        return {"sdkappid": 1400000002, "admins": ["root"], "max_items": 7}

    def test_override(self, chatmark_emulator: EmulatorThread) -> None:
        """An overridden fixture sets the emulator up."""
        assert chatmark_emulator.settings.max_items == 7

    def test_credentials_follow(self, chatmark_credentials: Credentials) -> None:
        """The credentials are those of the emulator."""
        assert (
            chatmark_credentials.sdkappid, chatmark_credentials.identifier
        ) == (1400000002, "root")  # fmt: skip
