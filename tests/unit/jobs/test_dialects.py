"""Text as other programs write it: encodings, delimiters, words for nothing, names of columns."""

import json
from typing import Any, Final

import pytest
from told import HEADER, ROW, told

from chatmark.errors import InputError
from chatmark.jobs import Columns, Dialect

GOOD: Final = ("a", "c2c_b", (0,), (), None)
PEER: Final = Columns({"to_account": "peer_id"})
SWAPPED: Final = Columns({"from_account": "to_account", "to_account": "from_account"})
ANY: Final = Columns(ignore_unknown=True)
FIELDS: Final = HEADER.strip().split(",")


def custom(text: str, line: int = 2) -> tuple[Any, ...]:
    """Return the row of a custom mark."""
    return line, "a", "c2c_b", (), (), text


class TestText:
    @pytest.mark.parametrize(
        "encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"]
    )
    @pytest.mark.parametrize("given", [None, "cp1252"])
    def test_marks_are_obeyed(self, encoding: str, given: str | None) -> None:
        """The first bytes tell the encoding, whatever is given."""
        assert [custom("né")] == told(f"{HEADER}a,b,,,,né\n".encode(encoding), encoding=given)
        assert [(1, *GOOD)] == told(ROW.encode(encoding), "f.json", encoding=given)

    @pytest.mark.parametrize(
        ("encoding", "text"), [("cp1252", "Müller, é"), ("gb18030", "你好世界")]
    )
    def test_likely_encoding(self, encoding: str, text: str) -> None:
        """Text that is not UTF-8 is refused with its likely encoding, which reads it."""
        data = f'{HEADER}a,b,,,,"{text}"\n'.encode(encoding)
        in_header = f"from_account,to_account,{text}\n".encode(encoding)

        for each in (data, in_header):
            assert told(each)[0].endswith(f"such as --encoding {encoding}")
        assert [custom(text)] == told(data, encoding=encoding)

    def test_wrong_encoding(self) -> None:
        """A wrong encoding is an error of the file, and an unknown one of the argument."""
        assert "is not utf-16" in told(f"{HEADER}a,b,,0,,", encoding="utf-16")[0]
        for wrong in ((None, "utf-9"), (None, "hex"), ("ab", None)):
            with pytest.raises(InputError):
                Dialect(*wrong)


