"""Files, folders, patterns and URLs as one input."""

import io
import os
import pathlib
import pickle
import sys
import urllib.parse
from collections.abc import Callable
from typing import Any

import pytest
from told import ROW, said

from chatmark.errors import InputError
from chatmark.jobs import ChangeFile, ChangeFiles, Columns, Dialect, FileFormat
from chatmark.jobs.row_files import FAILURES, RowFile
from chatmark.jobs.sending.undo import UndoFile
from chatmark.jobs.sources.files import find_files, naming, open_file, shown
from chatmark.jobs.sources.formats import compression_of
from chatmark.jobs.sources.row import FileError, Row, RowError

FILES = (
    "a/day=2/part-1.csv",
    "a/day=1/part-2.csv",
    "a/day=1/part-1.csv",
    "a/day=1/_SUCCESS",
    "a/day=1/.part-1.csv.crc",
    "a/_temporary/part-9.csv",
    "a/notes.txt",
    "b c%.csv",
    "e/_SUCCESS",
    "h/from_account=x/part-1.csv",
)
CSV = "from_account,to_account,set_mark\n{},b,0\n"
At = Callable[[str], str]


@pytest.fixture(params=["local", "url"])
def at(
    request: pytest.FixtureRequest, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> At:
    """Return a function that names a path of a folder of files, by itself or as a URL."""
    for name in FILES:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(CSV.format(path.stem), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    if request.param == "local":
        return str
    pytest.importorskip("pyarrow")
    return lambda path: f"{tmp_path.as_uri()}/{urllib.parse.quote(path, '/*?[]=')}"


class TestChangeFile:
    @pytest.mark.parametrize(
        ("path", "format_", "compression"),
        [
            ("a/b.jsonl.gz", FileFormat.JSON_LINES, "gzip"),
            ("b.CSV.ZST", FileFormat.CSV, "zstd"),
            ("b.csv.zstd", FileFormat.CSV, "zstd"),
            ("b.ndjson", FileFormat.JSON_LINES, None),
            ("b.c.json", FileFormat.JSON_LINES, None),
            ("a.gz/b.parquet", FileFormat.PARQUET, None),
            ("-", FileFormat.JSON_LINES, None),
            ("s3://key:secret@bucket/f.csv.gz?region=eu", FileFormat.CSV, None),
        ],
    )
    def test_endings(self, path: str, format_: FileFormat, compression: str | None) -> None:
        """The last ending tells the compression, and the one before it the format."""
        expected = "gzip" if "?" in path else compression

        assert (format_, expected) == (ChangeFile.of(path).format, compression_of(path))
        assert FileFormat.TSV is ChangeFile.of(path, FileFormat.TSV).format

    @pytest.mark.parametrize(
        ("path", "reason"),
        [
            ("marks.txt", r"none of \.jsonl"),
            ("my marks.xlsx", r"in2csv 'my marks.xlsx' \| chatmark apply"),
            ("a.tsv.zip", r"unzip -p a.tsv.zip \| .* --format tsv"),
            ("f.parquet.gz", "Parquet is compressed inside"),
        ],
    )
    def test_refused(self, tmp_path: pathlib.Path, path: str, reason: str) -> None:
        """A name that tells no format is refused, with a command that can be run."""
        with pytest.raises(InputError, match=reason):
            ChangeFile.of(path)
        if path != "marks.txt":
            for make in (lambda path: RowFile(path, FAILURES), UndoFile):
                with pytest.raises(InputError, match=r"none of \.jsonl|compressed inside"):
                    make(str(tmp_path / path))

    @pytest.mark.parametrize(
        ("path", "first", "reason"),
        [
            ("f.csv", b"PK\3\4", "a zip archive (of a workbook: in2csv in place of"),
            ("f.tsv.zip", b"PK\3\4", "unzip -p f.tsv.zip | chatmark apply - --format tsv"),
            ("f.csv", b"\xd0\xcf\x11\xe0", "workbook; with csvkit: in2csv f.csv | chatmark"),
            ("-", b"SQLi", "a SQLite database: sqlite3 -csv -header FILE 'SELECT * FROM"),
            ("s3://b/f.csv", b"PAR1", "is Parquet: add --format parquet"),
        ],
    )
    def test_foreign(self, path: str, first: bytes, reason: str) -> None:
        """A file of other programs is told by its first bytes."""
        [error] = ChangeFile.of(path, FileFormat.CSV).read(io.BytesIO(first + b"x" * 99))

        assert isinstance(error, FileError)
        assert reason in error.reason

    def test_streams(self, tmp_path: pathlib.Path) -> None:
        """Standard input and pipes can be read once, files and directories are left to `open`."""
        pipe, file = tmp_path / "pipe.csv", tmp_path / "f.csv"
        os.mkfifo(pipe)
        file.touch()

        assert [True, True, False, False] == [
            ChangeFile(str(path), FileFormat.CSV).is_stream for path in ("-", pipe, file, tmp_path)
        ]

    def test_changes(self, tmp_path: pathlib.Path) -> None:
        """The changes of a file can be had again and again, up to a bad row."""
        path = tmp_path / "f.jsonl"
        path.write_text(f"{ROW}\n{ROW}\nx\n")
        file = ChangeFile.of(str(path))
        for _ in range(2):
            changes = file.changes()

            assert ["a", "a"] == [next(changes).from_account for _ in range(2)]
            with pytest.raises(RowError, match=":3: row"):
                next(changes)


class TestFindFiles:
    @pytest.mark.parametrize(
        ("path", "expected"),
        [
            ("a", ["a/day=1/part-1.csv", "a/day=1/part-2.csv", "a/day=2/part-1.csv"]),
            ("a/", ["a/day=1/part-1.csv", "a/day=1/part-2.csv", "a/day=2/part-1.csv"]),
            ("a/day=*/part-1.csv", ["a/day=1/part-1.csv", "a/day=2/part-1.csv"]),
            ("a/day=[2-9]", ["a/day=2/part-1.csv"]),
            ("a/notes.*", ["a/notes.txt"]),
            ("*.csv", ["b c%.csv"]),
        ],
    )
    def test_found(self, at: At, path: str, expected: list[str]) -> None:
        """The files are in the order of their names; those that hold no rows are left out."""
        found = find_files([at(path)])

        assert expected == [urllib.parse.unquote(each).removeprefix(at("")) for each in found]
        with open_file(found[0]) as stream:
            assert stream.read().startswith(b"from_account")

    @pytest.mark.parametrize(
        ("path", "error", "message"),
        [
            ("nowhere.csv", OSError, "nowhere.csv"),
            ("e", InputError, "path: has no files of changes"),
            ("x*.csv", InputError, "path: has no files of changes"),
            ("h", InputError, "from_account: is in the name of a folder, which is not read"),
        ],
    )
    def test_refused(self, at: At, path: str, error: type[Exception], message: str) -> None:
        """A path without files is refused, and a field that only the name of a folder holds."""
        with pytest.raises(error, match=message):
            find_files([at(path)])

    def test_format(self, at: At) -> None:
        """With a format every file of a folder is one of changes, but for hidden ones."""
        assert 4 == len(find_files([at("a")], FileFormat.CSV))

    def test_secrets(self) -> None:
        """Names in messages have no secrets, nor have the errors of what cannot be opened."""
        with pytest.raises(InputError, match=r"https://host/x\.csv") as caught:
            find_files(["https://key:secret@host/x.csv?token=secret"])

        assert "secret" not in str(caught.value)
        assert "s3://bucket/f.csv" == shown("s3://key:secret@bucket/f.csv?region=eu")
        assert "x?y=@z" == shown("x?y=@z")

    def test_without_pyarrow(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Without the library the message says how to have it."""
        monkeypatch.setitem(sys.modules, "pyarrow", None)
        with pytest.raises(InputError, match=r"is a URL, which needs pyarrow: pip install"):
            find_files(["s3://bucket/f.csv"])

    def test_errors_of_a_store(self) -> None:
        """An error of a store has a number and the name of the file."""
        with pytest.raises(OSError, match="broken: 's3://bucket/x'") as caught:
            with naming("s3://bucket/x"):
                raise OSError("broken\nin many words")

        assert caught.value.errno is not None


class TestChangeFiles:
    def test_one_input(self, at: At) -> None:
        """Several paths are one input, in their order, with one form and one list of notes."""
        form: tuple[Any, ...] = (None, None, Columns(ignore_unknown=True), Dialect())
        files = ChangeFiles.of([at("b c%.csv"), at("a")], *form)
        again = pickle.loads(pickle.dumps(files))

        for each in (files, again):
            users = [said(change)[0] for change in each.changes()]
            assert ["b c%", "part-1", "part-2", "part-1"] == users
        assert files.name.endswith(at("a").removeprefix("file://"))
        assert all(file.notes is files.notes for file in files.files)
        assert not files.is_stream
        assert ChangeFiles.of([at("a")] * 9).name.endswith(" and 6 more")

    def test_errors(self, at: At, tmp_path: pathlib.Path) -> None:
        """An error names its file, and the files behind it are read."""
        (tmp_path / "a/day=1/part-1.csv").write_text("from_account\n", encoding="utf-8")
        error, *rows = ChangeFiles.of([at("a")]).rows()

        assert "day=1/part-1.csv:1: to_account: is not a column" in str(error)
        assert [Row, Row] == [type(row) for row in rows]

    def test_streams(self, at: At) -> None:
        """Standard input is the only input, or none."""
        assert ("<stdin>", True) == ((file := ChangeFiles.of(["-"])).name, file.is_stream)
        with pytest.raises((InputError, OSError)):
            ChangeFiles.of(["-", at("a")])
