import enum
import functools
import os
import pickle
import subprocess
import sys
from collections.abc import Iterable
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import bit_sets, changes_of_one_conversation, conversations, custom_marks, field_of

from chatmark import (
    ChangesFailedError,
    ChatmarkError,
    Conversation,
    ConversationMark,
    ConversationType,
    InputError,
    ItemRefusedError,
    MarkChange,
    MarkedConversation,
    MarkReport,
    MarkResult,
    OptType,
)
from chatmark.changes import merge

BOB = Conversation.one_to_one("bob")
TEAM = Conversation.group("@TGS#1")
FAVORITE, UNREAD = ConversationMark.FAVORITE, ConversationMark.UNREAD
VIP = ConversationMark.extension(32)
RESERVED = ConversationMark.from_bits([5])


@attrs.frozen
class OwnConversation(Conversation):
    """A caller's own kind: attrs writes its constructor."""


@attrs.frozen
class OwnChange(MarkChange):
    """A caller's own, too."""


State = tuple[frozenset[int], str]
states = st.tuples(bit_sets, custom_marks)
meeting = changes_of_one_conversation()


def change(**fields: Any) -> MarkChange:
    """Make a change of alice's conversation with bob."""
    return MarkChange(**{"from_account": "alice", "conversation": BOB, **fields})


def apply_to(state: State, applied: MarkChange) -> State:
    """Return what a server has after a change."""
    bits, custom = state
    bits = (bits - frozenset(applied.clear_mark.bits)) | frozenset(applied.set_mark.bits)
    return bits, custom if applied.custom_mark is None else applied.custom_mark


def apply_all(state: State, applied: Iterable[MarkChange]) -> State:
    """Return what a server has after changes, one by one."""
    return functools.reduce(apply_to, applied, state)


