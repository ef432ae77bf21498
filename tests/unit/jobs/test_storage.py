"""Files, folders, patterns and URLs as one input."""

import pathlib
import pickle
import urllib.parse
from collections.abc import Callable

import pytest

from chatmark.errors import InputError
from chatmark.jobs.sources.dialect import Columns, Dialect
from chatmark.jobs.sources.files import (
    ChangeFile,
    ChangeFiles,
    find_files,
    naming,
    open_file,
    shown,
)
from chatmark.jobs.sources.formats import FileFormat
from chatmark.jobs.sources.row import Row, RowError

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


@pytest.fixture(params=["local", "url"])
def at(
    request: pytest.FixtureRequest, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], str]:
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


class TestFindFiles:
    @pytest.mark.parametrize(
        ("path", "expected"),
        [
            ("a", ["a/day=1/part-1.csv", "a/day=1/part-2.csv", "a/day=2/part-1.csv"]),
            ("a/", ["a/day=1/part-1.csv", "a/day=1/part-2.csv", "a/day=2/part-1.csv"]),
            ("a/day=*/part-1.csv", ["a/day=1/part-1.csv", "a/day=2/part-1.csv"]),
            ("a/day=[2-9]", ["a/day=2/part-1.csv"]),
            ("a/notes.*", ["a/notes.txt"]),
            ("a/notes.txt", ["a/notes.txt"]),
            ("*.csv", ["b c%.csv"]),
        ],
    )
    def test_found(self, at: Callable[[str], str], path: str, expected: list[str]) -> None:
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
    def test_refused(
        self, at: Callable[[str], str], path: str, error: type[Exception], message: str
    ) -> None:
        """A path without files is refused, and a field that only the name of a folder holds."""
        with pytest.raises(error, match=message):
            find_files([at(path)])

    def test_format(self, at: Callable[[str], str]) -> None:
        """With a format every file of a folder is one of changes, but for hidden ones."""
        assert 4 == len(find_files([at("a")], FileFormat.CSV))

    def test_unknown_urls(self) -> None:
        """A URL that cannot be opened is an error without its secrets."""
        with pytest.raises(InputError, match=r"https://host/x\.csv") as caught:
            find_files(["https://key:secret@host/x.csv?token=secret"])

        assert "secret" not in str(caught.value)

    def test_shown(self) -> None:
        """Names in messages have no secrets."""
        file = ChangeFile.of("s3://key:secret@bucket/f.csv.gz?region=eu")

        assert ("s3://bucket/f.csv.gz", FileFormat.CSV) == (file.name, file.format)
        assert "x?y=@z" == shown("x?y=@z")

    def test_errors_of_a_store(self) -> None:
        """An error of a store has a number and the name of the file."""
        with (
            pytest.raises(OSError, match="broken: 's3://bucket/x'") as caught,
            naming("s3://bucket/x"),
        ):
            raise OSError("broken\nin many words")

        assert caught.value.errno is not None


class TestChangeFiles:
    def test_one_input(self, at: Callable[[str], str]) -> None:
        """Several paths are one input, in their order, with one form and one list of notes."""
        form = (None, Columns(ignore_unknown=True), Dialect())
        files = ChangeFiles.of([at("b c%.csv"), at("a")], None, *form)
        users = [change.from_account for change in files.changes()]

        assert ["b c%", "part-1", "part-2", "part-1"] == users
        assert files.name.endswith(at("a").removeprefix("file://"))
        assert all(file.notes is files.notes for file in files.files)
        assert not files.is_stream
        assert 4 == len(list(pickle.loads(pickle.dumps(files)).rows()))

    def test_errors(self, at: Callable[[str], str], tmp_path: pathlib.Path) -> None:
        """An error names its file, and the files behind it are read."""
        (tmp_path / "a/day=1/part-1.csv").write_text("from_account\n", encoding="utf-8")
        error, *rows = ChangeFiles.of([at("a")]).rows()

        assert isinstance(error, RowError)
        assert "day=1/part-1.csv:1: to_account: is not a column" in str(error)
        assert [Row, Row] == [type(row) for row in rows]

    def test_streams(self, at: Callable[[str], str]) -> None:
        """Standard input is the only input, or none."""
        assert ("<stdin>", True) == ((file := ChangeFiles.of(["-"])).name, file.is_stream)
        with pytest.raises((InputError, OSError)):
            ChangeFiles.of(["-", at("a")])

    def test_many_names(self, at: Callable[[str], str]) -> None:
        """A long list of paths has a short name."""
        assert ChangeFiles.of([at("a")] * 9).name.endswith(" and 6 more")
