import contextlib
import copy
import datetime as dt
import json
from collections.abc import Iterator
from operator import itemgetter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import changes, conversations, json_documents

from chatmark import AnswerError, Conversation, ConversationMark, InputError, MarkChange
from chatmark.codes import Command
from chatmark.results import MarkedConversation
from chatmark.wire.classify import from_json
from chatmark.wire.converter import read_request, to_json
from chatmark.wire.messages import (
    Envelope,
    Found,
    GetContactGroup,
    GroupAnswer,
    MarkAnswer,
    MarkContact,
    Message,
    Page,
    ResultLine,
    SearchContactGroup,
    unread_of,
)

BOB = Conversation.one_to_one("user_0002")
TEAM = Conversation.group("@TGS#1N3RSUYG2")
MARK = ConversationMark.from_bits([0, 3, 4, 5])
SAMPLE = MarkChange("user_0001", BOB, ConversationMark.from_bits([1, 2, 3]), custom_mark="abcd")
KINDS: list[type[Envelope]] = [MarkAnswer, GroupAnswer, Page, Found]

# The vendor's own samples, from vectors/wire.json.
MARK_REQUEST: dict[str, Any] = {
    "From_Account": "user_0001",
    "MarkItem": [
        {
            "OptType": 3,
            "ContactItem": {"Type": 1, "To_Account": "user_0002"},
            "SetMark": [1, 2, 3],
            "CustomMark": "abcd",
        }
    ],
}
PAGE_REQUEST: dict[str, Any] = {"From_Account": "user_0001", "StartIndex": 0}
SEARCH_REQUEST: dict[str, Any] = {
    "From_Account": "user_0001",
    "ContactItem": [{"Type": 1, "To_Account": "user_0002"}],
}
ENVELOPE: dict[str, Any] = {"ActionStatus": "OK", "ErrorCode": 0, "ErrorInfo": ""}
LINE: dict[str, Any] = {
    "OptType": 3,
    "ContactItem": {"Type": 1, "To_Account": "user_0002"},
    "ResultCode": 0,
    "ResultInfo": "",
}
MARK_ANSWER: dict[str, Any] = {"ResultItem": [LINE], **ENVELOPE}
GROUPS = [{"GroupName": "test1x", "GroupId": 1}, {"GroupName": "test10", "GroupId": 2}]
MARKED_USER: dict[str, Any] = {
    "Type": 1,
    "To_Account": "user_0002",
    "StandardMark": "111001",
    "ContactGroupId": [1, 2],
    "Timestamp": 1670843110,
}
MARKED_GROUP: dict[str, Any] = {
    "Type": 2,
    "ToGroupId": "@TGS#1N3RSUYG2",
    "StandardMark": "111001",
    "CustomMark": "abcd",
    "Timestamp": 1672998266,
}
PAGE_ANSWER: dict[str, Any] = {
    "ContactItem": [MARKED_USER, MARKED_GROUP],
    "GroupItem": GROUPS,
    "CompleteFlag": 1,
    "NextStartIndex": 0,
    **ENVELOPE,
}
FOUND_USER = MARKED_USER | {
    "StandardMark": "11111110",
    "CustomMark": "xyz",
    "Timestamp": 1673500546,
}
SEARCH_ANSWER: dict[str, Any] = {
    "ContactResultItem": [FOUND_USER],
    "GroupItem": GROUPS[:1],
    **ENVELOPE,
    "ErrorDisplay": "",
}
SAMPLES: list[tuple[dict[str, Any], type[Envelope]]] = [
    (MARK_ANSWER, MarkAnswer),
    (PAGE_ANSWER, Page),
    (SEARCH_ANSWER, Found),
]

# A value of each JSON type.
VALUES: dict[str, Any] = {
    "null": None,
    "boolean": True,
    "number": 5,
    "fraction": 5.0,
    "text": "5",
    "list": [],
    "object": {},
}
# Fields that the samples have and chatmark does not read.
UNREAD = ("GroupItem", "ErrorDisplay", "OptType")
Path = tuple[str | int, ...]


def body(document: object) -> bytes:
    """Return a document as the bytes of a body."""
    return json.dumps(document).encode()


def time(seconds: float) -> dt.datetime:
    """Return a time of the server."""
    return dt.datetime.fromtimestamp(seconds, dt.UTC)