class TestCells:
    @pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
    @pytest.mark.parametrize(
        ("name", "delimiter", "sign", "head"),
        [
            ("f.csv", ";", ";", ""),
            ("f.csv", "tab", "\t", ""),
            ("f.tsv", None, "\t", ""),
            ("f.csv", None, ";", "sep=;\n"),
            ("f.csv", None, "\t", '"sep=\t"\n'),
        ],
    )
    def test_delimiters(
        self, name: str, delimiter: str | None, sign: str, head: str, end: str
    ) -> None:
        """The delimiter is given, or that of the format or the first line; lines may end in CR."""
        text = head + f'{HEADER}a,b,,,,"x{sign}y"\na,b,,0,,'.replace(",", sign)
        first = 2 + bool(head)

        assert [custom(f"x{sign}y", first), (first + 1, *GOOD)] == told(
            text.replace("\n", end), name, delimiter=delimiter
        )

    @pytest.mark.parametrize(("sign", "shown"), [(";", "';'"), ("\t", "tab"), ("|", "'|'")])
    def test_wrong_delimiter(self, sign: str, shown: str) -> None:
        """Another delimiter is named as the option that reads it."""
        assert f"add --delimiter {shown}," in told(HEADER.replace(",", sign))[0]

    @pytest.mark.parametrize("word", ["NULL", "null", "None", "nan", r"\N", "#N/A", "#REF!"])
    @pytest.mark.parametrize("place", range(6))
    def test_words_for_nothing(self, word: str, place: int) -> None:
        """A word for nothing is refused with the option that says what it means."""
        cells = ["a", "b", "", "0", "3", "x"]
        cells[place] = word
        if place == 2:
            cells[1] = ""
        text = f"{HEADER}{','.join(cells)}\n"
        [error] = told(text)

        assert "add --null" in error
        assert error.startswith(f"f.csv:2: {FIELDS[place]}: ")
        assert isinstance(told(text, null=[word])[0], tuple) is (place > 2)

    @pytest.mark.parametrize(
        ("cell", "is_read"),
        [
            *[(cell, False) for cell in ("1.0E+05", "1,0E+05", "100001.0", "1E+05", "bob,carol")],
            *[(cell, True) for cell in ("1e5", "v1.2", "100001", "a+b")],
        ],
    )
    @pytest.mark.parametrize("record", ['"{}",b,,0,,', 'a,"{}",,0,,', 'a,,"{}",0,,'])
    def test_suspicious_ids(self, cell: str, record: str, *, is_read: bool) -> None:
        """An id as a spreadsheet rounds it, or with a comma, is refused unless it is meant."""
        text = f"{HEADER}{record.format(cell)}\n"
        [row] = told(text)

        assert isinstance(row, tuple) is is_read
        assert is_read or "--literal if it is meant" in row
        assert isinstance(told(text, literal=True)[0], tuple)

    def test_literal(self) -> None:
        """Blanks at the edges of ids go and a word clears, unless they are meant."""
        text = f"{HEADER} a,b ,,,, x \n a, ,g ,0,,\na,b,,,,<clear>\n"

        assert [custom(" x "), (3, "a", "group_g", *GOOD[2:]), custom("", 4)] == told(text)
        literal = told(text, literal=True)
        assert [(2, " a", "c2c_b ", (), (), " x "), custom("<clear>", 4)] == literal[::2]

    def test_edges_in_json(self) -> None:
        """Rows that a job wrote bring back the very ids, whatever blanks they have."""
        row = {"from_account": "a ", "to_account": " b", "set_mark": [0]}

        assert [(1, "a ", "c2c_ b", *GOOD[2:])] == told(json.dumps(row), "f.jsonl")

    @pytest.mark.parametrize(
        ("cell", "bits"),
        [
            ("favorite|33", (0, 33)),
            ("favorite; 33", (0, 33)),
            ("favorite , 33", (0, 33)),
            ("favorite\n33", (0, 33)),
            ("favorite||33|", (0, 33)),
            ('["favorite", 33]', (0, 33)),
            ("[33.0]", (33,)),
            ('{favorite,"33"}', (0, 33)),
        ],
    )
    def test_marks(self, cell: str, bits: tuple[int, ...]) -> None:
        """Marks are split as people split them; arrays of JSON and PostgreSQL are read."""
        quoted = cell.replace('"', '""')
        row = {"from_account": "a", "to_account": "b", "set_mark": cell}

        assert [(2, "a", "c2c_b", bits, (), None)] == told(f'{HEADER}a,b,,"{quoted}",,\n')
        assert [(1, "a", "c2c_b", bits, (), None)] == told(json.dumps(row), "f.jsonl")

    @pytest.mark.parametrize(
        ("cell", "reason"),
        [
            ("+favorite -hidden", "set_mark has those to set, clear_mark those to clear"),
            ("64", "from 0 to 63"),
            ("[33", "is not a known mark"),
            ("[33.5]", "must be names and whole numbers"),
            ("[x]", "is not a JSON array"),
            ("1.0", "is not a known mark"),
        ],
    )
    def test_wrong_marks(self, cell: str, reason: str) -> None:
        """Whatever is no mark is refused by the name of its column."""
        [error] = told(f"{HEADER}a,b,,{cell},,\n")

        assert error.startswith("f.csv:2: set_mark: ")
        assert reason in error

    def test_all_errors_of_a_row(self) -> None:
        """All that is wrong with a row is said at once."""
        record = f"{'x' * 33},b c é,g,nope,64,{'y' * 257}"
        [error] = told(f"{HEADER}{record}\n")
        row = dict(zip(FIELDS, record.split(","), strict=True))

        assert error == (
            f"f.csv:2: from_account: has 33 bytes, 32 are allowed (got '{'x' * 33}'); to_account: "
            "has characters other than printable ASCII (got 'b c é'); set_mark: is not a known "
            "mark (got 'nope'); clear_mark: a bit is a number from 0 to 63 (got 64); custom_mark: "
            "has 257 bytes of UTF-8, 256 are allowed; to_group_id: must not be given with "
            "to_account"
        )
        assert [error.replace("csv:2", "jsonl:1")] == told(json.dumps(row), "f.jsonl")

    def test_columns_without_names(self) -> None:
        """Columns without names are left out; one with a value is named by its place."""
        text = "from_account,to_account,,set_mark,\na,b,,0,\na,b,x,0,\n"
        read, error = told(text)

        assert (2, *GOOD) == read
        assert "f.csv:3: column 3: has a value, and no name in the header" in error
        assert [(2, *GOOD), (3, *GOOD)] == told(text, columns=ANY)
        assert (3, *GOOD[:-1], "x") == told(text, columns=Columns({"custom_mark": "#3"}))[1]

    def test_more_cells(self) -> None:
        """Blank cells behind a record are left out; other cells are too many."""
        assert [(2, *GOOD)] == told(f"{HEADER}a,b,,0,,,,\n")
        assert "has 7 cells, the header has 6" in told(f"{HEADER}a,b,,0,,,x\n")[0]

    def test_repeated_headers(self) -> None:
        """The headers of files that were joined are skipped, marks of the byte order too."""
        text = f"\ufeff{HEADER}a,b,,0,,\n\ufeff{HEADER}a,b,,0,,\n"
        note = "records equal to the header, skipped: 1"

        assert [(2, *GOOD), (4, *GOOD), note] == told(text)

    def test_copy(self) -> None:
        """PostgreSQL's text form is read: escapes, no quotes, no header, an end mark."""
        text = 'a\tb\t\\N\t{favorite}\t\\N\t"x\\ty\\\\\n\\.\n'
        read, note = told(text, "f.tsv", null=[r"\N"])

        assert (1, "a", "c2c_b", (0,), (), '"x\ty\\') == read
        assert "there is no header" in note
        header = HEADER.replace(",", "\t")
        assert [(2, *read[1:])] == told(header + text, "f.tsv", null=[r"\N"])