class TestConversation:
    @pytest.mark.parametrize("name", ["a", "x" * 32, "@TGS#1 ~"])
    def test_parts(self, name: str) -> None:
        """A conversation has its type and its id."""
        user, group = Conversation.one_to_one(name), Conversation.group(name * 3)

        assert (ConversationType.ONE_TO_ONE, name) == (user.type, user.id)
        assert (ConversationType.GROUP, name * 3) == (group.type, group.id)

    @pytest.mark.parametrize(
        ("name", "reason"),
        [
            ("", "is empty"),
            ("x" * 97, "has 97 bytes, {limit} are allowed"),
            ("é", "printable ASCII"),
            ("a\nb", "printable ASCII"),
            ("\x7f", "printable ASCII"),
            (5, "must be text, not "),
            (None, "must be text, not "),
            (b"a", "must be text, not "),
        ],
        ids=repr,
    )
    @pytest.mark.parametrize(
        ("kind", "field", "limit"),
        [
            (ConversationType.ONE_TO_ONE, "to_account", 32),
            (ConversationType.GROUP, "to_group_id", 96),
        ],
    )
    def test_refused(
        self, kind: ConversationType, field: str, limit: int, name: Any, reason: str
    ) -> None:
        """An id that no account or group can have is refused by the field's name."""
        with pytest.raises(InputError, match=reason.format(limit=limit)) as caught:
            Conversation(kind, name)

        assert field == caught.value.field

    @pytest.mark.parametrize("kind", [0, 3, None, "GROUP", 1.0, True])
    def test_type(self, kind: Any) -> None:
        """The type is a ConversationType, or its number."""
        with pytest.raises(InputError, match="must be a ConversationType") as caught:
            Conversation(kind, "a")

        assert "type" == caught.value.field
        # The number of the wire is its member.
        assert ConversationType.GROUP is Conversation(2, "g").type  # type: ignore[arg-type]

    def test_exact_text(self) -> None:
        """A member of an enumeration of text is the conversation, and the key, that its text is."""

        class Team(str, enum.Enum):  # noqa: UP042 - as callers have it.
            RED = "red"

        class Mine(str):
            __slots__ = ()

            def __hash__(self) -> int:
                return 7

        for odd in (Team.RED, Mine("red")):
            for made in (Conversation.group(odd), Conversation(ConversationType.GROUP, odd)):
                assert Conversation.group("red") == made
                assert hash(Conversation.group("red")) == hash(made)
                assert [str, str] == [type(made.id), type(made.key)]
            change = MarkChange(odd, Conversation.group("g"), custom_mark=odd)
            assert [str, str] == [type(change.from_account), type(change.custom_mark)]
            assert ("red", "red") == (change.from_account, change.custom_mark)

    def test_user_and_group(self) -> None:
        """User "a" and group "a" are two conversations."""
        user, group = Conversation.one_to_one("a"), Conversation.group("a")

        assert user != group
        assert 2 == len({user, group, Conversation.one_to_one("a")})
        assert [user, group] == sorted([group, user])

    def test_subclass(self) -> None:
        """A subclass makes its own kind, checked like any other."""
        assert isinstance(OwnConversation.one_to_one("bob"), OwnConversation)
        assert "\nbob" == OwnConversation.group("bob").key
        with pytest.raises(InputError, match="is empty"):
            OwnConversation.group("")

    @pytest.mark.parametrize(
        ("text", "conversation"),
        [
            ("c2c_bob", BOB),
            ("C2Cbob", BOB),
            ("group_@TGS#1", TEAM),
            ("GROUP@TGS#1", TEAM),
            ("C2Cc2c_bob", Conversation.one_to_one("c2c_bob")),
            ("c2c_GROUP1", Conversation.one_to_one("GROUP1")),
        ],
    )
    def test_parse(self, text: str, conversation: Conversation) -> None:
        """The ids of the client SDKs, native and web, name conversations."""
        assert conversation == Conversation.parse(text)

    @pytest.mark.parametrize(
        ("texts", "field"),
        [
            (("", "bob", "c2c", "Group_1", "@TGS#1", " c2c_bob", 5, None), "conversation"),
            (("c2c_", "C2Cé", "c2c_" + "x" * 33), "to_account"),
            (("group_" + "x" * 97,), "to_group_id"),
        ],
    )
    def test_parse_refuses(self, texts: tuple[Any, ...], field: str) -> None:
        """Text needs a known prefix, and the id behind it is checked as any other."""
        for text in texts:
            with pytest.raises(InputError) as caught:
                Conversation.parse(text)

            assert field == field_of(caught.value)

    @given(conversation=conversations)
    def test_str(self, conversation: Conversation) -> None:
        """The text of a conversation is an id that reads as it."""
        assert conversation == Conversation.parse(str(conversation))

    def test_hash_is_not_pickled(self) -> None:
        """A conversation from another process, where text has other hashes, is found in a set."""
        hash(BOB)
        script = (
            "import pickle, sys, chatmark; bob = pickle.loads(sys.stdin.buffer.read());"
            "sys.exit(bob not in {chatmark.Conversation.one_to_one('bob')})"
        )
        ended = subprocess.run(
            [sys.executable, "-c", script],
            input=pickle.dumps(BOB),
            env={**os.environ, "PYTHONHASHSEED": "12345"},
            check=False,
        )

        assert 0 == ended.returncode


