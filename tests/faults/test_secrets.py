import asyncio
import copy
import json
import logging
import pickle
import traceback
import urllib.parse
from collections.abc import Callable, Iterator
from typing import Any

import aiohttp
import pytest
from virtual_rig import BOB, VirtualRig, change, provided

from chatmark import (
    ChatmarkError,
    Conversation,
    ConversationMark,
    Credentials,
    InputError,
    MarkChange,
    MarkSession,
    make_usersig,
)
from chatmark.emulator import (
    CutBody,
    Empty,
    Fault,
    Garbled,
    Giant,
    Hang,
    Html,
    Redirect,
    Refuse,
    ResetAfter,
    ResetBefore,
    Status,
)
from chatmark.http.transport import AiohttpTransport
from chatmark.redis import RedisBudget
from chatmark.wire.messages import NoAnswer

pytestmark = pytest.mark.virtual_time

KEY = "example-secret-not-real"
USERSIG = make_usersig(1400000001, "administrator", KEY, now=1_700_000_000, expire=10**9)
SECRETS = (USERSIG, KEY, "usersig=", "&identifier=")
FAULTS = [
    Status(502, html=True),
    Status(404),
    Status(429),
    Redirect("http://127.0.0.1:9/elsewhere"),
    ResetBefore(),
    ResetAfter(),
    CutBody(0.5),
    Empty(),
    Html(),
    Garbled(b"\xff\xfe\x00"),
    Garbled(b'{"ErrorCode": "0"}'),
    Giant(20_000_000),
    Hang(),
    Refuse(70001),
    Refuse(70009),
    Refuse(60026),
    None,
]


def texts(error: BaseException) -> Iterator[str]:
    """Return everything that an error shows of itself, its causes and its frames' variables."""
    yield from traceback.TracebackException.from_exception(error, capture_locals=True).format()
    seen: set[int] = set()
    chain: list[BaseException | None] = [error]
    while chain:
        each = chain.pop()
        if each is None or id(each) in seen:
            continue
        seen.add(id(each))
        yield from (repr(each), str(each), repr(each.__dict__))
        chain += [each.__cause__, each.__context__]
        if isinstance(each, ChatmarkError):
            yield repr(pickle.dumps(each))
            yield repr(pickle.loads(pickle.dumps(each)).__dict__)


def signed() -> Credentials:
    """Return credentials with a ready signature."""
    return Credentials(sdkappid=1400000001, identifier="administrator", usersig=USERSIG)


class TestSecrets:
    @pytest.mark.parametrize("fault", FAULTS, ids=repr)
    async def test_no_fault_shows_one(
        self, rig: VirtualRig, fault: Fault | None, caplog: pytest.LogCaptureFixture
    ) -> None:
        """
        No error, log line at DEBUG, repr or pickle holds a signature, a key or a query string.
        """
        caplog.set_level(logging.DEBUG)
        if fault is None:
            await rig.emulator.stop()
        else:
            rig.emulator.script.always(fault)
        credentials = signed()
        events: list[object] = []
        session = rig.session(credentials=credentials, deadline=0.0, hooks=[events.append])
        with pytest.raises(ChatmarkError) as caught:
            await session.mark("alice", BOB, set_mark=ConversationMark.FAVORITE)
        with pytest.raises(ChatmarkError) as reading:
            await anext(session.marked("alice"))
        shown = "\n".join(
            [
                *texts(caught.value),
                *texts(reading.value),
                caplog.text,
                repr(session),
                repr(session.stats),
                repr(events),
                repr(credentials),
            ]
        )

        if fault is None:
            assert "cannot connect to 127.0.0.1" in shown
            await rig.emulator.start()
        assert events
        assert [] == [n for n, secret in enumerate(SECRETS) if secret in shown]

    def test_credentials_keep_theirs(self) -> None:
        """Credentials can be neither printed nor pickled nor copied into the open."""
        credentials = Credentials(sdkappid=1, identifier="administrator", secret_key=KEY)

        assert KEY not in f"{credentials!r} {credentials} {vars(MarkSession)}"
        with pytest.raises(TypeError, match="secret"):
            pickle.dumps(credentials)
        with pytest.raises(TypeError, match="secret"):
            copy.copy(credentials)

    def test_a_bad_one_is_not_repeated(self) -> None:
        """An error about a secret does not quote it."""
        with pytest.raises(InputError) as caught:
            Credentials(sdkappid=1, identifier="a", secret_key=12345678)

        assert "12345678" not in str(caught.value)

    async def test_a_failing_provider_shows_none(self, rig: VirtualRig) -> None:
        """What a provider of signatures raised is the cause, and not in the message."""

        async def provide() -> str:
            await asyncio.sleep(0)
            raise LookupError("vault said: " + KEY)

        session = rig.session(credentials=provided(provide), deadline=0.0)
        with pytest.raises(ChatmarkError, match="LookupError") as caught:
            await session.mark("alice", BOB, set_mark=ConversationMark.FAVORITE)

        assert KEY not in str(caught.value)
        assert [] == rig.emulator.calls


def as_entities(text: str) -> str:
    """Return a text in the numbers of HTML."""
    return "".join(f"&#{ord(char)};" for char in text)


FORMS = {
    "raw": USERSIG,
    "percent": urllib.parse.quote(USERSIG, safe=""),
    "every byte": "".join(f"%{ord(char):02X}" for char in USERSIG),
    "twice": urllib.parse.quote(urllib.parse.quote(USERSIG, safe=""), safe=""),
    "entities": as_entities(USERSIG),
    "escapes": "".join(f"\\u{ord(char):04x}" for char in USERSIG),
    "cut": urllib.parse.quote(USERSIG, safe="")[30:55],
    "end": USERSIG[-17:],
    "key": KEY,
}