class TestColumns:
    @pytest.mark.parametrize(
        ("sources", "message"),
        [
            ({"to_acount": "x"}, "to_acount: is not a field of a row; did you mean 'to_account'"),
            ({"_code": "x"}, "_code: is not a field"),
            ({"to_account": ""}, "to_account: is mapped to a column without a name"),
            (
                {"from_account": "x", "to_account": "x"},
                r"to_account: and from_account are read from one column \(got 'x'\)",
            ),
        ],
    )
    def test_refuses(self, sources: dict[str, str], message: str) -> None:
        """What cannot be meant is refused."""
        with pytest.raises(InputError, match=message):
            Columns(sources)

    @pytest.mark.parametrize(
        ("header", "options"),
        [
            ("From Account,To Account", "--map 'from_account=From Account' --map 'to_account=To A"),
            ("fromAccount,to_group_id", "--map from_account=fromAccount,"),
            ("from_account,peer,mark", "--map set_mark=mark,"),
            ("uid,peer", "--map FIELD=COLUMN, or --ignore-unknown"),
            ("custommark,x", "--map custom_mark=custommark, or take the column out"),
        ],
    )
    def test_unknown(self, header: str, options: str) -> None:
        """Unknown columns are named together, with the fields and the options that help."""
        [error] = told(f"{header}\n")

        assert options in error
        assert "the fields are from_account, to_account, to_group_id, set_mark" in error

    @pytest.mark.parametrize("typo", ["set_marks", "setmark", "Set Mark", "set_mrak", "sett_mark"])
    def test_typo(self, typo: str) -> None:
        """A field that is misspelt is never ignored."""
        [error] = told(f"from_account,to_account,{typo},x\na,b,0,1\n", columns=ANY)

        assert f"add --map set_mark={typo}"[:20] in error.replace("'", "")

    def test_ignored(self) -> None:
        """What is no field is left aside if asked, and told once; not so in a request body."""
        row = f'{ROW[:-1]}, "From_Account": 1, "x": {{}}}}\n{{"MarkItem": 1}}\n'
        table = "x,from_account,to_account,set_mark,y,\n1,a,b,0,2,3\n1,a,b,0,2,\n"
        read, error, _ = told(row, "f.jsonl", ANY)

        assert (1, *GOOD) == read
        assert "$.From_Account: required" in error
        note = "left out, because they are not fields: x, y"
        assert [(2, *GOOD), (3, *GOOD), note] == told(table, "f.csv", ANY)

    @pytest.mark.parametrize(
        ("columns", "name", "text"),
        [
            (PEER, "f.jsonl", '{"from_account": "a", "peer_id": "b", "set_mark": 0}'),
            (PEER, "f.csv", "from_account, peer_id ,set_mark\na,b,0\n"),
            (SWAPPED, "f.jsonl", '{"to_account": "a", "from_account": "b", "set_mark": 0}'),
            (SWAPPED, "f.csv", "to_account,from_account,set_mark\na,b,0\n"),
        ],
    )
    def test_mapped(self, columns: Columns, name: str, text: str) -> None:
        """A field is read from the key or the column that it is mapped to."""
        assert [GOOD] == [row[1:] for row in told(text, name, columns)]

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ('{"from_account": "a", "to_account": "b"}', "to_account: is in the file, but is"),
            ('{"from_account": "a", "x": "b"}', "x: is not a field of a row"),
            ('{"from_account": "a", "set_mark": 0}', "to_account: and to_group_id are"),
            ("from_account,to_account", "to_account: is in the file, but is mapped to"),
            ("from_account,to_group_id", "peer_id: is not a column, but to_account is"),
            ("from_account,peer_id,peer_id", "peer_id: appears twice"),
            ("from_account,peer_id,x", "x: is not a field"),
            ("from_account;peer_id", "header: has one column; add --delimiter ';'"),
        ],
    )
    def test_does_not_fit(self, text: str, message: str) -> None:
        """A mapped field has no other name, and other keys and columns are still errors."""
        [error] = told(f"{text}\n", "f.jsonl" if text.startswith("{") else "f.csv", PEER)

        assert message in error
