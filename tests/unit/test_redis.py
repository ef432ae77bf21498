import asyncio
import contextlib
import itertools
import logging
import math
import pathlib
import ssl
import time
import traceback
from collections.abc import AsyncGenerator, Callable, Iterator
from typing import Any

import attrs
import pytest
import trustme
import virtual_time
from paths import ROOT
from redis_server import MISSING, RedisServer, SentinelTrio, free_port
from rig import Rig, model_state, windows
from scripted_redis import HTTP, scripted_redis
from virtual_time import in_virtual_loop

if MISSING is not None:
    pytest.skip(MISSING, allow_module_level=True)

import redis.asyncio
from shared_rig import terms

from chatmark import (
    BudgetError,
    Conversation,
    ConversationMark,
    InputError,
    MarkChange,
    SessionBrokenError,
    SessionError,
)
from chatmark.cli.app import run
from chatmark.emulator import Refuse
from chatmark.pacing.budget import CallOutcome
from chatmark.pacing.shared.member import Member, UnreachableError
from chatmark.pacing.shared.store import RIGHTS, BudgetServer, UrlClient, keys_of
from chatmark.redis import RedisBudget

PASSWORD = "example-password-not-real"
FAVORITE = ConversationMark.FAVORITE


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    """A server of this file's own, with a password."""
    with RedisServer(PASSWORD) as server:
        yield server


@pytest.fixture
async def open_key(server: RedisServer, request: pytest.FixtureRequest) -> str:
    """A key whose count others have used and left, so that nobody waits for it to begin."""
    key = f"test:{request.node.name}".replace("[", ":").replace("]", "")
    with redis.Redis.from_url(server.url) as client:
        open_count(client, key)
    return key


def open_count(client: Any, key: str) -> None:
    """Let a count be one that others have used and left."""
    seconds, _ = client.time()
    client.hset(f"{{{key}}}:state", "last", (seconds - 10) * 1_000_000)


def changes(name: str, count: int) -> list[MarkChange]:
    """Return changes that need a call each: one for each user."""
    team = Conversation.group("team")
    return [MarkChange(f"{name}-{number}", team, FAVORITE) for number in range(count)]


@contextlib.asynccontextmanager
async def applying(
    rig: Rig, budgets: list[RedisBudget], todo: list[list[MarkChange]]
) -> AsyncGenerator[list[int]]:
    """Apply changes through a session of each budget; give how many took effect, at the end."""
    sessions = [rig.session(budget=budget) for budget in budgets]
    jobs = [
        asyncio.create_task(session.apply(each))
        for session, each in zip(sessions, todo, strict=True)
    ]
    succeeded: list[int] = []
    yield succeeded
    succeeded += [report.succeeded for report in await asyncio.gather(*jobs)]
    for session, budget in zip(sessions, budgets, strict=True):
        await session.close()
        await budget.aclose()
    assert rig.emulator.state.snapshot() == model_state(itertools.chain(*todo))


