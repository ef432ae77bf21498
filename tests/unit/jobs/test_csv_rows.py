import pytest
from told import HEADER, read, told

from chatmark.jobs.sources.row import FileError, Row, RowError

GOOD = ("a", "c2c_b", (0,), (), None)


class TestRecords:
    def test_cells(self) -> None:
        """Cells say what fields say, and empty cells, lines and records nothing."""
        text = f'{HEADER}\n,,,,,\n\r\na,b,,favorite|33,hidden,"x, ""y"""\r\na,,g,0,,\n'

        assert [
            (5, "a", "c2c_b", (0, 33), (3,), 'x, "y"'),
            (6, "a", "group_g", (0,), (), None),
        ] == told(text)

    def test_lines(self) -> None:
        """A record of several lines is named by its first, and its error has the text of all."""
        data = f'{HEADER}a,b,,0,,"two\nlines"\n\na,b,,64,,"two\r\nl'.encode() + b'\xffnes"\r\na,b\n'
        good, bad, short = read(data, "f.csv")

        assert isinstance(bad, RowError)
        assert isinstance(short, RowError)
        assert [2, 5, 7] == [good.line, bad.line, short.line]
        assert ['a,b,,64,,"two\r\nl\\xffnes"', "a,b"] == [bad.raw, short.raw]

    @pytest.mark.parametrize(
        ("record", "reason"),
        [
            ('a,b,,0,,"\n' + '",a,"\n' * 400_000 + '"', "has a record of more than"),
            ('a,b,,0,,"\n' + "evil,row,,0,,\n" * 20_000 + '"', "larger than field limit"),
            ('a,b,,0,,"' + "x" * 132_000 + '\nevil,row,,0,,\n"', "larger than field limit"),
            ('a,b,,0,,"\nx"y\nevil,row,,0,,\n"', "',' expected after"),
            ('a,b,,0,,"\nevil,row,,0,,', "unexpected end of data"),
        ],
    )
    def test_nothing_of_a_cell_is_a_row(self, record: str, reason: str) -> None:
        """A cell whose end is not found ends the file: what stands in it is never a row."""
        [error] = read(f"{HEADER}{record}\na,b,,0,,\n", "f.csv")

        assert isinstance(error, FileError)
        assert str(error).startswith("f.csv:2: file: ")
        assert reason in error.reason

    def test_long_lines(self) -> None:
        """A long line is a row if its cells are."""
        header = HEADER.replace("custom_mark", "_info,_error")
        fitting = "a,b,,0,," + "x" * 130_000 + "," + "y" * 130_000 + "\r\n"

        assert [Row, Row] == [type(row) for row in read(header + fitting * 2, "f.csv")]

    @pytest.mark.parametrize(
        ("line", "message"),
        [
            (b"a,b,,0", "row: has 4 cells, the header has 6"),
            (b"a,b,g,0,,", "to_group_id: must not be given with"),
            (b"a,,,0,,", "to_account: and to_group_id are missing"),
            (b",b,,0,,", "from_account: is missing"),
            (b"a,b,,,,", "set_mark: nothing to change"),
            (b"a,b,,0,,\xff", "row: is not UTF-8: byte 0xff at position 9"),
            (b'a,b,,0,,"x\n\xff\n"', "row: is not UTF-8"),
            (b'a,"b"c,,0,,', "row: is not CSV: ',' expected after '\"'"),
        ],
    )
    def test_bad(self, line: bytes, message: str) -> None:
        """A row that cannot be applied is named, and the next one is read."""
        error, row = told(HEADER.encode() + line + b"\na,b,,0,,\n")

        assert error.startswith(f"f.csv:2: {message}")
        assert GOOD == row[1:]

    def test_set_aside(self) -> None:
        """A row that has only notes was set aside; one with a field of its own was not."""
        assert [
            "f.csv:2: row: was set aside before: bad",
            "f.csv:3: from_account: is missing",
        ] == told("from_account,to_account,_error,_line\n,,bad,3\n,b,bad,3\n")

    @pytest.mark.parametrize(
        ("header", "message"),
        [
            ("", "header: is missing: the file is empty"),
            ("\n", "header: is missing: the file is empty"),
            ("from_account;set_mark\n;\n", "header: has one column; add --delimiter ';'"),
            ("from_account,to_acount\n,\n", "to_acount: is not a field of a row"),
            ("from_account,from_account\n", "from_account: appears twice in the header"),
            ("to_account,set_mark\n,\n", "from_account: is not a column of the header"),
            ("from_account,set_mark\n,\n", "to_account: is not a column of the header"),
            ('"from_account', "row: is not CSV: unexpected end of data"),
        ],
    )
    def test_bad_header(self, header: str, message: str) -> None:
        """Under a header that cannot be used no row is read."""
        [error] = told(header)

        assert error.startswith(f"f.csv:1: {message}")
