import json
import os
import pathlib
import random
from collections.abc import Iterator

import pytest
from cli_run import Run, WithAnUnknownUser
from job_rig import Server, scattered, write_rows

from chatmark import Conversation, ConversationMark, MarkChange, MarkedConversation
from chatmark.emulator import EmulatorThread
from chatmark.jobs.sending.undo import undo_of

ROWS = 1_000
PEER = Conversation.one_to_one("bob")


@pytest.fixture
def slow(tmp_path: pathlib.Path) -> Iterator[Server]:
    """Run a server in its own process that has marks of all users."""
    with Server(keep_calls=None, round_trip=0.01) as server:
        write_rows(tmp_path / "old.jsonl", scattered(ROWS // 2, 10, random.Random(1)))
        server.run("apply", str(tmp_path / "old.jsonl"), "--rate", "0")
        write_rows(tmp_path / "new.jsonl", scattered(ROWS, 10, random.Random(2), repeats=0.1))
        yield server


class TestUndo:
    def test_through_kills(self, slow: Server, tmp_path: pathlib.Path) -> None:
        """
        A job killed at random moments and continued is undone by one file, custom marks too.
        """
        before = slow.ask("state")
        undo, journal = str(tmp_path / "undo.jsonl"), str(tmp_path / "journal")
        job = ["apply", str(tmp_path / "new.jsonl"), "--rate", "0", "--max-in-flight", "2"]
        job += ["--undo", undo, "--journal", journal, "--verify"]
        rng = random.Random(1)
        for _ in range(3):
            process = slow.start(*job)
            slow.wait_for(slow.ask("items") + rng.randrange(1, 250))
            process.kill()
            process.communicate()
        with pathlib.Path(undo).open("a") as torn:
            torn.write('{"from_account": "us')
        status, _, err = slow.run(*job)
        after = slow.ask("state")
        undone, _, _ = slow.run("apply", undo, "--rate", "0")

        assert (0, 0) == (status, undone), err
        assert before != after
        assert before == slow.ask("state")
        assert 0o600 == pathlib.Path(undo).stat().st_mode & 0o777

    def test_before_it_is_sent(self, slow: Server, tmp_path: pathlib.Path) -> None:
        """The row of each change that a killed job has made is in the file."""
        undo = tmp_path / "undo.jsonl"
        before = slow.ask("state")
        sent = slow.ask("items")
        process = slow.start(
            "apply", str(tmp_path / "new.jsonl"), "--rate", "0", "--undo", str(undo)
        )
        slow.wait_for(sent + 100)
        process.kill()
        process.communicate()
        after = slow.ask("state")
        rows = map(json.loads, undo.read_text().splitlines())

        changed = {
            (user, peer)
            for user, _, peer in after
            if before.get((user, 1, peer)) != after[user, 1, peer]
        }
        assert changed
        assert changed <= {(row["from_account"], row["to_account"]) for row in rows}


@pytest.mark.usefixtures("emulator_environment")
class TestRefused(WithAnUnknownUser):
    @pytest.fixture(autouse=True)
    @staticmethod
    def precious(tmp_path: pathlib.Path) -> None:
        """Write a file that must stay, beside the rows."""
        (tmp_path / "there.jsonl").write_text("precious")

    def test_unreadable_user(self, chatmark_emulator: EmulatorThread, run: Run) -> None:
        """A change of a conversation that cannot be read is not sent: it could not be undone."""
        status, out, _ = run(["apply", "rows.jsonl", "--undo", "undo.jsonl"])

        assert 1 == status
        assert "50001: the user account is not imported" in out
        assert {("amy", 1, "bob"): (0, "x")} == chatmark_emulator.state.snapshot()
        assert 1 == chatmark_emulator.counts["mark_contact"]

    def test_nothing_sent(self, monkeypatch: pytest.MonkeyPatch, run: Run) -> None:
        """A job that sent nothing leaves no file behind, and names none."""
        key = os.environ["CHATMARK_SECRET_KEY"]
        monkeypatch.setenv("CHATMARK_SECRET_KEY", "another")
        first, out, _ = run(["apply", "rows.jsonl", "--undo", "undo.jsonl"])
        monkeypatch.setenv("CHATMARK_SECRET_KEY", key)
        second, after, _ = run(["apply", "rows.jsonl", "--undo", "undo.jsonl"])

        assert (3, 1) == (first, second)
        assert "what was before" not in out
        assert "what was before is in undo.jsonl" in after

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ("--undo there.jsonl", "is there, and may have what an earlier job replaced"),
            ("--undo undo.jsonl.gz", "must be a file of JSON Lines"),
            ("--undo undo.csv", "the name ends in none of"),
            ("--undo rows.jsonl", "--undo would replace the input"),
        ],
    )
    def test_names(
        self, arguments: str, message: str, chatmark_emulator: EmulatorThread, run: Run
    ) -> None:
        """A file that may be needed is not touched, and nothing is sent."""
        status, _, err = run(["apply", "rows.jsonl", *arguments.split()])

        assert 2 == status
        assert message in err
        assert "precious" == pathlib.Path("there.jsonl").read_text()
        assert "mark_contact" not in chatmark_emulator.counts

    @pytest.mark.parametrize(
        ("first", "second", "message"),
        [
            ("--undo u.jsonl", "", "is of a job with --undo"),
            ("", "--undo u.jsonl", "is of a job without --undo"),
            ("--undo u.jsonl", "--undo v.jsonl", "is of a job with --undo"),
        ],
    )
    def test_journal(self, first: str, second: str, message: str, run: Run) -> None:
        """A job that is continued keeps its file: no part of it is without one."""
        run(["apply", "rows.jsonl", "--journal", "j", *first.split()])
        status, _, err = run(["apply", "rows.jsonl", "--journal", "j", *second.split()])

        assert 2 == status
        assert message in err


@pytest.mark.parametrize(
    ("change", "found", "undo"),
    [
        ({"set_mark": 3, "custom_mark": "new"}, (1, "old"), {"clear": [1], "custom": "old"}),
        ({"set_mark": 1, "clear_mark": 8}, (8, "x"), {"set": [3], "clear": [0], "custom": None}),
        ({"custom_mark": "new"}, (0, ""), {"custom": ""}),
        ({"set_mark": 1, "custom_mark": "same"}, (1, "same"), None),
        ({"clear_mark": 1}, (8, "x"), None),
    ],
)
def test_row(
    change: dict[str, object], found: tuple[int, str], undo: dict[str, object] | None
) -> None:
    """A row restores what the change replaces, and nothing else."""
    marks = {
        name: ConversationMark(value) if isinstance(value, int) else value
        for name, value in change.items()
    }
    mark, custom = found
    made = undo_of(
        MarkChange("amy", PEER, **marks),  # type: ignore[arg-type]
        MarkedConversation(PEER, ConversationMark(mark), custom),
    )
    shown = None
    if made is not None:
        shown = {"set": list(made.set_mark.bits), "clear": list(made.clear_mark.bits)}
        shown |= {"custom": made.custom_mark}  # type: ignore[dict-item]

    assert (None if undo is None else {"set": [], "clear": []} | undo) == shown