def fields(document: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Yield each value inside a document that is read, with its path."""
    inside = document.items() if isinstance(document, dict) else enumerate(document)
    for key, value in inside:
        if key not in UNREAD:
            yield (*path, key), value
            if isinstance(value, dict | list):
                yield from fields(value, (*path, key))


def replaced(document: dict[str, Any], path: Path, value: Any) -> dict[str, Any]:
    """Return a copy of a document with another value at one place."""
    changed = copy.deepcopy(document)
    place: Any = changed
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    return changed


def written(path: Path) -> str:
    """Return a path in the way of JSON path."""
    return "$" + "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)


def wrongly_typed(*samples: dict[str, Any]) -> list[Any]:
    """Return every field of documents with a value of every wrong type."""
    return [
        pytest.param(sample, path, value, id=f"{number}{written(path)}={name}")
        for number, sample in enumerate(samples)
        for path, good in fields(sample)
        # What a result line says of its conversation concerns that line only, see below.
        if "ResultItem" not in path[:1] or "ContactItem" not in path
        for name, value in VALUES.items()
        if type(value) is not type(good)
    ]


class TestWriting:
    @pytest.mark.parametrize(
        ("request_", "sample"),
        [
            (MarkContact("user_0001", [SAMPLE]), MARK_REQUEST),
            (GetContactGroup("user_0001", 0), PAGE_REQUEST),
            (SearchContactGroup("user_0001", [BOB]), SEARCH_REQUEST),
        ],
    )
    def test_samples(self, request_: Message, sample: dict[str, Any]) -> None:
        """The vendor's samples are written."""
        assert sample == json.loads(to_json(request_))

    @pytest.mark.parametrize(
        ("change", "fields"),
        [
            (MarkChange("a", BOB, clear_mark=ConversationMark.HIDDEN), {"ClearMark": [3]}),
            (MarkChange("a", BOB, custom_mark=""), {"CustomMark": ""}),
        ],
        ids=["bits only", "text only"],
    )
    def test_no_more_than_needed(self, change: MarkChange, fields: dict[str, Any]) -> None:
        """An item has only the fields of its OptType."""
        item = {"OptType": change.opt_type, "ContactItem": {"Type": 1, "To_Account": "user_0002"}}

        assert [item | fields] == json.loads(to_json(MarkContact("a", [change])))["MarkItem"]

    def test_compact(self) -> None:
        """Bodies are UTF-8 without blanks or escapes."""
        change = MarkChange("a", BOB, custom_mark="重要 🔥")

        assert '"CustomMark":"重要 🔥"}'.encode() in to_json(MarkContact("a", [change]))

    @given(sequence=st.lists(changes(st.just("alice")), max_size=5))
    def test_round_trip(self, sequence: list[MarkChange]) -> None:
        """What is written reads as the same changes."""
        assert sequence == read_request(json.loads(to_json(MarkContact("alice", sequence))))

    def test_paths(self) -> None:
        """The calls have the vendor's paths."""
        reading = ("get_contact_group", "search_contact_group")
        groups = ("create_contact_group", "update_contact_group", "del_contact_group")

        assert [f"v4/recentcontact/{name}" for name in ("mark_contact", *reading, *groups)] == [
            each.value for each in Command
        ]


class TestReading:
    @pytest.mark.parametrize(
        ("sample", "answer"),
        [
            (MARK_ANSWER, MarkAnswer(0, "OK", result_item=[ResultLine(0, BOB)])),
            (
                PAGE_ANSWER,
                Page(
                    *(0, "OK", "", "", {1: "test1x", 2: "test10"}),
                    contact_item=[
                        MarkedConversation(BOB, MARK, "", (1, 2), time(1670843110)),
                        MarkedConversation(TEAM, MARK, "abcd", (), time(1672998266)),
                    ],
                ),
            ),
            (
                SEARCH_ANSWER,
                Found(
                    *(0, "OK", "", "", {1: "test1x"}),
                    contact_result_item=[
                        MarkedConversation(
                            BOB, ConversationMark(0b11111110), "xyz", (1, 2), time(1673500546)
                        )
                    ],
                ),
            ),
        ],
    )
    def test_samples(self, sample: dict[str, Any], answer: Envelope) -> None:
        """The vendor's samples are read."""
        assert answer == from_json(body(sample), type(answer))

    @pytest.mark.parametrize("kind", KINDS)
    def test_least(self, kind: type[Envelope]) -> None:
        """A refusal with nothing but status and code is read."""
        refused = {"ActionStatus": "FAIL", "ErrorCode": 60007}
        answer = from_json(body(refused), kind)

        assert ("FAIL", 60007, "") == (answer.action_status, answer.error_code, answer.error_info)
        # The vendor's support finds a request by its id.
        assert "Id-7" == from_json(body(refused | {"RequestId": "Id-7"}), kind).request_id

    @pytest.mark.parametrize(("sample", "kind"), SAMPLES)
    def test_unknown_fields(self, sample: dict[str, Any], kind: type[Envelope]) -> None:
        """Fields that nobody knows yet are let by, wherever they stand."""
        changed = copy.deepcopy(sample)
        for path, value in [((), sample), *fields(sample)]:
            if isinstance(value, dict):
                changed = replaced(changed, (*path, "New"), {"type": None, "error_code": "x"})

        assert from_json(body(sample), kind) == from_json(body(changed), kind)

    def test_bare_conversation(self) -> None:
        """A conversation without marks, custom mark, groups or time has none of them."""
        document = replaced(PAGE_ANSWER, ("ContactItem",), [{"Type": 2, "ToGroupId": "g"}])
        page = from_json(body(document), Page)

        assert [MarkedConversation(Conversation.group("g"))] == page.contact_item

    def test_text_of_the_server(self) -> None:
        """Half a character in a text of the server's does no harm further on."""
        document = replaced(MARK_ANSWER, ("ErrorInfo",), "重\ud83d!")

        assert "重?!" == from_json(body(document), MarkAnswer).error_info

    @pytest.mark.parametrize(
        "contact",
        [
            *(5, "user_0002", [], {}, {"Type": 1}, {"Type": 3, "To_Account": "user_0002"}),
            *({"Type": 1, "To_Account": ""}, {"Type": "1", "To_Account": "user_0002"}),
            *({"Type": 2, "To_Account": "user_0002"}, {"Type": 1, "To_Account": "é"}),
        ],
        ids=repr,
    )
    def test_nameless_line(self, contact: object) -> None:
        """A line that names no conversation leaves the verdicts on the others readable."""
        document = copy.deepcopy(MARK_ANSWER)
        document["ResultItem"].append({"ContactItem": contact, "ResultCode": 50001})
        answer = from_json(body(document), MarkAnswer)

        first, _ = answer.result_item
        (unread,) = unread_of(answer)

        assert isinstance(first, ResultLine)
        assert (BOB, 0) == (first.contact_item, first.result_code)
        assert unread.conversation is None

    def test_nulls_beside_the_name(self) -> None:
        """A line that names its conversation and has null in the other field is matched."""
        contact = {"Type": 2, "To_Account": None, "ToGroupId": "g"}
        document = replaced(MARK_ANSWER, ("ResultItem", 0, "ContactItem"), contact)
        (line,) = from_json(body(document), MarkAnswer).result_item

        assert isinstance(line, ResultLine)
        assert Conversation.group("g") == line.contact_item


# Fields without which an answer says all that counts; null is as good as absent.
TOLERATED = {"ActionStatus", "ErrorInfo", "ErrorDisplay", "ResultInfo", "Timestamp", "RequestId"}


class TestStrictness:
    @pytest.mark.parametrize(
        ("sample", "path", "value"), wrongly_typed(*map(itemgetter(0), SAMPLES))
    )
    def test_wrong_type(self, sample: dict[str, Any], path: Path, value: object) -> None:
        """A field of the wrong type costs the answer, an element alone, or nothing."""
        (kind,) = (kind for given, kind in SAMPLES if given is sample)
        try:
            answer = from_json(body(replaced(sample, path, value)), kind)
        except AnswerError as error:
            assert len(path) == 1
            assert written(path) == error.path  # noqa: PT017
            assert str(error).endswith(f" @ {written(path)}")  # noqa: PT017
            return
        unread = unread_of(answer)
        if unread:
            assert 1 == len(unread)
            assert written(path[:2]) in unread[0].reason
        else:
            assert value is None or TOLERATED & set(path)

    @pytest.mark.parametrize(
        ("field", "value", "reason"),
        [
            ("StandardMark", "2", 'is not 0 to 64 characters of "0" and "1"'),
            ("StandardMark", "1" * 65, 'is not 0 to 64 characters of "0" and "1"'),
            ("To_Account", "é", "printable ASCII"),
            ("To_Account", "x" * 33, "has 33 bytes"),
            ("Type", 3, "names no conversation"),
            ("Type", 2, "names no conversation"),
            ("ContactGroupId", [1, 2**63], "has more than 64 bits"),
            ("ContactGroupId", [-(10**400)], "has more than 64 bits"),
        ],
    )
    def test_wrong_value(self, field: str, value: object, reason: str) -> None:
        """A value that cannot be costs its item alone; where it is and why is reported."""
        document = replaced(PAGE_ANSWER, ("ContactItem", 0, field), value)
        answer = from_json(body(document), Page)
        (unread,) = unread_of(answer)

        assert f"$.ContactItem[0].{field}" in unread.reason
        assert reason in unread.reason
        assert len(PAGE_ANSWER["ContactItem"]) == len(answer.contact_item)

    @pytest.mark.parametrize(
        ("value", "expected"),
        [
            *((1_700_000_000, time(1.7e9)), (1_700_000_000_000, time(1.7e9))),
            *((10**30, None), (-(10**18), None), (None, None), ("soon", None)),
        ],
    )
    def test_times(self, value: object, expected: dt.datetime | None) -> None:
        """A large time is in milliseconds; one that cannot be is none."""
        document = replaced(PAGE_ANSWER, ("ContactItem", 0, "Timestamp"), value)
        marked = from_json(body(document), Page).contact_item[0]

        assert isinstance(marked, MarkedConversation)
        assert expected == marked.updated_at

    @pytest.mark.parametrize("status", [{}, {"ActionStatus": ""}, {"ActionStatus": None}])
    @pytest.mark.parametrize("kind", KINDS)
    def test_code_decides(self, kind: type[Envelope], status: dict[str, Any]) -> None:
        """An answer needs no ActionStatus, no ErrorInfo and no list."""
        answer = from_json(body({"ErrorCode": 51013, **status, "ErrorInfo": None}), kind)

        assert (51013, "") == (answer.error_code, answer.error_info)
        assert [] == unread_of(answer)

    @pytest.mark.parametrize("kind", KINDS)
    def test_missing(self, kind: type[Envelope]) -> None:
        """The code, which every answer has, is missed by its name."""
        with pytest.raises(AnswerError, match="required field missing") as caught:
            from_json(body({"ActionStatus": "OK"}), kind)

        assert "$.ErrorCode" == caught.value.path

    @pytest.mark.parametrize(
        "content",
        [
            pytest.param(b"", id="nothing"),
            pytest.param(b"502 Bad Gateway", id="a text"),
            pytest.param(body(MARK_ANSWER)[:-1], id="cut"),
            pytest.param(body(MARK_ANSWER) + b"{}", id="two"),
            pytest.param(b"\xef\xbb\xbf" + body(MARK_ANSWER), id="byte order mark"),
            pytest.param(json.dumps(MARK_ANSWER).encode("utf-16"), id="UTF-16"),
            pytest.param(b'{"ErrorInfo": "\xff"}', id="not UTF-8"),
            pytest.param(b'{"ActionStatus": "OK", "ErrorCode": NaN}', id="NaN"),
            pytest.param(b'{"ErrorCode": ' + b"9" * 5000 + b"}", id="5000 digits"),
            pytest.param(b"[" * 100_000, id="deep"),
            pytest.param(b"[]", id="a list"),
            pytest.param(b"null", id="null"),
        ],
    )
    @pytest.mark.parametrize("kind", KINDS)
    def test_no_object(self, content: bytes, kind: type[Envelope]) -> None:
        """What is not a JSON object is an error about the whole."""
        with pytest.raises(AnswerError, match=r"the answer is not (a )?JSON") as caught:
            from_json(content, kind)

        assert "$" == caught.value.path

    @pytest.mark.parametrize("before", ["", "Cannot POST ", '<a href="https://host', "x" * 55])
    def test_head(self, before: str) -> None:
        """
        The start of what is not JSON is shown, and no more of it.

        A gateway's page that repeats the URL does not bring the signature into the error.
        """
        page = f"{before}/v4/x?usersig=eJwSECRET&random=1 HTTP/1.1" + "x" * 10_000
        with pytest.raises(AnswerError, match="it starts with") as caught:
            from_json(page.encode(), MarkAnswer)

        assert before[:20] in str(caught.value)
        assert "usersig" not in str(caught.value)
        assert 170 > len(str(caught.value))

    @pytest.mark.parametrize("kind", KINDS)
    @given(content=st.binary() | json_documents.map(body))
    def test_anything(self, kind: type[Envelope], content: bytes) -> None:
        """Any bytes, and any JSON document, are an answer or an AnswerError."""
        with contextlib.suppress(AnswerError):
            assert isinstance(from_json(content, kind), kind)

    @pytest.mark.parametrize(("sample", "kind"), SAMPLES)
    @given(data=st.data(), value=json_documents)
    def test_any_value(
        self, sample: dict[str, Any], kind: type[Envelope], data: st.DataObject, value: object
    ) -> None:
        """Any JSON in the place of any field makes an answer or an AnswerError."""
        path = data.draw(st.sampled_from([path for path, _ in fields(sample)]))
        with contextlib.suppress(AnswerError):
            assert isinstance(from_json(body(replaced(sample, path, value)), kind), kind)

    @given(conversation=conversations, code=st.integers(), info=st.text())
    def test_any_line(self, conversation: Conversation, code: int, info: str) -> None:
        """A line of any conversation is read as it was written."""
        contact = json.loads(to_json(SearchContactGroup("a", [conversation])))["ContactItem"][0]
        line = {"ContactItem": contact, "ResultCode": code, "ResultInfo": info}
        document = replaced(MARK_ANSWER, ("ResultItem",), [line])
        (read,) = from_json(body(document), MarkAnswer).result_item

        assert isinstance(read, ResultLine)
        assert (conversation, code, info) == (read.contact_item, read.result_code, read.result_info)


# Places in a request.
ITEM: Path = ("MarkItem", 0)
CONTACT: Path = (*ITEM, "ContactItem")
AT = "$.MarkItem[0].ContactItem"
ASKED: dict[str, Any] = MARK_REQUEST["MarkItem"][0]


class TestRequests:
    def test_sample(self) -> None:
        """The vendor's sample is read."""
        assert [SAMPLE] == read_request(MARK_REQUEST)

    def test_many(self) -> None:
        """A body may have more items than a request may, in their order."""
        items = [
            {"OptType": 2, "ContactItem": {"Type": 2, "ToGroupId": f"g{n}"}, "CustomMark": ""}
            for n in range(250)
        ]
        changed = read_request({"From_Account": "a", "MarkItem": items})

        assert [f"g{n}" for n in range(250)] == [change.conversation.id for change in changed]

    @pytest.mark.parametrize(("sample", "path", "value"), wrongly_typed(MARK_REQUEST))
    def test_wrong_type(self, sample: dict[str, Any], path: Path, value: object) -> None:
        """A field of the wrong type is refused by its path."""
        with pytest.raises(InputError, match="expected") as caught:
            read_request(replaced(sample, path, value))

        assert written(path) == caught.value.field

    @pytest.mark.parametrize(
        ("path", "value", "field", "reason"),
        [
            (("From_Account",), "", "$.From_Account", "is empty"),
            (("From_Account",), "x" * 33, "$.From_Account", "has 33 bytes"),
            (("New",), 1, "$", r"extra fields found \(New\)"),
            ((*ITEM, "Setmark"), [1], "$.MarkItem[0]", r"extra fields found \(Setmark\)"),
            ((*ITEM, "CustomMark"), "half \ud800", "$.MarkItem[0].CustomMark", "is not UTF-8"),
            ((*ITEM, "\ud800"), 1, "$.MarkItem[0]", r"extra fields found \(\\ud800\)"),
            ((*CONTACT, "GroupId"), "g", AT, r"extra fields found \(GroupId\)"),
            ((*CONTACT, "ToGroupId"), "g", f"{AT}.ToGroupId", "stands beside To_Account"),
            ((*CONTACT, "Type"), 2, f"{AT}.Type", "names no conversation"),
            ((*CONTACT, "To_Account"), "x" * 33, f"{AT}.To_Account", "has 33 bytes"),
            (CONTACT, {}, f"{AT}.Type", "missing"),
            (ITEM, {}, "$.MarkItem[0].OptType", "missing"),
            ((*ITEM, "OptType"), 1, "$.MarkItem[0].OptType", "is 1, .* those of 3"),
            ((*ITEM, "OptType"), 4, "$.MarkItem[0].OptType", "is 4, .* those of 3"),
            ((*ITEM, "SetMark"), [64], "$.MarkItem[0].SetMark", "from 0 to 63"),
            ((*ITEM, "SetMark"), [-1], "$.MarkItem[0].SetMark", "from 0 to 63"),
            ((*ITEM, "SetMark"), [5], "$.MarkItem[0].SetMark", "belong to Chat"),
            ((*ITEM, "ClearMark"), [64], "$.MarkItem[0].ClearMark", "from 0 to 63"),
            ((*ITEM, "ClearMark"), [1], "$.MarkItem[0].ClearMark", "has bits of set_mark"),
            ((*ITEM, "ClearMark"), None, "$.MarkItem[0].ClearMark", "expected a list"),
            ((*ITEM, "CustomMark"), "x" * 257, "$.MarkItem[0].CustomMark", "257 bytes"),
        ],
        ids=lambda value: written(value) if isinstance(value, tuple) else repr(value)[:16],
    )
    def test_refused(self, path: Path, value: object, field: str, reason: str) -> None:
        """A change that could not be sent is refused by its path, with the reason."""
        with pytest.raises(InputError, match=reason) as caught:
            read_request(replaced(MARK_REQUEST, path, value))

        assert field == caught.value.field

    @pytest.mark.parametrize(
        ("document", "field", "reason"),
        [
            *((each, "$", "not a JSON object") for each in (None, 5, "x", [], [MARK_REQUEST])),
            ({"MarkItem": []}, "$.From_Account", "required field missing"),
            ({"From_Account": "a"}, "$.MarkItem", "required field missing"),
            # The path counts the items.
            (
                replaced(MARK_REQUEST, ("MarkItem",), [ASKED, ASKED | {"SetMark": [64]}]),
                "$.MarkItem[1].SetMark",
                "from 0 to 63",
            ),
            (
                replaced(MARK_REQUEST, ITEM, {"OptType": 1, "ContactItem": ASKED["ContactItem"]}),
                "$.MarkItem[0].SetMark",
                "nothing to change",
            ),
        ],
    )
    def test_whole(self, document: object, field: str, reason: str) -> None:
        """A body that is none, or has no user, no items, or an item of nothing, is refused."""
        with pytest.raises(InputError, match=reason) as caught:
            read_request(document)

        assert field == caught.value.field

    @given(data=st.data(), value=json_documents)
    def test_any_value(self, data: st.DataObject, value: object) -> None:
        """Any JSON in the place of any field makes changes or an InputError."""
        path = data.draw(st.sampled_from([path for path, _ in fields(MARK_REQUEST)]))
        with contextlib.suppress(InputError):
            assert isinstance(read_request(replaced(MARK_REQUEST, path, value)), list)


class TestHostile:
    @pytest.mark.parametrize(
        ("content", "kind"),
        [
            (b'{"ErrorCode":0,"ResultItem":[' + b"{}," * 600_000 + b"{}]}", MarkAnswer),
            (b'{"ErrorCode":0,"ContactItem":[' + b"{}," * 6_000 + b"{}]}", Page),
            (b'{"ErrorCode":0,"x":' + b"[" * 150_000 + b"]" * 150_000 + b"}", Page),
        ],
        ids=["lines", "items", "depth"],
    )
    def test_is_bounded(self, content: bytes, kind: type[Envelope]) -> None:
        """More elements than a user can have are an error, before each of them is looked at."""
        with pytest.raises(AnswerError):
            from_json(content, kind)

    def test_tells_the_first(self) -> None:
        """Of thousands of faults the first are explained."""
        answer = from_json(b'{"ErrorCode":0,"ContactItem":[' + b"{}," * 4_000 + b"{}]}", Page)
        unread = unread_of(answer)

        assert 4_001 == len(unread)
        assert "Type" in unread[0].reason
        assert "cannot be read" in unread[-1].reason
