import copy
import enum
import gc
import operator
import pickle
import re
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import EDGES, bit_sets, marks

from chatmark import ConversationMark, InputError, OptType

NAMES = [
    *("FAVORITE", "UNREAD", "COLLAPSED", "HIDDEN"),
    *(f"RESERVED_{number}" for number in range(4, 32)),
    *(f"EXTENSION_{number}" for number in range(32, 64)),
]
# What people expect: a real flag with a member for every bit.
Real = cast("Any", enum.Flag)("RealMark", [(name, 1 << n) for n, name in enumerate(NAMES)])
ALL = 2**64 - 1
# "standard_mark_strings" of the vendor's samples: what the server sends, and the bits it means.
WIRE: list[tuple[str, list[int]]] = [
    ("", []),
    ("0", []),
    ("1", [0]),
    ("10", [1]),
    ("111001", [0, 3, 4, 5]),
    ("011111110", [1, 2, 3, 4, 5, 6, 7]),
    ("1" + "0" * 34, [34]),
    ("1" + "0" * 63, [63]),
    ("1" * 64, list(range(64))),
]


def mark(*numbers: int) -> ConversationMark:
    """Return the mark with these bits."""
    return ConversationMark.from_bits(numbers)


def real(numbers: frozenset[int]) -> Any:
    """Return the real flag with these bits."""
    return Real(sum(1 << number for number in numbers))


class TestAlgebra:
    @given(numbers=bit_sets)
    def test_bits(self, numbers: frozenset[int]) -> None:
        """The bits come back ascending, each once."""
        assert tuple(sorted(numbers)) == mark(*numbers).bits

    @given(numbers=bit_sets)
    def test_numbers(self, numbers: frozenset[int]) -> None:
        """The integer is the sum of the bits, and makes the mark again."""
        value = sum(1 << number for number in numbers)
        subject = mark(*numbers)

        assert value == int(subject) == subject.value
        assert subject == ConversationMark(value)
        assert bool(numbers) == bool(subject)

    @given(numbers=bit_sets)
    def test_reserved(self, numbers: frozenset[int]) -> None:
        """Bits 4 to 31 are those that belong to Chat."""
        assert numbers & set(range(4, 32)) == set(mark(*numbers).reserved.bits)