class TestRedisBudget:
    """Budgets that meet at a real server."""

    async def test_sessions_share_it(self, rig: Rig, server: RedisServer, open_key: str) -> None:
        """Sessions of several budgets together keep to its calls a second."""
        budgets = [
            RedisBudget.from_url(server.url, key=open_key, calls_per_second=40, most_way=0.5)
            for _ in range(3)
        ]
        todo = [changes(f"user{number}", 25) for number in range(3)]
        async with applying(rig, budgets, todo) as succeeded:
            pass

        assert [25, 25, 25] == succeeded
        assert windows(call.started for call in rig.emulator.calls) <= 40

    async def test_reading_has_a_count_of_its_own(self, server: RedisServer, open_key: str) -> None:
        """Each command has its keys, which share a hash tag."""
        async with RedisBudget.from_url(server.url, key=open_key) as budget:
            (await budget.acquire()).done(CallOutcome.UNKNOWN)
            await budget.of("get_contact_group").connect()
            with redis.Redis.from_url(server.url) as client:
                keys = {key.decode() for key in client.keys(f"{{{open_key}}}:*")}

        assert {f"{{{open_key}}}:alive", f"{{{open_key}}}:get_contact_group:alive"} <= keys
        assert budget.of("mark_contact") is budget

    @in_virtual_loop
    async def test_marks_leave_the_calls_of_reading(self) -> None:
        """A pause of marks leaves reading its whole pace, and the other way round."""
        async with scripted(ScriptedClient(trip=0.01)) as budget:
            reading = budget.of("get_contact_group")
            for each in (budget, reading):
                await calls_within(each, 3.0)
            for paused, other in ((budget, reading), (reading, budget)):
                paused.pause(30.0)
                assert await calls_within(other, 1.0) > 190
                await asyncio.sleep(30.0)

    @pytest.mark.parametrize("is_cancelled", [True, False])
    @in_virtual_loop
    async def test_closed(self, *, is_cancelled: bool) -> None:
        """
        A call that waits is told, and no command's task goes on, even if closing is cancelled.
        """
        budget = scripted(ScriptedClient(trip=0.01))
        reading = budget.of("get_contact_group")
        for each in (budget, reading):
            (await each.acquire()).done(CallOutcome.UNKNOWN)
        budget.pause(60.0)
        waiter = asyncio.create_task(budget.acquire())
        await asyncio.sleep(0.1)
        closing = asyncio.create_task(budget.aclose())
        await asyncio.sleep(0)
        if is_cancelled:
            closing.cancel()
        await asyncio.wait([closing])
        await budget.aclose()
        for call in (waiter, budget.acquire(), reading.acquire(), budget.of("other").acquire()):
            with pytest.raises(SessionError, match="closed"):
                await call

        assert "chatmark-budget" not in {task.get_name() for task in asyncio.all_tasks()}

    async def test_slow_down_is_everybodys(
        self, rig: Rig, server: RedisServer, open_key: str
    ) -> None:
        """When Chat tells one process to slow down, another process pauses, too."""
        async with (
            RedisBudget.from_url(server.url, key=open_key) as told,
            RedisBudget.from_url(server.url, key=open_key) as other,
        ):
            (await other.acquire()).done(CallOutcome.UNKNOWN)
            rig.emulator.script.next(Refuse(60007))
            session = rig.session(budget=told)
            handle = await session.submit(changes("user", 1)[0])
            while not session.stats.pauses:
                await asyncio.sleep(0)
            began = asyncio.get_running_loop().time()
            # The other hears of it when it asks.
            member = told._keeper().member
            while member._told_until < member._pause_until or member._told:
                await asyncio.sleep(0)
            (await other.acquire()).done(CallOutcome.UNKNOWN)
            waited = asyncio.get_running_loop().time() - began
            assert (await handle.settled()).ok
            await session.close()

        assert waited > 0.9

    async def test_killed_and_started_again(self, rig: Rig, server: RedisServer) -> None:
        """
        A server that dies in the middle of a job and comes back empty loses and doubles nothing.
        """
        rate = 40
        with RedisServer() as mortal:
            budgets = [
                RedisBudget.from_url(mortal.url, key="k", calls_per_second=rate, most_way=0.5)
                for _ in range(2)
            ]
            todo = [changes(f"user{number}", 30) for number in range(2)]
            async with applying(rig, budgets, todo) as succeeded:
                while len(rig.emulator.calls) < 10:
                    await asyncio.sleep(0.01)
                mortal.kill()
                while len(rig.emulator.calls) < 20:
                    await asyncio.sleep(0.01)
                mortal.start()

        assert [30, 30] == succeeded
        assert len(rig.emulator.calls) == 60
        assert windows(call.started for call in rig.emulator.calls) <= rate + rate / 2

    async def test_one_warning(
        self, caplog: pytest.LogCaptureFixture, tmp_path: pathlib.Path
    ) -> None:
        """
        A server that is not there is one warning for each command, which says what happens instead.
        """
        budget = RedisBudget.from_url(f"unix://{tmp_path}/none", key="k", calls_per_second=190)
        async with budget:
            for _ in range(3):
                (await budget.acquire()).done(CallOutcome.UNKNOWN)
            # It is looked for again.
            member = budget._keeper().member
            last = member._asked_at
            while member._asked_at == last:
                await asyncio.sleep(0)
            again = member._asked_at
            (await budget.of("search_contact_group").acquire()).done(CallOutcome.UNKNOWN)
        record, other = caplog.records

        assert "budget of mark_contact at" in record.getMessage()
        assert "budget of search_contact_group at" in other.getMessage()
        assert again - last >= 0.5
        assert record.levelno == logging.WARNING
        assert "19 calls a second, its share among 10" in record.getMessage()

    @in_virtual_loop
    async def test_permits_come_back(self) -> None:
        """
        An unused permit is the next caller's, and cancelling a waiter leaves the next one its turn.
        """
        async with scripted(ScriptedClient(fault=ConnectionError)) as budget:
            permit = await budget.acquire()
            waiter = asyncio.create_task(budget.acquire())
            await asyncio.sleep(0.01)
            waiter.cancel()
            permit.done(CallOutcome.UNUSED)
            (await budget.acquire()).done(CallOutcome.UNKNOWN)

        assert 0.01 == pytest.approx(asyncio.get_running_loop().time())

    def test_next_loop(self, server: RedisServer) -> None:
        """
        The next `asyncio.run`, or a fork, goes on with it by another name; no loop does beside.
        """
        budget = RedisBudget.from_url(f"{server.url}x", key="k")
        names = set()

        async def use() -> None:
            (await budget.acquire()).done(CallOutcome.UNKNOWN)
            names.add(budget._keeper().member._process)
            with pytest.raises(SessionError, match="one event loop"):
                await asyncio.to_thread(asyncio.run, budget.acquire())

        asyncio.run(use())
        asyncio.run(use())
        assert len(names) == 2

    @pytest.mark.parametrize(
        "given",
        [
            {"url": 5},
            {"url": f"http://:{PASSWORD}@h"},
            {"url": f"redis://:{PASSWORD}@h:port"},
            {"url": "redis://"},
            {"url": "redis://h/one"},
            {"url": f"redis://:{PASSWORD}@h?no_such_option=1"},
            {"url": f"redis://:{PASSWORD}@h?ssl_ca_certs=file"},
            {"url": f"rediss://:{PASSWORD}@h?ssl_cert_reqs=perhaps"},
            {"key": ""},
            {"key": "{a}"},
            {"calls_per_second": 0},
            {"priority": "high"},
            {"timeout": 0},
            {"most_way": 10**400},
        ],
    )
    def test_bad_arguments(self, given: dict[str, Any]) -> None:
        """What will not do is said at once, and no password is repeated."""
        with pytest.raises(InputError) as caught:
            RedisBudget.from_url(**({"url": "redis://h", "key": "k"} | given))

        assert PASSWORD not in "".join(traceback.format_exception(caught.value))


