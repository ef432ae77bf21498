import asyncio
import copy
import logging
import pickle
import traceback
from collections.abc import Iterator

import pytest
from rig import Rig

from chatmark import (
    ChatmarkError,
    Conversation,
    ConversationMark,
    Credentials,
    InputError,
    MarkSession,
    make_usersig,
)
from chatmark.emulator import (
    CutBody,
    Empty,
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

KEY = "example-secret-not-real"
USERSIG = make_usersig(1400000001, "administrator", KEY, now=1_700_000_000, expire=10**9)
SECRETS = (USERSIG, KEY, "usersig=", "&identifier=")
BOB = Conversation.one_to_one("bob")
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
]


def texts(error: BaseException) -> Iterator[str]:
    """
    Return everything that an error shows of itself, its causes and its frames' variables.
    """
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


def echo() -> Garbled:
    """
    Return the answer of a server that repeats the signature.
    """
    text = '{"ActionStatus": "FAIL", "ErrorCode": 50002, "ErrorInfo": "bad: %s"}'
    return Garbled((text % USERSIG).encode())


def signed() -> Credentials:
    """
    Return credentials with a ready signature.
    """
    return Credentials(sdkappid=1400000001, identifier="administrator", usersig=USERSIG)


class TestSecrets:
    @pytest.mark.parametrize("fault", FAULTS, ids=repr)
    async def test_no_fault_shows_one(
        self, rig: Rig, fault: object, caplog: pytest.LogCaptureFixture
    ) -> None:
        """
        No error, log line at DEBUG, repr or pickle holds a signature, a key or a query string.
        """
        caplog.set_level(logging.DEBUG)
        rig.emulator.script.always(fault)  # type: ignore[arg-type]
        credentials = signed()
        events: list[object] = []
        session = rig.session(
            credentials=credentials, deadline=0.0, timeout=0.05, hooks=[events.append]
        )
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

        assert events
        assert [] == [n for n, secret in enumerate(SECRETS) if secret in shown]

    async def test_a_server_that_repeats_one_is_not_quoted(self, rig: Rig) -> None:
        """
        A signature in the server's own text is hidden.
        """
        rig.emulator.script.always(echo())
        session = rig.session(credentials=signed(), deadline=0.0)
        with pytest.raises(ChatmarkError, match=r"bad: \*\*\*") as caught:
            await session.mark("alice", BOB, set_mark=ConversationMark.FAVORITE)
        shown = "\n".join(texts(caught.value))

        assert [] == [n for n, secret in enumerate(SECRETS) if secret in shown]

    async def test_an_unreachable_host_shows_none(self, rig: Rig) -> None:
        """
        A refused connection names the host, and nothing of the query.
        """
        await rig.emulator.stop()
        session = rig.session(deadline=0.0)
        with pytest.raises(ChatmarkError, match=r"cannot connect to 127\.0\.0\.1") as caught:
            await session.mark("alice", BOB, set_mark=ConversationMark.FAVORITE)
        shown = "\n".join(texts(caught.value))

        assert [] == [n for n, secret in enumerate(SECRETS) if secret in shown]

    def test_credentials_keep_theirs(self) -> None:
        """
        Credentials can be neither printed nor pickled nor copied into the open.
        """
        credentials = Credentials(sdkappid=1, identifier="administrator", secret_key=KEY)

        assert KEY not in f"{credentials!r} {credentials} {vars(MarkSession)}"
        with pytest.raises(TypeError, match="secret"):
            pickle.dumps(credentials)
        with pytest.raises(TypeError, match="secret"):
            copy.copy(credentials)

    def test_a_bad_one_is_not_repeated(self) -> None:
        """
        An error about a secret does not quote it.
        """
        with pytest.raises(InputError) as caught:
            Credentials(sdkappid=1, identifier="a", secret_key=12345678)

        assert "12345678" not in str(caught.value)

    async def test_a_failing_provider_shows_none(self, rig: Rig) -> None:
        """
        What a provider of signatures raised is the cause, and not in the message.
        """

        async def provide() -> str:
            await asyncio.sleep(0)
            raise LookupError("vault said: " + KEY)

        credentials = Credentials(sdkappid=1400000001, identifier="administrator", provider=provide)
        session = rig.session(credentials=credentials, deadline=0.0)
        with pytest.raises(ChatmarkError, match="LookupError") as caught:
            await session.mark("alice", BOB, set_mark=ConversationMark.FAVORITE)

        assert KEY not in str(caught.value)
        assert [] == rig.emulator.calls
