import asyncio
import gc
import logging
import pickle
import ssl
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from virtual_rig import BOB, FAVORITE, VirtualRig, change, changes

from chatmark import (
    CallBudget,
    Conversation,
    ConversationMark,
    Credentials,
    InputError,
    ItemRefusedError,
    MarkChange,
    MarkSession,
    QueueFullError,
    Region,
    SessionClosedError,
    WithdrawnError,
)
from chatmark.codes import Command
from chatmark.emulator import Delay, Hang, Refuse
from chatmark.http.transport import AiohttpTransport

pytestmark = pytest.mark.virtual_time

CREDENTIALS = Credentials(sdkappid=1400000001, identifier="administrator", secret_key="example")
TEAM = [Conversation.one_to_one(f"peer_{number}") for number in range(250)]


class TestFromEnv:
    """A session for the application that the environment names."""

    @pytest.fixture(autouse=True)
    def environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Name the application."""
        monkeypatch.setenv("CHATMARK_SDKAPPID", "1400000001")
        monkeypatch.setenv("CHATMARK_SECRET_KEY", "example-secret-not-real")
        monkeypatch.delenv("CHATMARK_REGION", raising=False)
        monkeypatch.delenv("CHATMARK_BASE_URL", raising=False)

    def test_region(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The region is read by its name."""
        monkeypatch.setenv("CHATMARK_REGION", "silicon-valley")

        assert Region.SILICON_VALLEY.host in MarkSession.from_env().target

    async def test_base_url(self, rig: VirtualRig, monkeypatch: pytest.MonkeyPatch) -> None:
        """A base URL is taken in its place, and options are passed on."""
        for name, value in rig.emulator.credentials_environment().items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("CHATMARK_BASE_URL", rig.emulator.url)
        async with MarkSession.from_env(calls_per_second=None) as session:
            await session.mark("user_0001", BOB, set_mark=FAVORITE)
        # The rig knows nothing of this session.
        rig.emulator.state.clear()

    def test_option_wins(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """An option that is given wins over the environment."""
        monkeypatch.setenv("CHATMARK_BASE_URL", "https://example.com")

        assert Region.TOKYO.host in MarkSession.from_env(region="tokyo").target

    @pytest.mark.parametrize(
        ("rate", "options", "expected"),
        [
            ("", {}, 190),
            ("50", {}, 50),
            ("190/8", {}, 23.75),
            ("0", {}, None),
            ("190/8", {"calls_per_second": "30/2"}, 15),
            ("190/8", {"budget": CallBudget(7)}, 7),
        ],
    )
    def test_rate(
        self,
        monkeypatch: pytest.MonkeyPatch,
        rate: str,
        options: dict[str, Any],
        expected: float | None,
    ) -> None:
        """CHATMARK_RATE divides the pace among workers, unless the caller has an own one."""
        monkeypatch.setenv("CHATMARK_RATE", rate)
        session = MarkSession.from_env(region="tokyo", **options)
        budget = session._client.budget_of(Command.MARK_CONTACT)

        assert expected == getattr(budget, "calls_per_second", None)

    @pytest.mark.parametrize("rate", ["190/0", "fast"])
    def test_no_rate(self, monkeypatch: pytest.MonkeyPatch, rate: str) -> None:
        """The error names the variable and says what to write."""
        monkeypatch.setenv("CHATMARK_RATE", rate)
        with pytest.raises(InputError, match=r'CHATMARK_RATE: must be .*"190/8"'):
            MarkSession.from_env(region="tokyo")

    @pytest.mark.parametrize(
        "variables",
        [
            {},
            {"CHATMARK_REGION": "tokyo", "CHATMARK_BASE_URL": "https://example.com"},
            {"CHATMARK_REGION": "atlantis"},
        ],
        ids=["neither", "both", "unknown"],
    )
    def test_refused(self, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]) -> None:
        """The error names the variable."""
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(InputError, match=r"^CHATMARK_REGION: "):
            MarkSession.from_env()


