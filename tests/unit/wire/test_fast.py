"""The fast path of the wire says nothing that the reader by the book would not say."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import changes, conversations, json_documents

from chatmark import Conversation, ConversationType, MarkChange
from chatmark.changes import AlikeChanges
from chatmark.codes import Handling
from chatmark.wire.classify import (
    CONFIRMED,
    classify,
    classify_marks,
    lines_by_conversation,
    read_confirmation,
)
from chatmark.wire.converter import to_json
from chatmark.wire.messages import HttpAnswer, MarkAnswer, MarkContact

BOB = Conversation.one_to_one("bob")
TEAM = Conversation.group("team")
BOTH = [BOB, TEAM]


def contact_of(conversation: Conversation) -> dict[str, Any]:
    """Return the `ContactItem` of a conversation."""
    is_user = conversation.type is ConversationType.ONE_TO_ONE
    return {"Type": conversation.type, "To_Account" if is_user else "ToGroupId": conversation.id}


def answer_for(asked: list[Conversation]) -> dict[str, Any]:
    """Return the answer in which everything succeeds."""
    lines = [
        {"OptType": 1, "ContactItem": contact_of(each), "ResultCode": 0, "ResultInfo": ""}
        for each in asked
    ]
    envelope = {"ActionStatus": "OK", "ErrorCode": 0, "ErrorInfo": "", "ErrorDisplay": ""}
    return {"ResultItem": lines, **envelope}


def changes_of(asked: list[Conversation]) -> list[MarkChange]:
    """Return a change of each conversation."""
    return [MarkChange("ann", each, custom_mark="x") for each in asked]


def by_the_book(account: str, sequence: list[MarkChange]) -> dict[str, Any]:
    """Return the body of a request as the vendor's page has it."""
    items: list[dict[str, Any]] = []
    for change in sequence:
        item = {"OptType": int(change.opt_type), "ContactItem": contact_of(change.conversation)}
        if change.set_mark:
            item["SetMark"] = list(change.set_mark.bits)
        if change.clear_mark:
            item["ClearMark"] = list(change.clear_mark.bits)
        if change.custom_mark is not None:
            item["CustomMark"] = change.custom_mark
        items.append(item)
    return {"From_Account": account, "MarkItem": items}


def confirmed(body: bytes, sequence: list[MarkChange]) -> str | None:
    """Return the RequestId of an answer that confirms just these changes, None of another."""
    found = read_confirmation(body)
    return found.RequestId or "" if found is not None and found.names(sequence) else None


class TestEncodeMarks:
    @given(st.lists(changes(), max_size=5))
    def test_writes_what_the_book_says(self, sequence: list[MarkChange]) -> None:
        """
        Any ids, marks and texts, with quotes, control characters and emoji, are written right.
        """
        request = MarkContact('a"\\b', sequence)

        assert by_the_book('a"\\b', sequence) == json.loads(to_json(request))

    @given(changes(), st.lists(conversations, max_size=5))
    def test_writes_changes_that_are_alike(
        self, change: MarkChange, asked: list[Conversation]
    ) -> None:
        """One change of many conversations is written as the change of each."""
        alike = AlikeChanges(change, asked)

        assert by_the_book("ann", list(alike)) == json.loads(to_json(MarkContact("ann", alike)))


class TestConfirmsAll:
    @given(st.lists(conversations, max_size=20, unique=True))
    def test_of_an_answer_that_does(self, asked: list[Conversation]) -> None:
        """An answer with a line of success for each is confirmed, and handled as the book's is."""
        body = json.dumps(answer_for(asked)).encode()

        assert "" == confirmed(body, changes_of(asked))
        assert classify_marks(HttpAnswer(200, body), changes_of(asked)).answer is CONFIRMED

    @pytest.mark.parametrize(
        ("path", "values"),
        [
            (["ErrorCode"], [1, "0", None, ...]),
            (["ActionStatus"], ["FAIL", "ok"]),
            (["ResultItem"], [..., {}, [], answer_for([TEAM, BOB])["ResultItem"]]),
            (["ResultItem"], [answer_for([BOB, TEAM, TEAM])["ResultItem"]]),
            (["ResultItem", 1], [..., answer_for([BOB])["ResultItem"][0]]),
            (["ResultItem", 1, "ResultCode"], [50004, "0", False, None, ...]),
            (["ResultItem", 1, "ContactItem"], [None, ...]),
            (["ResultItem", 1, "ContactItem", "Type"], [1]),
            (["ResultItem", 1, "ContactItem", "ToGroupId"], ["other", ...]),
            (["ResultItem", 1, "ContactItem", "To_Account"], [5]),
            (["ResultItem", 0, "ContactItem", "ToGroupId"], [[]]),
            (["ResultItem", 0, "ContactItem"], [{"Type": 1, "ToGroupId": "bob"}]),
            (["ResultItem", 0, "ContactItem"], [{"Type": 2, "ToGroupId": "bob"}]),
        ],
        ids=str,
    )
    def test_of_an_answer_that_does_not(self, path: list[str | int], values: list[Any]) -> None:
        """Whatever says less, or says it otherwise, is left to the reader by the book."""
        for value in values:
            document: Any = answer_for(BOTH)
            place = document
            for key in path[:-1]:
                place = place[key]
            if value is ...:
                del place[path[-1]]
            else:
                place[path[-1]] = value

            assert None is confirmed(json.dumps(document).encode(), changes_of(BOTH))

    @pytest.mark.parametrize("place", [b'"\x80":1', b'"x":"\xff"', b'"x":["\xed\xa0\x80"]'])
    def test_of_what_is_no_text(self, place: bytes) -> None:
        """
        Bytes that are no UTF-8 are seen wherever they stand, in fields that nobody knows, too.
        """
        body = json.dumps(answer_for(BOTH)).encode()

        assert None is confirmed(body[:-1] + b"," + place + b"}", changes_of(BOTH))

    @pytest.mark.parametrize(
        "body",
        [b"", b"{", b"null", b"[]", b"\xff", b'{"x":"\\ud800"', b'{"x":' + b"[" * 100_000],
        ids=lambda body: repr(body)[:9],
    )
    def test_of_what_is_no_answer(self, body: bytes) -> None:
        """What cannot be read, or is nested too deep, is no confirmation, and no exception."""
        assert None is confirmed(body, [])

    @given(st.data(), st.lists(conversations, max_size=3, unique=True))
    def test_is_never_more_than_the_book_says(
        self, data: st.DataObject, asked: list[Conversation]
    ) -> None:
        """Of an answer that was changed anywhere, what is confirmed is success by the book, too."""
        document = answer_for(asked)
        place: Any = document
        while True:
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            if not keys:
                break
            key = data.draw(st.sampled_from(keys))
            if isinstance(place[key], dict | list) and data.draw(st.booleans()):
                place = place[key]
                continue
            place[key] = data.draw(json_documents | st.sampled_from([0, 0.0, -0.0, "OK", 1, 2]))
            break
        body = json.dumps(document).encode()
        if confirmed(body, changes_of(asked)) is not None:
            verdict = classify(HttpAnswer(200, body), MarkAnswer)

            assert verdict.handling is Handling.DONE
            assert verdict.answer is not None

            lines = lines_by_conversation(verdict.answer)

            assert dict.fromkeys(asked, 0) == {
                each: line.result_code for each, line in lines.items()
            }
