"""
The standard mark of a conversation: 64 bits.

`enum.Flag` would be the obvious base, but it keeps every composite value that was ever built for
the life of the process, so a service that reads a million different masks would never let them go.
`ConversationMark` has its manners and keeps nothing.

Bit numbers are those of https://www.tencentcloud.com/document/product/1047/53438 (2026-04): 0 to 3
are named, 4 to 31 belong to Chat, 32 to 63 to the customer. The vendor's page of 2023 counted from
1.
"""

import operator
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import ClassVar, Final, NoReturn, final

from chatmark.errors import InputError
from chatmark.lazy import publish

_WIDTH: Final = 64
_ALL: Final = (1 << _WIDTH) - 1
_NAMED: Final = {"FAVORITE": 0, "UNREAD": 1, "COLLAPSED": 2, "HIDDEN": 3}
_EXTENSION: Final = range(32, _WIDTH)
#: The bits that belong to Chat.
RESERVED: Final = sum(1 << number for number in range(4, 32))
_WIRE: Final = re.compile(r"[01]{0,64}")
_BIT_NAMES: Final = tuple(
    next((name for name, bit in _NAMED.items() if bit == number), "")
    or (f"EXTENSION_{number}" if number in _EXTENSION else f"RESERVED_{number}")
    for number in range(_WIDTH)
)


class _MarkType(type):
    """Gives the class itself the manners of an enumeration: its members are the four named bits."""

    __members__: Mapping[str, "ConversationMark"]

    def __iter__(cls) -> Iterator["ConversationMark"]:
        return iter(cls.__members__.values())

    def __len__(cls) -> int:
        return len(cls.__members__)

    def __getitem__(cls, name: str) -> "ConversationMark":
        """Look a single bit up by its name, as `.name` gives it."""
        try:
            return ConversationMark(1 << _BIT_NAMES.index(name))
        except ValueError:
            raise KeyError(name) from None

    def __contains__(cls, mark: object) -> bool:
        return isinstance(mark, ConversationMark)