class TestArguments:
    """Arguments that exclude each other."""

    @pytest.mark.parametrize("rate", [10, None])
    def test_budget(self, rate: float | None) -> None:
        """A budget has its own rate."""
        with pytest.raises(InputError, match="budget: cannot be combined with calls_per_second"):
            MarkSession(CREDENTIALS, region="tokyo", budget=CallBudget(5), calls_per_second=rate)

    def test_transport(self) -> None:
        """A transport has its own certificates."""
        transport = AiohttpTransport("http://127.0.0.1:1", timeout=1, connections=1)
        context = ssl.create_default_context()
        with pytest.raises(InputError, match="transport: cannot be combined"):
            MarkSession(CREDENTIALS, region="tokyo", transport=transport, ssl_context=context)


class TestMarkMany:
    """One change for many conversations of one user."""

    async def test_all(self, rig: VirtualRig) -> None:
        """Each conversation is marked once, in full requests, repeats and a generator included."""
        session = rig.session()
        await session.mark("amy", BOB, set_mark=FAVORITE)
        before = len(rig.emulator.calls)
        report = await session.mark_many(
            "amy", (each for each in [*TEAM, *TEAM]), set_mark=FAVORITE, custom_mark="x"
        )

        assert (250, True, 250) == (report.total, report.ok, report.succeeded)
        assert 3 == report.calls == len(rig.emulator.calls) - before

        found = {each.conversation: each async for each in session.marked("amy")}

        assert {(FAVORITE, "x")} == {(found[each].mark, found[each].custom_mark) for each in TEAM}

    @pytest.mark.parametrize(
        ("conversations", "options"),
        [
            ([BOB, "bob"], {"set_mark": FAVORITE}),
            ("bob", {"set_mark": FAVORITE}),
            ([BOB], {}),
            ([BOB], {"set_mark": ConversationMark(1 << 5)}),
            ([], {"set_mark": ConversationMark(1 << 5)}),
            ([], {}),
        ],
        ids=["an element", "a text", "nothing", "reserved", "reserved of none", "nothing of none"],
    )
    async def test_checked_before_anything_is_sent(
        self, rig: VirtualRig, conversations: Any, options: dict[str, Any]
    ) -> None:
        """A wrong element or change is an error, even of no conversation, and costs no call."""
        session = rig.session()
        with pytest.raises(InputError):
            await session.mark_many("amy", conversations, **options)

        assert (0, 0) == (session.stats.accepted, session.stats.calls)

    async def test_reserved_bits_when_allowed(self, rig: VirtualRig) -> None:
        """Bits of Chat are let through when the caller opts in."""
        mark = ConversationMark(1 << 5)
        report = await rig.session().mark_many("amy", [BOB], set_mark=mark, allow_reserved=True)

        assert report.total == 1

    async def test_failures_are_data(self, rig: VirtualRig) -> None:
        """One that is refused alone fails, and the others do not."""
        rig.emulator.script.item((1, "peer_3"), 51008, times=None)
        report = await rig.session().mark_many("amy", TEAM, set_mark=FAVORITE)

        assert (249, 1, {51008: 1}) == (report.succeeded, report.failed, report.failures_by_code)
        assert [TEAM[3]] == [each.change.conversation for each in report.failures]

    async def test_more_than_the_session_holds(self, rig: VirtualRig) -> None:
        """More conversations than max_pending go as there is room."""
        report = await rig.session(max_pending=20).mark_many("amy", TEAM, set_mark=FAVORITE)

        assert 250 == report.succeeded

    async def test_cancelled(self, rig: VirtualRig) -> None:
        """What was never sent is withdrawn."""
        session = rig.session()
        await session.mark("amy", BOB, set_mark=FAVORITE)
        rig.emulator.script.always(Hang())
        task = asyncio.ensure_future(session.mark_many("amy", TEAM, set_mark=FAVORITE))
        await rig.in_flight(session)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

        assert (251, 100, 150) == (
            session.stats.accepted,
            session.stats.pending,
            session.stats.withdrawn,
        )


