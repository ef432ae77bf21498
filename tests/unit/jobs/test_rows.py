import io
import json
import pickle
from typing import Any

import pytest
from hypothesis import given
from strategies import changes

from chatmark.changes import MarkChange
from chatmark.conversations import Conversation
from chatmark.errors import InputError
from chatmark.failures import TransportError
from chatmark.jobs.sources.files import ChangeFile
from chatmark.jobs.sources.parser import RowParser
from chatmark.jobs.sources.row import RowError, failed_row, row_of, set_aside_row
from chatmark.marks import ConversationMark, MarkNames
from chatmark.results import MarkResult

FAVORITE = ConversationMark.FAVORITE
BOB, TEAM = Conversation.one_to_one("b"), Conversation.group("g")
ROW = {"from_account": "a", "to_account": "b"}


def parse(row: Any, names: MarkNames | None = None) -> MarkChange:
    """Return the only change of a row."""
    [change] = RowParser(names or MarkNames()).row(row, 1).changes
    return change


class TestParse:
    @pytest.mark.parametrize(
        ("row", "expected"),
        [
            (
                ROW | {"set_mark": ["favorite", 33, "vip"], "clear_mark": "hidden"},
                (BOB, (0, 33, 40), (3,), None),
            ),
            (ROW | {"set_mark": 0, "clear_mark": []}, (BOB, (0,), (), None)),
            (ROW | {"set_mark": ["FAVORITE"], "custom_mark": "abcd"}, (BOB, (0,), (), "abcd")),
            (ROW | {"custom_mark": ""}, (BOB, (), (), "")),
            ({"from_account": "a", "to_group_id": "g", "set_mark": 0}, (TEAM, (0,), (), None)),
        ],
    )
    def test_own_form(self, row: Any, expected: tuple[object, ...]) -> None:
        """A row says everything that a change can say; marks are names or numbers."""
        change = parse(row, MarkNames(vip=40))
        marks = change.set_mark.bits, change.clear_mark.bits

        assert ("a", *expected) == (
            change.from_account,
            change.conversation,
            *marks,
            change.custom_mark,
        )

    def test_request_body(self) -> None:
        """A request body of the vendor's is several changes."""
        items = [
            {"OptType": 1, "ContactItem": {"Type": 1, "To_Account": "b"}, "SetMark": [0]},
            {"OptType": 2, "ContactItem": {"Type": 2, "ToGroupId": "g"}, "CustomMark": "x"},
        ]
        read = RowParser().row({"From_Account": "a", "MarkItem": items}, 1).changes

        assert [MarkChange("a", BOB, FAVORITE), MarkChange("a", TEAM, custom_mark="x")] == read

    @pytest.mark.parametrize(
        ("row", "field", "reason"),
        [
            (ROW | {"set_mark": [64]}, "set_mark", "from 0 to 63 (got 64)"),
            (ROW | {"clear_mark": [-1]}, "clear_mark", "from 0 to 63 (got -1)"),
            (ROW | {"set_mark": [7]}, "set_mark", "belong to Chat (got [7])"),
            (ROW | {"to_group_id": "g", "set_mark": 0}, "to_group_id", "with to_account"),
            (ROW | {"set_mark": "hidden", "clear_mark": 3}, "clear_mark", "(got [3])"),
            (ROW | {"custom_mark": "é" * 129}, "custom_mark", "258 bytes"),
            (ROW | {"custom_mark": "\ud800"}, "custom_mark", "half a character"),
            (ROW, "set_mark", "nothing to change"),
            (ROW | {"set_marks": 0}, "set_marks", "did you mean 'set_mark'?"),
            (ROW | {"From_account": "a"}, "From_account", "did you mean 'from_account'?"),
            (ROW | {"xyz": 1}, "xyz", "is not a field of a row"),
            (ROW | {"set_mark": ["favorit"]}, "set_mark", "did you mean 'favorite'?"),
            (ROW | {"set_mark": [True]}, "set_mark", "whole numbers (got True)"),
            (ROW | {"set_mark": [1.5]}, "set_mark", "whole numbers (got 1.5)"),
            (ROW | {"set_mark": [[0]]}, "set_mark", "(got [[0]])"),
            (ROW | {"set_mark": {"a": 1}}, "set_mark", "must be names and numbers"),
            (ROW | {"custom_mark": 5}, "custom_mark", "must be text, not int (got 5)"),
            (ROW | {"custom_mark": None}, "set_mark", "nothing to change"),
            (ROW | {"from_account": None}, "from_account", "is missing"),
            (
                {"from_account": 5.5, "to_account": "b", "set_mark": 0},
                "from_account",
                "must be text, not float",
            ),
            (
                {"from_account": "a", "to_account": True, "set_mark": 0},
                "to_account",
                "must be text, not bool",
            ),
            ({"from_account": "a", "set_mark": 0}, "to_account", "to_group_id are missing"),
            ({"to_account": "b", "set_mark": 0}, "from_account", "is missing"),
            ({"from_account": "a" * 33, "to_account": "b", "set_mark": 0}, "from_account", "33"),
            ([], "row", "must be a JSON object"),
            ("x", "row", "must be a JSON object"),
            ({}, "from_account", "is missing"),
            ({"From_Account": "a", "MarkItem": []}, "$.MarkItem", "is empty"),
            ({"From_Account": "a"}, "$.MarkItem", "missing"),
        ],
    )
    def test_refuses(self, row: Any, field: str, reason: str) -> None:
        """What cannot be sent is refused, with the field and the reason."""
        with pytest.raises(InputError) as caught:
            RowParser().row(row, 1)

        assert field == caught.value.field
        assert reason in caught.value.reason

    def test_cache_keeps_types_apart(self) -> None:
        """A list that was read does not let an equal one of wrong types through."""
        parser = RowParser()
        parser.row(ROW | {"set_mark": [1]}, 1)

        with pytest.raises(InputError):
            parser.row(ROW | {"set_mark": [True]}, 1)


