"""The fast path of the readers says nothing that reading by the book would not say."""

import io
import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from chatmark.jobs.sources.files import ChangeFile
from chatmark.jobs.sources.formats import MAX_LINE_BYTES
from chatmark.jobs.sources.parser import RowParser
from chatmark.jobs.sources.row import OWN_FIELDS, Row

GOOD = '{"from_account": "a", "to_account": "b", "set_mark": ["favorite", 33]}'
FAST_READER = "chatmark.jobs.sources.json_rows._fast_reader"

ids = st.sampled_from(["a", "user: 1", "", "é", "x" * 33, 'a":', "\ud83d", 5, None, ["a"]])
marks: st.SearchStrategy[Any] = st.sampled_from(
    [["favorite", 33], ["33"], "favorite", 33, [], [0], [True], True, [5], 5, 1.0, [64], None, {}]
)
custom_marks = st.sampled_from(["", "x", 'a": b', "é" * 128, "é" * 129, "\0", "\ud83d", 5, None])
values = {
    "from_account": ids,
    "to_account": ids,
    "to_group_id": ids,
    "set_mark": marks,
    "clear_mark": marks,
    "custom_mark": custom_marks,
}
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


def told(data: bytes) -> list[tuple[object, ...]]:
    """Return all that the rows of a file say."""
    return [
        (row.line, *((each, each.allow_reserved) for each in row.changes))
        if isinstance(row, Row)
        else (type(row), str(row), row.field, row.raw)
        for row in ChangeFile.of("f.jsonl").read(io.BytesIO(data))
    ]


def by_the_book(data: bytes) -> list[tuple[object, ...]]:
    """Return the same without the fast path."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FAST_READER, lambda _: lambda _, __: None)
        return told(data)


class TestLines:
    @settings(max_examples=300)
    @given(st.lists(lines(), max_size=6))
    @example([GOOD, GOOD.replace("33", "1e400")])
    @example([GOOD, GOOD.replace("33", "9" * 5000)])
    @example([GOOD, GOOD.replace('"b"', '"b", "to_account": "b"')])
    @example([GOOD, GOOD.replace('"b"', '"b", "custom_mark": "x", "custom_mark": "y: z"')])
    @example([GOOD, "[" * 100_000, "", "\x0b", GOOD + "\x0b", GOOD + " " + GOOD])
    def test_as_by_the_book(self, written: list[str]) -> None:
        """Whatever stands in a file, its rows say the same, and are wrong for the same reasons."""
        data = "\n".join([GOOD, *written, *written]).encode("utf-8", "surrogatepass")

        assert by_the_book(data) == told(data)

    @pytest.mark.parametrize("blanks", [MAX_LINE_BYTES - len(GOOD), MAX_LINE_BYTES])
    def test_long_line(self, blanks: int) -> None:
        """A good row with too many blanks behind it is too long all the same."""
        data = f"{GOOD}\n{GOOD}{' ' * blanks}\n".encode()

        assert by_the_book(data) == told(data)

    def test_is_taken(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Plain rows are not read by the book."""
        read: list[object] = []
        parse = RowParser.row

        def noted(self: RowParser, row: object, line: int) -> Row:
            read.append(row)
            return parse(self, row, line)

        monkeypatch.setattr(RowParser, "row", noted)
        found = told("\n".join([GOOD] * 10).encode())

        assert (10, 10) == (len(found), sum(isinstance(each, Row) for each in read))
