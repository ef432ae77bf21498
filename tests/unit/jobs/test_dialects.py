"""Text as other programs write it: encodings, delimiters, words for nothing, layouts of JSON."""

import io
import json
import tracemalloc
from typing import Final

import pytest

from chatmark.errors import InputError
from chatmark.jobs.sources.dialect import Columns, Dialect, Notes
from chatmark.jobs.sources.files import ChangeFile
from chatmark.jobs.sources.row import FileError, Row, RowError

HEADER: Final = "from_account,to_account,to_group_id,set_mark,clear_mark,custom_mark\n"
ROW: Final = '{"from_account": "a", "to_account": "b", "set_mark": [0]}'
GOOD: Final = (1, "a", "c2c_b", (0,), (), None)


def told(
    text: str | bytes, name: str = "f.csv", columns: Columns | None = None, **dialect: object
) -> list[object]:
    """Return the line and the change of each row, or the text of its error, and the notes."""
    data = text.encode() if isinstance(text, str) else text
    file = ChangeFile.of(name, columns=columns, dialect=Dialect(**dialect))  # type: ignore[arg-type]
    found: list[object] = []
    for row in file.read(io.BytesIO(data)):
        if isinstance(row, Row):
            found += [
                (
                    row.line,
                    each.from_account,
                    str(each.conversation),
                    each.set_mark.bits,
                    each.clear_mark.bits,
                    each.custom_mark,
                )
                for each in row.changes
            ]
        else:
            found.append(str(row))
    return found + list(file.notes.lines())


def custom(text: str) -> list[object]:
    """Return the row of a custom mark."""
    return [(2, "a", "c2c_b", (), (), text)]


class TestText:
    @pytest.mark.parametrize(
        "encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"]
    )
    @pytest.mark.parametrize("given", [None, "cp1252"])
    def test_marks_are_obeyed(self, encoding: str, given: str | None) -> None:
        """The first bytes tell the encoding, whatever is given."""
        assert custom("né") == told(f"{HEADER}a,b,,,,né\n".encode(encoding), encoding=given)
        assert [GOOD] == told(ROW.encode(encoding), "f.json", encoding=given)

    @pytest.mark.parametrize(
        ("encoding", "text"), [("cp1252", "Müller, é"), ("gb18030", "你好世界")]
    )
    def test_likely_encoding(self, encoding: str, text: str) -> None:
        """A text that is not UTF-8 is refused with its likely encoding, which reads it."""
        data = f'{HEADER}a,b,,,,"{text}"\n'.encode(encoding)
        [error] = told(data)

        assert str(error).endswith(f"such as --encoding {encoding}")
        assert custom(text) == told(data, encoding=encoding)

    @pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
    def test_line_ends(self, end: str) -> None:
        """Lines end in any of the three ways."""
        text = f'{HEADER}a,b,,,,"x"\na,b,,0,,\n'.replace("\n", end)

        assert [*custom("x"), (3, *GOOD[1:])] == told(text)

    def test_wrong_encoding(self) -> None:
        """A wrong encoding is an error of the file, and an unknown one of the argument."""
        assert "is not utf-16" in str(told(f"{HEADER}a,b,,0,,", encoding="utf-16")[0])
        for wrong in ((None, "utf-9"), (None, "hex"), ("ab", None)):
            with pytest.raises(InputError):
                Dialect(*wrong)


