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

    @pytest.mark.parametrize("seed", range(3))
    async def test_fewest_calls(self, desk: Desk, seed: int) -> None:
        """No more calls are made than it takes to send a hundred conversations of a user a call."""
        rng = random.Random(seed)
        sizes = {f"user_{number:03}": rng.randrange(1, 350) for number in range(60)}
        changes = [change for user, size in sizes.items() for change in favorites(user, size)]
        rng.shuffle(changes)
        report = await desk.run(changes)

        assert sum(-(-size // 100) for size in sizes.values()) == report.run.calls

    async def test_fewest_calls_of_many(self, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        """Nor where memory holds few of the units at a time."""
        monkeypatch.setattr("chatmark.jobs.sending.sender.MOST_IN_FLIGHT", 300)
        changes = [each for user in range(40) for each in favorites(f"user_{user}", 150)]
        report = await desk.run(changes)

        assert (80, 6_000) == (report.run.calls, report.accounts.applied)

    async def test_file(self, desk: Desk) -> None:
        """A file is read by its name; what is set aside is in the file of the failures."""
        path = desk.folder / "rows.jsonl"
        write_rows(path, favorites("amy", 3))
        path.write_text(path.read_text("utf-8") + "x\n", encoding="utf-8")
        report = await desk.run(ChangeFile.of(str(path)), max_errors=1)

        assert (3, 0, 0, 1, 0, 0) == books(report)
        assert (str(path), 4, False) == (report.file, report.rows, report.ok)
        assert ["x"] == [row["_raw"] for row in desk.failures()]

    async def test_bad_rows(self, desk: Desk) -> None:
        """A row too many that is bad is found before anything is sent."""
        path = desk.folder / "rows.csv"
        path.write_text("from_account,to_account,set_mark\namy,bob,0\namy,bob,99\n", "utf-8")
        with pytest.raises(BadRowsError, match="1 of 2"):
            await desk.run(ChangeFile.of(str(path)))

        assert not desk.rig.emulator.counts
        assert [path] == list(desk.folder.iterdir())

    async def test_no_changes(self, desk: Desk) -> None:
        """What is no change is refused by its type."""
        with pytest.raises(InputError, match="must hold MarkChange"):
            await desk.run(["x"])  # type: ignore[list-item]

    async def test_set_aside_to_nowhere(self, desk: Desk) -> None:
        """Rows are not set aside where nobody would find them."""
        with pytest.raises(InputError, match="max_errors"):
            await run(desk.rig.session(), [], max_errors=1)

    async def test_progress(self, desk: Desk) -> None:
        """Whoever watches is told how it is doing, and the report knows how it went."""
        seen: list[Progress] = []
        desk.rig.emulator.script.item((1, "peer_0007"), 50001, times=None)
        report = await desk.run(
            favorites("amy", 500),
            on_progress=seen.append,
            interval=0.0,
            calls_per_second=190.0,
            session={"max_in_flight": 1},
        )
        done = [each.counters.done for each in seen]

        assert sorted(done) == done
        assert any(0 < each < 500 for each in done)
        assert {500} == {each.total for each in seen}
        assert {190.0} == {each.budget for each in seen}
        assert {50001: 1} == seen[-1].counters.failures_by_code
        counts = [span.counts for span in report.timeline.spans()]
        assert 499 == sum(each.applied for each in counts)
        assert 1 == sum(each.failed for each in counts)

    async def test_progress_of_two_paces(self, desk: Desk) -> None:
        """
        Calls that read and calls that send have a pace each: their sum is shown beside neither.
        """
        seen: list[Progress] = []
        await desk.run(
            favorites("amy", 100),
            on_progress=seen.append,
            interval=0.0,
            calls_per_second=190.0,
            skip_unchanged=True,
        )

        assert {None} == {each.budget for each in seen}
        assert not any("calls, " in each.line for each in seen)
        assert seen[-1].line.endswith(" calls")

    async def test_broken_watcher(self, desk: Desk) -> None:
        """Progress that cannot be shown is no reason to fail."""

        def broken(_: Progress) -> None:
            raise BrokenPipeError

        assert (await desk.run(favorites("amy", 300), on_progress=broken, interval=0.0)).ok

    async def test_verify(self, desk: Desk) -> None:
        """What is read back is compared with what the rows want."""
        desk.rig.emulator.script.item((1, "peer_0000"), 50001, times=None)
        report = await desk.run(favorites("amy", 3), verify=True)

        assert report.read_back is not None
        assert (3, 1) == (report.read_back.conversations, report.read_back.differing)
        assert not report.ok

    async def test_verify_progress(self, desk: Desk) -> None:
        """Reading back has its own progress, and is no part of what sending took."""
        seen: list[Progress] = []
        changes = [each for user in range(100) for each in favorites(f"user_{user}", 3)]
        report = await desk.run(changes, verify=True, on_progress=seen.append, interval=0.0)
        reading = [each for each in seen if each.phase == "verify"]
        done = [each.counters.done for each in reading]

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
        changes = [each for user in range(30) for each in favorites(f"user_{user}", 50)]
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

    async def test_cancelled_source(self, desk: Desk) -> None:
        """A source that gives nothing does not keep a cancelled job waiting."""
        begun = asyncio.Event()

        async def endless() -> AsyncIterator[MarkChange]:
            begun.set()
            await asyncio.Event().wait()
            yield favorites("amy", 1)[0]

        task = asyncio.create_task(run(desk.rig.session(), endless()))
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    async def test_closed_session(self, desk: Desk) -> None:
        """A session that is closed sends nothing, and the report says so."""
        session = desk.rig.session()
        await session.close()
        report = await run(session, favorites("amy", 3))

        assert "the session is closed" == str(report.stopped)
        assert (0, 0, 0, 0, 0, 3) == books(report)


class TestResume:
    async def test_goes_on(self, desk: Desk) -> None:
        """A job that was stopped goes on where it was: what took effect is not sent again."""
        changes = list(scattered(4_000, 30, random.Random(2), repeats=0.1))
        slowly = {"max_in_flight": 2}
        reports = [await desk.run(changes, stop_after=800, session=slowly) for _ in range(3)]
        report = await desk.run(changes)

        assert all(each.interrupted and books(each)[-1] for each in reports)
        assert model_state(changes) == desk.rig.emulator.state.snapshot()
        assert {1} == set(desk.sent().values())
        assert (4_000, 0, 0, 0, 0, 0) == books(report)
        assert report.earlier is not None
        assert 3 == report.earlier.number
        assert 0 < report.accounts.earlier < 4_000
        assert report.conversations == report.earlier.items + report.run.items
        assert not desk.journal.exists()

    async def test_failures_of_all_runs(self, desk: Desk) -> None:
        """
        The failures are those of the whole job, and those that were refused are not tried again.
        """
        changes = [each for user in range(30) for each in favorites(f"user_{user:02}", 50)]
        desk.rig.emulator.script.item((1, "peer_0001"), 50001, times=None)
        first = await desk.run(changes, stop_after=300, session={"max_in_flight": 4})
        before = len(desk.failures())
        report = await desk.run(changes)

        assert 0 < before == first.accounts.all_refused < 30
        assert (1_470, 0, 30, 0, 0, 0) == books(report)
        assert 30 == len(desk.failures())
        assert {"peer_0001"} == {row["to_account"] for row in desk.failures()}
        assert {(50001, 1, 1)} == {
            (row["_code"], row["_attempts"], row["_rows"]) for row in desk.failures()
        }
        assert {1} == set(desk.sent().values())
        assert desk.journal.exists()

    async def test_finished(self, desk: Desk) -> None:
        """A job that has nothing left to do makes no calls, and reports the same."""
        changes = favorites("amy", 200)
        await desk.run(changes, keep_journal=True)
        calls = desk.rig.emulator.counts.total()
        report = await desk.run(changes, keep_journal=True)

        assert calls == desk.rig.emulator.counts.total()
        assert (200, 0, 0, 0, 0, 0) == books(report)
        assert report.ok
        assert report.journal == str(desk.journal)

    async def test_unconfirmed_again(self, desk: Desk) -> None:
        """What no answer told of is sent again by the next run."""
        desk.rig.emulator.script.always(Status(502))
        first = await desk.run(favorites("amy", 50), session={"deadline": 0.0})
        desk.rig.emulator.script.clear()
        report = await desk.run(favorites("amy", 50))

        assert (0, 0, 0, 0, 50, 0) == books(first)
        assert (50, 0, 0, 0, 0, 0) == books(report)

    async def test_cancelled(self, desk: Desk) -> None:
        """A job that is cancelled waits for what is in flight, and its journal is complete."""
        changes = [each for user in range(40) for each in favorites(f"user_{user:02}", 50)]
        session = desk.rig.session()
        task = asyncio.create_task(run(session, changes, desk.options()))
        while session.stats.succeeded < 300:
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert 0 == session.stats.in_flight
        report = await desk.run(changes)

        assert (2_000, 0, 0, 0, 0, 0) == books(report)
        assert {1} == set(desk.sent().values())

    @pytest.mark.parametrize("turns", range(4))
    @pytest.mark.parametrize("skip_unchanged", [False, True])
    async def test_cancelled_twice(self, desk: Desk, turns: int, *, skip_unchanged: bool) -> None:
        """A job that is cancelled twice, however soon, is cancelled, and leaves nothing behind."""
        desk.rig.emulator.script.always(Delay(0.01))
        changes = [each for user in range(40) for each in favorites(f"user_{user:02}", 50)]
        session = desk.rig.session(max_in_flight=2)
        options = desk.options(skip_unchanged=skip_unchanged)
        task = asyncio.create_task(run(session, changes, options))
        while not session.stats.calls:
            await asyncio.sleep(0)
        for _ in range(2):
            task.cancel()
            for _ in range(turns):
                await asyncio.sleep(0)
        await asyncio.wait([task])
        left = {each.get_name() for each in asyncio.all_tasks()}

        assert task.cancelled()
        assert not {"chatmark-apply", "chatmark-flush", "chatmark-progress"} & left
        assert not desk.failed.exists()
        assert (2_000, 0, 0, 0, 0, 0) == books(await desk.run(changes))

    @pytest.mark.parametrize("times", [1, 2])
    async def test_cancelled_while_verifying(self, desk: Desk, times: int) -> None:
        """
        A job that is cancelled while it reads back has ended reading before its rows are gone.
        """
        changes = [each for user in range(40) for each in favorites(f"user_{user:02}", 50)]
        session = desk.rig.session()
        task = asyncio.create_task(run(session, changes, desk.options(verify=True)))
        while "chatmark-ahead" not in {each.get_name() for each in asyncio.all_tasks()}:
            await asyncio.sleep(0)
        for _ in range(times):
            task.cancel()
            await asyncio.sleep(0)
        await asyncio.wait([task])

        assert task.cancelled()
        assert "chatmark-verify" not in {each.get_name() for each in asyncio.all_tasks()}

    async def test_cancelled_while_reading(self, desk: Desk) -> None:
        """A job that is cancelled before it sends leaves nothing behind."""
        task = asyncio.create_task(desk.run(scattered(20_000, 10, random.Random(1))))
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
        Whoever says so goes on: users whose rows are the same are left, others are sent whole.
        """
        await desk.run(favorites("amy", 50) + favorites("bob", 60), keep_journal=True)
        changed = favorites("amy", 50) + favorites("bob", 59) + favorites("abe", 10)
        report = await desk.run(changed, accept_changed_input=True)

        assert (119, 0, 0, 0, 0, 0) == books(report)
        assert 50 == report.accounts.earlier
        assert {"amy": 50, "bob": 119, "abe": 10} == Counter(
            account for account, _ in desk.sent().elements()
        )

    async def test_other_target(self, desk: Desk) -> None:
        """What one server has is nothing that another has."""
        await desk.run(favorites("amy", 2), keep_journal=True)
        options = attrs.evolve(desk.options(), target="elsewhere")
        with pytest.raises(JournalError, match="is of a job for here, not for elsewhere"):
            await run(desk.rig.session(), favorites("amy", 2), options)


class TestStopped:
    async def test_refused_application(self, desk: Desk) -> None:
        """A refusal of the application stops the job at once; later it goes on."""
        changes = [each for user in range(100) for each in favorites(f"user_{user:03}", 100)]
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

    async def test_not_the_api(self, desk: Desk) -> None:
        """So does an answer that is none of the API's."""
        desk.rig.emulator.script.always(Status(404))
        report = await desk.run(favorites("amy", 5_000))

        assert "check the base URL" in str(report.stopped)
        assert 1 == desk.rig.emulator.counts.total()
        assert 100 == report.accounts.unconfirmed
        assert 4_900 == report.accounts.not_sent

    async def test_reading_refused(self, desk: Desk) -> None:
        """So does a refusal of what is read before something is sent."""
        desk.rig.emulator.script.always(Refuse(60006), command="search_contact_group")
        report = await desk.run(favorites("amy", 200), skip_unchanged=True)

        assert "60006" in str(report.stopped)
        assert (0, 0, 0, 0, 0, 200) == books(report)

    async def test_full_disk(self, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        """Where the journal cannot be written nothing more is sent, and nothing noted is lost."""
        changes = [each for user in range(100) for each in favorites(f"user_{user:03}", 100)]
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
        changes = [each for user in range(200) for each in favorites(f"user_{user:03}", 100)]
        desk.rig.emulator.script.item((1, "peer_0001"), 50001, times=None)

        def full(*_: object, **__: object) -> None:
            raise OSError(28, "No space left on device", str(desk.failed))

        monkeypatch.setattr("chatmark.jobs.output_files.OutputFile.write_bytes", full)
        report = await desk.run(changes)

        assert "No space left" in str(report.stopped)
        assert 0 < books(report)[-1]

    async def test_failed_over_input(self, desk: Desk) -> None:
        """What failed does not take the place of the rows: nothing is sent."""
        write_rows(desk.failed, favorites("amy", 200))
        before = desk.failed.read_bytes()
        with pytest.raises(InputError, match="failed would replace the input"):
            await desk.run(ChangeFile.of(str(desk.failed)))

        assert before == desk.failed.read_bytes()
        assert {} == desk.rig.emulator.state.snapshot()


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

    async def test_slow_units_of_one_block(self, desk: Desk) -> None:
        """
        A stopped job that looked before it sent knows all that it settled, and counts it once.
        """
        users = [favorites(f"user_{number:03}", 1)[0] for number in range(120)]
        desk.rig.emulator.script.item((1, "peer_0000"), 50001, account="user_003")
        first = await desk.run(
            users, skip_unchanged=True, stop_after=40, session={"calls_per_second": 300}
        )
        again = await desk.run(users, skip_unchanged=True)

        assert first.accounts.applied >= 40
        assert again.accounts.earlier == first.accounts.applied + first.accounts.all_refused
        assert (119, {50001: 1}) == (again.accounts.applied, dict(again.accounts.refused))
        assert again.accounts.is_balanced

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
        changes = [each for n in range(300) for each in favorites(f"user_{n:03}", 50)]
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