class TestMarkChange:
    @pytest.mark.parametrize(
        ("fields", "field", "reason"),
        [
            ({}, "set_mark", "nothing to change"),
            ({"set_mark": FAVORITE, "clear_mark": FAVORITE | UNREAD}, "clear_mark", r"got \[0\]"),
            ({"set_mark": FAVORITE | RESERVED}, "set_mark", r"belong to Chat \(got \[5\]\)"),
            ({"clear_mark": RESERVED}, "clear_mark", r"belong to Chat \(got \[5\]\)"),
            ({"set_mark": 1}, "set_mark", "must be a ConversationMark"),
            ({"set_mark": None}, "set_mark", "must be a ConversationMark"),
            ({"clear_mark": [0]}, "clear_mark", "must be a ConversationMark"),
            ({"custom_mark": "x" * 257}, "custom_mark", "has 257 bytes of UTF-8, 256 are allowed"),
            ({"custom_mark": "重" * 86}, "custom_mark", "has 258 bytes of UTF-8, 256 are allowed"),
            ({"custom_mark": "\ud83d"}, "custom_mark", "half a character"),
            ({"custom_mark": 5}, "custom_mark", "must be text, not "),
            ({"custom_mark": b"x"}, "custom_mark", "must be text, not "),
            ({"from_account": "", "set_mark": FAVORITE}, "from_account", "is empty"),
            ({"from_account": "x" * 33, "set_mark": FAVORITE}, "from_account", "has 33 bytes"),
            ({"from_account": 5, "set_mark": FAVORITE}, "from_account", "must be text, not "),
            (
                {"conversation": "bob", "set_mark": FAVORITE},
                "conversation",
                "must be a Conversation, for example",
            ),
        ],
    )
    def test_refused(self, fields: dict[str, Any], field: str, reason: str) -> None:
        """A change that the API would not take is refused, with field and reason."""
        with pytest.raises(InputError, match=reason) as caught:
            change(**fields)

        assert field == caught.value.field
        assert f"{field}: {caught.value.reason}" == str(caught.value)

    @pytest.mark.parametrize("custom_mark", ["x" * 256, "重" * 85 + "x", "🔥" * 64, ""])
    def test_custom_mark(self, custom_mark: str) -> None:
        """A custom mark of up to 256 bytes of UTF-8 is taken, and the empty one too."""
        assert custom_mark == change(custom_mark=custom_mark).custom_mark

    @pytest.mark.parametrize("field", ["set_mark", "clear_mark"])
    def test_allow_reserved(self, field: str) -> None:
        """Bits of Chat's own pass for a caller who opts in."""
        subject = change(**{field: RESERVED}, allow_reserved=True)

        assert RESERVED == getattr(subject, field)

    @pytest.mark.parametrize(
        ("fields", "opt_type"),
        [
            ({"set_mark": FAVORITE}, OptType.STANDARD),
            ({"clear_mark": FAVORITE}, OptType.STANDARD),
            ({"custom_mark": "abcd"}, OptType.CUSTOM),
            ({"custom_mark": ""}, OptType.CUSTOM),
            ({"set_mark": FAVORITE, "custom_mark": ""}, OptType.BOTH),
            ({"clear_mark": FAVORITE, "custom_mark": "abcd"}, OptType.BOTH),
        ],
    )
    def test_opt_type(self, fields: dict[str, Any], opt_type: OptType) -> None:
        """The OptType follows from what is given: 1 standard, 2 custom, 3 both."""
        assert opt_type == change(**fields).opt_type

    def test_subclass(self) -> None:
        """A change of a caller's own kind is checked like any other."""
        assert FAVORITE == OwnChange("alice", BOB, FAVORITE).set_mark
        with pytest.raises(InputError, match="belong to Chat"):
            OwnChange("alice", BOB, RESERVED)

    def test_evolve(self) -> None:
        """
        A change that is made from another is checked, and keeps the leave to touch Chat's bits.
        """
        subject = change(set_mark=RESERVED, allow_reserved=True)

        assert attrs.evolve(subject, clear_mark=FAVORITE).allow_reserved
        with pytest.raises(InputError, match="belong to Chat"):
            attrs.evolve(subject, allow_reserved=False)

    @pytest.mark.parametrize(
        "value", [BOB, change(set_mark=FAVORITE)], ids=["conversation", "change"]
    )
    def test_frozen(self, value: Any) -> None:
        """A value cannot be changed."""
        for field in attrs.fields(type(value)):
            with pytest.raises(attrs.exceptions.FrozenInstanceError):
                setattr(value, field.name, None)

    @given(subject=meeting)
    def test_value(self, subject: MarkChange) -> None:
        """A change survives pickling, and equal ones have equal hashes."""
        again = pickle.loads(pickle.dumps(subject))

        assert subject == again
        assert hash(subject) == hash(again)


