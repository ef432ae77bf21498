import io
import json
import os
import pathlib
import tracemalloc
import zipfile
from collections.abc import Iterator

import pytest

from chatmark.changes import MarkChange
from chatmark.conversations import Conversation
from chatmark.errors import InputError
from chatmark.jobs.row_files import FAILURES, RowFile
from chatmark.jobs.sending.undo import UndoFile
from chatmark.jobs.sources.files import ChangeFile
from chatmark.jobs.sources.formats import MAX_LINE_BYTES, FileFormat, numbered_lines
from chatmark.jobs.sources.row import FileError, Row, RowError

WORKBOOK = ["[Content_Types].xml", "_rels/.rels", "xl/workbook.xml", "docProps/app.xml"]
GOOD = b'{"from_account": "a", "to_account": "b", "set_mark": 0}'
HEADER = b"from_account,to_account,to_group_id,set_mark,clear_mark,custom_mark\n"


def read(data: bytes, name: str = "f.jsonl") -> list[Row | RowError]:
    """Return the rows of a file."""
    return list(ChangeFile.of(name).read(io.BytesIO(data)))


def errors(data: bytes, name: str = "f.jsonl") -> list[str]:
    """Return what is wrong with the rows of a file."""
    return [str(row) for row in read(data, name) if isinstance(row, RowError)]


class TestJsonLines:
    @pytest.mark.parametrize(
        "data",
        [
            GOOD,
            GOOD + b"\n",
            GOOD + b"\r\n",
            b"\xef\xbb\xbf" + GOOD + b"\n",
            b"\n  \r\n" + GOOD + b"\n\n\t\n",
            b" " + GOOD + b" ",
        ],
    )
    def test_manners_of_files(self, data: bytes) -> None:
        """A byte order mark, CRLF, blank lines and a missing last newline are fine."""
        [row] = read(data)

        assert not isinstance(row, RowError)
        assert Conversation.one_to_one("b") == row.changes[0].conversation

    @pytest.mark.parametrize(
        ("line", "message"),
        [
            (GOOD[:-1], "f.jsonl:3: row: is not JSON: Expecting ',' delimiter at column 55"),
            (GOOD + GOOD, "f.jsonl:3: row: is not JSON: Extra data at column 56"),
            (b'{"a": NaN}', "f.jsonl:3: row: is not JSON: NaN is not one of its numbers"),
            (b'{"set_mark": 0, "set_mark": 1}', "f.jsonl:3: set_mark: appears twice"),
            (b'{"MarkItem": [{"a": 1, "a": 1}]}', "f.jsonl:3: a: appears twice"),
            (b"[" * 100_000, "f.jsonl:3: row: cannot be read as JSON"),
            (b"9" * 5_000, "f.jsonl:3: row: cannot be read as JSON"),
            (
                b'{"a": "\xff"}',
                "f.jsonl:3: row: is not UTF-8: byte 0xff at position 8; add its encoding, such",
            ),
            (b" " * 2_000_000, "f.jsonl:3: row: is longer than 1048576 bytes"),
            (b"null", "f.jsonl:3: row: must be a JSON object (got None)"),
        ],
    )
    def test_bad_line(self, line: bytes, message: str) -> None:
        """A line that is no row is named, and the lines around it are read."""
        rows = read(b"\n".join((GOOD, b"", line, GOOD)))

        assert 3 == len(rows)
        assert str(rows[1]).startswith(message)

    @pytest.mark.parametrize(
        ("line", "raw"),
        [
            (b'{"a": "\xc3\xa9"}\r\n', '{"a": "é"}'),
            (b'{"a": "\xff"}', '{"a": "\\xff"}'),
            (b"x" * 2_000_000, "x" * (MAX_LINE_BYTES + 1)),
        ],
    )
    def test_raw(self, line: bytes, raw: str) -> None:
        """An error carries the text of its row, and no more of it than of a line."""
        [error] = read(line)

        assert isinstance(error, RowError)
        assert raw == error.raw

    @pytest.mark.parametrize("text", ["a:b", 'a":b', '\\":', ":", '","x": "'])
    def test_colons(self, text: str) -> None:
        """Colons and quotes in a text hide no name that appears twice, and make none."""
        row = {"from_account": "a", "to_account": "b", "custom_mark": text}
        line = json.dumps(row).encode()
        twice = line[:-1] + b', "custom_mark" : "z"}'

        assert [Row] == [type(each) for each in read(line)]
        assert ["f.jsonl:1: custom_mark: appears twice"] == errors(twice)

    def test_long_lines(self) -> None:
        """Lines of just under the limit are rows, with what ends them too."""
        body = GOOD[:-1] + b', "_info": "' + b"x" * (MAX_LINE_BYTES - len(GOOD) - 20) + b'"}'
        rows = read(b"\r\n".join([b"\xef\xbb\xbf" + body, body, body]))

        assert [1, 2, 3] == [row.line for row in rows if isinstance(row, Row)]

    def test_line_numbers(self) -> None:
        """A row knows its line; blank lines count."""
        assert [1, 3] == [row.line for row in read(GOOD + b"\n\n" + GOOD)]

    def test_line_of_the_greatest_length(self) -> None:
        """A line of just the greatest length is one line, with a byte order mark too."""
        line = b"\xef\xbb\xbf" + b"x" * MAX_LINE_BYTES + b"\nend"
        numbers = [number for number, _ in numbered_lines(io.BytesIO(line))]

        assert [1, 2] == numbers

    def test_constant_memory(self, tmp_path: pathlib.Path) -> None:
        """Reading many rows needs no more memory than reading few."""
        row = GOOD[:-1] + b', "custom_mark": "' + b"x" * 99 + b'"}\n'
        path = tmp_path / "f.jsonl"
        path.write_bytes(b"".join(row.replace(b'"b"', b'"b%d"' % n) for n in range(20_000)))
        file = ChangeFile.of(str(path))
        tracemalloc.start()
        count = sum(1 for _ in file.rows())
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()

        assert 20_000 == count
        assert peak < 200_000