class TestCells:
    @pytest.mark.parametrize(
        ("name", "delimiter", "head"),
        [
            ("f.csv", ";", ""),
            ("f.csv", "|", ""),
            ("f.csv", "tab", ""),
            ("f.tsv", None, ""),
            ("f.csv", None, "sep=;\r\n"),
            ("f.csv", None, '"sep=\t"\r\n'),
        ],
    )
    def test_delimiters(self, name: str, delimiter: str | None, head: str) -> None:
        """The delimiter is given, or that of the format or of the first line."""
        sign = {"tab": "\t", None: "\t"}.get(delimiter, delimiter) or ""
        sign = ";" if ";" in head else sign
        text = head + f'{HEADER}a,b,,,,"x{sign}y"\n'.replace(",", sign)

        assert [(2 + bool(head), *custom(f"x{sign}y")[0][1:])] == told(  # type: ignore[index]
            text, name, delimiter=delimiter
        )

    @pytest.mark.parametrize("sign", [";", "\t", "|"])
    def test_wrong_delimiter(self, sign: str) -> None:
        """Another delimiter is named as the option that reads it."""
        shown = {"\t": "tab"}.get(sign, f"'{sign}'")

        assert f"add --delimiter {shown}," in str(told(HEADER.replace(",", sign))[0])

    @pytest.mark.parametrize("word", ["NULL", "null", "None", "NaN", "nan", r"\N", "#N/A", "#REF!"])
    @pytest.mark.parametrize("place", range(6))
    def test_words_for_nothing(self, word: str, place: int) -> None:
        """A word for nothing is refused with the option that says what it means."""
        cells = ["a", "b", "", "0", "3", "x"]
        cells[place] = word
        if place == 2:
            cells[1] = ""
        text = f"{HEADER}{','.join(cells)}\n"
        [error] = told(text)
        read = told(text, null=[word])

        assert "add --null" in str(error)
        assert str(error).startswith(f"f.csv:2: {HEADER.strip().split(',')[place]}: ")
        assert isinstance(read[0], tuple) is (place > 2)

    @pytest.mark.parametrize(
        ("cell", "is_read"),
        [
            ("1.0E+05", False),
            ("1,0E+05", False),
            ("100001.0", False),
            ("1E+05", False),
            ("bob,carol", False),
            ("1e5", True),
            ("v1.2", True),
            ("100001", True),
            ("a+b", True),
        ],
    )
    def test_suspicious_ids(self, cell: str, is_read: bool) -> None:
        """An id as a spreadsheet rounds it, or with a comma, is refused unless it is meant."""
        for record in (f'"{cell}",b,,0,,', f'a,"{cell}",,0,,', f'a,,"{cell}",0,,'):
            [row] = told(f"{HEADER}{record}\n")

            assert isinstance(row, tuple) is is_read
            assert is_read or "--literal if it is meant" in str(row)
            assert isinstance(told(f"{HEADER}{record}\n", literal=True)[0], tuple)

    def test_edges(self) -> None:
        """Blanks at the edges of ids go, unless they are meant; those of custom marks stay."""
        text = f"{HEADER} a,b\t,,,, x \n a, ,g ,0,,\n"

        assert [*custom(" x "), (3, "a", "group_g", (0,), (), None)] == told(text)
        assert (2, " a", "c2c_b ", (0,), (), None) == told(f"{HEADER} a,b ,,0,,", literal=True)[0]

    def test_edges_in_json(self) -> None:
        """Rows that a job wrote bring back the very ids, whatever blanks they have."""
        row = {"from_account": "a ", "to_account": " b", "set_mark": [0]}

        assert [(1, "a ", "c2c_ b", *GOOD[3:])] == told(json.dumps(row), "f.jsonl")

    def test_clear(self) -> None:
        """A word clears a custom mark, unless it is meant."""
        text = f"{HEADER}a,b,,,,<clear>\n"

        assert custom("") == told(text)
        assert custom("<clear>") == told(text, literal=True)

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

        assert [(2, "a", "c2c_b", bits, (), None)] == told(f'{HEADER}a,b,,"{quoted}",,\n')
        row = {"from_account": "a", "to_account": "b", "set_mark": cell}
        assert [(1, "a", "c2c_b", bits, (), None)] == told(json.dumps(row), "f.jsonl")

    def test_signs(self) -> None:
        """Marks with signs are refused with where they belong."""
        [error] = told(f"{HEADER}a,b,,+favorite -hidden,,\n")

        assert "set_mark has those to set, clear_mark those to clear" in str(error)

    def test_all_errors_of_a_row(self) -> None:
        """All that is wrong with a row is said at once."""
        record = f"{'x' * 33},b c é,g,nope,64,{'y' * 257}"
        [error] = told(f"{HEADER}{record}\n")
        row = dict(zip(HEADER.strip().split(","), record.split(","), strict=True))

        assert str(error) == (
            f"f.csv:2: from_account: has 33 bytes, 32 are allowed (got '{'x' * 33}'); to_account: "
            "has characters other than printable ASCII (got 'b c é'); set_mark: is not a known "
            "mark (got 'nope'); clear_mark: a bit is a number from 0 to 63 (got 64); custom_mark: "
            "has 257 bytes of UTF-8, 256 are allowed; to_group_id: must not be given with "
            "to_account"
        )
        assert str(error).replace("csv:2", "jsonl:1") == told(json.dumps(row), "f.jsonl")[0]

    def test_columns_without_names(self) -> None:
        """Columns without names are left out; one with a value is named by its place."""
        text = "from_account,to_account,,set_mark,\na,b,,0,\na,b,x,0,\n"
        read, error = told(text)

        assert (2, *GOOD[1:]) == read
        assert "f.csv:3: column 3: has a value, and no name in the header" in str(error)
        assert 2 == len(told(text, columns=Columns(ignore_unknown=True)))
        mapped = told(text, columns=Columns({"custom_mark": "#3"}))
        assert (3, *GOOD[1:-1], "x") == mapped[1]

    def test_more_cells(self) -> None:
        """Blank cells behind a record are left out; other cells are too many."""
        assert (2, *GOOD[1:]) == told(f"{HEADER}a,b,,0,,,,\n")[0]
        assert "has 7 cells, the header has 6" in str(told(f"{HEADER}a,b,,0,,,x\n")[0])

    def test_repeated_headers(self) -> None:
        """The headers of files that were joined are skipped, marks of the byte order too."""
        text = f"\ufeff{HEADER}a,b,,0,,\n\ufeff{HEADER}a,b,,0,,\n"

        assert [
            (2, *GOOD[1:]),
            (4, *GOOD[1:]),
            "records equal to the header, skipped: 1",
        ] == told(text)

    def test_copy(self) -> None:
        """PostgreSQL's text form is read: escapes, no quotes, no header, an end mark."""
        text = 'a\tb\t\\N\t{favorite}\t\\N\t"x\\ty\\\\\n\\.\n'
        read, note = told(text, "f.tsv", null=[r"\N"])
        assert isinstance(read, tuple)

        assert (1, "a", "c2c_b", (0,), (), '"x\ty\\') == read
        assert "there is no header" in str(note)
        header = HEADER.replace(",", "\t")
        assert [(2, *read[1:])] == told(header + text, "f.tsv", null=[r"\N"])


