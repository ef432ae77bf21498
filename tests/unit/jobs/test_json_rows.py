"""JSON, in all its layouts; the fast reader of lines says what reading by the book says."""

import io
import json
import pathlib
import tracemalloc
from typing import Any, Final

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from told import ROW, read, told

from chatmark.jobs import ChangeFile
from chatmark.jobs.sources.formats import MAX_LINE_BYTES, numbered_lines
from chatmark.jobs.sources.json_rows import _fast_reader
from chatmark.jobs.sources.parser import RowParser
from chatmark.jobs.sources.row import OWN_FIELDS, FileError, Row, RowError

GOOD: Final = ROW.encode()
PRETTY: Final = json.dumps(json.loads(ROW), indent=2)
MANY: Final = ", ".join([ROW] * 30_000)


def good(*lines: int) -> list[tuple[Any, ...]]:
    """Return the good row on each of these lines."""
    return [(line, "a", "c2c_b", (0,), (), None) for line in lines]


class TestLayouts:
    @pytest.mark.parametrize(
        ("text", "lines"),
        [
            (ROW, [1]),
            (f"\ufeff{ROW}\r\n", [1]),
            (f"\n  \r\n {ROW} \n\n\t\n{ROW}", [3, 6]),
            (f"[{ROW},\n{ROW}]", [1, 2]),
            (f"  [\n{ROW}\n,{ROW}\n]\n", [2, 3]),
            (f"[{ROW}]\n[{ROW}]", [1, 2]),
            (PRETTY * 2, [1, 7]),
            (json.dumps([json.loads(ROW)] * 2, indent=2), [2, 9]),
            (f"{ROW},\n{ROW},\n", [1, 2]),
            ("[]", []),
            ("", []),
        ],
    )
    def test_read(self, text: str, lines: list[int]) -> None:
        """Rows are read a line each, from arrays, and over several lines; a row knows its line."""
        assert good(*lines) == told(text, "f.json")

    @pytest.mark.parametrize(
        ("text", "reason"),
        [
            (f"[{ROW},", "the array has no end"),
            (f"[{ROW},\n{ROW[:-5]}", "f.json:2: file: cannot be read as JSON"),
            (f"[{ROW},\n{ROW[:-1]} x}}, {ROW}]", "f.json:2: file: cannot be read as JSON"),
            (f'[{ROW},\n{{"a": 1, "a": 1}}]', "appears twice"),
            (f"[{ROW}]\nx", "f.json:2: file: cannot be read as JSON"),
            (f'[{ROW},\n"{"x" * 5_000_000}"]', "f.json:2: file: cannot be read as JSON"),
            (f"[{ROW}]".encode() + b"\xc3", "unexpected end of data"),
        ],
    )
    def test_broken(self, text: str | bytes, reason: str) -> None:
        """A value that cannot be read ends an array; the rows before it are read."""
        rows = read(text, "f.json")

        assert [Row, FileError] == [type(row) for row in rows]
        assert reason in str(rows[-1])

    def test_no_rows(self) -> None:
        """Values of an array that are no rows are errors of rows."""
        rows = read(f'[1, "x", null, {ROW}]', "f.json")

        assert [RowError] * 3 + [Row] == [type(row) for row in rows]

    @pytest.mark.parametrize(
        ("text", "path"),
        [
            (f'{{"items": [{ROW}]}}', '["items"]'),
            (f'{{\n"total": 1,\n"items": [\n{ROW}\n]\n}}', '["items"]'),
            (f'{{"items": [{MANY}]}}', '["items"]'),
            (f'{{\n"items": [\n{MANY}]}}', '["items"]'),
            (f'{{"a": {{"b": [{ROW}]}}}}', '["a"]["b"]'),
            (f'{{\n"c": {{"d": "{{"}},\n"a": {{"b": [\n{ROW}]\n}}\n}}', '["a"]["b"]'),
            (f'{{"c": {{"d": "}}"}}, "a": {{"b": [{MANY}]}}}}', '["a"]["b"]'),
        ],
    )
    def test_wrapped(self, text: str, path: str) -> None:
        """Rows under a key or several are refused with the command that takes them out."""
        [error] = told(text, "f.json")

        assert f"holds the rows, which must not be wrapped: jq -c '.{path}[]'" in error

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

        assert f"row: {reason}" in told(value, "f.jsonl")[0]
        assert f"file: {reason}" in told(f"[{value}", "f.json")[0]

    @pytest.mark.parametrize(
        ("layout", "between", "most"), [("{}", "\n", 200_000), ("[{}]", ", ", 4_000_000)]
    )
    def test_memory(self, tmp_path: pathlib.Path, layout: str, between: str, most: int) -> None:
        """Reading many rows needs no more memory than reading few, in an array either."""
        row = f'{ROW[:-1]}, "_info": "{"x" * 1_000}"}}'
        path = tmp_path / "f.json"
        path.write_text(layout.format(between.join([row] * 8_000)))
        tracemalloc.start()
        count = sum(isinstance(row, Row) for row in ChangeFile.of(str(path)).rows())
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()

        assert 8_000 == count
        assert peak < most


