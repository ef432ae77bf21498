import ast
import http.client
import inspect
import json
import pathlib
import subprocess
import sys
from urllib.parse import urlsplit

import aiohttp
import pytest

import chatmark.testing
from chatmark import Credentials
from chatmark.emulator import EmulatorOptions, EmulatorThread


class TestPlugin:
    def test_imports_nothing_heavy(self) -> None:
        """Every pytest run imports the plugin, so it imports only pytest by itself."""
        tree = ast.parse(inspect.getsource(chatmark.testing))
        imported: set[str | None] = set()
        for node in tree.body:
            if isinstance(node, ast.Import):
                imported |= {alias.name for alias in node.names}
            if isinstance(node, ast.ImportFrom):
                imported.add(node.module)

        assert {"collections.abc", "inspect", "typing", "pytest"} == imported

    def test_is_registered(self, pytestconfig: pytest.Config) -> None:
        """Pytest finds the plugin by its entry point."""
        assert pytestconfig.pluginmanager.has_plugin("chatmark")


class TestEmulatorFixture:
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


class TestAsyncTests:
    @pytest.mark.parametrize("plugins", [(), ("-p", "no:asyncio")], ids=["strict", "without"])
    def test_need_no_setting(self, plugins: tuple[str, ...], tmp_path: pathlib.Path) -> None:
        """An async test that takes the fixtures runs without asyncio_mode and without a plugin."""
        (tmp_path / "pytest.ini").write_text("[pytest]\n")
        (tmp_path / "test_it.py").write_text(
            "import pytest\n"
            "async def test_runs(chatmark_emulator): assert chatmark_emulator.url\n"
            "@pytest.mark.parametrize('n', [1])\n"
            "async def test_fails(n, chatmark_credentials, tmp_path): assert n == 2\n"
        )
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *plugins]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

        assert "1 failed, 1 passed" in done.stdout
        assert "assert 1 == 2" in done.stdout


class TestOptionsFixture:
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
