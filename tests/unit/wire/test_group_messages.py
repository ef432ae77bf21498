# ruff: noqa: E501 - the samples stand here as the vendor prints them.
"""Messages about conversation groups: the vendor's own samples, as its pages print them."""

import json
from typing import Any, Final

import pytest

from chatmark import Conversation, MarkedConversation
from chatmark.wire.classify import from_json
from chatmark.wire.converter import to_json
from chatmark.wire.messages import (
    ADD,
    REMOVE,
    CreateContactGroup,
    DeleteContactGroup,
    Found,
    GroupAnswer,
    Message,
    Page,
    ResultLine,
    UpdateContactGroup,
    unread_of,
)

BOB: Final = Conversation.one_to_one("user_0002")
TEAM: Final = Conversation.group("@TGS#1B2AUI7RZ")

REQUESTS: Final[list[tuple[Message, str]]] = [
    (
        CreateContactGroup("user_0001", "group_0001", [BOB, TEAM]),
        """{"From_Account": "user_0001","GroupContactItem": [{"GroupName": "group_0001","ContactItem": [{"Type": 1,"To_Account": "user_0002"},{"Type": 2,"ToGroupId": "@TGS#1B2AUI7RZ"}]}]}""",
    ),
    (
        CreateContactGroup("user15", "test0", []),
        """{"From_Account":"user15","GroupContactItem":[{"GroupName":"test0"}]}""",
    ),
    (
        UpdateContactGroup("user_0001", "group_0001", new_group_name="group_0002"),
        """{"From_Account": "user_0001","UpdateType": 1,"UpdateGroup": {"UpdateGroupType": 1,"OldGroupName": "group_0001","NewGroupName": "group_0002"}}""",
    ),
    (
        UpdateContactGroup("user_0001", "group_0001", [(ADD, BOB), (REMOVE, TEAM)]),
        """{"From_Account": "user_0001","UpdateType": 1,"UpdateGroup": {"UpdateGroupType": 2,"OldGroupName": "group_0001","ContactUpdateItem": [{"ContactOptType": 1,"ContactItem": {"Type": 1,"To_Account": "user_0002"}},{"ContactOptType": 2,"ContactItem": {"Type": 2,"ToGroupId": "@TGS#1B2AUI7RZ"}}]}}""",
    ),
    (
        DeleteContactGroup("user_0001", "group_0001"),
        """{"From_Account":"user_0001","GroupName":["group_0001"]}""",
    ),
]
ANSWERS: Final = [
    (
        """{"GroupResultItem": [{"GroupItem": {"GroupName": "group_0001","GroupId": 1},"ResultItem": [{"ContactItem": {"Type": 1,"To_Account": "user_0002"},"ResultCode": 0,"ResultInfo": ""},{"ContactItem": {"Type": 2,"ToGroupId": "@TGS#1B2AUI7RZ"},"ResultCode": 0,"ResultInfo": ""}]}],"ActionStatus": "OK","ErrorCode": 0,"ErrorInfo": ""}""",
        {1: "group_0001"},
        [BOB, TEAM],
    ),
    (
        """{"GroupResultItem": [{"GroupItem": {"GroupName": "test2","GroupId": 2},"ResultItem": [{"ContactItem": {"Type": 1,"To_Account": "user1"},"ResultCode": 0,"ResultInfo": ""}]}],"ActionStatus": "OK","ErrorCode": 0,"ErrorInfo": "","ErrorDisplay": ""}""",
        {2: "test2"},
        [Conversation.one_to_one("user1")],
    ),
    (
        """{"UpdateType": 1,"UpdateGroupResult": {"UpdateGroupType": 2,"GroupName": "test1","GroupId": 1,"OldGroupName": "test1","ContactResultItem": [{"ContactOptType": 1,"ContactItem": {"Type": 1,"To_Account": "user_0002"},"ResultCode": 0,"ResultInfo": ""}]},"ActionStatus": "OK","ErrorCode": 0,"ErrorInfo": "","ErrorDisplay": ""}""",
        {1: "test1"},
        [BOB],
    ),
    (
        """{"GroupItem": [{"GroupName": "group_0001","GroupId": 1}],"ActionStatus": "OK","ErrorCode": 0,"ErrorInfo": ""}""",
        {1: "group_0001"},
        [],
    ),
]
# A capture of the live service, and the page's sample.
CAPTURED: Final = """{"ContactItem":[{"Type":2,"ToGroupId":"@TGS#1GF45ASQY","StandardMark":"10000000000000000000000000000000000","ContactGroupId":[1],"Timestamp":1744794702},{"Type":2,"ToGroupId":"@TGS#1ZIJ3CSQG","StandardMark":"","ContactGroupId":[1],"Timestamp":1744794834},{"Type":2,"ToGroupId":"@TGS#1MLV5BVQM","StandardMark":"","ContactGroupId":[1,2],"Timestamp":1745810706},{"Type":2,"ToGroupId":"@TGS#1ORX5BVQW","StandardMark":"","ContactGroupId":[1,2],"Timestamp":1745810706}],"CompleteFlag":1,"CompleteTime":1745810706,"GroupItem":[{"GroupName":"inner","GroupId":1},{"GroupName":"inner_test","GroupId":2}],"ActionStatus":"OK","ErrorCode":0,"ErrorInfo":"","ErrorDisplay":""}"""
FOUND: Final = """{"ContactResultItem": [{"Type": 1,"To_Account": "user_0002","StandardMark": "11111110","CustomMark": "abcde","ContactGroupId": [1,2],"Timestamp": 1775217000},{"Type": 2,"ToGroupId": "@TGS#1B2AUI7RZ","StandardMark": "","ContactGroupId": [1],"Timestamp": 1775186067}],"GroupItem": [{"GroupName": "group_0001","GroupId": 1},{"GroupName": "group_0002","GroupId": 2}],"ActionStatus": "OK","ErrorCode": 0,"ErrorInfo": ""}"""


