"""
The standard mark of a conversation: 64 bits, and names for them.

Bit numbers are those of https://www.tencentcloud.com/document/product/1047/53438 (2026-04): 0 to 3
are named, 4 to 31 belong to Chat, 32 to 63 to the customer. The vendor's page of 2023 counted from
1.
"""

import difflib
import enum
import operator
import re
import tomllib
from collections.abc import Iterable, Iterator
from typing import Any, Final, cast, final

from chatmark.errors import InputError
from chatmark.lazy import publish

_WIDTH: Final = 64
_ALL: Final = (1 << _WIDTH) - 1
_EXTENSION: Final = range(32, _WIDTH)
_MOST_DIGITS: Final = 20
#: The bits that belong to Chat.
RESERVED: Final = sum(1 << number for number in range(4, 32))
_WIRE: Final = re.compile(r"[01]{0,64}")
# As a name in a file each of these would mean something else: signs and arrays of marks, numbers,
# and words for no mark.
_NO_BEGINNING: Final = "+-[](){}<>"
_NUMBER: Final = re.compile(r"0[box][0-9a-f_]+|[0-9_.]+e[+-]?[0-9]+|inf|infinity")
_NO_MARK: Final = frozenset(("none", "null", "nil", "na", "n/a", "nan", "nat", "undefined"))
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
    EXTENSION_32, EXTENSION_33, EXTENSION_34, EXTENSION_35 = (1 << bit for bit in range(32, 36))
    EXTENSION_36, EXTENSION_37, EXTENSION_38, EXTENSION_39 = (1 << bit for bit in range(36, 40))
    EXTENSION_40, EXTENSION_41, EXTENSION_42, EXTENSION_43 = (1 << bit for bit in range(40, 44))
    EXTENSION_44, EXTENSION_45, EXTENSION_46, EXTENSION_47 = (1 << bit for bit in range(44, 48))
    EXTENSION_48, EXTENSION_49, EXTENSION_50, EXTENSION_51 = (1 << bit for bit in range(48, 52))
    EXTENSION_52, EXTENSION_53, EXTENSION_54, EXTENSION_55 = (1 << bit for bit in range(52, 56))
    EXTENSION_56, EXTENSION_57, EXTENSION_58, EXTENSION_59 = (1 << bit for bit in range(56, 60))
    EXTENSION_60, EXTENSION_61, EXTENSION_62, EXTENSION_63 = (1 << bit for bit in range(60, 64))

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
            InputError: A number is not an integer from 0 to 63, or there is no list of them.
        """
        if not isinstance(numbers, Iterable):
            raise InputError("mark", "must be numbers of bits, for example [0, 33]", numbers)
        value = 0
        for number in numbers:
            bit = number if type(number) is int else _index(number)
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

    def __reduce_ex__(self, protocol: object) -> tuple[type["ConversationMark"], tuple[int]]:
        return ConversationMark, (self._value_,)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: object, handler: object) -> dict[str, Any]:
        return MarkNames().__get_pydantic_core_schema__(source, handler)


#: The four bits of the vendor.
VENDOR: Final = ConversationMark(0b1111)


@final
class MarkNames:
    """
    A team's own names for its extension bits, used wherever marks meet text.

    Case does not matter. The four names of the vendor are always known, and so is each bit as a
    number or as `extension_33`. A name is an attribute too, unless it is one of a method:
    `names.vip`. As metadata of a field of a pydantic model, `Annotated[ConversationMark, names]`,
    they are read and written there.

    Args:
        names: A name and the number of its bit (32 to 63) for each.

    Raises:
        InputError: A name is unusable, used twice, or one of the vendor's; a bit is not the
            customer's own, or is named twice.

    >>> names = MarkNames(vip=32, escalated=33)
    >>> names.parse("VIP") | names.escalated
    <ConversationMark.EXTENSION_32|EXTENSION_33: 0x300000000>
    >>> names.labels(ConversationMark.FAVORITE | ConversationMark.extension(33))
    ('favorite', 'escalated')
    """

    __slots__ = ("_bits", "_own", "_shown")

    def __init__(self, /, **names: int) -> None:
        self._bits = dict(_BITS)
        self._shown = list(_BITS)
        self._own: dict[str, int] = {}
        for name, number in names.items():
            self._add(name, number)

    def _add(self, name: str, number: int) -> None:
        key = name.lower()
        if not any(map(str.isalpha, name)) or not re.fullmatch(r"[^\s|,;\"']+", name):
            reason = "a name needs a letter, and no blanks, quotes or separators"
            raise InputError("names", reason, name)
        if name[0] in _NO_BEGINNING or key in _NO_MARK or _NUMBER.fullmatch(key):
            reason = "a name must not read as a sign, an array, a number, or a word for no mark"
            raise InputError("names", reason, name)
        if key in self._bits:
            raise InputError("names", "the name is taken", name)
        if type(number) is not int or number not in _EXTENSION:
            raise InputError("names", f"{name}: a name stands for a bit from 32 to 63", number)
        if number in self._own.values():
            raise InputError("names", f"bit {number} has two names", self._shown[number], name)
        self._own[name] = number
        self._bits[key] = number
        self._shown[number] = name

    @classmethod
    def from_toml(cls, text: str) -> "MarkNames":
        r"""
        Read the names in the table `marks` of a TOML document, whose other tables are for others.

        Raises:
            InputError: It is not TOML, has no such table, or a name in it is refused.

        >>> MarkNames.from_toml("[marks]\nvip = 32")
        MarkNames(vip=32)
        """
        try:
            marks: Any = tomllib.loads(text).get("marks")
        except tomllib.TOMLDecodeError as error:
            raise InputError("names", f"is not TOML: {error}") from None
        if not isinstance(marks, dict):
            raise InputError("names", "there is no table [marks]")
        return cls(**cast("dict[str, Any]", marks))

    @property
    def own(self) -> dict[str, int]:
        """A team's own names, and the number of the bit of each."""
        return dict(self._own)

    def parse(self, mark: str | int) -> ConversationMark:
        """
        Return the single bit that a name or a number means.

        Raises:
            InputError: It is neither a known name nor a number from 0 to 63.
        """
        if isinstance(mark, str):
            key = mark.strip().lower()
            # Python reads no number of thousands of digits.
            if key.isascii() and key.isdigit() and len(key) <= _MOST_DIGITS:
                return ConversationMark.from_bits([int(key)])
            if key not in self._bits:
                close = difflib.get_close_matches(key, self._bits, n=1)
                hint = f"; did you mean {close[0]!r}?" if close else ""
                raise InputError("mark", f"is not a known mark{hint}", mark)
            return ConversationMark(1 << self._bits[key])
        return ConversationMark.from_bits([mark])

    def parse_all(self, marks: Iterable[str | int]) -> ConversationMark:
        """
        Return the mark of several names or numbers.

        Raises:
            InputError: One of them is neither a known name nor a number from 0 to 63.
        """
        if not isinstance(marks, Iterable):
            raise InputError("mark", "must be names and numbers, for example ['favorite']", marks)
        value = 0
        for mark in marks:
            value |= self.parse(mark)._value_
        return ConversationMark(value)

    def labels(self, mark: ConversationMark) -> tuple[str, ...]:
        """Return the name of each bit that is set, ascending by bit."""
        return tuple(self._shown[number] for number in mark.bits)

    def __getattr__(self, name: str) -> ConversationMark:
        # A copy that is being made has no names yet.
        if name.startswith("_") or name.lower() not in self._bits:
            message = f"MarkNames has no mark {name!r}"
            raise AttributeError(message, name=name, obj=self)
        return ConversationMark(1 << self._bits[name.lower()])

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self._own]

    # https://docs.pydantic.dev/latest/concepts/types/#customizing-validation-with-__get_pydantic_core_schema__
    def __get_pydantic_core_schema__(self, source: object, handler: object) -> dict[str, Any]:
        text, number = {"type": "str"}, {"type": "int"}
        items = {"type": "union", "choices": [text, number]}
        listed = {"type": "list", "items_schema": items}

        def read(value: Any, _: object) -> ConversationMark:
            return read_mark(value, self)

        def write(mark: ConversationMark) -> list[str]:
            return list(self.labels(mark))

        names = {"type": "list", "items_schema": text}
        written = {"type": "function-plain", "function": write, "return_schema": names}
        return {
            # The function alone validates; all versions describe the inner schema as JSON schema.
            "type": "function-wrap",
            "function": {"type": "no-info", "function": read},
            "schema": {"type": "union", "choices": [listed, text, number]},
            "serialization": written,
        }

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, MarkNames):
            return NotImplemented
        return self._own == other._own

    def __hash__(self) -> int:
        return hash(frozenset(self._own.items()))

    def __repr__(self) -> str:
        return f"MarkNames({', '.join(f'{name}={bit}' for name, bit in self._own.items())})"


def read_mark(value: Any, names: MarkNames) -> ConversationMark:
    """
    Return the mark of names with "|" between them, of a list of names and bits, or of an int.

    Raises:
        InputError: The value means no mark.
    """
    if isinstance(value, ConversationMark):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return ConversationMark(value)
    if isinstance(value, str):
        value = value.split("|") if value else ()
    if not isinstance(value, Iterable) or isinstance(value, bytes):
        raise InputError("mark", "must be names, numbers of bits, or an int", value)
    return names.parse_all(cast("Iterable[str | int]", value))


def _index(number: Any) -> int:
    """Return a whole number of any type as an exact `int`, -1 for what is none."""
    try:
        return -1 if isinstance(number, bool) else operator.index(number)
    except TypeError:
        return -1


def _bit_name(number: int) -> str:
    member = ConversationMark(1 << number)
    return member._name_ or f"RESERVED_{number}"


#: The number of each bit by its name in small letters.
_BITS: Final = {_bit_name(bit).lower(): bit for bit in range(_WIDTH)}

publish(__name__)
