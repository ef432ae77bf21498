import asyncio
import json
import pathlib
import random
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from typing import Any

import attrs
import pyarrow as pa
import pytest
from job_rig import scattered, write_rows
from rig import Rig, model_state
from virtual_rig import VirtualRig

from chatmark import (
    ChatmarkError,
    ConversationMark,
    DeadlineExceededError,
    InputError,
    MarkChange,
    MarkResult,
    TransportError,
)
from chatmark.conversations import Conversation
from chatmark.emulator import CutBody, Delay, Emulator, Refuse, ResetAfter, Status
from chatmark.jobs import (
    BadRowsError,
    ChangedInputError,
    ChangeFile,
    Control,
    JobOptions,
    JobReport,
    JournalError,
    Progress,
    run,
)
from chatmark.jobs.grouping import Unit, load
from chatmark.jobs.journal import Journal
from chatmark.jobs.running import run_loaded
from chatmark.jobs.sending.accounts import Accounts, FailureLog
from chatmark.jobs.sending.feeds import batches_of
from chatmark.jobs.sending.sender import Sender
from chatmark.jobs.sources.row import Row, row_of

FAVORITE = ConversationMark.FAVORITE


def favorites(user: str, conversations: int) -> list[MarkChange]:
    """Return changes of so many conversations of a user."""
    return [
        MarkChange(user, Conversation.one_to_one(f"peer_{number:04}"), FAVORITE)
        for number in range(conversations)
    ]


def of_users(users: int, conversations: int) -> list[MarkChange]:
    """Return changes of so many users with so many conversations each."""
    return [each for user in range(users) for each in favorites(f"user_{user:03}", conversations)]


async def _as_they_come(some: Iterable[Any]) -> AsyncIterator[Any]:
    for each in some:
        await asyncio.sleep(0)
        yield each


async def _failing() -> AsyncIterator[MarkChange]:
    yield favorites("amy", 1)[0]
    raise LookupError("the source fails")


@attrs.define
class Desk:
    """Where an operator runs one job again and again."""

    rig: Rig
    folder: pathlib.Path

    @property
    def journal(self) -> pathlib.Path:
        """Return where the journal is."""
        return self.folder / "journal"

    @property
    def failed(self) -> pathlib.Path:
        """Return where the failures are."""
        return self.folder / "failed.jsonl"

    def options(self, **more: Any) -> JobOptions:
        """Return options with a journal and a file of failures."""
        return JobOptions(journal=str(self.journal), target="here", failed=str(self.failed), **more)

    async def run(
        self,
        changes: Iterable[MarkChange] | ChangeFile,
        *,
        stop_after: int | None = None,
        **more: Any,
    ) -> JobReport:
        """Run the job, and stop it as soon as so many units are settled."""
        control = Control()
        session = self.rig.session(**more.pop("session", {}))
        arguments = {name: more.pop(name) for name in ("max_errors", "on_progress") if name in more}
        running = run(session, changes, self.options(**more), control=control, **arguments)
        if stop_after is None:
            return await running
        task = asyncio.create_task(running)
        while session.stats.succeeded < stop_after and not task.done():
            await asyncio.sleep(0)
        control.stop()
        return await task

    def sent(self) -> Counter[tuple[str, str]]:
        """Return how often each conversation was sent."""
        return Counter(
            (str(call.account), key[1])
            for call in self.rig.emulator.calls
            for key in call.conversations
            if call.command == "mark_contact"
        )

    def failures(self) -> list[dict[str, Any]]:
        """Return the rows that failed."""
        return [json.loads(line) for line in self.failed.read_text("utf-8").splitlines()]


@pytest.fixture
def desk(rig: Rig, tmp_path: pathlib.Path) -> Desk:
    """Give a place to work at."""
    return Desk(rig, tmp_path)