class TestMerging:
    @given(state=states, sequence=st.lists(meeting, min_size=1, max_size=8))
    def test_effect(self, state: State, sequence: list[MarkChange]) -> None:
        """The merged change leaves any state as the changes do one by one."""
        assert apply_all(state, sequence) == apply_to(state, merge(sequence))

    @given(first=meeting, second=meeting, third=meeting)
    def test_associative(self, first: MarkChange, second: MarkChange, third: MarkChange) -> None:
        """It does not matter which two of three are merged first."""
        expected = merge([first, second, third])

        assert expected == first.then(second).then(third) == first.then(second.then(third))

    @given(sequence=st.lists(meeting, min_size=1, max_size=8))
    def test_mentions(self, sequence: list[MarkChange]) -> None:
        """The merged change touches exactly what one of the changes touches."""
        merged = merge(sequence)
        bits = [each.set_mark | each.clear_mark for each in sequence]
        touched = functools.reduce(lambda left, right: left | right, bits)

        assert touched == merged.set_mark | merged.clear_mark
        assert (merged.custom_mark is None) == all(each.custom_mark is None for each in sequence)

    def test_keeps_leave_to_touch_reserved(self) -> None:
        """A merged change may touch Chat's bits when one of its parts may."""
        older = change(set_mark=RESERVED, allow_reserved=True)

        assert RESERVED | FAVORITE == older.then(change(set_mark=FAVORITE)).set_mark

    @pytest.mark.parametrize(
        "fields",
        [
            {"from_account": "eve"},
            {"conversation": TEAM},
            {"conversation": Conversation.group("bob")},
        ],
        ids=str,
    )
    def test_strangers(self, fields: dict[str, Any]) -> None:
        """Changes of two users or two conversations cannot be merged."""
        with pytest.raises(InputError, match="two conversations") as caught:
            change(set_mark=FAVORITE).then(change(set_mark=FAVORITE, **fields))

        assert "conversation" == caught.value.field


class TestMarkedConversation:
    @given(state=states, wanted=meeting)
    def test_satisfies(self, state: State, wanted: MarkChange) -> None:
        """A conversation satisfies just those changes that would leave it as it is."""
        bits, custom = state
        marked = MarkedConversation(wanted.conversation, ConversationMark.from_bits(bits), custom)

        assert (apply_to(state, wanted) == state) == marked.satisfies(wanted)


class TestMarkReport:
    def test_no_failures(self) -> None:
        """Nothing is raised when nothing failed, withdrawn changes included."""
        MarkReport(succeeded=5, withdrawn=2).raise_for_failures()

    def test_failures(self) -> None:
        """Fresh copies of the kept failures are raised as one group that knows the true total."""
        kept = ItemRefusedError(50001, "no such user")
        failure = MarkResult(change(set_mark=VIP), 50001, "no such user", 1, kept)
        report = MarkReport(succeeded=1, failed=7, withdrawn=2, failures=(failure,))
        with pytest.raises(ChangesFailedError, match="7 of 10 changes failed") as caught:
            report.raise_for_failures()
        (raised,) = caught.value.exceptions

        assert 7 == caught.value.failed
        assert str(kept) == str(raised)
        assert kept is not raised

    def test_none_kept(self) -> None:
        """A report that kept none of its failures raises for them all the same."""
        with pytest.raises(ChangesFailedError, match="3 of 3 changes failed") as caught:
            MarkReport(failed=3).raise_for_failures()

        assert 3 == caught.value.failed

    @pytest.mark.parametrize("error", [None, ItemRefusedError(50001)], ids=["ok", "refused"])
    def test_ok(self, error: ChatmarkError | None) -> None:
        """A result is ok when there is no error to raise."""
        assert (error is None) == MarkResult(change(set_mark=VIP), 0, error=error).ok
