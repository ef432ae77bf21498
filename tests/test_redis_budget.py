import asyncio
import contextlib
import itertools
import logging
import pathlib
import traceback
from collections.abc import Iterator
from typing import Any

import pytest
from redis_server import MISSING, RedisServer
from rig import Rig, model_state, windows

if MISSING is not None:
    pytest.skip(MISSING, allow_module_level=True)

from chatmark import Conversation, ConversationMark, InputError, MarkChange, SessionError
from chatmark.budgetserver import BudgetServer, check_redis_url
from chatmark.cli.app import run
from chatmark.emulator import Refuse
from chatmark.redis import RedisBudget
from chatmark.sharing import Sharing, UnreachableError

PASSWORD = "example-password-not-real"
FAVORITE = ConversationMark.FAVORITE


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    """
    A server of this file's own, with a password.
    """
    with RedisServer(PASSWORD) as server:
        yield server


@pytest.fixture
async def open_key(server: RedisServer, request: pytest.FixtureRequest) -> str:
    """
    A key whose count others have used and left, so that nobody waits for it to begin.
    """
    key = f"test:{request.node.name}".replace("[", ":").replace("]", "")
    client: Any = __import__("redis").Redis.from_url(server.url)
    seconds, _ = client.time()
    client.hset(f"{{{key}}}:state", "last", (seconds - 10) * 1_000_000)
    client.close()
    return key


def changes(name: str, count: int) -> list[MarkChange]:
    """
    Return changes that need a call each: one for each user.
    """
    team = Conversation.group("team")
    return [MarkChange(f"{name}-{number}", team, FAVORITE) for number in range(count)]


class TestRedisBudget:
    """
    Budgets that meet at a real server.
    """

    async def test_sessions_share_it(self, rig: Rig, server: RedisServer, open_key: str) -> None:
        """
        Sessions of several budgets together keep to its calls a second.
        """
        budgets = [
            RedisBudget.from_url(server.url, key=open_key, calls_per_second=60, most_way=0.5)
            for _ in range(3)
        ]
        todo = [changes(f"user{number}", 40) for number in range(3)]
        sessions = [rig.session(budget=budget) for budget in budgets]
        reports = await asyncio.gather(
            *(session.apply(each) for session, each in zip(sessions, todo, strict=True))
        )
        for session in sessions:
            await session.close()
        for budget in budgets:
            await budget.aclose()

        assert [40, 40, 40] == [report.succeeded for report in reports]
        assert windows(call.started for call in rig.emulator.calls) <= 60
        assert rig.emulator.state.snapshot() == model_state(itertools.chain(*todo))

    async def test_slow_down_is_everybodys(
        self, rig: Rig, server: RedisServer, open_key: str
    ) -> None:
        """
        When Chat tells one process to slow down, another process pauses, too.
        """
        async with (
            RedisBudget.from_url(server.url, key=open_key) as told,
            RedisBudget.from_url(server.url, key=open_key) as other,
        ):
            (await other.acquire()).answered()
            rig.emulator.script.next(Refuse(60007))
            session = rig.session(budget=told)
            handle = await session.submit(changes("user", 1)[0])
            while not session.stats.pauses:
                await asyncio.sleep(0)
            began = asyncio.get_running_loop().time()
            # The other hears of it when it asks.
            while told._sharing._pause_until > 0:
                await asyncio.sleep(0)
            (await other.acquire()).answered()
            waited = asyncio.get_running_loop().time() - began
            assert (await handle).ok
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
            todo = [changes(f"user{number}", 45) for number in range(2)]
            sessions = [rig.session(budget=budget) for budget in budgets]
            jobs = [
                asyncio.create_task(session.apply(each))
                for session, each in zip(sessions, todo, strict=True)
            ]
            while len(rig.emulator.calls) < 10:
                await asyncio.sleep(0.01)
            mortal.kill()
            while len(rig.emulator.calls) < 40:
                await asyncio.sleep(0.01)
            mortal.start()
            reports = await asyncio.gather(*jobs)
            for session in sessions:
                await session.close()
            for budget in budgets:
                await budget.aclose()

        assert [45, 45] == [report.succeeded for report in reports]
        assert len(rig.emulator.calls) == 90
        assert rig.emulator.state.snapshot() == model_state(itertools.chain(*todo))
        assert windows(call.started for call in rig.emulator.calls) <= rate + rate / 2

    async def test_one_warning(
        self, caplog: pytest.LogCaptureFixture, tmp_path: pathlib.Path
    ) -> None:
        """
        A server that is not there is one warning, which says what the process does instead.
        """
        budget = RedisBudget.from_url(f"unix://{tmp_path}/none", key="k", calls_per_second=190)
        async with budget:
            for _ in range(3):
                (await budget.acquire()).answered()
            # It is looked for again.
            last = budget._sharing._asked_at
            while budget._sharing._asked_at == last:
                await asyncio.sleep(0)
            again = budget._sharing._asked_at
        (record,) = caplog.records

        assert again - last >= 0.5
        assert record.levelno == logging.WARNING
        assert "19 calls a second, its share among 10" in record.getMessage()

    async def test_permits_come_back(self, server: RedisServer, open_key: str) -> None:
        """
        An unused permit is somebody else's, and cancelling a waiter leaves the next one its turn.
        """
        async with RedisBudget.from_url(server.url, key=open_key, calls_per_second=1) as budget:
            permit = await budget.acquire()
            waiter = asyncio.create_task(budget.acquire())
            while not budget._sharing.waiting:
                await asyncio.sleep(0)
            waiter.cancel()
            permit.unused()
            async with asyncio.timeout(1.5):
                (await budget.acquire()).answered()

    async def test_closed(self, server: RedisServer, open_key: str) -> None:
        """
        Who waits when it is closed is told, as is who comes later; closing again does nothing.
        """
        budget = RedisBudget.from_url(server.url, key=open_key, calls_per_second=0.1)
        await budget.acquire()
        waiter = asyncio.create_task(budget.acquire())
        while not budget._sharing.waiting:
            await asyncio.sleep(0)
        await budget.aclose()
        await budget.aclose()

        with pytest.raises(SessionError, match="closed"):
            await waiter
        with pytest.raises(SessionError, match="closed"):
            await budget.acquire()

    def test_next_loop(self, server: RedisServer) -> None:
        """
        The next `asyncio.run` of the process goes on with it; a second loop beside is refused.
        """
        budget = RedisBudget.from_url(f"{server.url}x", key="k")

        async def use() -> None:
            (await budget.acquire()).answered()
            with pytest.raises(SessionError, match="one event loop"):
                await asyncio.to_thread(asyncio.run, budget.acquire())

        asyncio.run(use())
        asyncio.run(use())

    @pytest.mark.parametrize(
        "given",
        [
            {"url": 5},
            {"url": "http://:example-password-not-real@h"},
            {"url": "redis://:example-password-not-real@h:port"},
            {"url": "redis://"},
            {"key": ""},
            {"key": "{a}"},
            {"calls_per_second": 0},
            {"priority": "high"},
            {"timeout": 0},
            {"most_way": float("nan")},
            {"most_way": 10**400},
        ],
    )
    def test_bad_arguments(self, given: dict[str, Any]) -> None:
        """
        What will not do is said at once, and no password is repeated.
        """
        with pytest.raises(InputError) as caught:
            RedisBudget.from_url(**({"url": "redis://h", "key": "k"} | given))

        assert PASSWORD not in "".join(traceback.format_exception(caught.value))