class TestRowOf:
    @given(changes())
    def test_round_trip(self, change: MarkChange) -> None:
        """A row that is written is read as the same change, without a team's names."""
        assert change == parse(row_of(change))

    @pytest.mark.parametrize("code", [50001, None])
    def test_failed(self, code: int | None) -> None:
        """The notes on a failure do not stand in the way of its row."""
        change = MarkChange("a", BOB, FAVORITE)
        row = failed_row(MarkResult(change, code, "gone", 2, TransportError("gone")))

        assert (code, "gone", 2) == (row["_code"], row["_info"], row["_attempts"])
        assert change == parse(row)


def test_error() -> None:
    """The message names file, line, field and reason, and survives pickling."""
    error = pickle.loads(pickle.dumps(RowError("marks.jsonl", 17, "set_mark", "bad")))

    assert "marks.jsonl:17: set_mark: bad" == str(error)
    assert (17, "set_mark", "bad") == (error.line, error.field, error.reason)


def read_again(row: dict[str, Any]) -> RowError:
    """Return the error that a written row is when it is read."""
    line = json.dumps(row, ensure_ascii=False).encode("utf-8", "replace") + b"\n"
    [error] = ChangeFile.of("again.jsonl").read(io.BytesIO(line))
    assert isinstance(error, RowError)
    return error


class TestSetAsideRow:
    def test_read_again(self) -> None:
        """A row that was set aside is read as an error that says so, and written as it was."""
        notes = set_aside_row(RowError("f.csv", 17, "set_mark", "bad", 'a,b,"é"'))
        error = read_again(notes)

        assert {"_error": "f.csv:17: set_mark: bad", "_line": 17, "_raw": 'a,b,"é"'} == notes
        expected = "again.jsonl:1: row: was set aside before: f.csv:17: set_mark: bad"
        assert expected == str(error)
        assert notes == set_aside_row(error)

    def test_repaired(self) -> None:
        """A row that has its fields again is read; what is still missing is said."""
        notes = set_aside_row(RowError("f.csv", 17, "set_mark", "bad", "a,b"))
        message = str(read_again(notes | {"set_mark": 0}))

        assert parse(notes | ROW | {"set_mark": 0}).set_mark == FAVORITE
        assert message.startswith("again.jsonl:1: from_account: is missing; to_account: and to_")

    @pytest.mark.parametrize("character", ["x", '"', "\x00", "é", "\U0001f600"])
    def test_fits_a_line(self, character: str) -> None:
        """
        However long the row was and however it is escaped, its notes are a line that can be read.
        """
        raw = character * ((1 << 20) // len(character.encode()))
        error = read_again(set_aside_row(RowError("f", 1, "f" * 100_000, "r" * 100_000, raw)))

        assert "was set aside before" in str(error)
        assert error.before is not None
        assert raw.startswith(error.before["_raw"].removesuffix("…"))
        # One of a common length is kept to its end.
        assert raw[:100_000] == set_aside_row(RowError("f", 1, "row", "bad", raw[:100_000]))["_raw"]

    @pytest.mark.parametrize("note", [None, 5, ["x"], {"a": "b"}, "x" * 100_000])
    def test_strange_notes(self, note: object) -> None:
        """Notes that no job wrote are an error of the row too."""
        error = read_again({"_error": note, "_line": note, "_raw": note})

        assert "was set aside before" in error.reason
        assert len(error.reason) < 2_000
