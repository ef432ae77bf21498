import asyncio
import socket
from collections.abc import Callable
from typing import Any, Final

import aiohttp
import attrs
import pytest
from aiohttp.abc import AbstractResolver, ResolveResult
from virtual_rig import BOB, VirtualRig, change, changes

from chatmark import (
    AnswerError,
    AttemptTimeoutError,
    ChatmarkError,
    Conversation,
    ConversationGroups,
    DeadlineExceededError,
    RequestEnded,
    TransportError,
)
from chatmark.emulator import (
    CloseAfterAnswer,
    CutBody,
    Delay,
    Drip,
    Empty,
    Fault,
    Garbled,
    Giant,
    Hang,
    Html,
    Redirect,
    ResetAfter,
    ResetBefore,
    Status,
)

pytestmark = pytest.mark.virtual_time


@attrs.frozen
class OtherType(Fault):
    """Answer as usual, but say that it is something else."""

    content_type: str = "text/html"

    def reply(self, answer: Any) -> Any:
        """Return the true answer under another content type."""
        return attrs.evolve(Fault.reply(self, answer), content_type=self.content_type)


@attrs.frozen
class Case:
    """
    A fault of the network or of HTTP.

    Args:
        name: In words.
        fault: What the emulator does.
        reason: What the counters call it.
        error: What a caller is told in the end.
        seconds: The most time that one occurrence costs.
    """

    name: str
    fault: Fault
    reason: str
    error: type[ChatmarkError] = AnswerError
    seconds: float = 1.0


def _garbled(name: str, body: bytes) -> Case:
    return Case(f"200 with {name}", Garbled(body), "unreadable")


CASES: Final = (
    # 1. Network.
    Case("reset before the request is read", ResetBefore(), "dropped", TransportError, 0.0),
    Case(
        "closed before the request is read", ResetBefore(rst=False), "dropped", TransportError, 0.0
    ),
    Case("reset after it took effect", ResetAfter(), "dropped", TransportError, 0.0),
    Case("closed after it took effect", ResetAfter(rst=False), "dropped", TransportError, 0.0),
    Case("body cut before its first byte", CutBody(0.0), "dropped", TransportError, 0.0),
    Case("body cut in the middle", CutBody(0.5), "dropped", TransportError, 0.0),
    Case("body cut before its last byte", CutBody(1.0), "dropped", TransportError, 0.0),
    Case("body slower than an attempt", Drip(1.0), "timeout", AttemptTimeoutError, 11.0),
    Case("never answers", Hang(), "timeout", AttemptTimeoutError, 11.0),
    Case("never answers, but applies", Hang(applied=True), "timeout", AttemptTimeoutError, 11.0),
    Case("answers after the attempt", Delay(10.5), "timeout", AttemptTimeoutError, 11.0),
    # 2. HTTP.
    Case("408", Status(408), "408"),
    Case("425", Status(425), "425"),
    Case("429", Status(429), "429"),
    Case("429 with Retry-After 0", Status(429, retry_after="0"), "429"),
    Case("429 with a negative Retry-After", Status(429, retry_after="-3"), "429"),
    Case("429 with a page", Status(429, html=True), "429"),
    Case("500", Status(500), "500"),
    Case("502 with HTML", Status(502, html=True), "502"),
    Case("503", Status(503), "503"),
    Case("503 with Retry-After 0", Status(503, retry_after="0"), "503"),
    Case("504", Status(504), "504"),
    Case("504 although it took effect", Status(504, applied=True), "504"),
    Case("599", Status(599), "599"),
    Case("200 with an empty body", Empty(), "unreadable"),
    _garbled("truncated JSON", b'{"ResultItem":[{"OptType"'),
    _garbled("bytes that are no UTF-8", b"\xff\xfe\x00{"),
    _garbled("a list", b"[]"),
    _garbled("null", b"null"),
    _garbled("a number", b"0"),
    _garbled("an empty object", b"{}"),
    _garbled("JSON nested ten thousand deep", b"[" * 10_000),
    _garbled("a code that is a list", b'{"ActionStatus":"OK","ErrorCode":[],"ResultItem":[]}'),
    _garbled("JSON of another API", b'{"ok": true, "data": []}'),
    Case("a giant body", Giant(100_000_000), "size", TransportError),
)
EVERY: Final = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