class TestSubmitNowait:
    """A change that is accepted at once, or refused."""

    async def test_full(self, rig: VirtualRig) -> None:
        """A full session refuses it, and takes it when there is room."""
        session = rig.session(max_pending=1, linger=50.0)
        first = session.submit_nowait(change())
        with pytest.raises(QueueFullError, match=r"^alice c2c_bob: ") as caught:
            session.submit_nowait(change())

        assert caught.value.change == change()
        assert first.cancel()
        assert session.submit_nowait(change()).change == change()

    async def test_closed(self, rig: VirtualRig) -> None:
        """The error of a closed session says which change it did not take."""
        session = rig.session()
        await session.close()
        for submit in (session.submit_nowait, session.submit):
            with pytest.raises(SessionClosedError, match=r"^alice c2c_bob: ") as caught:
                await submit(change())

            assert caught.value.change == change()


class TestTag:
    """An object of the caller's that comes back with the result."""

    async def test_comes_back(self, rig: VirtualRig) -> None:
        """The tag is neither compared, nor sent, nor lost when changes are merged."""
        tags = [object(), object()]
        wanted = [MarkChange("amy", BOB, FAVORITE, tag=tag) for tag in tags]
        async with rig.session() as session:
            results = [result async for result in session.stream(wanted)]

        assert wanted[0] == wanted[1]
        assert hash(wanted[0]) == hash(wanted[1])
        assert tags == [result.change.tag for result in results]
        assert "tag" not in repr(wanted[0])


class TestSources:
    """Sources of changes and of sequences of them."""

    async def test_sequences(self, rig: VirtualRig) -> None:
        """Sequences may stand among changes, in an iterable and in an async one."""
        wanted = list(changes(10))

        def plain() -> Iterator[Any]:
            yield wanted[:4]
            yield wanted[4]
            yield ()
            yield tuple(wanted[5:])

        async def later() -> AsyncIterator[Any]:
            for some in plain():
                yield some

        async with rig.session() as session:
            first = [result.change async for result in session.stream(plain())]
            second = [result.change async for result in session.stream(later())]
            report = await session.apply(plain())

        assert wanted == first == second
        assert 10 == report.succeeded


class TestHandle:
    """What a handle shows: what a future shows, and nothing of the core."""

    async def test_is_a_future(self, rig: VirtualRig) -> None:
        """A change took effect, failed, or was withdrawn, which is to be cancelled."""
        rig.emulator.script.item((1, "full"), 51008)
        session = rig.session(linger=50.0)
        good, full, gone = [session.submit_nowait(change(peer=p)) for p in ("bob", "full", "eve")]

        assert gone.cancel()
        assert await good == good.result
        assert not (await full.settled()).ok
        assert (await gone.settled()).withdrawn
        assert [True] * 3 == [each.done() for each in (good, full, gone)]
        assert [False, False, True] == [each.cancelled() for each in (good, full, gone)]
        assert [type(None), ItemRefusedError, WithdrawnError] == [
            type(each.exception()) for each in (good, full, gone)
        ]
        for failed, error in ((full, ItemRefusedError), (gone, WithdrawnError)):
            with pytest.raises(error):
                await failed

    async def test_is_not_pickled(self, rig: VirtualRig) -> None:
        """A handle cannot be copied, and says why."""
        handle = await rig.session().submit(change())
        with pytest.raises(TypeError, match="belongs to its session"):
            pickle.dumps(handle)

    async def test_dropped_before_its_failure(
        self, rig: VirtualRig, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A handle that goes before its change fails leaves a WARNING all the same."""
        rig.emulator.script.always(Delay(0.01, Refuse(51008)))
        async with rig.session() as session:
            await session.submit(change())
            gc.collect()
            with caplog.at_level(logging.WARNING, "chatmark"):
                await session.flush()

        assert "1 with 51008" in caplog.text