class TestLines:
    @pytest.mark.parametrize(
        ("line", "message"),
        [
            (GOOD[:-1], "row: is not JSON: Expecting ',' delimiter at column 57"),
            (GOOD + GOOD, "row: is not JSON: Extra data at column 58"),
            (b'{"a": NaN}', "row: is not JSON: NaN is not one of its numbers"),
            (b'{"set_mark": 0, "set_mark": 1}', "set_mark: appears twice"),
            (b'{"MarkItem": [{"a": 1, "a": 1}]}', "a: appears twice"),
            (
                b'{"a": "\xff"}',
                "row: is not UTF-8: byte 0xff at position 8; add its encoding, such",
            ),
            (b" " * 2_000_000, "row: is longer than 1048576 bytes"),
            (b"null", "row: must be a JSON object (got None)"),
        ],
    )
    def test_bad(self, line: bytes, message: str) -> None:
        """A line that is no row is named, and the lines around it are read."""
        first, error, last = told(b"\n".join((GOOD, b"", line, GOOD)), "f.jsonl")

        assert good(1, 4) == [first, last]
        assert error.startswith(f"f.jsonl:3: {message}")

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
        [error] = read(line, "f.jsonl")

        assert isinstance(error, RowError)
        assert raw == error.raw

    def test_long(self) -> None:
        """Lines of just under the limit are rows; one of just the limit is one line."""
        note = b', "_info": "' + b"x" * (MAX_LINE_BYTES - len(GOOD) - 20) + b'"}'
        longest = b"x" * MAX_LINE_BYTES + b"\nend"

        assert good(1, 2) == told(b"\xef\xbb\xbf" + b"\r\n".join([GOOD[:-1] + note] * 2), "f.jsonl")
        assert [1, 2] == [number for number, _ in numbered_lines(io.BytesIO(longest))]

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
    def test_values(self, field: str, value: object, *, is_read: bool) -> None:
        """Whole numbers are ids and bits, and null is an absent field."""
        [row] = told(json.dumps(json.loads(ROW) | {field: value}), "f.jsonl")

        assert isinstance(row, tuple) is is_read


ids = st.sampled_from(["a", "user: 1", "", "é", "x" * 33, 'a":', "\ud83d", 5, None, ["a"]])
marks: st.SearchStrategy[Any] = st.sampled_from(
    [["favorite", 33], ["33"], "favorite", 33, [], [0], [True], True, [5], 5, 1.0, [64], None, {}]
)
custom_marks = st.sampled_from(["", "x", 'a": b', "é" * 128, "é" * 129, "\0", "\ud83d", 5, None])
values = dict(zip(OWN_FIELDS, (ids, ids, ids, marks, marks, custom_marks), strict=True))
_named = {"from_account": st.just("a"), "to_account": st.just("b")}
_others = {name: values[name] for name in OWN_FIELDS[3:]}
rows = st.fixed_dictionaries(_named, optional=_others) | st.fixed_dictionaries(
    {}, optional={**values, "_code": st.just(1), "tag": st.just("x")}
).filter(bool)


@st.composite
def lines(draw: st.DrawFn) -> str:
    """Draw a line: a row as somebody may write it, with a name twice now and then."""
    pairs = list(draw(rows).items())
    if draw(st.booleans()):
        pairs.append(draw(st.sampled_from(pairs)))
    colon = draw(st.sampled_from([":", ": ", " :", "\t:\r"]))
    is_ascii = draw(st.booleans())
    text = ",".join(
        f"{json.dumps(name)}{colon}{json.dumps(value, ensure_ascii=is_ascii)}"
        for name, value in pairs
    )
    before, after = draw(st.sampled_from([("{", "}"), (" {", "} "), ("{", "} 1"), ("{", ",}")]))
    return f"{before}{text}{after}"


def by_the_book(data: bytes) -> list[Any]:
    """Return what the lines say without the fast reader."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(f"{_fast_reader.__module__}._fast_reader", lambda _: lambda _, __: None)
        return told(data, "f.jsonl")


class TestFastReader:
    @settings(max_examples=300)
    @given(st.lists(lines(), max_size=6))
    @example([ROW, ROW.replace("0", "1e400")])
    @example([ROW, ROW.replace('"b"', '"b", "to_account": "b"')])
    @example([ROW, ROW.replace('"b"', '"b", "custom_mark": "x", "custom_mark": "y: z"')])
    @example([ROW, "[" * 100_000, "9" * 5_000, "", "\x0b", ROW + "\x0b", ROW + " " + ROW])
    @example([ROW + " " * (MAX_LINE_BYTES - len(ROW)), ROW + " " * MAX_LINE_BYTES])
    def test_as_by_the_book(self, written: list[str]) -> None:
        """Whatever stands in a file, its rows say the same, and are wrong for the same reasons."""
        data = "\n".join([ROW, *written, *written]).encode("utf-8", "surrogatepass")

        assert by_the_book(data) == told(data, "f.jsonl")

    def test_is_taken(self) -> None:
        """A plain row is read fast."""
        assert _fast_reader(RowParser())(GOOD, 1) is not None