class TestOnce:
    @EVERY
    async def test_is_survived(self, rig: VirtualRig, case: Case) -> None:
        """
        The second attempt succeeds, the reason is counted, and a newer change that waits stays.
        """
        rig.emulator.script.next(case.fault)
        session = rig.session()
        older = await session.submit(change("alice", "bob", custom_mark="older"))
        await asyncio.sleep(0)
        newer = await session.submit(change("alice", "bob", custom_mark="newer"))
        result = await older

        assert (2, True) == (result.attempts, rig.now <= case.seconds)
        assert {case.reason: 1} == dict(session.stats.retries_by_reason)
        assert (await newer).ok
        assert {("alice", 1, "bob"): (0, "newer")} == rig.emulator.state.snapshot()

    @EVERY
    async def test_among_others(self, rig: VirtualRig, case: Case) -> None:
        """
        Each fault, in one request of twelve: all changes take effect, nothing is sent needlessly.
        """
        session = rig.session()
        rig.emulator.script.next(None, None, case.fault)
        report = await session.apply(changes(1200, 12))

        assert (1200, 13) == (report.succeeded, report.calls)

    @EVERY
    async def test_reading(self, rig: VirtualRig, case: Case) -> None:
        """Each fault, of a reading call: it is read again."""
        session = rig.session()
        await session.mark("alice", BOB, custom_mark="x")
        rig.emulator.script.next(case.fault)
        found = await session.search("alice", [BOB])
        rig.emulator.script.next(case.fault)

        assert "x" == found[BOB].custom_mark
        assert [] == await session.groups.list("alice")


@EVERY
async def test_for_ever(rig: VirtualRig, case: Case) -> None:
    """Each fault, for ever: a typed error at the deadline, give or take one attempt."""
    rig.emulator.script.always(case.fault)
    session = rig.session()
    calls = (session.mark("alice", BOB, custom_mark="x"), session.search("alice", [BOB]))
    for error in await asyncio.gather(*calls, return_exceptions=True):
        assert isinstance(error, DeadlineExceededError)
        assert case.error is type(error.last)

    assert 60.0 <= rig.now <= 70.0
    assert len(rig.emulator.calls) < 120
    rig.emulator.script.clear()


CAROL: Final = Conversation.one_to_one("carol")
#: Each call that changes conversation groups, and the groups of alice after it.
GROUP_CALLS: Final[dict[str, tuple[Callable[[ConversationGroups], Any], dict[str, set[str]]]]] = {
    "create": (
        lambda groups: groups.create("alice", "new", [CAROL]),
        {"work": {"bob"}, "new": {"carol"}},
    ),
    "create empty": (
        lambda groups: groups.create("alice", "new"),
        {"work": {"bob"}, "new": set()},
    ),
    "rename": (lambda groups: groups.rename("alice", "work", "new"), {"new": {"bob"}}),
    "add": (lambda groups: groups.add("alice", "work", [CAROL, BOB]), {"work": {"bob", "carol"}}),
    "remove": (lambda groups: groups.remove("alice", "work", [CAROL, BOB]), {"work": set()}),
    "delete": (lambda groups: groups.delete("alice", "work"), {}),
}
EVERY_CALL: Final = pytest.mark.parametrize("call", GROUP_CALLS)
#: What differs to a call of groups: whether it took effect, and whether it still may.
KINDS: Final = pytest.mark.parametrize(
    "case",
    [
        Case("reset before", ResetBefore(), "dropped", TransportError, 0.0),
        Case("reset after", ResetAfter(), "dropped", TransportError, 0.0),
        Case("never answers, but applies", Hang(applied=True), "", AttemptTimeoutError, 11.0),
        Case("429", Status(429), "429"),
        Case("503", Status(503), "503"),
        Case("504 although it took effect", Status(504, applied=True), "504"),
        Case("an empty body", Empty(), "unreadable"),
    ],
    ids=lambda case: case.name,
)


def _groups_of(rig: VirtualRig) -> dict[str, set[str]]:
    return {
        name: {id_ for _, id_ in keys}
        for (_, name), keys in rig.emulator.state.contact_groups().items()
    }