class TestCsv:
    def test_rows(self) -> None:
        """Cells say what fields say, and empty cells say nothing."""
        data = HEADER + b'a,b,,favorite|33,hidden,"x, ""y"""\r\na,,g,0,,\n'
        [first], [second] = (row.changes for row in read(data, "f.csv") if isinstance(row, Row))

        assert ((0, 33), (3,), 'x, "y"') == (
            first.set_mark.bits,
            first.clear_mark.bits,
            first.custom_mark,
        )
        assert (Conversation.group("g"), None) == (second.conversation, second.custom_mark)

    def test_line_of_a_record(self) -> None:
        """A record of several lines is named by its first."""
        data = HEADER + b'a,b,,0,,"two\nlines"\n\na,b,,64,,"more\nlines"\n'

        assert ["f.csv:5: set_mark: a bit is a number from 0 to 63 (got 64)"] == errors(
            data, "f.csv"
        )

    def test_raw(self) -> None:
        """An error carries the text of its record, over all of its lines."""
        data = HEADER + b'a,b,,64,,"two\r\nl\xffnes"\r\na,b\n'
        found = [row.raw for row in read(data, "f.csv") if isinstance(row, RowError)]

        assert ['a,b,,64,,"two\r\nl\\xffnes"', "a,b"] == found

    @pytest.mark.parametrize(
        ("record", "reason"),
        [
            (b'a,b,,0,,"\n' + b'",a,"\n' * 400_000 + b'"', "has a record of more than"),
            (b'a,b,,0,,"\n' + b"evil,row,,0,,\n" * 20_000 + b'"', "larger than field limit"),
            (b'a,b,,0,,"' + b"x" * 132_000 + b'\nevil,row,,0,,\n"', "larger than field limit"),
            (b'a,b,,0,,"\nx"y\nevil,row,,0,,\n"', "',' expected after"),
            (b'a,b,,0,,"\nevil,row,,0,,', "unexpected end of data"),
        ],
    )
    def test_nothing_of_a_cell_is_a_row(self, record: bytes, reason: str) -> None:
        """A cell whose end is not found ends the file: what stands in it is never a row."""
        rows = read(HEADER + record + b"\na,b,,0,,\n", "f.csv")

        assert [FileError] == [type(row) for row in rows]
        assert reason in str(rows[0])
        assert len(getattr(rows[0], "raw", "")) <= 1_200_000

    def test_long_lines(self) -> None:
        """A long line is a row if its cells are."""
        header = HEADER.replace(b"custom_mark", b"_info,_error")
        fitting = b"a,b,,0,," + b"x" * 130_000 + b"," + b"y" * 130_000 + b"\r\n"

        assert [Row, Row] == [type(row) for row in read(header + fitting * 2, "f.csv")]

    def test_line_of_a_good_record(self) -> None:
        """A good record knows its first line too."""
        data = HEADER + b'a,b,,0,,"two\nlines"\n\na,b,,0,,\n'

        assert [2, 5] == [row.line for row in read(data, "f.csv")]

    def test_empty_rows(self) -> None:
        """Blank lines and rows of empty cells, as spreadsheets leave them, are no rows."""
        assert [] == read(HEADER + b"\n,,,,,\n\r\n", "f.csv")

    def test_set_aside(self) -> None:
        """A row that has only notes was set aside; one with a field of its own was not."""
        data = b"from_account,to_account,_error,_line\n,,bad,3\n,b,bad,3\n"

        assert [
            "f.csv:2: row: was set aside before: bad",
            "f.csv:3: from_account: is missing",
        ] == errors(data, "f.csv")

    def test_byte_order_mark(self) -> None:
        """A byte order mark does not belong to the first column's name."""
        assert [] == errors(b"\xef\xbb\xbf" + HEADER + b"a,b,,0,,", "f.csv")

    @pytest.mark.parametrize(
        ("data", "message"),
        [
            (b"", "f.csv:1: header: is missing: the file is empty"),
            (b"\n", "f.csv:2: header: is missing: the file is empty"),
            (b"from_account;set_mark", "f.csv:1: header: has one column; add --delimiter ';'"),
            (
                b"from_account,to_acount",
                "f.csv:1: to_acount: is not a field of a row",
            ),
            (b"from_account,from_account", "f.csv:1: from_account: appears twice in the header"),
            (b"to_account,set_mark", "f.csv:1: from_account: is not a column of the header"),
            (b"from_account,set_mark", "f.csv:1: to_account: is not a column of the header"),
            (b'"from_account', "f.csv:1: row: is not CSV: unexpected end of data"),
        ],
    )
    def test_bad_header(self, data: bytes, message: str) -> None:
        """Under a header that will not do no row is read."""
        found = errors(data + b"\n,,,\n" if data.strip() and b'"' not in data else data, "f.csv")

        assert 1 == len(found)
        assert found[0].startswith(message)

    @pytest.mark.parametrize(
        ("line", "message"),
        [
            (b"a,b,,0", "f.csv:2: row: has 4 cells, the header has 6"),
            (b"a,b,g,0,,", "f.csv:2: to_group_id: must not be given with"),
            (b"a,,,0,,", "f.csv:2: to_account: and to_group_id are missing"),
            (b",b,,0,,", "f.csv:2: from_account: is missing"),
            (b"a,b,,,,", "f.csv:2: set_mark: nothing to change"),
            (b"a,b,,0,,\xff", "f.csv:2: row: is not UTF-8: byte 0xff at position 9"),
            (b'a,b,,0,,"x\n\xff\n"', "f.csv:2: row: is not UTF-8"),
            (b'a,"b"c,,0,,', "f.csv:2: row: is not CSV: ',' expected after '\"'"),
        ],
    )
    def test_bad_row(self, line: bytes, message: str) -> None:
        """A row that cannot be applied is named, and the next one is read."""
        rows = read(HEADER + line + b"\na,b,,0,,\n", "f.csv")

        assert 2 == len(rows)
        assert str(rows[0]).startswith(message)
        assert not isinstance(rows[1], RowError)


