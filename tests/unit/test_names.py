import contextlib
import copy
import pickle
from typing import Annotated, Any

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import bit_sets, field_of

from chatmark import ConversationMark, InputError, MarkNames

NAMES = MarkNames(vip=32, Escalated=33, 重要=63)


class TestMaking:
    @pytest.mark.parametrize(
        ("names", "reason"),
        [
            (("", " ", "a b", "a\tb", "a\u3000b", "a|b", "a,b", "a;b", 'a"b', "a'b"), "no blanks"),
            (("5", "\uff15", "\u00b2", "-1", "+", "1.5"), "needs a letter"),
            (("[x", "{x", "(null)", "<NA>", "+vip", "-vip"), "must not read as a sign, an array"),
            (("0x1", "0XFF", "0b1", "1e3", "inf", "none", "NULL", "NaN", "n/a"), "a number, or"),
            (("favorite", "Unread", "hidden", "reserved_4", "extension_33"), "is taken"),
        ],
    )
    def test_refused(self, names: tuple[str, ...], reason: str) -> None:
        """A name that a file could not carry, or that means something else there, is refused."""
        for name in names:
            with pytest.raises(InputError, match=reason):
                MarkNames(**{name: 40})

    @pytest.mark.parametrize("name", ["x", "e1", "1st", "重要", "x+y", "no", "infinite", "_vip"])
    def test_usable(self, name: str) -> None:
        """Other names are taken."""
        assert (40,) == MarkNames(**{name: 40}).parse(name).bits

    def test_given_twice(self) -> None:
        """Two names that differ in case only are one name twice."""
        with pytest.raises(InputError, match="taken"):
            MarkNames(vip=32, VIP=33)

    def test_two_names_of_a_bit(self) -> None:
        """A bit has one name, and the error says both."""
        with pytest.raises(InputError, match=r"bit 32 has two names \(got 'vip'\) \(got 'gold'\)"):
            MarkNames(vip=32, gold=32)

    @pytest.mark.parametrize("number", [0, 3, 4, 31, 64, -1, True, "32", 32.0, None])
    def test_wrong_bit(self, number: Any) -> None:
        """Names are for the bits of the customer's, 32 to 63."""
        with pytest.raises(
            InputError, match="vip: a name stands for a bit from 32 to 63"
        ) as caught:
            MarkNames(vip=number)

        assert "names" == field_of(caught.value)


class TestParsing:
    @pytest.mark.parametrize(
        ("text", "number"),
        [
            *(("favorite", 0), ("Unread", 1), ("COLLAPSED", 2), (" hidden ", 3)),
            *(("vip", 32), ("VIP", 32), ("escalated", 33), ("重要", 63)),
            *(("extension_32", 32), ("EXTENSION_50", 50), ("reserved_4", 4)),
            *(("0", 0), ("63", 63), ("007", 7), (0, 0), (63, 63)),
        ],
        ids=repr,
    )
    def test_known(self, text: str | int, number: int) -> None:
        """A bit is known by the vendor's name, the team's, its own, and its number."""
        assert (number,) == NAMES.parse(text).bits

    @pytest.mark.parametrize(
        "text",
        [
            *("", "gold", "64", "-1", "1.0", "favorite|unread", "\uff15", 64, -1, True, 1.0, None),
            pytest.param("9" * 5000, id="of 5000 digits"),
            pytest.param(10**5000, id="number of 5000 digits"),
        ],
        ids=repr,
    )
    def test_unknown(self, text: Any) -> None:
        """What is no known name and no number from 0 to 63 is an error."""
        with pytest.raises(InputError) as caught:
            NAMES.parse(text)

        assert "mark" == field_of(caught.value)

    def test_hint(self) -> None:
        """A misspelt name gets the nearest one as a hint."""
        with pytest.raises(InputError, match="did you mean 'favorite'"):
            NAMES.parse("favourite")

    @given(text=st.text(max_size=20))
    def test_any_text(self, text: str) -> None:
        """Any text is one bit or an error of input."""
        with contextlib.suppress(InputError):
            assert 1 == len(NAMES.parse(text))

    @pytest.mark.parametrize("marks", [5, None])
    def test_no_list(self, marks: Any) -> None:
        """What is not several is an error of input."""
        with pytest.raises(InputError, match="must be names and numbers, for example"):
            NAMES.parse_all(marks)

    def test_several(self) -> None:
        """Names and numbers may be mixed and repeated; none of them make no bits."""
        assert (0, 32, 40) == NAMES.parse_all(["vip", 40, "favorite", "0"]).bits
        assert () == NAMES.parse_all([]).bits


class TestLabels:
    def test_own_names(self) -> None:
        """A bit shows the team's name as it was given, else the general one."""
        mark = ConversationMark.from_bits([0, 5, 32, 33, 34, 63])
        expected = ("favorite", "reserved_5", "vip", "Escalated", "extension_34", "重要")

        assert expected == NAMES.labels(mark)

    @given(numbers=bit_sets)
    def test_round_trip(self, numbers: frozenset[int]) -> None:
        """The labels of a mark read as that mark."""
        mark = ConversationMark.from_bits(numbers)

        assert mark == NAMES.parse_all(NAMES.labels(mark))