@final
class ConversationMark(metaclass=_MarkType):
    """
    An immutable set of the 64 bits of a conversation's standard mark.

    It has the operators, iteration, names, `repr` and `str` of an `enum.Flag`, costs no memory
    beyond its own, and `~` stays inside 64 bits.

    Args:
        value: The bits as an integer from 0 to 2**64 - 1.

    Raises:
        InputError: The value does not fit into 64 bits.
        TypeError: The value is not an integer.

    >>> mark = ConversationMark.FAVORITE | ConversationMark.extension(33)
    >>> mark.bits
    (0, 33)
    >>> mark
    <ConversationMark.FAVORITE|EXTENSION_33: 0x200000001>
    """

    __slots__ = ("value",)
    #: The bits as an integer.
    value: int

    FAVORITE: ClassVar["ConversationMark"]
    UNREAD: ClassVar["ConversationMark"]
    COLLAPSED: ClassVar["ConversationMark"]
    HIDDEN: ClassVar["ConversationMark"]

    def __new__(cls, value: "int | ConversationMark" = 0) -> "ConversationMark":
        """Return the mark with these bits; single bits and zero are always the same objects."""
        if isinstance(value, ConversationMark):
            return value
        if isinstance(value, bool) or not isinstance(value, int):
            message = f"a mark is made from an int, not from {type(value).__name__}"
            raise TypeError(message)
        if not 0 <= value <= _ALL:
            raise InputError("mark", "does not fit into 64 bits", value)
        # An int of a subclass, a member of an IntEnum say, would be kept with its class.
        return _make(int(value))

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"{type(self).__name__} is immutable")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"{type(self).__name__} is immutable")

    @classmethod
    def extension(cls, number: int) -> "ConversationMark":
        """
        Return the customer's own bit with this number, 32 to 63.

        Raises:
            InputError: The number is not one of the customer's.
        """
        if type(number) is not int or number not in _EXTENSION:
            raise InputError("mark", "an extension bit is a number from 32 to 63", number)
        return _make(1 << number)

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
        return _make(value)

    @property
    def bits(self) -> tuple[int, ...]:
        """The numbers of the bits that are set, ascending."""
        numbers: list[int] = []
        rest = self.value
        while rest:
            numbers.append((rest & -rest).bit_length() - 1)
            rest &= rest - 1
        return tuple(numbers)

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
        return _make(int(text, 2) if text else 0)

    def to_wire(self) -> str:
        """Return the `StandardMark` string of this mark, without leading zeros; "" is none."""
        return f"{self.value:b}" if self.value else ""

    @property
    def name(self) -> str | None:
        """The names of the bits joined by "|", None when no bit is set."""
        return "|".join(_BIT_NAMES[number] for number in self.bits) or None

    @property
    def reserved(self) -> "ConversationMark":
        """Those bits of this mark that belong to Chat (4 to 31)."""
        return _make(self.value & RESERVED)

    def __int__(self) -> int:
        return self.value

    def __bool__(self) -> bool:
        return self.value != 0

    def __len__(self) -> int:
        return self.value.bit_count()

    def __iter__(self) -> Iterator["ConversationMark"]:
        return (_make(1 << number) for number in self.bits)

    def __contains__(self, other: object) -> bool:
        if not isinstance(other, ConversationMark):
            message = f"'in' needs a ConversationMark, not {type(other).__name__}"
            raise TypeError(message)
        return other & self == other

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ConversationMark):
            return NotImplemented
        return self.value == other.value

    def __hash__(self) -> int:
        return hash(self.value)

    def __or__(self, other: "ConversationMark") -> "ConversationMark":
        if not isinstance(other, ConversationMark):
            return NotImplemented
        return _make(self.value | other.value)

    def __and__(self, other: "ConversationMark") -> "ConversationMark":
        if not isinstance(other, ConversationMark):
            return NotImplemented
        return _make(self.value & other.value)

    def __xor__(self, other: "ConversationMark") -> "ConversationMark":
        if not isinstance(other, ConversationMark):
            return NotImplemented
        return _make(self.value ^ other.value)

    def __invert__(self) -> "ConversationMark":
        return _make(self.value ^ _ALL)

    def __repr__(self) -> str:
        if not self.value:
            return "<ConversationMark: 0>"
        return f"<ConversationMark.{self.name}: {self.value:#x}>"

    def __str__(self) -> str:
        return f"ConversationMark.{self.name}" if self.value else "ConversationMark(0)"

    def __format__(self, spec: str) -> str:
        return format(str(self), spec)

    def __reduce__(self) -> tuple[type["ConversationMark"], tuple[int]]:
        return ConversationMark, (self.value,)

    def __copy__(self) -> "ConversationMark":
        return self

    def __deepcopy__(self, memo: object) -> "ConversationMark":
        return self


_set_value = ConversationMark.value.__set__  # type: ignore[attr-defined,misc]
_SINGLES: dict[int, ConversationMark] = {}


def _make(value: int) -> ConversationMark:
    """Return the mark of a value that is known to fit."""
    single = _SINGLES.get(value)
    if single is not None:
        return single
    mark = object.__new__(ConversationMark)
    _set_value(mark, value)
    return mark


_SINGLES.update({value: _make(value) for value in (0, *(1 << number for number in range(_WIDTH)))})
_MarkType.__members__ = {name: _SINGLES[1 << number] for name, number in _NAMED.items()}
ConversationMark.FAVORITE = _MarkType.__members__["FAVORITE"]
ConversationMark.UNREAD = _MarkType.__members__["UNREAD"]
ConversationMark.COLLAPSED = _MarkType.__members__["COLLAPSED"]
ConversationMark.HIDDEN = _MarkType.__members__["HIDDEN"]


def _index(number: object) -> int:
    """Return a whole number of any type as an exact `int`, -1 for what is none."""
    if type(number) is int:
        return number
    try:
        return -1 if isinstance(number, bool) else operator.index(number)  # type: ignore[arg-type]
    except TypeError:
        return -1


publish(__name__)