def names(elements: list[Any]) -> list[tuple[str, ...]]:
    """Return the names of groups of each conversation."""
    return [each.group_names for each in elements if isinstance(each, MarkedConversation)]


@pytest.mark.parametrize(("request_", "sample"), REQUESTS)
def test_requests(request_: Message, sample: str) -> None:
    """The vendor's samples are written; a group without conversations names none."""
    assert json.loads(sample) == json.loads(to_json(request_))


@pytest.mark.parametrize(("sample", "groups", "conversations"), ANSWERS)
def test_answers(sample: str, groups: dict[int, str], conversations: list[Conversation]) -> None:
    """The vendor's samples are read, byte for byte."""
    answer = from_json(sample.encode(), GroupAnswer)
    lines = [each for each in answer.result_item if isinstance(each, ResultLine)]

    assert (0, groups) == (answer.error_code, answer.group_item)
    assert [(each, 0) for each in conversations] == [
        (line.contact_item, line.result_code) for line in lines
    ]


def test_names_of_groups() -> None:
    """Conversations that are read back have the names of their groups."""
    page, found = from_json(CAPTURED.encode(), Page), from_json(FOUND.encode(), Found)
    both = ("inner", "inner_test")

    assert [("inner",), ("inner",), both, both] == names(page.contact_item)
    assert [("group_0001", "group_0002"), ("group_0001",)] == names(found.contact_result_item)


@pytest.mark.parametrize(
    "items",
    [
        *(None, 5, "x", {}, [None, 5, "x", []], [{"GroupName": "inner"}, {"GroupId": 1}]),
        *([{"GroupName": 5, "GroupId": 1}], [{"GroupName": "inner", "GroupId": "1"}]),
    ],
    ids=repr,
)
def test_names_that_cannot_be_read(items: Any) -> None:
    """A name that cannot be read costs the name, not the page."""
    page = from_json(json.dumps(json.loads(CAPTURED) | {"GroupItem": items}).encode(), Page)

    assert [("",), ("",), ("", ""), ("", "")] == names(page.contact_item)


# Values in place of a group or of groups.
WRONG: Final[list[Any]] = [None, 5, "x", [], {}, [5], [{"ResultItem": 5}], [{"GroupItem": 5}]]


@pytest.mark.parametrize("name", ["UpdateGroupResult", "GroupResultItem"])
@pytest.mark.parametrize("wrong", WRONG, ids=repr)
def test_lines_that_are_missing(name: str, wrong: Any) -> None:
    """An answer without lines at their place claims nothing of any conversation."""
    answer = from_json(json.dumps({name: wrong, "ErrorCode": 0}).encode(), GroupAnswer)

    assert [] == answer.result_item


def test_line_that_cannot_be_read() -> None:
    """A line that cannot be read costs itself alone."""
    good = {"ContactItem": {"Type": 1, "To_Account": "user_0002"}, "ResultCode": 0}
    bad = {"ContactItem": {"Type": 2, "ToGroupId": "g"}, "ResultCode": "0"}
    lines = {"GroupResultItem": [{"ResultItem": [bad, good]}], "ErrorCode": 0}
    answer = from_json(json.dumps(lines).encode(), GroupAnswer)

    assert [Conversation.group("g")] == [each.conversation for each in unread_of(answer)]
    assert BOB in [each.contact_item for each in answer.result_item if isinstance(each, ResultLine)]