class TestValue:
    def test_equality(self) -> None:
        """Two sets of the same names are equal, whatever their order."""
        assert MarkNames(a=32, b=33) == MarkNames(b=33, a=32)
        assert hash(MarkNames(a=32, b=33)) == hash(MarkNames(b=33, a=32))
        assert MarkNames(a=32) != MarkNames(a=33)
        assert MarkNames() != {}

    def test_repr(self) -> None:
        """The repr shows the team's names."""
        assert "MarkNames(vip=32, Escalated=33, 重要=63)" == repr(NAMES)

    def test_copies(self) -> None:
        """Names can be copied and pickled."""
        again = pickle.loads(pickle.dumps(NAMES))

        assert copy.deepcopy(NAMES) == again == NAMES
        assert (32,) == again.parse("vip").bits


class TestFromToml:
    def test_reads(self) -> None:
        """The table `marks` has a name and its bit a line; other tables are for others."""
        text = '[marks]\nvip = 32\nEscalated = 33\n"重要" = 63\n[other]\nx = 1\n'

        assert NAMES == MarkNames.from_toml(text)
        assert {"vip": 32, "Escalated": 33, "重要": 63} == NAMES.own

    @pytest.mark.parametrize(
        ("text", "reason"),
        [
            ("[marks", "is not TOML: "),
            ("[marks]\nvip = 32\nvip = 33", "is not TOML: "),
            ("vip = 32", r"there is no table \[marks\]"),
            ("marks = 32", r"there is no table \[marks\]"),
            ("[marks]\nvip = 31", "vip: a name stands for a bit from 32 to 63"),
            ('[marks]\nvip = "32"', "vip: a name stands for a bit from 32 to 63"),
            ("[marks]\nvip = 32\ngold = 32", "bit 32 has two names"),
            ("[marks]\nhidden = 32", "the name is taken"),
        ],
    )
    def test_refuses(self, text: str, reason: str) -> None:
        """What is no list of names is refused."""
        with pytest.raises(InputError, match=reason):
            MarkNames.from_toml(text)

    def test_own_is_a_copy(self) -> None:
        """Changing what was given out changes no names."""
        NAMES.own.clear()

        assert NAMES.own

    def test_name_of_python(self) -> None:
        """A word that Python uses may be a name."""
        assert (40,) == MarkNames(self=40).parse("self").bits


class TestAttributes:
    def test_mark(self) -> None:
        """A name is an attribute, in any case; so are the names that all marks have."""
        assert NAMES.vip | NAMES.ESCALATED == ConversationMark.from_bits([32, 33])
        assert ConversationMark.FAVORITE == NAMES.favorite
        assert "vip" in dir(NAMES)

    @pytest.mark.parametrize("name", ["vop", "_bits2", "__deepcopy__"])
    def test_unknown(self, name: str) -> None:
        """Another attribute is missing, as of any object."""
        assert not hasattr(NAMES, name)


class TestPydantic:
    class Model(pydantic.BaseModel):
        """A model of a caller's."""

        mark: ConversationMark
        team: Annotated[ConversationMark, NAMES] = ConversationMark(0)

    @pytest.mark.parametrize(
        ("given", "bits"),
        [
            *(("favorite|Unread", (0, 1)), (["favorite", 33], (0, 33)), (3, (0, 1))),
            *((["reserved_5", "extension_40"], (5, 40)), (ConversationMark.HIDDEN, (3,))),
            *(("", ()), ([], ()), (2**64 - 1, tuple(range(64)))),
        ],
    )
    def test_read(self, given: Any, bits: tuple[int, ...]) -> None:
        """Names, bits and an int are read; a model comes back through JSON as it was."""
        model = self.Model(mark=given)

        assert model.mark.bits == bits
        assert self.Model.model_validate_json(model.model_dump_json()) == model

    def test_written(self) -> None:
        """Names are written, a team's own where the model has them."""
        model = self.Model(mark=1, team="VIP|favorite")  # type: ignore[arg-type]

        assert {"mark": ["favorite"], "team": ["favorite", "vip"]} == model.model_dump()
        assert "array" in str(self.Model.model_json_schema(mode="serialization"))
        [listed, *others] = self.Model.model_json_schema()["properties"]["mark"]["anyOf"]
        assert {"anyOf": [{"type": "string"}, {"type": "integer"}]} == listed["items"]
        assert [{"type": "string"}, {"type": "integer"}] == others

    @pytest.mark.parametrize("given", ["x", 2**64, -1, True, None, [64], [True], 1.5, b"a", [1.5]])
    def test_refused(self, given: Any) -> None:
        """What is no mark is an error of validation."""
        with pytest.raises(pydantic.ValidationError, match="mark: "):
            self.Model(mark=given)
