import pathlib
import pickle
import random
from typing import Any

import pytest
from cluster_rig import write_parquet
from job_rig import scattered, write_rows

from chatmark import Credentials
from chatmark.changes import MarkChange
from chatmark.errors import InputError
from chatmark.jobs.grouping import Spool
from chatmark.jobs.sources.dialect import Notes
from chatmark.jobs.sources.files import ChangeFiles
from chatmark.jobs.sources.row import FileError, Row, RowError, change_of
from chatmark.ray.input.partitions import Input, Partition, divide
from chatmark.ray.input.row_tables import load_error, read_records, summarize, write_tables
from chatmark.ray.input.slices import cut_slices
from chatmark.ray.sending.sealed import SealedCredentials

CHANGES = list(scattered(2_000, 50, random.Random(1), repeats=0.05))


def rows_of(some: list[MarkChange]) -> list[Row | RowError]:
    """Return changes as rows."""
    return [Row(line, [change]) for line, change in enumerate(some, 1)]


class TestTables:
    def test_nothing_is_changed_on_the_way(self) -> None:
        """A table returns the changes that were written to it in their order, with their lines."""
        (table,) = write_tables(rows_of(CHANGES))
        shuffled = table.take(random.Random(1).sample(range(len(CHANGES)), len(CHANGES)))
        found = list(read_records(shuffled))

        assert CHANGES == list(map(change_of, found))
        assert list(range(1, len(CHANGES) + 1)) == [record[-1] for record in found]

    def test_bad_rows(self) -> None:
        """Errors of rows are counted, and the first are kept; errors of files are always kept."""
        bad = [RowError("f", line, "set_mark", "is wrong", "\udc80") for line in range(1, 6)]
        bad[1].before = {"_error": "before"}
        rows = [*bad, FileError("f", 6, "file", "was cut"), *rows_of(CHANGES[:1])]
        (table,) = write_tables(rows)
        summary = summarize(table, 2)
        errors = list(map(load_error, summary.errors))

        assert (7, 1, 6) == (summary.rows, summary.changes, summary.bad)
        assert [str(bad[0]), str(bad[1]), "f:6: file: was cut"] == list(map(str, errors))
        assert isinstance(errors[2], FileError)
        assert ("\udc80", bad[1].before) == (errors[0].raw, errors[1].before)

    def test_summary(self) -> None:
        """A request body is one row; notes of the reader are none; nothing has no first row."""
        notes = Notes({"more": None}, headers=2)
        (table,) = write_tables([Row(1, CHANGES[:3]), Row(2, CHANGES[3:4])], 3, notes)
        (empty,) = write_tables([])
        found, none = summarize(table, 20), summarize(empty, 20)

        assert (3 << 40, 2, 4, 0) == (found.number, found.rows, found.changes, found.bad)
        assert ['[["more"], 2, []]'] == found.notes
        assert sorted(change.from_account for change in CHANGES[:4]) == sorted(
            account for account, _ in found.accounts
        )
        assert (-1, 0, []) == (none.number, none.rows, none.accounts)

    def test_sample(self) -> None:
        """The users of a summary stand for all changes."""
        (table,) = write_tables(rows_of(CHANGES))

        assert [10] * 200 == [count for _, count in summarize(table, 0).accounts]


class TestPartitions:
    @pytest.mark.parametrize("partitions", [1, 2, 7, 50, 1_000])
    def test_as_one_spool(self, partitions: int) -> None:
        """Partitions have the users in the order of one spool, about as many each, its digest."""
        first = divide([(change.from_account, 1) for change in CHANGES], partitions)
        parts = [
            [c for c in CHANGES if low <= c.from_account and (not high or c.from_account < high)]
            for low, high in zip(["", *first], [*first, ""], strict=True)
        ]
        with Spool() as whole:
            for line, change in enumerate(CHANGES):
                whole.add(change, line)
            whole.group()
            made, units = [], []
            for number, part in enumerate(parts):
                with Spool() as spool:
                    for change in part:
                        spool.add(change, CHANGES.index(change))
                    spool.group()
                    users = b"".join(user.digest for user in spool.by_user())
                    made.append(Partition(number, spool.size, spool.digest, users))
                    with Spool.restored(spool.dump(), spool.size, spool.digest) as again:
                        units += [(unit.change, unit.rows) for unit in again]
            given = Input("", 0, (), made)

            assert min(partitions, 50) == len(parts)
            assert (whole.digest, whole.size) == (given.digest, given.size)
            assert [(unit.change, unit.rows) for unit in whole] == units
        sizes = [len(part) for part in parts]
        assert max(sizes) <= 2_000 // len(parts) + 40


class TestSlices:
    def test_slices_of_parquet(self, tmp_path: pathlib.Path) -> None:
        """A large file is cut between groups of rows, and each row keeps its line."""
        path = tmp_path / "rows.parquet"
        many = CHANGES * 250
        write_parquet(path, many, row_group_size=100_000)
        cut = cut_slices(ChangeFiles.of([str(path)]))

        assert [((0, 1), 0), ((2, 3), 200_000), ((4,), 400_000)] == [
            (each.groups, each.before) for each in cut
        ]
        rows = [row for row in cut[2].rows() if isinstance(row, Row)]
        assert (400_001, 500_000) == (rows[0].line, rows[-1].line)
        assert many[400_000:400_010] == [row.changes[0] for row in rows[:10]]

    @pytest.mark.parametrize("as_url", [False, True])
    @pytest.mark.parametrize("name", ["rows.jsonl", "rows.parquet"])
    def test_rows(
        self, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, name: str, *, as_url: bool
    ) -> None:
        """A path and a URL give the same rows, from any working directory."""
        write = write_rows if name.endswith("jsonl") else write_parquet
        write(tmp_path / name, CHANGES)
        monkeypatch.chdir(tmp_path)
        (cut,) = cut_slices(ChangeFiles.of([f"{tmp_path.as_uri()}/{name}" if as_url else name]))
        monkeypatch.chdir("/")

        found = [change for row in cut.rows() if isinstance(row, Row) for change in row.changes]
        assert CHANGES == found

    def test_what_cannot_be_read(self, tmp_path: pathlib.Path) -> None:
        """A file that went away and a file that is not Parquet are errors of the file."""
        (tmp_path / "no.parquet").write_bytes(b"no Parquet at all")
        write_rows(tmp_path / "gone.jsonl", CHANGES[:1])
        cut = cut_slices(ChangeFiles.of([str(tmp_path)]))
        (tmp_path / "gone.jsonl").unlink()
        found = [row for each in cut for row in each.rows()]

        assert [FileError, FileError] == list(map(type, found))
        assert "No such file" in str(found[0])
        assert "cannot be read as Parquet" in str(found[1])


class TestSealed:
    def test_it_shows_nothing_and_travels(self) -> None:
        """The content survives pickling, and is not in the repr."""
        for secret in ("secret_key", "usersig"):
            given: dict[str, Any] = {secret: "example-secret-not-real"}
            credentials = Credentials(sdkappid=1, identifier="administrator", **given)
            sealed = SealedCredentials(credentials)

            assert "not-real" not in f"{sealed!r} {sealed}"
            assert credentials == pickle.loads(pickle.dumps(sealed)).open()

    def test_a_provider_stays(self) -> None:
        """Credentials with a provider are refused."""

        async def provide() -> str:
            return "x"

        with pytest.raises(InputError, match="provider"):
            SealedCredentials(Credentials(sdkappid=1, identifier="a", provider=provide))
