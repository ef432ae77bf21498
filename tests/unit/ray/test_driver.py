"""Partitions sent one after another, without Ray, against the emulator."""

import asyncio
import json
import pathlib
import random
from collections.abc import Mapping
from typing import Any

import attrs
import pytest
from cluster_rig import LocalSender, partitioned, told
from job_rig import scattered
from rig import Rig, model_state

from chatmark import MarkSession
from chatmark.emulator import Delay, Emulator
from chatmark.jobs import ChangedInputError, JobOptions, JobReport, JournalError, Progress, run
from chatmark.jobs.journal import JobKey
from chatmark.jobs.sending.accounts import FailureLog
from chatmark.jobs.sources.row import RowError
from chatmark.ray.checkpoint import Checkpoint
from chatmark.ray.driver import Driver, SenderLostError
from chatmark.ray.input import Input

CHANGES = list(scattered(2_000, 40, random.Random(1), repeats=0.05))
UNKNOWN = {"user_00003", "user_00017"}
GIVEN = partitioned(CHANGES, 10)


def lines(path: pathlib.Path) -> list[str]:
    """Return the lines of a file, sorted."""
    return sorted(path.read_text("utf-8").splitlines())


@attrs.define
class Job:
    """Jobs of one emulator, whose files are in one folder."""

    rig: Rig
    folder: pathlib.Path
    seconds: float = 20.0
    sender: LocalSender | None = None

    @property
    def failed(self) -> pathlib.Path:
        """The file of failures."""
        return self.folder / "failed.jsonl"

    def session(self) -> MarkSession:
        """Return a session."""
        return self.rig.session(deadline=self.seconds, timeout=self.seconds)

    async def run(
        self,
        given: Input = GIVEN,
        losses: Mapping[int, int] | None = None,
        checkpoint: Checkpoint | None = None,
        **more: Any,
    ) -> JobReport:
        """Send the partitions of an input."""
        session = self.session()
        options = JobOptions(failed=str(self.failed), interval=0.01, target=session.target)
        self.sender = LocalSender(session, options, losses)
        with FailureLog(options.failed) as failures:
            driver = Driver(given, options, self.sender, failures, checkpoint)
            return await driver.run(**more)

    def checkpoint(self, given: Input = GIVEN, **more: Any) -> Checkpoint:
        """Return the checkpoint for an input."""
        made = Checkpoint(str(self.folder / "a folder" / "checkpoint"))
        target = more.pop("target", "application")
        key = JobKey(target, given.digest, given.size.units, given.size.changes, given.name)
        made.claim(key, given.first_users, **{"accept_changed_input": False} | more)
        return made


@pytest.fixture
async def job(tmp_path: pathlib.Path) -> Any:
    """Give jobs against an emulator that does not know all users."""
    users = {each for c in CHANGES for each in (c.from_account, c.conversation.id)} - UNKNOWN
    async with Emulator(calls_per_second=None, keep_calls=None, users=users) as emulator:
        rig = Rig(emulator)
        yield Job(rig, tmp_path)
        for session in rig.sessions:
            await session.close()
        rig.check_ledgers()


class TestOneProcess:
    @pytest.mark.parametrize("partitions", [1, 7, 100])
    async def test_as_one_process(self, job: Job, partitions: int) -> None:
        """State, report, progress and failures are those of one process."""
        seen: list[int] = []
        there = await job.run(
            partitioned(CHANGES, partitions),
            on_progress=lambda progress: seen.append(progress.counters.done),
        )
        state, calls = job.rig.emulator.state.snapshot(), job.rig.emulator.counts["mark_contact"]
        rows = lines(job.failed)
        session = job.session()
        here = await run(
            session, CHANGES, JobOptions(failed=str(job.failed), target=session.target)
        )

        assert told(here) == told(there)
        assert lines(job.failed) == rows
        assert state == job.rig.emulator.state.snapshot()
        assert 2 * calls == job.rig.emulator.counts["mark_contact"]
        assert seen == sorted(seen)
        assert len(UNKNOWN) * 50 == there.accounts.all_refused

    async def test_verifying(self, job: Job) -> None:
        """Partitions are read back one by one, and the sums are those of one reading."""
        session = job.session()
        options = JobOptions(verify=True, target=session.target)
        sender = LocalSender(session, options)
        report = await Driver(GIVEN, options, sender, FailureLog()).run()

        assert report.read_back is not None
        assert GIVEN.size.units == report.read_back.conversations
        assert report.reading.calls > 0
        assert ["send", "verify"] == [phase.name for phase in report.phases]
        assert report.run.calls + report.reading.calls == session.stats.calls

    async def test_bad_rows(self, job: Job) -> None:
        """Rows that are set aside are in the accounts and in the file."""
        bad = RowError("f.csv", 17, "set_mark", "is wrong", "a,b")
        report = await job.run(attrs.evolve(GIVEN, bad=[bad], rows=2_001))

        assert (2_001, 1) == (report.accounts.total, report.accounts.set_aside)
        assert report.complete
        assert any('"_line":17' in line for line in lines(job.failed))