class TestSecrets:
    """
    The password of a URL.
    """

    @pytest.mark.parametrize(
        ("url", "place"),
        [
            (f"redis://user:{PASSWORD}@h:1/2?client_name={PASSWORD}", "redis://h:1/2"),
            (f"rediss://:{PASSWORD}@h", "rediss://h"),
            (f"unix://:{PASSWORD}@/a/b?password={PASSWORD}", "unix:///a/b"),
        ],
    )
    def test_place(self, url: str, place: str) -> None:
        """
        Where it is can be shown; who one is, cannot.
        """
        budget = RedisBudget.from_url(url, key="k")

        assert place == check_redis_url(url)
        assert place in repr(budget)
        assert PASSWORD not in f"{budget!r} {vars(budget)} {budget._keeper!r}"

    @pytest.mark.parametrize("password", [PASSWORD + "x", PASSWORD])
    async def test_nowhere(
        self, server: RedisServer, password: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        """
        No log line at DEBUG and no error shows it, wrong or right.
        """
        caplog.set_level(logging.DEBUG)
        url = server.url.replace(PASSWORD, password)
        async with RedisBudget.from_url(url, key="secrets") as budget:
            (await budget.acquire()).answered()
        keeper = BudgetServer(url, "secrets", 0.5)
        with contextlib.suppress(UnreachableError):
            await keeper.connect()
        # As after a SCRIPT FLUSH.
        keeper._digest = "nothing"
        with pytest.raises(UnreachableError) as caught:
            await keeper.ask(budget._sharing.question(0.0))
        assert caught.tb is not None
        # This test's own frame knows it.
        frames = traceback.StackSummary.extract(
            traceback.walk_tb(caught.tb.tb_next), capture_locals=True
        )
        shown = "".join(frames.format()) + repr(caught.value) + caplog.text

        assert PASSWORD not in shown
        assert caught.value.__context__ is None


class TestCommandLine:
    """
    `--pace`.
    """

    def test_apply(
        self, server: RedisServer, monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
    ) -> None:
        """
        A job takes its calls from the count that the environment names, behind others.
        """
        terms: list[Any] = []
        init = Sharing.__init__

        def spy(sharing: Sharing, given: Any, process: str) -> None:
            terms.append(given)
            init(sharing, given, process)

        monkeypatch.setattr(Sharing, "__init__", spy)
        monkeypatch.setenv("CHATMARK_PACE", server.url)
        path = tmp_path / "rows.jsonl"
        path.write_text('{"from_account": "a", "to_account": "b", "set_mark": ["favorite"]}\n')

        assert run(["apply", str(path), "--local", "--rate", "150"]) == 0
        assert [(150.0, 1)] == [(each.calls_per_second, each.rank) for each in terms]

    @pytest.mark.parametrize(
        ("url", "options", "message"),
        [
            (f"redis://:{PASSWORD}@h", [], "given as CHATMARK_PACE"),
            ("ftp://h", [], "no URL such as redis://"),
            ("redis://127.0.0.1:1", ["--rate", "0"], "cannot be 0"),
        ],
    )
    def test_wrong(
        self,
        url: str,
        options: list[str],
        message: str,
        tmp_path: pathlib.Path,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        """
        A password on the command line and what is no Redis are refused before anything is sent.
        """
        path = tmp_path / "rows.jsonl"
        path.write_text('{"from_account": "a", "to_account": "b", "set_mark": ["favorite"]}\n')

        assert run(["apply", str(path), "--local", "--pace", url, *options]) == 2
        shown = capsys.readouterr()
        assert message in shown.err
        assert PASSWORD not in shown.out + shown.err

    def test_gone(self, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
        """
        Without the server the job goes on, and says at which pace.
        """
        path = tmp_path / "rows.jsonl"
        path.write_text('{"from_account": "a", "to_account": "b", "set_mark": ["favorite"]}\n')

        assert run(["apply", str(path), "--local", "--pace", f"unix://{tmp_path}/none"]) == 0
        assert "its share among 10" in capsys.readouterr().err