def books(report: JobReport) -> tuple[int, ...]:
    """
    Return applied, unchanged, refused, set aside, unconfirmed, not sent; check that nothing lacks.
    """
    accounts = report.accounts
    counts = (
        accounts.applied,
        accounts.unchanged,
        accounts.all_refused,
        accounts.set_aside,
        accounts.unconfirmed,
        accounts.not_sent,
    )
    assert accounts.is_balanced
    assert accounts.total == sum(counts)
    return counts


class TestRun:
    async def test_takes_effect(self, desk: Desk) -> None:
        """Rows in any order, repeats among them, leave the server as if applied one by one."""
        changes = list(scattered(2_000, 30, random.Random(1), repeats=0.3))
        report = await desk.run(changes)

        assert model_state(changes) == desk.rig.emulator.state.snapshot()
        assert (2_000, 0, 0, 0, 0, 0) == books(report)
        assert report.ok
        assert not desk.journal.exists()
        assert report.conversations == desk.sent().total() == report.run.items < 2_000

    @pytest.mark.parametrize("most_in_flight", [10_000, 300])
    async def test_fewest_calls(
        self, desk: Desk, monkeypatch: pytest.MonkeyPatch, most_in_flight: int
    ) -> None:
        """
        Users are sent a hundred conversations a call, also if memory holds few units at a time.
        """
        monkeypatch.setattr("chatmark.jobs.sending.sender.MOST_IN_FLIGHT", most_in_flight)
        rng = random.Random(1)
        sizes = {f"user_{number:03}": rng.randrange(1, 350) for number in range(60)}
        changes = [change for user, size in sizes.items() for change in favorites(user, size)]
        rng.shuffle(changes)
        report = await desk.run(changes)

        assert sum(-(-size // 100) for size in sizes.values()) == report.run.calls
        assert len(changes) == report.accounts.applied

    async def test_file(self, desk: Desk) -> None:
        """
        A bad row of a file is found before anything is sent, or set aside into the failures.
        """
        path = desk.folder / "rows.jsonl"
        write_rows(path, favorites("amy", 3))
        path.write_text(path.read_text("utf-8") + "x\n", encoding="utf-8")
        with pytest.raises(BadRowsError, match="1 of 4"):
            await desk.run(ChangeFile.of(str(path)))

        assert not desk.rig.emulator.counts
        assert [path] == list(desk.folder.iterdir())

        report = await desk.run(ChangeFile.of(str(path)), max_errors=1)

        assert (3, 0, 0, 1, 0, 0) == books(report)
        assert (str(path), 4, False) == (report.file, report.rows, report.ok)
        assert ["x"] == [row["_raw"] for row in desk.failures()]

    async def test_wrong_arguments(self, desk: Desk) -> None:
        """Rows are set aside into a file only, and failures do not replace the rows."""
        write_rows(desk.failed, favorites("amy", 2))
        before = desk.failed.read_bytes()
        with pytest.raises(InputError, match="max_errors"):
            await run(desk.rig.session(), [], max_errors=1)
        with pytest.raises(InputError, match="failed would replace the input"):
            await desk.run(ChangeFile.of(str(desk.failed)))

        assert before == desk.failed.read_bytes()
        assert [] == desk.rig.emulator.calls

    @pytest.mark.parametrize("skip_unchanged", [False, True])
    async def test_progress(self, desk: Desk, *, skip_unchanged: bool) -> None:
        """
        Progress counts up, and the timeline sums up; two commands with a limit each have no rate.
        """
        seen: list[Progress] = []
        desk.rig.emulator.script.item((1, "peer_0007"), 50001, times=None)
        report = await desk.run(
            favorites("amy", 500),
            on_progress=seen.append,
            interval=0.0,
            calls_per_second=190.0,
            skip_unchanged=skip_unchanged,
            session={"max_in_flight": 1},
        )
        done = [each.counters.done for each in seen]
        counts = [span.counts for span in report.timeline.spans()]

        assert sorted(done) == done
        assert any(0 < each < 500 for each in done)
        assert {500} == {each.total for each in seen}
        assert {None if skip_unchanged else 190.0} == {each.budget for each in seen}
        assert skip_unchanged == seen[-1].line.endswith(" calls")
        assert {50001: 1} == seen[-1].counters.failures_by_code
        assert 499 == sum(each.applied for each in counts)
        assert 1 == sum(each.failed for each in counts)

    async def test_broken_watcher(self, desk: Desk) -> None:
        """Progress that cannot be shown is no reason to fail."""

        def broken(_: Progress) -> None:
            raise BrokenPipeError

        assert (await desk.run(favorites("amy", 300), on_progress=broken, interval=0.0)).ok

    async def test_verify(self, desk: Desk) -> None:
        """
        Rows are compared with what is read back, with a progress and times of their own.
        """
        seen: list[Progress] = []
        desk.rig.emulator.script.item((1, "peer_0000"), 50001, account="user_003", times=None)
        report = await desk.run(
            of_users(100, 3), verify=True, on_progress=seen.append, interval=0.0
        )
        reading = [each for each in seen if each.phase == "verify"]
        done = [each.counters.done for each in reading]

        assert report.read_back is not None
        assert (300, 1) == (report.read_back.conversations, report.read_back.differing)
        assert not report.ok
        assert sorted(done) == done
        assert any(0 < each < 300 for each in done)
        assert {300} == {each.total for each in reading}
        assert (100, 100) == (report.run.calls, report.reading.calls)

    async def test_verify_refused(self, desk: Desk) -> None:
        """That nothing could be read back does not hide that everything took effect."""
        desk.rig.emulator.script.always(Refuse(60006), command="search_contact_group")
        report = await desk.run(favorites("amy", 3), verify=True)

        assert isinstance(report.unverified, ChatmarkError)
        assert (3, False) == (report.accounts.applied, report.ok)

    async def test_skip_unchanged(self, desk: Desk) -> None:
        """What the server has already is not sent."""
        changes = favorites("amy", 150) + favorites("bob", 20)
        for number in range(100):
            desk.rig.emulator.state.seed_mark("amy", (1, f"peer_{number:04}"), 1)
        report = await desk.run(changes, skip_unchanged=True)
        again = await desk.run(changes, skip_unchanged=True)

        assert (70, 100, 0, 0, 0, 0) == books(report)
        assert (0, 170, 0, 0, 0, 0) == books(again)
        assert 70 == desk.sent().total()
        assert report.ok
        assert again.ok

    async def test_skip_unchanged_sends_at_once(self, desk: Desk) -> None:
        """What is to be sent does not wait for something else that is to be sent."""
        users = [f"user_{number:03}" for number in range(300)]
        for user in users[1:]:
            desk.rig.emulator.state.seed_mark(user, (1, "peer_0000"), 1)
        changes = [each for user in users for each in favorites(user, 1)]
        report = await desk.run(changes, skip_unchanged=True)
        commands = [call.command for call in desk.rig.emulator.calls]

        assert (1, 299, 0, 0, 0, 0) == books(report)
        assert 301 == len(commands)
        assert commands.index("mark_contact") < 150

    @pytest.mark.virtual_time
    async def test_pauses(self, rig: VirtualRig) -> None:
        """The report says how often, and for how long, the server made this job pause."""
        session = rig.session()
        rig.emulator.script.next(Refuse(60007))
        await session.apply(favorites("zoe", 1))
        before = session.stats.paused
        rig.emulator.script.next(Refuse(60007), Refuse(60007))
        with load("changes", [Row(1, favorites("amy", 3))]) as loaded:
            report = await run_loaded(session, loaded, JobOptions())

        assert (3, 2) == (session.stats.pauses, report.pauses)
        assert (1.0, 2.0 + 4.0) == pytest.approx((before, report.document()["paused_seconds"]))

    @pytest.mark.parametrize("kind", ["sequences", "async", "async of sequences", "table"])
    async def test_sources(self, desk: Desk, kind: str) -> None:
        """Sources are iterables of changes or of sequences, async ones too, and tables."""
        changes = of_users(30, 50)
        parts = [changes[start : start + 7] for start in range(0, len(changes), 7)]
        source: Any = {
            "sequences": parts,
            "async": _as_they_come(changes),
            "async of sequences": _as_they_come([*parts, *changes[:3]]),
            "table": pa.table(
                {
                    "from_account": [change.from_account for change in changes],
                    "to_account": [change.conversation.id for change in changes],
                    "set_mark": [0] * len(changes),
                }
            ),
        }[kind]
        report = await run(desk.rig.session(), source)

        assert report.ok
        assert len(changes) + 3 * (kind == "async of sequences") == report.accounts.applied
        assert model_state(changes) == desk.rig.emulator.state.snapshot()

    @pytest.mark.parametrize("source", [[5], [[5]], ["amy"], _failing(), 5, None], ids=range(6))
    async def test_bad_sources(self, desk: Desk, source: Any) -> None:
        """What is no change is refused, and the error of a source raised; nothing is sent."""
        with pytest.raises((InputError, LookupError)):
            await run(desk.rig.session(), source)

        assert [] == desk.rig.emulator.calls

    @pytest.mark.parametrize("kind", ["code", "file"])
    async def test_result_of_each_row(self, desk: Desk, tmp_path: pathlib.Path, kind: str) -> None:
        """Each row has a result with its own change, however rows were merged, sent or skipped."""
        desk.rig.emulator.state.seed_mark("amy", (1, "peer_0000"), 1)
        desk.rig.emulator.script.next(Refuse(50001), command="mark_contact")
        changes = [
            attrs.evolve(each, tag=number)
            for number, each in enumerate([*favorites("amy", 3), *favorites("amy", 3)])
        ]
        path = tmp_path / "f.jsonl"
        path.write_text("".join(f"{json.dumps(row_of(each))}\n" for each in changes), "utf-8")
        results: list[MarkResult] = []
        source: Any = ChangeFile.of(str(path)) if kind == "file" else [changes[:4], *changes[4:]]
        options = JobOptions(skip_unchanged=True)
        await run(desk.rig.session(), source, options, on_result=results.append)

        assert sorted(map(str, changes)) == sorted(str(result.change) for result in results)
        tags = sorted(str(result.change.tag) for result in results)
        assert [str(None if kind == "file" else tag) for tag in range(6)] == tags
        assert {True: 2, False: 4} == Counter(result.ok for result in results)

    async def test_closed_session(self, desk: Desk) -> None:
        """A session that is closed sends nothing, and the report says so."""
        session = desk.rig.session()
        await session.close()
        report = await run(session, favorites("amy", 3))

        assert "the session is closed" == str(report.stopped)
        assert (0, 0, 0, 0, 0, 3) == books(report)


class TestResume:
    @pytest.mark.parametrize("skip_unchanged", [False, True])
    async def test_goes_on(self, desk: Desk, *, skip_unchanged: bool) -> None:
        """A stopped job goes on where it was; no change that is settled is sent again."""
        changes = list(scattered(4_000, 30, random.Random(2), repeats=0.1))
        desk.rig.emulator.script.item((1, "peer_0120"), 50001, times=None)
        more: dict[str, Any] = {"session": {"max_in_flight": 2}, "skip_unchanged": skip_unchanged}
        reports = [await desk.run(changes, stop_after=800, **more) for _ in range(3)]
        before = desk.failures()
        report = await desk.run(changes, skip_unchanged=skip_unchanged)

        assert all(each.interrupted and books(each)[-1] for each in reports)
        assert {1} == set(desk.sent().values())
        applied, *_, not_sent = books(report)
        assert (4_000, 0) == (applied + report.accounts.all_refused, not_sent)
        assert 3 == len(report.earlier_runs)
        assert report.earlier is not None
        assert 0 < report.accounts.earlier < 4_000
        counts = [span.counts for span in report.timeline.spans()]
        assert report.accounts.ended_now == sum(each.applied + each.failed for each in counts)
        assert report.conversations == report.earlier.items + report.run.items
        assert desk.journal.exists()
        rows = desk.failures()
        assert 0 < len(before) < len(rows)
        assert report.accounts.all_refused == sum(row["_rows"] for row in rows)
        assert {("peer_0120", 50001, 1)} == {
            (row["to_account"], row["_code"], row["_attempts"]) for row in rows
        }

    async def test_finished(self, desk: Desk) -> None:
        """A finished job makes no calls and reports the same; an unconfirmed change goes again."""
        desk.rig.emulator.script.always(Status(502))
        first = await desk.run(favorites("amy", 50), session={"deadline": 0.0})
        desk.rig.emulator.script.clear()
        await desk.run(favorites("amy", 50), keep_journal=True)
        calls = desk.rig.emulator.counts.total()
        report = await desk.run(favorites("amy", 50), keep_journal=True)

        assert calls == desk.rig.emulator.counts.total()
        assert (0, 0, 0, 0, 50, 0) == books(first)
        assert (50, 0, 0, 0, 0, 0) == books(report)
        assert report.ok
        assert report.journal == str(desk.journal)

    @pytest.mark.parametrize("times", [1, 2])
    @pytest.mark.parametrize("turns", range(4))
    @pytest.mark.parametrize("skip_unchanged", [False, True])
    async def test_cancelled(
        self, desk: Desk, times: int, turns: int, *, skip_unchanged: bool
    ) -> None:
        """
        A cancelled job waits for requests in flight, once; its journal is complete.

        Cancelled twice, however soon, it leaves nothing behind.
        """
        desk.rig.emulator.script.always(Delay(0.01))
        changes = of_users(40, 50)
        session = desk.rig.session(max_in_flight=2)
        options = desk.options(skip_unchanged=skip_unchanged)
        task = asyncio.create_task(run(session, changes, options))
        while not session.stats.succeeded if times == 1 else not session.stats.calls:
            await asyncio.sleep(0)
        for _ in range(times):
            task.cancel()
            for _ in range(turns):
                await asyncio.sleep(0)
        await asyncio.wait([task])
        left = {each.get_name() for each in asyncio.all_tasks()}

        assert task.cancelled()
        assert not {"chatmark-apply", "chatmark-flush", "chatmark-ahead"} & left
        assert not desk.failed.exists()
        assert times > 1 or session.stats.in_flight == 0
        assert (2_000, 0, 0, 0, 0, 0) == books(await desk.run(changes))
        assert times > 1 or {1} == set(desk.sent().values())

    @pytest.mark.parametrize("times", [1, 2])
    async def test_cancelled_while_verifying(self, desk: Desk, times: int) -> None:
        """A job that is cancelled while it reads back leaves no task behind."""
        session = desk.rig.session()
        task = asyncio.create_task(run(session, of_users(40, 50), desk.options(verify=True)))
        while "chatmark-ahead" not in {each.get_name() for each in asyncio.all_tasks()}:
            await asyncio.sleep(0)
        for _ in range(times):
            task.cancel()
            await asyncio.sleep(0)
        await asyncio.wait([task])
        left = {each.get_name() for each in asyncio.all_tasks()}

        assert task.cancelled()
        assert not {"chatmark-verify", "chatmark-ahead"} & left

    @pytest.mark.parametrize("is_waiting", [False, True])
    async def test_cancelled_while_reading(self, desk: Desk, *, is_waiting: bool) -> None:
        """
        A job that is cancelled while its source gives rows, or none, leaves nothing behind.
        """

        async def endless() -> AsyncIterator[MarkChange]:
            await asyncio.Event().wait()
            yield favorites("amy", 1)[0]

        source: Any = endless() if is_waiting else scattered(20_000, 10, random.Random(1))
        task = asyncio.create_task(desk.run(source))
        for _ in range(3):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

        assert [] == list(desk.folder.iterdir())
        assert not desk.rig.emulator.counts


class TestChangedInput:
    async def test_refused(self, desk: Desk) -> None:
        """A journal of other rows is refused before anything is sent, or replaced."""
        await desk.run(favorites("amy", 200), keep_journal=True)
        calls = desk.rig.emulator.counts.total()
        desk.failed.write_text("kept", "utf-8")
        with pytest.raises(ChangedInputError, match="now it is 199 of 199"):
            await desk.run(favorites("amy", 199))

        assert calls == desk.rig.emulator.counts.total()
        assert "kept" == desk.failed.read_text("utf-8")

    async def test_accepted(self, desk: Desk) -> None:
        """
        With the option users whose rows are the same keep what is settled, wherever they stand now.

        All rows of the other users are sent.
        """
        desk.rig.emulator.script.item((1, "peer_0003"), 50001, account="eve", times=None)
        settled = favorites("amy", 50) + favorites("eve", 5)
        gone = favorites("gus", 2) + favorites("ivy", 2)
        await desk.run(settled + gone + favorites("bob", 60), keep_journal=True)
        other = [attrs.evolve(each, custom_mark="x") for each in favorites("ivy", 2)]
        changed = settled + favorites("bob", 59) + favorites("abe", 10) + other
        report = await desk.run(changed, accept_changed_input=True, keep_journal=True)
        again = await desk.run(changed)

        assert (125, 0, 1, 0, 0, 0) == books(report) == books(again)
        assert (55, 126) == (report.accounts.earlier, again.accounts.earlier)
        assert {"amy": 50, "bob": 119, "abe": 10, "eve": 5, "gus": 2, "ivy": 4} == Counter(
            account for account, _ in desk.sent().elements()
        )
        assert ["eve"] == [row["from_account"] for row in desk.failures()]


class TestStopped:
    async def test_refused_application(self, desk: Desk) -> None:
        """A refusal of the application stops the job at once; later it goes on."""
        changes = of_users(100, 100)
        script = desk.rig.emulator.script

        def refuse(progress: Progress) -> None:
            if progress.counters.done > 2_000:
                script.always(Refuse(51013))

        first = await desk.run(
            changes, on_progress=refuse, interval=0.0, session={"max_in_flight": 8}
        )
        calls = desk.rig.emulator.counts.total()
        script.clear()
        report = await desk.run(changes)

        assert "51013" in str(first.stopped)
        assert not first.interrupted
        applied, _, refused, _, unconfirmed, not_sent = books(first)
        assert calls <= 8 + applied // 100
        assert 100 <= refused <= 8 * 100
        assert unconfirmed == 0 < not_sent
        assert (10_000, 0, 0, 0, 0, 0) == books(report)
        assert applied == report.accounts.earlier

    @pytest.mark.parametrize(
        ("fault", "said", "unconfirmed"),
        [
            ({"": Status(404)}, "check the base URL", 100),
            ({"command": "search_contact_group", "": Refuse(60006)}, "60006", 0),
        ],
        ids=["no answer of the API", "reading is refused"],
    )
    async def test_fault_of_all(
        self, desk: Desk, fault: dict[str, Any], said: str, unconfirmed: int
    ) -> None:
        """An answer that concerns every change stops the job, also when it only reads."""
        desk.rig.emulator.script.always(fault.pop(""), **fault)
        report = await desk.run(favorites("amy", 1_000), skip_unchanged="command" in fault)

        assert said in str(report.stopped)
        assert (0, 0, 0, 0, unconfirmed, 1_000 - unconfirmed) == books(report)
        assert bool(unconfirmed) == desk.rig.emulator.counts["mark_contact"]

    async def test_full_disk(self, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        """Where the journal cannot be written nothing more is sent, and nothing noted is lost."""
        changes = of_users(100, 100)
        write = Journal._write
        room = [5]

        def full(self: Journal, *arguments: Any, **more: Any) -> None:
            room[0] -= 1
            if room[0] < 0:
                raise OSError(28, "database or disk is full", self.path)
            write(self, *arguments, **more)

        monkeypatch.setattr(Journal, "_write", full)
        # At this pace the journal is full long before everything is sent.
        pace = {"max_in_flight": 4, "calls_per_second": 50.0}
        first = await desk.run(changes, session=pace)
        monkeypatch.undo()
        report = await desk.run(changes)
        sent = desk.sent()

        assert "disk is full" in str(first.stopped)
        assert 0 < first.unwritten
        assert 0 < books(first)[-1]
        assert (10_000, 0, 0, 0, 0, 0) == books(report)
        assert first.accounts.applied - first.unwritten == report.accounts.earlier
        assert first.unwritten == sent.total() - 10_000

    async def test_failures_on_full_disk(self, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        """Where the failures cannot be written nothing more is sent either."""
        changes = of_users(200, 100)
        desk.rig.emulator.script.item((1, "peer_0001"), 50001, times=None)

        def full(*_: object, **__: object) -> None:
            raise OSError(28, "No space left on device", str(desk.failed))

        monkeypatch.setattr("chatmark.jobs.output_files.OutputFile.write_bytes", full)
        report = await desk.run(changes)

        assert "No space left" in str(report.stopped)
        assert 0 < books(report)[-1]


class TestEveryRow:
    async def test_accounted_for(self, desk: Desk) -> None:
        """
        With refused users, one beyond the limit, faults and bad rows, every row is in one place.
        """
        rng = random.Random(5)
        emulator = desk.rig.emulator
        changes = list(scattered(3_000, 40, rng, repeats=0.2))
        changes += favorites("collector", 1_050) + favorites("stranger", 30)
        rng.shuffle(changes)
        path = desk.folder / "rows.jsonl"
        write_rows(path, changes)
        bad = ["x", '{"from_account": "amy"}', "{}", "[]"]
        path.write_text("\n".join([*bad, path.read_text("utf-8")]), "utf-8")
        emulator.script.always(Refuse(50001), account="stranger")
        emulator.script.randomly(
            0.2, [Status(502), ResetAfter(), Refuse(60008), CutBody(0.5)], rng=random.Random(1)
        )
        emulator.script.items_randomly(0.05, [50004, 50005], rng=random.Random(2))
        reports = [
            await desk.run(ChangeFile.of(str(path)), max_errors=4, stop_after=count)
            for count in (700, 1_500)
        ]
        report = await desk.run(ChangeFile.of(str(path)), max_errors=4)
        applied, unchanged, refused, set_aside, unconfirmed, not_sent = books(report)

        for each in reports:
            books(each)
        assert (4_080, 0, 80, 4, 0, 0) == (
            *(applied + refused, unchanged, refused, set_aside, unconfirmed, not_sent),
        )
        assert {50001: 30, 51008: 50} == report.accounts.refused
        assert report.rows == report.accounts.total == 4_084
        rows = desk.failures()
        assert Counter({50001: 30, 51008: 50, None: 4}) == Counter(row.get("_code") for row in rows)
        assert bad == [row["_raw"] for row in rows if "_raw" in row]

    async def test_failures_again(self, desk: Desk) -> None:
        """The file of the failures is an input, with the net effect of the rows that failed."""
        changes = [
            MarkChange("amy", Conversation.one_to_one("bob"), FAVORITE),
            MarkChange("amy", Conversation.one_to_one("bob"), custom_mark="x"),
            *favorites("amy", 3),
        ]
        desk.rig.emulator.script.item((1, "bob"), 50001)
        first = await desk.run(changes)
        desk.journal.unlink()
        again = desk.failed.rename(desk.folder / "again.jsonl")
        second = await desk.run(ChangeFile.of(str(again)))

        assert (3, 0, 2, 0, 0, 0) == books(first)
        assert (1, 0, 0, 0, 0, 0) == books(second)
        assert model_state(changes) == desk.rig.emulator.state.snapshot()


class TestReviewed:
    """What a review found."""

    async def test_journal_of_another_server(self, desk: Desk) -> None:
        """Who names no target has one all the same: the session's application and server."""
        options = JobOptions(journal=str(desk.journal), keep_journal=True)
        changes = favorites("amy", 3)
        await run(desk.rig.session(), changes, options)
        async with Emulator() as other:
            session = desk.rig.session(base_url=other.url)
            with pytest.raises(JournalError, match="is of a job for"):
                await run(session, changes, options)

    async def test_server_gone(self, desk: Desk) -> None:
        """
        A job against a server that answers nobody stops; it does not walk through all its rows.
        """
        desk.rig.emulator.script.always(Status(502))
        changes = of_users(300, 50)
        report = await desk.run(changes, session={"deadline": 0.01})

        assert isinstance(report.stopped, DeadlineExceededError)
        assert report.accounts.not_sent > 10_000
        assert report.accounts.is_balanced

    async def test_never_reached(self, desk: Desk) -> None:
        """A job of few changes that the server never got says why."""
        unreachable = {"base_url": "http://127.0.0.1:1", "deadline": 0.05}
        report = await desk.run(favorites("amy", 5), session=unreachable)

        assert isinstance(report.stopped, DeadlineExceededError)
        assert report.stopped.change is None
        assert "cannot connect to 127.0.0.1:1" in report.document()["stopped"]
        assert (0, 0, 0, 0, 0, 5) == books(report)
        assert not report.interrupted

    @pytest.mark.parametrize("is_answered_last", [False, True])
    async def test_answered_again(self, *, is_answered_last: bool) -> None:
        """Changes that were not sent stop the job, unless a later one has an answer."""
        late = DeadlineExceededError(1.0, TransportError("cannot connect", sent=False))
        units = [Unit(number, each, 1, 1) for number, each in enumerate(favorites("amy", 2))]
        results = [MarkResult(units[0].change, None, "", 1, late, sent=False)]
        results.insert(int(is_answered_last), MarkResult(units[1].change, 0))
        sender = Sender(Accounts(), FailureLog(), None)

        class Session:
            async def apply(self, source: AsyncIterator[Any], on_result: Any) -> None:
                assert [2] == [len(batch) async for batch in source]
                for result in results:
                    on_result(result)

        session: Any = Session()
        await sender.run(session, batches_of(units), grouped=False)

        assert is_answered_last == (sender.error is None)

    @pytest.mark.parametrize("fault", ["wrong key", "no server", "no replies to marks"])
    async def test_undo_of_nothing(self, desk: Desk, fault: str) -> None:
        """A file that brings nothing back does not stay: the same command is not refused."""
        undo = desk.folder / "undo.jsonl"
        sessions: dict[str, dict[str, Any]] = {
            "wrong key": {"credentials": attrs.evolve(desk.rig.credentials, secret_key="wrong")},
            "no server": {"base_url": "http://127.0.0.1:1", "deadline": 0.05},
            "no replies to marks": {"deadline": 0.2},
        }
        if fault == "no replies to marks":
            desk.rig.emulator.script.always(ResetAfter(), command="mark_contact")
        first = await desk.run(favorites("amy", 3), session=sessions[fault], undo=str(undo))
        is_sent = fault == "no replies to marks"
        there = undo.exists()
        desk.rig.emulator.script.clear()
        again = await desk.run(favorites("amy", 3), undo=str(undo))

        assert (is_sent, is_sent) == (there, first.undo is not None)
        assert not first.ok
        assert again.ok
        assert str(undo) == again.undo
        assert 3 == len(undo.read_text("utf-8").splitlines())

    async def test_undo_is_needed(self, desk: Desk) -> None:
        """A file that is empty stays while an earlier run of the job has sent something."""
        undo = desk.folder / "undo.jsonl"
        for number in range(3):
            desk.rig.emulator.state.seed_mark("amy", (1, f"peer_{number:04}"), 1)
        options: dict[str, Any] = {"undo": str(undo), "keep_journal": True}
        first = await desk.run(favorites("amy", 3), **options)
        again = await desk.run(favorites("amy", 3), **options)

        assert str(undo) == first.undo == again.undo
        assert (3, b"") == (again.accounts.earlier, undo.read_bytes())