class TestLosses:
    async def test_a_loss_costs_one_partition(
        self, job: Job, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A partition whose sender is lost is sent again, and counts once."""
        before = await job.run()
        calls = job.rig.emulator.counts["mark_contact"]
        seen: list[Progress] = []
        report = await job.run(losses={3: 1, 8: 2}, on_progress=seen.append)
        again = job.rig.emulator.counts["mark_contact"] - calls

        assert told(before) == told(report)
        sizes = [partition.size.calls for partition in GIVEN.partitions]
        assert calls + sizes[3] + 2 * sizes[8] == again
        assert 3 == sum("is sent again" in each.getMessage() for each in caplog.records)

    async def test_given_up(self, job: Job) -> None:
        """A partition that is lost too often is unconfirmed, in the file too; the job goes on."""
        report = await job.run(losses={3: 3})
        rows = [json.loads(line) for line in lines(job.failed)]
        lost = [row for row in rows if "lost 3 times" in row["_info"]]
        size = GIVEN.partitions[3].size

        assert (size.changes, size.units) == (report.accounts.unconfirmed, len(lost))
        assert size.changes == sum(row["_rows"] for row in lost)
        assert report.accounts.is_balanced
        assert report.complete
        assert not report.ok
        assert model_state(c for c in CHANGES if c.from_account not in UNKNOWN) == (
            job.rig.emulator.state.snapshot()
        )

    async def test_the_cluster_is_at_fault(self, job: Job) -> None:
        """After two partitions in a row nothing more is sent."""
        report = await job.run(losses={3: 3, 4: 3})
        unsent = sum(partition.size.changes for partition in GIVEN.partitions[5:])

        assert isinstance(report.stopped, SenderLostError)
        assert unsent == report.accounts.not_sent
        assert report.accounts.is_balanced
        assert job.sender is not None
        assert job.sender.is_stopped

    async def test_an_outage(self, job: Job) -> None:
        """A server that answers nothing is taken for gone, however small the partitions are."""
        job.rig.emulator.script.always(Delay(60.0))
        job.seconds = 0.2
        known = [change for change in CHANGES if change.from_account not in UNKNOWN]
        report = await job.run(partitioned(known, 20))

        assert report.stopped is not None
        assert 1_000 <= report.accounts.unconfirmed < 1_200
        assert report.accounts.is_balanced

    async def test_no_server(self, job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
        """A job that does not reach the server ends with its first partition, and says why."""
        unreachable = job.rig.session(base_url="http://127.0.0.1:1", deadline=0.1)
        monkeypatch.setattr(Job, "session", lambda _: unreachable)
        report = await job.run()

        assert "cannot connect to 127.0.0.1:1" in report.document()["stopped"]
        assert report.accounts.not_sent == report.accounts.total
        assert job.sender is not None
        assert [0] == job.sender.sent


class TestNewStart:
    async def test_it_goes_on(self, job: Job) -> None:
        """A new start sends what is not noted; the report is that of one start but for its runs."""
        whole = await job.run()
        rows = lines(job.failed)
        checkpoint = job.checkpoint()
        killed = asyncio.create_task(job.run(checkpoint=checkpoint))
        while job.sender is None or job.sender.sent[-1:] != [4]:
            await asyncio.sleep(0)
        killed.cancel()
        await asyncio.wait([killed])
        report = await job.run(checkpoint=job.checkpoint())

        assert job.checkpoint().first_users == GIVEN.first_users
        assert [4, 5, 6, 7, 8, 9] == job.sender.sent
        mine = ("calls", "items_sent", "earlier_runs")
        assert {k: v for k, v in told(whole).items() if k not in mine} == {
            k: v for k, v in told(report).items() if k not in mine
        }
        assert rows == lines(job.failed)
        assert report.earlier is not None
        assert whole.run.calls == report.run.calls + report.earlier.calls
        changes = sum(partition.size.changes for partition in GIVEN.partitions[:4])
        assert (1, changes) == (len(report.earlier_runs), report.accounts.earlier)

    async def test_what_is_not_settled_is_sent_again(self, job: Job) -> None:
        """A partition of which a change has no outcome is not noted."""
        job.rig.emulator.script.always(Delay(60.0))
        job.seconds = 0.1
        await job.run(partitioned(CHANGES[:10], 1), checkpoint=job.checkpoint())
        job.seconds = 20.0
        job.rig.emulator.script.clear()
        report = await job.run(checkpoint=job.checkpoint())

        assert report.earlier is None
        assert report.complete

    async def test_changed_rows(self, job: Job) -> None:
        """Other rows are refused; if they are accepted, only their partitions are sent again."""
        await job.run(checkpoint=job.checkpoint())
        account = next(c.from_account for c in CHANGES if c.from_account not in UNKNOWN)
        changed = [*CHANGES, attrs.evolve(CHANGES[0], from_account=account, custom_mark="new")]
        given = partitioned(changed, 10, GIVEN.first_users)
        with pytest.raises(ChangedInputError, match=r"2,000 changes .* now it is 2,001"):
            job.checkpoint(given)
        await job.run(given, checkpoint=job.checkpoint(given, accept_changed_input=True))

        assert job.sender is not None
        (sent,) = job.sender.sent
        users = ["", *GIVEN.first_users, "z"]
        assert users[sent] <= account < users[sent + 1]

    async def test_what_cannot_be_used(self, job: Job) -> None:
        """A checkpoint of another server, a damaged one, and a file are refused."""
        job.checkpoint()
        with pytest.raises(JournalError, match="is of a job for application, not for another"):
            job.checkpoint(target="another")
        folder = job.folder / "a folder" / "checkpoint"
        for damaged in ("{", "{}"):
            (folder / "job.json").write_text(damaged, "utf-8")
            with pytest.raises(JournalError, match="is damaged: move it away"):
                job.checkpoint()
        with pytest.raises(JournalError, match="is a file"):
            Checkpoint(str(folder / "job.json"))

    async def test_it_is_removed(self, job: Job) -> None:
        """Its files are removed, and no others."""
        checkpoint = job.checkpoint()
        await job.run(checkpoint=checkpoint)
        folder = job.folder / "a folder" / "checkpoint"
        assert 11 == len(list(folder.iterdir()))
        (folder / "mine").touch()
        checkpoint.remove(10)
        assert ["mine"] == [each.name for each in folder.iterdir()]
        (folder / "mine").unlink()
        checkpoint.remove(10)
        assert not folder.exists()
