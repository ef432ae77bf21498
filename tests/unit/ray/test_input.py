import gzip
import json
import pathlib
import pickle
import random
from typing import Any

import pytest
from cluster_rig import write_parquet
from job_rig import scattered, write_rows

from chatmark import Credentials
from chatmark.errors import InputError
from chatmark.jobs.grouping import Spool
from chatmark.jobs.sources.dialect import Columns
from chatmark.jobs.sources.files import ChangeFiles
from chatmark.jobs.sources.row import FileError, Row, RowError, change_of
from chatmark.ray.input import Input, cut_slices, divide, group, read_slice, split
from chatmark.ray.options import SealedCredentials

CHANGES = list(scattered(2_000, 50, random.Random(1), repeats=0.05))


def read(path: pathlib.Path, most_errors: int = 20) -> tuple[list[Any], Any, Any]:
    """Return the lists of a file that is one slice, its summary and its notes."""
    columns = Columns(ignore_unknown=True)
    (cut,) = cut_slices(ChangeFiles.of([str(path)], None, None, columns))
    *lists, (summary, notes) = pickle.loads(pickle.dumps([*read_slice(cut, most_errors)]))
    return lists, summary, notes


class TestTasks:
    @pytest.mark.parametrize("partitions", [1, 2, 7, 50, 1_000])
    def test_as_one_spool(self, tmp_path: pathlib.Path, partitions: int) -> None:
        """Partitions have the users in the order of one spool, about as many each, its digest."""
        lists: list[Any] = []
        users: list[tuple[str, int]] = []
        for number, some in enumerate((CHANGES[:700], CHANGES[700:])):
            write_rows(tmp_path / f"{number}.jsonl", some)
            made, summary, _ = read(tmp_path / f"{number}.jsonl")
            lists += made
            users += summary.users
        first = divide(users, partitions)
        count = len(first) + 1
        parts = [split(first, each) for each in lists]
        grouped = [group(index, *(part[index] for part in parts)) for index in range(count)]
        given = Input("", 0, (), [partition for partition, _ in grouped])
        units = []
        for partition, data in grouped:
            with partition.spool(data) as again:
                units += [(unit.change, unit.rows) for unit in again]
        with Spool() as whole:
            for line, change in enumerate(CHANGES):
                whole.add(change, line)
            whole.group()

            assert [(unit.change, unit.rows) for unit in whole] == units
            assert (whole.digest, whole.size) == (given.digest, given.size)
        sizes = [partition.size.changes for partition in given.partitions]
        assert 0.8 * min(partitions, 50) <= count <= min(partitions, 50)
        assert max(sizes) <= 2_000 / count * 1.4 + 40

    def test_many_lists(self, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The changes of a slice may be many lists in order; users of a summary stand for all."""
        write_rows(tmp_path / "rows.jsonl", CHANGES)
        assert [10] * 200 == [count for _, count in read(tmp_path / "rows.jsonl")[1].users]
        monkeypatch.setattr("chatmark.ray.input._CHANGES_A_LIST", 300)
        lists, summary, _ = read(tmp_path / "rows.jsonl")
        records = [record for each in lists for record in each]

        assert 7 == len(lists)
        assert CHANGES == list(map(change_of, records))
        assert list(range(1, 2_001)) == [record[-1] for record in records]
        assert (2_000, 2_000, 0) == (summary.rows, summary.changes, summary.bad)

    def test_bad_rows(self, tmp_path: pathlib.Path) -> None:
        """Errors of rows are counted, and the first are kept; errors of files are always kept."""
        peers = [{"Type": 1, "To_Account": f"b{number}"} for number in range(3)]
        items = [{"OptType": 1, "SetMark": [0], "ContactItem": peer} for peer in peers]
        body = {"From_Account": "a", "MarkItem": items}
        text = f"nonsense\n{json.dumps(body)}\n" + '{"from_account": "a"}\n' * 3
        (tmp_path / "rows.jsonl.gz").write_bytes(gzip.compress(text.encode())[:-4])
        (records,), summary, _ = read(tmp_path / "rows.jsonl.gz", 2)

        assert (6, 3, 5) == (summary.rows, summary.changes, summary.bad)
        assert 3 == len(records)
        assert [RowError, RowError, FileError] == list(map(type, summary.errors))
        assert "nonsense" == summary.errors[0].raw

    def test_nothing(self, tmp_path: pathlib.Path) -> None:
        """A file without rows has no changes; notes of readers are in the summary."""
        text = "from_account,to_account,set_mark,more\na,b,hidden,1\n"
        (tmp_path / "rows.csv").write_text(text, "utf-8")
        (tmp_path / "rows.jsonl").touch()
        lists, summary, _ = read(tmp_path / "rows.jsonl")

        assert ([[]], 0, 0) == (lists, summary.rows, summary.changes)
        assert ["more"] == [*read(tmp_path / "rows.csv")[2].columns]


class TestSlices:
    def test_slices_of_parquet(
        self, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A large file is cut between groups of rows, and each row keeps its line."""
        path = tmp_path / "rows.parquet"
        monkeypatch.setattr("chatmark.ray.input._ROWS_A_SLICE", 800)
        write_parquet(path, CHANGES, row_group_size=400)
        cut = cut_slices(ChangeFiles.of([str(path)]))

        assert [((0, 1), 0), ((2, 3), 800), ((4,), 1_600)] == [
            (each.groups, each.before) for each in cut
        ]
        rows = [row for row in cut[2].rows() if isinstance(row, Row)]
        assert (1_601, 2_000) == (rows[0].line, rows[-1].line)
        assert CHANGES[1_600:] == [row.changes[0] for row in rows]

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
