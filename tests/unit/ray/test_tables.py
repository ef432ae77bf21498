import contextlib
import json
import pathlib
import pickle
import random
from typing import Any

import pyarrow as pa
import pytest
from cluster_rig import write_parquet
from job_rig import scattered, write_rows
from pyarrow import parquet

from chatmark import Credentials
from chatmark.changes import MarkChange
from chatmark.conversations import Conversation
from chatmark.errors import InputError
from chatmark.failures import ApplicationRefusedError, ItemRefusedError
from chatmark.jobs.grouping.units import Unit
from chatmark.jobs.journal.database import Run
from chatmark.jobs.reports.progress import Counters
from chatmark.jobs.reports.report import JobReport
from chatmark.jobs.reports.timeline import Throughput, Timeline
from chatmark.jobs.sending.accounts import Accounts
from chatmark.jobs.server.readback import ReadBack
from chatmark.jobs.sources.files import ChangeFile
from chatmark.jobs.sources.row import FileError, Row, RowError, failed_row
from chatmark.ray.failures import FailureFolder, FailureTables
from chatmark.ray.files import find, slices
from chatmark.ray.row_tables import changes, partition_of, place_of, split, tables
from chatmark.ray.sealed import Sealed
from chatmark.ray.summing import counters_of, sum_reports
from chatmark.results import MarkResult

CHANGES = list(scattered(2_000, 50, random.Random(1), repeats=0.05))
GROUP = Conversation.group("g")


def rows_of(some: list[MarkChange]) -> list[Row | RowError]:
    """
    Return changes as rows.
    """
    return [Row(line, [change]) for line, change in enumerate(some, 1)]


class TestTables:
    def test_nothing_is_changed_on_the_way(self) -> None:
        """
        Changes come out of a table as they went in, with their places.
        """
        (table,) = tables(rows_of(CHANGES), slice_=0, file=2)

        assert [(change, place_of(2, n)) for n, change in enumerate(CHANGES, 1)] == list(
            changes(table)
        )

    def test_a_user_has_one_part(self) -> None:
        """
        Each part has all changes of its users, in their order, and together they have all.
        """
        (table,) = tables(rows_of(CHANGES), slice_=0, file=0)
        *parts, digest = split(table, 3, 20)
        found = [[change for change, _ in changes(part)] for part in parts]

        for number, part in enumerate(found):
            mine = [c for c in CHANGES if partition_of(c.from_account, 3) == number]
            assert mine == part
        assert all(found)
        assert (len(CHANGES), 0) == (digest.rows, digest.bad)
        assert (0, len(CHANGES) - 1) == (digest.number, digest.last)

    def test_parts_are_the_same_everywhere(self) -> None:
        """
        The hash is none of Python's own, which differs from process to process.
        """
        assert [3, 0, 1] == [partition_of(user, 4) for user in ("alice", "bob", "標")]

    def test_bad_rows(self) -> None:
        """
        What is wrong with rows is kept, those of whole files always, and counted.
        """
        bad = [RowError("f", line, "set_mark", "is wrong", "\udc80") for line in range(1, 6)]
        bad[1].before = {"_error": "before"}
        rows = [*bad, FileError("f", 6, "file", "was cut"), *rows_of(CHANGES[:1])]
        (table,) = tables(rows, slice_=0, file=0)
        part, digest = split(table, 1, 2)

        assert 1 == part.num_rows
        assert (7, 6) == (digest.rows, digest.bad)
        assert [str(bad[0]), str(bad[1]), "f:6: file: was cut"] == list(map(str, digest.errors))
        assert isinstance(digest.errors[2], FileError)
        assert ("\udc80", bad[1].before) == (digest.errors[0].raw, digest.errors[1].before)

    def test_a_body_is_one_row(self) -> None:
        """
        A request body has several changes, and is counted once.
        """
        (table,) = tables([Row(1, CHANGES[:3]), Row(2, CHANGES[3:4])], slice_=0, file=0)
        *_, digest = split(table, 1, 20)

        assert (4, 2) == (table.num_rows, digest.rows)

    def test_order_of_slices(self) -> None:
        """
        Numbers put a slice behind all of the one before, whatever its file.
        """
        (first,) = tables(rows_of(CHANGES), slice_=3, file=1)
        (second,) = tables(rows_of(CHANGES), slice_=4, file=0)

        assert split(first, 1, 0)[-1].last < split(second, 1, 0)[-1].number

    def test_nothing(self) -> None:
        """
        A slice without rows has no table, and a table may be without rows.
        """
        (table,) = tables(rows_of(CHANGES[:1]), slice_=0, file=0)

        assert [] == list(tables([], slice_=0, file=0))
        assert 0 == split(table.slice(0, 0), 2, 20)[-1].rows