class TestGroups:
    """Each kind of fault in each call of `session.groups`."""

    @KINDS
    @EVERY_CALL
    async def test_once(self, rig: VirtualRig, case: Case, call: str) -> None:
        """Once: the call succeeds, and its state is exact."""
        make, expected = GROUP_CALLS[call]
        rig.emulator.state.seed_contact_group("alice", 1, "work", [(1, "bob")])
        rig.emulator.script.next(case.fault)
        await make(rig.session().groups)

        assert expected == _groups_of(rig)
        # What the server may still execute is waited for before the groups are looked at.
        assert rig.now <= case.seconds + 3.0

    @KINDS
    @EVERY_CALL
    async def test_for_ever(self, rig: VirtualRig, case: Case, call: str) -> None:
        """For ever: an error at the deadline, which says whether the state is not known."""
        make, _ = GROUP_CALLS[call]
        before = {"work": {"bob"}}
        rig.emulator.state.seed_contact_group("alice", 1, "work", [(1, "bob")])
        rig.emulator.script.always(case.fault)
        with pytest.raises(DeadlineExceededError, match=r"^alice, group '") as caught:
            await make(rig.session().groups)
        is_unknown = caught.value.possibly_applied

        assert case.error is type(caught.value.last)
        assert is_unknown or before == _groups_of(rig)
        assert is_unknown == ("not known whether the call took effect" in str(caught.value))
        assert 60.0 <= rig.now <= 70.0