NO_SCRIPT = "NOPERM no permissions to run 'eval'"
NO_KEY = "NOPERM no permissions to access a key"
IN_SCRIPT = "ERR Error running script (call to f_4): @user_script: 59: WRONGTYPE Op"


def reply(text: str) -> bytes:
    """Return an error as a server writes it."""
    return f"-{text}\r\n".encode()


class TestRefusals:
    """Servers that answer and will not count, and servers that only cannot do so yet."""

    @pytest.mark.parametrize(
        ("command", "said", "advice"),
        [
            ("HELLO", "WRONGPASS invalid username-password pair", "CHATMARK_PACE"),
            ("EVAL", "NOAUTH Authentication required.", "CHATMARK_PACE"),
            ("EVAL", NO_SCRIPT, r"~\{k\}:\* .*\+zrevrange"),
            ("EVALSHA", NO_KEY, r"~\{k\}:\* .*\+zrevrange"),
            ("EVALSHA", "ERR The user executing the script can't run this command", "hget"),
            ("SELECT", "ERR DB index is out of range", "number at the end of the URL"),
            ("SELECT", "ERR SELECT is not allowed in cluster mode", "number at the end"),
            ("EVALSHA", "WRONGTYPE Operation against a key script: 4", "other data under"),
            ("EVALSHA", IN_SCRIPT, "other data under"),
            ("EVALSHA", "MOVED 866 10.0.0.7:7001", "node that owns it"),
            ("EVALSHA", "CROSSSLOT Keys don't hash to the same slot", "node that owns it"),
            ("EVAL", f"ERR unknown command 'EVAL', with args: '{PASSWORD}'", "Valkey"),
            ("HELLO", None, "is not a Redis"),
        ],
    )
    async def test_refusal(
        self, command: str, said: str | None, advice: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        """At first contact it is an error for every call, at once, which says what to do."""
        # Older clients do not begin with HELLO.
        begins = ("HELLO", "AUTH", "CLIENT", "SELECT", "EVAL")
        answer = HTTP if said is None else reply(said)
        replies = dict.fromkeys(begins if command == "HELLO" else [command], answer)
        async with scripted_redis(replies) as address:
            url = f"redis://user:{PASSWORD}@{address}/1"
            async with RedisBudget.from_url(url, key="k", timeout=5) as budget:
                calls = [budget.acquire() for _ in range(3)]
                errors = await asyncio.gather(*calls, return_exceptions=True)
                with pytest.raises(BudgetError, match=advice) as caught:
                    await budget.connect()

        assert [BudgetError] * 3 == [type(each) for each in errors]
        assert f"redis://{address}/1" in str(caught.value)
        assert PASSWORD not in f"{errors} {caught.value!r} {caplog.text}"

    @pytest.mark.parametrize(
        "said",
        [
            reply("LOADING Redis is loading the dataset in memory"),
            reply("READONLY You can't write against a read only replica."),
            reply("OOM command not allowed when used memory > 'maxmemory'."),
            reply("CLUSTERDOWN The cluster is down"),
            reply("TRYAGAIN Multiple keys request during rehashing of slot"),
            reply("ASK 866 10.0.0.7:7001"),
            reply("MISCONF Redis is configured to save RDB snapshots"),
            reply("BUSY Redis is busy running a script."),
            # An answer that is not the script's.
            b"*1\r\n:5\r\n",
        ],
    )
    async def test_what_passes(self, said: bytes, caplog: pytest.LogCaptureFixture) -> None:
        """What time mends is an outage: a warning, and the share."""
        async with (
            scripted_redis({"EVALSHA": said}) as address,
            RedisBudget.from_url(f"redis://{address}", key="k", timeout=5) as budget,
        ):
            await budget.connect()
            (await budget.acquire()).done(CallOutcome.UNKNOWN)
        (record,) = caplog.records

        assert record.levelno == logging.WARNING
        assert "its share among 10" in record.getMessage()

    async def test_a_real_server(self, rig: Rig, server: RedisServer) -> None:
        """A session says at once why it cannot send, in the words of the budget."""
        url = server.url.replace(PASSWORD, "wrong")
        async with RedisBudget.from_url(url, key="k") as budget:
            session = rig.session(budget=budget)
            with pytest.raises(SessionBrokenError, match="does not accept the user") as caught:
                await session.mark("alice", Conversation.one_to_one("bob"), set_mark=FAVORITE)
            with contextlib.suppress(SessionError):
                await session.close()

        assert isinstance(caught.value.__cause__, BudgetError)
        assert not rig.emulator.calls

    async def test_tls(self, tmp_path: pathlib.Path) -> None:
        """With `rediss://` a certificate has to hold, and the URL may name its authority."""
        authority = trustme.CA()
        authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1").configure_cert(context)
        answer = b"*5\r\n" + b":0\r\n" * 5
        said = []
        async with scripted_redis({"EVALSHA": answer}, context) as address:
            for option in ("", f"?ssl_ca_certs={tmp_path}/none.pem"):
                url = f"rediss://{address}{option}"
                async with RedisBudget.from_url(url, key="k", timeout=5) as budget:
                    with pytest.raises(BudgetError) as caught:
                        await budget.connect()
                said.append(str(caught.value))
            url = f"rediss://{address}?ssl_ca_certs={tmp_path}/ca.pem"
            async with RedisBudget.from_url(url, key="k", timeout=5) as budget:
                await budget.connect()

        assert "ssl_ca_certs=" in said[0]
        assert "cannot be read" in said[1]

    async def test_scripts_flushed(self, server: RedisServer) -> None:
        """A server that forgot the script is told it in the same question."""
        keeper = BudgetServer(UrlClient(server.url), "flushed", 5)
        with redis.Redis.from_url(server.url) as client:
            for number in range(3):
                await keeper.connect()
                client.script_flush()
                assert number + 1 == await processes(keeper, f"p{number}")
        await keeper.disconnect()


async def processes(keeper: BudgetServer, process: str) -> int:
    """Let a process ask; return how many processes there are."""
    reply = await keeper.ask(Member(terms(), process).question(0.0))
    return int(reply[2])


class ResponseError(Exception):
    """What a client raises for an error of the server; its name is what counts."""


@attrs.define
class ScriptedClient:
    """
    A client in virtual time, of a server with a count that is open.

    Args:
        trip: Seconds until an answer.
        fault: Returns what to raise for a question, None for none.
        mended: How many numbers its answers say were brought within bounds.
    """

    trip: float = 0.0
    fault: Callable[[], Exception | None] = lambda: None
    mended: int = 0

    async def execute_command(self, command: str, *arguments: Any) -> Any:
        """Promise everything at once."""
        if command == "EVAL":
            return 1
        await asyncio.sleep(self.trip / 2)
        if (fault := self.fault()) is not None:
            raise fault
        await asyncio.sleep(self.trip / 2)
        wanted = int(arguments[2 + len(keys_of("k")) + 9])
        return [0, 0, 1, 0, self.mended, *[0] * wanted]


def scripted(client: ScriptedClient) -> RedisBudget:
    """Return a budget of 200 calls a second by way of a client."""
    return RedisBudget(client, key="k", calls_per_second=200, timeout=5)


def keeping_task() -> asyncio.Task[Any]:
    """Return the task that asks for a budget."""
    (task,) = (each for each in asyncio.all_tasks() if each.get_name() == "chatmark-budget")
    return task


async def calls_within(budget: RedisBudget, seconds: float) -> int:
    """Return how many calls go in so many seconds."""
    count = 0
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while True:
                (await budget.acquire()).done(CallOutcome.UNKNOWN)
                count += 1
    return count


class TestKeeping:
    """The task that asks, in virtual time."""

    @in_virtual_loop
    async def test_cancelled_while_a_call_waits(self, caplog: pytest.LogCaptureFixture) -> None:
        """The call that waits goes on with the share, the log says so, and another task asks."""
        keeper = ScriptedClient(trip=2.0)
        async with scripted(keeper) as budget:
            call = asyncio.create_task(budget.acquire())
            await asyncio.sleep(1.0)
            keeping_task().cancel()
            keeper.trip = 0.01
            (await call).done(CallOutcome.UNKNOWN)
            assert 1.0 == pytest.approx(asyncio.get_running_loop().time())
            await asyncio.sleep(1.0)
            assert await calls_within(budget, 1.0) > 150

        (record,) = caplog.records
        assert "died of CancelledError" in record.getMessage()

    @in_virtual_loop
    async def test_raises(self, caplog: pytest.LogCaptureFixture) -> None:
        """An unforeseen fault is said once with its kind, and calls go on with the share."""
        keeper = ScriptedClient(fault=lambda: RuntimeError(PASSWORD))
        async with scripted(keeper) as budget:
            assert await calls_within(budget, 10.0) == pytest.approx(200, abs=5)

        (record,) = caplog.records
        assert "cannot be reached: RuntimeError" in record.getMessage()
        assert PASSWORD not in caplog.text

    def test_all_tasks_cancelled(self, caplog: pytest.LogCaptureFixture) -> None:
        """A loop that ends with the budget open says nothing and leaves no task."""

        async def use() -> None:
            budget = scripted(ScriptedClient(trip=2.0))
            asyncio.create_task(budget.acquire())  # noqa: RUF006 - cancelled at the end.
            await asyncio.sleep(0.1)

        virtual_time.run(use())
        assert [] == caplog.records

    @in_virtual_loop
    async def test_refused_later(self, caplog: pytest.LogCaptureFixture) -> None:
        """A process that was counted goes on with its share: one ERROR says what to correct."""
        caplog.set_level(logging.INFO)
        faults: list[Exception] = []
        keeper = ScriptedClient(trip=0.01, fault=lambda: faults[0] if faults else None)
        async with scripted(keeper) as budget:
            (await budget.acquire()).done(CallOutcome.UNKNOWN)
            faults.append(ResponseError("WRONGPASS"))
            await calls_within(budget, 2.0)
            assert await calls_within(budget, 1.0) > 150
            faults.clear()
            await calls_within(budget, 1.0)
            assert await calls_within(budget, 1.0) > 150

        assert [logging.ERROR, logging.INFO] == [each.levelno for each in caplog.records]
        assert "does not accept" in caplog.text

    @in_virtual_loop
    async def test_refused_then_corrected(self) -> None:
        """When a person has corrected the server, calls go on."""
        faults: list[Exception] = [ResponseError("WRONGPASS")]
        keeper = ScriptedClient(fault=lambda: faults[0] if faults else None)
        async with scripted(keeper) as budget:
            with pytest.raises(BudgetError):
                await budget.acquire()
            faults.clear()
            await asyncio.sleep(0.6)
            (await budget.acquire()).done(CallOutcome.UNKNOWN)

    @in_virtual_loop
    async def test_slow(self, caplog: pytest.LogCaptureFixture) -> None:
        """
        A lone process keeps its calls where the server takes 200 ms; the log says why it matters.
        """
        async with scripted(ScriptedClient(trip=0.2)) as budget:
            await calls_within(budget, 3.0)
            assert await calls_within(budget, 1.0) >= 190

        (record,) = caplog.records
        assert "answers in 200 ms, and needs to answer in 50 ms" in record.getMessage()
        assert "its share among 1" in record.getMessage()

    @in_virtual_loop
    async def test_numbers_that_cannot_be(self, caplog: pytest.LogCaptureFixture) -> None:
        """They are one warning."""
        async with scripted(ScriptedClient(trip=0.01, mended=3)) as budget:
            await calls_within(budget, 3.0)

        (record,) = caplog.records
        assert "within bounds" in record.getMessage()

    @pytest.mark.parametrize(
        "reply",
        [
            *([value, *[0] * 4] for value in (-1, 10**9, 10**400, True, 0.5, math.nan, b"1", None)),
            *([*[0] * place, 10**9, *[0] * (4 - place)] for place in range(5)),
            [0, 0, 10**6, 0, 0],
            [0, 0, 1, 0, 0, 0],
            [0] * 4,
            (0,) * 5,
            "00000",
            None,
        ],
    )
    def test_no_reply_of_the_script(self, reply: Any) -> None:
        """A number that the script cannot say makes no answer: no call waits for hours."""
        member = Member(terms(), "p")
        member.question(0.0)
        with pytest.raises(UnreachableError):
            member.learn(reply, 0.1)


class TestSecrets:
    """The password of a URL."""

    @pytest.mark.parametrize(
        ("url", "place"),
        [
            (f"redis://user:{PASSWORD}@h:1/2?client_name={PASSWORD}", "redis://h:1/2"),
            (f"rediss://:{PASSWORD}@h", "rediss://h"),
            (f"unix://:{PASSWORD}@/a/b?password={PASSWORD}", "unix:///a/b"),
        ],
    )
    def test_place(self, url: str, place: str) -> None:
        """Where it is can be shown; who one is, cannot."""
        budget = RedisBudget.from_url(url, key="k")

        assert place in repr(budget)
        assert PASSWORD not in f"{budget!r} {vars(budget)}"

    @pytest.mark.parametrize("password", [PASSWORD + "x", PASSWORD])
    async def test_nowhere(
        self, server: RedisServer, open_key: str, password: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        """No log line at DEBUG and no error shows it, wrong or right."""
        caplog.set_level(logging.DEBUG)
        url = server.url.replace(PASSWORD, password)
        async with RedisBudget.from_url(url, key=open_key) as budget:
            with contextlib.suppress(BudgetError):
                (await budget.acquire()).done(CallOutcome.UNKNOWN)
        keeper = BudgetServer(UrlClient(url), open_key, 0.5)
        with pytest.raises((BudgetError, UnreachableError)) as caught:
            # The script fails for want of arguments.
            await keeper.ask(("p",))
        # This test's own frame knows it.
        frames = traceback.StackSummary.extract(
            traceback.walk_tb(caught.tb.tb_next), capture_locals=True
        )
        shown = "".join(frames.format()) + repr(caught.value) + caplog.text
        await keeper.disconnect()

        assert PASSWORD not in shown
        assert caught.value.__context__ is None


@pytest.fixture
def rows(tmp_path: pathlib.Path) -> str:
    """A file of one change."""
    path = tmp_path / "rows.jsonl"
    path.write_text('{"from_account": "a", "to_account": "b", "set_mark": ["favorite"]}\n')
    return str(path)


class TestCommandLine:
    """`--pace`."""

    def test_apply(self, server: RedisServer, monkeypatch: pytest.MonkeyPatch, rows: str) -> None:
        """A job takes its calls from the count that the environment names, behind others."""
        given: list[Any] = []

        def spy(url: str, **options: Any) -> RedisBudget:
            given.append((url, options["calls_per_second"], options["priority"]))
            return RedisBudget(UrlClient(url), **options)

        monkeypatch.setattr(RedisBudget, "from_url", spy)
        monkeypatch.setenv("CHATMARK_PACE", server.url)

        assert run(["apply", rows, "--local", "--rate", "150"]) == 0
        assert [(server.url, 150.0, "low")] == given

    @pytest.mark.parametrize(
        ("url", "options", "message"),
        [
            (f"redis://:{PASSWORD}@h", [], "as CHATMARK_PACE"),
            ("ftp://h", [], "must be a URL such as redis://"),
            ("redis://127.0.0.1:1", ["--rate", "0"], "must be above 0"),
        ],
    )
    def test_wrong(
        self,
        url: str,
        options: list[str],
        message: str,
        rows: str,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        """
        A password on the command line and what is no Redis are refused before anything is sent.
        """
        assert run(["apply", rows, "--local", "--pace", url, *options]) == 2
        shown = capsys.readouterr()
        assert message in shown.err
        assert PASSWORD not in shown.out + shown.err

    def test_refused(
        self,
        server: RedisServer,
        monkeypatch: pytest.MonkeyPatch,
        rows: str,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        """A wrong password in the environment is the command's fault, and nothing is sent."""
        monkeypatch.setenv("CHATMARK_PACE", server.url.replace(PASSWORD, "wrong"))

        assert run(["apply", rows, "--local"]) == 2
        shown = capsys.readouterr()
        assert "does not accept the user and the password" in shown.err
        assert "took effect" not in shown.out


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """A node of a cluster with TLS and a user with the least rights: how to reach it."""
    folder = tmp_path_factory.mktemp("guarded")
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    issued.private_key_pem.write_to_path(str(folder / "key.pem"))
    issued.cert_chain_pems[0].write_to_path(str(folder / "cert.pem"))
    rights = f"~{{k}}:* {RIGHTS}"
    (folder / "users.acl").write_text(
        f"user default on >{PASSWORD} ~* &* +@all\n"
        f"user alone on >{PASSWORD} {rights}\n"
        f"user cluster on >{PASSWORD} {rights} +command +cluster|slots\n"
        + "".join(
            f"user no-{right} on >{PASSWORD} {rights} -{right}\n"
            for right in ("eval", "evalsha", "zadd")
        )
        + f"user other on >{PASSWORD} ~other:* {RIGHTS}\n"
    )
    port = free_port()
    settings = {
        "tls-port": port,
        "tls-cert-file": folder / "cert.pem",
        "tls-key-file": folder / "key.pem",
        "tls-ca-cert-file": folder / "ca.pem",
        "aclfile": folder / "users.acl",
        "cluster-enabled": "yes",
        # By default 10,000 above the other, where there may be no port.
        "cluster-port": free_port(),
        "tls-cluster": "yes",
        "cluster-announce-ip": "127.0.0.1",
    }
    arguments = itertools.chain(*((f"--{name}", str(each)) for name, each in settings.items()))
    with RedisServer(None, *arguments) as server:
        client: Any = redis.Redis(unix_socket_path=str(server.path), password=PASSWORD)
        client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        while b"cluster_state:ok" not in client.execute_command("CLUSTER", "INFO"):
            time.sleep(0.01)
        client.close()
        yield {
            "host": "127.0.0.1",
            "port": port,
            "password": PASSWORD,
            "ssl": True,
            "ssl_ca_certs": str(folder / "ca.pem"),
            "ssl_certfile": str(folder / "cert.pem"),
            "ssl_keyfile": str(folder / "key.pem"),
        }


class TestReadyClients:
    """Clients of the caller's own: Sentinel, Cluster, TLS, ACL."""

    async def test_failover_of_a_sentinel_trio(
        self, rig: Rig, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A primary that dies under load costs some seconds at the share, and loses nothing."""
        caplog.set_level(logging.INFO)
        rate = 20
        with SentinelTrio() as trio:
            sentinel: Any = redis.asyncio.Sentinel
            sentinels = [sentinel(trio.addresses) for _ in range(2)]
            clients = [each.master_for("chat") for each in sentinels]
            while (await clients[0].info("replication"))["connected_slaves"] != 1:
                await asyncio.sleep(0.01)
            budgets = [
                RedisBudget(client, key="k", calls_per_second=rate, most_way=0.5)
                for client in clients
            ]
            todo = [changes(f"user{number}", 50) for number in range(2)]
            async with applying(rig, budgets, todo) as succeeded:
                while len(rig.emulator.calls) < 10:
                    await asyncio.sleep(0.01)
                trio.primary.kill()
            for client in clients:
                assert await client.ping()
                await client.aclose()
            for each in itertools.chain(*(each.sentinels for each in sentinels)):
                await each.aclose()

        assert [50, 50] == succeeded
        assert len(rig.emulator.calls) == 100
        assert windows(call.started for call in rig.emulator.calls) <= rate + rate / 2
        assert caplog.text.count("promises calls again") == 2

    @pytest.mark.parametrize("user", ["alone", "cluster"])
    async def test_least_rights(self, guarded: dict[str, Any], user: str) -> None:
        """The documented rights are enough, over TLS with a client's certificate."""
        kind = redis.asyncio.RedisCluster if user == "cluster" else redis.asyncio.Redis
        client: Any = kind(**guarded, username=user)
        async with RedisBudget(client, key="k", timeout=5) as budget:
            budgets = map(budget.of, ("mark_contact", "get_contact_group"))
            for permit in await asyncio.gather(*(each.acquire() for each in budgets)):
                permit.done(CallOutcome.UNKNOWN)
        assert f"{budget!r}".startswith(f"<RedisBudget the given {kind.__name__},")
        # It is left open, and is not the budget's to close.
        with pytest.raises(redis.exceptions.NoPermissionError):
            await client.get("{k}:state")
        await client.aclose()

    @pytest.mark.parametrize("user", ["no-eval", "no-evalsha", "no-zadd", "other"])
    async def test_a_right_less(self, guarded: dict[str, Any], user: str) -> None:
        """Each is needed, and the error names all."""
        client: Any = redis.asyncio.Redis(**guarded, username=user)
        async with RedisBudget(client, key="k", timeout=5) as budget:
            with pytest.raises(BudgetError) as caught:
                await budget.connect()
        await client.aclose()

        assert f"~{{k}}:* {RIGHTS} (and in a cluster" in str(caught.value)

    @pytest.mark.parametrize("own", [True, False])
    async def test_a_late_answer(self, *, own: bool) -> None:
        """An answer that comes too late is not taken for the answer to a later question."""
        with RedisServer() as server:
            ready: Any = redis.asyncio.Redis(unix_socket_path=str(server.path))
            client = UrlClient(server.url) if own else ready
            keeper = BudgetServer(client, "late", 0.2)
            await keeper.connect()
            server.freeze()
            with pytest.raises(UnreachableError, match="TimeoutError"):
                await processes(keeper, "p")
            server.thaw()
            await keeper.connect()
            counts = [await processes(keeper, f"p{number}") for number in range(3)]
            await keeper.disconnect()
            await ready.aclose()

        assert [counts[0], counts[0] + 1, counts[0] + 2] == counts

    def test_the_rights_are_on_the_page(self) -> None:
        """The page names what the script calls."""
        assert f" {RIGHTS}\n" in (ROOT / "docs" / "scale.md").read_text("utf-8")

    @pytest.mark.parametrize(
        "client", [None, object(), "redis://h", redis.Redis(password=PASSWORD)]
    )
    def test_what_is_none(self, client: Any) -> None:
        """Something else is refused at once, and its password is not shown."""
        with pytest.raises(InputError, match="must be an asyncio client") as caught:
            RedisBudget(client, key="k")

        assert PASSWORD not in "".join(traceback.format_exception(caught.value))