class TestFinding:
    def test_slices_of_parquet(self, tmp_path: pathlib.Path) -> None:
        """
        A large file is cut where its groups of rows end, and each row keeps its number.
        """
        path = tmp_path / "rows.parquet"
        many = CHANGES * 250
        write_parquet(path, many, row_group_size=100_000)
        cut = slices([ChangeFile.of(str(path))])

        assert [((0, 1), 0), ((2, 3), 200_000), ((4,), 400_000)] == [
            (each.groups, each.before) for each in cut
        ]
        rows = [row for row in cut[2].rows() if isinstance(row, Row)]
        assert (400_001, 500_000) == (rows[0].line, rows[-1].line)
        assert many[400_000:400_010] == [row.changes[0] for row in rows[:10]]

    def test_files_of_all_kinds(
        self, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """
        Folders, patterns, paths and URLs name files, in the order in which they are given.
        """
        monkeypatch.chdir(tmp_path)
        folder = tmp_path / "folder"
        folder.mkdir()
        for name in ("b.jsonl", "a.jsonl", "_SUCCESS", "notes.txt", ".a.jsonl.crc"):
            write_rows(folder / name, CHANGES[:3])
        write_parquet(tmp_path / "c.parquet", CHANGES[:3])
        url = tmp_path.as_uri()

        assert ["c.parquet", "folder/a.jsonl", "folder/b.jsonl"] == find(["c.parquet", "folder"])
        assert ["folder/a.jsonl", "folder/b.jsonl"] == find(["folder/*.jsonl"])
        assert [f"{url}/folder/a.jsonl", f"{url}/folder/b.jsonl"] == find([f"{url}/folder"])
        assert [f"{url}/folder/b.jsonl"] == find([f"{url}/folder/b*.jsonl"])
        assert [f"{url}/c.parquet"] == find([f"{url}/c.parquet"])
        for wrong in ("gone.jsonl", "folder/*.csv", f"{url}/gone.jsonl", "nonsense://a/b.jsonl"):
            with pytest.raises(InputError, match="path"):
                find([wrong])

    @pytest.mark.parametrize("as_url", [False, True])
    @pytest.mark.parametrize("name", ["rows.jsonl", "rows.parquet"])
    def test_rows(
        self, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, name: str, *, as_url: bool
    ) -> None:
        """
        A file reads the same here and through a file system of Arrow's, from whatever folder.
        """
        write = write_rows if name.endswith("jsonl") else write_parquet
        write(tmp_path / name, CHANGES)
        monkeypatch.chdir(tmp_path)
        (cut,) = slices([ChangeFile.of(f"{tmp_path.as_uri()}/{name}" if as_url else name)])
        monkeypatch.chdir("/")

        found = [change for row in cut.rows() if isinstance(row, Row) for change in row.changes]
        assert CHANGES == found

    def test_what_cannot_be_read(self, tmp_path: pathlib.Path) -> None:
        """
        A file that is gone, or no Parquet, is an error of the file.
        """
        (tmp_path / "no.parquet").write_bytes(b"no Parquet at all")
        files = [str(tmp_path / name) for name in ("no.parquet", "gone.jsonl")]
        found = [row for cut in slices(list(map(ChangeFile.of, files))) for row in cut.rows()]

        assert all(isinstance(row, FileError) for row in found)
        assert ["cannot be read as Parquet", "No such file"] == [
            text
            for row, text in zip(found, ("cannot be read as Parquet", "No such file"), strict=True)
            if text in str(row)
        ]


class TestSealed:
    def test_it_shows_nothing_and_travels(self) -> None:
        """
        What it holds is neither printed nor changed on the way.
        """
        for secret in ("secret_key", "usersig"):
            given: dict[str, Any] = {secret: "example-secret-not-real"}
            credentials = Credentials(sdkappid=1, identifier="administrator", **given)
            sealed = Sealed(credentials, dict)  # type: ignore[arg-type]

            assert "not-real" not in f"{sealed!r} {sealed}"
            assert (credentials, dict) == pickle.loads(pickle.dumps(sealed)).open()

    def test_a_provider_stays(self) -> None:
        """
        A coroutine function belongs to its process.
        """

        async def provide() -> str:
            return "x"

        with pytest.raises(InputError, match="provider"):
            Sealed(Credentials(sdkappid=1, identifier="a", provider=provide))


class TestFailures:
    def test_they_can_be_applied_again(self, tmp_path: pathlib.Path) -> None:
        """
        What failed is written as rows that say where they came from, and are read as they were.
        """
        error = ItemRefusedError(51008, "too many")
        lines = tmp_path / "failed.jsonl"
        results = [MarkResult(change, 51008, "too many", 1, error) for change in CHANGES[:30]]
        with lines.open("w", encoding="utf-8") as file:
            for line, result in enumerate(results, 1):
                notes = {"_line": place_of(1, line), "_rows": 1}
                file.write(json.dumps(failed_row(result) | notes) + "\n")
        folder = FailureFolder(str(tmp_path / "failed"))
        source = FailureTables(lines)
        with folder.file("part") as part:
            while (table := source.next(["a.jsonl", "b.jsonl"])) is not None:
                part.write(table)
        written = tmp_path / "failed" / "part.parquet"
        (first, *_) = parquet.read_table(written).to_pylist()

        assert CHANGES[:30] == list(ChangeFile.of(str(written)).changes())
        assert ("b.jsonl", 1, 51008, "too many", 1, 1) == tuple(
            first[note] for note in ("_file", "_line", "_code", "_info", "_attempts", "_rows")
        )

    def test_a_code_of_more_than_64_bits(self, tmp_path: pathlib.Path) -> None:
        """
        A code that the column has no room for stands in the text.
        """
        error = ItemRefusedError(10**25, "strange")
        result = MarkResult(CHANGES[0], 10**25, "strange", 1, error)
        lines = tmp_path / "failed.jsonl"
        notes = {"_line": place_of(0, 1), "_rows": 1}
        lines.write_text(json.dumps(failed_row(result) | notes) + "\n", encoding="utf-8")
        source = FailureTables(lines)
        (row,) = source.next(["a.jsonl"]).to_pylist()
        assert source.next(["a.jsonl"]) is None

        assert (None, f"{10**25}: strange") == (row["_code"], row["_info"])

    def test_set_aside(self, tmp_path: pathlib.Path) -> None:
        """
        What stands in place of bad rows is an error when it is read again.
        """
        folder = FailureFolder(str(tmp_path / "failed"))
        folder.write_set_aside([RowError("f.csv", 17, "set_mark", "is wrong", "a,b")])
        path = tmp_path / "failed" / "set-aside.parquet"
        (row,) = parquet.read_table(path).to_pylist()
        (error,) = ChangeFile.of(str(path)).rows()

        assert ("f.csv", 17, "a,b") == (row["_file"], row["_line"], row["_raw"])
        assert isinstance(error, RowError)

    def test_a_part_of_a_worker_that_was_lost(self, tmp_path: pathlib.Path) -> None:
        """
        A file that was not finished is not there; one without a table is not made.
        """
        folder = FailureFolder(str(tmp_path))
        with contextlib.suppress(ConnectionError), folder.file("part") as part:
            part.write(pa.table({"a": [1]}))
            raise ConnectionError
        with folder.file("none"):
            pass
        folder.write_set_aside([])

        assert [] == list(tmp_path.iterdir())

    def test_another_jobs(self, tmp_path: pathlib.Path) -> None:
        """
        A folder with something in it is refused.
        """
        (tmp_path / "part-00000.parquet").touch()
        with pytest.raises(InputError, match="not empty"):
            FailureFolder(str(tmp_path))


def report_of(users: str, applied: int, refused: dict[int | None, int], line: int) -> JobReport:
    """
    Return the report of a worker.
    """
    accounts = Accounts(total=applied + sum(refused.values()), taken=applied, applied=applied)
    accounts.refused.update(refused)
    accounts.taken += accounts.all_refused
    timeline = Timeline()
    timeline.add(1.0, Throughput(applied // 2, 0, 5, 0))
    timeline.add(2.0, Throughput(applied, accounts.all_refused, 10, 1))
    change = MarkChange(users, GROUP, custom_mark="x")
    unit = Unit(0, change, 1, line, contradicts=False)
    failure = (unit, MarkResult(change, 51008, "", 1, ItemRefusedError(51008)))
    return JobReport(
        file="",
        rows=accounts.total,
        accounts=accounts,
        conversations=applied,
        run=Run(10, 12, 1, 2.0),
        failures=[failure] * 60,
        retries_by_reason={"60008": 1},
        timeline=timeline,
        read_back=ReadBack(conversations=3, differing=1),
    )


class TestSumming:
    def test_sums(self) -> None:
        """
        Everything is added up once, and the first failures are those of the first rows.
        """
        parts = [
            (0.5, report_of("b", 100, {51008: 3, None: 1}, place_of(0, 9))),
            (1.0, report_of("a", 50, {51008: 2}, place_of(0, 2))),
        ]
        report = sum_reports(
            parts,
            file="f",
            rows=160,
            set_aside=4,
            started_at=parts[0][1].started_at,
            seconds=3.5,
        )
        accounts = report.accounts

        assert (160, 150, 4) == (accounts.total, accounts.applied, accounts.set_aside)
        assert {51008: 5, None: 1} == accounts.refused
        assert accounts.is_balanced
        assert accounts.is_complete
        assert (20, 24, 2, 3.5) == (
            report.run.calls,
            report.run.items,
            report.run.retries,
            report.run.seconds,
        )
        assert (150, {"60008": 2}) == (report.conversations, report.retries_by_reason)
        assert [2] * 60 + [9] * 40 == [unit.line for unit, _ in report.failures]
        assert Throughput(150, 6, 20, 2) == sum(
            (span.counts for span in report.timeline.spans()), Throughput()
        )
        assert [1.5, 2.5, 3.0] == [span.end for span in report.timeline.spans()]
        assert report.read_back is not None
        assert (6, 2) == (report.read_back.conversations, report.read_back.differing)
        assert not report.interrupted

    def test_how_it_ended(self) -> None:
        """
        What stopped one worker stopped the job, which is then not interrupted.
        """
        refusal = ApplicationRefusedError(70003)
        stopped = report_of("a", 1, {}, 1)
        object.__setattr__(stopped, "stopped", refusal)
        more: dict[str, Any] = {"file": "f", "rows": 1, "set_aside": 0, "seconds": 1.0}
        more["started_at"] = stopped.started_at
        both = [(0.0, report_of("b", 1, {}, 1)), (0.0, stopped)]

        assert refusal is sum_reports(both, interrupted=True, **more).stopped
        assert not sum_reports(both, interrupted=True, **more).interrupted
        assert sum_reports(both[:1], interrupted=True, **more).interrupted

    def test_readings(self) -> None:
        """
        Progress is that of all.
        """
        parts = [report_of("a", 10, {51008: 2}, 1), report_of("b", 20, {51008: 1}, 1)]
        reading = sum(map(counters_of, parts), Counters())

        assert (33, 20, {51008: 3}) == (reading.done, reading.calls, reading.failures_by_code)
