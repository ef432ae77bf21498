"""
The standard mark of a conversation: 64 bits.

Bit numbers are those of https://www.tencentcloud.com/document/product/1047/53438 (2026-04): 0 to 3
are named, 4 to 31 belong to Chat, 32 to 63 to the customer. The vendor's page of 2023 counted from
1.
"""

import enum
import operator
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, cast

from chatmark.errors import InputError
from chatmark.lazy import publish

_WIDTH: Final = 64
_ALL: Final = (1 << _WIDTH) - 1
_EXTENSION: Final = range(32, _WIDTH)
#: The bits that belong to Chat.
RESERVED: Final = sum(1 << number for number in range(4, 32))
_WIRE: Final = re.compile(r"[01]{0,64}")
# Composites that are kept, so that a program's usual ones are made once. A plain flag keeps every
# composite for the life of the process.
_MOST_KEPT: Final = 4096


class ConversationMark(enum.Flag, boundary=enum.KEEP):
    """
    The 64 bits of a conversation's standard mark.

    The operators, `in`, names, iteration and `len` are those of `enum.Flag`; bits that belong to
    Chat have no members, and are kept. `~` stays inside 64 bits. No more than a few thousand
    composites are kept in memory.

    Args:
        value: The bits as an integer from 0 to 2**64 - 1.

    Raises:
        InputError: The value does not fit into 64 bits.
        TypeError: The value is not an integer.

    >>> mark = ConversationMark.FAVORITE | ConversationMark.EXTENSION_33
    >>> mark.bits
    (0, 33)
    >>> mark
    <ConversationMark.FAVORITE|EXTENSION_33: 0x200000001>
    """

    FAVORITE = 1 << 0
    UNREAD = 1 << 1
    COLLAPSED = 1 << 2
    HIDDEN = 1 << 3
    EXTENSION_32 = 1 << 32
    EXTENSION_33 = 1 << 33
    EXTENSION_34 = 1 << 34
    EXTENSION_35 = 1 << 35
    EXTENSION_36 = 1 << 36
    EXTENSION_37 = 1 << 37
    EXTENSION_38 = 1 << 38
    EXTENSION_39 = 1 << 39
    EXTENSION_40 = 1 << 40
    EXTENSION_41 = 1 << 41
    EXTENSION_42 = 1 << 42
    EXTENSION_43 = 1 << 43
    EXTENSION_44 = 1 << 44
    EXTENSION_45 = 1 << 45
    EXTENSION_46 = 1 << 46
    EXTENSION_47 = 1 << 47
    EXTENSION_48 = 1 << 48
    EXTENSION_49 = 1 << 49
    EXTENSION_50 = 1 << 50
    EXTENSION_51 = 1 << 51
    EXTENSION_52 = 1 << 52
    EXTENSION_53 = 1 << 53
    EXTENSION_54 = 1 << 54
    EXTENSION_55 = 1 << 55
    EXTENSION_56 = 1 << 56
    EXTENSION_57 = 1 << 57
    EXTENSION_58 = 1 << 58
    EXTENSION_59 = 1 << 59
    EXTENSION_60 = 1 << 60
    EXTENSION_61 = 1 << 61
    EXTENSION_62 = 1 << 62
    EXTENSION_63 = 1 << 63

    @classmethod
    def _missing_(cls, value: object) -> "ConversationMark":
        if not isinstance(value, int):
            message = f"a mark is made from an int, not from {type(value).__name__}"
            raise TypeError(message)
        if not 0 <= value <= _ALL:
            raise InputError("mark", "does not fit into 64 bits", value)
        mark = object.__new__(cls)
        mark._name_ = None
        # An int of a subclass would be kept with its class.
        mark._value_ = int(value)
        known: dict[Any, Any] = cls._value2member_map_
        if len(known) >= _MOST_KEPT:
            # No bit is always the same object, as members are. Another thread may drop them, too.
            for composite in filter(None, list(known)[len(cls._member_names_) :]):
                known.pop(composite, None)
        known[mark._value_] = mark
        return mark

    @classmethod
    def extension(cls, number: int) -> "ConversationMark":
        """
        Return the customer's own bit with this number, 32 to 63.

        Raises:
            InputError: The number is not one of the customer's.
        """
        if type(number) is not int or number not in _EXTENSION:
            raise InputError("mark", "an extension bit is a number from 32 to 63", number)
        return cls(1 << number)

    @classmethod
    def from_bits(cls, numbers: Iterable[int]) -> "ConversationMark":
        """
        Return the mark with the bits of these numbers, as `SetMark` and `ClearMark` carry them.

        Raises:
            InputError: A number is not an integer from 0 to 63.
        """
        value = 0
        for number in numbers:
            bit = _index(number)
            if not 0 <= bit < _WIDTH:
                raise InputError("mark", "a bit is a number from 0 to 63", number)
            value |= 1 << bit
        return cls(value)

    @classmethod
    def from_wire(cls, text: str) -> "ConversationMark":
        """
        Return the mark of a `StandardMark` string: most significant bit first, "" is none.

        https://www.tencentcloud.com/document/product/1047/53440 shows leading zeros and leaves them
        out elsewhere, so both are read.

        Raises:
            InputError: The text is not 0 to 64 characters of "0" and "1".
        """
        if not isinstance(text, str) or _WIRE.fullmatch(text) is None:
            raise InputError("standard_mark", 'is not 0 to 64 characters of "0" and "1"', text)
        return cls(int(text, 2) if text else 0)

    @property
    def bits(self) -> tuple[int, ...]:
        """The numbers of the bits that are set, ascending."""
        numbers: list[int] = []
        rest = self._value_
        while rest:
            numbers.append((rest & -rest).bit_length() - 1)
            rest &= rest - 1
        return tuple(numbers)

    def to_wire(self) -> str:
        """Return the `StandardMark` string of this mark, without leading zeros; "" is none."""
        return f"{self._value_:b}" if self._value_ else ""

    @property
    def reserved(self) -> "ConversationMark":
        """Those bits of this mark that belong to Chat (4 to 31)."""
        return ConversationMark(self._value_ & RESERVED)

    @enum.property
    def name(self) -> str | None:  # type: ignore[override]
        """The names of the bits joined by "|", None when no bit is set."""
        return self._name_ or "|".join(map(_bit_name, self.bits)) or None

    def __int__(self) -> int:
        return self._value_

    def __len__(self) -> int:
        return self._value_.bit_count()

    def __iter__(self) -> Iterator["ConversationMark"]:
        return (ConversationMark(1 << number) for number in self.bits)

    def __invert__(self) -> "ConversationMark":
        return ConversationMark(self._value_ ^ _ALL)

    # A composite that is not kept may be made twice.
    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ConversationMark):
            return NotImplemented
        return self._value_ == other._value_

    def __hash__(self) -> int:
        return hash(self._value_)

    def __repr__(self) -> str:
        if not self._value_:
            return "<ConversationMark: 0>"
        return f"<ConversationMark.{self.name}: {self._value_:#x}>"

    def __str__(self) -> str:
        return f"ConversationMark.{self.name}" if self._value_ else "ConversationMark(0)"

    def __format__(self, spec: str) -> str:
        return format(str(self), spec)

    def __reduce_ex__(self, protocol: object) -> tuple[type["ConversationMark"], tuple[int]]:
        return ConversationMark, (self._value_,)

    def __copy__(self) -> "ConversationMark":
        return self

    def __deepcopy__(self, memo: object) -> "ConversationMark":
        return self

    @classmethod
    def __get_pydantic_core_schema__(cls, source: object, handler: object) -> dict[str, Any]:
        return pydantic_schema(_member, lambda mark: [_LABELS[bit] for bit in mark.bits])

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: object, handler: Any) -> dict[str, Any]:
        return json_schema(handler.mode)