class TestLikeEnumFlag:
    @pytest.mark.parametrize(
        "manner",
        [
            pytest.param(lambda a, b: (a | b).value, id="or"),
            pytest.param(lambda a, b: (a & b).value, id="and"),
            pytest.param(lambda a, b: (a ^ b).value, id="xor"),
            pytest.param(lambda a, b: (~a & b).value, id="invert"),
            pytest.param(lambda a, b: a in b, id="in"),
            pytest.param(lambda a, b: a == b, id="equal"),
            pytest.param(lambda a, b: a != b, id="unequal"),
            pytest.param(lambda a, b: len({a, b}), id="hash"),
            pytest.param(lambda a, b: bool(a ^ b), id="bool"),
            pytest.param(lambda a, b: [each.value for each in a ^ b], id="iteration"),
            pytest.param(lambda a, b: len(a | b), id="len"),
            pytest.param(lambda a, b: (a & b).name, id="name"),
            pytest.param(lambda a, b: [each.name for each in a & b], id="names of bits"),
            pytest.param(lambda a, b: str(a & b).partition("Mark")[2], id="str"),
            pytest.param(lambda a, b: re.findall(r"Mark[^:]*", repr(a & b)), id="repr"),
        ],
    )
    @given(left=bit_sets, right=bit_sets)
    def test_manner(
        self, manner: Callable[[Any, Any], Any], left: frozenset[int], right: frozenset[int]
    ) -> None:
        """An operation gives what it gives for a real flag of 64 members."""
        assert manner(real(left), real(right)) == manner(mark(*left), mark(*right))

    @pytest.mark.parametrize("name", [name for name in NAMES if "RESERVED" not in name])
    def test_lookup(self, name: str) -> None:
        """A single bit is found by its name, and has it."""
        # mypy takes an index of a class that is no enum for a type.
        found = cast("Any", ConversationMark)[name]

        assert Real[name].value == found.value
        assert name == found.name

    @pytest.mark.parametrize("name", ["favorite", "FAVORITE|UNREAD", "EXTENSION_64", "", "value"])
    def test_unknown_name(self, name: str) -> None:
        """An unknown name is a KeyError, as for a real flag."""
        for kind in (Real, ConversationMark):
            with pytest.raises(KeyError):
                kind[name]
        with pytest.raises(KeyError):
            ConversationMark["RESERVED_4"]

    @pytest.mark.parametrize("foreign", [1, True, 1.0, None, "1", {0}, OptType.STANDARD], ids=repr)
    @pytest.mark.parametrize("operate", [operator.or_, operator.and_, operator.xor])
    def test_foreign_operands(self, operate: Callable[[Any, Any], Any], foreign: object) -> None:
        """Operators take marks only, on either side."""
        with pytest.raises(TypeError):
            operate(ConversationMark.FAVORITE, foreign)
        with pytest.raises(TypeError):
            operate(foreign, ConversationMark.FAVORITE)

    @pytest.mark.parametrize("foreign", [0, 1, "FAVORITE", None, Real.FAVORITE])
    def test_foreign_member(self, foreign: object) -> None:
        """Asking whether something else is in a mark is a TypeError, not a wrong "no"."""
        with pytest.raises(TypeError):
            foreign in cast("Any", ConversationMark.FAVORITE)  # noqa: B015

    @pytest.mark.parametrize("order", [operator.lt, operator.le, operator.gt, operator.ge])
    def test_no_order(self, order: Callable[[Any, Any], Any]) -> None:
        """Marks have no order, as flags have none."""
        with pytest.raises(TypeError):
            order(ConversationMark.FAVORITE, ConversationMark.UNREAD)

    @pytest.mark.parametrize("number", [0, 1, 3, ALL])
    def test_no_integer(self, number: int) -> None:
        """A mark equals no integer."""
        subject = ConversationMark(number)

        assert subject != number
        assert {number, subject} - {subject} == {number}

    def test_members(self) -> None:
        """The class lists the four bits of the vendor and the customer's 32, in order."""
        expected = [mark(number) for number in (*range(4), *range(32, 64))]

        assert issubclass(ConversationMark, enum.Flag)
        assert expected == list(ConversationMark)
        assert len(ConversationMark) == 36
        assert [NAMES[number] for number in (*range(4), *range(32, 64))] == list(
            ConversationMark.__members__
        )
        assert ConversationMark.HIDDEN in ConversationMark

    @pytest.mark.parametrize(
        ("subject", "text"),
        [
            (mark(), "<ConversationMark: 0>"),
            (mark(3), "<ConversationMark.HIDDEN: 0x8>"),
            (mark(0, 33), "<ConversationMark.FAVORITE|EXTENSION_33: 0x200000001>"),
        ],
    )
    def test_repr(self, subject: ConversationMark, text: str) -> None:
        """The repr names the bits and shows the value, in hexadecimal."""
        assert text == repr(subject)

    def test_format(self) -> None:
        """A mark can be set in a column, as its text can."""
        assert "    ConversationMark.HIDDEN" == f"{mark(3):>27}"

    def test_single_bits_are_singletons(self) -> None:
        """Single bits may be compared by identity, as members may."""
        assert ConversationMark.UNREAD is ConversationMark(2)
        assert mark(40) is ConversationMark.extension(40)
        assert mark() is ConversationMark(0)


class TestEdges:
    @pytest.mark.parametrize("number", EDGES)
    def test_single_bit(self, number: int) -> None:
        """A bit at an edge is itself by number, by value and on the wire."""
        subject = ConversationMark(2**number)

        assert (number,) == subject.bits
        assert "1" + "0" * number == subject.to_wire()
        assert 63 == len(~subject)

    def test_all_bits(self) -> None:
        """The largest value has all bits, and its complement none."""
        assert tuple(range(64)) == ConversationMark(ALL).bits
        assert mark() == ~ConversationMark(ALL)

    @pytest.mark.parametrize(
        "value", [2**64, -1, pytest.param(10**1000, id="of 1000 digits"), -(2**64)]
    )
    def test_out_of_range(self, value: int) -> None:
        """A value outside 64 bits is an error that names the field."""
        with pytest.raises(InputError, match="does not fit into 64 bits") as caught:
            ConversationMark(value)

        assert "mark" == caught.value.field

    @pytest.mark.parametrize("value", [2.5, "1", None, b"1", [1]], ids=repr)
    def test_wrong_type(self, value: Any) -> None:
        """Only integers make a mark."""
        with pytest.raises(TypeError, match="made from an int"):
            ConversationMark(value)

    def test_of_a_mark(self) -> None:
        """A mark of a mark is that mark."""
        subject = mark(0, 33)

        assert subject is ConversationMark(subject)

    def test_plain_value(self) -> None:
        """Of an integer with a class of its own only the number is kept."""
        assert int is type(ConversationMark(OptType.BOTH).value)


