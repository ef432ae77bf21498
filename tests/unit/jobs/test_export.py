import contextlib
import datetime as dt
import json
import os
import pathlib
import sqlite3
import tempfile
from collections.abc import Callable, Iterable

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from rig import Rig
from strategies import conversations, marks

from chatmark import (
    ApplicationRefusedError,
    Conversation,
    ConversationMark,
    InputError,
    MarkChange,
    MarkedConversation,
    MarkSession,
)
from chatmark.emulator import Refuse, Status
from chatmark.jobs.exporting import COLUMNS, Export, ExportFile, FailedUser, marked_row
from chatmark.jobs.row_files import RowFile
from chatmark.jobs.sources.dialect import Dialect
from chatmark.jobs.sources.files import ChangeFile
from chatmark.jobs.sources.formats import FileFormat
from chatmark.jobs.sources.users import UserList

USERS = [f"user_{number:03}" for number in range(150)]


def seed(rig: Rig, users: Iterable[str] = USERS) -> list[str]:
    """Give each user three marks; return the lines that an export has of them."""
    lines = []
    for user in users:
        for peer in ("a", "b", "c"):
            rig.emulator.state.seed_mark(user, (1, peer), 1, timestamp=0)
            row = {"from_account": user, "to_account": peer, "set_mark": ["favorite"]}
            lines.append(json.dumps(row, separators=(",", ":")))
    return lines


def names_in(folder: pathlib.Path) -> list[str]:
    """Return the names of the files in a folder."""
    return [each.name for each in folder.iterdir()]


ROW = {"from_account": "amy", "to_account": "bob", "set_mark": [0]}


class Clock:
    """A clock on which each look costs a second."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        """Return the time."""
        self.now += 1
        return self.now


async def export_to(
    path: pathlib.Path,
    session: MarkSession,
    *,
    users: Iterable[str] = USERS,
    fail: Callable[[int], object] = lambda _: None,
) -> tuple[Export, list[FailedUser]]:
    """Export, or go on with it; *fail* is called with the number of users at each save."""
    with (
        UserList(users) as listed,
        ExportFile(str(path), FileFormat.JSON_LINES, listed.digest, overwrite=True) as output,
    ):

        class Saving:
            write = staticmethod(output.write)

            @staticmethod
            def save(users: int, rows: int, failed: Iterable[FailedUser]) -> None:
                output.save(users, rows, failed)
                fail(users)

        export = Export(listed, *output.begun, clock=Clock())
        await export.run(session, Saving())
        output.complete()
        return export, list(output.failures())


class TestExport:
    async def test_goes_on(self, rig: Rig, tmp_path: pathlib.Path) -> None:
        """
        An export that died goes on behind the last users that it saved, whatever came after them.

        It has all marks of all users, in the order of the users, and leaves nothing else.
        """
        lines = seed(rig)
        rig.emulator.state.seed_contact_group("user_149", 1, "friends", [(1, "z")])
        path = tmp_path / "out.jsonl"
        saves: list[int] = []

        def die(users: int) -> None:
            saves.append(users)
            if len(saves) % 9 == 0:
                raise KeyboardInterrupt

        export: Export | None = None
        while export is None:
            with contextlib.suppress(KeyboardInterrupt):
                export, _ = await export_to(path, rig.session(), fail=die)
            if export is None:
                with path.with_name("out.jsonl.part").open("ab") as part:
                    part.write(b'{"from_account":"user_0')

        assert lines == path.read_text().splitlines()
        assert (150, 450, 1) == (export.done, export.rows, export.left_out)
        assert sorted(saves) == saves
        assert len(saves) > 30
        assert ["out.jsonl"] == names_in(tmp_path)

    async def test_failures(self, rig: Rig, tmp_path: pathlib.Path) -> None:
        """
        Users who cannot be read are told, those of earlier runs too, and the others are exported.
        """
        lines = seed(rig, ["amy", "eve", "zoe"])
        rig.emulator.script.always(Refuse(50001), account="eve")
        rig.emulator.script.always(Status(502), account="zoe")
        path = tmp_path / "out.jsonl"

        def die(users: int) -> None:
            if users == 2:
                raise KeyboardInterrupt

        with contextlib.suppress(KeyboardInterrupt):
            await export_to(path, rig.session(), users=["amy", "eve", "zoe"], fail=die)
        export, failures = await export_to(
            path, rig.session(deadline=0.0), users=["amy", "eve", "zoe"]
        )

        assert lines[:3] == path.read_text().splitlines()
        assert [("eve", 50001), ("zoe", None)] == [(each.account, each.code) for each in failures]
        assert 1 == export.failed

    async def test_application_refused(self, rig: Rig, tmp_path: pathlib.Path) -> None:
        """A refusal of the whole application is an end that can be gone on from."""
        lines = seed(rig)
        path = tmp_path / "out.jsonl"
        rig.emulator.script.always(Refuse(60006))
        with pytest.raises(ApplicationRefusedError):
            await export_to(path, rig.session())
        rig.emulator.script.clear()
        export, failures = await export_to(path, rig.session())

        assert lines == path.read_text().splitlines()
        assert (0, []) == (export.failed, failures)


class TestExportFile:
    def open(self, path: pathlib.Path, digest: str = "x", *, restart: bool = False) -> ExportFile:
        """Return an open file."""
        return ExportFile(str(path), FileFormat.CSV, digest, restart=restart)

    @pytest.fixture
    def path(self, tmp_path: pathlib.Path) -> pathlib.Path:
        """Return the path of an export that was begun, with one user and one row."""
        path = tmp_path / "out.csv"
        with self.open(path) as output:
            output.write([ROW])
            output.save(1, 1, [])
        return path

    def test_other_users(self, path: pathlib.Path) -> None:
        """An export of other users is not gone on with, unless it is begun anew."""
        with pytest.raises(InputError, match="an export of other users"):
            self.open(path, "y")
        with self.open(path) as output:
            assert (1, 1) == output.begun
            # Two exports do not write one file.
            with pytest.raises(InputError, match="is written by another process"):
                self.open(path)
        with self.open(path, "y", restart=True) as output:
            assert (0, 0) == output.begun
            output.save(0, 0, [])
            output.complete()

        assert path.read_text().startswith("from_account,")
        assert 1 == len(path.read_text().splitlines())

    def test_lost(self, path: pathlib.Path) -> None:
        """A part that lacks what it had is not gone on with; progress without its part is none."""
        part = path.with_name("out.csv.part")
        part.write_bytes(b"from")
        with pytest.raises(InputError, match="is too short"):
            self.open(path)
        part.unlink()
        with self.open(path) as output:
            assert (0, 0) == output.begun

    def test_foreign_progress(self, tmp_path: pathlib.Path) -> None:
        """A file that is none of an export's is left alone."""
        beside = tmp_path / "out.csv.progress"
        beside.write_bytes(b"no database" * 100)
        with pytest.raises(InputError, match="is not the progress of an export"):
            self.open(tmp_path / "out.csv")

        assert b"no database" * 100 == beside.read_bytes()

    def test_full_disk(self, path: pathlib.Path) -> None:
        """A disk without room is an OSError, and what was saved before stays."""
        with self.open(path) as output:
            output._database.execute("PRAGMA max_page_count = 1")
            output.write([ROW])
            with pytest.raises(OSError, match="full"):
                output.save(2, 2, [FailedUser(f"u{n}", None, "x" * 99) for n in range(999)])
        with self.open(path) as output:
            assert (1, 1) == output.begun
        with pytest.raises(sqlite3.ProgrammingError):
            output._database.execute("SELECT 1")

    def test_no_file(self, tmp_path: pathlib.Path) -> None:
        """An export of a pipe could not be gone on with, and a directory is no output."""
        pipe = tmp_path / "pipe"
        os.mkfifo(pipe)
        reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
        with pytest.raises(InputError, match="must be a file, not a device or a pipe"):
            self.open(pipe)
        os.close(reader)
        with pytest.raises(IsADirectoryError):
            self.open(tmp_path)

        assert ["pipe"] == names_in(tmp_path)


