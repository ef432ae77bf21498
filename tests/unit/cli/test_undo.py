import json
import os
import pathlib
import random
from collections.abc import Iterator

import pytest
from cli_run import Run
from job_rig import Server, scattered, write_rows

from chatmark import Conversation, ConversationMark, MarkChange, MarkedConversation
from chatmark.emulator import EmulatorThread
from chatmark.jobs.sending.undo import undo_of

ROWS = 1_000
PEER = Conversation.one_to_one("bob")


@pytest.fixture
def slow(folder: pathlib.Path) -> Iterator[Server]:
    """Run a server in its own process that has marks of all users."""
    with Server(keep_calls=None, round_trip=0.01) as server:
        write_rows(folder / "old.jsonl", scattered(ROWS // 2, 10, random.Random(1)))
        server.run("apply", "old.jsonl", "--rate", "0")
        write_rows(folder / "new.jsonl", scattered(ROWS, 10, random.Random(2), repeats=0.1))
        yield server


def test_through_kills(slow: Server) -> None:
    """
    A job killed at random moments and continued is undone by one file, custom marks too.

    After a kill the file has the row of each change that the job has made.
    """
    before, rng = slow.ask("state"), random.Random(1)
    job = "apply new.jsonl --rate 0 --max-in-flight 2 --undo undo.jsonl --journal j --verify"
    undo = pathlib.Path("undo.jsonl")
    for _ in range(2):
        process = slow.start(*job.split())
        slow.wait_for(slow.ask("items") + rng.randrange(100, 250))
        process.kill()
        process.communicate()
        lines = undo.read_text().rpartition("\n")[0].splitlines()
        rows = {(row["from_account"], 1, row["to_account"]) for row in map(json.loads, lines)}
        after = slow.ask("state")
        changed = {key for key in after if before.get(key) != after[key]}
        assert changed
        assert changed <= rows
    with undo.open("a") as torn:
        torn.write('{"from_account": "us')
    status, _, err = slow.run(*job.split())
    after = slow.ask("state")
    undone, _, _ = slow.run("apply", "undo.jsonl", "--rate", "0")

    assert (0, 0) == (status, undone), err
    assert before != after
    assert before == slow.ask("state")
    assert 0o600 == undo.stat().st_mode & 0o777


@pytest.mark.usefixtures("half")
class TestRefused:
    def test_unreadable_user(self, emulator: EmulatorThread, run: Run) -> None:
        """A change of a conversation that cannot be read is not sent: it could not be undone."""
        status, out, _ = run("apply rows.jsonl --undo undo.jsonl")

        assert 1 == status
        assert "50001: the user account is not imported" in out
        assert {("amy", 1, "bob"): (0, "x")} == emulator.state.snapshot()
        assert 1 == emulator.counts["mark_contact"]

    def test_nothing_sent(
        self, emulator: EmulatorThread, monkeypatch: pytest.MonkeyPatch, run: Run
    ) -> None:
        """A job that sent nothing leaves no file behind, and names none."""
        del emulator
        key = os.environ["CHATMARK_SECRET_KEY"]
        monkeypatch.setenv("CHATMARK_SECRET_KEY", "another")
        first = run("apply rows.jsonl --undo undo.jsonl")
        monkeypatch.setenv("CHATMARK_SECRET_KEY", key)
        second = run("apply rows.jsonl --undo undo.jsonl")

        assert (3, 1) == (first.status, second.status)
        assert "what was before" not in first.out
        assert "what was before is in undo.jsonl" in second.out

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ("--undo there.jsonl", "is there, and may have what an earlier job replaced"),
            ("--undo undo.jsonl.gz", "must be a file of JSON Lines"),
            ("--undo undo.csv", "the name ends in none of"),
            ("--undo rows.jsonl", "--undo would replace the input"),
        ],
    )
    def test_names(self, arguments: str, message: str, emulator: EmulatorThread, run: Run) -> None:
        """A file that may be needed is not touched, and nothing is sent."""
        pathlib.Path("there.jsonl").write_text("precious")
        status, _, err = run(f"apply rows.jsonl {arguments}")

        assert (2, True) == (status, message in err)
        assert "precious" == pathlib.Path("there.jsonl").read_text()
        assert "mark_contact" not in emulator.counts

    @pytest.mark.parametrize(
        ("first", "second", "message"),
        [
            ("--undo u.jsonl", "", "is of a job with --undo"),
            ("", "--undo u.jsonl", "is of a job without --undo"),
            ("--undo u.jsonl", "--undo v.jsonl", "is of a job with --undo"),
        ],
    )
    def test_journal(
        self, first: str, second: str, message: str, emulator: EmulatorThread, run: Run
    ) -> None:
        """A job that is continued keeps its file: no part of it is without one."""
        del emulator
        run(f"apply rows.jsonl --journal j {first}")
        status, _, err = run(f"apply rows.jsonl --journal j {second}")

        assert (2, True) == (status, message in err)


@pytest.mark.parametrize(
    ("change", "found", "undo"),
    [
        ((3, 0, "new"), (1, "old"), (0, 2, "old")),
        ((1, 8, None), (8, "x"), (8, 1, None)),
        ((0, 0, "new"), (0, ""), (0, 0, "")),
        ((1, 0, "same"), (1, "same"), None),
        ((0, 1, None), (8, "x"), None),
    ],
)
def test_row(
    change: tuple[int, int, str | None],
    found: tuple[int, str],
    undo: tuple[int, int, str | None] | None,
) -> None:
    """A row restores what the change replaces, and nothing else."""

    def made(set_mark: int, clear_mark: int, custom: str | None) -> MarkChange:
        return MarkChange(
            "amy", PEER, ConversationMark(set_mark), ConversationMark(clear_mark), custom
        )

    there = MarkedConversation(PEER, ConversationMark(found[0]), found[1])

    assert (None if undo is None else made(*undo)) == undo_of(made(*change), there)