class _NoNames(AbstractResolver):
    """A resolver that knows no name."""

    def __init__(self) -> None:
        self.asked = 0
        self.known: str | None = None

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Fail as getaddrinfo does."""
        self.asked += 1
        if self.known is None:
            raise OSError(None, "Name or service not known")
        return [
            ResolveResult(
                hostname=host,
                host=self.known,
                port=port,
                family=family,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
        ]

    async def close(self) -> None:
        """Do nothing."""


class TestUnreachable:
    @pytest.mark.parametrize("deadline", [0.0, 60.0])
    async def test_refused(self, rig: VirtualRig, deadline: float) -> None:
        """A port where nobody listens: an error in the time that the deadline says."""
        await rig.emulator.stop()
        session = rig.session(deadline=deadline)
        with pytest.raises(
            DeadlineExceededError, match=r"cannot connect to 127\.0\.0\.1"
        ) as caught:
            await session.mark("alice", BOB, custom_mark="x")
        await rig.emulator.start()

        assert deadline <= rig.now <= deadline + 1.0
        assert isinstance(caught.value.last, TransportError)
        assert isinstance(caught.value.last.__cause__, OSError)

    async def test_refused_for_a_while(self, rig: VirtualRig) -> None:
        """A server that comes back: all changes take effect."""
        await rig.emulator.stop()
        session = rig.session()
        handles = [await session.submit(each) for each in changes(300, 7)]
        await asyncio.sleep(40)
        await rig.emulator.start()
        await session.flush()

        assert all(handle.result.ok for handle in handles)
        assert {"connection"} == set(session.stats.retries_by_reason)

    async def test_no_such_name(self, rig: VirtualRig) -> None:
        """
        A name that the DNS does not know: an error at the deadline that names it; then it knows it.
        """
        resolver = _NoNames()
        url = rig.emulator.url.replace("127.0.0.1", "localhost")
        connector = aiohttp.TCPConnector(resolver=resolver)
        async with aiohttp.ClientSession(connector=connector) as http:
            session = rig.session(http=http, base_url=url)
            with pytest.raises(DeadlineExceededError, match="localhost") as caught:
                await session.mark("alice", BOB, custom_mark="x")

            assert isinstance(caught.value.last, TransportError)
            assert "usersig" not in f"{caught.value!r} {caught.value.last.__cause__!r}"
            assert 60.0 <= rig.now <= 61.0
            assert 5 < resolver.asked < 60

            asyncio.get_running_loop().call_later(20, setattr, resolver, "known", "127.0.0.1")

            assert (await session.mark("alice", BOB, custom_mark="x")).ok
            assert 80.0 <= rig.now <= 91.0
            await session.close()

    async def test_restarts(self, rig: VirtualRig) -> None:
        """A server that stops and starts five times under a job: all changes take effect."""
        rig.emulator.script.always(Delay(0.1))
        session = rig.session()
        job = asyncio.create_task(session.apply(changes(3000, 30)))
        for _ in range(5):
            await asyncio.sleep(0.13)
            await rig.emulator.stop()
            await asyncio.sleep(0.5)
            await rig.emulator.start()
        report = await job

        assert 3000 == report.succeeded


class TestConnections:
    async def test_idle_connection_closed_behind_an_answer(self, rig: VirtualRig) -> None:
        """
        Keep-alive connections that the server closes unannounced cost a POST no failure, no wait.
        """
        rig.emulator.script.always(CloseAfterAnswer())
        session = rig.session()
        for number in range(20):
            await session.mark("alice", BOB, custom_mark=f"{number}")

        assert 0.0 == rig.now
        assert 20 == session.stats.succeeded

    @pytest.mark.virtual_time(keep_alive=5.0)
    async def test_idle_connection_closed_after_a_while(self, rig: VirtualRig) -> None:
        """Keep-alive connections that the server closed long ago cost a POST no failure."""
        session = rig.session()
        for number in range(10):
            await session.mark("alice", BOB, custom_mark=f"{number}")
            await asyncio.sleep(4.9 + number * 0.05)

        assert (10, 0) == (session.stats.succeeded, session.stats.failed)

    async def test_dropped_twice_waits_the_second_time(self, rig: VirtualRig) -> None:
        """The first attempt after a lost connection is made at once, the second after a backoff."""
        rig.emulator.script.next(ResetBefore(), ResetBefore())
        session = rig.session(backoff=lambda _: 3.0)
        await session.mark("alice", BOB, custom_mark="x")

        assert [0.0, 0.0, 3.0] == rig.started()

    async def test_no_more_connections_than_requests(self, rig: VirtualRig) -> None:
        """Failed answers of every kind leave no connection behind in the pool."""
        most = 0

        def hook(event: object) -> None:
            nonlocal most
            if isinstance(event, RequestEnded) and rig.emulator._server is not None:
                most = max(most, len(rig.emulator._server.connections))

        rig.emulator.script.randomly(0.5, [case.fault for case in CASES])
        session = rig.session(hooks=[hook], max_in_flight=4, deadline=1000.0)
        await session.apply(changes(3000, 30))

        assert most <= 4 + 4

    @pytest.mark.parametrize("content_type", ["text/plain; charset=gbk", "x"])
    async def test_wrong_content_type(self, rig: VirtualRig, content_type: str) -> None:
        """A right answer under another content type is a right answer."""
        rig.emulator.script.next(OtherType(content_type=content_type))
        session = rig.session()
        result = await session.mark("alice", BOB, custom_mark="x")

        assert (True, 1) == (result.ok, result.attempts)


class TestFinal:
    @pytest.mark.parametrize(
        "fault",
        [
            *(Status(status) for status in (201, 204, 400, 401, 403, 404, 405, 410, 422)),
            Status(404, html=True),
            *(Redirect("http://127.0.0.1:9/", status=code) for code in (301, 302, 307)),
        ],
        ids=lambda fault: str(fault.status) + str(getattr(fault, "html", "")),
    )
    async def test_no_answer_of_the_api(self, rig: VirtualRig, fault: Any) -> None:
        """
        A status that the API never gives and that no gateway gives for a fault is final: one call.
        """
        rig.emulator.script.always(fault)
        session = rig.session()
        handles = [await session.submit(each) for each in changes(500, 50)]
        results = [await handle.settled() for handle in handles]

        assert {AnswerError} == {type(result.error) for result in results}
        assert f"HTTP {fault.status}" in str(results[0].error)
        assert (0.0, 1) == (rig.now, len(rig.emulator.calls))


GATEWAY: Final = pytest.mark.parametrize(
    "fault", [Html(), Status(302), Status(403), Status(404)], ids=repr
)


class TestGateway:
    """A status or a page that is not the API's."""

    @GATEWAY
    async def test_passes(self, rig: VirtualRig, fault: Fault) -> None:
        """From a server that has served this session it is a passing fault."""
        session = rig.session()
        await session.mark("alice", BOB, custom_mark="x")
        rig.emulator.script.next(fault, fault)
        result = await session.mark("alice", BOB, custom_mark="y")

        assert 3 == result.attempts

    @GATEWAY
    @pytest.mark.parametrize("served", [False, True])
    async def test_is_the_end(self, rig: VirtualRig, served: bool, fault: Fault) -> None:
        """At first contact it is the end at once, and where there are several in a row."""
        session = rig.session()
        if served:
            await session.mark("alice", BOB, custom_mark="x")
        rig.emulator.script.always(fault)
        before = len(rig.emulator.calls)
        with pytest.raises(AnswerError):
            await session.mark("alice", BOB, custom_mark="y")

        assert 1 + 4 * served == len(rig.emulator.calls) - before