class TestRepeated:
    @pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
    async def test_by_the_server(
        self, rig: VirtualRig, form: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        """
        A server that repeats the signature or the key, in whatever form, gets it into no error.
        """
        caplog.set_level(logging.DEBUG)
        line = {"ContactItem": {"Type": 1, "To_Account": "bob"}, "ResultCode": 50001}
        answers = (
            {"ErrorCode": 50001, "ErrorInfo": f"no: {form}", "RequestId": form},
            {"ErrorCode": 0, "ResultItem": [line | {"ResultInfo": f"no: {form}"}]},
            {"ErrorCode": form},
        )
        sign: dict[str, Any] = {"secret_key": KEY} if form == KEY else {"usersig": USERSIG}
        credentials = Credentials(sdkappid=1400000001, identifier="administrator", **sign)
        session = rig.session(credentials=credentials, deadline=0.0)
        for answer in answers:
            rig.emulator.script.next(Garbled(json.dumps(answer).encode()))
            handle = await session.submit(MarkChange("amy", BOB, ConversationMark.FAVORITE))
            result = await handle.settled()
            shown = f"{result!r} {result.error} {pickle.dumps(result.error)!r} {caplog.text}"

            assert not result.ok
            assert form not in shown
            assert USERSIG[-17:] not in shown
            assert KEY not in shown


def _locals_of(error: BaseException | None) -> str:
    """Return the local variables of all frames of chatmark and below in an error and its causes."""
    shown = []
    while error is not None:
        frames = traceback.walk_tb(error.__traceback__)
        shown += [
            repr(frame.f_locals) for frame, _ in frames if frame.f_code.co_filename != __file__
        ]
        shown.append(repr(error))
        error = error.__cause__ or error.__context__
    return " ".join(shown)


async def test_an_answer_of_texts(rig: VirtualRig) -> None:
    """Texts of an answer are looked through up to 100,000 characters; the others are left out."""
    lines = [
        {"ContactItem": {"Type": 1, "To_Account": f"peer_{n}"}, "ResultCode": 50001}
        | {"ResultInfo": "x" * 400}
        for n in range(2_000)
    ]
    answer = json.dumps({"ErrorCode": 0, "ResultItem": lines}).encode()
    rig.emulator.script.always(Garbled(answer))
    session = rig.session()
    found = {}
    for number in (0, 249, 250, 1_999):
        handle = await session.submit(change("ann", f"peer_{number}"))
        found[number] = (await handle.settled()).info
    left_out = "left out: the answer has too many texts"

    assert {0: "x" * 400, 249: "x" * 400, 250: left_out, 1_999: left_out} == found


class TestFrames:
    """Tools that report errors show the local variables of each frame."""

    @pytest.mark.parametrize(
        "make",
        [
            lambda: Credentials(sdkappid=0, identifier="a", secret_key=KEY),
            lambda: Credentials(sdkappid=1, identifier="a", secret_key=KEY + "\0"),
            lambda: Credentials(sdkappid=1, identifier="a", secret_key=KEY, usersig=USERSIG),
            lambda: make_usersig(1, "a", KEY, now=0, expire=0),
            lambda: RedisBudget.from_url(f"redis://:{KEY}@h?nonsense=1", key="k"),
            lambda: RedisBudget.from_url(f"redis://:{KEY}@h", key="{}"),
        ],
        ids=["sdkappid", "characters", "both", "expire", "option", "key"],
    )
    def test_of_wrong_arguments(self, make: Callable[[], object]) -> None:
        """No frame of chatmark in an error about an argument holds a secret."""
        with pytest.raises(InputError) as caught:
            make()

        assert KEY not in _locals_of(caught.value)

    def test_of_the_environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """An error about the environment does not hold all of it."""
        monkeypatch.setenv("CHATMARK_SECRET_KEY", KEY)
        monkeypatch.setenv("CHATMARK_SDKAPPID", "none")
        with pytest.raises(InputError) as caught:
            Credentials.from_env()

        assert KEY not in _locals_of(caught.value)

    async def test_of_a_cancelled_reading(self, rig: VirtualRig) -> None:
        """A reading that is cancelled in flight takes no frame along that holds the query."""
        rig.emulator.script.next(Hang())
        session = rig.session()
        reading = asyncio.ensure_future(session.search("ann", [Conversation.one_to_one("bob")]))
        await rig.until(lambda: not rig.emulator.script.pending)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError) as caught:
            await reading

        assert "'usersig':" not in _locals_of(caught.value)

    @pytest.mark.parametrize("answers", [False, True], ids=["refused", "tunnel that ends"])
    async def test_of_a_proxy(self, *, answers: bool) -> None:
        """The cause of an error about a proxy does not show the proxy's password."""

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1] if answers else 1
        proxy = f"http://user:{KEY}@127.0.0.1:{port}"
        async with server, aiohttp.ClientSession(proxy=proxy) as http:
            url = "https://127.0.0.1:2"
            transport = AiohttpTransport(url, timeout=5.0, connections=1, http=http)
            reply = await transport.post("v4/x", {"usersig": USERSIG}, b"{}")

        assert isinstance(reply, NoAnswer)
        assert KEY not in _locals_of(reply.error)