class TestHeaders:
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

        assert options in str(error)
        assert "the fields are from_account, to_account, to_group_id, set_mark" in str(error)

    @pytest.mark.parametrize("typo", ["set_marks", "setmark", "Set Mark", "set_mrak", "sett_mark"])
    def test_typo(self, typo: str) -> None:
        """A field that is misspelt is never ignored; other columns are, and are told once."""
        columns = Columns(ignore_unknown=True)
        [error] = told(f"from_account,to_account,{typo},x\na,b,0,1\n", columns=columns)
        [row] = told(f'{ROW[:-1]}, "custom_mark": "x", "{typo}": 1, "y": 1}}', "f.jsonl", columns)[
            :1
        ]

        assert f"add --map set_mark={typo}"[:20] in str(error).replace("'", "")
        assert isinstance(row, tuple)
        assert "left out, because they are not fields: x, y" in told(
            "from_account,to_account,set_mark,x,y\na,b,0,1,2\na,b,0,1,2\n", columns=columns
        )


class TestJson:
    @pytest.mark.parametrize(
        ("text", "lines"),
        [
            (f"[{ROW},\n{ROW}]", [1, 2]),
            (f"  [\n{ROW}\n,{ROW}\n]\n", [2, 3]),
            (f"[{ROW}]\n[{ROW}]", [1, 2]),
            (json.dumps(json.loads(ROW), indent=2) * 2, [1, 7]),
            (json.dumps([json.loads(ROW)] * 2, indent=2), [2, 9]),
            (f"{ROW},\n{ROW},\n", [1, 2]),
            ("[]", []),
            ("", []),
        ],
    )
    def test_layouts(self, text: str, lines: list[int]) -> None:
        """Rows are read a line each, from arrays, and over several lines."""
        assert [(line, *GOOD[1:]) for line in lines] == told(text, "f.json")

    def test_streamed(self) -> None:
        """An array is not held in memory, however its rows lie in the pieces that are read."""
        data = ("[" + ", ".join([ROW] * 50_000) + "]").encode()
        file = ChangeFile.of("f.json")
        tracemalloc.start()
        count = sum(isinstance(row, Row) for row in file.read(io.BytesIO(data)))
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()

        assert 50_000 == count
        assert peak < len(data) + 3_000_000

    @pytest.mark.parametrize(
        ("text", "reason"),
        [
            (f"[{ROW},", "the array has no end"),
            (f"[{ROW},\n{ROW[:-5]}", "f.json:2: file: cannot be read as JSON"),
            (f"[{ROW},\n{ROW[:-1]} x}}, {ROW}]", "f.json:2: file: cannot be read as JSON"),
            (f'[{ROW},\n{{"a": 1, "a": 1}}]', "a: appears twice"),
            (f"[{ROW}]\nx", "f.json:2: file: cannot be read as JSON"),
            (f'[{ROW},\n"{"x" * 5_000_000}"]', "f.json:2: file: cannot be read as JSON"),
        ],
    )
    def test_broken(self, text: str, reason: str) -> None:
        """A value that cannot be read ends an array; the rows before it are read."""
        rows = list(ChangeFile.of("f.json").read(io.BytesIO(text.encode())))

        assert [Row, FileError] == [type(row) for row in rows]
        assert reason.removeprefix("a: ") in str(rows[-1])

    def test_bad_rows(self) -> None:
        """Values of an array that are no rows are errors of rows."""
        rows = list(ChangeFile.of("f.json").read(io.BytesIO(f'[1, "x", null, {ROW}]'.encode())))

        assert [RowError] * 3 + [Row] == [type(row) for row in rows]

    @pytest.mark.parametrize(
        "text",
        [
            f'{{"items": [{ROW}]}}',
            f'{{\n"total": 1,\n"items": [\n{ROW}\n]\n}}',
            '{"items": [' + ", ".join([ROW] * 30_000) + "]}",
        ],
    )
    def test_wrapped(self, text: str) -> None:
        """Rows under a key are refused with the command that takes them out."""
        [error] = told(text, "f.json")

        assert """items: holds the rows, which must not be wrapped: jq -c '.["items"][]'""" in str(
            error
        )

    @pytest.mark.parametrize(
        "text",
        [
            f'{{"data": {{"rows": [{ROW}]}}}}',
            f'{{\n"meta": {{"a": "{{"}},\n"data": {{\n"rows": [\n{ROW}\n]\n}}\n}}',
            '{"meta": {"a": "}"}, "data": {"rows": [' + ", ".join([ROW] * 30_000) + "]}}",
        ],
    )
    def test_wrapped_twice(self, text: str) -> None:
        """The command takes them out from below several keys, too."""
        [error] = told(text, "f.json")

        assert (
            """data.rows: holds the rows, which must not be wrapped: jq -c '.["data"]["rows"][]'"""
            in str(error)
        )

    @pytest.mark.parametrize(
        ("text", "reason"),
        [
            ("9" * 5_000, "cannot be read as JSON: a number has too many digits"),
            ("[" * 100_000, "cannot be read as JSON: it is nested too deeply"),
            ('{"$numberInt": "x"}', "cannot be read as JSON: invalid literal for int()"),
        ],
    )
    def test_python_limits(self, text: str, reason: str) -> None:
        """What Python cannot read is said plainly, in a line and in an array."""
        value = f'{{"a": {text}}}'
        [in_line] = told(value, "f.jsonl")
        [in_array] = told(f"[{value}", "f.json")

        assert f"row: {reason}" in str(in_line)
        assert f"file: {reason}" in str(in_array)

    @pytest.mark.parametrize(
        ("field", "value", "is_read"),
        [
            ("from_account", 5, True),
            ("from_account", 5.0, True),
            ("from_account", 5.5, False),
            ("from_account", 1e300, False),
            ("from_account", True, False),
            ("set_mark", "33", True),
            ("set_mark", ["33", 34.0, {"$numberInt": "35"}], True),
            ("set_mark", 33.5, False),
            ("custom_mark", None, True),
            ("to_group_id", None, True),
            ("custom_mark", 5, False),
        ],
    )
    def test_values(self, field: str, value: object, is_read: bool) -> None:
        """Whole numbers are ids and bits, and null is an absent field."""
        [row] = told(json.dumps(json.loads(ROW) | {field: value}), "f.jsonl")

        assert isinstance(row, tuple) is is_read