class TestChangeFile:
    def test_format(self) -> None:
        """A format that is given goes before the name; a name that tells none is refused."""
        assert FileFormat.CSV == ChangeFile.of("a.jsonl", FileFormat.CSV).format
        with pytest.raises(InputError, match=r"none of \.jsonl"):
            ChangeFile.of("marks.txt")
        with pytest.raises(InputError, match=r"in2csv 'my marks.xlsx' \| chatmark apply"):
            ChangeFile.of("my marks.xlsx")
        with pytest.raises(InputError, match=r"unzip -p a.tsv.zip \| .* --format tsv"):
            ChangeFile.of("a.tsv.zip")

    @pytest.mark.parametrize(
        ("path", "inner", "reason"),
        [
            *[("f.zip", name, "Excel workbook; with csvkit: in2csv f.zip |") for name in WORKBOOK],
            ("f.zip", "mimetype", "an OpenDocument spreadsheet: save it as CSV"),
            ("f.zip", "a.jsonl", "a zip archive: unzip -p f.zip | chatmark apply - --format jsonl"),
            ("f.zip", "a.parquet", "unzip -p f.zip | chatmark apply - --format csv"),
            ("f.tsv.zip", "a", "unzip -p f.tsv.zip | chatmark apply - --format tsv"),
            ("-", "a.csv", "save it as FILE, and then unzip -p FILE | chatmark apply -"),
            ("-", "xl/", "with csvkit: save it as FILE, and then in2csv FILE | chatmark apply -"),
        ],
    )
    def test_zip(self, path: str, inner: str, reason: str) -> None:
        """A workbook is told from another zip, and each has a command that can be run."""
        data = io.BytesIO()
        with zipfile.ZipFile(data, "w") as archive:
            archive.writestr(inner, "from_account")
        data.seek(0)
        [error] = ChangeFile.of(path, FileFormat.CSV).read(data)

        assert isinstance(error, FileError)
        assert reason in error.reason

    @pytest.mark.parametrize("path", ["x.xlsx", "x.zip"])
    def test_output(self, tmp_path: pathlib.Path, path: str) -> None:
        """The error of an output says what can be written."""
        for make in (lambda path: RowFile(path, FAILURES), UndoFile):
            with pytest.raises(InputError, match=r"cannot be written, but names can end in .jsonl"):
                make(str(tmp_path / path))

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
        path.write_bytes(GOOD + b"\n" + GOOD + b"\nx\n")
        file = ChangeFile.of(str(path))

        def count(changes: Iterator[MarkChange]) -> int:
            found = 0
            with pytest.raises(RowError, match=":3: row"):
                for found, _ in enumerate(changes, 1):  # noqa: B007
                    pass
            return found

        assert (2, 2) == (count(file.changes()), count(file.changes()))
