import http.client
import json
from urllib.parse import urlsplit

import pytest

from chatmark import Conversation, Credentials, MarkSession
from chatmark.emulator import EmulatorOptions, EmulatorThread

pytest_plugins = ["pytester"]

TESTS = """
import pytest

async def test_runs(chatmark_emulator): assert chatmark_emulator.url

@pytest.mark.parametrize("n", [1])
async def test_fails(n, chatmark_credentials, tmp_path): assert n == 2
"""


@pytest.fixture
def chatmark_emulator_options() -> EmulatorOptions:
    """Set the emulator up."""
    return {"sdkappid": 1400000002, "admins": ["root"], "max_items": 7}


def test_synchronous(chatmark_emulator: EmulatorThread) -> None:
    """A synchronous test reaches the emulator, which is set up by the overridden fixture."""
    connection = http.client.HTTPConnection(urlsplit(chatmark_emulator.url).netloc)
    connection.request("POST", "/", "{}")
    answer = json.loads(connection.getresponse().read())
    connection.close()

    assert answer["ErrorCode"] == 60009
    assert chatmark_emulator.settings.max_items == 7


@pytest.mark.parametrize("turn", [1, 2])
async def test_asynchronous(
    chatmark_emulator: EmulatorThread, chatmark_credentials: Credentials, turn: int
) -> None:
    """An asynchronous test reaches an emulator of its own, with credentials that fit it."""
    assert chatmark_emulator.state.snapshot() == {}
    bob = Conversation.one_to_one("bob")
    async with MarkSession(chatmark_credentials, base_url=chatmark_emulator.url) as session:
        await session.mark("alice", bob, custom_mark=str(turn))

    assert chatmark_emulator.state.snapshot() == {("alice", 1, "bob"): (0, str(turn))}
    assert chatmark_credentials.identifier == "root"


@pytest.mark.parametrize("plugins", [(), ("-p", "no:asyncio")], ids=["strict", "without"])
def test_async_tests_need_no_setting(plugins: tuple[str, ...], pytester: pytest.Pytester) -> None:
    """An async test that takes the fixtures runs without asyncio_mode and without a plugin."""
    pytester.makeini("[pytest]")
    pytester.makepyfile(TESTS)
    result = pytester.runpytest_subprocess("-W", "ignore", *plugins)

    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*assert 1 == 2*"])