NOON = dt.datetime(2026, 1, 2, 12, tzinfo=dt.UTC)
marked_conversations = st.builds(
    MarkedConversation,
    conversations,
    marks,
    st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    st.lists(st.integers(0, 1 << 40), max_size=3).map(tuple),
    st.none() | st.just(NOON),
)


def restored(found: MarkedConversation) -> MarkChange:
    """Return the change that a row should say."""
    own = found.mark & ~found.mark.reserved
    return MarkChange("amy", found.conversation, own, custom_mark=found.custom_mark or None)


class TestRows:
    @pytest.mark.parametrize("name", ["f.jsonl", "f.csv", "f.tsv", "f.parquet"])
    @settings(max_examples=20)
    @given(st.lists(marked_conversations, max_size=4))
    @example([MarkedConversation(Conversation.group("g"), custom_mark="\r")])
    @example([MarkedConversation(Conversation.group('g,"h'), custom_mark=' \n"|,\0')])
    def test_read_again(self, name: str, found: list[MarkedConversation]) -> None:
        """What is written is read again as changes to what was found."""
        with tempfile.TemporaryDirectory() as folder:
            path = f"{folder}/{name}"
            with RowFile(path, COLUMNS) as file:
                file.write(*(row for each in found if (row := marked_row("amy", each)) is not None))
            changes = list(ChangeFile.of(path, dialect=Dialect(literal=True)).changes())

        assert [
            restored(each) for each in found if each.mark & ~each.mark.reserved or each.custom_mark
        ] == changes

    def test_notes(self) -> None:
        """What a change cannot say stands in notes, where there is something to note."""
        bob = Conversation.one_to_one("bob")

        assert {
            "from_account": "amy",
            "to_account": "bob",
            "set_mark": ["favorite"],
            "_group_ids": [7],
            "_group_names": ["work"],
            "_updated_at": "2026-01-02T12:00:00+00:00",
            "_reserved_bits": [5],
        } == marked_row(
            "amy", MarkedConversation(bob, ConversationMark(33), "", (7,), NOON, ("work",))
        )
        assert {"from_account": "amy", "to_account": "bob", "custom_mark": "x"} == marked_row(
            "amy", MarkedConversation(bob, custom_mark="x")
        )
        assert marked_row("amy", MarkedConversation(bob, ConversationMark(32), "", (7,))) is None

    def test_half_a_character(self) -> None:
        """Text that has no bytes in UTF-8 does not stop an export."""
        row = marked_row("amy", MarkedConversation(Conversation.group("g"), custom_mark="a\ud800"))

        assert row is not None
        assert "a?" == row["custom_mark"]