class TestBits:
    def test_repeated(self) -> None:
        """A number may come more than once, from any iterable."""
        assert mark(0, 33) == ConversationMark.from_bits(iter((33, 0, 33)))

    @pytest.mark.parametrize("number", [64, -1, True, "1", 1.0, None, 10**30])
    def test_refused(self, number: Any) -> None:
        """What is not an integer from 0 to 63 is no bit."""
        with pytest.raises(InputError, match="from 0 to 63"):
            ConversationMark.from_bits([0, number])

    @pytest.mark.parametrize("numbers", [5, None])
    def test_no_list(self, numbers: Any) -> None:
        """What is not several numbers is an error that shows some."""
        with pytest.raises(InputError, match=r"must be numbers of bits, for example \[0, 33\]"):
            ConversationMark.from_bits(numbers)

    @pytest.mark.parametrize("number", range(32, 64))
    def test_extension(self, number: int) -> None:
        """Each bit of the customer's is an extension."""
        assert mark(number) == ConversationMark.extension(number)

    @pytest.mark.parametrize("number", [0, 31, 64, -1, True, 33.0, "33", None])
    def test_no_extension(self, number: Any) -> None:
        """No other number is an extension."""
        with pytest.raises(InputError, match="from 32 to 63"):
            ConversationMark.extension(number)


class TestWire:
    @pytest.mark.parametrize(("text", "bits"), WIRE)
    def test_samples(self, text: str, bits: list[int]) -> None:
        """The vendor's samples mean their bits, which make them without leading zeros."""
        assert tuple(bits) == ConversationMark.from_wire(text).bits
        assert text.lstrip("0") == mark(*bits).to_wire()

    @given(subject=marks, zeros=st.integers(0, 64))
    def test_round_trip(self, subject: ConversationMark, zeros: int) -> None:
        """Any mark survives the wire, whatever the number of leading zeros."""
        text = subject.to_wire()

        assert subject == ConversationMark.from_wire("0" * min(zeros, 64 - len(text)) + text)

    @pytest.mark.parametrize(
        "text",
        [
            *("2", " 1", "1 ", "1\n", "+1", "-1", "0b1", "1_0", "\uff11"),
            *("1" * 65, "0" * 65, 5, None, b"1"),
        ],
    )
    def test_refused(self, text: Any) -> None:
        """Anything but 0 to 64 characters of "0" and "1" is an error."""
        with pytest.raises(InputError, match="0 to 64 characters") as caught:
            ConversationMark.from_wire(text)

        assert "standard_mark" == caught.value.field


class TestValue:
    @pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
    @given(subject=marks)
    def test_pickle(self, protocol: int, subject: ConversationMark) -> None:
        """A mark survives pickling by every protocol."""
        assert subject == pickle.loads(pickle.dumps(subject, protocol))

    @pytest.mark.parametrize("numbers", [(), (0,), (0, 33)])
    def test_copy(self, numbers: tuple[int, ...]) -> None:
        """A copy of a value that cannot change is the value."""
        subject = mark(*numbers)

        assert subject is copy.copy(subject)
        assert [subject] == copy.deepcopy([subject])
        assert subject is copy.deepcopy([subject])[0]

    @pytest.mark.parametrize("attribute", ["value", "name"])
    def test_immutable(self, attribute: str) -> None:
        """Neither attribute can be set or deleted."""
        subject = mark(0, 33)
        with pytest.raises(AttributeError):
            setattr(subject, attribute, 1)
        with pytest.raises(AttributeError):
            delattr(subject, attribute)

        assert mark(0, 33) == subject

    def test_no_growth(self) -> None:
        """A million different marks leave the process as large as before."""
        gc.collect()
        before = sys.getallocatedblocks()
        for value in range(1_000_000):
            # An odd factor visits different values only, all over the 64 bits.
            ConversationMark(value * 0x9E3779B97F4A7C15 & ALL)
        gc.collect()

        assert sys.getallocatedblocks() - before < 20_000
        assert ConversationMark(0) is mark()

    def test_in_threads(self) -> None:
        """Threads may make marks at the same time, as a job that reads its rows does."""
        interval = sys.getswitchinterval()
        sys.setswitchinterval(1e-6)
        try:
            with ThreadPoolExecutor(8) as pool:
                made = list(pool.map(self._make_many, range(8)))
        finally:
            sys.setswitchinterval(interval)

        assert [30_000] * 8 == made

    @staticmethod
    def _make_many(first: int) -> int:
        values = [value * 0x9E3779B97F4A7C15 + first & ALL for value in range(30_000)]
        return sum(ConversationMark(value).value == value for value in values)
