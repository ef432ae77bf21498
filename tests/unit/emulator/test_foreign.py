"""
Clients and signers of others, against the emulator.

`nox -s foreign` installs them; a test whose client is not installed is skipped.
"""

import importlib
import json
import os
import pathlib
import shutil
import subprocess
from typing import Any
from unittest import mock
from urllib.parse import urlencode

import pytest
from emulator_client import PATH, item, valid_query
from TLSSigAPIv2 import TLSSigAPIv2

from chatmark.emulator import EmulatorOptions, EmulatorThread
from chatmark.usersig import make_usersig, read_usersig, verify_usersig

SDKAPPID, KEY, NAME = 1400000001, "example-secret-not-real", "administrator"
BODY = {"From_Account": "alice", "MarkItem": [item()]}

_MODULES = pathlib.Path(os.environ.get("CHATMARK_NODE_MODULES", "node_modules"))
_JS = _MODULES / "tls-sig-api-v2" / "TLSSigAPIv2.js"
_CURL = shutil.which("curl")

needs_node = pytest.mark.skipif(
    not (_JS.exists() and shutil.which("node")), reason="needs node and npm's tls-sig-api-v2"
)


@pytest.fixture
def chatmark_emulator_options() -> EmulatorOptions:
    """Let alice exist alone."""
    return {"users": ["alice"], "sdkappid": SDKAPPID, "secret_key": KEY}


def node(script: str, *arguments: str) -> str:
    """Run a script with the npm library as `lib`, and return what it prints."""
    load = f"const lib = require({json.dumps(str(_JS.resolve()))});"
    command = ["node", "-e", load + script, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
    return done.stdout.strip()


def call(emulator: EmulatorThread, *options: str, **query: str) -> str:
    """Post the body with curl, and return what it prints."""
    assert _CURL is not None
    url = f"{emulator.url}/{PATH}mark_contact?{urlencode(valid_query(emulator, 1) | query)}"
    command = [_CURL, "--silent", "--noproxy", "*", "--max-time", "20", *options, url]
    body = json.dumps(BODY)
    done = subprocess.run(
        [*command, "--data-binary", "@-"], input=body, capture_output=True, text=True, check=True
    )
    return done.stdout


@pytest.mark.skipif(_CURL is None, reason="needs curl")
class TestCurl:
    @pytest.mark.parametrize(
        "options",
        [(), ("-H", "Expect: 100-continue"), ("-H", "Transfer-Encoding: chunked"), ("--http1.0",),
         ("--compressed",)],
    )  # fmt: skip
    def test_posts(self, chatmark_emulator: EmulatorThread, options: tuple[str, ...]) -> None:
        """Curl gets an answer, with the form content type that it sends unless told."""
        chatmark_emulator.state.import_users(["bob"])
        answer = json.loads(call(chatmark_emulator, *options))

        assert (answer["ErrorCode"], answer["ResultItem"][0]["ResultCode"]) == (0, 0)
        assert chatmark_emulator.state.snapshot() == {("alice", 1, "bob"): (1, "")}

    @pytest.mark.parametrize("userbuf", [b"abc", b"\x00\xff" * 40])
    def test_userbuf(self, chatmark_emulator: EmulatorThread, userbuf: bytes) -> None:
        """PyPI's signature with a userbuf is a valid one."""
        signer = TLSSigAPIv2(SDKAPPID, KEY)
        usersig = signer.gen_sig_with_userbuf(NAME, 86400, userbuf)

        assert json.loads(call(chatmark_emulator, usersig=usersig))["ErrorCode"] == 0


@needs_node
class TestNode:
    @pytest.mark.parametrize(
        "call_of",
        ["genUserSig(id, 600)", "genPrivateMapKey(id, 600, 7, 255)",
         "genPrivateMapKeyWithStringRoomID(id, 600, 'room', 42)"],
    )  # fmt: skip
    def test_theirs(self, chatmark_emulator: EmulatorThread, call_of: str) -> None:
        """Signatures of npm's library are admitted and verified, with and without a userbuf."""
        script = f"const id = '{NAME}'; console.log(new lib.Api({SDKAPPID}, '{KEY}').{call_of})"
        usersig = node(script)

        assert verify_usersig(usersig, KEY)
        assert bool(read_usersig(usersig).userbuf) == ("Map" in call_of)
        assert json.loads(call(chatmark_emulator, usersig=usersig))["ErrorCode"] == 0

    def test_ours(self) -> None:
        """A UserSig of chatmark has the signature that npm's library computes."""
        ours = make_usersig(SDKAPPID, NAME, KEY, now=1_700_000_000)
        script = (
            "const back = {'*': '+', '-': '/', '_': '='};"
            "const text = process.argv[1].replace(/[*_-]/g, each => back[each]);"
            "const doc = JSON.parse(require('zlib').inflateSync(Buffer.from(text, 'base64')));"
            f"const api = new lib.Api(doc['TLS.sdkappid'], '{KEY}');"
            "const [id, time, expire] = ['identifier', 'time', 'expire'].map(n => doc['TLS.' + n]);"
            "console.log(api._hmacsha256(id, time, expire, null) === doc['TLS.sig'])"
        )

        assert node(script, ours) == "true"


class TestTimsdk:
    def test_accounts(self, chatmark_emulator: EmulatorThread) -> None:
        """PyPI's timsdk imports accounts; what the emulator lacks it is told in words."""
        timsdk: Any = pytest.importorskip("timsdk")
        http = importlib.import_module("timsdk.http_client").HttpClient
        theirs = http.get_url

        def get_url(self: Any, path: str) -> str:
            url: str = theirs(self, path)
            return url.replace("https://console.tim.qq.com", chatmark_emulator.url)

        with mock.patch.object(http, "get_url", get_url):
            client = timsdk.TimClient(SDKAPPID, KEY, NAME)
            one = client.im_open_login_svc.account_import("bob", nick="Bob")
            many = client.im_open_login_svc.im_open_login_svc(["carol", "dave"])
            lacking = client.sns.friend_get("alice")

        assert (one["ErrorCode"], many) == (0, many | {"ErrorCode": 0, "FailAccounts": []})
        assert chatmark_emulator.state.users == {"alice", "bob", "carol", "dave"}
        assert "that the emulator does not have" in lacking["ErrorInfo"]