#: The four bits of the vendor.
VENDOR: Final = ConversationMark(0b1111)


def read_mark(
    value: Any, parse: Callable[[str | int], ConversationMark] | None = None
) -> ConversationMark:
    """
    Return the mark that a value means.

    Args:
        value: Names with "|" between them, a list of names and of numbers of bits, an int, or a
            mark.
        parse: Reads one name or one number of a bit, in place of the names of the members.

    Raises:
        InputError: It means no mark.
    """
    if isinstance(value, ConversationMark):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return ConversationMark(value)
    if isinstance(value, str):
        value = value.split("|") if value else ()
    if not isinstance(value, Iterable) or isinstance(value, bytes):
        raise InputError("mark", "must be names, numbers of bits, or an int", value)
    mark = ConversationMark(0)
    for each in cast("Iterable[str | int]", value):
        mark |= (parse or _member)(each)
    return mark


def pydantic_schema(
    parse: Callable[[str | int], ConversationMark], labels: Callable[[ConversationMark], list[str]]
) -> dict[str, Any]:
    """
    Return the schema of a field of a pydantic model: what `read_mark` reads in, names out.

    https://docs.pydantic.dev/latest/concepts/types/#customizing-validation-with-__get_pydantic_core_schema__
    """
    names = {"type": "list", "items_schema": {"type": "str"}}

    def read(value: Any) -> ConversationMark:
        return read_mark(value, parse)

    return {
        "type": "function-plain",
        "function": {"type": "no-info", "function": read},
        "serialization": {"type": "function-plain", "function": labels, "return_schema": names},
    }


def json_schema(mode: str) -> dict[str, Any]:
    """Return the JSON schema of such a field, for "validation" or "serialization"."""
    names = {"type": "array", "items": {"type": "string"}}
    if mode == "serialization":
        return names
    return {"anyOf": [names, {"type": "string"}, {"type": "integer"}]}


def _member(name: str | int) -> ConversationMark:
    if isinstance(name, str):
        bit = BIT_NAMES.get(name.strip().lower())
        if bit is None:
            raise InputError("mark", "is not a known mark, for example 'favorite'", name)
        return ConversationMark(1 << bit)
    return ConversationMark.from_bits([name])


def _bit_name(number: int) -> str:
    member = ConversationMark(1 << number)
    return member._name_ or f"RESERVED_{number}"


def _index(number: object) -> int:
    """Return a whole number of any type as an exact `int`, -1 for what is none."""
    if type(number) is int:
        return number
    try:
        return -1 if isinstance(number, bool) else operator.index(number)  # type: ignore[arg-type]
    except TypeError:
        return -1


_LABELS: Final = [_bit_name(bit).lower() for bit in range(_WIDTH)]
#: The number of each bit by its name in small letters.
BIT_NAMES: Final = {name: bit for bit, name in enumerate(_LABELS)}

publish(__name__)