PEER: Final = Columns({"to_account": "peer_id"})
SWAPPED: Final = Columns({"from_account": "to_account", "to_account": "from_account"})
ANY: Final = Columns(ignore_unknown=True)
BODY: Final = (
    '{"From_Account": "a", "MarkItem": [{"OptType": 1, "SetMark": [0], "ContactItem":'
    '{"Type": 1, "To_Account": "b"}}]}\n{"MarkItem": 1}'
)


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

    def test_swap(self) -> None:
        """The name of one field may be the column of another."""
        assert {"from_account": 1, "to_account": 2} == SWAPPED.renamed(
            {"to_account": 1, "from_account": 2}, Notes()
        )

    @pytest.mark.parametrize(
        ("name", "line", "text"),
        [
            ("f.jsonl", 1, '{"from_account": "a", "peer_id": "b", "set_mark": 0}'),
            ("f.csv", 2, "from_account, peer_id ,set_mark\na,b,0\n"),
        ],
    )
    def test_mapped(self, name: str, line: int, text: str) -> None:
        """A field is read from the key or the column that it is mapped to."""
        assert [(line, *GOOD[1:])] == told(text, name, PEER)

    @pytest.mark.parametrize(
        ("name", "text", "message"),
        [
            ("f.jsonl", '{"from_account": "a", "to_account": "b"}', "to_account: is in the file,"),
            ("f.jsonl", '{"from_account": "a", "x": "b"}', "x: is not a field of a row"),
            ("f.jsonl", '{"from_account": "a", "set_mark": 0}', "to_account: and to_group_id are"),
            ("f.csv", "from_account,to_account", "to_account: is in the file, but is mapped to"),
            ("f.csv", "from_account,to_group_id", "peer_id: is not a column, but to_account is"),
            ("f.csv", "from_account,peer_id,peer_id", "peer_id: appears twice"),
            ("f.csv", "from_account,peer_id,x", "x: is not a field"),
            ("f.csv", "from_account;peer_id", "header: has one column; add --delimiter ';'"),
        ],
    )
    def test_does_not_fit(self, name: str, text: str, message: str) -> None:
        """A mapped field has no other name, and other keys and columns are still errors."""
        [error] = told(text if name == "f.jsonl" else f"{text}\na,b\n", name, PEER)

        assert message in str(error)

    def test_ignored(self) -> None:
        """What is no field is left aside if asked; keys of a request body are not."""
        row = '{"From_Account": 1, "x": {}, "from_account":"a", "to_account":"b", "set_mark":0}\n'
        table = "x,from_account,to_account,set_mark,x,\n1,a,b,0,2,3\n"

        first, second, error, _ = told(row + BODY, "f.jsonl", ANY)
        assert (GOOD, (2, *GOOD[1:])) == (first, second)
        assert "$.From_Account: required" in str(error)
        assert (2, *GOOD[1:]) == told(table, "f.csv", ANY)[0]
